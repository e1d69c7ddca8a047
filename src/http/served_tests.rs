//! Mounted routes, and handlers of an application, behind a real server.

use super::{Api, Caller, Connections, routes};
use crate::body_buffers::Room;
use crate::testing::{Script, ScriptedPool, pool, scripted, wait_until, with_timeout};
use actix_web::{App, HttpServer, dev::ServerHandle, rt, web};
use herder_actors::Error;
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Starts a server. It runs until the handle stops it.
fn serve(
    configure: impl FnOnce(&mut web::ServiceConfig) + Clone + Send + 'static,
    watched: bool,
) -> (SocketAddr, ServerHandle) {
    let connections = Connections::default();
    let server = HttpServer::new(move || App::new().configure(configure.clone())).workers(1).disable_signals();
    let server = if watched { server.on_connect(connections.on_connect()) } else { server };
    let server = server.bind("127.0.0.1:0").unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    rt::spawn(server);
    (address, handle)
}

fn send(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

/// Reads until the connection ends.
async fn read(mut stream: TcpStream) -> String {
    let reads = web::block(move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).map(|_| text)
    });
    with_timeout("the connection ends", reads).await.unwrap().unwrap()
}

/// Starts a pool with a command that never returns. The receiver gets `true` when the command starts, and `false` when
/// it is cancelled.
async fn hanging(name: &str) -> (ScriptedPool, mpsc::UnboundedReceiver<bool>) {
    struct Runs(mpsc::UnboundedSender<bool>);
    impl Drop for Runs {
        fn drop(&mut self) {
            _ = self.0.send(false);
        }
    }
    let (events, received) = mpsc::unbounded_channel();
    let script = Script::new().command("hang", async move |_| {
        _ = events.send(true);
        let _runs = Runs(events.clone());
        std::future::pending().await
    });
    (scripted(name, script, |fresh| fresh.enhanced().app("app:app").build()).await, received)
}

/// R36: in a handler of an application, a disconnect of the client cancels the call: the worker is notified, and the
/// pool counts the call as abandoned.
#[actix_web::test]
async fn r36_a_disconnect_in_an_application_handler_cancels_the_call() {
    let (pool, mut events) = hanging("own").await;
    let (answered, mut answers) = mpsc::unbounded_channel();
    let shared = web::Data::new((*pool).clone());
    let own = move |caller: Caller, pool: web::Data<crate::Pool>| {
        let answered = answered.clone();
        async move {
            let answer = pool.call::<Value>("hang", &json!({})).cancel_when(&caller).await;
            _ = answered.send(answer.unwrap_err());
            "done"
        }
    };
    let configure = move |config: &mut web::ServiceConfig| {
        config.app_data(shared).route("/own", web::get().to(own));
    };
    let (address, handle) = serve(configure, true);
    let client = send(address, "GET /own HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(with_timeout("the call runs", events.recv()).await.unwrap());
    drop(client);
    assert!(!with_timeout("the call is cancelled", events.recv()).await.unwrap());
    let error = with_timeout("the handler continues", answers.recv()).await.unwrap();
    assert!(matches!(error, Error::Cancelled { .. }) && error.may_have_run(), "{error:?}");
    wait_until("the call counts as abandoned", async || pool.status().await.unwrap().counters.abandoned == 1).await;
    handle.stop(true).await;
    pool.shutdown_and_check().await;
}

/// R36: any future can signal that the caller has abandoned the call. A reply that is ready first is returned.
#[actix_web::test]
async fn r36_a_call_is_cancelled_when_its_gone_future_completes() {
    let (pool, mut events) = hanging("given").await;
    let (stop, stopped) = oneshot::channel::<()>();
    let call = pool.call::<Value>("hang", &json!({})).cancel_when(async { drop(stopped.await) });
    let call = rt::spawn(call.reply());
    assert!(with_timeout("the call runs", events.recv()).await.unwrap());
    drop(stop);
    let error = with_timeout("the call ends", call).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Cancelled { .. }), "{error:?}");
    assert!(!with_timeout("the call is cancelled", events.recv()).await.unwrap());
    let refused = pool.call::<Value>("nothing", &json!({})).cancel_when(async {}).await.unwrap_err();
    assert!(matches!(refused, Error::UnknownCommand { .. } | Error::Cancelled { .. }), "{refused:?}");
    pool.shutdown_and_check().await;
}

