//! The operations of the endpoints for MCP, which exist only if MCP is on. Pure data.

use serde_json::{Map, Value, json};

/// Returns the paths: that of each pool, and with `of_all` that of all pools.
pub(super) fn paths(of_all: bool) -> Vec<(String, Map<String, Value>)> {
    let mut of_pool = item("Pool routes", "OfPool", "the commands of the pool");
    of_pool.insert("parameters".to_owned(), json!([{ "$ref": "#/components/parameters/Pool" }]));
    let mut paths = vec![("/v1/pools/{pool}/mcp".to_owned(), of_pool)];
    if of_all {
        paths.push(("/mcp".to_owned(), item("Server routes", "", "the commands of all pools")));
    }
    paths
}

fn item(tag: &str, suffix: &str, tools: &str) -> Map<String, Value> {
    let post = json!({
        "tags": [tag], "operationId": format!("sendMcpMessage{suffix}"),
        "summary": format!("A message of the Model Context Protocol: {tools} are tools"),
        "parameters": [header("Mcp-Session-Id", "The session, in versions that have one."), header("MCP-Protocol-Version", "The version of the protocol.")],
        "requestBody": {
            "required": true, "description": "A JSON-RPC request or notification.",
            "content": { "application/json": { "schema": { "type": "object" } } },
        },
        "responses": {
            "200": { "description": "The JSON-RPC response.", "content": { "application/json": { "schema": { "type": "object" } } } },
            "202": { "description": "The notification was accepted." },
            "400": refused("The message, a header or the version is invalid; `bad-header`, `unknown-header`, `bad-body`, `bad-request`"),
            "404": refused("There is no such session or method; `unknown-pool`"),
            "408": response("CallTimeout"), "413": response("TooLarge"), "500": response("Internal"), "503": response("CallUnavailable"),
            "504": response("DeadlineExceeded"),
        },
    });
    let delete = json!({
        "tags": [tag], "operationId": format!("endMcpSession{suffix}"), "summary": "End the session of an MCP client",
        "parameters": [header("Mcp-Session-Id", "The session.")],
        "responses": {
            "204": { "description": "The session has ended." },
            "400": refused("A header is missing or invalid; `bad-request`"),
            "404": refused("There is no such session; `unknown-pool`"),
        },
    });
    Map::from_iter([("post".to_owned(), post), ("delete".to_owned(), delete)])
}

/// Returns a response that is a JSON-RPC error or, before the message is read, a problem.
fn refused(description: &str) -> Value {
    json!({
        "description": description,
        "content": {
            "application/json": { "schema": { "type": "object" } },
            "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } },
        },
    })
}

fn header(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "header", "description": description, "schema": { "type": "string" } })
}

fn response(name: &str) -> Value {
    json!({ "$ref": format!("#/components/responses/{name}") })
}
