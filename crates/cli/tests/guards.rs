//! Access checks and routes: hosts, origins, the token, paths and methods, sessions and workers.

use crate::support::{Request, Server, folder, get, herder, post};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt};

const KEPT: &str = "[pools.kept]\nworker_type = 'enhanced'\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n";

/// A page whose own name resolves to this machine is refused on all routes except the probes.
#[test]
fn foreign_hosts_are_403() {
    let config = format!("{KEPT}[server]\nhosts = ['herder.example', 'h.example:8443']\n");
    let server = Server::start(folder(&config), &[], &[]);
    let (port, with) = (server.address.port(), |host: &str| get("/v1/pools").header("Host", host).send(server.address));
    for host in ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"] {
        assert_eq!(with(&format!("{host}:{port}")).status, 200, "{host}");
    }
    for host in ["herder.example", "herder.example:99", "h.example:8443"] {
        assert_eq!(with(host).status, 200, "{host}");
    }
    let evil = format!("evil.example:{port}");
    for host in [evil.as_str(), "localhost.evil.example", "h.example", "10.0.0.7", "[::ffff:10.0.0.7]"] {
        with(host).problem(403, "foreign-host");
    }
    for path in ["/v1/pools/kept/call/echo", "/healthz/", "/nowhere"] {
        post(path, "{}").header("Host", &evil).send(server.address).problem(403, "foreign-host");
    }
}

/// R68: a container or a tunnel can change the port that a client names, but not make a loopback name of another one.
/// Pages of other origins are refused.
#[test]
fn r68_loopback_names_are_accepted_at_any_port() {
    let server = Server::start(folder(KEPT), &[], &[]);
    let with =
        |host: &str, origin: &str| get("/v1/pools").header("Host", host).header("Origin", origin).send(server.address);
    for host in ["localhost", "localhost:1", "127.0.0.1:8080", "127.0.0.2", "[::1]:8080", "[::ffff:127.0.0.1]:8080"] {
        assert_eq!(get("/v1/pools").header("Host", host).send(server.address).status, 200, "{host}");
        assert_eq!(with(host, &format!("http://{host}")).status, 200, "{host}");
        with(host, "http://localhost:3000").problem(403, "foreign-origin");
    }
}

/// R68: orchestrators name the server by any address or name, such as that of a pod or a service. Pages of other sites
/// are refused by the probes, too.
#[test]
fn r68_probes_are_answered_whatever_their_host() {
    let config = format!("{KEPT}[server]\ntoken = 's3cret'\n");
    let server = Server::start(folder(&config), &[], &[]);
    server.until_ready();
    for path in ["/healthz", "/readyz"] {
        for host in ["10.0.0.7:8080", "herder.default.svc", "evil.example"] {
            assert_eq!(get(path).header("Host", host).send(server.address).status, 200, "{path} {host}");
        }
        let page = get(path).header("Host", "evil.example").header("Origin", "http://other.example");
        page.send(server.address).problem(403, "foreign-origin");
    }
}

/// R68: an IPv4 address in IPv6 form is treated as the IPv4 address: loopback needs no token, and shows errors in full.
#[test]
fn r68_a_mapped_loopback_address_is_loopback() {
    let server = Server::start(folder(KEPT), &["--listen", "[::ffff:127.0.0.1]:0"], &[]);
    server.until_ready();
    assert!(server.address.is_ipv4(), "{} is the announced address", server.address);
    let failed = server.call("kept/fail", "{}", &[]);
    assert!(failed.problem(500, "exception")["traceback"].is_string());
    let mapped = format!("[::ffff:127.0.0.1]:{}", server.address.port());
    assert_eq!(get("/v1/pools").header("Host", &mapped).send(server.address).status, 200);
}

