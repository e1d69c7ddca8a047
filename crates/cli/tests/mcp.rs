//! The endpoint for the Model Context Protocol, with raw requests and real workers: both kinds of revisions, sessions,
//! errors, cancellation.

use crate::support::{APP, Reply, Request, Server, folder, get, post, wait_until};
use serde_json::{Value, json};
use std::{fs, thread};

const BOTH: &str = "[server]\nmcp = true\n\
    [pools.plain]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\ntimeout = '10m'\n\
    [pools.kept]\nworker_type = 'enhanced'\napp = 'app.py:app'\npool_size = 2\noverflow = 0\n";
const STATELESS: &str = "2026-07-28";

fn message(id: u64, method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

/// A client of a revision with sessions.
struct Client<'a> {
    server: &'a Server,
    path: &'static str,
    session: String,
}

impl<'a> Client<'a> {
    fn start(server: &'a Server, path: &'static str) -> Self {
        let asked = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
        let begun = post(path, &message(0, "initialize", &asked)).send(server.address);
        assert_eq!(begun.json["result"]["protocolVersion"], "2025-06-18", "{begun:?}");
        assert_eq!(begun.json["result"]["capabilities"], json!({ "tools": {} }));
        let session = begun.header("mcp-session-id").unwrap().to_owned();
        let client = Self { server, path, session };
        let body = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let accepted = client.post(&body.to_string()).send(server.address);
        assert_eq!((accepted.status, accepted.body.as_str()), (202, ""));
        client
    }

    fn post(&self, body: &str) -> Request {
        self.with_session(post(self.path, body))
    }

    fn with_session(&self, request: Request) -> Request {
        request.header("Mcp-Session-Id", &self.session).header("MCP-Protocol-Version", "2025-06-18")
    }

    fn ask(&self, id: u64, method: &str, params: &Value) -> Value {
        let reply = self.post(&message(id, method, params)).send(self.server.address);
        assert_eq!((reply.status, &reply.json["id"]), (200, &json!(id)), "{reply:?}");
        reply.json
    }

    fn call(&self, tool: &str, arguments: &Value) -> Value {
        self.ask(7, "tools/call", &json!({ "name": tool, "arguments": arguments }))["result"].clone()
    }
}

/// Makes a request of the revision without sessions.
fn stateless(server: &Server, method: &str, params: Value) -> Reply {
    stateless_request("/mcp", method, params).send(server.address)
}

pub(crate) fn stateless_request(path: &str, method: &str, mut params: Value) -> Request {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": STATELESS,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let mut request = post(path, &message(1, method, &params));
    request = request.header("MCP-Protocol-Version", STATELESS).header("Mcp-Method", method);
    if let Some(name) = params["name"].as_str() {
        request = request.header("Mcp-Name", name);
    }
    request
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap()
}

