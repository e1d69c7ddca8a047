//! Runs the measurements. Each run starts a pool, measures it and shuts it down gracefully, also after a signal. Holds
//! one pool at a time.

use super::plan::{Amount, Plan};
use crate::{
    error::{CommandError, Outcome},
    logs::PROGRAM,
    problem::refused,
    signals::Signals,
};
use herder::{
    Pool, PoolConfig, PoolSupervisor,
    efficiency::{EfficiencyReport, Measure, MeasureError, WorkerStart, concurrency::PAIRS},
    messages::Shutdown,
    registry,
};
use indicatif::{ProgressBar, ProgressStyle};
use std::{future::Future, pin::pin, time::Duration};

/// How long the calls of a pool may take to finish after a signal or a run.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// The share of a run's time that may be spent on estimating its number of calls.
const TRIAL_SHARE: f64 = 0.25;
/// The number of calls for each call slot that suffices to estimate the duration of a call.
const TRIAL_CALLS: usize = 16;
/// The largest number of calls of a run, so that its results fit into memory.
const MAX_CALLS: usize = 1_000_000;
/// The template of the progress bar.
const TEMPLATE: &str = "{msg:<30} {wide_bar} {percent:>3} %  {elapsed}";
/// The number of steps of the bar for each run.
const STEPS: u64 = 1000;

/// Runs all rounds. Returns a list of reports for each number of workers.
pub(super) async fn all(plan: &Plan) -> Outcome<Vec<Vec<EfficiencyReport>>> {
    let mut runs =
        Runs { plan, signals: Signals::new()?, progress: Progress::of(1 + plan.rounds * plan.workers.len()) };
    let rate = runs.calibrate().await?;
    let mut reports = vec![Vec::with_capacity(plan.rounds); plan.workers.len()];
    for round in 1..=plan.rounds {
        for (workers, reports) in plan.workers.iter().zip(&mut reports) {
            reports.push(runs.run(*workers, round, rate).await?);
        }
    }
    Ok(reports)
}

struct Runs<'a> {
    plan: &'a Plan,
    signals: Signals,
    progress: Progress,
}

/// The number of calls that a call slot finishes in a second.
#[derive(Clone, Copy, Debug)]
struct Rate(f64);

impl Runs<'_> {
    /// Checks that the command works, and estimates its rate, on the smallest pool.
    async fn calibrate(&mut self) -> Outcome<Rate> {
        let (plan, workers) = (self.plan, self.plan.workers.first().copied().unwrap_or(1));
        self.progress.set_message("trying the command".into());
        let config = resize(plan, workers)?;
        let report = self.until_signal(&config, calibrate_pool(plan, config.clone())).await?;
        self.progress.next();
        let seconds = report.account.measured.as_secs_f64().max(1e-9);
        Ok(Rate(report.operations.len() as f64 / report.account.call_slots as f64 / seconds))
    }

    /// Measures one run with a separate pool.
    async fn run(&mut self, workers: usize, round: usize, rate: Rate) -> Outcome<EfficiencyReport> {
        let plan = self.plan;
        let s = if workers == 1 { "" } else { "s" };
        self.progress.set_message(format!("{workers} worker{s}, round {round} of {}", plan.rounds));
        let (config, calls) = (resize(plan, workers)?, rate.calls(plan, workers));
        let measurement = measure_run(plan, config.clone(), calls, self.progress.callback());
        let report = self.until_signal(&config, measurement).await;
        self.progress.next();
        report
    }

    /// Runs a measurement of a pool until it ends or a signal arrives. After a signal, the pool is shut down
    /// gracefully; a second signal ends the process.
    async fn until_signal(
        &mut self,
        config: &PoolConfig,
        measurement: impl Future<Output = Result<EfficiencyReport, MeasureError>>,
    ) -> Outcome<EfficiencyReport> {
        let mut measurement = pin!(measurement);
        let signal = tokio::select! {
            report = &mut measurement => return report.map_err(|error| failure(&error)),
            signal = self.signals.next() => signal,
        };
        // The measurement owns the pool. It is no longer polled, but must not be dropped before the shutdown: that
        // would kill the workers. Therefore the shutdown goes through the registry.
        if let Some(pool) = registry::lookup::<PoolSupervisor>(config.name().as_str()) {
            tokio::select! {
                _ = pool.send(Shutdown::new(END_TIMEOUT)) => {}
                second = self.signals.next() => second.exit_now(),
            }
        }
        Err(CommandError::Interrupted(signal))
    }
}

