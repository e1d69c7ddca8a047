//! Bodies that an application streams in both directions, and clients that send too much.

use super::{
    Server,
    tests::{Client, header, listener},
    wire::Wire,
};
use crate::{
    http::{
        Caller, Connections,
        connections::{Connection, EndsWithDrain},
    },
    testing::with_timeout,
};
use actix_http::{
    Request, Response, ServiceConfig,
    body::{BodySize, MessageBody},
};
use actix_service::{IntoServiceFactory, ServiceFactory};
use actix_web::{
    App, Error, HttpRequest, HttpResponse,
    dev::{AppConfig, ServerHandle},
    web,
};
use bytes::Bytes;
use futures_core::Stream;
use rustix::net::sockopt::set_socket_linger;
use std::{
    convert::Infallible,
    fmt,
    future::poll_fn,
    io::{self, Write},
    net::SocketAddr,
    os::fd::AsFd,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::net::TcpStream;

const HOUR: Duration = Duration::from_secs(3600);
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";

/// Streams the body of the request back.
async fn echo(body: web::Payload) -> HttpResponse {
    HttpResponse::Ok().streaming(body)
}

/// Switches the protocol and streams the body of the request back.
async fn switch(body: web::Payload) -> HttpResponse {
    HttpResponse::SwitchingProtocols().upgrade("websocket").streaming(body)
}

/// Responds with a body that is always pending.
async fn silent() -> HttpResponse {
    HttpResponse::Ok().streaming(futures_util::stream::pending::<Result<Bytes, Error>>())
}

/// Responds with a body that always has another part, and for which a drain does not wait.
async fn watched(request: HttpRequest) -> HttpResponse {
    let end = EndsWithDrain::begin(Connection::of(&request));
    let part = move || {
        _ = &end;
        Ok::<_, Error>(Bytes::from_static(&[b'x'; 32 * 1024]))
    };
    HttpResponse::Ok().streaming(futures_util::stream::repeat_with(part))
}

async fn none() -> HttpResponse {
    HttpResponse::Ok().finish()
}

async fn broken(request: HttpRequest) -> HttpResponse {
    assert_eq!(request.path(), "/", "on purpose");
    HttpResponse::Ok().finish()
}

/// A body that always has another part, until another task of the thread has run.
struct Ready(Rc<AtomicBool>);

impl MessageBody for Ready {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let is_over = self.0.load(Ordering::SeqCst);
        Poll::Ready((!is_over).then_some(Ok(Bytes::from_static(b"x"))))
    }
}

/// Responds with a [`Ready`] body.
async fn ready() -> HttpResponse {
    let has_run = Rc::new(AtomicBool::new(false));
    let other = has_run.clone();
    actix_rt::spawn(async move { other.store(true, Ordering::SeqCst) });
    HttpResponse::Ok().body(Ready(has_run))
}

/// Starts a server with one thread. None of its timeouts can elapse during a test, except for the linger time.
fn run<F, I, S, B>(server: Server<F>) -> (SocketAddr, ServerHandle, Connections)
where
    F: Fn() -> I + Clone + Send + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error>,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let server = server.workers(1).disable_signals().shutdown_timeout(HOUR).keep_alive(HOUR).head_timeout(HOUR);
    let server = server.write_timeout(HOUR).listen(listener).unwrap();
    let connections = server.connections();
    let server = server.run().unwrap();
    let handle = server.handle();
    actix_rt::spawn(server);
    (address, handle, connections)
}

fn serving() -> (SocketAddr, ServerHandle, Connections) {
    run(Server::new(|| {
        App::new()
            .route("/echo", web::to(echo))
            .route("/switch", web::to(switch))
            .route("/silent", web::to(silent))
            .route("/watched", web::to(watched))
            .route("/ready", web::to(ready))
            .route("/broken", web::to(broken))
            .default_service(web::to(none))
    }))
}

/// Waits until the server has closed all connections.
async fn until_closed(connections: &Connections) {
    while connections.open() > 0 {
        tokio::task::yield_now().await;
    }
}

