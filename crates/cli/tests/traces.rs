//! Traces (R50): from a request over HTTP through the queue and the attempts into Python, exported to a collector and read back.

use crate::support::{Server, folder, get, sh, wait_until};
use herder::testing::Signal;
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// An app whose command is killed the first time, and then sends a span of its own to the collector.
const APP: &str = r#"
import json, os, signal, urllib.request
import herder

app = herder.App()

@app.command(idempotent=True)
def price(collector: str, marker: str):
    if not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    _, trace, parent, _ = herder.current_call().traceparent.split("-")
    span = {"traceId": trace, "spanId": "00000000000000aa", "parentSpanId": parent, "name": "in python"}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    request = urllib.request.Request(collector, body, {"content-type": "application/json"})
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).read()
    return herder.current_call().tracestate

@app.command
def trace():
    return herder.current_call().traceparent

@app.command
def fail():
    raise KeyError("no")
"#;
pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A collector: accepts OTLP as JSON over HTTP, and keeps the spans.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    spans: Arc<Mutex<Vec<Value>>>,
    /// Whether it answers that it has not accepted the spans.
    rejects: Arc<AtomicBool>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, spans) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Value>>>::default());
        let rejects = Arc::<AtomicBool>::default();
        let shared = (spans.clone(), rejects.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (received, rejects) = shared.clone();
                thread::spawn(move || while receive(&stream, &received, &rejects).is_some() {});
            }
        });
        Self { address, spans, rejects }
    }

    fn spans(&self) -> Vec<Value> {
        self.spans.lock().unwrap().clone()
    }

    /// Waits for the spans of a trace that has this many.
    pub(crate) fn until(&self, count: usize) -> Vec<Value> {
        wait_until("the spans are there", || self.spans().len() >= count);
        self.spans()
    }
}

/// Reads a request and answers it. Returns `None` at the end of the connection.
fn receive(mut stream: &TcpStream, spans: &Mutex<Vec<Value>>, rejects: &AtomicBool) -> Option<()> {
    let mut lines = BufReader::new(stream);
    let (mut head, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).ok().filter(|count| *count > 0)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    assert_eq!(head[0], "POST /v1/traces HTTP/1.1");
    assert!(head.iter().any(|line| line.eq_ignore_ascii_case("content-type: application/json")), "{head:?}");
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    let request: Value = serde_json::from_slice(&body).unwrap();
    let of_scopes =
        request["resourceSpans"].as_array().unwrap().iter().map(|each| each["scopeSpans"].as_array().unwrap());
    let more = of_scopes.flatten().flat_map(|scope| scope["spans"].as_array().unwrap().clone());
    let more: Vec<Value> = more.collect();
    let answer = match rejects.load(Ordering::SeqCst) {
        true => json!({ "partialSuccess": { "rejectedSpans": more.len().to_string() } }),
        false => json!({}),
    };
    spans.lock().unwrap().extend(more);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length";
    let answer = answer.to_string();
    stream.write_all(format!("{head}: {}\r\n\r\n{answer}", answer.len()).as_bytes()).ok()
}

/// Starts a server that exports to this collector.
pub(crate) fn server(collector: SocketAddr, sample: &str) -> Server {
    let config = format!(
        "[traces]\nendpoint = 'http://{collector}'\nsample = {sample}\n[pools.shop]\napp = 'shop.py:app'\n\
         worker_type = 'enhanced'\npool_size = 1\noverflow = 0\nretry.base = '1ms'\nrestart.backoff = '1ms'\n"
    );
    let folder = folder(&config);
    fs::write(folder.path().join("shop.py"), APP).unwrap();
    // Spans are sent to the configured collector, never to a proxy.
    let server = Server::start(folder, &["--access-log"], &[("ALL_PROXY", "http://127.0.0.1:1")]);
    server.until_ready();
    server
}

/// Returns the value of an attribute.
fn attribute(span: &Value, key: &str) -> Value {
    let found = span["attributes"].as_array().unwrap().iter().find(|each| each["key"] == key);
    found.map_or(Value::Null, |each| each["value"].as_object().unwrap().values().next().unwrap().clone())
}

