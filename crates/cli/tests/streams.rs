//! Streams over HTTP and with `herder call --stream`, with real workers (R42).

use crate::support::{Reply, Server, folder, herder, post, wait_until};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpStream,
};

const PLAIN: &str = "[pools.plain]\napp = 'items.py:app'\npool_size = 1\noverflow = 0\nstream.stall = '1s'\n";

/// `rows` writes how it ended, and how many items it has produced, to a file of the test.
const APP: &str = r#"
import os, sys, time
import herder
app = herder.App()

@app.command
def rows(n: int, size: int = 0, fail_at: int = -1, pause_at: int = -1, file: str = ""):
    produced, ended = 0, "end"
    try:
        for i in range(n):
            if i == fail_at: raise ValueError("on purpose")
            if i == pause_at: time.sleep(60)
            produced += 1
            yield i if not size else "x" * size
    except BaseException as error:
        ended = type(error).__name__
        raise
    finally:
        if file:
            with open(file + ".part", "w") as out: out.write(f"{ended} {produced}")
            os.rename(file + ".part", file)

@app.command
def breaks():
    yield {"a": "line\nbreak"}
    yield object()

@app.command
def plain(n: int): return [n]
"#;

fn serve() -> Server {
    let folder = folder(PLAIN);
    fs::write(folder.path().join("items.py"), APP).unwrap();
    let server = Server::start(folder, &[], &[]);
    server.until_ready();
    server
}

/// Returns the decoded chunks of a body, and whether the body is complete.
fn unchunked(mut body: &str) -> (String, bool) {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (text, true);
        }
        text += &rest[..size];
        body = &rest[size + 2..];
    }
    (text, false)
}

fn stream(server: &Server, command: &str, body: &str, accept: &str) -> (Reply, String, bool) {
    let reply = server.call(&format!("plain/{command}"), body, &[("Accept", accept)]);
    let (text, is_complete) = if reply.status == 200 { unchunked(&reply.body) } else { (reply.body.clone(), true) };
    (reply, text, is_complete)
}

const LINES: &str = "application/x-ndjson";
const EVENTS: &str = "text/event-stream";

