//! The pools of a run.

use crate::options::Options;
use herder::{
    Cancel, Enhanced, Health, InvalidConfig, PoolBuilder, PoolConfig, Queue, Restart, Sessions, Stop, chaos::MARK,
};
use std::{path::Path, time::Duration};

/// The workers' account, in the folder of a run.
pub(crate) const EXECUTION_LOG: &str = "ledger";
/// While it is there, no worker starts.
pub(crate) const BROKEN: &str = "broken";

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The pool that the storm is about.
pub(crate) fn chaos_config(options: &Options, folder: &Path) -> Result<PoolConfig, InvalidConfig> {
    let builder = pool("chaos", options, folder).pool_size(options.workers);
    if options.defaults { builder.build() } else { patient(builder, options).build() }
}

/// What stands a kill every 50 ms: restarts without a bound, and shorter waits than anybody wants by day.
fn patient(builder: PoolBuilder<Enhanced>, options: &Options) -> PoolBuilder<Enhanced> {
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

/// A small one for what is not the storm itself.
pub(crate) fn small(options: &Options, folder: &Path) -> Result<PoolConfig, InvalidConfig> {
    pool("small", options, folder).pool_size(2).overflow(0).build()
}

fn pool(name: &str, options: &Options, folder: &Path) -> PoolBuilder<Enhanced> {
    let file = |name: &str| folder.join(name).display().to_string();
    let pool = PoolConfig::enhanced(name);
    let pool = options.python.iter().fold(pool, PoolBuilder::python);
    pool.app("worker.py:app")
        .relative_to(env!("CARGO_MANIFEST_DIR"))
        .env(MARK, &options.mark)
        .env("PYTHONDONTWRITEBYTECODE", "")
        .env("PYTHONPYCACHEPREFIX", file("pycache"))
        .env("CHAOS_LEDGER", file(EXECUTION_LOG))
        .env("CHAOS_BROKEN", file(BROKEN))
        .env("CHAOS_MIXED", if options.mixed { "1" } else { "" })
}