/// A form of another site can be posted to loopback without a preflight request. These headers reveal it.
#[test]
fn foreign_pages_are_403() {
    let server = Server::with(KEPT);
    let call = |name: &str, value: &str| server.call("kept/echo", "{}", &[(name, value)]);
    for origin in ["http://evil.example", "null", "http://localhost:1", "https://localhost", "file://"] {
        call("Origin", origin).problem(403, "foreign-origin");
    }
    assert_eq!(call("Origin", &server.url()).status, 200);
    for site in ["cross-site", "same-site", "odd"] {
        call("Sec-Fetch-Site", site).problem(403, "foreign-site");
    }
    for site in ["same-origin", "none"] {
        assert_eq!(call("Sec-Fetch-Site", site).status, 200, "{site}");
    }
    assert_eq!(server.get("/v1/pools/kept").json["counters"]["submitted"], 3, "refused requests do not reach a pool");
}

#[test]
fn requests_without_the_token_are_401() {
    let config = format!("{KEPT}[server]\ntoken = 's3cret'\n");
    let server = Server::start(folder(&config), &[], &[]);
    let without = server.get("/v1/pools");
    without.problem(401, "token-missing");
    assert_eq!(without.header("www-authenticate"), Some("Bearer realm=\"herder\""));
    let with = |value: &str| get("/v1/pools").header("Authorization", value).send(server.address);
    for wrong in ["Bearer s3cre", "Bearer s3cretx", "Bearer S3CRET"] {
        let refused = with(wrong);
        refused.problem(401, "token-wrong");
        assert!(refused.header("www-authenticate").unwrap().contains("invalid_token"));
    }
    for none in ["s3cret", "Basic s3cret", "Bearer ", ""] {
        with(none).problem(401, "token-missing");
    }
    assert_eq!((with("Bearer s3cret").status, with("bearer s3cret").status), (200, 200));
    server.call("kept/echo", "{}", &[]).problem(401, "token-missing");
    server.get("/metrics").problem(401, "token-missing");
    assert_eq!(server.get("/healthz").status, 200, "probes need no token");
    assert!(!server.banner.iter().any(|line| line.contains("s3cret")), "{:?}", server.banner);
}

/// The token of the environment overrides that of the file. `--allow-code` generates a token, prints it, and enables
/// `notebook.run`.
#[test]
fn allowing_code_needs_a_token() {
    let server = Server::start(folder(""), &["--allow-code", "--pool-size", "1"], &[]);
    let token = server.banner.iter().find_map(|line| line.strip_prefix("export HERDER_TOKEN=")).unwrap().to_owned();
    let run = json!({ "code": "x = 20\nx + 1" }).to_string();
    server.call("sessions/notebook.run", &run, &[("Herder-Session", "ann")]).problem(401, "token-missing");
    let shown = [("Herder-Session", "ann"), ("Authorization", &*format!("Bearer {token}"))];
    let answer = json!({ "output": "", "value": 21, "kind": "json" });
    assert_eq!(server.call("sessions/notebook.run", &run, &shown).result(), &answer);

    // A variable in the server's own environment does not enable it.
    let env = [("HERDER_ALLOW_CODE", "1"), ("HERDER_TOKEN", "mine")];
    let server = Server::start(folder(""), &["--pool-size", "1"], &env);
    server.call("sessions/notebook.run", &run, &shown).problem(401, "token-wrong");
    let mine = [("Herder-Session", "ann"), ("Authorization", "Bearer mine")];
    server.call("sessions/notebook.run", &run, &mine).problem(404, "unknown-command");
}

