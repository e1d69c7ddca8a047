//! `GET /openapi.json` and `GET /docs`: the document describes what the server answers, and who may read both.

use crate::support::{APP, Reply, Request, Server, folder, get};
use serde_json::{Value, json};
use std::fs;

const TYPED: &str = r#"
from dataclasses import dataclass
from typing import Literal

@dataclass
class Line:
    sku: str
    count: int = 1

@app.command
def order(lines: list[Line], notify: Literal["mail", "none"] = "none") -> list[Line]:
    """Place an order."""
    return lines

@app.command
def teapot():
    raise herder.Rejected("no coffee", status=418, data={"left": 0})
"#;
const CONFIG: &str = "[pools.plain]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n\
     [pools.carts]\nworker_type = 'enhanced'\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n";

fn server(more: &str) -> Server {
    let folder = folder(&format!("{CONFIG}{more}"));
    fs::write(folder.path().join("app.py"), format!("{APP}{TYPED}")).unwrap();
    let server = Server::start(folder, &[], &[]);
    server.until_ready();
    server
}

/// A document with the checks of its parts.
struct Document(Value);

impl Document {
    fn of(server: &Server) -> Self {
        let reply = server.get("/openapi.json");
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")), "{reply:?}");
        Self(reply.json)
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let Some(reference) = value["$ref"].as_str() else { return value };
        let part = self.0.pointer(&reference[1..]);
        assert!(part.is_some(), "{reference} leads nowhere");
        self.resolve(part.unwrap())
    }

    /// Checks that a response is documented under this path and method: its status, its content type and its body.
    #[track_caller]
    fn check(&self, path: &str, method: &str, reply: &Reply) {
        let operation = &self.0["paths"][path][method];
        let status = reply.status.to_string();
        let responses = &operation["responses"];
        let response = self.resolve(responses.get(&status).unwrap_or(&responses["4XX"]));
        assert!(response.is_object(), "{method} {path}: {status} is undocumented: {reply:?}");
        let content = response["content"].as_object();
        assert_eq!(content.is_none(), reply.body.is_empty(), "{method} {path}: {reply:?}");
        let Some(content) = content else { return };
        let schema = &content[reply.header("content-type").unwrap()]["schema"];
        let wrong = self.wrong(schema, &reply.json, "body");
        assert!(wrong.is_empty(), "{method} {path} {status}: {wrong:#?}");
        if reply.status >= 400 {
            let slug = reply.json["type"].as_str().and_then(|text| text.rsplit('/').next()).unwrap();
            let described = response["description"].as_str().unwrap();
            assert!(described.contains(&format!("`{slug}`")), "{method} {path}: {slug} is not in {described:?}");
        }
    }

