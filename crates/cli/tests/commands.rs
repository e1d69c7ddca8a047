//! `call`, `check`, `status` and `serve`: their output and their exit codes.

use crate::support::{APP, Server, folder, herder};
use insta::assert_snapshot;
use serde_json::Value;
use std::{fs, path::Path, process::Output};

/// A configuration with an address where no server listens.
const KEPT: &str = "[server]\nlisten = '127.0.0.1:1'\n[pools.kept]\nworker_type = 'enhanced'\napp = 'app.py:app'\n\
                    pool_size = 1\noverflow = 0\n";

/// Runs `herder`. Returns the exit code, standard output and standard error.
fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    run_stdout(herder(folder, args).output().unwrap())
}

fn run_stdout(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn help() {
    let folder = folder("");
    let commands = [
        "",
        "serve",
        "dev",
        "init",
        "call",
        "commands",
        "check",
        "doctor",
        "status",
        "top",
        "why",
        "recorder",
        "stack",
        "quarantine",
        "log-level",
        "kill",
        "chaos",
        "bench",
        "python install",
        "generate man",
        "generate completions",
    ];
    for command in commands {
        let args: Vec<_> = command.split_whitespace().chain(["--help"]).collect();
        let (code, help, _) = run(folder.path(), &args);
        assert_eq!(code, 0);
        insta::with_settings!({ prepend_module_to_snapshot => false }, {
            assert_snapshot!(format!("help_{}", if command.is_empty() { "herder".into() } else { command.replace(' ', "_") }), help);
        });
    }
    assert_eq!(run(folder.path(), &["--version"]).1, format!("herder {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn invalid_arguments_exit_with_2() {
    let folder = folder(KEPT);
    for (args, expected) in [
        (&["serve", "app.py"][..], "did you mean `app.py:app`?"),
        (&["serve", "none.toml"], "none.toml: No such file"),
        (&["serve", "--enhanced"], "--enhanced cannot be used with the file herder.toml"),
        (&["serve", "app.py:app", "--workers", "4"], "a similar argument exists: '--pool-size'"),
        (&["chaos", "app.py:app", "--workers=4"], "a similar argument exists: '--pool-size'"),
        (&["serve", "--shutdown-timeout", "5"], "add a unit, such as \"5s\""),
        (&["serve", "--listen", "7878"], "HOST:PORT"),
        (&["call", "kept", "echo", "{", "--config", "herder.toml"], "the arguments are not a JSON object"),
        (&["call", "kept", "echo", "[1]"], "the arguments are not a JSON object"),
        (&["call", "kept", "echo", "n=1"], "write them as '{\"n\": 1}'"),
        (&["call", "kept", "echo", "-d", "n=1"], "herder call POOL COMMAND '{\"n\": 1}'"),
        (&["call", "nope", "echo"], "unknown pool `nope`; available pools: `kept`"),
        (
            &["call", "shop/carts.py:app", "price"],
            "run `herder serve shop/carts.py:app`, and then `herder call carts price` in",
        ),
        (&["call", "kept"], "<COMMAND>"),
        (&["status", "--url", "localhost:1"], "allowed: http://HOST:PORT"),
        (&["fly"], "unrecognized subcommand"),
    ] {
        let (code, out, err) = run(folder.path(), args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?} {err}");
        assert!(err.contains(expected), "{args:?} {err}");
    }
    let (code, _, err) =
        run_stdout(herder(folder.path(), &["status"]).env("HERDER_URL", "localhost:1").output().unwrap());
    assert!(code == 2 && err.contains("the environment variable HERDER_URL has an invalid URL"), "{err}");
}

#[test]
fn check_reports_every_problem_with_its_position() {
    let folder = folder(KEPT);
    let (code, out, err) = run(folder.path(), &["check"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let [python, ok] = out.lines().collect::<Vec<_>>()[..] else { panic!("{out}") };
    assert!(python.starts_with("kept: Python 3.") && python.contains("; herder 0."), "{out}");
    assert_eq!(ok, "ok: 1 pool: kept (enhanced, 1 worker); listens on 127.0.0.1:1");
    fs::write(folder.path().join("bad.toml"), "[pools.a]\napp = 'm:app'\npool_sze = 4\ntimeout = 3\n").unwrap();
    let (code, out, err) = run(folder.path(), &["check", "bad.toml"]);
    assert_eq!((code, err.as_str()), (2, "error: 2 problems in bad.toml\n"));
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("bad.toml:3:1: pools.a.pool_sze: unknown key; did you mean `pool_size`?"), "{out}");
    assert!(lines[1].starts_with("bad.toml:4:11: pools.a.timeout: 3 is not a duration"), "{out}");
    let (code, out, err) = run(folder.path(), &["check", "app.py:app"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.starts_with("app: Python 3.") && out.contains("\nok: 1 pool: app (basic, "), "{out}");
    let (code, _, err) = run(folder.path(), &["check", "none.py:app"]);
    assert!(code == 2 && err.contains("the file `") && err.contains("none.py` does not exist"), "{err}");
    let (code, _, err) = run(folder.path(), &["check", "none.toml"]);
    assert!(code == 2 && err.contains("none.toml: No such file"), "{err}");
}

/// `check` reports everything that `serve` refuses before it starts anything, with the same text and the position.
#[test]
fn check_reports_what_serve_would_refuse() {
    let there = "[pools.there]\napp = 'app.py:app'\n";
    for (config, place, expected) in [
        ("[pools.a]\napp = 'none.py:app'\n", "4:7: pools.a.app: ", "is `none.py:app`, but the file `"),
        (
            "[pools.a]\npython = '/none/python3'\napp = 'app.py:app'\n",
            "4:10: pools.a.python: ",
            "is `/none/python3`, which is not an executable file",
        ),
        (
            "[pools.a]\npython = 'python-none'\napp = 'app.py:app'\n",
            "4:10: pools.a.python: ",
            "is `python-none`, which is not in `PATH`",
        ),
        ("[pools.a]\ncommand = ['./app.py']\n", "4:11: pools.a.command: ", "app.py`, which is not an executable file"),
        (
            "[pools.a]\ncommand = ['none-such', 'x']\n",
            "4:11: pools.a.command: ",
            "is `none-such`, which is not in `PATH`",
        ),
        (
            "[pools.a]\nenv = { PATH = '/none' }\napp = 'app.py:app'\n",
            "3:8: pools.a.python: ",
            "is `python3`, which is not in `PATH`",
        ),
        (
            "[server]\nlisten = '0.0.0.0:0'\n",
            " server.listen: ",
            "0.0.0.0:0 is reachable from other machines, so a token is required",
        ),
    ] {
        let folder = folder(&format!("{there}{config}"));
        let (code, out, err) = run(folder.path(), &["check"]);
        assert_eq!((code, err.as_str()), (2, "error: 1 problem in herder.toml\n"), "{config} {out}");
        assert!(out.starts_with("herder.toml:") && out.contains(place) && out.contains(expected), "{config} {out}");
        let mut serve = herder(folder.path(), &["serve", "herder.toml"]);
        if !config.contains("[server]") {
            serve.args(["--listen", "127.0.0.1:0"]);
        }
        let (code, out, err) = run_stdout(serve.output().unwrap());
        assert_eq!((code, out.as_str()), (2, ""), "{config} {err}");
        assert!(err.contains(expected), "{config} {err}");
    }
    let folder = folder("[server]\nlisten = '0.0.0.0:0'\n[pools.a]\napp = 'some.module:app'\n");
    let with_token =
        |token: &str| run_stdout(herder(folder.path(), &["check"]).env("HERDER_TOKEN", token).output().unwrap());
    assert_eq!(with_token("s3cret").0, 0, "a token, and a module that only Python can find");
    let (code, out, _) = with_token("two words");
    assert!(code == 2 && out.contains("HERDER_TOKEN: invalid token"), "{out}");
    let (code, _, err) = run(folder.path(), &["serve", "none.py:app"]);
    assert!(code == 2 && err.contains("`app` is `none.py:app`, but the file `"), "{err}");
}

/// `--import` starts one worker of each pool, and lists the commands or reports why the start failed.
#[test]
fn check_imports_apps() {
    let two = format!("{KEPT}[pools.other]\ncommand = ['python3', '-c', 'raise SystemExit(3)']\n");
    let folder = folder(KEPT);
    let (code, out, err) = run(folder.path(), &["check", "--import"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let lines: Vec<_> = out.lines().collect();
    for command in ["echo(..)", "wait(file: string)", "count()", "tell(text: string)"] {
        assert!(lines.contains(&format!("kept: {command}").as_str()), "{command}: {out}");
    }
    assert_eq!(lines.last(), Some(&"ok: 1 pool: kept (enhanced, 1 worker); listens on 127.0.0.1:1"));
    fs::write(folder.path().join("app.py"), "import nonsense_that_is_not_there\n").unwrap();
    fs::write(folder.path().join("herder.toml"), &two).unwrap();
    let (code, out, err) = run(folder.path(), &["check", "--import"]);
    assert_eq!((code, err.as_str()), (2, "error: 2 problems in herder.toml\n"), "{out}");
    let lines: Vec<_> = out.lines().collect();
    assert!(
        lines[1].starts_with("herder.toml: pools.kept: ") && lines[1].contains("nonsense_that_is_not_there"),
        "{out}"
    );
    assert!(lines[2].starts_with("herder.toml: pools.other: ") && lines[2].contains("exit status 3"), "{out}");
}

const TYPED: &str = r#"
import datetime
from typing import Annotated
import herder
app = herder.App()

@app.command
def add(
    item: str,
    count: Annotated[int, herder.Meta(ge=1, description="how many")] = 1,
    day: datetime.date | None = None,
    data: bytes = b"",
) -> list[str | int | None]:
    """Add an item.

    The cart keeps it.

    Args:
        item: what to add
    """
    return [item, count, day and day.isoformat(), len(data)]
"#;

/// R73: `commands` and `call --arg` work with a server, and without one.
#[test]
fn r73_named_arguments_are_converted_by_the_schema_of_the_command() {
    let folder =
        folder("[server]\nlisten = '127.0.0.1:1'\n[pools.carts]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n");
    fs::write(folder.path().join("app.py"), TYPED).unwrap();
    let (code, overview, err) = run(folder.path(), &["commands", "carts"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let server = Server::start(folder, &["--listen", "127.0.0.1:0"], &[]);
    server.until_ready();
    let url = server.url();
    let asked = |args: &[&str]| run(server.folder.path(), &[args, &["--url", &url]].concat());
    assert_eq!(asked(&["commands", "carts"]), (0, overview.clone(), String::new()));
    let (_, details, _) = asked(&["commands", "carts", "add"]);
    assert_snapshot!(format!("{overview}\n{details}"));
    let all = ["--arg", "item=1", "--arg", "count=2", "--arg", "day=2026-01-31", "--arg", "data=@app.py"];
    let answer = format!("[\"1\",2,\"2026-01-31\",{}]\n", TYPED.len());
    assert_eq!(asked(&[&["call", "carts", "add"], &all[..]].concat()), (0, answer, String::new()));
    let local = run(server.folder.path(), &["call", "carts", "add", "--arg", "item=tea"]);
    assert_eq!(local, (0, "[\"tea\",1,null,0]\n".into(), String::new()));
    for (args, code, expected) in [
        (
            &["call", "carts", "add", "--arg", "count=two"][..],
            2,
            "--arg count: `two` is invalid; expected JSON of the type integer",
        ),
        (
            &["call", "carts", "add", "--arg", "cuont=2"],
            2,
            "`add` has no argument `cuont`; did you mean `count`? The command takes item, ",
        ),
        (&["call", "carts", "add", "--arg", "item"], 2, "allowed: NAME=VALUE"),
        (&["call", "carts", "ad", "--arg", "item=tea"], 1, "unknown command `ad`; did you mean `add`?"),
        (&["call", "carts", "ad"], 1, "unknown command `ad`; did you mean `add`? Available commands: add"),
        (
            &["call", "carts", "add", "--arg", "item=tea", "--arg", "count=0"],
            1,
            "count: Input should be greater than or equal to 1\n  `herder commands carts add` shows the arguments",
        ),
        (&["commands", "carts", "ad"], 1, "unknown command `ad`; did you mean `add`?"),
        (&["commands", "cart"], 1, "unknown pool `cart`"),
    ] {
        let (found, out, err) = asked(args);
        assert_eq!((found, out.as_str()), (code, ""), "{args:?} {err}");
        assert!(err.contains(expected), "{args:?} {err}");
    }
    // As fish asks; the last word is the one to complete.
    let completed = |words: &[&str]| {
        let mut command = herder(server.folder.path(), &[&["--", "herder"], words].concat());
        run_stdout(command.env("COMPLETE", "fish").env("HERDER_URL", &url).output().unwrap()).1
    };
    assert_eq!(completed(&["call", "c"]), "carts\n");
    assert_eq!(completed(&["call", "carts", "a"]), "add\tAdd an item.\n");
    assert_eq!(completed(&["call", "carts", "add", "--arg", "it"]), "item=\tstring\n");
    let (_, json, _) = asked(&["commands", "carts", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), server.get("/v1/pools/carts/commands").json);
}

/// A terminal obeys nothing of what a server or a worker sends: in results, descriptions, errors and tables.
#[test]
fn control_characters_of_a_server_are_escaped() {
    let bell = r#"
@app.command
def bell(fails: bool = False) -> str:
    "Rings.\x1b]0;title\x07 \x9b2J"
    if fails:
        raise ValueError("\x1b[2J \x9b2J \r")
    return "\x1b[2J \x9b2J \x7f"
"#;
    let folder = folder(KEPT);
    fs::write(folder.path().join("app.py"), format!("{APP}{bell}")).unwrap();
    let server = Server::start(folder, &["--listen", "127.0.0.1:0"], &[]);
    server.until_ready();
    let url = server.url();
    for (args, code) in [
        (&["call", "kept", "bell"][..], 0),
        (&["call", "kept", "bell", "--arg", "fails=true"], 1),
        (&["commands", "kept", "bell"], 0),
        (&["commands", "kept"], 0),
        (&["commands", "kept", "--json"], 0),
    ] {
        let (found, out, err) = run(server.folder.path(), &[args, &["--url", &url]].concat());
        let printed = format!("{out}{err}");
        assert_eq!(found, code, "{printed:?}");
        assert!(!printed.contains(|each: char| each.is_control() && each != '\n'), "{args:?}: {printed:?}");
        assert!(printed.contains("\\u009b2J"), "{args:?}: {printed:?}");
    }
}

/// A filter that would match nothing is an error; so is an unsupported format.
#[test]
fn log_filter_without_effect_exits_with_2() {
    let folder = folder(KEPT);
    let with = |filter: &str| {
        run_stdout(herder(folder.path(), &["call", "kept", "echo"]).env("HERDER_LOG", filter).output().unwrap())
    };
    for (filter, expected) in [
        ("json", "HERDER_LOG: `json` is not a filter; for JSON logs, use `herder serve --log-format json`"),
        ("JSON,info", "HERDER_LOG: `JSON` is not a filter; for JSON logs"),
        ("inof", "HERDER_LOG: `inof` is neither a log level nor a target of Herder"),
        ("herder_actors=loud", "HERDER_LOG: "),
    ] {
        let (code, out, err) = with(filter);
        assert_eq!((code, out.as_str()), (2, ""), "{filter} {err}");
        assert!(err.contains(expected) && err.contains("allowed: "), "{filter} {err}");
    }
    for filter in ["off", "WARN", "error,herder_actors=warn", "herder::call=off,5=off", "info,actix_http[x{a=1}]=off"] {
        assert_eq!(with(filter).0, 0, "{filter}");
    }
}

/// `--header` reaches the handler if the pool forwards it, with and without a server.
#[test]
fn headers_of_a_call_are_those_that_the_pool_forwards() {
    let server = Server::with(&KEPT.replace("overflow = 0", "overflow = 0\nforward_headers = ['x-tenant', 'cookie']"));
    let (folder, url) = (server.folder.path(), server.url());
    let call =
        ["call", "kept", "headers", "--header", "X-Tenant=acme=1", "--header", "cookie=a=1", "--header", "cookie=b=2"];
    let expected = "{\"x-tenant\":\"acme=1\",\"cookie\":\"a=1; b=2\"}";
    let expected: Value = serde_json::from_str(expected).unwrap();
    for (code, out, err) in [run(folder, &[&call[..], &["--url", &url]].concat()), run(folder, &call)] {
        assert_eq!((code, serde_json::from_str::<Value>(&out).ok()), (0, Some(expected.clone())), "{err}");
    }
    for (header, expected) in [
        ("x-other=1", "do not get the header `x-other`; add it to `forward_headers` of the pool"),
        ("x-other", "allowed: NAME=VALUE"),
        ("x y=1", "allowed: NAME=VALUE"),
        ("x-tenant=a\rb", "allowed: NAME=VALUE"),
    ] {
        let (code, out, err) = run(folder, &["call", "kept", "headers", "--header", header]);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains(expected), "{header:?}: {err}");
    }
}

/// If no server runs, the pool is started for the call.
#[test]
fn call_without_a_server_starts_the_pool() {
    let folder = folder(KEPT);
    let call = |args: &[&str]| run(folder.path(), &[&["call", "kept"], args].concat());
    let (code, out, err) = call(&["echo", r#"{"x": 1}"#]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "{\"x\":1}\n", ""));
    let (code, out, _) = call(&["count", "--session", "ann", "--meta"]);
    let envelope: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &envelope["result"], &envelope["meta"]["routing"]), (0, &Value::from(1), &Value::from("new")));
    let (code, out, err) = call(&["fail"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.starts_with("error: ValueError: on purpose\n  exception (500); worker w1 generation 1; error id "),
        "{err}"
    );
    assert!(err.contains("    Traceback (most recent call last):") && err.contains("raise ValueError"), "{err}");
    let (code, _, err) = call(&["wait", r#"{"file": "never"}"#, "--timeout", "20ms"]);
    assert!(code == 1 && err.contains("deadline-exceeded (504)"), "{err}");
    let (code, _, err) = call(&["nope"]);
    assert!(code == 1 && err.contains("unknown command `nope`"), "{err}");
}

/// A script must not take what fits on a full disk for the whole output. A reader that has read enough is no error.
#[cfg(target_os = "linux")]
#[test]
fn r40_output_that_cannot_be_written_is_an_error() {
    let folder = folder(KEPT);
    for args in [&["check"][..], &["call", "kept", "echo"]] {
        let to = |stdout: std::process::Stdio| herder(folder.path(), args).stdout(stdout).output().unwrap();
        let full = to(fs::File::options().write(true).open("/dev/full").unwrap().into());
        let text = String::from_utf8_lossy(&full.stderr);
        assert!(full.status.code() == Some(1) && text.contains("cannot write to standard output: No space"), "{text}");
        let (reader, unread) = std::io::pipe().unwrap();
        drop(reader);
        let closed = to(unread.into());
        assert_eq!((closed.status.code(), &*closed.stderr), (Some(0), &b""[..]), "{args:?}");
    }
}

#[test]
fn a_pool_that_cannot_start_fails_with_the_reason() {
    let folder = folder(&KEPT.replace("app.py:app", "broken.py:app"));
    fs::write(folder.path().join("broken.py"), "import nonsense_that_is_not_there\n").unwrap();
    let (code, _, err) = run(folder.path(), &["call", "kept", "echo"]);
    assert!(code == 1 && err.contains("nonsense_that_is_not_there"), "{err}");
}

/// A byte order mark, which some editors and programs write, is skipped for a pool that is started for the call.
#[test]
fn a_piped_byte_order_mark_is_skipped() {
    let folder = folder(KEPT);
    let piped = folder.path().join("piped");
    fs::write(&piped, "\u{feff}{\"x\": 1}").unwrap();
    let mut call = herder(folder.path(), &["call", "kept", "echo", "-"]);
    let (code, out, err) = run_stdout(call.stdin(fs::File::open(piped).unwrap()).output().unwrap());
    assert_eq!((code, out.as_str()), (0, "{\"x\":1}\n"), "{err}");
}

#[test]
fn call_and_status_against_a_server() {
    let config = KEPT.replace("listen = '127.0.0.1:1'", "token = 's3cret'");
    let server = Server::with(&config);
    let url = server.url();
    let elsewhere = folder("");
    let piped = elsewhere.path().join("piped");
    fs::write(&piped, "{}").unwrap();
    let mut call = herder(elsewhere.path(), &["call", "kept", "count", "-", "--session", "c/d", "--url", &url]);
    call.env("HERDER_TOKEN", "s3cret").stdin(fs::File::open(piped).unwrap());
    assert_eq!(run_stdout(call.output().unwrap()), (0, "1\n".into(), String::new()));

    let with = |args: &[&str]| {
        run_stdout(
            herder(elsewhere.path(), args).env("HERDER_TOKEN", "s3cret").env("HERDER_URL", &url).output().unwrap(),
        )
    };
    assert_eq!(with(&["call", "kept", "count", "--session", "c/d"]).1, "2\n", "the same server, the same session");
    let (code, _, err) = with(&["call", "kept", "refuse"]);
    assert_eq!(code, 1);
    assert!(err.starts_with("error: not today\n  rejected (422); worker w1 generation 1; code today"), "{err}");
    assert_eq!(with(&["call", "kept", "echo", "[]"]).0, 2, "the server refuses it as malformed");
    let (code, _, err) = with(&["call", "kept", "wait", r#"{"file": 1, "fil": 2}"#]);
    assert!(code == 1 && err.contains("\n  file: ") && err.contains("\n  fil: "), "one line for each argument: {err}");

    let (code, out, _) = with(&["status"]);
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((code, lines.len()), (0, 2), "{out}");
    assert_eq!(lines[0][..5], ["POOL", "TYPE", "STATE", "READY", "WAITING"]);
    assert_eq!(lines[1][..5], ["kept", "enhanced", "running", "1/1", "0/1000"]);
    let (_, out, _) = with(&["status", "kept"]);
    assert!(out.starts_with("kept: enhanced, running, 1/1 ready, 0 of 1000 waiting, 1 session\nload 0 %\n"), "{out}");
    assert!(out.contains(" cores, no call runs\n2 calls ok, 2 failed, 0 lost,"), "{out}");
    assert!(out.contains(" 0 refused\n\nWORKER  GENERATION  PID"), "{out}");
    assert!(out.lines().any(|line| line.starts_with("refuse   1      1 ")), "{out}");
    let json: Value = serde_json::from_str(&with(&["status", "kept", "--json"]).1).unwrap();
    assert_eq!(json["pool"], "kept");
    let (code, _, err) = with(&["status", "nope"]);
    assert!(code == 1 && err.contains("unknown pool `nope`; available pools: `kept`"), "{err}");
    assert!(err.contains(&format!("the pools of the server at {url}; --url selects another server")), "{err}");
    let without = run(elsewhere.path(), &["status", "--url", &url]);
    assert!(
        without.0 == 1 && without.2.contains("a token is required: set HERDER_TOKEN, or HERDER_TOKEN_FILE"),
        "{without:?}"
    );
}

#[test]
fn status_without_a_server_exits_with_1() {
    let folder = folder(KEPT);
    let (code, _, err) = run(folder.path(), &["status"]);
    assert!(code == 1 && err.contains("cannot reach http://127.0.0.1:1") && err.contains("herder serve"), "{err}");
}

/// `serve APP` names the pool after the file.
#[test]
fn serve_names_the_pool_of_an_app_after_its_file() {
    let server = Server::start(folder(""), &["app.py:app", "--enhanced", "--pool-size", "1"], &[]);
    assert!(server.banner.iter().any(|line| line == "pool app: enhanced, 1 worker, app.py:app"), "{:?}", server.banner);
    assert!(server.banner.contains(&format!("page: {}/", server.url())), "{:?}", server.banner);
    assert_eq!(server.call("app/count", "", &[("Herder-Session", "ann")]).result(), &Value::from(1));
}
