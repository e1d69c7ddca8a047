//! A pool of workers in another language: `cargo run --example foreign_worker` (needs Node.js). A worker is any
//! executable that implements docs/protocol.md; `examples/workers/echo.mjs` was written from that page alone.
use herder::{Error, Pool, PoolConfig};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let echo = PoolConfig::enhanced("echo").command(["node", "examples/workers/echo.mjs"]).pool_size(2).concurrency(8);
    let pool = Pool::start(echo.relative_to(env!("CARGO_MANIFEST_DIR")).build()?).await?;

    println!("echo: {}", pool.call::<Value>("echo", &json!({ "x": "ü" })).await?);
    for n in 1..=3 {
        let reply = pool.call::<u64>("count", &json!({})).session("ann").reply().await?;
        println!("count of ann: {} on {} ({})", reply.decode::<u64>()?, reply.worker, reply.routing);
        assert_eq!(reply.decode::<u64>()?, n, "the session's state stays with its worker");
    }
    println!("ended: {}", pool.end_session("ann").await?);
    println!("count of ann after that: {}", pool.call::<u64>("count", &json!({})).session("ann").await?);

    // Errors contain the message of the worker, in whatever language it is written.
    for command in ["fail", "reject", "nothing"] {
        let Err(error) = pool.call::<Value>(command, &json!({})).await else {
            return Err("an error was expected".into());
        };
        println!("{command}: {error}");
    }
    // One worker runs eight of these calls at once. At its deadline the call is cancelled in the worker, which
    // continues.
    let slow = pool.call::<Value>("sleep", &json!({ "ms": 60_000 })).timeout(Duration::from_millis(200));
    assert!(matches!(slow.await, Err(Error::DeadlineExceeded { .. })), "the deadline passes");
    println!("after a deadline: {}", pool.call::<Value>("echo", &json!({ "alive": true })).await?);
    println!("{}", pool.shutdown(Duration::from_secs(5)).await?);
    Ok(())
}
