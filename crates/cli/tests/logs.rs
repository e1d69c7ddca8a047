//! The log and the service: calls are answered whatever happens to standard error (R40).

use crate::support::{Request, Server, folder, herder, wait_until};
use herder::testing::Signal;
use std::{
    fs::{self, File, Permissions},
    io::{PipeReader, Read, pipe},
    os::unix::fs::PermissionsExt,
    process::Stdio,
};

const TWO: &str = "[pools.two]\napp = 'app.py:app'\npool_size = 2\noverflow = 0\ntimeout = '10m'\nqueue.timeout = '10m'\n\
                   restart.backoff = '1ms'\n";
/// The header `traceparent` of a request.
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// The number of worker deaths; more of them would make the pool fail.
const DEATHS: usize = 3;

/// Starts a server with this standard error.
fn server(stderr: impl Into<Stdio>) -> Server {
    let server = Server::with_stderr(folder(TWO), &[], &[], stderr);
    wait_until("all workers are ready", || server.get("/readyz").json["pools"]["two"]["ready_workers"] == 2);
    server
}

/// Checks that calls are answered: calls that print, calls that kill a worker, and others. The host logs each of them.
fn serves(server: &Server) {
    for _ in 0..DEATHS {
        assert_eq!(server.call("two/tell", r#"{"text": "hello"}"#, &[]).status, 200);
        server.call("two/die", "{}", &[]).problem(502, "worker-lost");
        server.call("two/fail", "{}", &[]).problem(500, "exception");
        assert_eq!(server.call("two/echo", r#"{"x": 1}"#, &[]).result()["x"], 1);
    }
    assert_eq!(server.get("/healthz").status, 200);
}

fn dropped(server: &Server) -> u64 {
    server.get("/v1/pools").json["dropped_log_lines"].as_u64().unwrap()
}

fn stops_gracefully(mut server: Server) {
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

/// R40: the reader of the log has exited (EPIPE).
#[test]
fn r40_a_log_without_a_reader_fails_no_call() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let server = server(writer);
    serves(&server);
    wait_until("dropped lines are counted", || dropped(&server) > 0);
    stops_gracefully(server);
}

/// R40: the disk of the log is full (ENOSPC).
#[test]
fn r40_full_log_device_fails_no_call() {
    let server = server(File::options().write(true).open("/dev/full").unwrap());
    serves(&server);
    wait_until("dropped lines are counted", || dropped(&server) > 0);
    stops_gracefully(server);
}

/// R40, R54: the log is a full pipe that is not read, blocking or not (EAGAIN). Calls are answered, the queue is
/// bounded, and when the log is read again it contains the number of dropped lines.
#[test]
fn r40_unread_log_fails_no_call() {
    for blocking in [true, false] {
        let (mut reader, writer) = pipe().unwrap();
        if !blocking {
            rustix::io::ioctl_fionbio(&writer, true).unwrap();
        }
        let server = server(writer);
        let more = r#"{"text": "TEXT"}"#.replace("TEXT", &"x".repeat(1_000_000));
        wait_until("more was printed than fits into the queue", || {
            assert_eq!(server.call("two/tell", &more, &[]).status, 200);
            dropped(&server) > 0
        });
        serves(&server);
        assert!(read_until(&mut reader, "log line(s): the log is read too slowly"));
        drain(reader);
        stops_gracefully(server);
    }
}

/// R30: a log that is not read does not prevent the server from stopping.
#[test]
fn r30_unread_log_does_not_delay_the_exit() {
    let (reader, writer) = pipe().unwrap();
    let server = server(writer);
    let more = r#"{"text": "TEXT"}"#.replace("TEXT", &"x".repeat(1_000_000));
    assert_eq!(server.call("two/tell", &more, &[]).status, 200);
    stops_gracefully(server);
    drop(reader);
}

/// R30: neither does a banner that is not read; standard output is a full pipe.
#[test]
fn r30_unread_banner_blocks_nothing() {
    let folder = folder(TWO);
    let log = folder.path().join("log");
    let (reader, writer) = pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while rustix::io::write(&writer, &[b'.'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    let mut server = Server::unread(folder, writer, File::create(&log).unwrap());
    wait_until("the server is ready", || fs::read_to_string(&log).unwrap().contains("all pools are ready"));
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    drop(reader);
}

/// R40: the error of a command is written after the log, and can be lost, too.
#[test]
fn r40_the_error_of_a_command_follows_the_log() {
    let folder = folder(TWO);
    let output = crate::support::herder(folder.path(), &["serve", "--listen", "0.0.0.0:0"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("error: 0.0.0.0:0 is reachable from other machines"), "{error}");
    let mut command = crate::support::herder(folder.path(), &["serve", "--listen", "0.0.0.0:0"]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    assert_eq!(
        command.stderr(full).output().unwrap().status.code(),
        Some(2),
        "exit code of a usage error, not of a panic"
    );
}

/// Reads until this text has arrived. Returns false if the other end was closed before.
fn read_until(reader: &mut PipeReader, text: &str) -> bool {
    let (mut seen, mut buffer) = (Vec::new(), [0; 65536]);
    loop {
        match reader.read(&mut buffer) {
            Ok(count @ 1..) => seen.extend_from_slice(&buffer[..count]),
            _ => return false,
        }
        if seen.windows(text.len()).any(|part| part == text.as_bytes()) {
            return true;
        }
        seen.drain(..seen.len().saturating_sub(text.len()));
    }
}

/// Continues to read, so that the server can write its last lines.
fn drain(mut reader: PipeReader) {
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
}

const LOGGING: &str = r#"
import logging, os
import herder

log = logging.getLogger("shop.db")
app = herder.App()

@app.command
def buy(n: int):
    print("a line")
    log.debug("detail")
    log.warning("order %d\n2026 ERROR forged", n, extra={"n": n, "tags": ["a"]})
    try: {}["key"]
    except KeyError: log.exception("lost")
    return log.isEnabledFor(logging.DEBUG)

@app.command
async def raw(text: str):
    os.write(2, text.encode("latin-1"))
"#;

/// Starts a server with a pool `shop` of [`LOGGING`].
fn logging_server(args: &[&str], filter: &str) -> Server {
    let folder = folder("[pools.shop]\napp = 'shop.py:app'\npool_size = 1\noverflow = 0\n");
    fs::write(folder.path().join("shop.py"), LOGGING).unwrap();
    let server = Server::start(folder, args, &[("HERDER_LOG", filter)]);
    server.until_ready();
    server
}

/// R40: a record of Python's `logging` is one line with level, logger, fields, traceback and call. `print` stays a line.
#[test]
fn r40_records_of_logging_are_events_with_the_call() {
    let server = logging_server(&[], "info");
    let reply = server.call("shop/buy", r#"{"n": 7}"#, &[("Herder-Session", "ann")]);
    assert_eq!(reply.result(), false, "HERDER_LOG is the level of the root logger");
    server.until_logged("herder::worker: lost");
    let log = server.log();
    let line = |text: &str| log.lines().find(|line| line.contains(text)).unwrap();
    let order = line(r"WARN herder::worker: order 7\n2026 ERROR forged worker=w1.1");
    for part in
        [r#"logger="shop.db""#, r#"session="ann""#, r#"command="buy""#, "attempt=", r#"fields={n=7, tags=["a"]}"#]
    {
        assert!(order.contains(part), "{part}: {order}");
    }
    let lost = line("ERROR herder::worker: lost");
    assert!(lost.contains(r#"traceback="Traceback (most recent call last):\n"#), "{lost}");
    assert!(line("herder::worker: a line").contains("INFO"), "{log}");
    assert!(!log.contains("detail"), "{log}");

    let server = logging_server(&[], "info,herder::worker=debug");
    assert_eq!(server.call("shop/buy", r#"{"n": 7}"#, &[]).result(), true);
    server.until_logged("DEBUG herder::worker: detail");
}

/// R40: with `--log-format json` every line is one JSON object, whatever workers print and log, also for a panic and an error
/// of the command.
#[test]
fn r40_json_log_is_one_object_on_each_line() {
    let mut server = logging_server(&["--log-format", "json"], "info");
    server.call("shop/buy", r#"{"n": 7}"#, &[("Herder-Session", "ann")]);
    server.call("shop/raw", r#"{"text": "\u0000\u001b[2J {\"level\": \"ERROR\"} \u00ff\n"}"#, &[]);
    server.until_logged("lost");
    server.until_logged(r#"[2J {"#);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    let log = server.log();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let of = |message: &str| lines.iter().find(|line| line["message"].as_str().unwrap().starts_with(message)).unwrap();
    let order = of("order 7");
    assert_eq!((&order["level"], &order["target"]), (&"WARN".into(), &"herder::worker".into()));
    assert_eq!((&order["worker"], &order["logger"]), (&"w1.1".into(), &"shop.db".into()));
    assert_eq!((&order["session"], &order["command"]), (&"ann".into(), &"buy".into()));
    assert_eq!(order["fields"], serde_json::json!({ "n": 7, "tags": ["a"] }));
    assert!(of("lost")["traceback"].as_str().unwrap().ends_with("KeyError: 'key'"));
    assert_eq!((&of("a line")["level"], &of("a line")["stream"]), (&"INFO".into(), &"stdout".into()));
    assert_eq!(of(r"\u{0}\u{1b}[2J {")["stream"], "stderr");
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string()));
}

/// The error with which the command ends is an object, too.
#[test]
fn json_log_has_the_error_of_the_command() {
    let folder = folder("[pools.shop]\napp = 'missing.py:app'\n");
    let output = crate::support::herder(folder.path(), &["serve", "--log-format", "json"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).expect(&text);
    assert_eq!((&line["level"], &line["target"]), (&"ERROR".into(), &"herder".into()));
    assert!(line["message"].as_str().unwrap().contains("missing.py"), "{text}");
}

/// R50: elsewhere than on a terminal, the log and the banner are JSON unless text is asked for; secrets in either form of the log
/// are hidden, and each request is one line of the access log.
#[test]
fn r50_without_a_terminal_log_and_banner_are_json_without_secrets() {
    let folder = folder(
        "[pools.two]\napp = 'app.py:app'\npool_size = 1\n[server]\ntoken_file = 'token'\n\
                         call_token = 'the-token-of-callers'\n",
    );
    let token_file = folder.path().join("token");
    fs::write(&token_file, "s3cret-of-the-server").unwrap();
    fs::set_permissions(&token_file, Permissions::from_mode(0o644)).unwrap();
    let mut server = Server::json(folder, &["--access-log"]);
    let token: &[(&str, &str)] = &[("Authorization", "Bearer s3cret-of-the-server"), ("traceparent", TRACE)];
    let text = r#"{"text": "s3cret-of-the-server the-token-of-callers api_key=abc {\"password\": \"abc\"} http://me:abc@db/"}"#;
    assert_eq!(server.call("two/tell", text, token).status, 200);
    server.call("two/none", "{}", token).problem(404, "unknown-command");
    server.until_logged("http://[redacted]@db/");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    let log = server.log();
    let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect(text);
    let lines: Vec<_> = log.lines().map(parsed).collect();
    let printed = lines.iter().find(|line| line["stream"] == "stdout").unwrap();
    let hidden = r#"[redacted] [redacted] api_key=[redacted] {"password": "[redacted]"} http://[redacted]@db/"#;
    assert_eq!((&printed["message"], &printed["pool"]), (&hidden.into(), &"two".into()));
    let request = lines.iter().find(|line| line["target"] == "herder::access").unwrap();
    assert_eq!((&request["path"], &request["status"]), (&"/v1/pools/two/call/tell".into(), &200.into()));
    let refused = lines.iter().find(|line| line["target"] == "herder::call").unwrap();
    assert_eq!(refused["error"], "unknown-command");
    for line in [request, refused] {
        assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    }
    let of_access: Vec<_> = lines.iter().filter(|line| line["target"] == "herder::access").collect();
    assert!(of_access.iter().all(|line| line["message"] == "request"), "{of_access:?}");
    let failed: Vec<_> = of_access.iter().filter(|line| !line["error_id"].is_null()).collect();
    assert_eq!((failed.len(), &failed[0]["error_id"], &failed[0]["status"]), (1, &refused["error_id"], &404.into()));
    let exposed = lines.iter().find(|line| line["message"].as_str().unwrap().contains("can read the token file"));
    assert_eq!((&exposed.unwrap()["target"], &exposed.unwrap()["level"]), (&"herder".into(), &"WARN".into()));
    let is_of_a_module = |line: &&serde_json::Value| {
        let target = line["target"].as_str().unwrap();
        target.starts_with("herder::") && !["herder::access", "herder::call", "herder::worker"].contains(&target)
    };
    assert_eq!(lines.iter().find(is_of_a_module), None, "the target of the program's own events is `herder`");
    assert!(
        request["duration_us"].is_u64() && request["peer"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{request}"
    );
    let banner: Vec<_> = server.banner.iter().map(|line| parsed(line)).collect();
    assert_eq!((&banner[0]["pool"], &banner[0]["level"]), (&"two".into(), &"INFO".into()));
    assert_eq!(banner.last().unwrap()["url"], server.url());
    assert!(banner.iter().all(|line| line["timestamp"].is_string() && line["message"].is_string()), "{banner:?}");
}

/// DEBUG for other targets does not prepare each call for the log: the thread that calls the subscriber would wake for each of them.
#[cfg(target_os = "linux")]
#[test]
fn debug_of_other_targets_costs_calls_nothing() {
    let folder = folder("[pools.one]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n");
    let server = Server::start(folder, &[], &[("HERDER_LOG", "info,herder::absent=debug")]);
    server.until_ready();
    server.call("one/echo", "{}", &[]); // the subscriber is asked with the first call
    let before = waits_of_thread(server.pid(), "herder-events");
    (0..300).for_each(|_| assert_eq!(server.call("one/echo", "{}", &[]).status, 200));
    let waits = waits_of_thread(server.pid(), "herder-events") - before;
    // Two waits for what the start has logged. Events of 300 calls would cause some for each 5 ms.
    assert!(waits <= 2, "the thread of the log waited {waits} times for 300 calls");
}

/// Returns how often this thread of a process has waited.
#[cfg(target_os = "linux")]
fn waits_of_thread(pid: u32, name: &str) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // Other threads may end meanwhile.
    let mut statuses = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok());
    let status = statuses.find(|status| status.starts_with(&format!("Name:\t{name}\n"))).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

/// R50: the level of a pool changes while the server runs, for this pool only.
#[test]
fn r50_the_log_level_of_a_pool_is_changed_while_the_server_runs() {
    let config = "[pools.one]\napp = 'app.py:app'\npool_size = 1\n[pools.two]\napp = 'app.py:app'\npool_size = 1\n";
    let server = Server::with(config);
    let level = |args: &[&str]| {
        let all: Vec<&str> = ["log-level"].into_iter().chain(args.iter().copied()).collect();
        let output = herder(server.folder.path(), &all).env("HERDER_URL", server.url()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    let call = |pool: &str, number: u32| {
        let body = format!(r#"{{"n": {number}}}"#);
        assert_eq!(server.call(&format!("{pool}/echo"), &body, &[]).status, 200);
    };
    assert_eq!(level(&["one"]), "one: default");
    call("one", 1);
    assert_eq!(level(&["one", "debug"]), "one: debug");
    call("one", 2);
    call("two", 3);
    call("one", 4);
    server.until_logged("command=\"echo\" worker=w1.1 call=3");
    assert_eq!(level(&["one", "off"]), "one: off");
    server.until_logged("set the log level to off"); // its own level does not hide the action
    assert_eq!(server.call("one/tell", r#"{"text": "unseen"}"#, &[]).status, 200);
    assert_eq!(server.call("two/tell", r#"{"text": "seen"}"#, &[]).status, 200);
    server.until_logged(r#"seen worker=w1.1 pool="two""#);
    let log = server.log();
    let shown: Vec<_> = log.lines().filter(|line| line.contains("herder::call: call ")).collect();
    assert!(shown.iter().all(|line| line.contains("pool=one")) && shown.len() >= 2, "{shown:?}");
    assert!(!log.contains("unseen"), "{log}");
    assert_eq!(level(&["one", "default"]), "one: default");
    let path = "/v1/pools/one/log-level";
    let put = |body: &str| Request::new("PUT", path, body).send(server.address);
    assert_eq!(put(r#"{"level": "warn"}"#).json, serde_json::json!({ "pool": "one", "level": "warn" }));
    assert_eq!(server.get(path).json["level"], "warn");
    put(r#"{"level": "loud"}"#).problem(400, "bad-body");
    put(&" ".repeat(2000)).problem(400, "bad-body");
    Request::new("PUT", "/v1/pools/none/log-level", r#"{"level": null}"#)
        .send(server.address)
        .problem(404, "unknown-pool");
}

/// R50: Python workers that run send the records of the level of their pool at once, also workers that start later, spawned or
/// forked; those of other pools send nothing more.
#[test]
fn r50_the_workers_of_a_pool_get_its_log_level() {
    let pool = |name: &str, start: &str| {
        format!("[pools.{name}]\napp = 'shop.py:app'\npool_size = 1\noverflow = 0\nstart = '{start}'\n")
    };
    let folder = folder(&(pool("one", "spawn") + &pool("two", "spawn") + &pool("warm", "template")));
    fs::write(folder.path().join("shop.py"), LOGGING).unwrap();
    let server = Server::start(folder, &[], &[("HERDER_LOG", "info")]);
    server.until_ready();
    let set = |pool: &str, level: &str| {
        let path = format!("/v1/pools/{pool}/log-level");
        assert_eq!(Request::new("PUT", &path, &format!(r#"{{"level": {level}}}"#)).send(server.address).status, 200);
    };
    let replace = |pool: &str, worker: &str| {
        let path = format!("/v1/pools/{pool}/workers/{worker}/kill?generation=1");
        assert!(Request::new("POST", &path, "").send(server.address).status < 300);
        server.until_ready();
    };
    let sends_debug = |pool: &str| server.call(&format!("{pool}/buy"), r#"{"n": 7}"#, &[]).result() == true;
    let details = |worker: &str| server.log().matches(&format!("DEBUG herder::worker: detail worker={worker}")).count();
    assert_eq!(["one", "two", "warm"].map(sends_debug), [false; 3]);
    set("one", r#""debug""#);
    wait_until("the worker that runs has the level", || sends_debug("one"));
    server.until_logged(r#"DEBUG herder::worker: detail worker=w1.1 pool="one""#);
    replace("one", "w1");
    assert!(sends_debug("one"), "a worker that starts later has it from its first call on");
    replace("two", "w1"); // one that starts while `tracing` lets DEBUG pass
    assert!(!sends_debug("two"), "the level of another pool is not its own");
    set("warm", r#""debug""#);
    wait_until("the forked worker that runs has the level", || sends_debug("warm"));
    replace("warm", "w1");
    assert!(sends_debug("warm"), "a worker that is forked later has it from its first call on");
    set("one", "null");
    wait_until("the worker has the level of its start again", || !sends_debug("one"));
    assert!(!sends_debug("two"));
    server.until_logged(r#"DEBUG herder::worker: detail worker=w1.2 pool="warm""#);
    assert_eq!(details("two/"), 0, "{}", server.log());
    assert!(!server.log().contains("herder::access"), "requests are logged only if asked for");
}
