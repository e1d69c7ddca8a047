//! Warm and lazy starts are the same in both worker types.

use crate::pools::steps::status;
use herder::testing::{pool, wait_until};
use serde_json::{Value, json};

/// R11, R31: warm and lazy starts are no features of enhanced pools: pools of both types have them.
#[tokio::test]
async fn warm_and_lazy_starts_exist_in_both_worker_types() {
    for worker_type in ["basic", "enhanced"] {
        let pool = pool("warm", |context| {
            Ok(context.toml(&format!("worker_type = '{worker_type}'\nstart = 'template'\nlazy = true")))
        })
        .await;
        assert_eq!(status(&pool).await["state"], "idle");
        wait_until("the template is ready", async || status(&pool).await["template"]["state"] == "ready").await;
        pool.call::<Value>("echo", &json!({ "x": 1 })).await.unwrap();
        assert_eq!(status(&pool).await["template"]["state"], "ready");
        pool.shutdown_and_check().await;
    }
}