    /// Returns what is wrong with a value, by those keywords that the schemas of fixed routes have.
    fn wrong(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let schema = self.resolve(schema);
        let mut wrong = Vec::new();
        let types: Vec<&str> = match &schema["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        if !types.is_empty() && !types.iter().any(|name| is_of_type(value, name)) {
            wrong.push(format!("{at} is not {types:?}: {value}"));
        }
        if schema["enum"].as_array().is_some_and(|allowed| !allowed.contains(value)) {
            wrong.push(format!("{at} is not one of {}: {value}", schema["enum"]));
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if value.is_object() && value.get(name).is_none() {
                wrong.push(format!("{at}.{name} is missing"));
            }
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            wrong.extend(self.wrong(part, value, at));
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let fits = choices.iter().filter(|choice| self.wrong(choice, value, at).is_empty()).count();
            if fits != 1 {
                wrong.push(format!("{at} fits {fits} of {}: {value}", schema["oneOf"]));
            }
        }
        for (name, member) in value.as_object().into_iter().flatten() {
            let of_name = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
            if let Some(of_name) = of_name {
                wrong.extend(self.wrong(of_name, member, &format!("{at}.{name}")));
            }
        }
        for item in value.as_array().into_iter().flatten() {
            wrong.extend(self.wrong(&schema["items"], item, &format!("{at}[]")));
        }
        wrong
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

/// Requests that are no calls: their path in the document, their method and their path.
const REQUESTS: &[(&str, &str, &str)] = &[
    ("/healthz", "get", "/healthz"),
    ("/readyz", "get", "/readyz"),
    ("/v1/pools", "get", "/v1/pools"),
    ("/v1/pools/{pool}", "get", "/v1/pools/plain"),
    ("/v1/pools/{pool}", "get", "/v1/pools/forked"),
    ("/v1/pools/{pool}", "get", "/v1/pools/none"),
    ("/v1/pools/{pool}/commands", "get", "/v1/pools/carts/commands"),
    ("/v1/pools/{pool}/commands/{command}", "patch", "/v1/pools/carts/commands/count?max_wait=1ms"),
    ("/v1/pools/{pool}/commands/{command}", "patch", "/v1/pools/carts/commands/count?max_wait=soon"),
    ("/v1/pools/{pool}/commands/{command}", "patch", "/v1/pools/carts/commands/count?max_batch_size=65537"),
    ("/v1/pools/{pool}/workers", "get", "/v1/pools/carts/workers"),
    ("/v1/pools/{pool}/workers/{id}/recorder", "get", "/v1/pools/plain/workers/w1/recorder"),
    ("/v1/pools/{pool}/workers/{id}/recorder", "get", "/v1/pools/plain/workers/w7/recorder"),
    ("/v1/pools/{pool}/workers/{id}/recorder", "get", "/v1/pools/plain/workers/w1/recorder?x=1"),
    ("/v1/pools/{pool}/breaker", "get", "/v1/pools/plain/breaker"),
    ("/v1/pools/{pool}/breaker/reset", "post", "/v1/pools/plain/breaker/reset"),
    ("/v1/pools/{pool}/log-level", "get", "/v1/pools/plain/log-level"),
    ("/v1/pools/{pool}/log-level", "put", "/v1/pools/plain/log-level"),
    ("/v1/pools/{pool}/quarantine", "get", "/v1/pools/plain/quarantine"),
    ("/v1/pools/{pool}/quarantine/{fingerprint}", "delete", "/v1/pools/plain/quarantine/0123456789abcdef"),
    ("/v1/pools/{pool}/sessions/{id}", "get", "/v1/pools/carts/sessions/none"),
    ("/v1/pools/{pool}/sessions/{id}", "delete", "/v1/pools/carts/sessions/%00"),
    ("/v1/pools/{pool}/sessions/{id}/why", "get", "/v1/pools/plain/sessions/ann/why"),
];

/// R73: every status, content type and body that the server answers is in the document.
#[test]
fn r73_what_the_server_answers_is_documented() {
    let server = server("[pools.forked]\napp = 'app.py:app'\nlazy = true\nstart = 'template'\n");
    let document = Document::of(&server);
    let status = server.get("/v1/pools/forked").json;
    let documented = &document.0["components"]["schemas"]["Status"]["properties"];
    let undocumented: Vec<_> = status.as_object().unwrap().keys().filter(|key| documented.get(key).is_none()).collect();
    assert!(status["template"].is_object() && undocumented.is_empty(), "{undocumented:?} in {status}");
    for (path, method, request) in REQUESTS {
        let reply = Request::new(&method.to_uppercase(), request, "").send(server.address);
        document.check(path, method, &reply);
    }
    let ann: &[(&str, &str)] = &[("Herder-Session", "ann")];
    for (command, body, headers, status) in [
        ("order", r#"{"lines": [{"sku": "tea"}]}"#, ann, 200),
        ("count", "{}", ann, 200),
        ("order", r#"{"lines": 1}"#, &[], 422),
        ("order", "{", &[], 400),
        ("refuse", "{}", &[], 422),
        ("teapot", "{}", &[], 418),
        ("fail", "{}", &[], 500),
        ("wait", r#"{"file": "none"}"#, &[("Herder-Timeout", "1ms")], 504),
        ("die", "{}", &[], 502),
        ("pid", "{}", &[("Herder-Session", "new"), ("Herder-If-Absent", "reject")], 404),
        ("pid", "{}", &[("Herder-Sesion", "ann")], 400),
        ("pid", "{}", &[("Origin", "http://other.example")], 403),
        ("pid", "{}", &[("Expect", "x")], 417),
    ] {
        let reply = server.call(&format!("carts/{command}"), body, headers);
        assert_eq!(reply.status, status, "{reply:?}");
        document.check(&format!("/v1/pools/carts/call/{command}"), "post", &reply);
    }
    for request in ["/v1/pools/carts/sessions", "/v1/pools/carts/sessions?limit=0", "/v1/pools/none/sessions"] {
        document.check("/v1/pools/{pool}/sessions", "get", &server.get(request));
    }
    document.check("/v1/pools/{pool}/sessions/{id}", "get", &server.get("/v1/pools/carts/sessions/ann"));
    document.check("/v1/pools/{pool}/sessions/{id}/why", "get", &server.get("/v1/pools/carts/sessions/ann/why"));
    document.check("/v1/pools/{pool}", "get", &server.get("/v1/pools/carts"));
    let end = Request::new("DELETE", "/v1/pools/carts/sessions/ann", "").send(server.address);
    document.check("/v1/pools/{pool}/sessions/{id}", "delete", &end);
}

/// The schemas of a command are those that its worker sent, and lead to parts of the document.
#[test]
fn r73_schemas_of_commands_are_components() {
    let document = Document::of(&server(""));
    let order = &document.0["paths"]["/v1/pools/plain/call/order"]["post"];
    assert_eq!(order["summary"], "Place an order.");
    let arguments = &order["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(arguments, &json!({ "$ref": "#/components/schemas/plain.order.arguments" }));
    for (value, fits) in [
        (json!({ "lines": [{ "sku": "tea" }] }), true),
        (json!({ "lines": [{ "count": 1 }] }), false),
        (json!({}), false),
    ] {
        let wrong = document.wrong(arguments, &value, "arguments");
        assert_eq!(wrong.is_empty(), fits, "{value}: {wrong:?}");
    }
}

/// R68: the document names commands, so it needs the token; the page holds no data, and needs none.
#[test]
fn r68_the_document_needs_the_token_and_the_page_does_not() {
    let server = server("[server]\ntoken = 's3cret'\n");
    let document = get("/openapi.json");
    document.send(server.address).problem(401, "token-missing");
    let reply = document.header("Authorization", "Bearer s3cret").send(server.address);
    assert_eq!(reply.json["security"], json!([{ "token": [] }]));
    for (path, content_type) in [
        ("/docs", "text/html"),
        ("/docs/page.css", "text/css"),
        ("/docs/page.js", "text/javascript"),
        ("/", "text/html"),
        ("/ui/page.css", "text/css"),
        ("/ui/main.js", "text/javascript"),
    ] {
        let page = server.get(path);
        assert!(page.status == 200 && page.header("content-type").unwrap().starts_with(content_type), "{page:?}");
        assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'; script-src 'self'"));
        assert!(page.header("content-security-policy").unwrap().ends_with("frame-ancestors 'none'"));
        assert!(!page.body.contains("carts") && !page.body.contains("http://") && !page.body.contains("innerHTML"));
        get(path).header("Host", "evil.example").send(server.address).problem(403, "foreign-host");
        get(path).header("Sec-Fetch-Site", "cross-site").send(server.address).problem(403, "foreign-site");
    }
    assert!(!server.get("/docs").body.contains("<style") && !server.get("/docs").body.contains("onclick"));
}

#[test]
fn r68_the_document_and_the_page_can_be_turned_off() {
    let one = "[pools.plain]\napp = 'app.py:app'\npool_size = 1\n[server]\n";
    let off = Server::start(folder(&format!("{one}docs = false\npage = false\n")), &[], &[]);
    let elsewhere = Server::start(folder(&format!("{one}token = 's'\n")), &["--listen", "0.0.0.0:0"], &[]);
    for (server, path) in [off, elsewhere]
        .iter()
        .flat_map(|server| ["/openapi.json", "/docs", "/docs/page.js", "/", "/ui/dom.js"].map(|path| (server, path)))
    {
        let request = get(path).header("Host", "localhost").header("Authorization", "Bearer s");
        let reply = request.send(([127, 0, 0, 1], server.address.port()).into());
        let detail = reply.problem(404, "no-route")["detail"].as_str().unwrap();
        let option = match path {
            "/" => "--page true",
            "/ui/dom.js" => "not found",
            _ => "--docs true",
        };
        assert!(detail.contains(option), "{path}: {detail}");
    }
    let on = Server::start(folder(&format!("{one}docs = false\nmetrics = false\n")), &["--docs", "true"], &[]);
    let document = on.get("/openapi.json");
    assert_eq!((on.get("/docs").status, document.status), (200, 200));
    on.get("/metrics").problem(404, "no-route");
    assert!(document.json["paths"].get("/metrics").is_none());
    let page = Server::start(folder(&format!("{one}docs = false\npage = false\n")), &["--page", "true"], &[]);
    assert_eq!(["/", "/ui/dom.js", "/ui/none.js", "/docs"].map(|path| page.get(path).status), [200, 200, 404, 404]);
}
