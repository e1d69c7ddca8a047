//! Every fault a worker or a caller can bring, against whole pools of real processes: one clear error to the one caller concerned,
//! nobody else notices, and the pool is whole again by itself. `docs/faults.md` is the table these tests write.

#[path = "../common/mod.rs"]
mod common;

use common::{pool, until};

#[tokio::test]
async fn smoke() {
    let pool = pool("smoke", |fresh| fresh.enhanced().app("herder.demo:app").build()).await;
    pool.whole("echo").await;
    println!("{:?}", pool.census.processes());
    until("x", async || true).await;
    let report = pool.end().await;
    println!("{report}");
}
