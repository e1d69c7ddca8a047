//! Workers that fail to start (R13, R28). Every error of the pool has the reason, and the pool recovers by itself after the
//! cause is repaired.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use crate::faults::{
    harness::{Expected, assert_error},
    table::{self, Row},
};
use herder::{
    Error, Pool,
    config::{Enhanced, PoolBuilder, Restart, StartMethod},
    error::Category,
    status::TemplateStatus,
    testing::{TestContext, log_lines_of, pool, pool_config, starting_pool, wait_for_log, with_timeout},
};
use serde_json::{Value, json};
use std::{collections::HashSet, fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

/// The repaired app. It is longer than each broken app that it replaces: Python would reuse the cached bytecode of a source
/// that has the same length and was written in the same second.
const GOOD: &str = "import herder\napp = herder.App()\n@app.command\ndef ok() -> int:\n    \"A docstring that makes this source long.\"\n    return 1\n";
/// A worker without the Python package. It writes `BROKEN` in place of its hello.
const BROKEN_WORKER: &str = r#"
import os, sys, time
fd = int(os.environ["HERDER_FD"])
print("before the hello", file=sys.stderr, flush=True)
os.write(fd, BROKEN)
time.sleep(1000)
"#;

type Build<'a> = &'a dyn Fn(&TestContext, PoolBuilder<Enhanced>) -> PoolBuilder<Enhanced>;

/// Checks the error of `Pool::start`. Then starts the pool without waiting, checks the errors of its calls and its health,
/// repairs the cause, and waits until the pool is healthy.
async fn check_failed_start(
    hint: &str,
    fault: &'static str,
    build: Build<'_>,
    contains: &[&str],
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
    assert_error(&error, &Expected { category: Category::Initialization, status: 503, contains });
    let lines = log_lines_of(context.name());
    let logged: Vec<_> = lines.iter().filter(|line| line.message.contains("worker failed to start")).collect();
    assert!(logged.iter().any(|line| line.level == tracing::Level::ERROR), "the log has an error: {logged:?}");
    let different: HashSet<_> = logged.iter().map(|line| &line.all).collect();
    assert_eq!(logged.len(), different.len(), "each failed start is logged once: {logged:?}");
    let traceback = error.report().and_then(|report| report.traceback.as_deref()).and_then(|text| text.lines().last());
    assert!(traceback.is_none_or(|last| logged.iter().any(|line| line.all.contains(last))), "{logged:?}");
    let directory = context.dir().display().to_string();
    let text = error.to_string();
    let path = text.split_once("not found in ").map_or("", |(_, path)| path);
    let python =
        text.split_once("(Python ").and_then(|(_, rest)| rest.split_once(')')).map_or("", |(python, _)| python);
    let old =
        text.split_once("is required, but ").and_then(|(_, rest)| rest.split_once(" is ")).map_or("", |(old, _)| old);
    let outcome = table::error_cell(&error, &[(path, "..."), (python, "..."), (old, "PYTHON"), (&directory, "DIR")]);
    drop(context);

    let pool = starting_pool(hint, config).await;
    let refused = loop {
        match with_timeout("a call", pool.call::<Value>("ok", &json!({}))).await.unwrap_err() {
            refused @ Error::PoolFailed { .. } => break refused,
            // The pool has not failed yet: fewer starts than the limit have failed.
            Error::QueueTimeout { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_error(&refused, &Expected { category: Category::Initialization, status: 503, contains });
    assert!(refused.retry_after().is_some() && refused.is_retryable() && !refused.may_have_run());
    let health = pool.health().await.unwrap();
    assert!(!health.healthy && health.last_start_error.is_some());
    repair(pool.dir());
    pool.wait_healthy("ok").await;
    assert_eq!(pool.health().await.unwrap().last_start_error, None);
    pool.shutdown_and_check().await;
    let row = Row {
        fault,
        outcome,
        status: "503".into(),
        affected: "nobody: there was no worker yet",
        recovery: "yes, after the cause is repaired",
    };
    row.check();
    error
}

#[tokio::test]
async fn a_module_that_fails_to_import() {
    let build: Build = &|context, builder| {
        context.file("app.py", "import no_such_thing\n");
        builder.app("app.py:app")
    };
    let contains = ["ModuleNotFoundError", "no_such_thing"];
    let repair = |dir: &Path| fs::write(dir.join("app.py"), GOOD).unwrap();
    let error = check_failed_start("import", "a module that fails to import", build, &contains, repair).await;
    let report = error.report().unwrap();
    let traceback = report.traceback.as_deref().unwrap();
    assert!(traceback.contains("app.py") && traceback.contains("line 1"), "{traceback}");
    assert!(!traceback.contains("load.py"), "the traceback starts with the app: {traceback}");
    assert!(report.stderr_tail.is_empty(), "the traceback is not repeated in the tail of stderr: {report:?}");
    assert_eq!(report.exit_status, Some(1));
}

#[tokio::test]
async fn a_module_that_does_not_exist() {
    let repair = |dir: &Path| fs::write(dir.join("nowhere.py"), GOOD).unwrap();
    let build: Build = &|_, builder| builder.app("nowhere:app");
    check_failed_start("nomodule", "a module that does not exist", build, &["module 'nowhere' not found"], repair)
        .await;
}

#[tokio::test]
async fn a_module_without_an_app() {
    let build: Build = &|context, builder| {
        context.file("app.py", "value = 1\n");
        builder.app("app.py:app")
    };
    let repair = |dir: &Path| fs::write(dir.join("app.py"), GOOD).unwrap();
    check_failed_start("noapp", "a module without an app", build, &["no 'app'", "herder.App"], repair).await;
}

#[tokio::test]
async fn a_module_that_ends_the_process() {
    let build: Build = &|context, builder| {
        context.file("app.py", "import os, sys\nprint('not today', file=sys.stderr, flush=True)\nos._exit(42)\n");
        builder.app("app.py:app")
    };
    let repair = |dir: &Path| fs::write(dir.join("app.py"), GOOD).unwrap();
    let error = check_failed_start("exits", "a module that ends the process", build, &["exit status 42"], repair).await;
    assert_eq!(error.report().unwrap().stderr_tail, ["not today"]);
}

#[tokio::test]
async fn a_python_that_does_not_exist() {
    let build: Build = &|context, builder| {
        context.file("app.py", GOOD);
        builder.app("app.py:app").python("./python")
    };
    let repair = |dir: &Path| executable(dir, "python", WRAPPER);
    check_failed_start("nopython", "a `python` that does not exist", build, &["program not found", "python"], repair)
        .await;
}

fn executable(dir: &Path, name: &str, text: &str) {
    let path = dir.join(format!("{name}.new"));
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(path, dir.join(name)).unwrap();
}

/// A wrapper around the real Python.
const WRAPPER: &str = "#!/bin/sh\nexec python3 \"$@\"\n";

/// R64: a virtual environment whose Python was removed.
#[tokio::test]
async fn r64_a_python_that_is_a_dangling_link() {
    let build: Build = &|context, builder| {
        context.file("app.py", GOOD);
        std::os::unix::fs::symlink("/gone/python3.9", context.dir().join("python")).unwrap();
        builder.app("app.py:app").python("./python")
    };
    let repair = |dir: &Path| executable(dir, "python", WRAPPER);
    let contains = ["symbolic link", "/gone/python3.9"];
    check_failed_start("dangling", "a `python` that is a dangling link", build, &contains, repair).await;
}

/// R64: a program that exits without using the protocol, such as a wrapper or a Python whose shared library is missing.
#[tokio::test]
async fn r64_an_interpreter_that_exits_before_its_hello() {
    let build: Build = &|context, builder| {
        context.file("app.py", GOOD);
        executable(
            context.dir(),
            "python",
            "#!/bin/sh\necho 'libpython3.9.so.1.0: cannot open' >&2\necho >&2\nexit 127\n",
        );
        builder.app("app.py:app").python("./python")
    };
    let repair = |dir: &Path| executable(dir, "python", WRAPPER);
    let contains = ["exit status 127", "python` sent no hello", "last output: libpython3.9.so.1.0: cannot open"];
    check_failed_start("nohello", "an interpreter that exits before its hello", build, &contains, repair).await;
}

/// R64: the package checks the version before it uses any newer syntax, so a Python 3.9 reports the version that is required.
#[tokio::test]
async fn r64_a_python_that_is_too_old() {
    let build: Build = &|context, builder| {
        context.file("app.py", GOOD);
        let old = "import runpy, sys\nsys.version_info = (3, 9, 18)\nsys.argv[:] = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')\n";
        context.file("old.py", old);
        executable(context.dir(), "python", "#!/bin/sh\nexec python3 old.py \"$@\"\n");
        builder.app("app.py:app").python("./python")
    };
    let repair = |dir: &Path| executable(dir, "python", WRAPPER);
    let contains = ["Python 3.10 or later is required", "is version 3.9.18"];
    check_failed_start("old", "a `python` that is too old", build, &contains, repair).await;
}

#[tokio::test]
async fn r64_an_app_without_commands() {
    let build: Build = &|context, builder| {
        context.file("app.py", "import herder\napp = herder.App()\n");
        builder.app("app.py:app")
    };
    let repair = |dir: &Path| fs::write(dir.join("app.py"), GOOD).unwrap();
    check_failed_start("nocommands", "an app without commands", build, &["no commands", "import the module"], repair)
        .await;
}

#[tokio::test]
async fn r64_a_module_imported_under_two_names() {
    let build: Build = &|context, builder| {
        fs::create_dir(context.dir().join("shop")).unwrap();
        let first = "import herder\napp = herder.App()\nimport shop.more\n";
        context.file("shop/app.py", first);
        context.file("shop/more.py", "from shop.app import app\n@app.command\ndef more(): pass\n");
        builder.app("shop/app.py:app")
    };
    let repair = |dir: &Path| fs::write(dir.join("shop/app.py"), GOOD).unwrap();
    check_failed_start(
        "twice",
        "a module imported under two names",
        build,
        &["imported twice", "shop.app:app"],
        repair,
    )
    .await;
}

/// `start_timeout` limits the time from the start of the process until the worker is ready.
#[tokio::test]
async fn a_worker_that_never_becomes_ready() {
    let slow = "import os, sys, time\nprint('loading the model', file=sys.stderr, flush=True)\n\
                while not os.path.exists('model'):\n    time.sleep(0.01)\n";
    let build: Build = &|context, builder| {
        context.file("app.py", &format!("{slow}{GOOD}"));
        builder.app("app.py:app").start_timeout(Duration::from_secs(3))
    };
    let repair = |dir: &Path| fs::write(dir.join("model"), "").unwrap();
    let error = check_failed_start(
        "never",
        "a worker that never becomes ready",
        build,
        &["not ready within `start_timeout`"],
        repair,
    )
    .await;
    let report = error.report().unwrap();
    assert_eq!(report.stderr_tail, ["loading the model"]);
    assert!(
        report.stack.as_deref().is_some_and(|stack| stack.contains("in <module>")),
        "the error has the stack: {report:?}"
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_template_whose_import_raises() {
    let build: Build = &|context, builder| {
        context.file("app.py", "import no_such_thing\n");
        builder.app("app.py:app").start(StartMethod::Template)
    };
    let repair = |dir: &Path| fs::write(dir.join("app.py"), GOOD).unwrap();
    let contains = ["ModuleNotFoundError", "no_such_thing"];
    let error = check_failed_start("raises", "a template whose import raises", build, &contains, repair).await;
    let traceback = error.report().unwrap().traceback.as_deref().unwrap();
    assert!(traceback.contains("app.py") && !traceback.contains("load.py"), "as without a template: {traceback}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_template_whose_import_hangs() {
    let slow = "import os, time\nwhile not os.path.exists('model'):\n    time.sleep(0.01)\n";
    let build: Build = &|context, builder| {
        context.file("app.py", &format!("{slow}{GOOD}"));
        builder.app("app.py:app").start(StartMethod::Template).start_timeout(Duration::from_secs(3))
    };
    let repair = |dir: &Path| fs::write(dir.join("model"), "").unwrap();
    check_failed_start("hangs", "a template whose import hangs", build, &["`start_timeout`"], repair).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_template_whose_import_starts_a_thread() {
    let thread =
        "import threading\nthreading.Thread(target=threading.Event().wait, name='poller', daemon=True).start()\n";
    let pool = pool("thread", |context| {
        context.file("app.py", &format!("{thread}{GOOD}"));
        context.enhanced().app("app.py:app").start(StartMethod::Template).build()
    })
    .await;
    assert_eq!(pool.call::<u32>("ok", &json!({})).await.unwrap(), 1);
    let template = pool.status().await.unwrap().template;
    let Some(TemplateStatus::Unfit { reason }) = template else { panic!("{template:?}") };
    wait_for_log(&[pool.name().as_str(), &reason, "workers are spawned until the next reload"]).await;
    pool.shutdown_and_check().await;
    let row = Row {
        fault: "a template whose import starts a thread",
        outcome: table::result_cell(&format!("`1`; the log says `{reason}`")),
        status: "200".into(),
        affected: "nobody",
        recovery: "yes, workers are spawned",
    };
    row.check();
}

/// Checks a worker that writes `bytes` in place of its hello.
async fn broken_hello(hint: &str, fault: &'static str, bytes: &str, contains: &[&str]) {
    let build: Build = &|context, builder| {
        let script = BROKEN_WORKER.replace("BROKEN", bytes);
        context.file("run.sh", &format!("exec python3 - <<'EOF'\n{script}\nEOF\n"));
        builder.command(["sh", "run.sh"])
    };
    let repair = |dir: &Path| {
        fs::write(dir.join("good.py"), MINIMAL_WORKER).unwrap();
        // A rename is atomic: a start that happens meanwhile must not run half a script.
        fs::write(dir.join("new.sh"), "exec python3 good.py\n").unwrap();
        fs::rename(dir.join("new.sh"), dir.join("run.sh")).unwrap();
    };
    let error = check_failed_start(hint, fault, build, contains, repair).await;
    assert_eq!(error.report().unwrap().stderr_tail, ["before the hello"]);
}

/// The minimal worker of `docs/protocol.md`.
const MINIMAL_WORKER: &str = r#"
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
    let contains = ["reserved_bytes", "protocol violation"];
    broken_hello("garbage0", "garbage before the hello", "b'HTTP/1.1 400 Bad Request\\r\\n'", &contains).await;
}

#[tokio::test]
async fn a_hello_of_one_gib() {
    let bytes = r"b'\x00\x00\x00\x40\x01\x00\x00\x00' + bytes(8)";
    broken_hello("gib0", "a hello of 1 GiB", bytes, &["oversize", "1073741824"]).await;
}

#[tokio::test]
async fn a_hello_of_another_protocol_version() {
    let hello = r#"b'{"protocol":9,"pid":1,"window":1}'"#;
    let bytes = format!("bytes([len({hello}),0,0,0,1,0,0,0]) + bytes(8) + {hello}");
    broken_hello("proto9", "a hello of another protocol version", &bytes, &["protocol_mismatch", "9"]).await;
}
