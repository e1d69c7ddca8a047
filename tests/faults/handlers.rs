//! What handlers get wrong without taking their process with them: exceptions, results, output, forks.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use crate::faults::harness::{Expected, Harness, assert_error};
use herder::testing::{log_lines_of, wait_until};
use herder::{Category, Error};
use serde_json::{Value, json};

const PYTHON: Category = Category::Python;

/// A handler that raises: type, message and traceback reach the caller; the worker lives on.
async fn exception(hint: &str, fault: &'static str, command: &str, arguments: Value, kind: &str, says: &[&str]) {
    let harness = Harness::new(hint).await;
    let error = harness.call(command, arguments).await.unwrap_err();
    let Error::Exception { kind: raised, traceback, worker, .. } = &error else { unreachable!("{error:?}") };
    assert_eq!((raised.as_str(), *worker), (kind, harness.victim));
    let traceback = traceback.as_deref().unwrap();
    assert!(traceback.contains(&format!("in {command}")) && traceback.contains("faults.py"), "{traceback}");
    assert!(!traceback.contains("herder/loop.py"), "no frame of ours: {traceback}");
    assert_error(&error, &Expected { category: PYTHON, status: 500, says });
    assert!(error.may_have_run() && !error.is_retryable());
    harness.survived(fault, &error).await;
}

#[tokio::test]
async fn an_exception() {
    let says = ["ValueError", "the price of gold is unknown"];
    exception("exception", "an exception", "fail", json!({ "how": "exception" }), "ValueError", &says).await;
}

#[tokio::test]
async fn a_keyboard_interrupt() {
    let says = ["KeyboardInterrupt"];
    exception("keyboard", "`KeyboardInterrupt`", "fail", json!({ "how": "keyboard" }), says[0], &says).await;
}

#[tokio::test]
async fn sys_exit() {
    exception("sysexit", "`sys.exit(4)`", "fail", json!({ "how": "exit" }), "SystemExit", &["SystemExit", "4"]).await;
}

#[tokio::test]
async fn an_exception_that_can_not_be_printed() {
    let says = ["Unprintable", "can't be printed"];
    let how = json!({ "how": "unprintable" });
    exception("unprintable", "an exception whose `__str__` raises", "fail", how, says[0], &says).await;
}

#[tokio::test]
async fn asyncios_cancelled_error() {
    let (says, how) = (["CancelledError"], json!({ "how": "cancelled" }));
    exception("asynccancel", "`asyncio.CancelledError` from a sync handler", "fail", how, says[0], &says).await;
}

#[tokio::test]
async fn deep_recursion() {
    let says = ["RecursionError", "maximum recursion depth"];
    exception("recursion", "deep recursion", "recurse", json!({}), says[0], &says).await;
}

/// Even the traceback can't be written then by opening a file.
#[tokio::test]
async fn leaked_descriptors() {
    let harness = Harness::new("leak").await;
    let error = harness.call("leak_fds", json!({})).await.unwrap_err();
    assert!(matches!(&error, Error::Exception { kind, .. } if kind == "OSError"), "{error:?}");
    assert_error(&error, &Expected { category: PYTHON, status: 500, says: &["Too many open files"] });
    let closed: u32 = harness.call("close_leaked", json!({})).await.unwrap().decode().unwrap();
    assert!(closed > 30, "the worker that ran out of descriptors answers: {closed}");
    harness.survived("a handler that leaks descriptors until there are none left", &error).await;
}

/// A limit that Python itself notices is an exception, no death: the worker lives on.
#[tokio::test]
async fn a_lack_of_address_space() {
    let harness = Harness::new("hog").await;
    let error = harness.call("fail", json!({ "how": "memory" })).await.unwrap_err();
    assert_error(&error, &Expected { category: PYTHON, status: 500, says: &["MemoryError"] });
    harness.survived("more memory than `ulimit -v` allows", &error).await;
}