/// R50, R68: the token of Prometheus reads the metrics and nothing else, also beside a generated token. The log does not show it.
#[test]
fn r50_the_token_of_metrics_opens_only_the_metrics() {
    let folder = folder(&format!("{KEPT}[server]\ntoken = 'the-admin'\nmetrics_token_file = 'metrics.token'\n"));
    fs::write(folder.path().join("metrics.token"), "the-numbers\n").unwrap();
    fs::set_permissions(folder.path().join("metrics.token"), fs::Permissions::from_mode(0o600)).unwrap();
    let server = Server::start(folder, &[], &[]);
    server.until_ready();
    let metrics = |request: Request| request.header("Authorization", "Bearer the-numbers").send(server.address);
    let scraped = metrics(get("/metrics"));
    assert!(scraped.status == 200 && scraped.body.contains("herder_pools{"), "{scraped:?}");
    assert_eq!(get("/metrics").header("Authorization", "Bearer the-admin").send(server.address).status, 200);
    get("/metrics").send(server.address).problem(401, "token-missing");
    for path in ["/v1/pools", "/v1/whoami", "/v1/events", "/openapi.json", "/%6Detrics", "/metrics/", "/none"] {
        metrics(get(path)).problem(403, "wrong-role");
    }
    for path in ["/v1/pools/kept/workers/w1/kill?generation=1", "/v1/pools/kept/call/echo"] {
        metrics(Request::new("POST", path, "{}")).problem(403, "wrong-role");
    }
    let text = r#"{"text": "the-numbers"}"#;
    server.call("kept/tell", text, &[("Authorization", "Bearer the-admin")]);
    server.until_logged("[redacted] worker=w1");

    let serve = |args: &[&str], tokens: &[(&str, &str)]| {
        let mut command = herder(server.folder.path(), &[&["serve", "--listen", "127.0.0.1:0"], args].concat());
        let output = command.envs(tokens.iter().copied()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = serve(&[], &[("HERDER_METRICS_TOKEN", "the-admin")]);
    assert!(
        code == Some(2) && error.contains("of metrics (`server.metrics_token`) is the same as that of adm"),
        "{error}"
    );
    let (code, error) = serve(&["app.py:app"], &[("HERDER_METRICS_TOKEN", "the-numbers")]);
    assert!(code == Some(2) && error.contains("set `server.token` or HERDER_TOKEN as well"), "{error}");
}

/// The token of callers comes from a file of the configuration, that of administrators from the environment. The client sends the
/// first that it has, and an error names the token that a route needs.
#[test]
fn callers_have_a_token_and_a_role_of_their_own() {
    let folder = folder(&format!("{KEPT}[server]\ncall_token_file = 'call.token'\n"));
    fs::write(folder.path().join("call.token"), "the-call\n").unwrap();
    fs::set_permissions(folder.path().join("call.token"), fs::Permissions::from_mode(0o604)).unwrap();
    let server = Server::start(folder, &[], &[("HERDER_TOKEN", "the-admin")]);
    server.until_ready();
    let ask = |token: &str, path: &str| get(path).header("Authorization", token).send(server.address);
    for role in ["admin", "call"] {
        let who = ask(&format!("Bearer the-{role}"), "/v1/whoami").json;
        assert_eq!((&who["role"], &who["token"]), (&json!(role), &json!(true)), "{who}");
    }
    for (path, needed) in [("/metrics", "`server.metrics_token`"), ("/v1/pools/kept", "`server.token`")] {
        let refused = ask("Bearer the-call", path);
        let detail = refused.problem(403, "wrong-role")["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with("this token has the role `call`, ") && detail.contains(needed), "{detail}");
    }
    let folder = server.folder.path();
    assert!(fs::read_to_string(folder.join("log")).unwrap().contains("can read the token file"));
    let run = |args: &[&str]| {
        let output = herder(folder, args).env("HERDER_URL", server.url()).env("HERDER_CALL_TOKEN", "the-call").output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (code, out) = run(&["call", "kept", "echo", "{\"x\": 1}"]);
    assert_eq!((code, out.as_str()), (Some(0), "{\"x\":1}\n"));
    let (code, out) = run(&["status", "kept"]);
    assert!(code == Some(1) && out.contains("role `call`"), "{out}");

    let refused = |tokens: &[(&str, &str)]| {
        let mut status = herder(folder, &["status", "kept"]);
        let output = status.env("HERDER_URL", server.url()).envs(tokens.iter().copied()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let call = ("HERDER_CALL_TOKEN", "the-call");
    let missing = ("HERDER_TOKEN_FILE", "missing.token");
    let (code, error) = refused(&[call, missing]);
    assert!(code == Some(2) && error.contains("cannot read the token file missing.token"), "{error}");
    let (code, error) = refused(&[call, missing, ("HERDER_TOKEN", "the-admin")]);
    assert!(code == Some(2) && error.contains("set only one of HERDER_TOKEN and HERDER_TOKEN_FILE"), "{error}");

    let own = fs::read_to_string(folder.join("herder.toml")).unwrap();
    let with_admin = format!("{KEPT}[server]\nlisten = '{}'\ntoken = 'the-admin'\n", server.address);
    fs::write(folder.join("herder.toml"), with_admin).unwrap();
    let status = |token: &str| {
        herder(folder, &["status", "kept"]).env("HERDER_CALL_TOKEN", token).output().unwrap().status.code()
    };
    assert_eq!((status(""), status("the-call")), (Some(0), Some(1)), "a token of the environment is preferred");
    fs::write(folder.join("herder.toml"), own).unwrap();

    let same = herder(folder, &["serve", "--listen", "127.0.0.1:0"]).env("HERDER_TOKEN", "the-call").output().unwrap();
    let error = String::from_utf8(same.stderr).unwrap();
    assert!(same.status.code() == Some(2) && error.contains("is the same as that of administrators"), "{error}");
}

#[test]
fn listening_beyond_loopback_requires_a_token() {
    let folder = folder(KEPT);
    let output = herder(folder.path(), &["serve", "--listen", "0.0.0.0:0"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("a token is required: set `server.token` or HERDER_TOKEN"), "{error}");
}

#[test]
fn unknown_paths_and_methods_are_problems() {
    let server = Server::with(KEPT);
    for path in ["//", "/nowhere", "/v1", "/v1/pools/kept/nowhere", "/v1/pools/kept/call", "/v1/pools/kept/call/a/b"] {
        server.get(path).problem(404, "no-route");
    }
    server.get("/v1/pools/nope").problem(404, "unknown-pool");
    for (method, path, allowed) in [
        ("GET", "/v1/pools/kept/call/echo", "POST"),
        ("POST", "/v1/pools", "GET, HEAD"),
        ("DELETE", "/v1/pools/kept", "GET, HEAD"),
        ("PUT", "/v1/pools/kept/sessions/ann", "GET, HEAD, DELETE"),
        ("OPTIONS", "/healthz", "GET, HEAD"),
    ] {
        let refused = Request::new(method, path, "").send(server.address);
        assert_eq!(refused.problem(405, "wrong-method")["category"], "request");
        assert_eq!(refused.header("allow"), Some(allowed), "{method} {path}");
    }
    let head = Request::new("HEAD", "/healthz", "").send(server.address);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

/// R22: sessions are listed page by page, queried and ended. An unknown session is a 404.
#[test]
fn r22_sessions_are_listed_and_ended_over_http() {
    let server = Server::with(KEPT);
    for session in ["ann", "bob", "c/d é"] {
        assert_eq!(server.call("kept/count", "{}", &[("Herder-Session", session)]).result(), &json!(1));
    }
    let page = |query: &str| server.get(&format!("/v1/pools/kept/sessions{query}")).json;
    let ids = |page: &Value| -> Vec<String> {
        page["sessions"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    let all = page("");
    assert_eq!((&all["next"], &all["active_sessions"]), (&Value::Null, &json!(3)));
    let first = page("?limit=2");
    let pages = [page(&format!("?cursor={}&limit=2", first["next"])), page("?cursor=9")];
    assert_eq!([&first, &pages[0], &pages[1]].into_iter().flat_map(ids).collect::<Vec<_>>(), ids(&all));
    assert_eq!(pages.map(|page| (ids(&page).len(), page["next"].clone())), [(1, Value::Null), (0, Value::Null)]);
    for query in ["?limit=1001", "?limit=0", "?cursor=x", "?offset=1"] {
        server.get(&format!("/v1/pools/kept/sessions{query}")).problem(400, "bad-query");
    }

    let path = "/v1/pools/kept/sessions/c%2Fd%20%C3%A9";
    let one = server.get(path);
    assert_eq!(
        (&one.json["id"], &one.json["worker"], &one.json["operations"]),
        (&json!("c/d é"), &json!("w1"), &json!(1))
    );
    let ended = Request::new("DELETE", path, "").send(server.address);
    assert_eq!((ended.status, ended.body.as_str()), (204, ""));
    for method in ["GET", "DELETE"] {
        Request::new(method, path, "").send(server.address).problem(404, "session-not-found");
    }
    server.get("/v1/pools/kept/sessions/%01").problem(400, "invalid-session");
    assert_eq!(
        server.call("kept/count", "{}", &[("Herder-Session", "c/d é")]).result(),
        &json!(1),
        "the session has a new state"
    );
}

/// R9: `server.session_header` and `server.session_cookie` name the session in pools with affinity. Other pools read only
/// `Herder-Session`: they track no session that was named otherwise.
#[test]
fn r9_configured_names_of_the_session_apply_to_pools_with_affinity() {
    let pool =
        |name: &str, keys: &str| format!("[pools.{name}]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n{keys}\n");
    let names = "[server]\nsession_header = ['Herder-Session', 'X-Session-Id']\nsession_cookie = 'sid'\n";
    let off = pool("off", "worker_type = 'enhanced'\nfeatures.session_affinity = false");
    let server = Server::with(&[names, KEPT, &pool("flat", ""), &off].concat());
    let by_header = server.call("kept/count", "{}", &[("X-Session-Id", "ann")]);
    assert_eq!((by_header.result(), &by_header.json["meta"]["routing"]), (&json!(1), &json!("new")));
    let by_cookie = server.call("kept/count", "{}", &[("Cookie", "theme=dark; sid=ann")]);
    assert_eq!((by_cookie.result(), &by_cookie.json["meta"]["routing"]), (&json!(2), &json!("hit")));
    let both = [("X-Session-Id", "ann"), ("Cookie", "sid=bob")];
    server.call("kept/count", "{}", &both).problem(400, "sessions-differ");
    for name in ["flat", "off"] {
        assert_eq!(server.call(&format!("{name}/echo"), "{}", &both).result(), &json!({}));
        let sessions = || server.get(&format!("/v1/pools/{name}/sessions")).json["active_sessions"].clone();
        assert_eq!(sessions(), 0, "{name}");
        server.call(&format!("{name}/echo"), "{}", &[("Herder-Session", "ann")]).result();
        assert_eq!(sessions(), 1, "{name}");
    }
    let foreign = [("Cookie", "sid=ann"), ("Origin", "http://evil.example")];
    server.call("kept/count", "{}", &foreign).problem(403, "foreign-origin");
}

/// R6, R8: both pool types have the same status keys; `session_affinity` of a basic pool is `{}`.
#[test]
fn r8_both_pool_types_have_the_same_status_keys() {
    let server = Server::start(folder(""), &["--pool-size", "1"], &[]);
    server.until_ready();
    let [basic, sessions] = ["basic", "sessions"].map(|pool| server.get(&format!("/v1/pools/{pool}")).json);
    let keys = |status: &Value| status.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&basic), keys(&sessions));
    assert_eq!(basic["session_affinity"], json!({}));
    assert_eq!(sessions["session_affinity"]["total_sessions"], 0);
    let worker = &server.get("/v1/pools/basic/workers").json["workers"][0];
    let pid = server.call("basic/pid", "", &[]);
    assert_eq!(
        (&worker["pid"], &worker["state"], &worker["health"]),
        (pid.result(), &json!("ready"), &json!("healthy"))
    );
    assert_eq!((&worker["generation"], &worker["in_flight"]), (&json!(1), &json!(0)));
    let listed = server.get("/v1/pools").json;
    assert_eq!(
        (&listed["pools"][0]["pool"], &listed["pools"][1]["worker_type"]),
        (&json!("basic"), &json!("enhanced"))
    );
}
