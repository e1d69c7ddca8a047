//! What a pool was told about failures, in words: a report of chaos without it says little.

use crate::{PoolConfig, WorkerType, config::duration::show};
use std::fmt::Write;

/// One line for each group of settings.
pub fn settings(config: &PoolConfig) -> String {
    let settings = config.settings();
    let (restart, health, cancel, queue) = (&settings.restart, &settings.health, &settings.cancel, &settings.queue);
    let kind = match config.worker_type() {
        WorkerType::Basic => "basic",
        WorkerType::Enhanced => "enhanced",
    };
    let mut text = format!(
        "pool     {} ({kind}), {} workers and {} overflow, window {} a worker, timeout {}\n",
        config.name(),
        config.pool_size(),
        config.overflow(),
        settings.concurrency * settings.pipeline,
        show(config.timeout()),
    );
    let _ = writeln!(
        text,
        "restart  max {} within {}, min_uptime {}, backoff {}, max_backoff {}, cooldown {}",
        restart.max,
        show(restart.within),
        show(restart.min_uptime),
        show(restart.backoff),
        show(restart.max_backoff),
        show(restart.cooldown),
    );
    let _ = writeln!(
        text,
        "retry    only idempotent calls whose worker died: at once, {} attempts in all",
        settings.attempts
    );
    let _ = writeln!(text, "breaker  none");
    let _ = writeln!(
        text,
        "health   interval {}, timeout {}, failures {}",
        show(health.interval),
        show(health.timeout),
        health.failures
    );
    let _ = writeln!(text, "cancel   interrupt {}, kill {}", show(cancel.interrupt), show(cancel.kill));
    let _ = write!(
        text,
        "queue    limit {}, timeout {}, per_session {}",
        queue.limit,
        show(queue.timeout),
        queue.per_session
    );
    text
}