/// R50: one trace has the call, each wait, both attempts, the run and the span of the handler, joined by their parents.
#[test]
fn r50_one_trace_leads_from_http_into_python_over_both_attempts() {
    let collector = Collector::start();
    let server = server(collector.address, "0");
    let marker = server.file("marker");
    let body = json!({ "collector": format!("http://{}/v1/traces", collector.address), "marker": marker }).to_string();
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let headers: &[(&str, &str)] = &[
        ("traceparent", &parent),
        ("tracestate", "vendor=\"1\""),
        ("Herder-Session", "ann"),
        ("Herder-Affinity", "hint"),
    ];
    assert_eq!(server.call("shop/price", &body, headers).result(), "vendor=\"1\"");
    let spans = collector.until(7);
    let named = |name: &str| spans.iter().filter(|span| span["name"] == name).cloned().collect::<Vec<_>>();
    let [call, run, python] = ["shop/price", "run", "in python"].map(|name| named(name).pop().expect(name));
    let [first, second]: [Value; 2] = named("attempt").try_into().unwrap();
    assert_eq!((spans.len(), named("queue").len()), (7, 2), "{spans:#?}");
    assert!(spans.iter().all(|span| span["traceId"] == TRACE), "{spans:#?}");
    assert_eq!((&call["parentSpanId"], &call["kind"]), (&"b7ad6b7169203331".into(), &2.into()));
    for span in named("queue").iter().chain([&first, &second]) {
        assert_eq!(span["parentSpanId"], call["spanId"]);
    }
    assert_eq!((&run["parentSpanId"], &python["parentSpanId"]), (&second["spanId"], &second["spanId"]));
    let described = |span| {
        ["worker", "generation", "outcome", "attempt", "session"].map(|key| attribute(span, &format!("herder.{key}")))
    };
    assert_eq!(described(&first), ["w1", "1", "worker-lost", "1", "ann"].map(Value::from));
    assert_eq!(described(&second), ["w1", "2", "ok", "2", "ann"].map(Value::from));
    assert_eq!(
        (&first["status"]["code"], &second["status"]["code"], &call["status"]["code"]),
        (&2.into(), &0.into(), &0.into())
    );
    let nanos = |span: &Value, key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
    let is_inside = |inner: &Value, outer: &Value| {
        nanos(inner, "startTimeUnixNano") >= nanos(outer, "startTimeUnixNano")
            && nanos(inner, "endTimeUnixNano") <= nanos(outer, "endTimeUnixNano")
    };
    assert!(is_inside(&run, &second) && is_inside(&second, &call) && is_inside(&first, &call), "{spans:#?}");
    assert!(nanos(&first, "endTimeUnixNano") <= nanos(&second, "startTimeUnixNano"), "{spans:#?}");
}

/// R50: the sampled flag of the caller is honoured; without a caller's trace, the configuration decides. What is not recorded
/// still reaches the handler. Spans that the collector rejects are counted as lost.
#[test]
fn r50_only_sampled_calls_are_recorded() {
    let collector = Collector::start();
    let mut never = server(collector.address, "0.0");
    let unsampled = format!("00-{TRACE}-b7ad6b7169203331-00");
    assert_eq!(never.call("shop/trace", "{}", &[("traceparent", &unsampled)]).result(), unsampled.as_str());
    for headers in [&[("traceparent", "00-0-0-01")][..], &[]] {
        assert!(never.call("shop/trace", "{}", headers).result().is_null());
    }
    never.signal(Signal::TERM);
    assert_eq!(never.wait().code(), Some(0));
    assert!(collector.spans().is_empty(), "what was recorded would have been exported before the exit");
    collector.rejects.store(true, Ordering::SeqCst);
    let mut always = server(collector.address, "1");
    let given = always.call("shop/trace", "{}", &[]).result().clone();
    let failed = always.call("shop/fail", "{}", &[]);
    failed.problem(500, "exception");
    let spans = collector.until(8);
    let calls: Vec<_> = spans.iter().filter(|span| span["parentSpanId"].is_null()).collect();
    assert_eq!((spans.len(), calls.len(), &calls[0]["name"]), (8, 2, &"shop/trace".into()), "{spans:#?}");
    let attempt = spans.iter().find(|span| span["name"] == "attempt").unwrap();
    let [trace, span] = ["traceId", "spanId"].map(|key| attempt[key].as_str().unwrap());
    assert_eq!(given, Value::from(format!("00-{trace}-{span}-03")));
    assert_eq!((attribute(calls[1], "error.type"), &calls[1]["status"]["code"]), ("exception".into(), &2.into()));
    let error_id = format!("error_id={} ", failed.json["error_id"].as_str().unwrap());
    for (call, error_id) in calls.iter().zip([None, Some(error_id)]) {
        let trace = format!("trace_id=\"{}\"", call["traceId"].as_str().unwrap());
        let is_meant = |line: &&str| line.contains("herder::access: request ") && line.contains(&trace);
        wait_until("the request is logged with the trace", || always.log().lines().any(|line| is_meant(&line)));
        let log = always.log();
        let line = log.lines().find(is_meant).unwrap();
        assert_eq!(line.contains("error_id="), error_id.is_some(), "{line}");
        assert!(error_id.is_none_or(|id| line.contains(&id)), "{line}");
    }
    always.signal(Signal::TERM);
    assert_eq!(always.wait().code(), Some(0));
    let log = always.log();
    assert!(log.contains("the collector has rejected spans") && log.contains("dropped=8"), "{log}");
}

