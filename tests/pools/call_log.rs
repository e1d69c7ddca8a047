//! Log lines of calls (R38): each failed call once, up to a limit, and every call at DEBUG. The workers are scripted fakes.

use herder::{
    Error, Result,
    testing::{
        Fault, LogLine, Script, ScriptedPool, TestContext, VirtualClock, log_lines_of, scripted, scripted_on,
        wait_until,
    },
};
use serde_json::{Value, json};
use std::time::Duration;
use tracing::Level;

fn script() -> Script {
    Script::new()
        .command("ok", async |_| Ok(Value::Null))
        .command("no", async |_| Err(Fault::rejected("not today")))
        .command("raise", async |_| Err(Fault::raised("KeyError", "'tea'")))
        .command("exit", async |_| Err(Fault::exit(3)))
}

async fn call(pool: &ScriptedPool, command: &str) -> Result<Value> {
    pool.call(command, &json!({})).session("ann").await
}

/// Waits for this number of log lines with this message and returns them.
async fn wait_for_lines(pool: &ScriptedPool, message: &str, count: usize) -> Vec<LogLine> {
    let lines =
        || log_lines_of(pool.name().as_str()).into_iter().filter(|line| line.message == message).collect::<Vec<_>>();
    wait_until(message, async || lines().len() >= count).await;
    lines()
}

/// R38: a failed call is one log line with all its fields, among them the `error_id` of the error. A rejection has the level
/// INFO, other failures have WARN.
#[tokio::test]
async fn r38_a_failed_call_is_logged_once() {
    let pool = scripted("failed", script(), |context| context.enhanced().app("app:app").pool_size(1).build()).await;
    call(&pool, "ok").await.unwrap();
    for (command, level, message, slug) in [
        ("raise", Level::WARN, "call failed", "exception"),
        ("exit", Level::WARN, "call failed", "session-worker-lost"),
        ("no", Level::INFO, "call refused", "rejected"),
    ] {
        let error = call(&pool, command).await.unwrap_err();
        assert_eq!(error.slug(), slug);
        let id = error.error_id().unwrap().to_string();
        let found = || {
            log_lines_of(pool.name().as_str()).into_iter().filter(|line| line.all.contains(&format!("error_id={id} ")))
        };
        wait_until("the failure is logged", async || found().any(|line| line.message == message)).await;
        let line = found().find(|line| line.message == message).unwrap();
        assert_eq!((line.level, line.target.as_str()), (level, "herder::call"), "{line:?}");
        for field in [
            format!("command={command} "),
            "session=ann ".into(),
            "worker=w1.".into(),
            format!("error={slug} "),
            "call=".into(),
        ] {
            assert!(line.all.contains(&field), "{field}: {line:?}");
        }
        assert_eq!(found().filter(|line| line.message == message).count(), 1);
    }
    let unknown = call(&pool, "nothing").await.unwrap_err();
    assert!(matches!(unknown, Error::UnknownCommand { .. }));
    let refused = wait_for_lines(&pool, "call refused", 2).await;
    assert!(refused[1].all.contains("unknown-command"), "{refused:?}");
    let calls = wait_for_lines(&pool, "call", 5).await;
    assert!(calls.iter().all(|line| line.level == Level::DEBUG), "{calls:?}");
    assert!(calls[0].all.contains("outcome=ok") && calls[0].all.contains("routing=new"), "{calls:?}");
    pool.shutdown_and_check().await;
}

/// R38: a call that the end of its pool cut off is a failure, with the worker that ran it; one that has not run was refused.
#[tokio::test]
async fn r38_a_call_that_ran_until_the_pool_ended_has_failed() {
    let script = script().command("hang", async |_| std::future::pending().await);
    let configured =
        |context: &TestContext| context.enhanced().app("app:app").pool_size(1).overflow(0).pipeline(1).build();
    let pool = scripted("cut-off", script, configured).await;
    let handle = herder::Pool::clone(&pool);
    let [running, waiting] = ["hang", "ok"].map(|command| handle.call::<Value>(command, &json!({})).reply());
    wait_until("both calls are admitted", async || pool.status().await.unwrap().counters.submitted == 2).await;
    let name = pool.name().to_string();
    pool.shutdown(Duration::ZERO).await.unwrap();
    let (running, waiting) = (running.await.unwrap_err(), waiting.await.unwrap_err());
    assert!(running.may_have_run() && running.worker().is_some() && running.send_count() == 1, "{running:?}");
    assert!(!waiting.may_have_run() && waiting.worker().is_none(), "{waiting:?}");
    for (message, level, command) in [("call failed", Level::WARN, "hang"), ("call refused", Level::INFO, "ok")] {
        let is_meant = |line: &LogLine| line.message == message && line.all.contains(&format!("command={command} "));
        wait_until(message, async || log_lines_of(&name).iter().any(is_meant)).await;
        let line = log_lines_of(&name).into_iter().find(is_meant).unwrap();
        assert_eq!((line.level, line.all.contains("worker=w1.")), (level, command == "hang"), "{line:?}");
    }
}