fn post(path: &str, headers: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

/// Reads until the connection ends.
async fn rest(client: &mut Client) -> String {
    while client.read().await {}
    String::from_utf8(std::mem::take(&mut client.received)).unwrap()
}

/// R68: the body of a response may be the body of its request, whether that has arrived or not.
#[actix_web::test]
async fn r68_a_request_body_can_be_streamed_back() {
    let (address, handle, _) = serving();
    with_timeout("the responses", async {
        let mut client = Client::connect(address).await;
        client.send(post("/echo", "", "hello").as_bytes()).await;
        let text = rest(&mut client).await;
        assert!(text.ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), "{text}");

        let mut client = Client::connect(address).await;
        let request = post("/echo", "", "hello");
        let (head, body) = request.split_at(request.len() - 5);
        client.send(head.as_bytes()).await;
        let (head, _) = client.response(false).await.unwrap();
        assert_eq!(header(&head, "connection"), Some("close"), "{head}");
        client.send(body.as_bytes()).await;
        assert_eq!(rest(&mut client).await, "5\r\nhello\r\n0\r\n\r\n");
    })
    .await;
    handle.stop(false).await;
}

/// R68: `100 Continue` is not sent in the middle of a response.
#[actix_web::test]
async fn r68_100_continue_is_not_sent_within_a_response() {
    let (address, handle, _) = serving();
    with_timeout("the response", async {
        let mut client = Client::connect(address).await;
        let request = post("/echo", "Expect: 100-continue\r\n", "hello");
        let (head, body) = request.split_at(request.len() - 5);
        client.send(head.as_bytes()).await;
        let (head, _) = client.response(false).await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        client.send(body.as_bytes()).await;
        assert_eq!(rest(&mut client).await, "5\r\nhello\r\n0\r\n\r\n");
    })
    .await;
    handle.stop(false).await;
}

/// R68: HTTP/1.0 has no chunks: the end of the connection is the end of the response.
#[actix_web::test]
async fn r68_a_response_in_http_1_0_has_no_chunks() {
    let (address, handle, _) = serving();
    with_timeout("the response", async {
        let mut client = Client::connect(address).await;
        let request = post("/echo", "Connection: keep-alive\r\n", "hello").replace("HTTP/1.1", "HTTP/1.0");
        client.send(request.as_bytes()).await;
        let text = rest(&mut client).await;
        assert!(text.starts_with("HTTP/1.0 200 ") && text.ends_with("\r\n\r\nhello"), "{text}");
        assert!(!text.contains("keep-alive") && !text.contains("transfer-encoding"), "{text}");
    })
    .await;
    handle.stop(false).await;
}

/// R68: a body that always has another part does not block other tasks of the thread.
#[actix_web::test]
async fn r68_an_endless_body_does_not_block_the_thread() {
    let (address, handle, _) = serving();
    with_timeout("the response", async {
        let mut client = Client::connect(address).await;
        client.send(NEXT.replace("/next", "/ready").as_bytes()).await;
        while client.read().await {
            if client.received.ends_with(b"0\r\n\r\n") {
                return;
            }
        }
        panic!("the response is cut off");
    })
    .await;
    handle.stop(false).await;
}

/// R68: bytes after the last response are discarded for a limited time, however fast they arrive.
#[actix_web::test]
async fn r68_a_client_that_sends_endlessly_is_disconnected() {
    let (address, handle, connections) = serving();
    let sending = std::thread::spawn(move || -> io::Error {
        let mut client = std::net::TcpStream::connect(address).unwrap();
        client.write_all(b"GARBAGE\r\n\r\n").unwrap();
        let much = vec![b'x'; 1024 * 1024];
        loop {
            if let Err(error) = client.write_all(&much) {
                return error;
            }
        }
    });
    with_timeout("the end", async {
        while !sending.is_finished() {
            tokio::task::yield_now().await;
        }
        until_closed(&connections).await;
    })
    .await;
    handle.stop(false).await;
}

