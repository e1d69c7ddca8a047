//! A pool's breaker and quarantine over HTTP: what they hold, what their callers are told, and letting go by hand (R34, R37).

use crate::support::{Reply, Request, Server};
use serde_json::{Value, json};

const POOL: &str = "app = 'app.py:app'\npool_size = 1\noverflow = 0\n";

fn server(settings: &str) -> Server {
    Server::with(&format!("[pools.plain]\n{POOL}{settings}"))
}

fn ask(server: &Server, method: &str, path: &str) -> Reply {
    Request::new(method, &format!("/v1/pools/plain/{path}"), "").send(server.address)
}

fn lose_one(server: &Server) {
    server.call("plain/die", "{}", &[]).problem(502, "worker-lost");
}

/// R34: two lost workers open it, a refused caller is told when to come again, and a reset by hand lets calls pass.
#[test]
fn r34_an_open_breaker_is_seen_and_closed_over_http() {
    let server =
        server("poison.enabled = false\nbreaker = { enabled = true, failure_threshold = 2, open_duration = '1h' }\n");
    let breaker = || ask(&server, "GET", "breaker").json["breaker"].clone();
    assert_eq!((&breaker()["state"], &breaker()["failures"]), (&json!("closed"), &json!(0)));
    lose_one(&server);
    assert_eq!((&breaker()["state"], &breaker()["failures"]), (&json!("closed"), &json!(1)));
    lose_one(&server);
    let refused = server.call("plain/echo", "{}", &[]);
    assert_eq!(refused.problem(503, "breaker-open")["may_have_run"], false);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(wait > 3000, "an hour, less what has passed: {wait} s");
    let open = breaker();
    assert_eq!((&open["state"], &open["opened"], &open["refused"]), (&json!("open"), &json!(1), &json!(1)));
    assert_eq!(ask(&server, "POST", "breaker/reset").json, json!({ "reset": true }));
    assert_eq!(breaker()["state"], "closed");
    assert_eq!(server.call("plain/echo", "{}", &[]).status, 200);
}

/// R34: a pool without one says so, and has nothing to reset.
#[test]
fn r34_a_pool_without_a_breaker_says_so() {
    let server = server("");
    assert_eq!(ask(&server, "GET", "breaker").json, json!({ "breaker": null }));
    assert_eq!(ask(&server, "POST", "breaker/reset").json, json!({ "reset": false }));
    ask(&server, "GET", "breaker/reset").problem(405, "wrong-method");
}

/// R37: a payload that ended two workers is listed and refused, others are not, and released by hand it may run again.
#[test]
fn r37_quarantine_is_listed_and_released_over_http() {
    let server = server("poison = { max_worker_deaths = 2, quarantine = '1h' }\n");
    let watched = || ask(&server, "GET", "quarantine").json["quarantine"].clone();
    assert_eq!(watched(), json!([]));
    lose_one(&server);
    assert_eq!((&watched()[0]["deaths"], &watched()[0]["quarantined"]), (&json!(1), &json!(false)));
    lose_one(&server);
    let held = watched();
    assert_eq!(held.as_array().map(Vec::len), Some(1), "{held}");
    assert_eq!((&held[0]["command"], &held[0]["quarantined"]), (&json!("die"), &json!(true)));
    server.call("plain/die", "{}", &[]).problem(422, "poison-call");
    assert_eq!(server.call("plain/echo", "{}", &[]).status, 200, "others are not held");

    let one = format!("quarantine/{}", held[0]["fingerprint"].as_str().unwrap());
    assert_eq!(ask(&server, "DELETE", &one).status, 204);
    assert_eq!(watched(), json!([]));
    ask(&server, "DELETE", &one).problem(404, "not-watched");
    ask(&server, "DELETE", "quarantine/x").problem(404, "not-watched");
    lose_one(&server); // it runs again, and ends its worker again
    assert_eq!(watched()[0]["deaths"], Value::from(1), "counted from the beginning");
}
