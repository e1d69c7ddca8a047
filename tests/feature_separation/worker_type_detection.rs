//! The worker type of a pool: the type in its configuration, in code or in a file, is the type in its status (R2, R51, R53).

use super::{basic, enhanced};
use crate::pools::steps::status;
use herder::{
    config::{Config, WorkerType},
    testing::{TestPool, pool},
};
use std::path::Path;

const APP: &str = "[pools.a]\napp = 'm:app'\n";

/// Asserts that configuration and status of a pool have this worker type, and ends the pool.
async fn check_type(pool: TestPool, worker_type: WorkerType, text: &str) {
    assert_eq!(pool.config().worker_type(), worker_type);
    assert_eq!(pool.status().await.unwrap().worker_type, worker_type);
    assert_eq!(status(&pool).await["worker_type"], text);
    pool.shutdown_and_check().await;
}

/// Returns the error of an invalid configuration.
fn config_error(text: &str) -> String {
    Config::from_toml(text, Path::new(".")).unwrap_err().to_string()
}

/// R2: a pool has the worker type that is configured in code or in a file.
#[tokio::test]
async fn a_pool_has_the_configured_worker_type() {
    check_type(basic().await, WorkerType::Basic, "basic").await;
    check_type(enhanced(|builder| builder).await, WorkerType::Enhanced, "enhanced").await;
    for (worker_type, text) in [(WorkerType::Basic, "basic"), (WorkerType::Enhanced, "enhanced")] {
        let pool = pool("typed", |context| Ok(context.toml(&format!("worker_type = '{text}'")))).await;
        check_type(pool, worker_type, text).await;
    }
}

/// R2: a pool without a worker type is basic. The table of the pool takes precedence over `[defaults]`.
#[tokio::test]
async fn a_pool_without_a_worker_type_is_basic() {
    check_type(pool("default", |context| Ok(context.toml(""))).await, WorkerType::Basic, "basic").await;
    let of = |text: &str| Config::from_toml(text, Path::new(".")).unwrap().pools[0].worker_type();
    let defaults = "[defaults]\nworker_type = 'enhanced'\n";
    assert_eq!(of(&format!("{defaults}{APP}")), WorkerType::Enhanced);
    assert_eq!(of(&format!("{defaults}{APP}worker_type = 'basic'")), WorkerType::Basic);
}

/// R51: an unknown type is refused with its position, the given value and the allowed values, also in `[defaults]`.
#[test]
fn an_unknown_type_is_refused_with_the_allowed_values() {
    let error = config_error(&format!("{APP}worker_type = 'turbo'"));
    let message = "'turbo' is invalid; allowed: \"basic\", \"enhanced\"";
    assert_eq!(error, format!("herder.toml:3:15: pools.a.worker_type: {message}"));
    for text in [
        format!("{APP}worker_type = 'Basic'"),
        format!("{APP}worker_type = 'PoolWorkerV2Enhanced'"),
        format!("{APP}worker_type = true"),
        format!("[defaults]\nworker_type = 'turbo'\n{APP}"),
    ] {
        let error = config_error(&text);
        assert!(error.contains("worker_type: ") && error.ends_with("llowed: \"basic\", \"enhanced\""), "{error}");
    }
}

/// R53: DSPex's keys for the worker type and for its features are answered with the names of Herder's keys.
#[test]
fn dspex_keys_are_answered_with_their_new_name() {
    for (old, new) in [
        ("worker_module", "worker_type"),
        ("preferred_worker_type", "worker_type"),
        ("session_affinity_enabled", "features.session_affinity"),
        ("worker_metrics_enabled", "features.worker_metrics"),
        ("state_machine_enabled", "features.state_machine"),
    ] {
        let error = config_error(&format!("{APP}{old} = 'x'"));
        assert_eq!(error, format!("herder.toml:3:1: pools.a.{old}: DSPex's `{old}` is called `{new}`"));
    }
}