/// R68: mounted routes have a timeout for bodies, too, and close the connection after it. This includes bodies in
/// chunks.
#[actix_web::test]
async fn r68_mounted_routes_refuse_slow_bodies() {
    let script = Script::new().command("ok", async |_| Ok(Value::Null));
    let pool = scripted("mounted", script, |fresh| fresh.basic().app("app:app").build()).await;
    let api = Api::new([(*pool).clone()]).body_timeout(Duration::from_millis(50));
    let configure = move |config: &mut web::ServiceConfig| {
        config.service(web::scope("/herder").configure(api.pool_routes()));
    };
    let (address, handle) = serve(configure, true);
    let path = format!("/herder/v1/pools/{}/call/ok", pool.name());
    for body in ["Content-Length: 100\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"] {
        let text = read(send(address, &format!("POST {path} HTTP/1.1\r\nHost: x\r\n{body}"))).await;
        assert!(text.starts_with("HTTP/1.1 408 ") && text.contains("/errors/body-timeout"), "{text}");
        assert!(text.to_lowercase().contains("connection: close"), "{text}");
    }
    handle.stop(true).await;
    pool.shutdown_and_check().await;
}

/// R68: routes that are created in each thread share one limit. A limit that is set applies to those routes only. A
/// body larger than the limit gets a 413.
#[actix_web::test]
async fn r68_routes_of_one_pool_share_their_limit() {
    let script = Script::new().command("ok", async |_| Ok(Value::Null));
    let pool = scripted("shared", script, |fresh| fresh.basic().app("app:app").build()).await;
    let mut held = Room::none(pool.buffers());
    held.grow_to(1000).unwrap();
    let (own, unset) = (Api::new([(*pool).clone()]).buffer_limit(2000), (*pool).clone());
    let configure = move |config: &mut web::ServiceConfig| {
        let scope = |path: &str| web::scope(path);
        config.service(scope("/one").configure(routes(&unset))).service(scope("/two").configure(routes(&unset)));
        config.service(scope("/own").configure(own.pool_routes()));
    };
    let (address, handle) = serve(configure, false);
    for (scope, bytes) in [("one", 1000), ("two", 1000), ("own", 0)] {
        let get = format!("GET /{scope}/v1/pools HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let text = read(send(address, &get)).await;
        assert!(text.contains(&format!("\"buffered_bytes\":{bytes},")), "{scope} {text}");
    }
    let path = format!("/own/v1/pools/{}/call/ok", pool.name());
    let text = read(send(address, &format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2001\r\n\r\n"))).await;
    assert!(
        text.starts_with("HTTP/1.1 413 ") && text.contains("2000 bytes (all that `buffer_limit` allows)"),
        "{text}"
    );
    handle.stop(true).await;
    pool.shutdown_and_check().await;
}

const ITEMS: &str = r#"
import time
import herder
app = herder.App()

@app.command
def rows(n: int, hang: bool = False):
    yield from range(n)
    if hang:
        print("hangs", flush=True)
        time.sleep(60)
    raise ValueError("on purpose")
"#;

/// R42: actix-web's server writes the items as they come, and the error of the
/// call before it breaks the body off. A client that disconnects ends the call.
#[actix_web::test]
async fn r42_an_http_server_streams_items_and_the_error_behind_them() {
    let pool = pool("items", |context| {
        context.file("items.py", ITEMS);
        context.basic().app("items.py:app").pool_size(1).build()
    })
    .await;
    let mounted = (*pool).clone();
    let configure = move |config: &mut web::ServiceConfig| {
        config.service(web::scope("/herder").configure(routes(&mounted)));
    };
    let (address, handle) = serve(configure, true);
    let call = |body: &str| {
        let path = format!("/herder/v1/pools/{}/call/rows", pool.name());
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson");
        send(address, &format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    };
    let text = read(call(r#"{"n":20000}"#)).await;
    assert!(text.contains("\n19999\n") && text.contains("{\"error\":{") && text.contains("on purpose"), "{text}");
    assert!(!text.ends_with("\r\n0\r\n\r\n"), "the body is incomplete");
    let client = call(r#"{"n":1,"hang":true}"#);
    wait_until("the handler hangs", async || pool.status().await.unwrap().queue.in_flight == 1).await;
    drop(client);
    wait_until("the call counts as abandoned", async || pool.status().await.unwrap().counters.abandoned == 1).await;
    handle.stop(true).await;
    pool.shutdown_and_check().await;
}