#[tokio::test]
async fn a_deliberate_no() {
    let harness = Harness::new("rejected").await;
    let error = harness.call("fail", json!({ "how": "rejected" })).await.unwrap_err();
    assert!(matches!(&error, Error::Rejected { code: Some(code), .. } if code == "sold-out"), "{error:?}");
    assert_error(&error, &Expected { category: PYTHON, status: 422, says: &["no gold today"] });
    harness.survived("`herder.Rejected`, a deliberate no", &error).await;
}

async fn rejected(how: &str, fault: &'static str, says: &[&str], code: Option<&str>) {
    let harness = Harness::new(&format!("rejected_{how}")).await;
    let error = harness.call("fail", json!({ "how": how })).await.unwrap_err();
    let Error::Rejected { code: given, .. } = &error else { unreachable!("{error:?}") };
    assert_eq!(given.as_deref(), code);
    assert_error(&error, &Expected { category: PYTHON, status: 422, says });
    harness.survived(fault, &error).await;
}

#[tokio::test]
async fn r38_a_code_that_can_not_be_printed() {
    let code = "<UnprintableCode that can't be printed>";
    rejected("code", "a code whose `__str__` raises", &["no gold today"], Some(code)).await;
}

#[tokio::test]
async fn r38_a_deliberate_no_that_was_never_initialized() {
    rejected("initless", "a subclass of `Rejected` without `super().__init__`", &["rejected"], None).await;
}

/// R41: the error frame is cut to what the host takes.
#[tokio::test]
async fn r41_an_error_larger_than_a_frame() {
    let harness = Harness::with("long_error", |builder| builder.max_frame(1024)).await;
    let error = harness.call("fail", json!({ "how": "long" })).await.unwrap_err();
    let Error::Exception { traceback: None, .. } = &error else { unreachable!("{error:?}") };
    assert_error(&error, &Expected { category: PYTHON, status: 500, says: &["ValueError", "gold gold"] });
    harness.survived("an exception whose text is larger than `max_frame`", &error).await;
}

async fn unencodable(of: &str, fault: &'static str, says: &[&str]) {
    let harness = Harness::new(&format!("result_{}", of.replace(' ', "_"))).await;
    let error = harness.call("result", json!({ "of": of })).await.unwrap_err();
    let Error::Unencodable { worker, .. } = &error else { unreachable!("{error:?}") };
    assert_eq!(*worker, harness.victim);
    assert_error(&error, &Expected { category: PYTHON, status: 500, says });
    assert!(error.may_have_run());
    harness.survived(fault, &error).await;
}

#[tokio::test]
async fn a_result_with_nan() {
    unencodable("nan", "a result with NaN", &["JSON", "Out of range float"]).await;
}

#[tokio::test]
async fn a_result_with_a_set() {
    unencodable("set", "a result with a set", &["type set"]).await;
}

#[tokio::test]
async fn a_result_with_a_cycle() {
    unencodable("cycle", "a result that contains itself", &["ircular"]).await;
}

#[tokio::test]
async fn a_result_with_bytes() {
    unencodable("bytes", "a result with bytes", &["type bytes"]).await;
}

#[tokio::test]
async fn a_result_with_keys_that_are_no_texts() {
    unencodable("key", "a result with a tuple as a key", &["tuple"]).await;
}

#[tokio::test]
async fn a_result_that_is_too_deep() {
    unencodable("deep", "a result nested 100,000 levels deep", &["deep"]).await;
}

/// Python's own recursion limit is no bound then: C code would overflow its stack.
#[tokio::test]
async fn r36_a_result_that_is_too_deep_for_the_stack() {
    let fault = "a result nested 100,000 levels deep, with a recursion limit of 1,000,000";
    unencodable("deep with a raised recursion limit", fault, &["deep"]).await;
}

#[tokio::test]
async fn r36_a_result_that_changes_while_it_is_encoded() {
    unencodable("changes", "a result that changes while it is encoded", &["changed size"]).await;
}

/// R41: the host does not parse a result; its caller does. Over HTTP the host checks it: `crates/cli/tests/calls.rs`.
#[tokio::test]
async fn r41_a_result_that_is_no_json() {
    let harness = Harness::new("forged").await;
    let reply = harness.call("forge", json!({ "payload": "1,\"meta\":{}" })).await.unwrap();
    let error = reply.decode::<Value>().unwrap_err();
    assert_error(&error, &Expected { category: PYTHON, status: 500, says: &["trailing characters"] });
    harness.survived("a result that is not valid JSON", &error).await;
}

