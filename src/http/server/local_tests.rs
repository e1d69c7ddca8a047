//! A server on the arbiter that also runs pools: panics of handlers, a flooded pool beside another one, and the ways in
//! which the server stops.

use super::{
    LocalServer, LocalServerHandle, Server,
    tests::{Client, header, listener},
};
use crate::{
    Pool,
    config::{Health, Queue},
    http::{Api, Connections},
    testing::{HANG_TIMEOUT, TestPool, pool_config, wait_until, with_timeout},
};
use actix_http::{Request, Response};
use actix_service::{IntoServiceFactory, ServiceFactory};
use actix_web::{App, Error, HttpResponse, body::MessageBody, dev::AppConfig, web};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use std::{
    cell::Cell,
    fmt,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, SystemTime},
};
use tokio::{sync::Notify, task::JoinSet};

const HOUR: Duration = Duration::from_secs(3600);

const APP: &str = "
import os, time, herder
app = herder.App()

@app.command
def giant(size: int) -> str:
    return 'x' * size

@app.command
def hang() -> None:
    time.sleep(3600)

@app.command
def pid() -> int:
    return os.getpid()
";

/// Runs a server on this arbiter until it is stopped.
fn run<F, I, S, B>(server: Server<F>) -> (SocketAddr, LocalServerHandle, Connections)
where
    F: Fn() -> I + 'static,
    I: IntoServiceFactory<S, Request> + 'static,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error>,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let server = server.disable_signals().keep_alive(HOUR).head_timeout(HOUR).listen(listener).unwrap();
    let connections = server.connections();
    let server: LocalServer = server.run_on_current_arbiter().unwrap();
    let handle = server.handle();
    actix_rt::spawn(server);
    (address, handle, connections)
}

