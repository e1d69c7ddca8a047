//! The bodies of calls and of their responses: their time and their memory are bounded (R68).

use crate::support::{APP, Reply, Request, Server, folder, post, wait_until};
use serde_json::json;
use std::{
    fs,
    io::Write,
    net::{Shutdown, TcpStream},
    thread,
};

const MIB: usize = 1024 * 1024;
/// Deadlines of 10 minutes, frames of 4 MiB, and a limit in which only one large body fits.
const TIGHT: &str = "[server]\nbuffer_limit = 6291456\nbody_timeout = '10m'\n\
                     [pools.one]\napp = 'app.py:app'\npool_size = 2\noverflow = 0\nmax_frame = 4194304\ntimeout = '10m'\n\
                     queue.timeout = '10m'\n";
/// Like `TIGHT`, with results that are larger than the buffers of a socket.
const WIDE: &str = "[server]\nbuffer_limit = 33554432\n\
                    [pools.one]\napp = 'app.py:app'\npool_size = 2\noverflow = 0\nmax_frame = 20971520\ntimeout = '10m'\n";
/// A result of nearly `max_frame` bytes in `WIDE`.
const LARGEST: usize = 20 * MIB - 100;
const PATH: &str = "/v1/pools/one/call/";

/// Additional commands of the app.
const MORE: &str = r#"
@app.command
def mark(file: str, x: str = ""): open(file, "w").close()

@app.command
def size(x: str): return len(x)

@app.command
def held(file: str, x: str):
    wait(file)
    return len(x)

@app.command
def fill(n: int, file: str = ""):
    if file: wait(file)
    return "y" * n

@app.command
def deadline(): return time.monotonic() + herder.current_call().deadline
"#;

fn server(config: &str) -> Server {
    let folder = folder(config);
    fs::write(folder.path().join("app.py"), format!("{APP}{MORE}")).unwrap();
    let server = Server::start(folder, &[], &[]);
    server.until_ready();
    server
}

/// Returns arguments with an `x` of this many bytes.
fn long(bytes: usize) -> String {
    json!({ "x": "x".repeat(bytes) }).to_string()
}

/// Opens a call with a chunked body, and sends one chunk of it.
fn chunked(server: &Server, command: &str, sent: &str) -> TcpStream {
    let chunk = format!("{:x}\r\n{sent}\r\n", sent.len());
    post(&format!("{PATH}{command}"), &chunk).header("Transfer-Encoding", "chunked").open(server.address)
}

/// Opens a call that announces `length` bytes, and sends a part of them.
fn announced(server: &Server, command: &str, length: usize, sent: &str) -> TcpStream {
    post(&format!("{PATH}{command}"), sent).header("Content-Length", &length.to_string()).open(server.address)
}

fn buffered(server: &Server) -> u64 {
    server.get("/v1/pools").json["buffered_bytes"].as_u64().unwrap()
}

fn until_buffered(server: &Server, bytes: usize) {
    wait_until("this number of bytes is held", || buffered(server) == bytes as u64);
}

fn until_nothing_is_buffered(server: &Server) {
    until_buffered(server, 0);
}

/// R68: a body that stops is refused with 408, whether its length was announced or not, and the connection closes.
#[test]
fn r68_a_body_that_stops_is_408() {
    let server = server(&TIGHT.replace("'10m'\n[pools", "'300ms'\n[pools"));
    let level = Request::new("PUT", "/v1/pools/one/log-level", "{").header("Content-Length", "1000");
    let level = level.open(server.address);
    for stopped in [announced(&server, "echo", 1000, "{"), chunked(&server, "echo", "{\"x\":"), level] {
        let reply = Reply::read(stopped); // reads until the connection closes
        let problem = reply.problem(408, "body-timeout");
        assert_eq!((&problem["retryable"], &problem["may_have_run"]), (&json!(true), &json!(false)));
        assert!(problem["detail"].as_str().unwrap().contains("300ms (`server.body_timeout`)"), "{problem}");
        assert_eq!(reply.header("connection"), Some("close"));
    }
    until_nothing_is_buffered(&server);
    assert_eq!(server.call("one/echo", "{\"x\":1}", &[]).result(), &json!({ "x": 1 }));
}

/// R68: a body that arrives byte by byte is too slow, too: the timeout starts again after each 64 KiB, not after each
/// byte.
#[test]
fn r68_single_bytes_do_not_extend_the_timeout() {
    let server = server(&TIGHT.replace("'10m'\n[pools", "'300ms'\n[pools"));
    let mut slow = chunked(&server, "echo", "{");
    // Send each byte when the server has the previous one: a thousand of them take far longer than 300 ms.
    let answered = (1..1000).any(|sent| {
        let mut held = 0;
        wait_until("the byte is held, or the server has answered", || {
            held = buffered(&server);
            held == sent || (held == 0 && sent > 1)
        });
        held == 0 || slow.write_all(b"1\r\n \r\n").is_err()
    });
    assert!(answered);
    Reply::read(slow).problem(408, "body-timeout");
}