/// R50: a collector that does not exist fails no call and delays no exit; the spans are counted, also in the metrics.
#[test]
fn r50_a_missing_collector_fails_nothing() {
    let missing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut server = server(missing, "1");
    for _ in 0..20 {
        assert_eq!(server.call("shop/trace", "{}", &[]).status, 200);
    }
    wait_until("the metrics have the spans", || {
        let metrics = get("/metrics").send(server.address).body;
        metrics.contains("\nherder_trace_spans_dropped_total 80\n")
    });
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    let log = server.log();
    assert!(log.contains("check that a collector listens there") && log.contains("dropped=80"), "{log}");
}

/// The commands of `docs/traces.md` work on its app, with its configuration and its collector, which prints each span.
#[test]
#[expect(clippy::disallowed_methods, reason = "the collector of the page is a process of its own, and is reaped below")]
fn r50_the_run_through_of_the_page_works() {
    let page = include_str!("../../../docs/traces.md");
    let block = |kind: &str, number: usize| page.split(kind).nth(number).unwrap().split("```").next().unwrap();
    // Below the ports that the system gives away: another test could get this one before the collector listens.
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    // Two runs at once begin at different ports.
    let first = 20_000 + u16::try_from(std::process::id() % 9_000).unwrap();
    let port = (first..30_000).find(is_free).unwrap().to_string();
    let folder = folder(&block("```toml\n", 1).replace("4318", &port));
    fs::write(folder.path().join("shop.py"), block("```python\n", 1)).unwrap();
    fs::write(folder.path().join("collector.py"), block("```python\n", 2)).unwrap();
    let printed = fs::File::create(folder.path().join("printed")).unwrap();
    let mut python = Command::new("python3");
    python.args(["collector.py", &port]).current_dir(folder.path()).stdout(printed).stderr(Stdio::null());
    let mut collector = python.spawn().unwrap();
    let server = Server::start(folder, &[], &[]);
    server.until_ready();
    wait_until("the collector listens", || TcpStream::connect(format!("127.0.0.1:{port}")).is_ok());
    let (command, shown) = block("```console\n", 1).trim().strip_prefix("$ ").unwrap().split_once('\n').unwrap();
    let output = sh(server.folder.path(), &command.replace("http://127.0.0.1:7878", &server.url()));
    let keys = |text: &[u8]| {
        let reply: Value = serde_json::from_slice(text).unwrap();
        let keys: Vec<_> = reply["meta"].as_object().unwrap().keys().cloned().collect();
        let trace = reply["result"][1].as_str().unwrap();
        (keys, reply["result"][0].clone(), trace[..36].to_owned(), trace[52..].to_owned())
    };
    assert_eq!(keys(&output.stdout), keys(shown.as_bytes()));
    let lines = || fs::read_to_string(server.file("printed")).unwrap();
    wait_until("the spans are printed", || lines().lines().count() == 4);
    let names = |text: &str| text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&lines()), names(block("```text\n", 1)));
    collector.kill().unwrap();
    collector.wait().unwrap();
}
