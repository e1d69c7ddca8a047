//! `herder recorder` and `GET .../workers/{id}/recorder`: what an engineer sees of a dead worker (R38).

use crate::support::{Server, herder, wait_until};
use serde_json::json;

const POOLS: &str = "[pools.carts]\nworker_type = 'enhanced'\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n\
                     [pools.plain]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n";

fn run_stdout(server: &Server, args: &[&str]) -> (i32, String, String) {
    let url = server.url();
    let output = herder(server.folder.path(), args).args(["--url", &url]).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// R38: the error of a lost call contains the last frames. The command shows the rest, even after the worker was
/// replaced.
#[test]
fn r38_recording_of_a_dead_worker_is_printed() {
    let server = Server::with(POOLS);
    let problem = server.call("carts/die", "{}", &[]);
    problem.problem(502, "worker-lost");
    let frames = problem.json["recorder"].as_array().unwrap();
    assert!(frames.iter().any(|frame| frame["kind"] == "call" && frame["command"] == "die"), "{frames:?}");
    wait_until("the next worker is ready", || {
        server.get("/v1/pools/carts/workers").json["workers"][0]["state"] == "ready"
    });

    let (code, output, _) = run_stdout(&server, &["recorder", "carts", "w1", "--generation", "1"]);
    let places = ["worker w1.1 of pool `carts`: exit status 3", "started 2", "ended 2", "hello", "die", "terminated"]
        .map(|text| output.find(text));
    assert!(code == 0 && places[0].is_some() && places.is_sorted(), "{places:?} in\n{output}");
    let (_, output, _) = run_stdout(&server, &["recorder", "carts", "w1"]);
    assert!(output.starts_with("worker w1.2 of pool `carts`: running\n"), "{output}");

    let ended = server.get("/v1/pools/carts/workers/w1/recorder?generation=1").json;
    assert_eq!((&ended["exit"]["exit_status"], &ended["dropped_frames"]), (&json!(3), &json!(0)));
    let (_, same, _) = run_stdout(&server, &["recorder", "carts", "w1", "--generation", "1", "--json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&same).unwrap(), ended);
    assert!(server.get("/v1/pools/plain/workers/w1/recorder").json.get("transitions").is_none());
}

#[test]
fn r38_unknown_worker_has_no_recording() {
    let server = Server::with(POOLS);
    server.get("/v1/pools/carts/workers/w9/recorder").problem(404, "no-such-worker");
    server.get("/v1/pools/carts/workers/9/recorder").problem(404, "no-such-worker");
    server.get("/v1/pools/carts/workers/w1/recorder?generation=9").problem(404, "no-such-worker");
    server.get("/v1/pools/carts/workers/w1/recorder?generation=x").problem(400, "bad-query");
    server.get("/v1/pools/carts/workers/w1/recorder?generations=1").problem(400, "bad-query");
    server.get("/v1/pools/nope/workers/w1/recorder").problem(404, "unknown-pool");
    let (code, _, error) = run_stdout(&server, &["recorder", "carts", "w9"]);
    assert!(code == 1 && error.contains("unknown worker w9; the pool has w1 to w1"), "{error}");
    let (code, help, _) = run_stdout(&server, &["recorder", "--help"]);
    assert!(code == 0 && help.contains("herder recorder sessions w2 --generation 1"), "{help}");
}
