//! The runs: a pool for each, started, measured and ended in order, also when a signal comes. Holds one pool at a time.

use super::{
    plan::{Amount, Plan},
    progress::Progress,
};
use crate::{
    call::refused,
    error::{CommandError, Outcome},
    signals::Signals,
};
use herder::{
    Pool, PoolConfig, PoolSupervisor, Shutdown,
    concurrency::PAIRS,
    efficiency::{EfficiencyReport, Measure, MeasureError, WorkerStart},
    registry,
};
use std::{future::Future, pin::pin, time::Duration};

/// How long calls may take to end with their pool, once nobody waits for them.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of a run's time may go into finding out how many calls it takes.
const TRIAL_SHARE: f64 = 0.25;
/// Calls of a lane that are enough to know how long one takes.
const TRIAL_CALLS: usize = 16;
/// So that a run fits into memory, whatever the command.
const MAX_CALLS: usize = 1_000_000;

/// All rounds, each with every number of workers: a list of reports for each number of workers.
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

/// Calls that a lane ends in a second.
#[derive(Clone, Copy, Debug)]
struct Rate(f64);

impl Runs<'_> {
    /// Whether the command works at all, and how quick it is: on the smallest pool, before anything is measured.
    async fn calibrate(&mut self) -> Outcome<Rate> {
        let (plan, workers) = (self.plan, self.plan.workers.first().copied().unwrap_or(1));
        self.progress.set_message("trying the command".into());
        let config = resize(plan, workers)?;
        let report = self.until_signal(&config, calibrate_pool(plan, config.clone())).await?;
        self.progress.next();
        let seconds = report.account.measured.as_secs_f64().max(1e-9);
        Ok(Rate(report.operations.len() as f64 / report.account.call_slots as f64 / seconds))
    }

    /// One run on a pool of its own.
    async fn run(&mut self, workers: usize, round: usize, rate: Rate) -> Outcome<EfficiencyReport> {
        let plan = self.plan;
        let s = if workers == 1 { "" } else { "s" };
        self.progress.set_message(format!("{workers} worker{s}, round {round} of {}", plan.rounds));
        let (config, calls) = (resize(plan, workers)?, rate.calls(plan, workers));
        let measured = measured(plan, config.clone(), calls, self.progress.callback());
        let report = self.until_signal(&config, measured).await;
        self.progress.next();
        report
    }

    /// What a pool is measured for, unless a signal comes: then the pool ends in order, and with a second one everything.
    async fn until_signal(
        &mut self,
        config: &PoolConfig,
        measured: impl Future<Output = Result<EfficiencyReport, MeasureError>>,
    ) -> Outcome<EfficiencyReport> {
        let mut measured = pin!(measured);
        let signal = tokio::select! {
            report = &mut measured => return report.map_err(|error| failure(&error)),
            signal = self.signals.next() => signal,
        };
        if let Some(pool) = registry::lookup::<PoolSupervisor>(config.name().as_str()) {
            tokio::select! {
                _ = pool.send(Shutdown::timeout(END_TIMEOUT)) => {}
                again = self.signals.next() => again.exit_now(),
            }
        }
        Err(CommandError::Interrupted(signal))
    }
}

impl Rate {
    /// The calls of a run; one for each lane at least.
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

/// Pairs that compare calls alone with calls side by side; none if they would take longer than the run itself.
fn pairs(calls: usize, call_slots: usize) -> usize {
    if PAIRS * call_slots * call_slots <= calls { PAIRS } else { 0 }
}

async fn measured(
    plan: &Plan,
    config: PoolConfig,
    calls: usize,
    tell: impl Fn(usize, usize) + Send + Sync + 'static,
) -> Result<EfficiencyReport, MeasureError> {
    let workers = config.pool_size() as usize;
    let pairs = pairs(calls, plan.call_slots(workers));
    let begin = |measure| {
        let measure = measure_on(plan, workers, measure)?;
        Ok::<_, MeasureError>(measure.operations(calls).pairs(pairs).progress(tell))
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

/// Starts a pool, does something with it, and ends it in order.
async fn with_pool(
    config: PoolConfig,
    what: impl AsyncFnOnce(&Pool) -> Result<EfficiencyReport, MeasureError>,
) -> Result<EfficiencyReport, MeasureError> {
    let pool = Pool::start(config).without_waiting().await?;
    let report = what(&pool).await;
    if let Err(error) = pool.shutdown(END_TIMEOUT).await {
        tracing::warn!(%error, "pool shutdown failed");
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
