//! Mounted routes, and handlers of an app's own, behind a real server.

use super::{Api, Caller, Connections, buffers::Room, routes};
use crate::{
    Error,
    testing::{Script, ScriptedPool, scripted, wait_until, with_timeout},
};
use actix_web::{App, HttpServer, dev::ServerHandle, rt, web};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Serves until the handle stops it.
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

/// All up to the connection's end.
async fn read(mut stream: TcpStream) -> String {
    let reads = web::block(move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).map(|_| text)
    });
    with_timeout("the connection ends", reads).await.unwrap().unwrap()
}

/// A pool with a command that never returns, and what it tells: `true` when it begins, `false` when it is cancelled.
async fn hanging(name: &str) -> (ScriptedPool, mpsc::UnboundedReceiver<bool>) {
    struct Runs(mpsc::UnboundedSender<bool>);
    impl Drop for Runs {
        fn drop(&mut self) {
            _ = self.0.send(false);
        }
    }
    let (tell, told) = mpsc::unbounded_channel();
    let script = Script::new().command("hang", async move |_| {
        _ = tell.send(true);
        let _runs = Runs(tell.clone());
        std::future::pending().await
    });
    (scripted(name, script, |fresh| fresh.enhanced().app("app:app").build()).await, told)
}

/// R36: in a handler of an app's own, a client that leaves cancels the call: its worker is told, and the pool counts it as abandoned.
#[actix_web::test]
async fn r36_a_client_that_leaves_an_own_handler_cancels_its_call() {
    let (pool, mut told) = hanging("own").await;
    let (answered, mut answers) = mpsc::unbounded_channel();
    let shared = web::Data::new((*pool).clone());
    let own = move |caller: Caller, pool: web::Data<crate::Pool>| {
        let answered = answered.clone();
        async move {
            let answer = pool.call::<Value>("hang", &json!({})).until_gone(&caller).await;
            _ = answered.send(answer.unwrap_err());
            "done"
        }
    };
    let configure = move |config: &mut web::ServiceConfig| {
        config.app_data(shared).route("/own", web::get().to(own));
    };
    let (address, handle) = serve(configure, true);
    let client = send(address, "GET /own HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(with_timeout("it runs", told.recv()).await.unwrap());
    drop(client);
    assert!(!with_timeout("it is cancelled", told.recv()).await.unwrap());
    let error = with_timeout("its handler goes on", answers.recv()).await.unwrap();
    assert!(matches!(error, Error::Cancelled { .. }) && error.may_have_run(), "{error:?}");
    wait_until("it is abandoned", async || pool.status().await.unwrap().counters.abandoned == 1).await;
    handle.stop(true).await;
    pool.end().await;
}

/// R36: any future can tell that the caller has gone; a reply that is there first is given.
#[actix_web::test]
async fn r36_a_call_is_cancelled_when_what_it_was_given_completes() {
    let (pool, mut told) = hanging("given").await;
    let (stop, stopped) = oneshot::channel::<()>();
    let call = pool.call::<Value>("hang", &json!({})).until_gone(async { drop(stopped.await) });
    let call = rt::spawn(call.reply());
    assert!(with_timeout("it runs", told.recv()).await.unwrap());
    drop(stop);
    let error = with_timeout("it ends", call).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Cancelled { .. }), "{error:?}");
    assert!(!with_timeout("it is cancelled", told.recv()).await.unwrap());
    let refused = pool.call::<Value>("nothing", &json!({})).until_gone(async {}).await.unwrap_err();
    assert!(matches!(refused, Error::UnknownCommand { .. } | Error::Cancelled { .. }), "{refused:?}");
    pool.end().await;
}

/// R68: mounted routes have a time for bodies as well, and close the connection after it, also of a body in chunks.
#[actix_web::test]
async fn r68_bodies_of_mounted_routes_have_a_time() {
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
    pool.end().await;
}

/// R68: routes that are mounted anew for each thread share one limit. One that is set is their own, and a body over all of it is 413.
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
    pool.end().await;
}