fn names(tools: &Value) -> Vec<&str> {
    tools.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

/// R73: the session of a client is the session of its calls: its state stays with one worker. A pool without affinity gets no
/// session, and both end with it.
#[test]
fn r73_a_session_keeps_its_state_in_an_enhanced_pool_only() {
    let server = Server::with(BOTH);
    let (ann, bob) = (Client::start(&server, "/mcp"), Client::start(&server, "/mcp"));
    let places: Vec<_> = (1..=4)
        .map(|expected| {
            let counted = ann.call("kept.count", &json!({}));
            assert_eq!((text(&counted), &counted["isError"]), (expected.to_string().as_str(), &json!(false)));
            assert_eq!(counted["structuredContent"], Value::Null, "only objects are structured results");
            counted["_meta"]["herder/call"]["worker"].clone()
        })
        .collect();
    assert!(places.iter().all(|place| *place == places[0]), "{places:?}");
    assert_eq!(text(&bob.call("kept.count", &json!({}))), "1");
    let echoed = ann.call("plain.echo", &json!({ "x": [1, "ä"] }));
    assert_eq!((&echoed["structuredContent"], text(&echoed)), (&json!({ "x": [1, "ä"] }), r#"{"x":[1,"ä"]}"#));
    assert_eq!(echoed["_meta"]["herder/call"]["routing"], "unrouted");
    assert_eq!(server.get("/v1/pools/plain/sessions").json["sessions"], json!([]), "a basic pool gets no session");
    let session = format!("/v1/pools/kept/sessions/{}", ann.session);
    assert_eq!(server.get(&session).json["operations"], 4);

    let end = || ann.with_session(Request::new("DELETE", "/mcp", "")).send(server.address).status;
    assert_eq!((end(), end()), (204, 404));
    server.get(&session).problem(404, "session-not-found");
    let late = ann.post(&message(1, "ping", &json!({}))).send(server.address);
    assert_eq!((late.status, &late.json["id"]), (404, &json!(1)), "the client must begin a new session");
    assert_eq!(text(&bob.call("kept.count", &json!({}))), "2");
}

/// R73: without sessions of the protocol, a tool returns a handle, and the other tools take it as an argument.
#[test]
fn r73_a_handle_names_the_session_where_the_protocol_has_none() {
    let server = Server::with(BOTH);
    let discovered = stateless(&server, "server/discover", json!({})).json["result"].clone();
    assert_eq!(discovered["supportedVersions"][0], STATELESS);
    assert_eq!((&discovered["resultType"], &discovered["cacheScope"]), (&json!("complete"), &json!("private")));
    let listed = stateless(&server, "tools/list", json!({})).json["result"]["tools"].clone();
    let tool = |name: &str| &listed.as_array().unwrap()[names(&listed).iter().position(|each| *each == name).unwrap()];
    assert!(tool("kept.count")["inputSchema"]["properties"]["herder_session"].is_object(), "{listed}");
    assert!(tool("plain.echo")["inputSchema"]["properties"].get("herder_session").is_none(), "{listed}");

    let call = |name: &str, arguments: Value| {
        let reply = stateless(&server, "tools/call", json!({ "name": name, "arguments": arguments }));
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json["result"].clone()
    };
    let begun = call("herder_create_session", json!({}));
    assert_eq!(begun["structuredContent"]["herder_session"].as_str().unwrap().len(), 32);
    let handle = begun["structuredContent"].clone();
    for expected in 1..=3 {
        let counted = call("kept.count", handle.clone());
        assert_eq!(counted["structuredContent"], expected, "{counted}");
    }
    let unknown = call("kept.count", json!({ "herder_session": "0".repeat(32) }));
    assert!(unknown["isError"] == true && text(&unknown).contains("herder_create_session"), "{unknown}");
    // The pool has lost the session, and the model must not assume its state.
    let path = format!("/v1/pools/kept/sessions/{}", handle["herder_session"].as_str().unwrap());
    assert_eq!(Request::new("DELETE", &path, "").send(server.address).status, 204);
    let lost = call("kept.count", handle.clone());
    assert_eq!(
        (&lost["isError"], &lost["_meta"]["herder/problem"]["title"]),
        (&json!(true), &json!("session not found"))
    );
    assert_eq!(call("herder_end_session", handle.clone())["isError"], false);
    assert_eq!(call("herder_end_session", handle)["isError"], true);
}

/// R73: an argument with the name of the handle belongs to a command that has such a parameter: it gets the value, of any type,
/// and its calls have no session.
#[test]
fn r73_parameter_with_the_name_of_the_handle_belongs_to_its_command() {
    let app = "\n@app.command\ndef own(herder_session: int, n: int = 0) -> list:\n    return [herder_session, n]\n";
    let folder = folder(BOTH);
    fs::write(folder.path().join("app.py"), format!("{APP}{app}")).unwrap();
    let server = Server::start(folder, &[], &[]);
    server.until_ready();
    let call = |name: &str, arguments: Value| {
        stateless(&server, "tools/call", json!({ "name": name, "arguments": arguments })).json["result"].clone()
    };
    let listed = stateless(&server, "tools/list", json!({})).json["result"]["tools"].clone();
    let own = &listed.as_array().unwrap()[names(&listed).iter().position(|name| *name == "kept.own").unwrap()];
    assert_eq!(own["inputSchema"]["properties"]["herder_session"]["type"], "integer", "{own}");
    let answered = call("kept.own", json!({ "n": 2, "herder_session": 7 }));
    assert_eq!(answered["structuredContent"], json!([7, 2]), "{answered}");
    assert_eq!(answered["_meta"]["herder/call"]["routing"], "unrouted");
    let begun = call("herder_create_session", json!({}))["structuredContent"].clone();
    assert_eq!(call("kept.count", begun)["structuredContent"], 1, "other commands take the handle");
}

/// R73: every command is a tool. At the endpoint of a pool, tools have the names of its commands.
#[test]
fn r73_every_command_is_a_tool() {
    let server = Server::with(BOTH);
    let (all, one) = (Client::start(&server, "/mcp"), Client::start(&server, "/v1/pools/kept/mcp"));
    let listed = one.ask(1, "tools/list", &json!({}))["result"].clone();
    assert!(listed.get("nextCursor").is_none() && listed.get("ttlMs").is_none(), "{listed}");
    let commands = names(&listed["tools"]);
    assert!(commands.contains(&"echo") && !commands.contains(&"herder_create_session"), "{commands:?}");
    for tool in listed["tools"].as_array().unwrap() {
        assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
    }
    let wait = &listed["tools"][commands.iter().position(|name| *name == "wait").unwrap()];
    assert_eq!(wait["inputSchema"]["required"], json!(["file"]), "{wait}");
    let of_all = all.ask(1, "tools/list", &json!({}))["result"]["tools"].clone();
    assert_eq!(names(&of_all).len(), 2 * commands.len());
    assert!(names(&of_all).contains(&"plain.echo"), "{of_all}");
    assert_eq!(text(&one.call("count", &json!({}))), "1");
    let elsewhere = all.session.clone();
    let crossed = post("/v1/pools/kept/mcp", &message(1, "ping", &json!({}))).header("Mcp-Session-Id", &elsewhere);
    assert_eq!(crossed.send(server.address).status, 404, "a session belongs to its endpoint");
    assert_eq!(all.ask(1, "tools/list", &json!({ "cursor": "x" }))["error"]["code"], -32602);
}

/// R73: errors of calls are results that a model can read; errors of messages have the codes of JSON-RPC.
#[test]
fn r73_errors_of_calls_and_of_messages() {
    let server = Server::with(BOTH);
    let client = Client::start(&server, "/mcp");
    for (tool, arguments, title, part) in [
        ("plain.wait", json!({ "file": 7 }), "bad arguments", "file"),
        ("plain.fail", json!({}), "exception", "on purpose"),
        ("plain.refuse", json!({}), "rejected", "not today"),
    ] {
        let failed = client.call(tool, &arguments);
        assert!(failed["isError"] == true && text(&failed).contains(part), "{failed}");
        assert_eq!(failed["_meta"]["herder/problem"]["title"], title);
    }
    for tool in ["plain.nope", "nope.echo", "nope"] {
        let unknown = client.ask(1, "tools/call", &json!({ "name": tool }));
        assert_eq!(unknown["error"], json!({ "code": -32602, "message": format!("Unknown tool: {tool}") }));
    }
    assert_eq!(client.ask(1, "ping", &json!({}))["result"], json!({}));
    assert_eq!(client.ask(1, "resources/list", &json!({}))["error"]["code"], -32601);
    assert_eq!(client.ask(1, "tools/call", &json!({}))["error"]["code"], -32602);
    let surrogate =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"plain.echo","arguments":{"a":"\ud800"}}}"#;
    assert_eq!(client.post(surrogate).send(server.address).json["error"]["code"], -32602);
    let batch = client.post(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#).send(server.address);
    assert_eq!((batch.status, &batch.json["error"]["code"]), (400, &json!(-32600)));

    let ping = message(1, "ping", &json!({}));
    let without = post("/mcp", &ping).send(server.address);
    assert_eq!((without.status, &without.json["error"]["code"]), (400, &json!(-32600)));
    let version = post("/mcp", &ping).header("MCP-Protocol-Version", "1900-01-01").send(server.address);
    assert_eq!((version.status, &version.json["error"]["data"]["supported"][0]), (400, &json!(STATELESS)));
    let removed = stateless(&server, "ping", json!({}));
    assert_eq!((removed.status, &removed.json["error"]["code"]), (404, &json!(-32601)));
    let stream = get("/mcp").send(server.address);
    stream.problem(405, "wrong-method");
    assert_eq!(stream.header("allow"), Some("POST, DELETE"));
    post("/mcp", &ping).header("Origin", "http://evil.example").send(server.address).problem(403, "foreign-origin");
}

/// R73: a notification cancels the call that it names, in its own session only.
#[test]
fn r73_a_notification_cancels_a_call() {
    let server = Server::with(BOTH);
    let (ann, bob) = (Client::start(&server, "/mcp"), Client::start(&server, "/mcp"));
    let params = json!({ "name": "plain.wait", "arguments": { "file": server.file("never") } });
    let (request, address) = (ann.post(&message(5, "tools/call", &params)), server.address);
    let waiting = thread::spawn(move || request.send(address));
    server.until_queue("plain", 0, 1);
    let again = ann.post(&message(5, "tools/call", &params)).send(server.address);
    assert_eq!((again.status, &again.json["error"]["code"]), (400, &json!(-32600)), "the id is in use");
    let cancel =
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 5 } }).to_string();
    assert_eq!(bob.post(&cancel).send(server.address).status, 202);
    assert_eq!(server.get("/v1/pools/plain").json["queue"]["in_flight"], 1, "it was not a call of this session");
    assert_eq!(ann.post(&cancel).send(server.address).status, 202);
    wait_until("the worker is free", || server.get("/v1/pools/plain").json["queue"]["in_flight"] == 0);
    assert_eq!(waiting.join().unwrap().json["error"]["code"], -32603);
    fs::write(server.file("now"), "").unwrap();
    let next = ann.ask(5, "tools/call", &json!({ "name": "plain.wait", "arguments": { "file": server.file("now") } }));
    assert_eq!(text(&next["result"]), "waited");
}

/// Without `mcp = true` there is no endpoint. With `--mcp` there is, and it needs the server's token.
#[test]
fn mcp_is_off_by_default_and_needs_the_token() {
    let server = Server::start(folder(""), &["--pool-size", "1"], &[]);
    post("/mcp", "{}").send(server.address).problem(404, "no-route");
    post("/v1/pools/basic/mcp", "{}").send(server.address).problem(404, "no-route");
    let server = Server::start(folder(""), &["--pool-size", "1", "--mcp"], &[("HERDER_TOKEN", "s3cret")]);
    post("/mcp", "{}").send(server.address).problem(401, "token-missing");
    let with_token = post("/mcp", "{}").header("Authorization", "Bearer s3cret").send(server.address);
    assert_eq!((with_token.status, &with_token.json["error"]["code"]), (400, &json!(-32600)));
}