#[tokio::test]
async fn a_result_with_half_a_surrogate_pair() {
    unencodable("surrogate", "a result with half a surrogate pair", &["surrogate"]).await;
}

#[tokio::test]
async fn a_result_larger_than_a_frame() {
    let harness = Harness::with("huge", |builder| builder.max_frame(64 * 1024)).await;
    let error = harness.call("huge", json!({ "size": 1_000_000 })).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { may_have_run: true, worker: Some(_), .. }), "{error:?}");
    assert_error(&error, &Expected { category: PYTHON, status: 413, says: &["huge", "1000018", "65536", "max_frame"] });
    harness.survived("a result larger than `max_frame`", &error).await;
}

/// R40: what user code prints, from wherever, is a line of the log with the worker's id, and never in a frame.
#[tokio::test]
async fn prints() {
    let harness = Harness::new("prints").await;
    harness.call("say", json!({ "text": "hello" })).await.unwrap();
    let (name, worker) = (harness.pool.name().to_string(), format!("{}/{}", harness.pool.name(), harness.victim));
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
    harness.survived_fine("`print` from Python and from C", "nothing of it; log lines with the worker's id").await;
}

/// A worker that prints faster than the log takes waits; nothing is lost, and no memory grows without bound.
#[tokio::test]
async fn a_flood_on_stderr() {
    let harness = Harness::new("flood").await;
    let done: u64 = harness.call("shout", json!({ "megabytes": 8 })).await.unwrap().decode().unwrap();
    let name = harness.pool.name().to_string();
    wait_until("every line is there", async || {
        log_lines_of(&name).iter().filter(|line| line.message.len() == 1023).count() == 8192
    })
    .await;
    assert_eq!(done, 8);
    harness.survived_fine("8 MiB on stderr", "as ever; every line is in the log").await;
}

/// The fork has neither the descriptors nor the loop: it can't answer in the worker's name.
async fn forks(child: &str, fault: &'static str) {
    let harness = Harness::new(&format!("fork_{child}")).await;
    let pid: u32 = harness.call("fork", json!({ "child": child })).await.unwrap().decode().unwrap();
    let answered = harness.victim_pid().await;
    assert_ne!(pid, answered);
    harness.survived_fine(fault, "the parent's, once").await;
}

#[tokio::test]
async fn a_fork_that_returns() {
    forks("returns", "a handler that forks, and the fork returns too").await;
}

#[tokio::test]
async fn a_fork_that_raises() {
    forks("raises", "a handler that forks, and the fork raises").await;
}

#[tokio::test]
async fn a_fork_that_returns_slowly() {
    forks("slow", "a handler that forks, and the fork returns late").await;
}

/// In the worker's process group, so it ends with the worker at the latest.
#[tokio::test]
async fn a_fork_that_stays() {
    forks("stays", "a handler that forks, and the fork lives on").await;
}

/// R26: whatever comes too late for its call is nobody's exception. The next call wakes the worker, which meets it then at the
/// latest.
async fn late(how: &str, fault: &'static str) {
    let harness = Harness::new(&format!("late_{how}")).await;
    let path = harness.path("answered");
    harness.call("late", json!({ "how": how, "path": path })).await.unwrap();
    std::fs::write(&path, "").unwrap();
    let name = harness.pool.name().to_string();
    let logged = async |text: &str| {
        wait_until(text, async || log_lines_of(&name).iter().any(|line| line.message.contains(text))).await
    };
    logged("raised").await;
    harness.call("ok", json!({})).await.unwrap();
    logged("raised outside of a call is ignored").await;
    harness.survived_fine(fault, "in time; a line of the log has the exception").await;
}

#[tokio::test]
async fn r26_a_signal_handler_that_raises_late() {
    late("alarm", "a signal handler that raises after its call").await;
}

#[tokio::test]
async fn r26_an_exception_that_is_thrown_late() {
    late("throw", "an exception that a thread throws into the main thread after its call").await;
}
