//! `herder doctor`: findings about a real configuration, and the exit code. The checks themselves are tested with invented facts.

use crate::support::{Server, folder, herder, is_alive, wait_until};
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    thread,
};

/// Runs `herder doctor --json`. Returns the exit code and the checks.
fn doctor(folder: &Path, args: &[&str], log: &str) -> (i32, Vec<Value>) {
    let output = herder(folder, &["doctor", "--json"]).args(args).env("HERDER_LOG", log).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = document["checks"].as_array().unwrap().clone();
    let findings = checks.iter().filter(|check| check["level"] != "ok").count();
    assert_eq!(document["findings"], findings);
    assert!(checks.iter().all(|check| (check["level"] == "ok") == check["do"].is_null()), "{checks:?}");
    (output.status.code().unwrap(), checks)
}

/// Returns the level of a check, and what was found.
fn found<'a>(checks: &'a [Value], name: &str) -> (&'a str, &'a str) {
    let check = checks.iter().find(|check| check["check"] == name).unwrap();
    (check["level"].as_str().unwrap(), check["found"].as_str().unwrap())
}

/// Answers one request as a collector does. Returns its body.
fn answer_an_export(collector: &TcpListener) -> String {
    let (mut client, _) = collector.accept().unwrap();
    let mut request = String::new();
    let mut bytes = [0; 1024];
    while !request.ends_with('}') {
        let length = client.read(&mut bytes).unwrap();
        assert!(length > 0, "{request}");
        request += std::str::from_utf8(&bytes[..length]).unwrap();
    }
    client.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}").unwrap();
    request.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn doctor_finds_what_is_wrong_with_a_configuration() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = folder(&format!(
        "[server]\nlisten = '{address}'\n[traces]\nendpoint = 'http://127.0.0.1:1'\n[pools.shop]\napp = 'shop.py:app'\n"
    ));
    std::fs::write(folder.path().join("shop.py"), "import nonsense_that_is_not_there\n").unwrap();
    let (code, checks) = doctor(folder.path(), &[], "jason");
    assert_eq!(code, 1);
    let (level, reason) = found(&checks, "worker");
    assert!(level == "error" && reason.contains("nonsense_that_is_not_there"), "{reason}");
    assert_eq!(found(&checks, "HERDER_LOG").0, "error");
    let (level, reason) = found(&checks, "traces");
    assert!(
        level == "warning" && reason.starts_with("no collector takes spans at http://127.0.0.1:1/v1/traces: "),
        "{reason}"
    );
    let (level, reason) = found(&checks, "address");
    let own = format!("(process {}) listens there", std::process::id());
    assert!(level == "error" && (cfg!(not(target_os = "linux")) || reason.contains(&own)), "{reason}");

    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = collector.local_addr().unwrap();
    let asked = thread::spawn(move || answer_an_export(&collector));
    // Files and programs that are missing have one finding each, and a token that everybody can read has one.
    let missing = "[server]\ntoken = 'a'\ncall_token_file = 'call.token'\nmetrics_token_file = 'missing.token'\n\
        [pools.shop]\napp = 'shop.py:app'\npython = './none'\n[pools.lost]\napp = 'lost.py:app'\n";
    let missing = format!("{missing}[traces]\nendpoint = 'http://{endpoint}'\n");
    std::fs::write(folder.path().join("herder.toml"), missing).unwrap();
    std::fs::write(folder.path().join("call.token"), "b").unwrap();
    std::fs::set_permissions(folder.path().join("call.token"), std::fs::Permissions::from_mode(0o604)).unwrap();
    let (_, checks) = doctor(folder.path(), &[], "info");
    assert_eq!(found(&checks, "traces").0, "ok", "{checks:?}");
    assert_eq!(asked.join().unwrap(), r#"{"resourceSpans":[]}"#);
    let (level, reason) = found(&checks, "access");
    assert!(level == "error" && reason.contains("missing.token"), "{reason}");
    let exposed = checks.iter().find(|check| check["check"] == "access" && check["level"] == "warning").unwrap();
    assert!(
        exposed["do"].as_str().unwrap().starts_with("run `chmod o= ")
            && exposed["found"].as_str().unwrap().ends_with("call.token")
    );
    let (level, reason) = found(&checks, "configuration");
    let [python, app] = ["herder.toml:7:10: pools.shop.python: ", "herder.toml:9:7: pools.lost.app: "]
        .map(|place| reason.contains(place));
    assert!(level == "error" && python && app, "{reason}");
    let of_pools = checks.iter().filter(|check| !check["pool"].is_null());
    let examined: Vec<_> =
        of_pools.map(|check| (check["pool"].as_str().unwrap(), check["check"].as_str().unwrap())).collect();
    assert_eq!(examined, [("lost", "interpreter")], "{checks:?}");

    std::fs::write(folder.path().join("herder.toml"), "[pools.shop]\nsize = 4\n").unwrap();
    let (code, checks) = doctor(folder.path(), &["--url", "http://127.0.0.1:1"], "info");
    assert_eq!((code, found(&checks, "configuration").0, found(&checks, "server").0), (1, "error", "error"));
    let (code, checks) = doctor(folder.path(), &["--app", "herder.toml", "--url", "http://127.0.0.1:1"], "info");
    let (level, reason) = found(&checks, "configuration");
    assert!(code == 1 && level == "error" && reason.contains("size"), "{reason}");
    let output = herder(folder.path(), &["doctor", "--app", "shop.py"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn doctor_examines_an_app_and_a_running_server() {
    let server = Server::with("[pools.app]\napp = 'app.py:app'\npool_size = 1\n");
    let (code, checks) = doctor(server.folder.path(), &["--app", "app.py:app", "--url", &server.url()], "info");
    assert_eq!(code == 0, checks.iter().all(|check| check["level"] == "ok"), "{checks:?}");
    for name in
        ["configuration", "access", "interpreter", "package", "worker", "import", "server", "pools", "server clock"]
    {
        assert_eq!(found(&checks, name).0, "ok", "{name}: {checks:?}");
    }
    assert!(found(&checks, "import").1.starts_with("app.py:app in "), "{checks:?}");
    let mut unreadable = herder(server.folder.path(), &["doctor", "--url", &server.url()]);
    let text = unreadable.env("HERDER_TOKEN_FILE", "missing.token").output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("\nerror    access         cannot read the token file missing.token"), "{text}");
    assert!(text.contains("\nok       server ") && !text.contains(" pools   "), "one finding for one cause: {text}");
    assert!(text.starts_with("ok       configuration  herder.toml: 1 pool\n") && !text.contains('\u{1b}'), "{text}");
}

/// An interpreter that never answers, such as a wrapper that waits for something: `doctor` says so, starts no worker with it, and
/// ends the process.
#[test]
fn doctor_ends_an_interpreter_that_hangs() {
    let folder = folder("[pools.shop]\napp = 'app.py:app'\npython = './hangs'\n");
    let script = folder.path().join("hangs");
    std::fs::write(&script, "#!/bin/sh\necho $$ >> pids\nsleep 1000 &\necho $! >> pids\nwait\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (code, checks) = doctor(folder.path(), &[], "info");
    let (level, reason) = found(&checks, "interpreter");
    assert_eq!((code, level), (1, "error"), "{checks:?}");
    assert!(reason.ends_with("hangs has not answered within 10 s"), "{reason}");
    assert!(checks.iter().all(|check| check["check"] != "worker"), "{checks:?}");
    let pids = std::fs::read_to_string(folder.path().join("pids")).unwrap();
    let pids: Vec<u32> = pids.lines().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2, "it is started once");
    assert!(herder::testing::stat(pids[0]).is_none(), "the process was killed and reaped");
    // What it has started is reaped by another process, if Linux lists it.
    wait_until("its child has ended", || cfg!(not(target_os = "linux")) || !is_alive(pids[1].into()));
}
