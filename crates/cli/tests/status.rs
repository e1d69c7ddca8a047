//! `herder status` with a real server and real workers.

use crate::support::{Server, herder};
use serde_json::json;
use std::fs;

const POOL: &str = "[pools.shop]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n";

/// Runs a command about the server. Returns its exit code, its output and its errors.
fn run(server: &Server, args: &[&str]) -> (i32, String, String) {
    let output = herder(server.folder.path(), args).args(["--url", &server.url()]).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

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
    server.call("shop/invented", "{}", &[]).problem(404, "unknown-command");
    fs::write(server.file("first"), "").unwrap();
    assert_eq!((running.join().unwrap().status, waiting.join().unwrap().status), (200, 200));
    let late = [("Herder-Timeout", "50ms")];
    server.call("shop/wait", &body("second"), &late).problem(504, "deadline-exceeded");
    server.call("shop/fail", "{}", &[]).problem(500, "exception");
    server.call("shop/die", "{}", &[]).problem(502, "worker-lost");

    let (code, all, err) = run(&server, &["status"]);
    assert_eq!((code, err.as_str()), (0, ""), "{all}");
    let cells = |line: usize| all.lines().nth(line).unwrap().split("  ").map(str::trim).filter(|cell| !cell.is_empty());
    let columns: Vec<_> = cells(0).zip(cells(1)).filter(|(title, _)| OUTCOMES.contains(title)).collect();
    assert_eq!(columns, OUTCOMES.into_iter().zip(["2", "1", "1", "1", "2"]).collect::<Vec<_>>(), "{all}");
    let (_, one, _) = run(&server, &["status", "shop"]);
    assert!(one.contains("\n2 calls ok, 1 failed, 1 lost, 1 timed out, 2 refused\n"), "{one}");
    let (_, frame, _) = run(&server, &["top", "--once"]);
    assert!(frame.contains("  ok 2  failed 1  lost 1  timed out 1  refused 2"), "{frame}");
    let status = server.get("/v1/pools/shop").json;
    let calls: u64 = status["commands"].as_object().unwrap().values().map(|each| each["calls"].as_u64().unwrap()).sum();
    let ended: u64 = status["outcomes"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!((calls, ended), (7, 7), "{status}");
}

const OUTCOMES: [&str; 5] = ["OK", "FAILED", "LOST", "TIMED OUT", "REFUSED"];
