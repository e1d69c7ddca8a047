//! Clients that send invalid HTTP, are slow, or do not read their responses (R68).

use crate::support::{Reply, Request, Server, folder, get, wait_until};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
};

const ONE: &str = "[pools.one]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n";
const HOST: &str = "Host: localhost\r\n";

/// Starts a server with these keys in its table `[server]`.
fn with(keys: &str) -> Server {
    Server::with(&format!("{ONE}[server]\n{keys}\n"))
}

/// Starts a server with these keys, and a pool whose command `blob` returns a string of any size. Its calls wait for each
/// other however slow the machine is.
fn with_blobs(keys: &str) -> Server {
    let pool = ONE.replace("app.py", "blobs.py") + "timeout = '10m'\nqueue.timeout = '10m'\n";
    let folder = folder(&format!("{pool}[server]\n{keys}\n"));
    let app = "import herder\napp = herder.App()\n@app.command\ndef blob(size: int): return 'x' * size\n";
    fs::write(folder.path().join("blobs.py"), app).unwrap();
    let server = Server::start(folder, &[], &[]);
    server.until_ready();
    server
}

fn connect(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut client = TcpStream::connect(server.address).unwrap();
    client.write_all(bytes).unwrap();
    client
}

/// Returns the resident memory of the server, in MiB.
fn resident(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn descriptors(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

/// R68: invalid requests are refused with a problem document, and the connection closes. This includes invalid bytes
/// after a valid request.
#[test]
fn r68_invalid_requests_are_refused_with_a_problem() {
    let server = Server::with(ONE);
    let lines = |lines: &str| format!("{lines}\r\n").into_bytes();
    let cases = [
        (lines("GARBAGE\r\n"), 400, "bad-request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400, "bad-request"), // TLS
        (lines("GET / HTTP/1.1\r\n"), 400, "bad-request"),
        (lines(&format!("GET / HTTP/1.1\r\n{HOST}{HOST}")), 400, "bad-request"),
        (lines(&format!("GET / HTTP/1.1\r\n{HOST}X : y\r\n")), 400, "bad-request"),
        (lines(&format!("GET / HTTP/1.1\r\n{HOST}X: y\r\n z\r\n")), 400, "bad-request"),
        (lines(&format!("POST / HTTP/1.1\r\n{HOST}Content-Length: 1\r\nContent-Length: 1\r\n")), 400, "bad-request"),
        (
            lines(&format!("POST / HTTP/1.1\r\n{HOST}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n")),
            400,
            "bad-request",
        ),
        (lines(&format!("POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip\r\n")), 400, "bad-request"),
        (lines(&format!("GET / HTTP/1.1\r\n{HOST}X: {}\r\n", "x".repeat(140_000))), 431, "head-too-large"),
        (lines(&format!("GET / HTTP/1.1\r\n{HOST}{}", "X: y\r\n".repeat(100))), 431, "head-too-large"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 505, "wrong-version"),
        (lines(&format!("GET / HTTP/3.0\r\n{HOST}")), 505, "wrong-version"),
        (lines(&format!("GET / HTTP/1.1\r\n{HOST}Expect: a-miracle\r\n")), 417, "unmet-expectation"),
    ];
    for (bytes, status, slug) in cases {
        let reply = Reply::read(connect(&server, &bytes));
        reply.problem(status, slug);
        assert_eq!(reply.header("connection"), Some("close"), "{reply:?}");
        // A preceding HEAD request does not make the refusal a response without a body.
        let head = Request::new("HEAD", "/healthz", "").kept_open(server.address);
        let mut text = String::new();
        _ = connect(&server, &[head.as_bytes(), &bytes].concat()).read_to_string(&mut text);
        assert!(text.contains(&format!("HTTP/1.1 {status} ")) && text.contains(slug), "{text}");
    }
    assert_eq!(server.get("/healthz").status, 200);
}

/// R68: a head that is not complete in time is refused, on the first request of a connection and on a later one. A new
/// connection that sends nothing is closed. The option overrides the key.
#[test]
fn r68_a_slow_head_is_refused_in_time() {
    let folder = folder(&format!("{ONE}[server]\nhead_timeout = '1h'\n"));
    let server = Server::start(folder, &["--head-timeout", "300ms"], &[]);
    let begun = b"GET /healthz HTTP/1.1\r\nHost: local";
    let refused = |client| {
        let reply = Reply::read(client);
        let detail = reply.problem(408, "head-timeout")["detail"].clone();
        assert!(detail.as_str().unwrap().contains("300ms"), "{detail}");
        assert_eq!(reply.header("connection"), Some("close"), "{reply:?}");
    };
    refused(connect(&server, begun));
    let mut later = connect(&server, get("/healthz").kept_open(server.address).as_bytes());
    let mut seen = Vec::new();
    while !seen.ends_with(b"}") {
        let mut byte = [0];
        later.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    later.write_all(begun).unwrap();
    refused(later);
    assert_eq!(connect(&server, b"").read(&mut [0]).unwrap(), 0);
    assert_eq!(connect(&server, b"\r\n").read(&mut [0]).unwrap(), 0, "an empty line is not a head");
}

/// R68: the connection of a client that does not read its response is reset, and the memory of the response is reused.
/// Other clients are served meanwhile.
#[test]
fn r68_an_unread_response_ends_its_connection() {
    let server = with_blobs("write_timeout = '500ms'");
    let (before, open) = (resident(&server), descriptors(&server));
    let request = server.request("one/blob", r#"{"size": 30000000}"#, &[]).kept_open(server.address);
    for _ in 0..3 {
        let mut clients: Vec<_> = (0..4).map(|_| connect(&server, request.as_bytes())).collect();
        wait_until("the responses wait", || descriptors(&server) > open);
        assert_eq!(server.get("/healthz").status, 200);
        wait_until("the connections are reset", || descriptors(&server) <= open);
        let mut answer = Vec::new();
        assert!(
            clients.iter_mut().all(|client| client.read_to_end(&mut answer).is_err()),
            "the connections were not reset"
        );
        assert!(answer.len() < 30_000_000, "the responses were written");
    }
    // The system's allocator keeps less than this; all responses together have 360 MB.
    assert!(resident(&server) < before + 200, "{} {before}", resident(&server));
}

/// R68: a client that reads a large response slowly gets all of it.
#[test]
fn r68_a_slow_reader_gets_the_complete_response() {
    let server = with_blobs("write_timeout = '2s'");
    let request = server.request("one/blob", r#"{"size": 30000000}"#, &[]);
    let (mut client, mut size, mut buffer) = (request.open(server.address), 0, vec![0; 4000]);
    loop {
        match client.read(&mut buffer).unwrap() {
            0 => break,
            count => size += count,
        }
        if size % 1000 == 0 {
            std::thread::yield_now();
        }
    }
    assert!(size > 30_000_000, "{size}");
}

/// R68: `100 Continue` is sent when the body is read; a refused request gets the refusal instead.
#[test]
fn r68_100_continue_is_sent_only_when_the_body_is_read() {
    let server = with("token = 's3cret'");
    let head = |token: &str, length: usize| {
        format!(
            "POST /v1/pools/one/call/echo HTTP/1.1\r\n{HOST}Authorization: Bearer {token}\r\nConnection: close\r\n\
             Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let refused = |head: String| Reply::read(connect(&server, head.as_bytes()));
    refused(head("s3cret", 999_999_999)).problem(413, "too-large");
    refused(head("wrong", 2)).problem(401, "token-wrong");
    refused(head("s3cret", 2).replace("/echo", "/echo/nothing")).problem(404, "no-route");

    let mut client = connect(&server, head("s3cret", 7).as_bytes());
    let mut interim = [0; 25];
    client.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(br#"{"x":1}"#).unwrap();
    assert_eq!(Reply::read(client).result()["x"], 1);
    // A client that sends the body without waiting gets no `100 Continue`.
    let at_once = connect(&server, (head("s3cret", 7) + r#"{"x":2}"#).as_bytes());
    assert_eq!(Reply::read(at_once).result()["x"], 2);
}

/// R68: a body without data has the same timeout as any other, however fast it arrives, and does not block other
/// clients.
#[test]
fn r68_a_body_without_data_ends_at_its_deadline() {
    let server = Server::with(ONE);
    let headers = [("Transfer-Encoding", "chunked"), ("Herder-Timeout", "1s"), ("Content-Length", "")];
    let head = server.request("one/echo", "", &headers).text(server.address);
    let much = vec![b'x'; 1 << 22];
    for (begin, name) in [("2;", "an extension of a chunk"), ("2\r\n{}\r\n0\r\nX", "a trailer")] {
        let mut client = connect(&server, (head.clone() + begin).as_bytes());
        let answered = client.try_clone().unwrap();
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| while client.write_all(&much).is_ok() {});
            assert_eq!(server.get("/healthz").status, 200, "{name}");
            let reply = Reply::read(answered);
            reply.problem(504, "deadline-exceeded");
            sending.join().unwrap();
        });
    }
}

/// A connection takes one descriptor until it is closed.
#[test]
fn a_connection_takes_one_descriptor() {
    let server = Server::with(ONE);
    let before = descriptors(&server);
    let clients: Vec<_> = (0..40).map(|_| connect(&server, b"")).collect();
    wait_until("all are accepted", || descriptors(&server) >= before + 40);
    assert_eq!(descriptors(&server), before + 40);
    drop(clients);
    wait_until("all are closed", || descriptors(&server) <= before);
}
