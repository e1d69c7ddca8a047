//! Records of Python's `logging` from real workers: their events, and that no call waits for them.

use herder::{
    Error,
    testing::{LogLine, TestPool, log_lines_of, pool, wait_for_log, wait_until},
};
use serde_json::json;

const APP: &str = r#"
import asyncio, logging, os
import herder

log = logging.getLogger("shop.db")
app = herder.App()

@app.command
def lose(n: int):
    try: {}["key"]
    except KeyError: log.exception("order %d is lost", n, extra={"n": n})

@app.command
def die():
    log.critical("the last words")
    os._exit(3)

@app.command
def flood(n: int = 1):
    for _ in range(n): log.info("flood")
    return os.getpid()

@app.command
async def overlap(name: str):
    await asyncio.sleep(0)
    log.info("overlap %s", name)
"#;

async fn start(name: &str) -> TestPool {
    pool(name, |context| {
        context.file("app.py", APP);
        context.enhanced().app("app.py:app").pool_size(1).overflow(0).concurrency(4).build()
    })
    .await
}

/// R40: one event has everything that a log needs: level, logger, fields, traceback, session and command.
#[tokio::test]
async fn r40_a_record_is_one_event_with_the_call() {
    let pool = start("logged").await;
    pool.call::<()>("lose", &json!({ "n": 7 })).session("ann").await.unwrap();
    let pool_name = format!("pool={}", pool.name());
    wait_for_log(&[
        "ERROR",
        "message=order 7 is lost",
        "worker=w1.1",
        &pool_name,
        "logger=shop.db",
        "session=ann",
        "command=lose",
        r#"fields={"n":7}"#,
        "traceback=Traceback (most recent call last):",
        "KeyError: 'key'",
    ])
    .await;
    let lines = log_lines_of(pool.name().as_str());
    // asyncio logs at DEBUG when a worker starts.
    let is_of_app = |line: &&LogLine| line.target == "herder::worker" && !line.all.contains("logger=asyncio");
    let lines: Vec<_> = lines.iter().filter(is_of_app).collect();
    assert_eq!(lines.len(), 1, "no line of the traceback is a line of the log: {lines:?}");
    pool.shutdown_and_check().await;
}

/// R40: what a worker logs directly before its death is in the log, and in the error of its call.
#[tokio::test]
async fn r40_the_last_record_of_a_worker_is_in_the_log_and_in_the_error() {
    let pool = start("exit_output").await;
    let error = pool.call::<()>("die", &json!({})).await.unwrap_err();
    let Error::WorkerLost { report, .. } = &error else { panic!("{error:?}") };
    assert_eq!(report.stderr_tail.last().map(String::as_str), Some("CRITICAL shop.db: the last words"));
    wait_for_log(&["ERROR", "the last words", "level_name=CRITICAL", pool.name().as_str()]).await;
    pool.wait_healthy("flood").await;
    pool.shutdown_and_check().await;
}

/// R26, R40: records of calls that overlap in one worker have each its own session.
#[tokio::test]
async fn r40_records_of_concurrent_calls_are_not_confused() {
    let pool = start("overlap").await;
    let names: Vec<String> = (0..20).map(|n| format!("s{n}x")).collect();
    let calls = names.iter().map(|name| {
        let arguments = json!({ "name": name });
        let call = pool.call::<()>("overlap", &arguments).session(name.as_str());
        tokio::spawn(async move { call.await.unwrap() })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    for name in &names {
        let (message, session) = (format!("message=overlap {name} "), format!("session={name} "));
        wait_for_log(&[&message, &session, "command=overlap", pool.name().as_str()]).await;
    }
    pool.shutdown_and_check().await;
}

/// R66, R69: a worker that logs as fast as it can delays no call, and every record is in the log or counted.
#[tokio::test]
async fn r66_a_flood_of_records_delays_no_call_and_is_counted() {
    let pool = start("log_flood").await;
    let count = 20_000;
    pool.call::<u32>("flood", &json!({ "n": count })).await.unwrap();
    let name = pool.name().to_string();
    wait_until("every record is logged or counted", async || {
        // Each call logs one more record, which reports those that were dropped before it.
        pool.call::<u32>("flood", &json!({ "n": 1 })).await.unwrap();
        let lines = log_lines_of(&name);
        let logged = lines.iter().filter(|line| line.message == "flood").count();
        let dropped = lines.iter().filter_map(|line| line.all.split("dropped=").nth(1)?.trim().parse::<usize>().ok());
        logged + dropped.sum::<usize>() >= count
    })
    .await;
    pool.shutdown_and_check().await;
}
