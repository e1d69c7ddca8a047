//! Calls over HTTP with real workers: results, and all errors of calls (R38, "Bad input").

use crate::support::{Server, folder, get, is_alive, post, wait_until};
use serde_json::json;
use std::fs;

const PLAIN: &str = "[pools.plain]\napp = 'app.py:app'\npool_size = 2\noverflow = 0\n";
/// One worker, a queue for one call, small frames.
const NARROW: &str = "[pools.narrow]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\nmax_frame = 4096\n\
                      queue = { limit = 1, timeout = '10m' }\ntimeout = '10m'\n";
const KEPT: &str = "[pools.kept]\nworker_type = 'enhanced'\napp = 'app.py:app'\npool_size = 2\noverflow = 0\n";

/// A worker without Herder's package. It responds with the bytes of the argument `hex`.
const FOREIGN: &str = r#"
import json, os, socket, struct
calls = socket.socket(fileno=int(os.environ["HERDER_FD"]))
file = calls.makefile("rb")

def send(kind, wire, body):
    calls.sendall(struct.pack("<IBBHQ", len(body), kind, 0, 0, wire) + body)

while header := file.read(16):
    length, kind, _, _, wire = struct.unpack("<IBBHQ", header)
    body = file.read(length)
    if kind == 1:
        send(1, 0, json.dumps({"protocol": 1, "pid": os.getpid(), "window": 1}).encode())
        send(2, 0, json.dumps({"commands": [{"name": "say"}]}).encode())
    if kind == 3:
        command, session = struct.unpack_from("<HH", body, 16)
        arguments = json.loads(body[20 + command + session :].decode())  # of a text, it refuses a byte order mark
        send(4, wire, struct.pack("<QQ", 1, 2) + bytes.fromhex(arguments["hex"]))
"#;