/// Starts a pool with one worker on this arbiter. Its worker gets frequent pings, and may answer them late.
async fn pool_here(hint: &str) -> TestPool {
    let (config, context) = pool_config(hint, |context| {
        context.file("app.py", APP);
        let builder = context.enhanced().app("app.py:app").cwd(context.dir()).pool_size(1).overflow(0).timeout(HOUR);
        let queue = Queue::new().limit(100_000).timeout(HOUR).shed(false);
        builder.queue(queue).health(Health::new().interval(Duration::from_millis(20)).timeout(HANG_TIMEOUT)).build()
    });
    let pool = with_timeout("the start", async { Pool::start(config).on_current_arbiter().await }).await.unwrap();
    TestPool::new(pool, context)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn call(pool: &Pool, command: &str) -> String {
    let (pool, body) = (pool.name(), "{}");
    let length = body.len();
    format!(
        "POST /v1/pools/{pool}/call/{command} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Sends a request on a new connection, and returns the JSON of the response, which must have the status 200.
async fn ask(address: SocketAddr, request: &str) -> Value {
    let mut client = Client::connect(address).await;
    client.send(request.as_bytes()).await;
    json_of(&mut client).await
}

async fn json_of(client: &mut Client) -> Value {
    let (head, body) = client.response(false).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head} {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

async fn panics() -> HttpResponse {
    panic!("on purpose: a handler of the application")
}

/// R29: a panic in a handler ends its connection only. The application is not created again, and other connections and
/// the pools on the same thread keep their state.
#[actix_web::test]
async fn r29_a_panic_in_a_handler_ends_neither_the_server_nor_its_pools() {
    let pool = pool_here("panics").await;
    let (api, created) = (Api::new([(*pool).clone()]), Rc::new(Cell::new(0)));
    let count = created.clone();
    let (address, handle, connections) = run(Server::new(move || {
        count.set(count.get() + 1);
        App::new().route("/panics", web::to(panics)).configure(api.routes())
    }));
    with_timeout("the responses", async {
        let mut other = Client::connect(address).await;
        other.send(call(&pool, "pid").as_bytes()).await;
        let worker = json_of(&mut other).await["result"].clone();
        for _ in 0..5 {
            let mut client = Client::connect(address).await;
            client.send(get("/panics").as_bytes()).await;
            assert!(client.response(false).await.is_none(), "the connection ends without a response");
        }
        other.send(call(&pool, "pid").as_bytes()).await;
        assert_eq!(json_of(&mut other).await["result"], worker, "the same connection, and the same worker");
        assert_eq!(ask(address, &call(&pool, "pid")).await["result"], worker);
        wait_until("only that connection is open", async || connections.open() == 1).await;
        assert_eq!(created.get(), 1, "the number of applications");
        drop(other);
        handle.stop(true).await;
        assert_eq!(connections.open(), 0);
    })
    .await;
    pool.shutdown_and_check().await;
}

/// Returns when the pool last received a pong from its worker.
async fn last_pong(pool: &Pool) -> Option<SystemTime> {
    let worker = pool.workers().await.unwrap()[0].id;
    let recording = pool.recorder(worker, None).await.unwrap();
    assert_eq!(recording.generation.0, 1, "the worker was replaced");
    recording.frames.iter().filter(|frame| frame.kind == "pong").map(|frame| frame.at).max()
}

/// While one pool has thousands of waiting calls and answers with a megabyte each, new connections, probes, and the
/// calls, pings and deadlines of another pool on the same thread are served. The flood does not end meanwhile: each
/// answer is followed by another call.
#[actix_web::test]
async fn a_flooded_pool_starves_no_other_pool_on_its_thread() {
    let (flooded, calm) = (pool_here("flooded").await, pool_here("calm").await);
    let api = Api::new([(*flooded).clone(), (*calm).clone()]);
    let (address, handle, _) = run(Server::new(move || App::new().configure(api.routes())));
    let answered = Rc::new(Cell::new(0_u64));
    let mut flood = JoinSet::new();
    for _ in 0..4000 {
        let (pool, answered) = ((*flooded).clone(), answered.clone());
        flood.spawn_local(async move {
            loop {
                let giant = pool.call::<IgnoredAny>("giant", &json!({ "size": 1 << 20 })).await;
                giant.unwrap();
                answered.set(answered.get() + 1);
            }
        });
    }
    with_timeout("the calm pool is served", async {
        while answered.get() == 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..30 {
            assert_eq!(ask(address, &get("/healthz")).await["status"], "ok");
            assert!(ask(address, &call(&calm, "pid")).await["result"].is_number());
        }
        let late = calm.call::<Value>("hang", &json!({})).timeout(Duration::from_millis(50)).await;
        assert!(matches!(late, Err(crate::Error::DeadlineExceeded { .. })), "{late:?}");
        for pool in [&calm, &flooded] {
            let before = last_pong(pool).await;
            wait_until("a ping is answered", async || last_pong(pool).await > before).await;
        }
        let queue = flooded.status().await.unwrap().queue;
        assert!(queue.waiting > 3000, "the flood has ended: {queue:?}");
    })
    .await;
    flood.shutdown().await;
    handle.stop(true).await;
    calm.shutdown_and_check().await;
    flooded.shutdown_and_check().await;
}

/// An application with a handler that waits, and a notification that ends all waits.
fn waiting(shutdown_timeout: Duration) -> (SocketAddr, LocalServerHandle, Connections, Rc<Notify>) {
    let go = Rc::new(Notify::new());
    let of_app = go.clone();
    let server = Server::new(move || {
        let go = of_app.clone();
        App::new().default_service(web::to(move || {
            let go = go.clone();
            async move {
                go.notified().await;
                HttpResponse::Ok().finish()
            }
        }))
    });
    let (address, handle, connections) = run(server.shutdown_timeout(shutdown_timeout));
    (address, handle, connections, go)
}

/// Opens a connection whose request is being handled.
async fn busy(address: SocketAddr, connections: &Connections) -> Client {
    let mut client = Client::connect(address).await;
    client.send(get("/").as_bytes()).await;
    wait_until("the request is accepted", async || connections.open() > 0).await;
    // The handler runs as soon as the request was read. The socket is readable by now.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    client
}

/// A graceful stop accepts nothing more from its call on, and lets running requests finish. Their responses announce
/// that the connection closes.
#[actix_web::test]
async fn a_graceful_stop_waits_for_running_requests() {
    let (address, handle, connections, go) = waiting(HOUR);
    with_timeout("the stop", async {
        let mut client = busy(address, &connections).await;
        let stopped = handle.stop(true);
        wait_until("the listener is closed", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
        assert_eq!(connections.open(), 1);
        go.notify_waiters();
        let (head, _) = client.response(false).await.unwrap();
        assert_eq!(header(&head, "connection"), Some("close"), "{head}");
        stopped.await;
        assert_eq!(connections.open(), 0);
    })
    .await;
}

/// Connections whose requests do not finish are closed when the shutdown timeout ends, or when an immediate stop
/// follows. A stop is not taken back when its future is dropped, and a later graceful stop does not weaken it.
#[actix_web::test]
async fn connections_that_do_not_finish_are_closed() {
    for immediate in [false, true] {
        let (address, handle, connections, _go) = waiting(if immediate { HOUR } else { Duration::ZERO });
        with_timeout("the stop", async {
            let mut client = busy(address, &connections).await;
            drop(handle.stop(true));
            if immediate {
                wait_until("the listener is closed", async || tokio::net::TcpStream::connect(address).await.is_err())
                    .await;
                drop(handle.stop(false));
            }
            handle.stop(true).await;
            assert!(client.response(false).await.is_none());
            assert_eq!(connections.open(), 0);
        })
        .await;
    }
}

/// A server without a listener is refused, wherever it would run.
#[test]
fn a_server_needs_a_listener() {
    let refused = Server::new(App::new).run_on_current_arbiter().unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
}
