//! The pool's settings for failures as text. The report of a chaos run needs them, since the results depend on them.

use crate::config::duration::show;
use herder_actors::{
    Backoff, PoolConfig,
    settings::{BreakerSettings, PoisonSettings, RetrySettings},
};
use std::fmt::Write;

/// Returns the settings, one line for each group.
pub fn settings(config: &PoolConfig) -> String {
    let settings = config.settings();
    let (restart, health, cancel, queue) = (&settings.restart, &settings.health, &settings.cancel, &settings.queue);
    let kind = config.worker_type().name();
    let mut text = format!(
        "pool     {} ({kind}), {} workers and {} overflow, concurrency {}, pipeline {}, timeout {}\n",
        config.name(),
        config.pool_size(),
        config.overflow(),
        settings.concurrency,
        settings.pipeline,
        show(config.timeout()),
    );
    let _ = writeln!(
        text,
        "restart  max {} within {}, min_uptime {}, backoff {}, max_backoff {}, cooldown {}",
        restart.max,
        show(restart.window),
        show(restart.min_uptime),
        show(restart.backoff),
        show(restart.max_backoff),
        show(restart.cooldown),
    );
    let _ = writeln!(text, "{}", retry(&settings.retry));
    let _ = writeln!(text, "{}", settings.breaker.as_ref().map_or_else(|| "breaker  none".into(), breaker));
    let _ = writeln!(text, "{}", settings.poison.as_ref().map_or_else(|| "poison   off".into(), poison));
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
        "queue    limit {}, timeout {}, per_session {}, shed {}",
        queue.limit,
        show(queue.timeout),
        queue.per_session,
        queue.shed
    );
    text
}

fn retry(retry: &RetrySettings) -> String {
    let backoff = match &retry.backoff {
        Backoff::Linear => "linear",
        Backoff::Exponential => "exponential",
        Backoff::Fibonacci => "fibonacci",
        Backoff::Decorrelated => "decorrelated_jitter",
        Backoff::Custom(_) => "custom",
    };
    let (base, max) = (show(retry.base), show(retry.max));
    let (jitter, budget) = (f64::from(retry.jitter) / 1000.0, f64::from(retry.budget) / 1000.0);
    let attempts = retry.attempts;
    format!("retry    attempts {attempts}, backoff {backoff}, base {base}, max {max}, jitter {jitter}, budget {budget}")
}

fn breaker(breaker: &BreakerSettings) -> String {
    let BreakerSettings { failure_threshold, success_threshold, open_duration, half_open_max_calls, .. } = breaker;
    format!(
        "breaker  failure_threshold {failure_threshold}, success_threshold {success_threshold}, open_duration {}, half_open_max_calls {half_open_max_calls}",
        show(*open_duration)
    )
}

fn poison(poison: &PoisonSettings) -> String {
    format!("poison   max_worker_deaths {}, quarantine {}", poison.max_worker_deaths, show(poison.quarantine))
}
