//! What people watch and do over HTTP, with real workers: the timeline, the events, the stack of a worker, and actions of
//! administrators.

use crate::support::{Request, Server, folder, get, post, wait_until};
use herder::testing::Signal;
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpStream,
};

const CONFIG: &str = "[pools.kept]\nworker_type = 'enhanced'\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n";
const TOKENS: &str = "[server]\ntoken = 'the-admin'\ncall_token = 'the-call'\n";

fn server() -> Server {
    let server = Server::start(folder(&format!("{CONFIG}{TOKENS}")), &[], &[]);
    server.until_ready();
    server
}

fn admin(request: Request) -> Request {
    request.header("Authorization", "Bearer the-admin")
}

/// The events of a server, as they come.
struct Events(BufReader<TcpStream>);

impl Events {
    fn open(server: &Server, path: &str) -> Self {
        let mut events = Self(BufReader::new(admin(get(path)).open(server.address)));
        let head = events.until(|line| line.is_empty());
        assert!(head.first().is_some_and(|line| line.contains(" 200 ")), "{head:?}");
        assert!(head.iter().any(|line| line == "content-type: text/event-stream"), "{head:?}");
        events
    }

    /// Reads lines up to the one that `ends`.
    fn until(&mut self, ends: impl Fn(&str) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream has ended: {lines:?}");
            lines.push(line.trim_end().to_owned());
            if ends(line.trim_end()) {
                return lines;
            }
        }
    }

    /// Returns the id and the data of the next event for which `is_meant` holds.
    fn next(&mut self, is_meant: impl Fn(&Value) -> bool) -> (String, Value) {
        loop {
            let lines = self.until(|line| line.starts_with("data: "));
            let data: Value = serde_json::from_str(lines.last().unwrap().strip_prefix("data: ").unwrap()).unwrap();
            if is_meant(&data) {
                let id = lines.iter().rev().find_map(|line| line.strip_prefix("id: ")).unwrap();
                return (id.to_owned(), data);
            }
        }
    }
}

/// R50: a worker is killed: the events show who asked for it, the death and the replacement, and can be resumed. The timeline has
/// the death, and the calls of both processes. A wrong generation, a wrong role and a page of another site kill nothing.
#[test]
fn r50_a_kill_is_seen_in_the_events_and_the_timeline() {
    let server = server();
    let mut events = Events::open(&server, "/v1/events");
    events.next(|event| event["kind"] == "worker_ready" && event["generation"] == 1);
    let call = |id: &str| {
        let call = post("/v1/pools/kept/call/count", "{}").header("Herder-Session", id);
        call.header("Authorization", "Bearer the-call").send(server.address).result().clone()
    };
    assert_eq!(call("ann"), 1);

    let kill = |query: &str| post(&format!("/v1/pools/kept/workers/w1/kill{query}"), "");
    admin(kill("?generation=2")).send(server.address).problem(409, "wrong-generation");
    let refused = admin(kill("")).send(server.address);
    let detail = &refused.problem(400, "bad-query")["detail"];
    let wanted = "invalid query ``: it must be generation=N, with the generation of the process from `GET /v1/pools/{pool}/workers`";
    assert_eq!(detail, wanted);
    let foreign = admin(kill("?generation=1")).header("Origin", "http://evil.example");
    foreign.send(server.address).problem(403, "foreign-origin");
    let rebound = admin(kill("?generation=1")).header("Host", "evil.example");
    rebound.send(server.address).problem(403, "foreign-host");
    let caller = kill("?generation=1").header("Authorization", "Bearer the-call");
    caller.send(server.address).problem(403, "wrong-role");
    let unknown = admin(post("/v1/pools/kept/workers/w9/kill?generation=1", ""));
    unknown.send(server.address).problem(404, "no-such-worker");
    let killed = admin(kill("?generation=1")).send(server.address);
    assert_eq!(killed.json, json!({ "killed": true, "worker": "w1", "generation": 1 }), "{killed:?}");

    let (asked_id, asked) = events.next(|event| event["kind"] == "action");
    assert_eq!(asked["message"], "requested by role `admin`: kill worker w1.1");
    let died = |event: &Value| event["kind"] == "worker_killed" && event["worker"] == "w1" && event["generation"] == 1;
    events.next(died);
    events.next(|event| event["kind"] == "worker_ready" && event["generation"] == 2);
    let mut resumed = Events::open(&server, &format!("/v1/events?after={asked_id}"));
    let (_, first) = resumed.next(|_| true);
    assert_ne!(first["kind"], "action", "it resumes after the event that was named");
    resumed.next(died);

    let lost = post("/v1/pools/kept/call/count", "{}").header("Herder-Session", "ann");
    lost.header("Authorization", "Bearer the-call").send(server.address).problem(410, "session-worker-lost");
    events.next(|event| event["kind"] == "session_lost");
    assert_eq!(call("bob"), 1);
    let timeline = admin(get("/v1/pools/kept/timeline")).send(server.address).json;
    let counted: Vec<_> = timeline["calls"].as_array().unwrap().iter().collect();
    let bar = |generation: u32| {
        counted.iter().find(|call| call["command"] == "count" && call["generation"] == generation).unwrap()
    };
    assert_eq!((&bar(1)["outcome"], &bar(1)["session"], &bar(1)["count"]), (&json!("ok"), &json!("ann"), &json!(1)));
    assert_eq!(bar(2)["session"], "bob");
    let death = &timeline["deaths"][0];
    assert_eq!((&death["worker"], &death["generation"]), (&json!("w1"), &json!(1)));
    assert!(
        bar(1)["to_us"].as_u64() <= death["at_us"].as_u64() && death["at_us"].as_u64() <= bar(2)["from_us"].as_u64()
    );
    let next = admin(get(&format!("/v1/pools/kept/timeline?since={}", timeline["next"]))).send(server.address).json;
    assert_eq!((&next["calls"], &next["deaths"]), (&json!([]), &json!([])));
    wait_until("the action is logged", || {
        server.log().lines().any(|line| line.contains("kill worker w1.1") && line.contains("admin"))
    });
    wait_until("the replacement is logged", || {
        server.log().lines().any(|line| line.contains("worker ready") && line.contains("w1.2"))
    });
}

