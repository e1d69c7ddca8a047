use super::*;
use crate::testing::{log_lines_of, wait_for_log, with_timeout};
use std::{fs, path::Path, sync::mpsc};

/// Files whose macros run on the emitting thread, on the thread that exports traces, or on a thread of the application: one
/// that calls them, or one that serves its HTTP.
const EXEMPT: [&str; 11] = [
    "events.rs",
    "events/tests.rs",
    "call_log.rs",
    "error/log.rs",
    "testing/logs.rs",
    "http/connections.rs",
    "http/log_levels.rs",
    "http/server/mod.rs",
    "http/server/dispatch.rs",
    "http/server/local.rs",
    "traces/otlp.rs",
];

/// R40: no thread of a pool calls the subscriber: `tracing`'s macros are in closures that are queued.
#[test]
fn r40_all_events_are_queued() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut unqueued_calls = Vec::new();
    let mut folders = vec![here.join("src"), here.join("../src")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") && !EXEMPT.iter().any(|end| path.ends_with(end))
            {
                unqueued_calls.extend(unqueued(&path));
            }
        }
    }
    assert!(unqueued_calls.is_empty(), "{unqueued_calls:#?}");
    assert!(!unqueued(&here.join("src/error/log.rs")).is_empty(), "the check itself can fail");
}

/// Returns the lines of a file that call one of the macros, with no `queue(` in them or in the three lines above.
fn unqueued(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let is_call = |line: &str| line.contains("tracing::") && line.contains("!(") && !line.trim().starts_with("//");
    let calls = (0..lines.len()).filter(|index| is_call(lines[*index]));
    let unqueued =
        calls.filter(|index| !lines[index.saturating_sub(3)..=*index].iter().any(|line| line.contains("queue(")));
    unqueued.map(|index| format!("{}:{}", path.display(), index + 1)).collect()
}

#[test]
fn control_characters_are_escaped_in_log_fields() {
    let text = "no\n2026-11-29 INFO forged \u{1b}[31mr\u{e9}d\r\u{9b}2J\ttab";
    assert_eq!(OneLine(text).to_string(), "no\\n2026-11-29 INFO forged \\u{1b}[31mr\u{e9}d\\r\\u{9b}2J\\ttab");
}

/// R40: events without room in the queue are dropped, counted, and reported by one event after the queued ones.
#[tokio::test]
async fn r40_dropped_events_are_counted_and_reported() {
    crate::testing::capture();
    let log = EventLog::with_limit(Some("flooded"), 3);
    let (reached, blocked) = oneshot::channel();
    let (release, released) = mpsc::channel();
    log.queue(Level::ERROR, move || {
        let _ = reached.send(());
        let _ = released.recv();
    });
    with_timeout("the first event", blocked).await.unwrap();
    for number in 0..10 {
        log.queue(Level::INFO, move || tracing::info!(target: "herder", pool = "flooded", number, "one of many"));
    }
    EventLog::new("beside").queue(Level::INFO, || tracing::info!(target: "herder", pool = "beside", "another source"));
    assert!(log_lines_of("beside").is_empty(), "the thread is blocked");
    release.send(()).unwrap();
    wait_for_log(&["beside"]).await;
    let lines: Vec<_> = log_lines_of("flooded").into_iter().map(|line| line.all).collect();
    let queued = lines.iter().filter(|line| line.contains("one of many")).count();
    assert_eq!(queued, 2, "{lines:?}");
    let reports: Vec<_> = lines.iter().filter(|line| line.contains("log events were dropped")).collect();
    assert!(reports.len() == 1 && reports[0].contains("dropped=8"), "{lines:?}");
    log.queue(Level::INFO, || tracing::info!(target: "herder", pool = "flooded", "there is room again"));
    wait_for_log(&["flooded", "there is room again"]).await;
}

/// R40: a panic in an event does not stop the emitting thread, not even if the panic's destructor panics.
#[tokio::test]
async fn r40_a_panic_in_an_event_ends_no_thread() {
    struct Malicious;
    impl Drop for Malicious {
        fn drop(&mut self) {
            panic!("in the panic's own destructor");
        }
    }
    crate::testing::capture();
    let log = EventLog::new("panicky");
    for _ in 0..3 {
        log.queue(Level::ERROR, || std::panic::panic_any(Malicious));
    }
    log.queue(Level::INFO, || tracing::info!(target: "herder", pool = "panicky", "still there"));
    wait_for_log(&["panicky", "still there"]).await;
}
