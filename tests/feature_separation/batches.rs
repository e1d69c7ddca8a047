//! Batches are no feature of enhanced pools.

use super::{basic, keys};
use crate::pools::steps::{answers, status};
use herder::testing::pool;
use serde_json::json;

/// Batches exist in pools of both types. A pool without such a command has nothing of them.
#[tokio::test]
async fn batches_exist_in_both_worker_types() {
    const APP: &str = "
import herder
app = herder.App()

@app.batch(max_batch_size=2, max_wait=60)
def sizes(items):
    return [len(items)] * len(items)
";
    for worker_type in ["basic", "enhanced"] {
        let batching = pool("sizes", |context| {
            context.file("app.py", APP);
            if worker_type == "basic" {
                context.basic().app("app.py:app").pool_size(1).build()
            } else {
                context.enhanced().app("app.py:app").pool_size(1).build()
            }
        })
        .await;
        let calls = ["ann", "bob"].map(|session| batching.call::<u32>("sizes", &json!({})).session(session).reply());
        for outcome in answers(calls.into()).await {
            assert_eq!(outcome.unwrap().decode::<u32>().unwrap(), 2, "{worker_type}");
        }
        assert_eq!(keys(&status(&batching).await["batches"]), ["sizes"].into());
        batching.shutdown_and_check().await;
    }
    let plain = basic().await;
    assert!(!keys(&status(&plain).await).contains("batches"));
    plain.shutdown_and_check().await;
}