/// R36, R68: a call's deadline counts from the head of its request, and ends the wait for the body. The handler does
/// not start.
#[test]
fn r36_the_deadline_ends_the_wait_for_a_body() {
    let server = server(TIGHT);
    let marker = server.file("ran");
    let body = json!({ "file": marker }).to_string();
    let (most, last) = body.split_at(body.len() - 1);
    let request = server.request("one/mark", most, &[("Herder-Timeout", "300ms")]);
    let mut late = request.header("Content-Length", &body.len().to_string()).open(server.address);
    late.set_nonblocking(true).unwrap();
    wait_until("the call is answered before its body has arrived", || late.peek(&mut [0]).is_ok());
    late.set_nonblocking(false).unwrap();
    _ = late.write_all(last.as_bytes());
    let reply = Reply::read(late);
    assert_eq!(reply.problem(504, "deadline-exceeded")["may_have_run"], false);
    assert_eq!(reply.header("connection"), Some("close"));
    server.until_logged("the deadline passed"); // logged like any other call
    let counters = server.get("/v1/pools/one").json["counters"].clone();
    assert_eq!((&counters["submitted"], marker.exists()), (&json!(0), false), "{counters}");
    until_nothing_is_buffered(&server);
}

/// R36: the pool gets the time that is left after the body has arrived. Of two calls with the same timeout, the one
/// whose head arrived first has the earlier deadline, although its body arrived last.
#[test]
fn r36_the_deadline_counts_from_the_head() {
    let server = server(TIGHT);
    let mut first = announced(&server, "deadline", 2, "{");
    until_buffered(&server, 1);
    let second = server.call("one/deadline", "{}", &[]).result().as_f64().unwrap();
    first.write_all(b"}").unwrap();
    let first = Reply::read(first).result().as_f64().unwrap();
    assert!(first < second, "{first} {second}");
}

/// R68: the second of two large bodies is refused immediately, by its announced length. The error contains the limit
/// and the bytes in use. After the first call, it is accepted. Small calls are answered all the time.
#[test]
fn r68_a_body_without_buffer_space_is_503_until_there_is_space() {
    let server = server(TIGHT);
    let go = server.file("go");
    let body = json!({ "file": go, "x": "x".repeat(3 * MIB) }).to_string();
    let running = server.background("one/held", &body, &[]);
    server.until_queue("one", 0, 1);
    until_buffered(&server, body.len());
    let second = Reply::read(announced(&server, "size", 3 * MIB, ""));
    let problem = second.problem(503, "buffers-full");
    let detail = problem["detail"].as_str().unwrap();
    for part in ["6291456 bytes are in use (`server.buffer_limit`)", &body.len().to_string(), &(3 * MIB).to_string()] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    assert_eq!((&problem["retryable"], &problem["strategy"]), (&json!(true), &json!("backoff_retry")));
    assert_eq!((second.header("retry-after"), second.header("connection")), (Some("1"), Some("close")));
    let in_chunks = Reply::read(chunked(&server, "size", &long(3 * MIB)));
    in_chunks.problem(503, "buffers-full");
    assert_eq!(server.call("one/echo", &long(1000), &[]).status, 200);
    until_buffered(&server, body.len());
    fs::write(go, "").unwrap();
    assert_eq!(running.join().unwrap().result(), 3 * MIB);
    until_nothing_is_buffered(&server);
    assert_eq!(server.call("one/size", &long(3 * MIB), &[]).result(), 3 * MIB);
}

/// R68: a body that is announced as large has its reservation from the start, which is freed when the client
/// disconnects during the upload.
#[test]
fn r68_an_aborted_upload_frees_its_buffer_space() {
    let server = server(TIGHT);
    let upload = announced(&server, "size", 3 * MIB, "{");
    until_buffered(&server, 3 * MIB);
    upload.shutdown(Shutdown::Both).unwrap();
    until_nothing_is_buffered(&server);
    let in_chunks = chunked(&server, "size", &long(1000));
    until_buffered(&server, long(1000).len());
    drop(in_chunks);
    until_nothing_is_buffered(&server);
}

/// R68: a body over `max_frame` can never fit: it is refused with 413 and not with 503, even if there is no space at
/// the moment.
#[test]
fn r68_a_body_that_never_fits_is_413() {
    let server = server(TIGHT);
    let _upload = announced(&server, "size", 4 * MIB, "{");
    until_buffered(&server, 4 * MIB);
    let reply = Reply::read(announced(&server, "size", 4 * MIB + 1, ""));
    assert!(reply.problem(413, "too-large")["detail"].as_str().unwrap().contains("4194304 bytes (`max_frame`)"));
    assert_eq!(reply.header("connection"), Some("close"));
}

/// Makes a call whose result is held, because the client does not read it.
fn unread(server: &Server) -> TcpStream {
    let before = buffered(server);
    let stream = server.request("one/fill", &json!({ "n": LARGEST }).to_string(), &[]).open(server.address);
    wait_until("the result is held", || buffered(server) >= before + LARGEST as u64);
    stream
}

