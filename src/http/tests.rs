//! Routes that are mounted in an app. The tests of the binary cover real worker processes.

use super::{Api, routes, set_error_detail, watch::MAX_READERS};
use crate::Pool;
use actix_web::{
    App, HttpResponse,
    body::to_bytes,
    http::Method,
    test::{TestRequest, init_service, try_call_service},
    web,
};
use herder_actors::{ErrorDetail, PoolConfig};
use serde_json::Value;
use std::fmt::Debug;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
};

/// Starts a pool whose worker never becomes ready.
async fn unready_pool(name: &str) -> Pool {
    let config = PoolConfig::basic(name).command(["sleep", "1000"]).pool_size(1).overflow(0).max_frame(4096);
    Pool::start(config.build().unwrap()).without_waiting().await.unwrap()
}

/// Returns the status and the slug of an answer; the slug is empty if it is not a problem document. A refusal of a
/// middleware is an error here; a server would convert it into a response.
macro_rules! ask {
    ($app:expr, $request:expr) => {{
        let response = match try_call_service($app, $request.to_request()).await {
            Ok(response) => response.map_into_boxed_body().into_parts().1,
            Err(error) => error.error_response(),
        };
        let status = response.status().as_u16();
        let text = to_bytes(response.into_body()).await.unwrap();
        let json: Value = serde_json::from_slice(&text).unwrap_or_default();
        (status, json["type"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned())
    }};
}

fn problem_of(status: u16, slug: &str) -> (u16, String) {
    (status, slug.into())
}

#[actix_web::test]
async fn mounted_routes_do_not_affect_the_rest_of_the_app() {
    let pool = unready_pool("mounted").await;
    let own = web::scope("/own").route("", web::get().to(HttpResponse::Ok));
    let app = App::new().service(web::scope("/herder").configure(routes(&pool))).service(own);
    let app = init_service(app).await;
    let get = |path: &str| TestRequest::get().uri(path);
    assert_eq!(ask!(&app, get("/herder/v1/pools/mounted")), problem_of(200, ""));
    assert_eq!(ask!(&app, get("/own").insert_header(("Origin", "http://evil.example"))), problem_of(200, ""));
    assert_eq!(ask!(&app, get("/herder/elsewhere")), problem_of(404, ""), "the app's own 404");
    for path in ["healthz", "readyz", "metrics", "v1/events", "v1/whoami", "ui/page.js", ""] {
        assert_eq!(ask!(&app, get(&format!("/herder/{path}"))), problem_of(404, ""), "only pools are mounted: {path}");
    }
    assert_eq!(ask!(&app, get("/herder/v1/pools/mounted/x")), problem_of(404, "no-route"));
    assert_eq!(ask!(&app, get("/herder/v1/pools/other")), problem_of(404, "unknown-pool"));
    assert_eq!(ask!(&app, get("/herder/v1/pools/openapi.json")), problem_of(200, ""));
    let off = init_service(App::new().configure(Api::new([pool.clone()]).docs(false).pool_routes())).await;
    assert_eq!(ask!(&off, get("/v1/pools/openapi.json")), problem_of(404, "no-route"));
    let foreign = get("/herder/v1/pools").insert_header(("Host", "evil.example"));
    assert_eq!(ask!(&app, foreign), problem_of(200, ""), "mounted routes do not check the host");
    let origin =
        get("/herder/v1/pools").insert_header(("Host", "a.example")).insert_header(("Origin", "http://b.example"));
    assert_eq!(ask!(&app, origin), problem_of(403, "foreign-origin"));
    let site = get("/herder/v1/pools").insert_header(("Sec-Fetch-Site", "cross-site"));
    assert_eq!(ask!(&app, site), problem_of(403, "foreign-site"));
}

/// Invalid calls are refused before a worker is needed.
#[actix_web::test]
async fn calls_are_checked_on_the_host() {
    let app = init_service(App::new().configure(routes(&unready_pool("checked").await))).await;
    let call = |body: String| TestRequest::post().uri("/v1/pools/checked/call/x").set_payload(body);
    for body in ["{", "[]", "\"x\"", "{\"x\":NaN}"] {
        assert_eq!(ask!(&app, call(body.into())), problem_of(400, "malformed"), "{body}");
    }
    assert_eq!(ask!(&app, call("x".repeat(5000))), problem_of(413, "too-large"));
    assert_eq!(ask!(&app, call("{}".into()).insert_header(("Herder-Timeout", "1"))), problem_of(400, "bad-header"));
    assert_eq!(
        ask!(&app, call("{}".into()).insert_header(("Herder-Timeout", "1ms"))),
        problem_of(504, "deadline-exceeded")
    );
    let put = TestRequest::default().method(Method::PUT).uri("/v1/pools/checked/call/x");
    assert_eq!(ask!(&app, put), problem_of(405, "wrong-method"));
}

#[actix_web::test]
async fn an_api_of_several_pools() {
    let pools = [unready_pool("first").await, unready_pool("second").await];
    let api = Api::new(pools).token("s3cret".parse().unwrap()).hosts(["h.example"]);
    let app = init_service(App::new().configure(api.routes())).await;
    let get = |path: &str| TestRequest::get().uri(path).insert_header(("Host", "h.example"));
    let shown = |path: &str| get(path).insert_header(("Authorization", "Bearer s3cret"));
    for path in ["/v1/pools/first", "/v1/pools/second", "/v1/pools"] {
        assert_eq!(ask!(&app, get(path)), problem_of(401, "token-missing"));
        assert_eq!(ask!(&app, shown(path)), problem_of(200, ""));
    }
    assert_eq!(ask!(&app, get("/healthz")), problem_of(200, ""));
    assert_eq!(ask!(&app, get("/readyz")), problem_of(503, "not-ready"));
    assert_eq!(ask!(&app, shown("/nowhere")), problem_of(404, "no-route"));
    assert_eq!(ask!(&app, shown("/v1/pools").insert_header(("Host", "evil.example"))), problem_of(403, "foreign-host"));
}

/// The whole API belongs at the root. In a scope, it is checked all the same: even the paths that need no token at the root do.
#[actix_web::test]
async fn an_api_in_a_scope_is_checked() {
    let api = Api::new([unready_pool("scoped").await]);
    let api = api.token("s3cret".parse().unwrap()).call_token("caller".parse().unwrap());
    let app = init_service(App::new().service(web::scope("/herder").configure(api.routes()))).await;
    let get = |path: &str| TestRequest::get().uri(&format!("/herder{path}"));
    let shown = |path: &str, token: &str| get(path).insert_header(("Authorization", format!("Bearer {token}")));
    for path in ["/v1/pools/scoped", "/v1/events", "/v1/whoami", "/metrics", "/healthz", "/", "/ui/page.js", "/x"] {
        assert_eq!(ask!(&app, get(path)), problem_of(401, "token-missing"), "{path}");
    }
    for path in ["/v1/pools/scoped", "/v1/events", "/metrics"] {
        assert_eq!(ask!(&app, shown(path, "caller")), problem_of(403, "wrong-role"), "{path}");
    }
    for (path, token) in [("/v1/whoami", "caller"), ("/metrics", "s3cret"), ("/v1/pools/scoped", "s3cret")] {
        assert_eq!(ask!(&app, shown(path, token)), problem_of(200, ""), "{path}");
    }
    let call = TestRequest::post().uri("/herder/v1/pools/scoped/call/x").set_payload("{}");
    assert_eq!(ask!(&app, call), problem_of(401, "token-missing"));
}

/// Clients that read the events are limited. When one closes its connection, another may read.
#[actix_web::test]
async fn readers_of_events_are_limited() {
    let app = init_service(App::new().configure(Api::new([unready_pool("read").await]).routes())).await;
    let get = || TestRequest::get().uri("/v1/events");
    let mut readers = Vec::new();
    for _ in 0..MAX_READERS {
        readers.push(try_call_service(&app, get().to_request()).await.unwrap());
    }
    assert!(readers.iter().all(|reader| reader.status() == 200));
    assert_eq!(ask!(&app, get()), problem_of(503, "too-many-readers"));
    readers.pop();
    assert_eq!(try_call_service(&app, get().to_request()).await.unwrap().status(), 200);
}

/// R38: in other handlers of an application, errors are brief by default, because a handler cannot tell who can
/// reach it. Mounted routes have a separate setting.
#[actix_web::test]
async fn r38_errors_of_application_handlers_are_brief_by_default() {
    async fn own() -> herder_actors::Result<HttpResponse> {
        Err(herder_actors::Error::Internal { reason: "secret".into() })
    }
    let pool = unready_pool("detail").await;
    pool.shutdown(std::time::Duration::ZERO).await.unwrap();
    let app = |api: Api| {
        App::new().route("/own", web::get().to(own)).service(web::scope("/herder").configure(api.pool_routes()))
    };
    let api = Api::new([pool]);
    let brief = init_service(app(api.clone().errors(ErrorDetail::Brief))).await;
    // The test app is configured with a loopback address, so the default is full.
    let full = init_service(app(api)).await;
    let text = async |request: TestRequest, brief_routes: bool| {
        let request = request.to_request();
        let response =
            if brief_routes { try_call_service(&brief, request).await } else { try_call_service(&full, request).await };
        String::from_utf8(to_bytes(response.unwrap().map_into_boxed_body().into_body()).await.unwrap().to_vec())
            .unwrap()
    };
    let get = || TestRequest::get().uri("/own");
    assert!(!text(get(), false).await.contains("secret"));
    set_error_detail(ErrorDetail::Full);
    assert!(text(get(), true).await.contains("secret"));
    set_error_detail(ErrorDetail::Brief);
    for brief_routes in [true, false] {
        let call = TestRequest::post().uri("/herder/v1/pools/detail/call/x");
        let problem: Value = serde_json::from_str(&text(call, brief_routes).await).unwrap();
        assert!(problem["error_id"].is_string() && problem["status"] == 503, "{problem}");
    }
}

/// Sends the paths of logged requests, with the names of the threads that log them.
struct PathsOfRequests(UnboundedSender<(Option<String>, String)>);

impl<S: Subscriber> Layer<S> for PathsOfRequests {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "herder::access" {
            event.record(&mut Path(self));
        }
    }
}

struct Path<'a>(&'a PathsOfRequests);

impl Visit for Path<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "path" {
            let thread = std::thread::current().name().map(Into::into);
            _ = self.0.0.send((thread, value.into()));
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

/// R40: the subscriber, which may block, is not called on the thread that serves the request.
#[actix_web::test]
async fn r40_requests_are_logged_on_a_thread_of_their_own() {
    let (paths, mut logged) = unbounded_channel();
    let subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(PathsOfRequests(paths)));
    let pool = unready_pool("logged").await;
    let api = |is_logged| App::new().configure(Api::new([pool.clone()]).access_log(is_logged).routes());
    let (silent, app) = (init_service(api(false)).await, init_service(api(true)).await);
    for path in ["/healthz?secret=1", "/nowhere"] {
        _ = ask!(&silent, TestRequest::get().uri("/silent"));
        _ = ask!(&app, TestRequest::get().uri(path));
    }
    for path in ["/healthz", "/nowhere"] {
        assert_eq!(logged.recv().await, Some((Some("herder-events".into()), path.into())));
    }
    drop(subscriber); // lives until here: the log refers to it weakly
}
