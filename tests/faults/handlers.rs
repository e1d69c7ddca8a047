//! Faults of handlers that their process survives: exceptions, results, output, forks.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use crate::faults::harness::{Expected, Harness, assert_error};
use futures_util::StreamExt;
use herder::{
    Error,
    error::Category,
    testing::{log_lines_of, wait_until, with_timeout},
};
use serde_json::{Value, json};
use std::time::Duration;

const PYTHON: Category = Category::Python;

/// Checks a handler that raises: the caller gets the type, the message and the traceback, without frames of Herder.
async fn check_exception(
    hint: &str,
    fault: &'static str,
    command: &str,
    arguments: Value,
    kind: &str,
    contains: &[&str],
) {
    let harness = Harness::new(hint).await;
    let error = harness.call(command, arguments).await.unwrap_err();
    let Error::Exception { kind: raised, traceback, worker, .. } = &error else { unreachable!("{error:?}") };
    assert_eq!((raised.as_str(), *worker), (kind, harness.victim));
    let traceback = traceback.as_deref().unwrap();
    assert!(traceback.contains(&format!("in {command}")) && traceback.contains("faults.py"), "{traceback}");
    assert!(!traceback.contains("herder/loop.py"), "no frame of Herder: {traceback}");
    assert_error(&error, &Expected { category: PYTHON, status: 500, contains });
    assert!(error.may_have_run() && !error.is_retryable());
    harness.assert_survived(fault, &error).await;
}

#[tokio::test]
async fn an_exception() {
    let contains = ["ValueError", "the price of gold is unknown"];
    check_exception("exception", "an exception", "fail", json!({ "how": "exception" }), "ValueError", &contains).await;
}

#[tokio::test]
async fn a_keyboard_interrupt() {
    let contains = ["KeyboardInterrupt"];
    check_exception("keyboard", "`KeyboardInterrupt`", "fail", json!({ "how": "keyboard" }), contains[0], &contains)
        .await;
}

#[tokio::test]
async fn sys_exit() {
    check_exception("sysexit", "`sys.exit(4)`", "fail", json!({ "how": "exit" }), "SystemExit", &["SystemExit", "4"])
        .await;
}

#[tokio::test]
async fn an_exception_whose_str_raises() {
    let contains = ["Unprintable", "<unprintable Unprintable object>"];
    let how = json!({ "how": "unprintable" });
    check_exception("unprintable", "an exception whose `__str__` raises", "fail", how, contains[0], &contains).await;
}

#[tokio::test]
async fn asyncio_cancelled_error() {
    let (contains, how) = (["CancelledError"], json!({ "how": "cancelled" }));
    check_exception("asynccancel", "`asyncio.CancelledError` from a sync handler", "fail", how, contains[0], &contains)
        .await;
}

#[tokio::test]
async fn deep_recursion() {
    let contains = ["RecursionError", "maximum recursion depth"];
    check_exception("recursion", "deep recursion", "recurse", json!({}), contains[0], &contains).await;
}

/// The worker cannot open a file any more, not even a source file for the traceback.
#[tokio::test]
async fn a_handler_that_leaks_all_descriptors() {
    let harness = Harness::new("leak").await;
    let error = harness.call("leak_fds", json!({})).await.unwrap_err();
    assert!(matches!(&error, Error::Exception { kind, .. } if kind == "OSError"), "{error:?}");
    assert_error(&error, &Expected { category: PYTHON, status: 500, contains: &["Too many open files"] });
    let closed: u32 = harness.call("close_leaked", json!({})).await.unwrap().decode().unwrap();
    assert!(closed > 30, "the worker that ran out of descriptors answered: {closed}");
    harness.assert_survived("a handler that leaks descriptors until none are left", &error).await;
}

/// Python itself notices the limit of its address space and raises `MemoryError`, so the worker survives.
#[tokio::test]
async fn more_memory_than_the_limit() {
    let harness = Harness::new("hog").await;
    let error = harness.call("fail", json!({ "how": "memory" })).await.unwrap_err();
    assert_error(&error, &Expected { category: PYTHON, status: 500, contains: &["MemoryError"] });
    harness.assert_survived("more memory than `ulimit -v` allows", &error).await;
}

