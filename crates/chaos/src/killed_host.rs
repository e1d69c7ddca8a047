//! A host that is killed: a small pool under load that runs until the kill. Prints a line after every 50th call, so that the
//! judge sees that it makes progress.

use crate::{answer::CallOutcome, config, host::Outcome, options::Options};
use futures_util::future::join_all;
use herder::Pool;
use serde_json::{Value, json};
use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

const CALLERS: usize = 4;

pub(crate) fn run(options: &Options, folder: &Path) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let pool = Pool::start(config::small(options, folder)?).await?;
        let calls = AtomicU64::new(0);
        join_all((0..CALLERS).map(|_| call_repeatedly(&pool, &calls))).await;
        Ok(())
    })
}

async fn call_repeatedly(pool: &Pool, calls: &AtomicU64) {
    loop {
        let id = calls.fetch_add(1, Relaxed) + 1;
        let reply = pool.call::<Value>("once", &json!({ "id": id, "ms": 1 })).reply().await;
        if id.is_multiple_of(50) && matches!(CallOutcome::of(reply, 0), CallOutcome::Ok { echo, .. } if echo == id) {
            println!("{id}");
        }
    }
}
