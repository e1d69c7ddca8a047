//! Batches are no feature of enhanced pools.

use super::{basic, keys};
use crate::pools::steps::{answers, status};
use herder::{
    messages::BatchSettings,
    testing::{log_lines_of, pool},
};
use serde_json::json;
use std::num::NonZero;

/// Batches exist in pools of both types. A pool without such a command has nothing of them.
#[tokio::test]
async fn batches_exist_in_both_worker_types() {
    const APP: &str = "
import herder
app = herder.App()

@app.batch(max_batch_size=8, max_wait=60)
def sizes(items):
    return [len(items)] * len(items)
";
    // The limits of the configuration replace those of the app: two calls are a full batch.
    let limits = BatchSettings { max_batch_size: NonZero::new(2), max_wait: None };
    for worker_type in ["basic", "enhanced"] {
        let batching = pool("sizes", |context| {
            context.file("app.py", APP);
            if worker_type == "basic" {
                context.basic().app("app.py:app").pool_size(1).batch("sizes", limits).batch("absent", limits).build()
            } else {
                context.enhanced().app("app.py:app").pool_size(1).batch("sizes", limits).build()
            }
        })
        .await;
        let calls = ["ann", "bob"].map(|session| batching.call::<u32>("sizes", &json!({})).session(session).reply());
        for outcome in answers(calls.into()).await {
            assert_eq!(outcome.unwrap().decode::<u32>().unwrap(), 2, "{worker_type}");
        }
        let found = &status(&batching).await["batches"];
        assert_eq!(keys(found), ["sizes"].into());
        assert_eq!([&found["sizes"]["max_batch_size"], &found["sizes"]["max_wait_us"]], [2, 60_000_000]);
        let warned = log_lines_of(batching.name().as_str()).iter().filter(|line| line.all.contains("absent")).count();
        assert_eq!(warned, usize::from(worker_type == "basic"), "a command that the app does not have");
        batching.shutdown_and_check().await;
    }
    let plain = basic().await;
    assert!(!keys(&status(&plain).await).contains("batches"));
    plain.shutdown_and_check().await;
}