#[test]
fn results_have_metadata() {
    let server = Server::with(PLAIN);
    let reply = server.call("plain/echo", r#"{"x": 1, "y": {"z": "ä\u00e4"}}"#, &[("Content-Type", "text/plain")]);
    assert_eq!(reply.result(), &json!({"x": 1, "y": {"z": "ää"}}));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let meta = &reply.json["meta"];
    assert!(meta["worker"] == "w1" || meta["worker"] == "w2", "{meta}");
    assert_eq!((&meta["generation"], &meta["routing"], &meta["attempts"]), (&json!(1), &json!("unrouted"), &json!(1)));
    assert!(meta["queue_us"].is_u64() && meta["run_us"].is_u64());
    let large = server.call("plain/echo", r#"{"n": 12345678901234567890123}"#, &[]);
    assert!(
        large.body.contains(r#"12345678901234567890123}"#),
        "the number does not fit a double, and is passed on as text: {large:?}"
    );
    assert_eq!(server.call("plain/echo", "", &[]).result(), &json!({}), "no body is an empty object");
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(server.call("plain/echo", "{}", &form).status, 200, "the content type of `curl -d`");
}

/// 400: everything that Python's `json.loads` would refuse, and everything that is not an object.
#[test]
fn malformed_arguments_are_400() {
    let server = Server::with(PLAIN);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let digits = format!("{{\"a\":{}}}", "1".repeat(5000));
    for body in ["{", "[1]", "1", "null", "{\"a\":NaN}", "{\"a\":1,}", "{'a':1}", " ", "{} x", &deep, &digits] {
        let reply = server.call("plain/echo", body, &[]);
        assert_eq!(reply.problem(400, "malformed")["category"], "python", "{body}");
    }
    let reply = server.call("plain/echo", "{\"a\": 1\n \"b\": 2}", &[]);
    assert!(reply.json["detail"].as_str().unwrap().contains("line 2"), "{reply:?}");
    let long = format!("{{\"a\":\"{}\"", "x".repeat(600_000)); // checked on another thread
    server.call("plain/echo", &long, &[]).problem(400, "malformed");
    assert_eq!(server.call("plain/echo", &(long + "}"), &[]).result()["a"].as_str().unwrap().len(), 600_000);
}

/// R39: Python would read such a number as infinite. An integer may have any size.
#[test]
fn r39_a_number_beyond_a_double_is_400() {
    let server = Server::with(PLAIN);
    for number in ["1e999", "-1E+400", &format!("{}.0", "9".repeat(400))] {
        let reply = server.call("plain/echo", &format!("{{\"x\": [{number}]}}"), &[]);
        let detail = reply.problem(400, "malformed")["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("64-bit float"), "{detail}");
    }
    assert_eq!(server.call("plain/echo", r#"{"x": 1.7e308}"#, &[]).result()["x"], json!(1.7e308));
    assert!(server.call("plain/echo", &format!("{{\"x\": {}}}", "9".repeat(400)), &[]).body.contains("999"));
}

/// Some editors and programs write a byte order mark at the start of a file.
#[test]
fn a_byte_order_mark_is_skipped() {
    let server = Server::with(PLAIN);
    assert_eq!(server.call("plain/echo", "\u{feff}{\"x\": 1}", &[]).result(), &json!({"x": 1}));
    let long = "x".repeat(600_000);
    let reply = server.call("plain/echo", &format!("\u{feff}{{\"x\": \"{long}\"}}"), &[]);
    assert_eq!(reply.result(), &json!({ "x": long }));
    server.call("plain/echo", "\u{feff}\u{feff}{}", &[]).problem(400, "malformed");
}

/// R41, R38: the result of a worker is put into other JSON. A result that is not JSON fails its call; the worker
/// continues.
#[test]
fn r41_a_result_that_is_not_json_is_refused() {
    let folder = folder("[pools.foreign]\ncommand = ['python3', 'foreign.py']\npool_size = 1\noverflow = 0\n");
    std::fs::write(folder.path().join("foreign.py"), FOREIGN).unwrap();
    let server = Server::start(folder, &[], &[]);
    server.until_ready();
    let response = |result: &str| {
        let hex: String = result.bytes().map(|byte| format!("{byte:02x}")).collect();
        server.call("foreign/say", &json!({ "hex": hex }).to_string(), &[])
    };
    let long = format!("\"{}", "x".repeat(600_000)); // checked on another thread
    for bad in ["", " ", "1,\"meta\":{\"worker\":\"w9\"}", "{", "NaN", "[1]]", "\"\n\"", &long] {
        let reply = response(bad);
        let problem = reply.problem(500, "decode");
        assert!(problem["detail"].as_str().unwrap().contains("not valid JSON"), "{bad}: {problem}");
    }
    for good in ["1", " [10, \"\\ud83d\\ude00\"]\n", "\u{feff}null"] {
        let reply = response(good);
        assert!(reply.body.starts_with(&format!("{{\"result\":{},", good.trim_start_matches('\u{feff}'))), "{reply:?}");
        assert_eq!((&reply.json["meta"]["worker"], &reply.json["meta"]["generation"]), (&json!("w1"), &json!(1)));
    }
    let marked = server.call("foreign/say", "\u{feff}{\"hex\": \"31\"}", &[]);
    assert_eq!(marked.result(), &json!(1), "the worker gets no byte order mark");
    let deep = "[".repeat(5000) + &"]".repeat(5000);
    assert!(response(&deep).body.contains(&deep));
}

/// R51: the error for an invalid header contains its name, its value and the allowed values.
#[test]
fn bad_headers_are_400() {
    let server = Server::with(PLAIN);
    for (name, value, slug) in [
        ("Herder-Timeout", "5", "bad-header"),
        ("Herder-Idempotent", "1", "bad-header"),
        ("Herder-Affinity", "hint", "bad-header"),
        ("Herder-Sesion", "ann", "unknown-header"),
    ] {
        let reply = server.call("plain/echo", "{}", &[(name, value)]);
        let detail = reply.problem(400, slug)["detail"].as_str().unwrap();
        assert!(detail.to_lowercase().contains(&name.to_lowercase()), "{detail}");
    }
    let all = [
        ("Herder-Session", "ann"),
        ("Herder-Timeout", "1m 30s"),
        ("Herder-Idempotent", "false"),
        ("Herder-If-Absent", "create"),
        ("Herder-Affinity", "hint"),
    ];
    assert_eq!(server.call("plain/echo", "{}", &all).status, 200);
}

/// Only the headers that the pool names reach the handler, and none without that.
#[test]
fn named_headers_reach_the_handler() {
    let server = Server::with(&format!("{PLAIN}forward_headers = ['X-Tenant', 'traceparent', 'cookie']\n"));
    let sent = [
        ("x-tenant", "acme"),
        ("X-TENANT", "b\u{fc}"),
        ("Traceparent", "00-1"),
        ("Cookie", "a=1; b=2"),
        ("cookie", "c=3"),
        ("X-Other", "no"),
        ("Authorization", "Bearer no"),
    ];
    let headers = json!({ "x-tenant": "acme, b\u{fc}", "traceparent": "00-1", "cookie": "a=1; b=2; c=3" });
    assert_eq!(*server.call("plain/headers", "{}", &sent).result(), headers);
    assert_eq!(*server.call("plain/headers", "{}", &[]).result(), json!({}));
    let server = Server::with(PLAIN);
    assert_eq!(*server.call("plain/headers", "{}", &sent).result(), json!({}));
}

#[test]
fn handler_and_argument_errors_have_their_status() {
    let server = Server::with(PLAIN);
    let problem = server.call("plain/fail", "{}", &[]);
    let problem = problem.problem(500, "exception");
    assert_eq!(problem["detail"], "ValueError: on purpose");
    let traceback = problem["traceback"].as_str().unwrap();
    assert!(traceback.contains("app.py") && traceback.contains("raise ValueError"), "{traceback}");
    assert!(problem["worker"].is_string() && problem["generation"] == 1 && problem["may_have_run"] == true);

    let rejected = server.call("plain/refuse", "{}", &[]);
    let problem = rejected.problem(422, "rejected");
    assert_eq!((&problem["code"], &problem["detail"]), (&json!("today"), &json!("not today")));
    let conflict = server.call("plain/refuse", r#"{"data": {"left": [0]}, "status": 409}"#, &[]);
    assert_eq!(conflict.problem(409, "rejected")["data"], json!({ "left": [0] }));
    for body in ["{}", r#"{"fil": "x"}"#, r#"{"file": 1}"#] {
        let wrong = server.call("plain/wait", body, &[]);
        let errors = &wrong.problem(422, "bad-arguments")["errors"];
        let places = errors.as_array().unwrap().iter().map(|error| &error["loc"]);
        assert!(places.clone().any(|place| *place == json!(["file"])), "{wrong:?}");
        assert!(errors.as_array().unwrap().iter().all(|error| error["msg"].is_string() && error["type"].is_string()));
    }
    let without = server.call("plain/count", "{}", &[]);
    assert!(
        without.problem(422, "bad-arguments")["detail"].as_str().unwrap().contains("Herder-Session"),
        "{without:?}"
    );
    server.call("plain/odd", "{}", &[]).problem(500, "unencodable");

    let unknown = server.call("plain/nope", "{}", &[]);
    assert!(unknown.problem(404, "unknown-command")["detail"].as_str().unwrap().contains("echo"));
    let unknown = server.call("nope/echo", "{}", &[]);
    assert_eq!(unknown.problem(404, "unknown-pool")["detail"], "unknown pool `nope`; available pools: `plain`");
    assert_eq!(server.call("plain/echo", "{}", &[]).status, 200, "the workers continue");
}

/// R38: only the call that ran on a dead worker fails, with the exit status of the worker. Then the pool recovers.
#[test]
fn a_call_whose_worker_died_is_502() {
    let server = Server::with(PLAIN);
    let lost = server.call("plain/die", "{}", &[]);
    let problem = lost.problem(502, "worker-lost");
    assert_eq!((&problem["exit_status"], &problem["retryable"]), (&json!(3), &json!(true)));
    assert_eq!((&problem["generation"], &problem["may_have_run"]), (&json!(1), &json!(true)));
    assert_eq!((&problem["attempts"], &problem["strategy"]), (&json!(1), &json!("abandon")), "the call may have run");
    assert_eq!(problem["strategy_if_idempotent"], "immediate_retry");
    wait_until("the pool has recovered", || {
        let workers = server.get("/v1/pools/plain/workers").json["workers"].clone();
        workers.as_array().is_some_and(|all| all.len() == 2 && all.iter().all(|worker| worker["state"] == "ready"))
    });
}

/// R20: the loss of a session's worker is reported once; then the session starts with a new state.
#[test]
fn a_lost_session_is_410_once() {
    let server = Server::with(KEPT);
    let ann = [("Herder-Session", "ann")];
    let first = server.call("kept/count", "{}", &ann);
    assert_eq!((first.result(), &first.json["meta"]["routing"]), (&json!(1), &json!("new")));
    let second = server.call("kept/count", "{}", &ann);
    assert_eq!((second.result(), &second.json["meta"]["routing"]), (&json!(2), &json!("hit")));
    let pid = server.call("kept/pid", "{}", &ann).result().as_u64().unwrap();
    herder::testing::signal(u32::try_from(pid).unwrap(), herder::testing::Signal::KILL).unwrap();
    wait_until("the exit of the worker is noticed", || server.get("/v1/pools/kept").json["counters"]["exits"] == 1);
    let lost = server.call("kept/count", "{}", &ann);
    let problem = lost.problem(410, "session-worker-lost");
    assert_eq!((&problem["signal"], &problem["may_have_run"]), (&json!(9), &json!(false)), "{problem}");
    let fresh = server.call("kept/count", "{}", &ann);
    assert_eq!((fresh.result(), &fresh.json["meta"]["why"]), (&json!(1), &json!("worker_lost")), "{fresh:?}");
    let absent = [("Herder-Session", "bob"), ("Herder-If-Absent", "reject")];
    server.call("kept/count", "{}", &absent).problem(404, "session-not-found");
    assert!(!is_alive(pid));
}

#[test]
fn a_full_pool_is_429_and_a_late_call_504() {
    let server = Server::with(NARROW);
    let go = server.file("go");
    let body = json!({ "file": go }).to_string();
    let running = server.background("narrow/wait", &body, &[]);
    server.until_queue("narrow", 0, 1);
    let late = server.call("narrow/echo", "{}", &[("Herder-Timeout", "20ms")]);
    assert_eq!(late.problem(504, "deadline-exceeded")["may_have_run"], false);
    let waiting = server.background("narrow/echo", "{}", &[]);
    server.until_queue("narrow", 1, 1);
    let refused = server.call("narrow/echo", "{}", &[]);
    assert_eq!(refused.problem(429, "queue-full")["retryable"], true);
    assert_eq!(refused.header("retry-after"), Some("1"));
    fs::write(go, "").unwrap();
    assert_eq!(running.join().unwrap().result(), "waited");
    assert_eq!(waiting.join().unwrap().result(), &json!({}));
    let running = server.background("narrow/wait", r#"{"file": "never"}"#, &[("Herder-Timeout", "2s")]);
    server.until_queue("narrow", 0, 1); // the call was sent before its deadline
    assert_eq!(running.join().unwrap().problem(504, "deadline-exceeded")["may_have_run"], true);
}

#[test]
fn no_free_worker_in_time_is_503() {
    let config = "[pools.hasty]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\nqueue.timeout = '20ms'\n";
    let server = Server::with(config);
    let body = json!({ "file": server.file("go") }).to_string();
    let running = server.background("hasty/wait", &body, &[]);
    server.until_queue("hasty", 0, 1);
    let refused = server.call("hasty/echo", "{}", &[]);
    refused.problem(503, "queue-timeout");
    assert_eq!(refused.header("retry-after"), Some("1"));
    fs::write(server.file("go"), "").unwrap();
    assert_eq!(running.join().unwrap().status, 200);
}

/// 409: a call with `strict_fail_fast` does not wait for the session's worker.
#[test]
fn a_busy_session_is_409() {
    let server = Server::with(KEPT);
    let body = json!({ "file": server.file("go") }).to_string();
    let running = server.background("kept/wait", &body, &[("Herder-Session", "ann")]);
    server.until_queue("kept", 0, 1);
    let fast = [("Herder-Session", "ann"), ("Herder-Affinity", "strict_fail_fast")];
    server.call("kept/count", "{}", &fast).problem(409, "worker-busy");
    fs::write(server.file("go"), "").unwrap();
    assert_eq!(running.join().unwrap().status, 200);
}

/// 413 before the body was read: an announced body is refused although none of it was sent.
#[test]
fn arguments_beyond_the_limit_are_413() {
    let server = Server::with(NARROW);
    let path = "/v1/pools/narrow/call/echo";
    let announced = post(path, "").header("Content-Length", "1073741824").send(server.address);
    assert!(announced.problem(413, "too-large")["detail"].as_str().unwrap().contains("4096"));
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(5000));
    post(path, &long).send(server.address).problem(413, "too-large");
    let chunk = format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    let chunked = post(path, &chunk).header("Transfer-Encoding", "chunked").send(server.address);
    chunked.problem(413, "too-large");
    let fits = format!("{{\"x\":\"{}\"}}", "x".repeat(2000));
    assert_eq!(post(path, &fits).send(server.address).status, 200);
}

/// R36: a caller that a full queue refuses gets the expected time until the queue is empty. Otherwise all refused
/// callers would return after one second.
#[test]
fn r36_retry_after_of_a_full_queue_follows_from_the_backlog() {
    let config = "[pools.slow]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\ntimeout = '10m'\n\
                  queue = { limit = 40, per_session = 40, timeout = '10m' }\n";
    let folder = crate::support::folder(config);
    let nap = "\n@app.command\ndef nap(): time.sleep(0.1)\n";
    std::fs::write(folder.path().join("app.py"), format!("{}{nap}", crate::support::APP)).unwrap();
    let server = Server::start(folder, &[], &[]);
    server.until_ready();
    for _ in 0..32 {
        assert_eq!(server.call("slow/nap", "{}", &[]).status, 200); // the pool needs 32 calls to estimate waits
    }
    let body = json!({ "file": server.file("go") }).to_string();
    let waiting: Vec<_> = (0..41).map(|_| server.background("slow/wait", &body, &[])).collect();
    server.until_queue("slow", 40, 1);
    wait_until("the estimate for 40 calls of 0.1 s is at least 4 seconds", || {
        let refused = server.call("slow/echo", "{}", &[]);
        refused.problem(429, "queue-full");
        refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 4
    });
    std::fs::write(server.file("go"), "").unwrap();
    waiting.into_iter().for_each(|call| assert_eq!(call.join().unwrap().status, 200));
}

#[test]
fn a_pool_that_cannot_start_reports_the_reason() {
    let config = "[pools.broken]\napp = 'broken.py:app'\npool_size = 1\noverflow = 0\n\
                  restart = { max = 1, backoff = '1ms', max_backoff = '1ms' }\n\
                  [pools.sound]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n";
    let folder = crate::support::folder(config);
    std::fs::write(folder.path().join("broken.py"), "import missing.py\n").unwrap();
    let server = Server::start(folder, &[], &[]); // the server continues, because the other pool has a worker
    wait_until("that worker is ready", || server.get("/v1/pools").json["pools"][1]["ready_workers"] == 1);
    wait_until("the pool has failed", || server.get("/v1/pools/broken").json["state"] == "failed");
    let reply = server.call("broken/echo", "{}", &[]);
    let problem = reply.problem(503, "pool-failed");
    assert!(problem["detail"].as_str().unwrap().contains("'missing'"), "{problem}");
    assert!(reply.header("retry-after").is_some());
    let ready = get("/readyz").send(server.address);
    assert!(!ready.body.contains("missing"), "a probe shows only numbers: {ready:?}");
    assert_eq!(ready.problem(503, "not-ready")["pools"]["broken"]["ready_workers"], 0);
    let listed = server.get("/v1/pools").json["pools"][0]["last_start_error"].clone();
    assert!(listed.as_str().unwrap().contains("'missing'"), "{listed}");
}
