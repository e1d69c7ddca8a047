//! `herder status`, and the commands that it names: `herder stack` and `herder quarantine`, with a real server and real workers.

use crate::support::{Server, wait_until};
use serde_json::json;
use std::fs;

const POOL: &str = "[pools.shop]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n";

/// R8: each call is in one column, also one that is refused before it reaches the pool, and one whose deadline passes.
#[test]
fn r8_refused_and_timed_out_calls_are_counted() {
    let server = Server::with(&format!("{POOL}queue.limit = 1\nqueue.timeout = '10m'\ntimeout = '10m'\n"));
    let body = |name: &str| json!({ "file": server.file(name) }).to_string();
    let running = server.background("shop/wait", &body("first"), &[]);
    server.until_queue("shop", 0, 1);
    let waiting = server.background("shop/echo", "{}", &[]);
    server.until_queue("shop", 1, 1);
    server.call("shop/echo", "{}", &[]).problem(429, "queue-full");
    fs::write(server.file("first"), "").unwrap();
    assert_eq!((running.join().unwrap().status, waiting.join().unwrap().status), (200, 200));
    server.call("shop/invented", "{}", &[]).problem(404, "unknown-command");
    let late = [("Herder-Timeout", "50ms")];
    server.call("shop/wait", &body("second"), &late).problem(504, "deadline-exceeded");
    server.call("shop/fail", "{}", &[]).problem(500, "exception");
    server.call("shop/die", "{}", &[]).problem(502, "worker-lost");

    let (code, all, err) = server.run(&["status"]);
    assert_eq!((code, err.as_str()), (0, ""), "{all}");
    let cells = |line: usize| all.lines().nth(line).unwrap().split("  ").map(str::trim).filter(|cell| !cell.is_empty());
    let columns: Vec<_> = cells(0).zip(cells(1)).filter(|(title, _)| OUTCOMES.contains(title)).collect();
    assert_eq!(columns, OUTCOMES.into_iter().zip(["2", "1", "1", "1", "2"]).collect::<Vec<_>>(), "{all}");
    let (_, one, _) = server.run(&["status", "shop"]);
    assert!(one.contains("\n2 calls ok, 1 failed, 1 lost, 1 timed out, 2 refused\n"), "{one}");
    let (_, frame, _) = server.run(&["top", "--once"]);
    assert!(frame.contains("  ok 2  failed 1  lost 1  timed out 1  refused 2"), "{frame}");
    let status = server.get("/v1/pools/shop").json;
    let calls: u64 = status["commands"].as_object().unwrap().values().map(|each| each["calls"].as_u64().unwrap()).sum();
    let ended: u64 = status["outcomes"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!((calls, ended), (7, 7), "{status}");
}

const OUTCOMES: [&str; 5] = ["OK", "FAILED", "LOST", "TIMED OUT", "REFUSED"];

/// R50: the stack of a worker whose handler does not return shows where it is.
#[test]
fn r50_herder_stack_shows_where_a_handler_is() {
    let server = Server::with(POOL);
    let body = json!({ "file": server.file("go") }).to_string();
    let waiting = server.background("shop/wait", &body, &[]);
    wait_until("the handler is in its loop", || {
        let (code, text, err) = server.run(&["stack", "shop", "w1"]);
        assert_eq!((code, err.as_str()), (0, ""), "{text}");
        assert!(text.starts_with("worker w1.1\n"), "{text}");
        text.contains("in wait\n")
    });
    let (code, _, err) = server.run(&["stack", "shop", "w9"]);
    assert!(code == 1 && err.contains("no-such-worker (404)"), "{err}");
    fs::write(server.file("go"), "").unwrap();
    assert_eq!(waiting.join().unwrap().result(), "waited");
}

/// R37: the status names the command that lists quarantined calls and releases one.
#[test]
fn r37_herder_quarantine_lists_and_releases_calls() {
    let server = Server::with(&format!("{POOL}poison = {{ max_worker_deaths = 1, quarantine = '1h' }}\n"));
    let quarantine = |args: &[&str]| server.run(&[&["quarantine", "shop"], args].concat());
    assert_eq!(quarantine(&[]).1, "no call has killed workers of pool `shop` lately\n");
    server.call("shop/die", "{}", &[]).problem(502, "worker-lost");
    let (_, status, _) = server.run(&["status", "shop"]);
    assert!(status.contains("\n1 quarantined call; see `herder quarantine shop`\n"), "{status}");
    let (_, list, _) = quarantine(&[]);
    let row: Vec<&str> = list.lines().last().unwrap().split_whitespace().collect();
    let [fingerprint, "die", "quarantined", "1", ..] = row[..] else { panic!("{list}") };
    assert!(quarantine(&["--json"]).1.contains(fingerprint));
    let released = format!("released {fingerprint} of pool `shop`\n");
    assert_eq!(quarantine(&["--release", fingerprint]), (0, released, String::new()));
    let (code, _, err) = quarantine(&["--release", fingerprint]);
    assert!(code == 1 && err.contains("not-quarantined (404)"), "{err}");
}