#[tokio::test]
async fn a_rejection() {
    let harness = Harness::new("rejected").await;
    let error = harness.call("fail", json!({ "how": "rejected" })).await.unwrap_err();
    assert!(matches!(&error, Error::Rejected { code: Some(code), .. } if code == "sold-out"), "{error:?}");
    assert_error(&error, &Expected { category: PYTHON, status: 422, contains: &["no gold today"] });
    harness.assert_survived("`herder.Rejected`", &error).await;
}

/// Checks a `herder.Rejected` that is itself broken.
async fn check_rejection(how: &str, fault: &'static str, contains: &[&str], code: Option<&str>) {
    let harness = Harness::new(&format!("rejected_{how}")).await;
    let error = harness.call("fail", json!({ "how": how })).await.unwrap_err();
    let Error::Rejected { code: given, .. } = &error else { unreachable!("{error:?}") };
    assert_eq!(given.as_deref(), code);
    assert_error(&error, &Expected { category: PYTHON, status: 422, contains });
    harness.assert_survived(fault, &error).await;
}

#[tokio::test]
async fn r38_a_rejection_code_whose_str_raises() {
    let code = "<unprintable UnprintableCode object>";
    check_rejection("code", "a code whose `__str__` raises", &["no gold today"], Some(code)).await;
}

#[tokio::test]
async fn r38_a_rejection_without_super_init() {
    check_rejection("initless", "a subclass of `Rejected` without `super().__init__`", &["rejected"], None).await;
}

/// R41: the worker cuts the error frame to the limit of the host, so the traceback is missing.
#[tokio::test]
async fn r41_an_exception_larger_than_max_frame() {
    // The list of the commands must fit, and the text of the exception, 2000 bytes, must not.
    let harness = Harness::with_settings("long_error", |builder| builder.max_frame(1500)).await;
    let error = harness.call("fail", json!({ "how": "long" })).await.unwrap_err();
    let Error::Exception { traceback: None, .. } = &error else { unreachable!("{error:?}") };
    assert_error(&error, &Expected { category: PYTHON, status: 500, contains: &["ValueError", "gold gold"] });
    harness.assert_survived("an exception whose text is larger than `max_frame`", &error).await;
}

/// Checks a result that cannot be encoded as JSON.
async fn check_unencodable(of: &str, fault: &'static str, contains: &[&str]) {
    let harness = Harness::new(&format!("result_{}", of.replace(' ', "_"))).await;
    let error = harness.call("result", json!({ "of": of })).await.unwrap_err();
    let Error::Unencodable { worker, .. } = &error else { unreachable!("{error:?}") };
    assert_eq!(*worker, harness.victim);
    assert_error(&error, &Expected { category: PYTHON, status: 500, contains });
    assert!(error.may_have_run());
    harness.assert_survived(fault, &error).await;
}

/// Takes a stream that fails after these items.
async fn check_stream(fault: &'static str, how: &str, items: &[u64], expected: &Expected<'_>) {
    let harness = Harness::new(&format!("stream_{}", how.replace(' ', "_"))).await;
    let call = harness.pool.call::<u64>("yields", &json!({ "how": how }));
    let mut stream = if how == "never" { call.idle(Duration::from_millis(200)) } else { call }.stream();
    for item in items {
        assert_eq!(with_timeout("an item", stream.next()).await.unwrap().unwrap(), *item);
    }
    let error = with_timeout("the error", stream.next()).await.unwrap().unwrap_err();
    assert!(with_timeout("the end", stream.next()).await.is_none());
    assert_error(&error, expected);
    harness.assert_survived(fault, &error).await;
}

#[tokio::test]
async fn r42_a_generator_that_raises() {
    let expected = Expected { category: PYTHON, status: 500, contains: &["ValueError", "no more items"] };
    check_stream("a generator that raises after its first item", "raises", &[1], &expected).await;
}