#[test]
fn r42_items_are_lines_or_events_if_the_client_accepts_them() {
    let server = serve();
    let (reply, text, is_complete) = stream(&server, "rows", r#"{"n":3}"#, LINES);
    assert_eq!((text.as_str(), is_complete), ("0\n1\n2\n", true));
    for (name, value) in [("content-type", LINES), ("content-encoding", "identity"), ("x-accel-buffering", "no")] {
        assert_eq!(reply.header(name), Some(value), "{reply:?}");
    }
    let (reply, text, _) = stream(&server, "rows", r#"{"n":2}"#, "text/event-stream, */*;q=0.1");
    let (items, end) = text.split_once("event: end\ndata: ").unwrap();
    assert_eq!((items, reply.header("content-type")), ("data: 0\n\ndata: 1\n\n", Some(EVENTS)));
    let meta: Value = serde_json::from_str(end.trim_end()).unwrap();
    assert_eq!((&meta["worker"], &meta["attempts"]), (&json!("w1"), &json!(1)));
    // 300,000 items in order, and one larger than any part of the response.
    let (_, text, _) = stream(&server, "rows", r#"{"n":300000}"#, LINES);
    assert!(text.lines().enumerate().all(|(index, line)| line == index.to_string()));
    assert_eq!(text.lines().count(), 300_000);
    let (_, text, _) = stream(&server, "rows", r#"{"n":2,"size":1000000}"#, EVENTS);
    let item = format!("data: \"{}\"\n\n", "x".repeat(1_000_000));
    assert!(text.starts_with(&item.repeat(2)) && text[2 * item.len()..].starts_with("event: end"));
    // No item, and a handler that is no generator.
    assert_eq!(stream(&server, "rows", r#"{"n":0}"#, LINES).1, "");
    assert_eq!(stream(&server, "plain", r#"{"n":7}"#, LINES).1, "[7]\n");
    let (reply, _, _) = stream(&server, "rows", r#"{"n":1}"#, "text/event-stream;q=0, application/x-ndjson;q=0.1");
    assert_eq!(reply.header("content-type"), Some(LINES));
    for accept in [
        "application/json",
        "*/*",
        "application/json, text/event-stream;q=0.5",
        "text/event-stream;q=0",
        "*/*, application/x-ndjson;q=0",
    ] {
        assert_eq!(server.call("plain/rows", r#"{"n":3}"#, &[("Accept", accept)]).result(), &json!([0, 1, 2]));
    }
}

#[test]
fn r42_an_error_before_the_first_item_is_a_response_and_later_the_end_of_the_stream() {
    let server = serve();
    for accept in [LINES, EVENTS] {
        stream(&server, "rows", r#"{"n":3,"fail_at":0}"#, accept).0.problem(500, "exception");
        stream(&server, "rows", r#"{"n":"x"}"#, accept).0.problem(422, "bad-arguments");
        stream(&server, "none", "{}", accept).0.problem(404, "unknown-command");
    }
    let (_, text, is_complete) = stream(&server, "rows", r#"{"n":3,"fail_at":2}"#, EVENTS);
    let (items, problem) = text.split_once("event: error\ndata: ").unwrap();
    let problem: Value = serde_json::from_str(problem.trim_end()).unwrap();
    assert_eq!((items, is_complete), ("data: 0\n\ndata: 1\n\n", true));
    assert_eq!((&problem["status"], &problem["detail"]), (&json!(500), &json!("ValueError: on purpose")));
    assert!(problem["error_id"].is_string() && problem["traceback"].is_string(), "{problem}");
    // An item can be any JSON, also an object with the key `error`. So the body of these lines is incomplete.
    let (_, text, is_complete) = stream(&server, "breaks", "{}", LINES);
    let (item, last) = text.split_once('\n').unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!((item, is_complete), (r#"{"a":"line\nbreak"}"#, false));
    assert!(last["error"]["type"].as_str().unwrap().ends_with("/unencodable"), "{last}");
    assert!(last["error"]["detail"].as_str().unwrap().contains("item 1 of the stream"), "{last}");
}

/// What a handler has written to its file: how it ended, and how many items it has produced.
fn ended(server: &Server, file: &str) -> (String, u64) {
    let path = server.file(file);
    wait_until("the handler ends", || path.exists());
    let text = fs::read_to_string(path).unwrap();
    let (how, produced) = text.split_once(' ').unwrap();
    (how.to_owned(), produced.parse().unwrap())
}

/// Begins a stream, and reads its first item.
fn begun(server: &Server, body: &str, headers: &[(&str, &str)]) -> BufReader<TcpStream> {
    let request = server.request("plain/rows", body, &[("Accept", LINES)]);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    let mut client = BufReader::new(request.open(server.address));
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        client.read_line(&mut line).unwrap();
    }
    client.read_line(&mut line).unwrap(); // the size of the first chunk
    client
}

/// The worker stops when the buffers of the sockets and the window of the stream are full. The stream then fails after
/// `stream.stall`.
#[test]
fn r42_a_client_that_does_not_read_stops_the_handler() {
    let server = serve();
    let client = begun(&server, r#"{"n":1000000,"size":1000,"file":"stalled"}"#, &[]);
    let (how, produced) = ended(&server, "stalled");
    assert_eq!(how, "GeneratorExit");
    assert!(produced < 100_000, "{produced} items of 1,000 bytes");
    let mut rest = Vec::new();
    client.into_inner().read_to_end(&mut rest).unwrap();
    let text = String::from_utf8_lossy(&rest);
    assert!(text.contains("/stream-stalled"), "{}", &text[text.len() - 1000..]);
    assert_eq!(server.call("plain/plain", r#"{"n":1}"#, &[]).result(), &json!([1]));
}

/// Also while the handler is between two items, when nothing is written that could fail.
#[test]
fn r42_a_client_that_disconnects_ends_the_handler() {
    let server = serve();
    drop(begun(&server, r#"{"n":1000000,"size":1000,"file":"dropped"}"#, &[]));
    assert_eq!(ended(&server, "dropped").0, "GeneratorExit");
    drop(begun(&server, r#"{"n":2,"pause_at":1,"file":"paused"}"#, &[]));
    assert_eq!(ended(&server, "paused"), ("Interrupted".into(), 1));
}

#[test]
fn r42_the_time_between_items_has_a_limit_of_its_own() {
    let server = serve();
    let idle = [("Herder-Idle-Timeout", "100ms")];
    let mut text = String::new();
    let client = begun(&server, r#"{"n":2,"pause_at":1,"file":"idle"}"#, &idle);
    client.into_inner().read_to_string(&mut text).unwrap();
    assert!(text.contains("/idle-timeout"), "{text}");
    assert_eq!(ended(&server, "idle"), ("Interrupted".into(), 1));
    let refused = server.call("plain/rows", r#"{"n":1}"#, &idle);
    assert!(refused.problem(400, "bad-header")["detail"].as_str().unwrap().contains("Accept: text/event-stream"));
}

#[test]
fn r42_commands_that_stream_are_described() {
    let server = serve();
    let commands = server.get("/v1/pools/plain/commands").json["commands"].clone();
    assert_eq!((&commands[0]["name"], &commands[0]["stream"]), (&json!("rows"), &json!(true)));
    assert_eq!((&commands[2]["name"], &commands[2]["stream"]), (&json!("plain"), &Value::Null));
    let document = server.get("/openapi.json").json;
    let rows = &document["paths"]["/v1/pools/plain/call/rows"]["post"];
    assert!(rows["responses"]["200"]["content"][EVENTS].is_object(), "{rows}");
    assert!(rows["parameters"].to_string().contains("IdleTimeout"));
    let details =
        herder(server.folder.path(), &["commands", "plain", "rows", "--url", &server.url()]).output().unwrap();
    assert!(String::from_utf8(details.stdout).unwrap().contains("--stream"));
}

#[test]
fn r42_call_prints_items_as_they_come() {
    let server = serve();
    let url = server.url();
    let call = |options: &[&str]| {
        let output = herder(server.folder.path(), &[&["call", "plain", "rows", "--stream"], options].concat());
        let output = { output }.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    for place in [&["--url", url.as_str()][..], &["--config", "herder.toml"]] {
        assert_eq!(call(&[place, &[r#"{"n":3}"#]].concat()), (0, "0\n1\n2\n".into(), String::new()), "{place:?}");
        let (code, items, error) = call(&[place, &["--arg", "n=3", "--arg", "fail_at=1"]].concat());
        assert_eq!((code, items.as_str()), (1, "0\n"), "{place:?}");
        assert!(error.contains("on purpose"), "{error}");
        assert_eq!(call(&[place, &[r#"{"n":"x"}"#]].concat()).0, 1);
    }
}

/// HTTP/1.0 has no chunks: the body ends with the connection.
#[test]
fn r42_a_client_of_http_1_0_gets_a_stream() {
    let server = serve();
    let request = post("/v1/pools/plain/call/rows", r#"{"n":3}"#).header("Accept", LINES).text(server.address);
    let mut client = TcpStream::connect(server.address).unwrap();
    std::io::Write::write_all(&mut client, request.replace("HTTP/1.1", "HTTP/1.0").as_bytes()).unwrap();
    assert_eq!(Reply::read(client).body, "0\n1\n2\n");
}
