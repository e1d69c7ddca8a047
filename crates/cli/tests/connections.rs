//! Connections between two requests: how long an idle one stays open, and what an offer to upgrade changes (R68).

use crate::support::{Reply, Request, Server, folder, get};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

const ONE: &str = "[pools.one]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n";
const BODY: &str = r#"{"x":[1,2,3]}"#;

/// What Java's HttpClient sends with its first request, and what browsers and curl send for websockets.
const OFFERS: [(&str, &str); 2] = [("Upgrade, HTTP2-Settings", "h2c"), ("Upgrade", "websocket")];

/// The bytes of a request that leaves its connection open, with these headers.
fn kept_open(request: Request, server: &Server, headers: &[(&str, &str)]) -> String {
    let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    request.text(server.address).replace("Connection: close\r\n", "")
}

/// Sends the bytes, and reads up to the end of the connection.
fn exchange(server: &Server, text: &str) -> Reply {
    let mut client = TcpStream::connect(server.address).unwrap();
    client.write_all(text.as_bytes()).unwrap();
    Reply::read(client)
}

/// Sends a probe on an open connection, and reads its answer; `None` if the connection is closed.
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

/// An offer to upgrade is not taken: the request is answered in HTTP/1.1 with its body read, however its length is given, and the answer says
/// that the connection closes. So do refusals.
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

/// R68: a body that does not arrive whole is told by what is wrong with it, and the connection closes: where the next request begins there is not
/// known.
#[test]
fn r68_a_body_that_is_cut_off_says_how() {
    let server = Server::with(ONE);
    for (chunks, what) in
        [("zz\r\n{}\r\n0\r\n\r\n", "chunk"), ("2\r\n{}0\r\n\r\n", "chunk"), ("99999999999999999999\r\n{}", "chunk")]
    {
        let request = server.request("one/echo", chunks, &[]);
        let reply = exchange(&server, &kept_open(request, &server, &[("Transfer-Encoding", "chunked")]));
        let detail = reply.problem(400, "bad-body")["detail"].as_str().unwrap();
        assert!(detail.contains(what) && !detail.contains("EOF"), "{chunks:?} {detail}");
        assert_eq!(reply.header("connection"), Some("close"), "{reply:?}");
    }
}

/// R68: what is addressed to no path is answered by a problem as well.
#[test]
fn r68_a_request_for_the_server_itself_is_a_problem() {
    let server = Server::start(folder(ONE), &[], &[]);
    Request::new("OPTIONS", "*", "").send(server.address).problem(404, "no-route");
    Request::new("OPTIONS", "*", "").header("Host", "evil.example").send(server.address).problem(403, "foreign-host");
}

/// R69: half of a surrogate pair is JSON by its grammar, and no text: it is refused before a handler has it.
#[test]
fn r69_half_of_a_surrogate_pair_is_malformed() {
    let server = Server::with(ONE);
    for body in [r#"{"x": "\ud800"}"#, r#"{"\udc00": 1}"#] {
        let reply = server.call("one/echo", body, &[]);
        let problem = reply.problem(400, "malformed");
        assert!(problem["detail"].as_str().unwrap().contains("half of a surrogate pair"), "{problem}");
        assert_eq!(problem["may_have_run"], false);
    }
    assert_eq!(server.call("one/echo", r#"{"x": "\ud83d\ude00"}"#, &[]).result()["x"], "\u{1f600}");
}

/// A request without an offer leaves its connection open for the next one, a refused one too.
#[test]
fn r68_a_connection_stays_open_after_an_answer() {
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

/// `server.keep_alive` is how long an idle connection stays open, and `--keep-alive` goes before it; with 0s each connection closes after its answer.
#[test]
fn r68_keep_alive_is_set() {
    let with = |keep_alive: &str, args: &[&str]| {
        Server::start(folder(&format!("{ONE}[server]\nkeep_alive = '{keep_alive}'\n")), args, &[])
    };
    let none = with("0s", &[]);
    let reply = exchange(&none, &kept_open(get("/healthz"), &none, &[]));
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")), "{reply:?}");
    // The one with the long time is idle before the other one: with one time for both it would be closed first.
    let [long, short] = [with("10m", &[]), with("10m", &["--keep-alive", "500ms"])];
    let [mut stays, mut closes] = [&long, &short].map(|server| TcpStream::connect(server.address).unwrap());
    assert!(probe(&mut stays, &long).is_some() && probe(&mut closes, &short).is_some());
    assert_eq!(closes.read(&mut [0; 1]).unwrap(), 0, "the server closes it");
    assert!(probe(&mut stays, &long).is_some());
}