/// R68: a client that sends its body after the response can read the response: its connection is not reset.
#[actix_web::test]
async fn r68_a_body_after_the_response_does_not_reset_the_connection() {
    let (address, handle, connections) = serving();
    with_timeout("the response", async {
        let mut client = Client::connect(address).await;
        let request = post("/next", "", "hello");
        client.send(&request.as_bytes()[..request.len() - 5]).await;
        let (head, _) = client.response(false).await.unwrap();
        assert_eq!(header(&head, "connection"), Some("close"), "{head}");
        assert_eq!(rest(&mut client).await, "");
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(connections.open(), 1, "the connection was closed before the body arrived");
        client.send(b"hello").await;
        drop(client);
        until_closed(&connections).await;
    })
    .await;
    handle.stop(false).await;
}

/// The state that the handlers of the next test share with the test.
#[derive(Default)]
struct Drained {
    connections: OnceLock<Connections>,
    client: Mutex<Option<std::net::TcpStream>>,
}

/// Makes a request arrive, and then drains the server, while nothing else runs on the thread.
async fn drain(drained: web::Data<Arc<Drained>>) -> HttpResponse {
    let mut client = drained.client.lock().unwrap().take().unwrap();
    client.write_all(NEXT.as_bytes()).unwrap();
    drained.connections.get().unwrap().drain();
    none().await
}

/// Responds with whether the client disconnects while other tasks run.
async fn stays(caller: Caller) -> HttpResponse {
    let other_tasks = async {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    };
    let stays = tokio::select! {
        () = caller.disconnected() => "no",
        () = other_tasks => "yes",
    };
    HttpResponse::Ok().insert_header(("stays", stays)).finish()
}

/// R68: a request that arrives just before the drain is answered. The drain closes the reading side, which must not
/// look like a disconnect of the client.
#[actix_web::test]
async fn r68_a_request_that_arrives_just_before_the_drain_is_answered() {
    let drained = Arc::new(Drained::default());
    let of_app = web::Data::new(drained.clone());
    let server = Server::new(move || {
        App::new().app_data(of_app.clone()).route("/drain", web::to(drain)).default_service(web::to(stays))
    });
    let (address, handle, connections) = run(server);
    drained.connections.set(connections).unwrap();
    with_timeout("the responses", async {
        let [mut idle, mut other] = [Client::connect(address).await, Client::connect(address).await];
        idle.send(NEXT.as_bytes()).await;
        assert!(idle.response(false).await.is_some());
        let copy = idle.stream.as_fd().try_clone_to_owned().unwrap();
        *drained.client.lock().unwrap() = Some(copy.into());
        other.send(NEXT.replace("/next", "/drain").as_bytes()).await;
        assert!(other.response(false).await.is_some());
        let (head, _) = idle.response(false).await.unwrap();
        assert_eq!((header(&head, "stays"), header(&head, "connection")), (Some("yes"), Some("close")), "{head}");
    })
    .await;
    handle.stop(false).await;
}

/// An upgraded connection carries all bytes of the application and the client, in both directions.
#[actix_web::test]
async fn an_upgraded_connection_carries_all_bytes() {
    let (address, handle, connections) = serving();
    with_timeout("the bytes", async {
        let mut client = Client::connect(address).await;
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly";
        client.send(format!("GET /switch HTTP/1.1\r\nHost: a\r\n{upgrade}").as_bytes()).await;
        let (head, _) = client.response(false).await.unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(header(&head, "connection"), Some("upgrade"), "{head}");
        let mut expected = String::from("early");
        for round in 0..100 {
            while client.received.len() < expected.len() {
                assert!(client.read().await, "{expected}");
            }
            assert_eq!(client.received, expected.as_bytes());
            let more = format!("GET /{round} HTTP/1.1\r\n\r\n");
            client.send(more.as_bytes()).await;
            expected += &more;
        }
        drop(client);
        until_closed(&connections).await;
    })
    .await;
    handle.stop(false).await;
}

/// A response that waits for the application ends when the client resets the connection.
#[actix_web::test]
async fn a_reset_ends_a_response_that_has_nothing_to_write() {
    let (address, handle, connections) = serving();
    with_timeout("the end", async {
        let mut client = Client::connect(address).await;
        client.send(NEXT.replace("/next", "/silent").as_bytes()).await;
        assert!(client.response(false).await.is_some());
        // Makes the drop of the client a reset.
        set_socket_linger(&client.stream, Some(Duration::ZERO)).unwrap();
        drop(client);
        until_closed(&connections).await;
    })
    .await;
    handle.stop(false).await;
}

