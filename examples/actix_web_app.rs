//! A pool in an actix-web service. Run `cargo run --features http --example actix_web_app [HOST:PORT [--one-thread]]`,
//! then `curl -X POST localhost:8080/carts/ann/tea` a few times. `localhost:8080/herder/v1/pools/carts` shows the pool's
//! status.
use actix_web::{App, HttpServer, get, post, web};
use herder::{
    Pool, PoolConfig, Result,
    http::{Caller, Connections, Server},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{env, net::TcpListener, time::Duration};

#[derive(Serialize, Deserialize)]
struct Cart {
    items: Vec<String>,
    total_cents: u64,
}

#[post("/carts/{user}/{item}")]
async fn add(pool: web::Data<Pool>, path: web::Path<(String, String)>, caller: Caller) -> Result<web::Json<Cart>> {
    let (user, item) = path.into_inner();
    let call = pool.call("add", &json!({ "item": item })).session(&user).timeout(Duration::from_secs(2));
    // The call is cancelled if its client disconnects. Errors become responses: problem+json, with 410 for a lost
    // session, 429 with Retry-After, 504.
    call.cancel_when(&caller).await.map(web::Json)
}

#[get("/price/{item}")]
async fn price(pool: web::Data<Pool>, item: web::Path<String>) -> Result<web::Json<u64>> {
    pool.call("price", &json!({ "item": *item })).await.map(web::Json) // without a session: any worker
}

#[actix_web::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let carts = PoolConfig::enhanced("carts").app("examples/workers/carts.py:app").pool_size(4);
    let carts = carts.relative_to(env!("CARGO_MANIFEST_DIR")).build()?; // paths are relative to this directory
    // With `--one-thread`, the pool's actors run on the thread of the handlers, so that a call needs no other thread of
    // this program. A handler that blocks the thread would then stop the pool, too, with all its deadlines. Without it,
    // the pool has a thread of its own.
    let one_thread = env::args().any(|argument| argument == "--one-thread");
    let start = Pool::start(carts);
    let pool = web::Data::new(if one_thread { start.on_current_arbiter().await? } else { start.await? });
    let shared = pool.clone();
    let app = move || {
        let admin = web::scope("/herder").configure(herder::http::routes(&shared)); // calls, status, sessions
        App::new().app_data(shared.clone()).service((add, price)).service(admin)
    };
    let listener = TcpListener::bind(env::args().nth(1).as_deref().unwrap_or("127.0.0.1:8080"))?;
    println!("listening on http://{}", listener.local_addr()?);
    // SIGTERM: requests finish first; Ctrl-C: stops immediately.
    if one_thread {
        Server::new(app).listen(listener)?.run_on_current_arbiter()?.await?;
    } else {
        // `on_connect` is needed to cancel calls when clients disconnect.
        let server = HttpServer::new(app).on_connect(Connections::default().on_connect());
        server.listen(listener)?.run().await?;
    }
    println!("{}", pool.shutdown(Duration::from_secs(10)).await?); // calls finish, then the workers stop
    Ok(())
}