/// R50: the stack of a worker whose handler does not return shows where it is, and the worker goes on.
#[test]
fn r50_the_stack_of_a_running_worker_is_shown() {
    let server = server();
    let file = server.folder.path().join("go");
    let body = json!({ "file": file }).to_string();
    let waiting =
        post("/v1/pools/kept/call/wait", &body).header("Authorization", "Bearer the-call").open(server.address);
    let running = || admin(get("/v1/pools/kept/timeline")).send(server.address).json;
    wait_until("the call runs", || {
        running()["calls"].as_array().unwrap().iter().any(|call| call["command"] == "wait" && call["to_us"].is_null())
    });
    let mut text = String::new();
    wait_until("the handler is in its loop", || {
        let stack = admin(get("/v1/pools/kept/workers/w1/stack")).send(server.address);
        assert_eq!((stack.status, stack.header("content-type")), (200, Some("text/plain; charset=utf-8")), "{stack:?}");
        text = stack.body;
        text.contains("in wait")
    });
    assert!(text.starts_with("worker w1.1\n") && text.contains("app.py"), "{text}");
    admin(get("/v1/pools/kept/workers/w9/stack")).send(server.address).problem(404, "no-such-worker");
    fs::write(&file, "").unwrap();
    assert_eq!(crate::support::Reply::read(waiting).result(), "waited");
}

/// Names and arguments that callers choose are JSON strings in the events, so that no page takes them for markup and no line for
/// another event. Sessions are found by a part of their id.
#[test]
fn r50_what_callers_choose_is_escaped_and_sessions_are_found() {
    let server = server();
    let mut events = Events::open(&server, "/v1/events");
    let session = "<b>x</b> & \"y\"";
    let markup = "%3Cscript%3Ealert(1)%3C%2Fscript%3E%0Adata%3A%20forged";
    let call = |command: &str, body: &str| {
        let call = post(&format!("/v1/pools/kept/call/{command}"), body).header("Herder-Session", session);
        admin(call).send(server.address)
    };
    call("count", "{}").result();
    call(markup, "{\"<img src=x onerror=alert(1)>\": 1}").problem(404, "unknown-command");
    let (_, failed) = events.next(|event| event["kind"] == "call_failed");
    let message = failed["message"].as_str().unwrap();
    assert!(message.starts_with("<script>alert(1)</script>\\ndata: forged: "), "{message}");

    let found = |search: &str| {
        let page = admin(get(&format!("/v1/pools/kept/sessions?search={search}"))).send(server.address);
        assert_eq!(page.header("content-type"), Some("application/json"));
        page.json["sessions"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(found("%3Cb%3E"), [session]);
    assert_eq!(found("ann"), Vec::<Value>::new());
    let ended = admin(Request::new("DELETE", "/v1/pools/kept/sessions/%3Cb%3Ex%3C%2Fb%3E%20%26%20%22y%22", ""));
    assert_eq!(ended.send(server.address).status, 204);
    let (_, action) = events.next(|event| event["kind"] == "action");
    assert_eq!(action["message"], format!("requested by role `admin`: end session {session}"));
}

/// A stream of events does not hold up the end of the server.
#[test]
fn events_end_when_the_server_drains() {
    let mut server = server();
    let mut events = Events::open(&server, "/v1/events");
    events.next(|event| event["kind"] == "worker_ready");
    server.signal(Signal::TERM);
    let mut line = String::new();
    while events.0.read_line(&mut line).unwrap() > 0 {
        line.clear();
    }
    assert!(server.wait().success());
}

/// R50: the events have 256 readers at most. One that closes its connection makes room for another.
#[test]
fn r50_a_reader_of_events_that_is_gone_makes_room_for_another() {
    let server = server();
    let mut readers: Vec<_> = (0..256).map(|_| Events::open(&server, "/v1/events")).collect();
    let refused = || admin(get("/v1/events")).open(server.address);
    let mut head = BufReader::new(refused());
    let mut first = String::new();
    head.read_line(&mut first).unwrap();
    assert!(first.contains(" 503 "), "{first}");
    readers.pop();
    wait_until("another may read", || {
        let mut line = String::new();
        BufReader::new(refused()).read_line(&mut line).unwrap();
        line.contains(" 200 ")
    });
}
