//! `herder chaos`: a drill on a pool of the user's own, and its report. What it does is in `herder::chaos`.

use crate::{
    args::Chaos,
    call::{object, refused},
    failure::{Failure, Outcome},
    logs,
    source::{Source, Wishes},
    table,
};
use actix_rt::System;
use bytes::Bytes;
use herder::{
    Error, PoolConfig,
    chaos::{Drill, Figures, Progress, settings},
};
use std::time::{Duration, Instant};

/// Runs the drill, and prints the report.
pub(crate) fn run(options: &Chaos) -> Outcome {
    logs::start("off")?; // each kill would be news
    object(&options.args)?;
    let config = config(options)?;
    table::out(&format!("seed     {}, a kill every {:?}\n{}\n", options.seed, options.kill_every, settings(&config)));
    let figures = System::new().block_on(drilled(options, config)).map_err(|error| refused(&error))?;
    table::out(&figures.table());
    if options.json {
        table::out(&format!("\n{}", figures.json()));
    }
    let broken = figures.broken();
    if broken.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format_args!("seed {}: {}", options.seed, broken.join("; "))))
}

fn config(options: &Chaos) -> Outcome<PoolConfig> {
    let wishes = Wishes { enhanced: options.enhanced, pool_size: options.pool_size, allow_code: false };
    Source::of(options.source.as_deref(), wishes)?.one(options.pool.as_deref())
}

#[expect(clippy::disallowed_methods, reason = "prints the elapsed time")]
async fn drilled(options: &Chaos, config: PoolConfig) -> Result<Figures, Error> {
    let drill = Drill {
        command: options.command.clone(),
        arguments: Bytes::from(options.args.clone()),
        callers: options.callers,
        sessions: options.sessions,
        idempotent: options.idempotent.then_some(true),
        timeout: options.timeout,
        leaving: options.leaving,
        lasts: Duration::from_secs(options.seconds),
        kill_every: options.kill_every,
        stop_every: options.stop_every,
        cascade: options.cascade,
        seed: options.seed,
    };
    let (mut progress, begun) = (Progress::default(), Instant::now());
    let tell = |now: herder::chaos::Now| {
        let seconds = begun.elapsed().as_secs();
        progress.tell(&format!("{seconds:>4} s  {} calls, {} ok, {} kills", now.calls, now.ok, now.kills));
    };
    let figures = drill.run(config, tell).await;
    progress.done();
    figures
}
