//! `herder why` and `GET .../why`: the history of a session (R22).

use crate::support::{Reply, Server, herder, wait_until};
use serde_json::{Value, json};
use std::{fs, thread};

/// Sessions that expire after a short time, and start with a new state then.
const QUICK: &str = "[pools.carts]\nworker_type = 'enhanced'\napp = 'app.py:app'\npool_size = 2\noverflow = 0\n\
                     sessions = { timeout = '300ms', cleanup_interval = '1m', expiry = 'two_phase', grace = '1m', \
                     on_expired = 'rebind' }\n[pools.plain]\napp = 'app.py:app'\npool_size = 1\n";

fn count(server: &Server, session: &str) -> Value {
    server.call("carts/count", "{}", &[("Herder-Session", session)]).json
}

fn run_stdout(server: &Server, args: &[&str]) -> (i32, String, String) {
    let url = server.url();
    let output = herder(server.folder.path(), args).args(["--url", &url]).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn state(server: &Server, session: &str) -> Value {
    server.get(&format!("/v1/pools/carts/sessions/{session}")).json["state"].clone()
}

/// Makes a call of the session `ann` that runs until [`release`]. A session with a running call does not expire, even
/// if the test is delayed, and the calls that wait behind it run immediately after it.
fn held(server: &Server, file: &str) -> thread::JoinHandle<Reply> {
    let body = json!({ "file": server.file(file) }).to_string();
    let call = server.background("carts/wait", &body, &[("Herder-Session", "ann")]);
    server.until_queue("carts", 0, 1);
    call
}

fn release(server: &Server, file: &str) {
    fs::write(server.file(file), "").unwrap();
}

/// The history contains one line for each event, in order, with the worker: bound, hit, expired, rebound.
#[test]
fn the_history_of_a_session_lists_binding_hits_expiry_and_rebinding() {
    let server = Server::with(QUICK);
    let first = held(&server, "first");
    let hits = [(); 3].map(|()| server.background("carts/count", "{}", &[("Herder-Session", "ann")]));
    server.until_queue("carts", 3, 1);
    release(&server, "first");
    let worker = first.join().unwrap().json["meta"]["worker"].clone();
    for hit in hits {
        assert_eq!(hit.join().unwrap().json["meta"]["routing"], "hit");
    }
    wait_until("the session expires", || state(&server, "ann") == "expired");
    let second = held(&server, "second");
    let (code, history, _) = run_stdout(&server, &["why", "carts", "ann"]);
    release(&server, "second");
    assert_eq!(second.join().unwrap().json["meta"]["why"], "expired");
    let process = format!("{}.1", worker.as_str().unwrap());
    let expected = [
        "session `ann` of pool `carts`".to_owned(),
        "active: state on ".to_owned(),
        format!("1 call sent to {process}, selected for the session; the state starts empty (new)"),
        format!("3 calls sent to {process}, which holds the state (hit)"),
        "expired: idle for its timeout of 300ms".to_owned(),
        "started anew after expiry: the old state was discarded".to_owned(),
        "because the session had expired (rebound: expired)".to_owned(),
    ];
    let lines: Vec<&str> = history.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!((code, lines.len()), (0, expected.len()), "{history}");
    for (line, expected) in lines.iter().zip(&expected) {
        assert!(line.contains(expected), "{line:?} is not {expected:?} in\n{history}");
    }
}

/// The history contains a loss with its reason, and distinguishes an ended session from one that never existed.
#[test]
fn the_history_shows_losses_and_removed_and_unknown_sessions() {
    let server = Server::with(QUICK.replace("300ms", "5m").as_str());
    count(&server, "ann");
    server.call("carts/die", "{}", &[("Herder-Session", "ann")]).problem(410, "session-worker-lost");
    count(&server, "ann");
    let (_, history, _) = run_stdout(&server, &["why", "carts", "ann"]);
    let places = ["had ended: exit status 3", "1 call failed with `session-worker-lost` for", "(rebound: worker_lost)"]
        .map(|text| history.find(text));
    assert!(places.is_sorted() && places[0].is_some(), "{places:?} in\n{history}");

    let why = |session: &str| server.get(&format!("/v1/pools/carts/sessions/{session}/why"));
    let end = crate::support::Request::new("DELETE", "/v1/pools/carts/sessions/ann", "").send(server.address);
    assert_eq!(end.status, 204);
    let removed = why("ann").json;
    assert_eq!(
        (&removed["state"], &removed["present"], &removed["complete"]),
        (&json!("removed"), &Value::Null, &json!(true))
    );
    assert_eq!((&removed["past"][0]["why"], &removed["past"][0]["operations"]), (&json!("ended"), &json!(2)));
    assert_eq!(removed["events"].as_array().unwrap().last().unwrap()["kind"], "removed");
    let (_, history, _) = run_stdout(&server, &["why", "carts", "ann"]);
    assert!(history.contains("ended by request"), "{history}");
    let unknown = why("eve").json;
    assert_eq!((&unknown["state"], &unknown["events"]), (&json!("never_seen"), &json!([])));
    let (code, json, _) = run_stdout(&server, &["why", "carts", "eve", "--json"]);
    assert_eq!(
        (code, serde_json::from_str::<Value>(&json).unwrap()["summary"].clone()),
        (0, unknown["summary"].clone())
    );
}

/// The command encodes the id in the path: the server receives it as in the header of the call.
#[test]
fn session_ids_are_percent_encoded_in_paths() {
    let server = Server::with(QUICK.replace("300ms", "5m").as_str());
    let ids = [
        "a/b",
        "/",
        "50%",
        "%2F",
        "a%252Fb",
        "who?",
        "x?y=1&z=2",
        "#1",
        "a b",
        "a+b",
        "..",
        "~;:@,'\"\\",
        "Zoë/日本 %",
    ];
    for id in ids {
        assert_eq!(count(&server, id)["result"], 1, "{id}");
        let (code, history, error) = run_stdout(&server, &["why", "carts", id]);
        let expected = format!("session `{id}` of pool `carts`\nactive: ");
        assert!(code == 0 && history.starts_with(&expected), "{id}: {history}{error}");
    }
}

#[test]
fn unknown_session_history_is_an_error() {
    let server = Server::with(QUICK);
    server.get("/v1/pools/plain/sessions/ann/why").problem(409, "bind");
    server.get("/v1/pools/carts/sessions/%01/why").problem(400, "invalid-session");
    server.get("/v1/pools/nope/sessions/ann/why").problem(404, "unknown-pool");
    let (code, _, error) = run_stdout(&server, &["why", "plain", "ann"]);
    assert!(code == 1 && error.contains("this pool has no session affinity"), "{error}");
}
