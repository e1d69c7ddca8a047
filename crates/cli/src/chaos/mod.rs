//! `herder chaos`: runs `herder::chaos` on a pool, and prints the report.

mod options;

pub(crate) use options::Options;

use crate::{
    error::{CommandError, Outcome},
    logs,
    problem::{check_object, refused},
    source::{Overrides, Source},
    table,
};
use actix_rt::System;
use bytes::Bytes;
use herder::{
    Error, PoolConfig,
    chaos::{Drill, Figures, Progress, settings},
    config::duration,
};
use std::time::{Duration, Instant};

/// The longest default of `--kill-every`.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Runs the drill, and prints its report.
pub(crate) fn run(options: &Options) -> Outcome {
    // Each kill would be logged.
    logs::start("off")?;
    check_object(&options.args)?;
    let kill_every = kill_every(options)?;
    let config = config(options)?;
    let settings = settings(&config);
    table::print_line(&format!("seed     {}, one kill every {kill_every:?}\n{settings}", options.seed));
    if let Some(note) = restart_limit(&config, kill_every, Duration::from_secs(options.seconds)) {
        table::print_line(&note);
    }
    table::print_line("");
    let figures = System::new().block_on(run_drill(options, kill_every, config)).map_err(|error| refused(&error))?;
    table::print_line(&figures.table());
    if options.json {
        table::print_line(&format!("\n{}", figures.json()));
    }
    let mut broken = figures.violations();
    if figures.faults.is_empty() {
        broken.push("no worker was killed or paused, so nothing was tested".into());
    }
    if broken.is_empty() {
        return Ok(());
    }
    Err(CommandError::failed(format_args!("seed {}: {}", options.seed, broken.join("; "))))
}

/// Returns the time between two kills. The default gives several kills in a run.
fn kill_every(options: &Options) -> Outcome<Duration> {
    let run_time = Duration::from_secs(options.seconds);
    let Some(every) = options.kill_every else { return Ok(LONGEST_WAIT.min(run_time / 4)) };
    let other_faults = options.cascade || options.pause_every.is_some_and(|every| every < run_time);
    if every < run_time || other_faults {
        return Ok(every);
    }
    Err(CommandError::usage(format_args!(
        "no worker would be killed within {}; --kill-every must be less than --seconds",
        duration::show(run_time)
    )))
}

/// Returns a note if the kills may exceed the pool's restart limit.
fn restart_limit(config: &PoolConfig, kill_every: Duration, run_time: Duration) -> Option<String> {
    let restart = config.settings().restart;
    let window = restart.window.min(run_time);
    let kills = window.as_nanos() / kill_every.as_nanos().max(1);
    (kills > u128::from(restart.max)).then(|| {
        format!(
            "note     up to {kills} kills are possible within {}. The pool fails after more than {} kills (`restart.max`) within {} of workers that are idle \
             or starting and younger than {} (`restart.min_uptime`): raise `restart.max`, or raise --kill-every",
            duration::show(window),
            restart.max,
            duration::show(restart.window),
            duration::show(restart.min_uptime)
        )
    })
}

fn config(options: &Options) -> Outcome<PoolConfig> {
    let overrides = Overrides { enhanced: options.enhanced, pool_size: options.pool_size, allow_code: false };
    Source::of(options.source.as_deref(), overrides)?.one(options.pool.as_deref())
}

#[expect(clippy::disallowed_methods, reason = "prints the elapsed time")]
async fn run_drill(options: &Options, kill_every: Duration, config: PoolConfig) -> Result<Figures, Error> {
    let drill = Drill {
        command: options.command.clone(),
        arguments: Bytes::from(options.args.clone()),
        callers: options.callers,
        sessions: options.sessions,
        idempotent: options.idempotent.then_some(true),
        timeout: options.timeout,
        abandon_percent: options.abandon_percent,
        duration: Duration::from_secs(options.seconds),
        kill_every,
        pause_every: options.pause_every,
        cascade: options.cascade,
        seed: options.seed,
    };
    let (mut progress, begun) = (Progress::default(), Instant::now());
    let print_progress = |now: herder::chaos::DrillProgress| {
        let seconds = begun.elapsed().as_secs();
        progress.print(&format!("{seconds:>4} s  calls {}, ok {}, kills {}", now.calls, now.ok, now.kills));
    };
    let figures = drill.run(config, print_progress).await;
    progress.done();
    figures
}