impl Rate {
    /// Returns the number of calls of a run; at least one for each call slot.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is positive, and the cast saturates"
    )]
    fn calls(self, plan: &Plan, workers: usize) -> usize {
        let call_slots = plan.call_slots(workers);
        match plan.amount {
            Amount::Operations(calls) => calls,
            Amount::Seconds(seconds) => {
                ((self.0 * f64::from(seconds)) as usize).saturating_mul(call_slots).clamp(call_slots, MAX_CALLS)
            }
        }
    }
}

/// Returns the number of pairs that compare serial with parallel calls; 0 if they would take longer than the run.
fn pairs(calls: usize, call_slots: usize) -> usize {
    if PAIRS * call_slots * call_slots <= calls { PAIRS } else { 0 }
}

async fn measure_run(
    plan: &Plan,
    config: PoolConfig,
    calls: usize,
    on_progress: impl Fn(usize, usize) + Send + Sync + 'static,
) -> Result<EfficiencyReport, MeasureError> {
    let workers = config.pool_size() as usize;
    let pairs = pairs(calls, plan.call_slots(workers));
    let begin = |measure| {
        let measure = measure_on(plan, workers, measure)?;
        Ok::<_, MeasureError>(measure.operations(calls).pairs(pairs).progress(on_progress))
    };
    match plan.start {
        WorkerStart::Cold => begin(Measure::cold(config))?.run().await,
        WorkerStart::Warm => with_pool(config, async |pool| begin(Measure::of(pool))?.run().await).await,
    }
}

async fn calibrate_pool(plan: &Plan, config: PoolConfig) -> Result<EfficiencyReport, MeasureError> {
    let workers = config.pool_size() as usize;
    with_pool(config, async |pool| {
        let measure =
            |calls| Ok::<_, MeasureError>(measure_on(plan, workers, Measure::of(pool))?.pairs(0).operations(calls));
        let first = measure(plan.call_slots(workers))?.run().await?;
        match plan.amount {
            Amount::Seconds(seconds)
                if first.account.measured.as_secs_f64() < TRIAL_SHARE * f64::from(seconds) / TRIAL_CALLS as f64 =>
            {
                measure(TRIAL_CALLS * plan.call_slots(workers))?.run().await
            }
            _ => Ok(first),
        }
    })
    .await
}

/// Starts a pool, runs `action` with it, and shuts it down gracefully.
async fn with_pool(
    config: PoolConfig,
    action: impl AsyncFnOnce(&Pool) -> Result<EfficiencyReport, MeasureError>,
) -> Result<EfficiencyReport, MeasureError> {
    let pool = Pool::start(config.with_lazy(false)).without_waiting().await?;
    let report = action(&pool).await;
    if let Err(error) = pool.shutdown(END_TIMEOUT).await {
        tracing::warn!(target: PROGRAM, %error, "pool shutdown failed");
    }
    report
}

fn resize(plan: &Plan, workers: usize) -> Outcome<PoolConfig> {
    let sized = plan.config.clone().with_pool_size(workers).and_then(|config| config.with_overflow(0));
    sized.map_err(CommandError::usage)
}

fn measure_on(plan: &Plan, workers: usize, measure: Measure) -> Result<Measure, MeasureError> {
    let measure = measure.command(&plan.command, &plan.arguments)?;
    Ok(measure.callers(plan.callers(workers)).sessions(plan.sessions))
}

fn failure(error: &MeasureError) -> CommandError {
    match error {
        MeasureError::Pool(error) => refused(error),
        MeasureError::AllFailed { first, .. } => refused(first),
        MeasureError::Config(_) | MeasureError::Arguments(_) => CommandError::usage(error),
        MeasureError::Stamps(_) | MeasureError::Nothing(_) => CommandError::failed(error),
    }
}

/// The progress bar on standard error, drawn only on a terminal. It disappears when this is dropped.
struct Progress {
    bar: ProgressBar,
    done: u64,
}

impl Progress {
    /// Creates a bar for this number of runs. Draws nothing if standard error is not a terminal.
    fn of(runs: usize) -> Self {
        let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self { bar: ProgressBar::new(runs as u64 * STEPS).with_style(style), done: 0 }
    }

    /// Sets the text for the current step.
    fn set_message(&self, text: String) {
        self.bar.set_message(text);
    }

    /// Returns a function that sets the number of finished calls of the current run. It can be called from any thread.
    fn callback(&self) -> impl Fn(usize, usize) + Send + Sync + 'static {
        let (bar, before) = (self.bar.clone(), self.done * STEPS);
        move |calls, of| bar.set_position(before + (STEPS * calls as u64 / (of as u64).max(1)).min(STEPS))
    }

    /// Marks the current run as finished.
    fn next(&mut self) {
        self.done += 1;
        self.bar.set_position(self.done * STEPS);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