/// R68: a large result counts against the limit until the client has read it or disconnects, and bodies are refused
/// meanwhile.
#[test]
fn r68_a_result_is_counted_until_it_is_read() {
    let server = server(WIDE);
    let reader = unread(&server);
    Reply::read(announced(&server, "size", LARGEST, "")).problem(503, "buffers-full");
    assert_eq!(server.call("one/echo", "{}", &[]).status, 200);
    assert_eq!(Reply::read(reader).result().as_str().unwrap().len(), LARGEST);
    until_nothing_is_buffered(&server);
    drop(unread(&server));
    until_nothing_is_buffered(&server);
}

/// R68: a result for which `server.buffer_limit` has no room is dropped, and the error says that the call has run.
#[test]
fn r68_a_result_without_buffer_space_is_503_and_may_have_run() {
    let server = server(WIDE);
    let go = server.file("go");
    let waiting = server.background("one/fill", &json!({ "n": MIB, "file": go }).to_string(), &[]);
    server.until_queue("one", 0, 1);
    let readers = [unread(&server), unread(&server)];
    fs::write(go, "").unwrap();
    let lost = waiting.join().unwrap();
    let problem = lost.problem(503, "buffers-full");
    assert_eq!((&problem["may_have_run"], &problem["strategy"]), (&json!(true), &json!("abandon")), "{problem}");
    assert_eq!(problem["strategy_if_idempotent"], "backoff_retry");
    // Small calls have a reserved share, which results do not use.
    assert_eq!(server.call("one/echo", "{}", &[]).status, 200);
    drop(readers);
    until_nothing_is_buffered(&server);
}

/// R68: after a mix of calls that succeed, fail, are refused or are abandoned by their clients, no bytes are counted.
#[test]
fn r68_nothing_is_counted_after_a_mix_of_calls() {
    let server = server(TIGHT);
    let padded = |arguments: &str| format!("{}{arguments}", " ".repeat(100_000));
    let calls = [
        ("echo", padded("{}")),
        ("fail", padded("{}")),
        ("refuse", padded("{}")),
        ("odd", padded("{}")),
        ("die", padded("{}")),
        ("nothing", padded("{}")),
        ("echo", padded("{")),
        ("size", padded("{\"y\":1}")),
        ("fill", padded("{\"n\": 300000}")),
        ("echo", String::new()),
    ];
    let never = json!({ "file": server.file("never"), "x": "x".repeat(100_000) }).to_string();
    thread::scope(|scope| {
        for round in 0..4 {
            let (server, calls, never) = (&server, &calls, &never);
            scope.spawn(move || {
                for (command, body) in calls.iter().cycle().skip(round * 3).take(12) {
                    let reply = server.call(&format!("one/{command}"), body, &[("Herder-Timeout", "1m")]);
                    assert!([200, 400, 404, 422, 500, 502].contains(&reply.status), "{command} {reply:?}");
                    drop(announced(server, "size", 200_000, "{\"x\":"));
                    drop(chunked(server, "size", "{\"x\":"));
                }
                let abandoned = server.request("one/held", never, &[]).open(server.address);
                wait_until("the body is held", || buffered(server) >= never.len() as u64);
                drop(abandoned);
            });
        }
    });
    until_nothing_is_buffered(&server);
}

/// R54, R68: the memory of large bodies is returned to the system, even if all bodies are smaller than the 32 MiB from
/// which glibc always returns memory.
#[test]
fn r54_memory_of_large_bodies_is_returned() {
    let config =
        "[pools.one]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\ntimeout = '10m'\nqueue.timeout = '10m'\n";
    let server = server(config);
    let resident = || {
        let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    };
    assert_eq!(server.call("one/echo", "{}", &[]).status, 200);
    let before = resident();
    for _ in 0..3 {
        let body = long(8 * MIB);
        let calls: Vec<_> = (0..12).map(|_| server.background("one/size", &body, &[])).collect();
        calls.into_iter().for_each(|call| assert_eq!(call.join().unwrap().result(), 8 * MIB));
    }
    until_nothing_is_buffered(&server);
    wait_until("the memory is returned", || resident() < before + 24 * MIB);
}

/// R51, R68: a limit in which the arguments of a call can never fit is refused before anything starts.
#[test]
fn r51_a_limit_that_is_too_small_is_refused() {
    let folder = folder("");
    let run = |args: &[&str]| crate::support::herder(folder.path(), args).output().unwrap();
    let refused = run(&["serve", "app.py:app", "--buffer-limit", "1000"]);
    let text = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{text}");
    assert!(text.contains("--buffer-limit: 1000 is out of bounds; allowed: at least 67108864"), "{text}");
    let refused = run(&["serve", "app.py:app", "--body-timeout", "0s"]);
    assert_eq!(refused.status.code(), Some(2));
}
