//! The detail of errors for callers, in full and in brief, and the answers of probes (R38).

use crate::{
    mcp::stateless_request,
    support::{Server, folder, get, wait_until},
};
use serde_json::{Value, json};
use std::fs;

const ONE: &str = "[pools.one]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n";
const SECRET: &str = "postgres://shop:hunter2@db/shop";
const HIDDEN: [&str; 5] = ["traceback", "stack", "stderr_tail", "recorder", "likely_out_of_memory"];

fn server(config: &str, args: &[&str]) -> Server {
    let server = Server::start(folder(config), args, &[]);
    server.until_ready();
    server
}

/// Returns the lines of the log that contain this error's id.
fn logged(server: &Server, problem: &Value) -> String {
    let id = problem["error_id"].as_str().unwrap().to_owned();
    server.until_logged(&id);
    server.log().lines().filter(|line| line.contains(&id)).collect::<Vec<_>>().join("\n")
}

/// R38: a brief error contains an id, but of Python's text only the error itself. The log contains the rest under that
/// id.
#[test]
fn r38_brief_errors_are_found_in_the_log() {
    let by_file = format!("{ONE}[server]\nerrors = 'brief'\n");
    for server in [server(ONE, &["--errors", "brief"]), server(&by_file, &[])] {
        let fail = server.call("one/fail", "{}", &[]);
        let problem = fail.problem(500, "exception");
        assert_eq!(problem["detail"], "ValueError: on purpose");
        assert!(HIDDEN.iter().all(|key| problem[key].is_null()), "{problem}");
        let line = logged(&server, problem);
        assert!(line.contains("WARN") && line.contains("call failed") && line.contains("one"), "{line}");
        assert!(line.contains("raise ValueError") && line.contains("command=\"fail\""), "the traceback: {line}");

        server.call("one/tell", r#"{"text": "a secret"}"#, &[]);
        let died = server.call("one/die", "{}", &[]);
        let problem = died.problem(502, "worker-lost");
        assert!(HIDDEN.iter().all(|key| problem[key].is_null()) && problem["exit_status"] == 3, "{problem}");
        assert!(logged(&server, problem).contains("a secret"));

        for (command, status, slug) in [("refuse", 422, "rejected"), ("nothing", 404, "unknown-command")] {
            let refused = server.call(&format!("one/{command}"), "{}", &[]);
            let line = logged(&server, refused.problem(status, slug));
            assert!(line.contains("INFO") && line.contains("call refused"), "{line}");
        }
        let malformed = server.call("one/echo", "{", &[]);
        assert!(logged(&server, malformed.problem(400, "malformed")).contains("call refused"));
    }
}

/// R38: by default, errors are full on loopback and brief elsewhere.
#[test]
fn r38_errors_are_full_only_on_loopback_by_default() {
    let token = [("Authorization", "Bearer s3cret")];
    let everywhere = ["--listen", "0.0.0.0:0"];
    for (listen, errors, full) in [
        (&[][..], &[][..], true),
        (&everywhere[..], &[][..], false),
        (&everywhere[..], &["--errors", "full"][..], true),
    ] {
        let config = format!("{ONE}[server]\ntoken = 's3cret'\n");
        let server = server(&config, &[listen, errors].concat());
        let fail = server.call("one/fail", "{}", &token);
        let problem = fail.problem(500, "exception");
        assert_eq!(problem["traceback"].is_string(), full, "{problem}");
        assert!(logged(&server, problem).contains("ValueError"));
    }
}

/// R38: on loopback, too, the token of callers shows no more of an error than its type and message, neither over HTTP nor in
/// MCP.
#[test]
fn r38_callers_see_brief_errors_by_default() {
    let config = format!(
        "{ONE}[pools.broken]\napp = 'broken.py:app'\npool_size = 1\nrestart = {{ max = 1, backoff = '1ms' }}\n\
         [server]\ntoken = 'the-admin'\ncall_token = 'the-call'\nmcp = true\n"
    );
    let folder = folder(&config);
    fs::write(folder.path().join("broken.py"), format!("raise RuntimeError('no connection to {SECRET}')\n")).unwrap();
    let server = Server::start(folder, &[], &[]);
    wait_until("one pool has failed, and the other is ready", || {
        let body = get("/readyz").send(server.address).body;
        body.contains("\"failed\"") && !body.contains("pool `one`")
    });
    for (token, full) in [("Bearer the-admin", true), ("Bearer the-call", false)] {
        let fail = server.call("one/fail", "{}", &[("Authorization", token)]);
        let problem = fail.problem(500, "exception");
        assert_eq!(HIDDEN.iter().any(|key| !problem[key].is_null()), full, "{token}: {problem}");
        let failed = server.call("broken/echo", "{}", &[("Authorization", token)]);
        failed.problem(503, "pool-failed");
        assert_eq!(failed.body.contains("hunter2"), full, "{token}: {failed:?}");
        let listed = get("/v1/pools").header("Authorization", token).send(server.address);
        assert!(listed.status == 200 && listed.body.contains("hunter2") == full, "{token}: {listed:?}");

        let mcp = |pool: &str, method: &str, params: Value| {
            let request = stateless_request(&format!("/v1/pools/{pool}/mcp"), method, params);
            request.header("Authorization", token).send(server.address)
        };
        let failed = mcp("one", "tools/call", json!({ "name": "fail" })).json["result"].clone();
        let problem = &failed["_meta"]["herder/problem"];
        assert_eq!((&problem["title"], problem["traceback"].is_string()), (&json!("exception"), full), "{failed}");
        let listed = mcp("broken", "tools/list", json!({}));
        assert_eq!(listed.json["error"]["code"], -32603, "{listed:?}");
        assert_eq!(listed.body.contains("hunter2"), full, "{token}: {listed:?}");
    }
}

/// R38: the reason why a worker does not start is text of Python, and may contain a secret. Probes without the token,
/// and brief errors, do not contain it.
#[test]
fn r38_probes_expose_no_details() {
    // The second pool keeps the server running: it ends when all pools have failed.
    let config = format!(
        "{ONE}restart = {{ max = 1, backoff = '1ms' }}\n[server]\ntoken = 's3cret'\nerrors = 'brief'\n\
         [pools.sound]\napp = 'herder.demo:app'\npool_size = 1\n"
    );
    let folder = folder(&config);
    fs::write(folder.path().join("app.py"), format!("raise RuntimeError('no connection to {SECRET}')\n")).unwrap();
    let server = Server::start(folder, &[], &[]);
    let with = |path: &str| get(path).header("Authorization", "Bearer s3cret").send(server.address);
    wait_until("one pool has failed, and the other is ready", || {
        let body = with("/readyz").body;
        body.contains("\"failed\"") && !body.contains("pool `sound`")
    });
    for probe in [server.get("/readyz"), get("/readyz").header("Authorization", "Bearer wrong").send(server.address)] {
        let problem = probe.problem(503, "not-ready");
        assert_eq!(problem["detail"], "not ready: pool `one`: 0 of 1 workers ready");
        assert!(!probe.body.contains("hunter2"), "{probe:?}");
    }
    let shown = with("/readyz");
    assert!(shown.problem(503, "not-ready")["detail"].as_str().unwrap().contains("hunter2"), "{shown:?}");
    let failed = server.call("one/echo", "{}", &[("Authorization", "Bearer s3cret")]);
    let problem = failed.problem(503, "pool-failed");
    assert!(!failed.body.contains("hunter2"), "{failed:?}");
    assert!(logged(&server, problem).contains("postgres://[redacted]@db/shop"));
}

/// R38: at the level DEBUG, each call is logged.
#[test]
fn r38_each_call_is_logged_at_debug() {
    let server = Server::start(folder(ONE), &[], &[("HERDER_LOG", "info,herder::call=debug")]);
    server.until_ready();
    assert_eq!(server.call("one/echo", "{}", &[]).status, 200);
    wait_until("the call is logged", || {
        server.log().lines().any(|line| {
            line.contains("DEBUG herder::call") && line.contains("command=\"echo\"") && line.contains("outcome=\"ok\"")
        })
    });
}
