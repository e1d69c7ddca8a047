//! `herder why` and `GET .../why`: a session's story as a support engineer reads it (R22).

use crate::support::{Reply, Server, herder, wait_until};
use serde_json::{Value, json};
use std::{fs, thread};

/// Sessions that expire quickly, and begin anew then.
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

/// A call of the session `ann` that runs until [`release`]: as long as one runs, and what waits behind it goes on at once, a session does not
/// expire, however long the test is held up.
fn held(server: &Server, file: &str) -> thread::JoinHandle<Reply> {
    let body = json!({ "file": server.file(file) }).to_string();
    let call = server.background("carts/wait", &body, &[("Herder-Session", "ann")]);
    server.until_queue("carts", 0, 1);
    call
}

fn release(server: &Server, file: &str) {
    fs::write(server.file(file), "").unwrap();
}

/// Bound, hit, expired, rebound: each has its line, in this order, with its worker.
#[test]
fn a_session_that_was_bound_hit_expired_and_rebound() {
    let server = Server::with(QUICK);
    let first = held(&server, "first");
    let hits = [(); 3].map(|()| server.background("carts/count", "{}", &[("Herder-Session", "ann")]));
    server.until_queue("carts", 3, 1);
    release(&server, "first");
    let worker = first.join().unwrap().json["meta"]["worker"].clone();
    for hit in hits {
        assert_eq!(hit.join().unwrap().json["meta"]["routing"], "hit");
    }
    wait_until("it expires", || state(&server, "ann") == "expired");
    let second = held(&server, "second");
    let (code, story, _) = run_stdout(&server, &["why", "carts", "ann"]);
    release(&server, "second");
    assert_eq!(second.join().unwrap().json["meta"]["why"], "expired");
    let at = format!("{}.1", worker.as_str().unwrap());
    let expected = [
        "session `ann` of pool `carts`".to_owned(),
        "active: its state is on ".to_owned(),
        format!("1 call sent to {at}, chosen for it; the state began empty (new)"),
        format!("3 calls sent to {at}, which has its state (hit)"),
        "expired: idle for its timeout of 300ms".to_owned(),
        "started anew after expiry: the old state was discarded".to_owned(),
        "since the session had expired (rebound: expired)".to_owned(),
    ];
    let lines: Vec<&str> = story.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!((code, lines.len()), (0, expected.len()), "{story}");
    for (line, expected) in lines.iter().zip(&expected) {
        assert!(line.contains(expected), "{line:?} is not {expected:?} in\n{story}");
    }
}

/// A loss is told with its reason, and a session that was never there is told from one that is gone.
#[test]
fn losses_ends_and_strangers() {
    let server = Server::with(QUICK.replace("300ms", "5m").as_str());
    count(&server, "ann");
    server.call("carts/die", "{}", &[("Herder-Session", "ann")]).problem(410, "session-worker-lost");
    count(&server, "ann");
    let (_, story, _) = run_stdout(&server, &["why", "carts", "ann"]);
    let places =
        ["was found gone: exit status 3", "1 call answered `session-worker-lost` for", "(rebound: worker_lost)"]
            .map(|text| story.find(text));
    assert!(places.is_sorted() && places[0].is_some(), "{places:?} in\n{story}");

    let why = |session: &str| server.get(&format!("/v1/pools/carts/sessions/{session}/why"));
    let end = crate::support::Request::new("DELETE", "/v1/pools/carts/sessions/ann", "").send(server.address);
    assert_eq!(end.status, 204);
    let gone = why("ann").json;
    assert_eq!((&gone["state"], &gone["present"], &gone["complete"]), (&json!("removed"), &Value::Null, &json!(true)));
    assert_eq!((&gone["past"][0]["why"], &gone["past"][0]["operations"]), (&json!("ended"), &json!(2)));
    assert_eq!(gone["events"].as_array().unwrap().last().unwrap()["kind"], "removed");
    let (_, story, _) = run_stdout(&server, &["why", "carts", "ann"]);
    assert!(story.contains("gone: it was ended"), "{story}");
    let stranger = why("eve").json;
    assert_eq!((&stranger["state"], &stranger["events"]), (&json!("never_seen"), &json!([])));
    let (code, json, _) = run_stdout(&server, &["why", "carts", "eve", "--json"]);
    assert_eq!(
        (code, serde_json::from_str::<Value>(&json).unwrap()["summary"].clone()),
        (0, stranger["summary"].clone())
    );
}

/// The command puts the id into a path: it arrives as the text that the call's header had.
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
        let (code, story, error) = run_stdout(&server, &["why", "carts", id]);
        let expected = format!("session `{id}` of pool `carts`\nactive: ");
        assert!(code == 0 && story.starts_with(&expected), "{id}: {story}{error}");
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
