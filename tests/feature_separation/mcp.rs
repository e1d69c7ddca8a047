//! MCP and the flags of enhanced pools (R9, R73): only pools with session affinity have sessions of MCP clients, whatever the other
//! flags are.

use super::{basic, enhanced};
use actix_web::{
    App,
    test::{TestRequest, call_and_read_body, init_service},
};
use herder::{http::Api, testing::TestPool};
use serde_json::{Value, json};

/// Sends a request of the revision that has no sessions to the endpoint of the pool, and returns its result.
macro_rules! ask {
    ($app:expr, $method:expr, $params:expr) => {{
        let mut params: Value = $params;
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let mut request = TestRequest::post()
            .uri("/mcp")
            .insert_header(("MCP-Protocol-Version", "2026-07-28"))
            .insert_header(("Mcp-Method", $method));
        if let Some(name) = params["name"].as_str() {
            request = request.insert_header(("Mcp-Name", name));
        }
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": $method, "params": params }).to_string();
        let read = call_and_read_body($app, request.set_payload(body).to_request()).await;
        let answer: Value = serde_json::from_slice(&read).unwrap();
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }};
}

/// Asserts that the endpoint of a pool has sessions or has none: the tools for them, the argument of the others, and the state.
async fn check(pool: &TestPool, has_sessions: bool) {
    let app = init_service(App::new().configure(Api::new([(**pool).clone()]).mcp(true).routes())).await;
    let listed = ask!(&app, "tools/list", json!({}));
    let tools = listed["tools"].as_array().unwrap();
    let named = |name: &str| tools.iter().find(|tool| tool["name"] == name);
    for tool in ["herder_create_session", "herder_end_session"] {
        assert_eq!(named(tool).is_some(), has_sessions, "{tool} {listed}");
    }
    let argument = &named("count").unwrap()["inputSchema"]["properties"]["herder_session"];
    assert_eq!(argument.is_object(), has_sessions, "{listed}");
    let echoed = ask!(&app, "tools/call", json!({ "name": "echo", "arguments": { "x": 1 } }));
    assert_eq!((&echoed["isError"], &echoed["_meta"]["herder/call"]["routing"]), (&json!(false), &json!("unrouted")));
    if has_sessions {
        let begun = ask!(&app, "tools/call", json!({ "name": "herder_create_session" }))["structuredContent"].clone();
        for expected in [1, 2] {
            let counted = ask!(&app, "tools/call", json!({ "name": "count", "arguments": begun }));
            assert_eq!(counted["structuredContent"], expected, "{counted}");
        }
    } else {
        let unknown = TestRequest::post()
            .uri("/mcp")
            .insert_header(("MCP-Protocol-Version", "2025-06-18"))
            .set_payload(json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {} }).to_string());
        let begun = actix_web::test::call_service(&app, unknown.to_request()).await;
        let session = begun.headers().get("mcp-session-id").unwrap().clone();
        let body =
            json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": "pid", "arguments": {} } });
        let call = TestRequest::post()
            .uri("/mcp")
            .insert_header(("MCP-Protocol-Version", "2025-06-18"))
            .insert_header(("Mcp-Session-Id", session))
            .set_payload(body.to_string());
        let read = call_and_read_body(&app, call.to_request()).await;
        let answer: Value = serde_json::from_slice(&read).unwrap();
        assert_eq!(answer["result"]["_meta"]["herder/call"]["routing"], "unrouted", "{answer}");
        assert!(pool.sessions(0, 10).await.unwrap().sessions.is_empty(), "a client's session is none of the pool");
    }
}

#[actix_web::test]
async fn r9_sessions_of_mcp_clients_follow_session_affinity_alone() {
    let plain = basic().await;
    check(&plain, false).await;
    plain.shutdown_and_check().await;
    for (affinity, others) in [(true, true), (true, false), (false, true), (false, false)] {
        let pool = enhanced(|builder| {
            builder.session_affinity(affinity).worker_metrics(others).state_machine(others).pool_size(1)
        })
        .await;
        check(&pool, affinity).await;
        pool.shutdown_and_check().await;
    }
}
