//! Which worker type a pool has: what its configuration says, in code or in a file, is what its status says (R2, R51, R53).

use super::{basic, enhanced};
use crate::pools::steps::status;
use herder::testing::{TestPool, pool};
use herder::{Config, WorkerType};
use std::path::Path;

const APP: &str = "[pools.a]\napp = 'm:app'\n";

async fn is_of(pool: TestPool, worker_type: WorkerType, word: &str) {
    assert_eq!(pool.config().worker_type(), worker_type);
    assert_eq!(pool.status().await.unwrap().worker_type, worker_type);
    assert_eq!(status(&pool).await["worker_type"], word);
    pool.end().await;
}

fn refused(text: &str) -> String {
    Config::from_toml(text, Path::new(".")).unwrap_err().to_string()
}

/// R2: the configuration's type is the status', from code and from a file.
#[tokio::test]
async fn a_pool_is_of_the_type_its_configuration_says() {
    is_of(basic().await, WorkerType::Basic, "basic").await;
    is_of(enhanced(|builder| builder).await, WorkerType::Enhanced, "enhanced").await;
    for (worker_type, word) in [(WorkerType::Basic, "basic"), (WorkerType::Enhanced, "enhanced")] {
        let pool = pool("typed", |context| Ok(context.toml(&format!("worker_type = '{word}'")))).await;
        is_of(pool, worker_type, word).await;
    }
}

/// R2: basic, unless something says otherwise: the pool's own table before the defaults.
#[tokio::test]
async fn a_pool_that_says_nothing_is_basic() {
    is_of(pool("unsaid", |context| Ok(context.toml(""))).await, WorkerType::Basic, "basic").await;
    let of = |text: &str| Config::from_toml(text, Path::new(".")).unwrap().pools[0].worker_type();
    let defaults = "[defaults]\nworker_type = 'enhanced'\n";
    assert_eq!(of(&format!("{defaults}{APP}")), WorkerType::Enhanced);
    assert_eq!(of(&format!("{defaults}{APP}worker_type = 'basic'")), WorkerType::Basic);
}

/// R51: a type that does not exist is refused with its place, what was given and what is allowed; in the defaults too.
#[test]
fn an_unknown_type_is_refused_with_what_is_allowed() {
    let told = refused(&format!("{APP}worker_type = 'turbo'"));
    let why = "'turbo' is none of its values; allowed: \"basic\", \"enhanced\"";
    assert_eq!(told, format!("herder.toml:3:15: pools.a.worker_type: {why}"));
    for text in [
        format!("{APP}worker_type = 'Basic'"),
        format!("{APP}worker_type = 'PoolWorkerV2Enhanced'"),
        format!("{APP}worker_type = true"),
        format!("[defaults]\nworker_type = 'turbo'\n{APP}"),
    ] {
        let told = refused(&text);
        assert!(told.contains("worker_type: ") && told.ends_with("llowed: \"basic\", \"enhanced\""), "{told}");
    }
}

/// R53: the original's keys for it are answered with the new name, and so are those of its features.
#[test]
fn the_originals_keys_are_answered_with_the_new_name() {
    for (old, new) in [
        ("worker_module", "worker_type"),
        ("preferred_worker_type", "worker_type"),
        ("session_affinity_enabled", "features.session_affinity"),
        ("worker_metrics_enabled", "features.worker_metrics"),
        ("state_machine_enabled", "features.state_machine"),
    ] {
        let told = refused(&format!("{APP}{old} = 'x'"));
        assert_eq!(told, format!("herder.toml:3:1: pools.a.{old}: the original's `{old}` is `{new}` here"));
    }
}
