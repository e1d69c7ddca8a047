//! A server in this process, with an application that returns what it received, and clients that control every byte.

use super::Server;
use crate::testing::with_timeout;
use actix_codec::Decoder;
use actix_http::{
    ServiceConfig,
    h1::{Codec, Message},
};
use actix_web::{App, HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use std::{
    future::{Future, poll_fn},
    net::{SocketAddr, TcpListener},
    pin::Pin,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A request as the application saw it: method, version and path; and the body.
type Seen = (String, Vec<u8>);

const ALL_KINDS: &str = "POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
    HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n\
    \r\n\nGET /get HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n\
    POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
    5;name=value\r\nhello\r\n0A \r\n0123456789\r\n0\r\nTrailer: a\r\n\r\n\
    PUT /old HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab\
    POST /none HTTP/1.1\nHost: a\nContent-Length: 0\n\n\
    GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// The response body for a request without a body.
const NONE: Bytes = Bytes::from_static(b"none");

async fn report(request: HttpRequest, body: Bytes) -> HttpResponse {
    let seen = format!("{} {:?} {}", request.method(), request.version(), request.path());
    HttpResponse::Ok().insert_header(("seen", seen)).body(if body.is_empty() { NONE } else { body })
}

/// Ignores the body of the request.
async fn ignore() -> HttpResponse {
    HttpResponse::Ok().insert_header(("seen", "ignored")).finish()
}

/// Reads the body of the request in a task that outlives the request.
async fn keep(mut body: web::Payload) -> HttpResponse {
    actix_rt::spawn(async move {
        while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut body).poll_next(context)).await {}
    });
    HttpResponse::Ok().insert_header(("seen", "kept")).finish()
}

pub(super) fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Stops a server, gracefully or immediately.
type StopServer = Box<dyn FnOnce(bool) -> Pin<Box<dyn Future<Output = ()>>>>;

/// Where a server runs.
#[derive(Clone, Copy, Debug)]
enum Place {
    CurrentArbiter,
    OwnThread,
}

/// Starts a server on the current arbiter.
async fn serving(max_connections: usize) -> (SocketAddr, StopServer) {
    serving_on(Place::CurrentArbiter, max_connections)
}

fn serving_on(place: Place, max_connections: usize) -> (SocketAddr, StopServer) {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let application =
        || App::new().route("/ignored", web::to(ignore)).route("/kept", web::to(keep)).default_service(web::to(report));
    let server = Server::new(application).workers(1).max_connections(max_connections).disable_signals();
    // Longer than any test.
    let hour = Duration::from_secs(3600);
    let server = server.shutdown_timeout(hour).keep_alive(hour);
    let server = server.listen(listener).unwrap();
    let stop: StopServer = match place {
        Place::CurrentArbiter => {
            let server = server.run_on_current_arbiter().unwrap();
            let handle = server.handle();
            actix_rt::spawn(server);
            Box::new(move |graceful| Box::pin(handle.stop(graceful)))
        }
        Place::OwnThread => {
            let server = server.run().unwrap();
            let handle = server.handle();
            actix_rt::spawn(server);
            Box::new(move |graceful| Box::pin(handle.stop(graceful)))
        }
    };
    (address, stop)
}

/// A client that parses responses.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    pub(super) received: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, received: Vec::new() }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        // A server that has refused earlier bytes may have closed the connection.
        _ = self.stream.write_all(bytes).await;
    }

    /// Reads once. Returns false if the connection has ended.
    pub(super) async fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer).await {
            Ok(count @ 1..) => {
                self.received.extend_from_slice(&buffer[..count]);
                true
            }
            _ => false,
        }
    }

    /// Returns the next response: its head in lower case, and its body. `None` if the connection has ended. `is_head`:
    /// the response is to a HEAD request.
    pub(super) async fn response(&mut self, is_head: bool) -> Option<(String, Vec<u8>)> {
        let end = loop {
            match self.received.windows(4).position(|part| part == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None if self.read().await => {}
                None => return None,
            }
        };
        let head = String::from_utf8(self.received.drain(..end).collect()).unwrap();
        let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let length = if is_head { 0 } else { length };
        while self.received.len() < length {
            assert!(self.read().await, "the body is cut off: {head}");
        }
        Some((head, self.received.drain(..length).collect()))
    }
}

pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Returns the requests that actix-http's decoder finds in these bytes, up to the first one that is malformed,
/// incomplete or the last of its connection. If what follows is malformed, also returns whether it is the body of a
/// HEAD request, whose response has no body.
fn decoded(bytes: &[u8]) -> (Vec<Seen>, Option<bool>) {
    let (mut codec, mut bytes) = (Codec::new(ServiceConfig::default()), BytesMut::from(bytes));
    let (mut requests, mut present): (_, Option<Seen>) = (Vec::new(), None);
    loop {
        match codec.decode(&mut bytes) {
            Ok(Some(Message::Item(request))) => {
                let seen = format!("{} {:?} {}", request.method(), request.version(), request.path());
                present = Some((seen, Vec::new()));
                if codec.message_type() != actix_http::h1::MessageType::None {
                    continue;
                }
            }
            Ok(Some(Message::Chunk(Some(part)))) => {
                present.as_mut().unwrap().1.extend_from_slice(&part);
                continue;
            }
            Ok(Some(Message::Chunk(None))) => {}
            Ok(None) => return (requests, None),
            Err(_) => return (requests, Some(present.is_some_and(|(seen, _)| seen.starts_with("HEAD ")))),
        }
        requests.extend(present.take());
        if !codec.keep_alive() {
            return (requests, None);
        }
    }
}

/// Checks that the client gets the responses to these requests.
async fn answered(client: &mut Client, requests: &[Seen], context: &str) {
    for (seen, body) in requests {
        let is_head = seen.starts_with("HEAD ");
        let (head, received) =
            client.response(is_head).await.unwrap_or_else(|| panic!("{seen} is not answered: {context}"));
        assert_eq!(header(&head, "seen"), Some(seen.as_str()), "{head} {context}");
        let version = seen.split(' ').nth(1).unwrap();
        assert!(head.starts_with(&format!("{version} 200 ")), "{head} {context}");
        let body = if body.is_empty() { &NONE } else { body.as_slice() };
        assert_eq!(received, if is_head { &[][..] } else { body }, "{head} {context}");
        assert_eq!(header(&head, "content-length"), Some(body.len().to_string().as_str()), "{head} {context}");
    }
}

/// R68: each response has the method, the version and the connection type of its own request, however many requests are
/// pipelined, and wherever the bytes are split.
#[actix_web::test]
async fn r68_responses_match_their_requests_however_the_bytes_arrive() {
    let (address, stop) = serving(1000).await;
    let (requests, malformed) = decoded(ALL_KINDS.as_bytes());
    assert_eq!((requests.len(), malformed), (7, None), "{requests:?}");
    with_timeout("the responses", async {
        for cut in 0..ALL_KINDS.len() {
            let mut client = Client::connect(address).await;
            let (first, second) = ALL_KINDS.as_bytes().split_at(cut);
            client.send(first).await;
            tokio::task::yield_now().await;
            client.send(second).await;
            answered(&mut client, &requests, &format!("cut at {cut}")).await;
            assert!(client.response(false).await.is_none());
        }
        let mut client = Client::connect(address).await;
        for byte in ALL_KINDS.as_bytes().chunks(1) {
            client.send(byte).await;
        }
        answered(&mut client, &requests, "byte by byte").await;
    })
    .await;
    stop(false).await;
}

