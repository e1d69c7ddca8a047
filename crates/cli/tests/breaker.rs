//! The breaker and the quarantine of a pool over HTTP: their state, the errors of callers, and the reset by request
//! (R34, R37).

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

/// R34: two lost workers open the breaker, a refused caller gets a `Retry-After`, and a reset admits calls again.
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
    assert!(wait > 3000, "an hour minus the time since then: {wait} s");
    let open = breaker();
    assert_eq!((&open["state"], &open["opened"], &open["refused"]), (&json!("open"), &json!(1), &json!(1)));
    assert_eq!(ask(&server, "POST", "breaker/reset").json, json!({ "reset": true }));
    assert_eq!(breaker()["state"], "closed");
    assert_eq!(server.call("plain/echo", "{}", &[]).status, 200);
}

/// R34: a pool without a breaker reports null, and has nothing to reset.
#[test]
fn r34_a_pool_without_a_breaker_reports_null() {
    let server = server("");
    assert_eq!(ask(&server, "GET", "breaker").json, json!({ "breaker": null }));
    assert_eq!(ask(&server, "POST", "breaker/reset").json, json!({ "reset": false }));
    ask(&server, "GET", "breaker/reset").problem(405, "wrong-method");
}

/// R37: a call that killed two workers is listed and refused, while other calls run. After its release it may run
/// again.
#[test]
fn r37_quarantine_is_listed_and_released_over_http() {
    let server = server("poison = { max_worker_deaths = 2, quarantine = '1h' }\n");
    let quarantine = || ask(&server, "GET", "quarantine").json["quarantine"].clone();
    assert_eq!(quarantine(), json!([]));
    lose_one(&server);
    assert_eq!((&quarantine()[0]["deaths"], &quarantine()[0]["quarantined"]), (&json!(1), &json!(false)));
    lose_one(&server);
    let entries = quarantine();
    assert_eq!(entries.as_array().map(Vec::len), Some(1), "{entries}");
    assert_eq!((&entries[0]["command"], &entries[0]["quarantined"]), (&json!("die"), &json!(true)));
    server.call("plain/die", "{}", &[]).problem(422, "poison-call");
    assert_eq!(server.call("plain/echo", "{}", &[]).status, 200, "other calls are not quarantined");

    let one = format!("quarantine/{}", entries[0]["fingerprint"].as_str().unwrap());
    assert_eq!(ask(&server, "DELETE", &one).status, 204);
    assert_eq!(quarantine(), json!([]));
    ask(&server, "DELETE", &one).problem(404, "not-quarantined");
    ask(&server, "DELETE", "quarantine/x").problem(404, "not-quarantined");
    lose_one(&server); // the call runs again, and kills its worker again
    assert_eq!(quarantine()[0]["deaths"], Value::from(1), "the count starts again");
}
