//! The configuration keys of `DSPex`, the pool that Herder replaces (`docs/migration.md`), with their replacements.

/// What Herder has instead of a configuration key of `DSPex`.
enum Replacement {
    /// The key has this name.
    Renamed(&'static str),
    /// There is no such key; the text says why, or what to use.
    Removed(&'static str),
}

use Replacement::{Removed, Renamed as Is};

/// The configuration keys of `DSPex` with their replacements (R53).
const KEYS: &[(&str, Replacement)] = &[
    ("worker_module", Is("worker_type")),
    ("preferred_worker_type", Is("worker_type")),
    ("session_affinity_enabled", Is("features.session_affinity")),
    ("worker_metrics_enabled", Is("features.worker_metrics")),
    ("state_machine_enabled", Is("features.state_machine")),
    ("max_overflow", Is("overflow")),
    ("pool_overflow", Is("overflow")),
    ("pool_timeout", Is("queue.timeout")),
    ("checkout_timeout", Is("queue.timeout")),
    ("queue_timeout", Is("queue.timeout")),
    ("operation_timeout", Is("timeout")),
    ("init_timeout", Is("start_timeout")),
    ("health_check_interval", Is("health.interval")),
    ("health_check_timeout", Is("health.timeout")),
    ("max_health_failures", Is("health.failures")),
    ("session_timeout", Is("sessions.timeout")),
    ("session_cleanup_interval", Is("sessions.cleanup_interval")),
    ("grace_period", Is("sessions.grace")),
    ("max_restarts", Is("restart.max")),
    ("max_seconds", Is("restart.window")),
    ("python_path", Is("python")),
    ("python_executable", Is("python")),
    ("script_path", Is("app")),
    ("environment", Is("env")),
    ("enhanced_worker_features", Removed("`features`, with the same three names")),
    ("pool_lazy", Is("lazy")),
    ("max_retries", Removed("`retry.attempts`, which includes the first attempt")),
    ("failure_threshold", Is("breaker.failure_threshold")),
    ("success_threshold", Is("breaker.success_threshold")),
    ("half_open_requests", Is("breaker.half_open_max_calls")),
    ("telemetry_period", Removed("not supported: metrics are computed when `/metrics` is read")),
    ("name", Removed("the name of its table, `[pools.NAME]`")),
    ("pool_name", Removed("the name of its table, `[pools.NAME]`")),
    ("pool_mode", Removed("not needed: each table `[pools.NAME]` is a pool")),
    ("pooling_enabled", Removed("not needed: each table `[pools.NAME]` is a pool")),
];

/// Returns the message for a configuration key of `DSPex`; `None` if `DSPex` has no such key.
pub(super) fn key(name: &str) -> Option<String> {
    KEYS.iter().find(|(old, _)| *old == name).map(|(_, now)| match now {
        Is(key) => format!("DSPex's `{name}` is called `{key}`"),
        Removed(why) => format!("DSPex's `{name}` is {why}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use herder_actors::schema::{Key, TABLE};

    /// R53: each message names a key that exists.
    #[test]
    fn r53_the_original_s_keys_lead_to_keys() {
        for (old, now) in KEYS {
            assert!(!TABLE.iter().any(|key| key.path.split('.').next() == Some(old)), "{old} is a key of ours");
            if let Is(path) = now {
                assert!(Key::find(path).is_some(), "{old} leads to {path}");
            }
        }
    }
}
