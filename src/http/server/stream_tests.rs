//! Bodies that an application streams, in both directions, and clients that send more than they should.

use super::{
    Server,
    tests::{Client, header, listener},
    wire::Wire,
};
use crate::{
    http::{Caller, Connections, connections::Connection},
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

/// Gives the body of the request back as it comes.
async fn echo(body: web::Payload) -> HttpResponse {
    HttpResponse::Ok().streaming(body)
}

/// Lets the connection carry what the client likes.
async fn switch(body: web::Payload) -> HttpResponse {
    HttpResponse::SwitchingProtocols().upgrade("websocket").streaming(body)
}

/// Answers with a body that has nothing for ever.
async fn silent() -> HttpResponse {
    HttpResponse::Ok().streaming(futures_util::stream::pending::<Result<Bytes, Error>>())
}

async fn none() -> HttpResponse {
    HttpResponse::Ok().finish()
}

async fn broken(request: HttpRequest) -> HttpResponse {
    assert_eq!(request.path(), "/", "on purpose");
    HttpResponse::Ok().finish()
}

/// A body that always has more, until another task of the thread has run.
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

/// Answers with such a body.
async fn ready() -> HttpResponse {
    let has_run = Rc::new(AtomicBool::new(false));
    let other = has_run.clone();
    actix_rt::spawn(async move { other.store(true, Ordering::SeqCst) });
    HttpResponse::Ok().body(Ready(has_run))
}

/// Starts a server on one thread. No time of it is over during a test, but what it lingers.
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
    let server = server.listen(listener).unwrap();
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
            .route("/ready", web::to(ready))
            .route("/broken", web::to(broken))
            .default_service(web::to(none))
    }))
}

/// Waits until the server has closed every connection.
async fn until_closed(connections: &Connections) {
    while connections.open() > 0 {
        tokio::task::yield_now().await;
    }
}

fn post(path: &str, headers: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

/// All that comes up to the connection's end.
async fn rest(client: &mut Client) -> String {
    while client.read().await {}
    String::from_utf8(std::mem::take(&mut client.received)).unwrap()
}

/// R68: a response may be made of the body of its request, whether that has arrived or not.
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

/// R68: `100 Continue` is not sent within a response.
#[actix_web::test]
async fn r68_no_100_continue_is_within_a_response() {
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

/// R68: a client of HTTP/1.0 knows no chunks: the end of the connection is the end of the response.
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

/// R68: a body that always has more does not keep other tasks from the thread.
#[actix_web::test]
async fn r68_a_body_without_an_end_leaves_the_thread_to_others() {
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

/// R68: what comes behind the last response is discarded for a time, however fast it comes.
#[actix_web::test]
async fn r68_a_client_that_sends_without_an_end_is_cut_off() {
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

/// R68: a client whose body comes after the response to its head can read that: its connection is not reset.
#[actix_web::test]
async fn r68_a_body_that_comes_after_the_response_resets_nothing() {
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
        assert_eq!(connections.open(), 1, "it was closed before the body has come");
        client.send(b"hello").await;
        drop(client);
        until_closed(&connections).await;
    })
    .await;
    handle.stop(false).await;
}

/// What the handlers of the test below share with it.
#[derive(Default)]
struct Drained {
    connections: OnceLock<Connections>,
    client: Mutex<Option<std::net::TcpStream>>,
}

/// Lets a request arrive, and the server drain, while nothing else runs on the thread.
async fn drain(drained: web::Data<Arc<Drained>>) -> HttpResponse {
    let mut client = drained.client.lock().unwrap().take().unwrap();
    client.write_all(NEXT.as_bytes()).unwrap();
    drained.connections.get().unwrap().drain();
    none().await
}

/// Tells whether the client goes away while other tasks run.
async fn stays(caller: Caller) -> HttpResponse {
    let turns = async {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    };
    let stays = tokio::select! {
        () = caller.gone() => "no",
        () = turns => "yes",
    };
    HttpResponse::Ok().insert_header(("stays", stays)).finish()
}

/// R68: a request that arrives as the server drains is answered: that the drain has closed the reading side is not the client's doing.
#[actix_web::test]
async fn r68_a_request_that_arrives_with_the_drain_is_answered() {
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

/// An application that upgrades a connection has it for itself, in both directions.
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

/// A response that waits for its application ends when its client resets the connection.
#[actix_web::test]
async fn a_reset_ends_a_response_of_which_nothing_is_there() {
    let (address, handle, connections) = serving();
    with_timeout("the end", async {
        let mut client = Client::connect(address).await;
        client.send(NEXT.replace("/next", "/silent").as_bytes()).await;
        assert!(client.response(false).await.is_some());
        set_socket_linger(&client.stream, Some(Duration::ZERO)).unwrap(); // its end is a reset
        drop(client);
        until_closed(&connections).await;
    })
    .await;
    handle.stop(false).await;
}

/// R68: reads of which the runtime does not know end the task's turn as all others do: a client that sends without an end keeps nobody waiting.
#[actix_web::test]
async fn r68_what_was_left_unread_is_read_in_turns() {
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
    tokio::task::yield_now().await; // a whole turn
    poll_fn(|context| {
        while let Poll::Ready(read) = wire.poll_fill(context) {
            assert_ne!(read.unwrap(), 0);
            _ = client.write(&[0; 64 * 1024]); // there is always more
            wire.discard();
            reads += 1;
            assert!(reads < 10_000, "its turn has no end");
        }
        Poll::Ready(())
    })
    .await;
    assert!(reads > 0);
}

/// A task that reads a body after its request was answered is told that no more of it comes.
#[actix_web::test]
async fn who_reads_a_body_too_late_is_told() {
    let (told, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let keep = move |mut body: web::Payload| {
        let told = told.clone();
        actix_rt::spawn(async move {
            while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut body).poll_next(context)).await {}
            _ = told.send(());
        });
        async {
            tokio::task::yield_now().await; // the task waits for the rest
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

/// R68: a handler that panics ends its connection, and nothing else.
#[actix_web::test]
async fn r68_a_panic_ends_its_connection_alone() {
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

/// No duration is too long for a clock.
#[actix_web::test]
async fn times_may_be_as_long_as_they_like() {
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