#[tokio::test]
async fn r42_a_generator_that_yields_an_object() {
    let expected = Expected { category: PYTHON, status: 500, contains: &["item 1 of the stream", "object"] };
    check_stream("a generator that yields an object of an unknown class", "an object", &[1], &expected).await;
}

#[tokio::test]
async fn r42_a_generator_that_never_yields() {
    let expected = Expected { category: Category::Timeout, status: 504, contains: &["no item for 200ms"] };
    check_stream("a generator that never yields, with a limit for the time between items", "never", &[], &expected)
        .await;
}

#[tokio::test]
async fn a_batch_of_another_length() {
    let harness = Harness::with_settings("batch", |builder| builder.env("FAULTS_BATCH", "1")).await;
    let error = harness.call("batch", json!({})).await.unwrap_err();
    let contains = ["batch returned 2 results for a batch of 1 call", "in their order"];
    assert_error(&error, &Expected { category: PYTHON, status: 500, contains: &contains });
    harness.assert_survived("a batch whose handler returns a list of another length", &error).await;
}

#[tokio::test]
async fn a_result_with_nan() {
    check_unencodable("nan", "a result with NaN", &["JSON", "NaN", "nan=\"null\""]).await;
}

#[tokio::test]
async fn a_result_with_an_object_of_an_unknown_class() {
    let contains = ["result.lines[0]", "type object", "@app.encoder(object)"];
    check_unencodable("object", "a result with an object of an unknown class", &contains).await;
}

#[tokio::test]
async fn a_result_that_contains_itself() {
    check_unencodable("cycle", "a result that contains itself", &["ircular"]).await;
}

#[tokio::test]
async fn a_result_with_a_generator() {
    check_unencodable("generator", "a result with a generator", &["type generator", "a list"]).await;
}

#[tokio::test]
async fn a_result_with_a_tuple_as_a_key() {
    check_unencodable("key", "a result with a tuple as a key", &["tuple"]).await;
}

#[tokio::test]
async fn a_deeply_nested_result() {
    check_unencodable("deep", "a result nested 100,000 levels deep", &["deep"]).await;
}

/// R36: Python's recursion limit no longer protects the C stack of the JSON encoder.
#[tokio::test]
async fn r36_a_deeply_nested_result_with_a_raised_recursion_limit() {
    let fault = "a result nested 100,000 levels deep, with a recursion limit of 1,000,000";
    check_unencodable("deep with a raised recursion limit", fault, &["deep"]).await;
}

#[tokio::test]
async fn r36_a_result_that_changes_while_it_is_encoded() {
    check_unencodable("changes", "a result that changes while it is encoded", &["changed size"]).await;
}

/// R41: the host does not parse a result, the caller does. Over HTTP the host checks it: `crates/cli/tests/calls.rs`.
#[tokio::test]
async fn r41_a_result_that_is_not_json() {
    let harness = Harness::new("forged").await;
    let reply = harness.call("forge", json!({ "result": "1,\"meta\":{}" })).await.unwrap();
    let error = reply.decode::<Value>().unwrap_err();
    assert_error(&error, &Expected { category: PYTHON, status: 500, contains: &["trailing characters"] });
    harness.assert_survived("a result that is not valid JSON", &error).await;
}

#[tokio::test]
async fn a_result_with_half_a_surrogate_pair() {
    check_unencodable("surrogate", "a result with an unpaired surrogate", &["surrogate"]).await;
}

#[tokio::test]
async fn a_result_larger_than_max_frame() {
    let harness = Harness::with_settings("huge", |builder| builder.max_frame(64 * 1024)).await;
    let error = harness.call("huge", json!({ "size": 1_000_000 })).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { may_have_run: true, worker: Some(_), .. }), "{error:?}");
    assert_error(
        &error,
        &Expected { category: PYTHON, status: 413, contains: &["huge", "1000018", "65536", "max_frame"] },
    );
    harness.assert_survived("a result larger than `max_frame`", &error).await;
}

