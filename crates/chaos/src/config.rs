//! The configurations of the pools of a run.

use crate::options::Options;
use herder::{
    PoolConfig,
    chaos::MARK,
    config::{Cancel, Enhanced, Health, InvalidConfig, PoolBuilder, Queue, Restart, Sessions, StartMethod, Stop},
};
use std::{path::Path, time::Duration};

/// The name of the workers' execution log in the folder of the run.
pub(crate) const EXECUTION_LOG: &str = "executions";
/// The name of a file in the folder of the run. While it exists, starting workers fail.
pub(crate) const FAIL_STARTS: &str = "fail-starts";

/// The maximum number of calls of a batch, which workers that run asyncio have.
pub(crate) const LARGEST_BATCH: u64 = 4;

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Returns the configuration of the pool that faults are injected into.
pub(crate) fn chaos_config(options: &Options, folder: &Path) -> Result<PoolConfig, InvalidConfig> {
    let builder = pool("chaos", options, folder).pool_size(options.workers);
    if options.defaults { builder.build() } else { tolerant(builder, options).build() }
}

/// Sets what a pool needs to survive a kill every 50 ms: practically unlimited restarts, and waits that are shorter than in
/// production.
fn tolerant(builder: PoolBuilder<Enhanced>, options: &Options) -> PoolBuilder<Enhanced> {
    let restart = Restart::new().max(1_000_000).min_uptime(millis(100)).backoff(millis(10)).max_backoff(millis(200));
    builder
        .overflow(options.overflow)
        .pipeline(options.pipeline)
        .concurrency(if options.mixed { 4 } else { 1 })
        .start_timeout(Duration::from_secs(10))
        .timeout(Duration::from_secs(60))
        .queue(Queue::new().timeout(Duration::from_secs(60)))
        .cancel(Cancel::new().interrupt(millis(200)).kill(millis(1000)))
        .health(Health::new().interval(millis(500)).timeout(millis(1000)).failures(3))
        .restart(restart)
        .stop(Stop::new().grace(millis(2000)).term(millis(1000)))
        .sessions(Sessions::new().timeout(Duration::from_secs(3600)).max(1_000_000))
}

/// Returns the configuration of a small pool, which runs without injected faults.
pub(crate) fn small(options: &Options, folder: &Path) -> Result<PoolConfig, InvalidConfig> {
    pool("small", options, folder).pool_size(2).overflow(0).build()
}

fn pool(name: &str, options: &Options, folder: &Path) -> PoolBuilder<Enhanced> {
    let file = |name: &str| folder.join(name).display().to_string();
    let pool = PoolConfig::enhanced(name);
    let pool = options.python.iter().fold(pool, PoolBuilder::python);
    let start = if options.template { StartMethod::Template } else { StartMethod::Spawn };
    pool.app("worker.py:app")
        .start(start)
        .relative_to(env!("CARGO_MANIFEST_DIR"))
        .env(MARK, &options.mark)
        .env("PYTHONDONTWRITEBYTECODE", "")
        .env("PYTHONPYCACHEPREFIX", "") // with it, each worker would compile the package
        .env("CHAOS_EXECUTION_LOG", file(EXECUTION_LOG))
        .env("CHAOS_FAIL_STARTS", file(FAIL_STARTS))
        .env("CHAOS_MIXED", if options.mixed { "1" } else { "" })
}
