//! Workers that do not start: the pool says why in every answer, and is whole by itself once the cause is gone (R13, R28).

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use crate::faults::{
    harness::{Expected, assert_error},
    table::{self, Row},
};
use herder::testing::{TestContext, log_lines_of, pool_config, starting_pool, with_timeout};
use herder::{Category, Enhanced, Error, Pool, PoolBuilder, Restart};
use serde_json::{Value, json};
use std::{collections::HashSet, fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

/// Longer than each text it takes the place of: Python takes kept bytecode for that of a source of the same length written in the same second.
const GOOD: &str = "import herder\napp = herder.App()\n@app.command\ndef ok() -> int:\n    \"It works, and says so at some length.\"\n    return 1\n";
/// Speaks the protocol by hand, with `BROKEN` in place of its hello.
const BY_HAND: &str = r#"
import os, sys, time
fd = int(os.environ["HERDER_FD"])
print("about to say something", file=sys.stderr, flush=True)
os.write(fd, BROKEN)
time.sleep(1000)
"#;

type Build<'a> = &'a dyn Fn(&TestContext, PoolBuilder<Enhanced>) -> PoolBuilder<Enhanced>;

/// Starts the pool as a user does and sees the error; then leaves it to itself, repairs the cause, and sees it whole.
async fn does_not_start(
    hint: &str,
    fault: &'static str,
    build: Build<'_>,
    says: &[&str],
    repair: impl FnOnce(&Path),
) -> Error {
    let config = |context: &TestContext| {
        let soon = Duration::from_millis(20);
        let restart = Restart::new().max(2).backoff(soon).max_backoff(soon).cooldown(soon);
        build(context, context.enhanced().restart(restart)).build()
    };
    let (checked, context) = pool_config(hint, config);
    let error = with_timeout("the start", Pool::start(checked)).await.unwrap_err();
    assert!(matches!(error, Error::StartFailed { .. }), "{error:?}");
    assert_error(&error, &Expected { category: Category::Initialization, status: 503, says });
    let lines = log_lines_of(context.name());
    let told: Vec<_> = lines.iter().filter(|line| line.message.contains("could not be started")).collect();
    assert!(told.iter().any(|line| line.level == tracing::Level::ERROR), "it is in the log");
    let different: HashSet<_> = told.iter().map(|line| &line.all).collect();
    assert_eq!(told.len(), different.len(), "each start that failed is told once: {told:?}");
    let traceback = error.report().and_then(|report| report.traceback.as_deref()).and_then(|text| text.lines().last());
    assert!(traceback.is_none_or(|last| told.iter().any(|line| line.all.contains(last))), "{told:?}");
    let folder = context.dir().display().to_string();
    let text = error.to_string();
    let path = text.split_once("looked in ").map_or("", |(_, path)| path);
    let python =
        text.split_once("(Python ").and_then(|(_, rest)| rest.split_once(')')).map_or("", |(python, _)| python);
    let old = text.split_once("is needed, ").and_then(|(_, rest)| rest.split_once(" is ")).map_or("", |(old, _)| old);
    let got = table::got(&error, &[(path, "..."), (python, "..."), (old, "PYTHON"), (&folder, "DIR")]);
    drop(context);

    let pool = starting_pool(hint, config).await;
    let refused = loop {
        match with_timeout("a call", pool.call::<Value>("ok", &json!({}))).await.unwrap_err() {
            refused @ Error::PoolFailed { .. } => break refused,
            Error::QueueTimeout { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_error(&refused, &Expected { category: Category::Initialization, status: 503, says });
    assert!(refused.retry_after().is_some() && refused.is_retryable() && !refused.may_have_run());
    let health = pool.health().await.unwrap();
    assert!(!health.healthy && health.last_start_error.is_some());
    repair(pool.dir());
    pool.wait_healthy("ok").await;
    assert_eq!(pool.health().await.unwrap().last_start_error, None);
    pool.end().await;
    let row = Row {
        fault,
        got,
        status: "503".into(),
        noticed: "nobody: no worker was there yet",
        recovered: "yes, once the cause is gone",
    };
    row.check();
    error
}

#[tokio::test]
async fn a_module_that_does_not_import() {
    let build: Build = &|context, builder| {
        context.file("app.py", "import no_such_thing\n");
        builder.app("app.py:app")
    };
    let says = ["ModuleNotFoundError", "no_such_thing"];
    let repair = |dir: &Path| fs::write(dir.join("app.py"), GOOD).unwrap();
    let error = does_not_start("import", "a module that does not import", build, &says, repair).await;
    let report = error.report().unwrap();
    let traceback = report.traceback.as_deref().unwrap();
    assert!(traceback.contains("app.py") && traceback.contains("line 1"), "{traceback}");
    assert!(!traceback.contains("load.py"), "it begins with the application: {traceback}");
    assert!(report.stderr_tail.is_empty(), "it is told once: {report:?}");
    assert_eq!(report.exit_status, Some(1));
}

#[tokio::test]
async fn a_module_that_is_not_there() {
    let repair = |dir: &Path| fs::write(dir.join("nowhere.py"), GOOD).unwrap();
    let build: Build = &|_, builder| builder.app("nowhere:app");
    does_not_start("nomodule", "a module that is not there", build, &["no module 'nowhere'"], repair).await;
}

#[tokio::test]
async fn a_module_without_an_app() {
    let build: Build = &|context, builder| {
        context.file("app.py", "value = 1\n");
        builder.app("app.py:app")
    };
    let repair = |dir: &Path| fs::write(dir.join("app.py"), GOOD).unwrap();
    does_not_start("noapp", "a module without an app", build, &["no 'app'", "herder.App"], repair).await;
}

#[tokio::test]
async fn a_module_that_exits() {
    let build: Build = &|context, builder| {
        context.file("app.py", "import os, sys\nprint('not today', file=sys.stderr, flush=True)\nos._exit(42)\n");
        builder.app("app.py:app")
    };
    let repair = |dir: &Path| fs::write(dir.join("app.py"), GOOD).unwrap();
    let error = does_not_start("exits", "a module that ends the process", build, &["exit status 42"], repair).await;
    assert_eq!(error.report().unwrap().stderr_tail, ["not today"]);
}

#[tokio::test]
async fn a_python_that_does_not_exist() {
    let build: Build = &|context, builder| {
        context.file("app.py", GOOD);
        builder.app("app.py:app").python("./python")
    };
    let repair = |dir: &Path| executable(dir, "python", THROUGH);
    does_not_start("nopython", "a `python` that does not exist", build, &["program not found", "python"], repair).await;
}

fn executable(dir: &Path, name: &str, text: &str) {
    let path = dir.join(format!("{name}.new"));
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(path, dir.join(name)).unwrap();
}

const THROUGH: &str = "#!/bin/sh\nexec python3 \"$@\"\n";

/// A virtual environment whose Python was removed.
#[tokio::test]
async fn r64_a_python_that_is_a_link_to_nothing() {
    let build: Build = &|context, builder| {
        context.file("app.py", GOOD);
        std::os::unix::fs::symlink("/gone/python3.9", context.dir().join("python")).unwrap();
        builder.app("app.py:app").python("./python")
    };
    let repair = |dir: &Path| executable(dir, "python", THROUGH);
    let says = ["symbolic link", "/gone/python3.9"];
    does_not_start("dangling", "a `python` that is a link to nothing", build, &says, repair).await;
}

/// A wrapper, a loader that lacks a library, a Python that is too old: none of them speaks the protocol.
#[tokio::test]
async fn r64_an_interpreter_that_ends_before_its_hello() {
    let build: Build = &|context, builder| {
        context.file("app.py", GOOD);
        executable(
            context.dir(),
            "python",
            "#!/bin/sh\necho 'libpython3.9.so.1.0: cannot open' >&2\necho >&2\nexit 127\n",
        );
        builder.app("app.py:app").python("./python")
    };
    let repair = |dir: &Path| executable(dir, "python", THROUGH);
    let says = ["exit status 127", "no hello came from", "python`", "its last line: libpython3.9.so.1.0: cannot open"];
    does_not_start("nohello", "an interpreter that ends before its hello", build, &says, repair).await;
}

/// What a real Python 3.9 says: it gets as far as the check of its version.
#[tokio::test]
async fn r64_a_python_that_is_too_old() {
    let build: Build = &|context, builder| {
        context.file("app.py", GOOD);
        let old = "import runpy, sys\nsys.version_info = (3, 9, 18)\nsys.argv[:] = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')\n";
        context.file("old.py", old);
        executable(context.dir(), "python", "#!/bin/sh\nexec python3 old.py \"$@\"\n");
        builder.app("app.py:app").python("./python")
    };
    let repair = |dir: &Path| executable(dir, "python", THROUGH);
    let says = ["Python 3.10 or later is needed", "is 3.9.18"];
    does_not_start("old", "a `python` that is too old", build, &says, repair).await;
}

#[tokio::test]
async fn r64_an_app_without_commands() {
    let build: Build = &|context, builder| {
        context.file("app.py", "import herder\napp = herder.App()\n");
        builder.app("app.py:app")
    };
    let repair = |dir: &Path| fs::write(dir.join("app.py"), GOOD).unwrap();
    does_not_start("nocommands", "an app without commands", build, &["no commands", "imported?"], repair).await;
}

#[tokio::test]
async fn r64_one_module_under_two_names() {
    let build: Build = &|context, builder| {
        fs::create_dir(context.dir().join("shop")).unwrap();
        let first = "import herder\napp = herder.App()\nimport shop.more\n";
        context.file("shop/app.py", first);
        context.file("shop/more.py", "from shop.app import app\n@app.command\ndef more(): pass\n");
        builder.app("shop/app.py:app")
    };
    let repair = |dir: &Path| fs::write(dir.join("shop/app.py"), GOOD).unwrap();
    does_not_start(
        "twice",
        "a module that is imported under two names",
        build,
        &["imported twice", "shop.app:app"],
        repair,
    )
    .await;
}

/// `start_timeout`: from spawn to ready.
#[tokio::test]
async fn a_worker_that_never_says_ready() {
    let slow = "import os, sys, time\nprint('loading the model', file=sys.stderr, flush=True)\n\
                while not os.path.exists('model'):\n    time.sleep(0.01)\n";
    let build: Build = &|context, builder| {
        context.file("app.py", &format!("{slow}{GOOD}"));
        builder.app("app.py:app").start_timeout(Duration::from_secs(3))
    };
    let repair = |dir: &Path| fs::write(dir.join("model"), "").unwrap();
    let error = does_not_start("never", "a worker that never says ready", build, &["not ready in time"], repair).await;
    let report = error.report().unwrap();
    assert_eq!(report.stderr_tail, ["loading the model"]);
    assert!(report.stack.as_deref().is_some_and(|stack| stack.contains("in <module>")), "where it was: {report:?}");
}

/// Garbage, a giant and half a frame before the hello, from a worker that is no Python package of ours.
async fn broken_hello(hint: &str, fault: &'static str, bytes: &str, says: &[&str]) {
    let build: Build = &|context, builder| {
        let script = BY_HAND.replace("BROKEN", bytes);
        context.file("run.sh", &format!("exec python3 - <<'EOF'\n{script}\nEOF\n"));
        builder.command(["sh", "run.sh"])
    };
    // The repaired worker is the package's own, found where the host has put it.
    let repair = |dir: &Path| {
        fs::write(dir.join("good.py"), BY_HAND_GOOD).unwrap();
        fs::write(dir.join("new.sh"), "exec python3 good.py\n").unwrap();
        fs::rename(dir.join("new.sh"), dir.join("run.sh")).unwrap();
    };
    let error = does_not_start(hint, fault, build, says, repair).await;
    assert_eq!(error.report().unwrap().stderr_tail, ["about to say something"]);
}

/// The smallest worker of `docs/protocol.md`.
const BY_HAND_GOOD: &str = r#"
import json, os, struct, sys
fd = int(os.environ["HERDER_FD"])

def read(size):
    data = b""
    while len(data) < size:
        more = os.read(fd, size - len(data))
        if not more:
            sys.exit(0)
        data += more
    return data

def send(kind, wire, body):
    os.write(fd, struct.pack("<IBBHQ", len(body), kind, 0, 0, wire) + body)

def receive():
    length, kind, _, _, wire = struct.unpack("<IBBHQ", read(16))
    return kind, wire, read(length)

receive()
send(1, 0, json.dumps({"protocol": 1, "pid": os.getpid(), "window": 1}).encode())
send(2, 0, b'{"commands": [{"name": "ok"}]}')
while True:
    kind, wire, body = receive()
    if kind == 3:
        send(4, wire, bytes(16) + b"1")
    elif kind == 20:
        sys.exit(0)
"#;

#[tokio::test]
async fn garbage_before_the_hello() {
    let says = ["reserved_bytes", "broke the protocol"];
    broken_hello("garbage0", "garbage before the hello", "b'HTTP/1.1 400 Bad Request\\r\\n'", &says).await;
}

#[tokio::test]
async fn a_giant_before_the_hello() {
    let bytes = r"b'\x00\x00\x00\x40\x01\x00\x00\x00' + bytes(8)";
    broken_hello("gib0", "a hello of 1 GiB", bytes, &["oversize", "1073741824"]).await;
}

#[tokio::test]
async fn a_hello_of_another_protocol() {
    let hello = r#"b'{"protocol":9,"pid":1,"window":1}'"#;
    let bytes = format!("bytes([len({hello}),0,0,0,1,0,0,0]) + bytes(8) + {hello}");
    broken_hello("proto9", "a hello of another protocol version", &bytes, &["protocol_mismatch", "9"]).await;
}
