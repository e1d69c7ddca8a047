//! The roles in the table of routes in `docs/http.md`: each route is asked without a token, with that of callers and with that of
//! administrators. The routes of the table are those that the code mounts (`http.rs`).

use super::{
    http::{HEADINGS, documented},
    pages::{read, table},
};
use actix_web::{
    App, HttpResponse,
    body::to_bytes,
    http::Method,
    test::{TestRequest, init_service, try_call_service},
    web,
};
use herder::{
    Pool,
    http::{Api, LogLevels},
    testing::{Script, scripted},
};
use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;

const ADMIN: &str = "Bearer the-admin";
const CALL: &str = "Bearer the-call";
const METRICS: &str = "Bearer the-numbers";

/// Returns the method, the path and the role of each route, with names in place of the parameters.
fn routes() -> Vec<(Method, String, String)> {
    let mut routes = Vec::new();
    for row in table(&read("docs/http.md"), &HEADINGS) {
        for route in documented([&row[0]]) {
            let (method, path) = route.split_once(' ').unwrap();
            let id = if path.contains("/workers/") { "w1" } else { "ann" };
            let path = path.replace("{pool}", "roles").replace("{command}", "echo").replace("{id}", id);
            let path = path
                .replace("{file}", "main.js")
                .replace("{fingerprint}", "0123456789abcdef")
                .replace("{level}", "info");
            routes.push((method.parse().unwrap(), path, row[1].clone()));
        }
    }
    assert!(
        routes.len() > 20
            && ["none", "call", "metrics", "admin"].iter().all(|role| routes.iter().any(|route| route.2 == *role))
    );
    routes
}

/// Returns the status, and the slug of a problem.
async fn outcome(response: HttpResponse) -> (u16, String) {
    let status = response.status().as_u16();
    if status < 400 {
        return (status, String::new()); // the response may be a stream that does not end
    }
    let body: Value = serde_json::from_slice(&to_bytes(response.into_body()).await.unwrap()).unwrap_or_default();
    (status, body["type"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned())
}

/// Asks the app. A refusal of a middleware is an error here; a server would convert it into a response.
macro_rules! ask {
    ($app:expr, $method:expr, $path:expr, $authorization:expr) => {{
        let mut request = TestRequest::default().method($method.clone()).uri($path);
        for value in $authorization {
            request = request.append_header(("Authorization", *value));
        }
        let response = match try_call_service($app, request.to_request()).await {
            Ok(response) => response.map_into_boxed_body().into_parts().1,
            Err(error) => error.error_response(),
        };
        outcome(response).await
    }};
}

fn refused(status: u16, slug: &str) -> (u16, String) {
    (status, slug.to_owned())
}

/// A log without levels.
struct NoLevels;

impl LogLevels for NoLevels {
    fn level(&self, _: &str) -> Option<LevelFilter> {
        None
    }

    fn set_level(&self, _: &str, _: Option<LevelFilter>) {}
}

fn api(pool: &Pool) -> Api {
    Api::new([pool.clone()]).mcp(true).docs(true).log_levels(NoLevels)
}

/// R68: no route answers a caller with less than its role, at the root of a server or mounted in an app.
#[actix_web::test]
async fn r68_each_route_needs_its_documented_role() {
    let script = Script::new().command("echo", async |call| Ok(call.arguments().clone()));
    let pool = scripted("roles", script, |context| {
        herder::PoolConfig::enhanced("roles").app("app:app").cwd(context.dir()).pool_size(1).overflow(0).build()
    })
    .await;
    let api = api(&pool).token("the-admin".parse().unwrap()).call_token("the-call".parse().unwrap());
    let api = api.metrics_token("the-numbers".parse().unwrap());
    let whole = init_service(App::new().configure(api.routes())).await;
    let mounted = init_service(App::new().service(web::scope("/herder").configure(api.pool_routes()))).await;
    for (method, path, role) in routes() {
        let of_mounted_only = path == "/v1/pools/openapi.json";
        for is_mounted in [false, true] {
            if (is_mounted && (!path.starts_with("/v1/pools") || path == "/v1/events"))
                || (!is_mounted && of_mounted_only)
            {
                continue;
            }
            let path = if is_mounted { format!("/herder{path}") } else { path.clone() };
            let ask = async |method: &Method, path: &str, authorization: &[&str]| match is_mounted {
                true => ask!(&mounted, method, path, authorization),
                false => ask!(&whole, method, path, authorization),
            };
            let (none, call, metrics, admin) = (
                ask(&method, &path, &[]).await,
                ask(&method, &path, &[CALL]).await,
                ask(&method, &path, &[METRICS]).await,
                ask(&method, &path, &[ADMIN]).await,
            );
            let case = format!("{method} {path} {role}");
            assert!(!matches!(admin.0, 401 | 403 | 405), "{case}: {admin:?}");
            if role == "none" {
                assert!(!matches!(none.0, 401 | 403), "{case}: {none:?}");
                assert_eq!(metrics, none, "{case}");
                continue;
            }
            match role.as_str() {
                "metrics" => assert_eq!(metrics, admin, "{case}"),
                _ => assert_eq!(metrics, refused(403, "wrong-role"), "{case}"),
            }
            assert_eq!(none, refused(401, "token-missing"), "{case}");
            for wrong in [&["Bearer the-wrong"][..], &[CALL, ADMIN], &[ADMIN, CALL]] {
                assert_eq!(ask(&method, &path, wrong).await, refused(401, "token-wrong"), "{case}");
            }
            if role == "call" {
                assert!(!matches!(call.0, 401 | 403), "{case}: {call:?}");
                continue;
            }
            for method in
                [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS]
            {
                assert_eq!(ask(&method, &path, &[CALL]).await, refused(403, "wrong-role"), "{method} {path}");
            }
            // Other forms of the path name the same route, or none.
            let encoded = path.replacen("/roles", "/%72oles", 1);
            for other in [
                encoded,
                format!("{path}/"),
                path.replacen("/v1/", "/v1//", 1),
                format!("/{}", path[1..].replace('/', "%2F")),
                format!("{path}?x=1"),
            ] {
                let answer = ask(&method, &other, &[CALL]).await;
                assert!(matches!(answer.0, 401 | 403 | 404), "{method} {other}: {answer:?}");
            }
        }
    }
    drop((whole, mounted, api));
    pool.shutdown_and_check().await;
}

/// R68: with a token for one role only, the other role's routes are not open.
#[actix_web::test]
async fn r68_a_server_with_only_the_token_of_callers_has_no_administrators() {
    let pool = scripted("lone", Script::new(), |context| context.basic().app("app:app").build()).await;
    let path = format!("/v1/pools/{}", pool.name());
    let app = init_service(App::new().configure(api(&pool).call_token("the-call".parse().unwrap()).routes())).await;
    assert_eq!(ask!(&app, Method::GET, &path, &[CALL]), refused(403, "wrong-role"));
    assert_eq!(ask!(&app, Method::GET, &path, &[ADMIN]), refused(401, "token-wrong"));
    assert_eq!(ask!(&app, Method::GET, "/v1/pools", &[CALL]), refused(200, ""));
    let open = init_service(App::new().configure(api(&pool).routes())).await;
    let request = TestRequest::get().uri("/v1/whoami").to_request();
    let who: Value = actix_web::test::call_and_read_body_json(&open, request).await;
    assert_eq!(who, json!({ "role": "admin", "token": false, "session_header": "Herder-Session" }));
    drop((app, open));
    pool.shutdown_and_check().await;
}