/// R40: output of user code, from Python and from C, goes to the log with the worker's id and never into a frame.
#[tokio::test]
async fn output_from_python_and_c() {
    let harness = Harness::new("prints").await;
    harness.call("say", json!({ "text": "hello" })).await.unwrap();
    let (name, worker) = (harness.pool.name().to_string(), harness.victim.to_string());
    for (stream, text) in [
        ("stdout", "hello from Python"),
        ("stderr", "hello to stderr"),
        ("stdout", "hello from C"),
        ("stdout", "hello by write"),
    ] {
        wait_until(text, async || {
            let lines = log_lines_of(&name);
            lines
                .iter()
                .any(|line| line.target == "herder::worker" && line.message == text && line.is_of(&worker, stream))
        })
        .await;
    }
    harness
        .assert_survived_with_result(
            "`print` from Python and from C",
            "unaffected by the output, which is in the log with the worker's id",
        )
        .await;
}

/// A worker that prints faster than the log is written has to wait. No line is lost.
#[tokio::test]
async fn eight_mebibytes_on_stderr() {
    let harness = Harness::new("flood").await;
    let done: u64 = harness.call("shout", json!({ "megabytes": 8 })).await.unwrap().decode().unwrap();
    let name = harness.pool.name().to_string();
    wait_until("every line is in the log", async || {
        log_lines_of(&name).iter().filter(|line| line.message.len() == 1023).count() == 8192
    })
    .await;
    assert_eq!(done, 8);
    harness.assert_survived_with_result("8 MiB on stderr", "complete, and every line is in the log").await;
}

/// Checks a handler that forks: the child has neither the descriptors nor the loop, so only the parent answers the call.
async fn check_fork(child: &str, fault: &'static str) {
    let harness = Harness::new(&format!("fork_{child}")).await;
    let pid: u32 = harness.call("fork", json!({ "child": child })).await.unwrap().decode().unwrap();
    assert_ne!(pid, harness.victim_pid().await);
    harness.assert_survived_with_result(fault, "that of the parent, once").await;
}

#[tokio::test]
async fn a_fork_that_returns() {
    check_fork("returns", "a handler that forks, and the child returns too").await;
}

#[tokio::test]
async fn a_fork_that_raises() {
    check_fork("raises", "a handler that forks, and the child raises").await;
}

#[tokio::test]
async fn a_fork_that_returns_late() {
    check_fork("slow", "a handler that forks, and the child returns late").await;
}

/// The child is in the process group of the worker, so it is killed with the worker at the latest.
#[tokio::test]
async fn a_fork_that_keeps_running() {
    check_fork("stays", "a handler that forks, and the child keeps running").await;
}

/// R26: an exception that is raised after its call was answered is logged and affects no other call. An idle worker waits in a
/// system call; the next call wakes it, so the exception is raised by then.
async fn check_late_exception(how: &str, fault: &'static str) {
    let harness = Harness::new(&format!("late_{how}")).await;
    let path = harness.path("answered");
    harness.call("late", json!({ "how": how, "path": path })).await.unwrap();
    std::fs::write(&path, "").unwrap();
    let name = harness.pool.name().to_string();
    let logged = async |text: &str| {
        wait_until(text, async || log_lines_of(&name).iter().any(|line| line.message.contains(text))).await;
    };
    logged("raised").await;
    harness.call("ok", json!({})).await.unwrap();
    logged("ignored an exception raised outside a call").await;
    harness.assert_survived_with_result(fault, "unaffected; the exception is in the log").await;
}

#[tokio::test]
async fn r26_a_signal_handler_that_raises_after_its_call() {
    check_late_exception("alarm", "a signal handler that raises after its call").await;
}

#[tokio::test]
async fn r26_an_exception_thrown_into_the_main_thread_after_its_call() {
    check_late_exception("throw", "an exception that a thread throws into the main thread after its call").await;
}