/// R68: for any bytes, the server answers exactly the requests that actix-http's decoder finds in them, and refuses
/// what follows if that is malformed.
#[actix_web::test]
async fn r68_no_bytes_smuggle_a_request() {
    let (address, stop) = serving(1000).await;
    let parts = [
        "\r\n",
        "\n",
        "\r",
        " ",
        ":",
        ";",
        "0\r\n\r\n",
        "5\r\n",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length: +1\r\n",
        "GET /x HTTP/1.1\r\nHost: b\r\n\r\n",
        "\0",
        "HTTP/1.0",
        " x\r\n",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    with_timeout("the responses", async {
        for round in 0..600 {
            let mut bytes = ALL_KINDS.as_bytes().to_vec();
            for _ in 0..=random(3) {
                let position = random(bytes.len());
                match random(3) {
                    0 => _ = bytes.splice(position..position, parts[random(parts.len())].bytes()),
                    1 => _ = bytes.remove(position),
                    _ => bytes[position] = u8::try_from(random(256)).unwrap(),
                }
            }
            let context = format!("round {round}: {:?}", String::from_utf8_lossy(&bytes));
            let (requests, malformed) = decoded(&bytes);
            let mut client = Client::connect(address).await;
            client.send(&bytes).await;
            answered(&mut client, &requests, &context).await;
            if let Some(is_head) = malformed {
                let (head, _) = client.response(is_head).await.unwrap_or_else(|| panic!("no refusal: {context}"));
                assert!(!head.starts_with("HTTP/1.1 2"), "{head} {context}");
                assert_eq!(header(&head, "connection"), Some("close"), "{head} {context}");
                assert!(client.response(false).await.is_none(), "{context}");
            }
        }
    })
    .await;
    stop(false).await;
}

/// R68: a body that no handler reads is discarded if it has arrived, and otherwise ends its connection. It is never
/// parsed as a request. A body that is read too late does not consume the next request either.
#[actix_web::test]
async fn r68_an_unread_body_is_not_parsed_as_a_request() {
    let (address, stop) = serving(1000).await;
    let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    with_timeout("the responses", async {
        let post = |path: &str, length: usize, body: &str| {
            format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
        };
        // A body that the application still holds may be read later: it is not discarded.
        for (path, seen, closes) in [("/ignored", "ignored", None), ("/kept", "kept", Some("close"))] {
            let mut client = Client::connect(address).await;
            client.send((post(path, next.len(), next) + next).as_bytes()).await;
            let (head, _) = client.response(false).await.unwrap();
            assert_eq!((header(&head, "seen"), header(&head, "connection")), (Some(seen), closes), "{head}");
            let follow = if closes.is_none() { decoded(next.as_bytes()).0 } else { Vec::new() };
            answered(&mut client, &follow, path).await;
            assert!(closes.is_none() || client.response(false).await.is_none());

            let mut client = Client::connect(address).await;
            client.send(post(path, 1000, next).as_bytes()).await;
            let (head, _) = client.response(false).await.unwrap();
            assert_eq!((header(&head, "seen"), header(&head, "connection")), (Some(seen), Some("close")), "{head}");
            assert!(client.response(false).await.is_none());
        }
    })
    .await;
    stop(false).await;
}

/// A connection beyond the limit waits until another one has closed.
#[actix_web::test]
async fn connections_are_limited() {
    let request = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    let requests = decoded(request.as_bytes()).0;
    for place in [Place::CurrentArbiter, Place::OwnThread] {
        let (address, stop) = serving_on(place, 1);
        with_timeout("the responses", async {
            let [mut first, mut second] = [Client::connect(address).await, Client::connect(address).await];
            second.send(request.as_bytes()).await;
            for _ in 0..50 {
                first.send(request.as_bytes()).await;
                answered(&mut first, &requests, "first").await;
            }
            let early = second.stream.try_read(&mut [0; 1]).map_err(|error| error.kind());
            assert_eq!(
                early,
                Err(std::io::ErrorKind::WouldBlock),
                "the second connection is served before the first has closed: {place:?}"
            );
            drop(first);
            answered(&mut second, &requests, "second").await;
        })
        .await;
        stop(false).await;
    }
}

/// A graceful stop closes idle connections, which would otherwise delay it.
#[actix_web::test]
async fn a_graceful_stop_closes_idle_connections() {
    let request = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    for place in [Place::CurrentArbiter, Place::OwnThread] {
        let (address, stop) = serving_on(place, 1000);
        with_timeout("the stop", async {
            let mut client = Client::connect(address).await;
            client.send(request.as_bytes()).await;
            answered(&mut client, &decoded(request.as_bytes()).0, "before the stop").await;
            stop(true).await;
            assert!(!client.read().await, "the connection is open: {place:?}");
        })
        .await;
    }
}

/// More clients than the standard library's backlog of 128 can connect before any is accepted.
#[test]
fn many_clients_may_wait_to_be_accepted() {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let server = Server::new(App::new).listen(listener).unwrap();
    let clients: Vec<_> = (0..300).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    assert_eq!(clients.len(), 300);
    drop(server);
}