/// R38, R54: at most ten failures of one command are logged in ten seconds. The others are counted, and the count is logged
/// after that time, whether or not another call fails.
#[tokio::test]
async fn r38_failures_beyond_the_limit_are_counted() {
    let clock = VirtualClock::new();
    let pool = scripted_on(&clock, "limited", script(), |context| context.enhanced().app("app:app").build()).await;
    for _ in 0..31 {
        call(&pool, "raise").await.unwrap_err();
    }
    call(&pool, "no").await.unwrap_err();
    wait_for_lines(&pool, "call refused", 1).await;
    assert_eq!(wait_for_lines(&pool, "call failed", 10).await.len(), 10);
    let summary = "log lines of failed calls were suppressed";
    wait_until("the suppressed failures are logged", async || {
        clock.advance(Duration::from_secs(10)).await;
        log_lines_of(pool.name().as_str()).iter().any(|line| line.message == summary)
    })
    .await;
    let line = wait_for_lines(&pool, summary, 1).await.remove(0);
    assert!(line.all.contains("command=raise error=exception suppressed=21 "), "{line:?}");
    pool.shutdown_and_check().await;
}

/// R38: the count of suppressed failures is logged at the latest when the pool ends.
#[tokio::test]
async fn r38_suppressed_failures_are_logged_at_the_end() {
    let pool = scripted("ended", script(), |context| context.enhanced().app("app:app").build()).await;
    for _ in 0..12 {
        call(&pool, "raise").await.unwrap_err();
    }
    let name = pool.name().to_string();
    pool.shutdown_and_check().await;
    let is_summary = |line: &LogLine| {
        line.message == "log lines of failed calls were suppressed" && line.all.contains("suppressed=2 ")
    };
    wait_until("the suppressed failures are logged", async || log_lines_of(&name).iter().any(is_summary)).await;
}

/// R50: the log events of a call have the id of its trace, whoever answers or refuses it, so that they are found by it.
#[tokio::test]
async fn r50_events_of_a_call_have_its_trace() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let pool = scripted("traced", script(), |context| context.enhanced().app("app:app").build()).await;
    let (handle, name) = (herder::Pool::clone(&pool), pool.name().to_string());
    let traced = async |command: &str| {
        let parent = format!("00-{TRACE}-b7ad6b7169203331-00");
        handle.call::<Value>(command, &json!({})).header("traceparent", &parent).await.map_err(|error| error.slug())
    };
    call(&pool, "no").await.unwrap_err();
    let refused = wait_for_lines(&pool, "call refused", 1).await;
    assert!(!refused[0].all.contains("trace_id"), "a call without a trace: {refused:?}");
    assert_eq!(traced("raise").await, Err("exception"));
    assert_eq!(traced("nothing").await, Err("unknown-command"));
    pool.shutdown_and_check().await;
    assert_eq!(traced("ok").await, Err("pool-closed"));
    let has_trace = |line: &LogLine| line.all.contains(&format!("trace_id={TRACE} "));
    for (message, slug) in [
        ("call failed", "exception"),
        ("call refused", "unknown-command"),
        ("call refused", "pool-closed"),
        ("call", "exception"),
    ] {
        let is_meant = |line: &LogLine| line.message == message && line.all.contains(slug);
        wait_until(slug, async || log_lines_of(&name).iter().any(is_meant)).await;
        assert!(log_lines_of(&name).iter().filter(|line| is_meant(line)).all(has_trace), "{message}, {slug}");
    }
}