/// R68: reads that bypass the runtime count against the task's cooperative budget, too: a client that sends endlessly
/// does not block other tasks.
#[actix_web::test]
async fn r68_direct_reads_use_the_cooperative_budget() {
    let listener = listener();
    let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_nonblocking(true).unwrap();
    while client.write(&[0; 64 * 1024]).is_ok() {}
    let stream = listener.accept().unwrap().0;
    stream.set_nonblocking(true).unwrap();
    let connection = Connection::served(&Connections::default(), TcpStream::from_std(stream).unwrap());
    let mut wire = Wire::new(connection, ServiceConfig::default());
    wire.leave_unread();
    let mut reads = 0;
    // Start with a full budget.
    tokio::task::yield_now().await;
    poll_fn(|context| {
        while let Poll::Ready(read) = wire.poll_fill(context) {
            assert_ne!(read.unwrap(), 0);
            _ = client.write(&[0; 64 * 1024]); // there is always more to read
            wire.discard();
            reads += 1;
            assert!(reads < 10_000, "the task never yields");
        }
        Poll::Ready(())
    })
    .await;
    assert!(reads > 0);
}

/// A task that reads a body after its request was answered gets an error.
#[actix_web::test]
async fn reading_a_body_after_the_response_fails() {
    let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let keep = move |mut body: web::Payload| {
        let ended = ended.clone();
        actix_rt::spawn(async move {
            while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut body).poll_next(context)).await {}
            _ = ended.send(());
        });
        async {
            tokio::task::yield_now().await; // the task now waits for the rest of the body
            none().await
        }
    };
    let (address, handle, _) = run(Server::new(move || App::new().default_service(web::to(keep.clone()))));
    with_timeout("the end", async {
        let mut client = Client::connect(address).await;
        let request = post("/kept", "", "hello");
        client.send(&request.as_bytes()[..request.len() - 1]).await;
        assert!(client.response(false).await.is_some());
        assert_eq!(ends.recv().await, Some(()));
    })
    .await;
    handle.stop(false).await;
}

/// R68: a handler that panics ends its connection, but no other one.
#[actix_web::test]
async fn r68_a_panic_ends_only_its_connection() {
    let (address, handle, connections) = serving();
    with_timeout("the responses", async {
        let [mut other, mut client] = [Client::connect(address).await, Client::connect(address).await];
        client.send(NEXT.replace("/next", "/broken").as_bytes()).await;
        assert!(client.response(false).await.is_none());
        other.send(NEXT.as_bytes()).await;
        assert!(other.response(false).await.is_some());
        while connections.open() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    handle.stop(false).await;
}

/// R50: a client that does not read its events holds up the stop neither until the shutdown timeout nor until the write timeout.
#[actix_web::test]
async fn r50_a_stop_does_not_wait_for_a_stalled_reader_of_events() {
    let (address, handle, connections) = serving();
    with_timeout("the stop", async {
        let mut client = Client::connect(address).await;
        client.send(NEXT.replace("/next", "/watched").as_bytes()).await;
        assert!(client.response(false).await.is_some(), "the response has begun; nothing more is read");
        connections.drain();
        handle.stop(true).await;
    })
    .await;
}

/// Timeouts that the clock cannot represent are accepted.
#[actix_web::test]
async fn timeouts_may_exceed_the_range_of_the_clock() {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let server = Server::new(|| App::new().default_service(web::to(none))).workers(1).disable_signals();
    let server = server.shutdown_timeout(Duration::MAX).keep_alive(Duration::MAX).head_timeout(Duration::MAX);
    let server = server.write_timeout(Duration::MAX).listen(listener).unwrap().run().unwrap();
    let handle = server.handle();
    actix_rt::spawn(server);
    with_timeout("the responses", async {
        let mut client = Client::connect(address).await;
        for _ in 0..2 {
            client.send(NEXT.as_bytes()).await;
            assert!(client.response(false).await.is_some());
        }
    })
    .await;
    handle.stop(false).await;
}
