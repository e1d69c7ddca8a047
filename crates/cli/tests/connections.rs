//! Connections between two requests: how long an idle one stays open, and the effect of an offer to upgrade (R68).

use crate::support::{Reply, Request, Server, folder, get};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

const ONE: &str = "[pools.one]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n";
const BODY: &str = r#"{"x":[1,2,3]}"#;

/// The offers of Java's `HttpClient` in its first request, and of browsers and curl for WebSockets.
const OFFERS: [(&str, &str); 2] = [("Upgrade, HTTP2-Settings", "h2c"), ("Upgrade", "websocket")];

/// Returns the bytes of a request with these headers that keeps its connection open.
fn kept_open(request: Request, server: &Server, headers: &[(&str, &str)]) -> String {
    let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    request.text(server.address).replace("Connection: close\r\n", "")
}

/// Sends the bytes, and reads until the connection closes.
fn exchange(server: &Server, text: &str) -> Reply {
    let mut client = TcpStream::connect(server.address).unwrap();
    client.write_all(text.as_bytes()).unwrap();
    Reply::read(client)
}

/// Sends a probe on an open connection, and reads the response. `None` if the connection is closed.
fn probe(client: &mut TcpStream, server: &Server) -> Option<String> {
    client.write_all(kept_open(get("/healthz"), server, &[]).as_bytes()).ok()?;
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    while !seen.ends_with(b"}") {
        match client.read(&mut buffer) {
            Ok(count @ 1..) => seen.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
    String::from_utf8(seen).ok()
}

/// An offer to upgrade is not accepted: the request is answered in HTTP/1.1, its body is read, however its length is
/// given, and the response announces that the connection closes. This applies to refusals, too.
#[test]
fn r68_an_offer_to_upgrade_is_answered_and_its_connection_closes() {
    let server = Server::with(ONE);
    let chunked = format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
    for (connection, protocol) in OFFERS {
        let offer = [("Connection", connection), ("Upgrade", protocol)];
        let closes = |text: String, status: u16| {
            let reply = exchange(&server, &text);
            assert_eq!((reply.status, reply.header("connection")), (status, Some("close")), "{text} {reply:?}");
            reply
        };
        let plain = closes(kept_open(server.request("one/echo", BODY, &offer), &server, &[]), 200);
        assert_eq!(plain.result().to_string(), BODY);
        let with_chunks = server.request("one/echo", &chunked, &offer);
        let in_chunks = closes(kept_open(with_chunks, &server, &[("Transfer-Encoding", "chunked")]), 200);
        assert_eq!(in_chunks.result().to_string(), BODY);
        assert_eq!(
            closes(kept_open(server.request("one/echo", "", &offer), &server, &[]), 200).result().to_string(),
            "{}"
        );
        closes(kept_open(get("/healthz"), &server, &offer), 200);
        closes(kept_open(get("/nowhere"), &server, &offer), 404);
        closes(kept_open(get("/v1/pools"), &server, &[&offer[..], &[("Host", "evil.example")]].concat()), 403);
    }
}

/// R68: the error for an incomplete body says what is wrong with it. The connection closes, because the position of the
/// next request is unknown.
#[test]
fn r68_the_error_for_an_incomplete_body_names_the_cause() {
    let server = Server::with(ONE);
    for (chunks, expected) in
        [("zz\r\n{}\r\n0\r\n\r\n", "chunk"), ("2\r\n{}0\r\n\r\n", "chunk"), ("99999999999999999999\r\n{}", "chunk")]
    {
        let request = server.request("one/echo", chunks, &[]);
        let reply = exchange(&server, &kept_open(request, &server, &[("Transfer-Encoding", "chunked")]));
        let detail = reply.problem(400, "bad-body")["detail"].as_str().unwrap();
        assert!(detail.contains(expected) && !detail.contains("EOF"), "{chunks:?} {detail}");
        assert_eq!(reply.header("connection"), Some("close"), "{reply:?}");
    }
}

/// R68: a request without a path is answered with a problem document, too.
#[test]
fn r68_a_request_for_the_server_itself_is_a_problem() {
    let server = Server::start(folder(ONE), &[], &[]);
    Request::new("OPTIONS", "*", "").send(server.address).problem(404, "no-route");
    Request::new("OPTIONS", "*", "").header("Host", "evil.example").send(server.address).problem(403, "foreign-host");
}

/// R69: an unpaired surrogate is valid by the grammar of JSON, but it is not valid text. It is refused before it
/// reaches a handler.
#[test]
fn r69_an_unpaired_surrogate_is_malformed() {
    let server = Server::with(ONE);
    for body in [r#"{"x": "\ud800"}"#, r#"{"\udc00": 1}"#] {
        let reply = server.call("one/echo", body, &[]);
        let problem = reply.problem(400, "malformed");
        assert!(problem["detail"].as_str().unwrap().contains("an unpaired surrogate"), "{problem}");
        assert_eq!(problem["may_have_run"], false);
    }
    assert_eq!(server.call("one/echo", r#"{"x": "\ud83d\ude00"}"#, &[]).result()["x"], "\u{1f600}");
}

/// A connection stays open after a request without an offer, and also after a refused one.
#[test]
fn r68_a_connection_stays_open_after_a_response() {
    let server = Server::with(ONE);
    let mut client = TcpStream::connect(server.address).unwrap();
    for _ in 0..3 {
        assert!(probe(&mut client, &server).is_some_and(|answer| !answer.to_lowercase().contains("connection:")));
    }
    let refused = kept_open(get("/v1/pools"), &server, &[("Origin", "http://evil.example")]);
    client.write_all(refused.as_bytes()).unwrap();
    let mut buffer = [0; 4096];
    let count = client.read(&mut buffer).unwrap();
    assert!(buffer[..count].starts_with(b"HTTP/1.1 403 "), "{}", String::from_utf8_lossy(&buffer[..count]));
    assert!(probe(&mut client, &server).is_some());
}

/// `server.keep_alive` sets how long an idle connection stays open, and `--keep-alive` overrides it. With 0s, each
/// connection closes after its response.
#[test]
fn r68_keep_alive_limits_the_idle_time() {
    let with = |keep_alive: &str, args: &[&str]| {
        Server::start(folder(&format!("{ONE}[server]\nkeep_alive = '{keep_alive}'\n")), args, &[])
    };
    let none = with("0s", &[]);
    let reply = exchange(&none, &kept_open(get("/healthz"), &none, &[]));
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")), "{reply:?}");
    // The connection with the long time becomes idle first. If both had the same time, it would be closed first.
    let [long, short] = [with("10m", &[]), with("10m", &["--keep-alive", "500ms"])];
    let [mut stays, mut closes] = [&long, &short].map(|server| TcpStream::connect(server.address).unwrap());
    assert!(probe(&mut stays, &long).is_some() && probe(&mut closes, &short).is_some());
    assert_eq!(closes.read(&mut [0; 1]).unwrap(), 0, "the server closes the connection");
    assert!(probe(&mut stays, &long).is_some());
}
