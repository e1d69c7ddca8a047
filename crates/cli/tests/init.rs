//! The server as PID 1, as in a container without an init process.

use crate::support::{Server, folder, wait_until};
use herder::testing::{Signal, signal, stat};
use serde_json::json;
use std::{
    fs,
    process::{Command, Stdio},
};

/// A pool with one worker, whose commands leave orphans to PID 1.
const CONFIG: &str = "[pools.one]\nworker_type = 'enhanced'\napp = 'leaves.py:app'\npool_size = 1\noverflow = 0\n";
const LEAVES: &str = r#"
import os
import herder
app = herder.App()

@app.command
def leave(count: int, then: str):
    # Each child is in a separate session, and exits with this process or with the last holder of the pipe.
    reading, writing = os.pipe()
    for _ in range(count):
        middle = os.fork()
        if middle == 0:
            os.setsid()
            if os.fork() == 0:
                os.close(writing)
                os.read(reading, 1)
            os._exit(0)
        os.waitpid(middle, 0)
    if then == "exit": os._exit(3)
    if then == "kill": os.kill(os.getpid(), 9)
    os.close(writing)
    os.close(reading)
"#;

/// Options of `unshare` that make a process PID 1 of a namespace: as root, and as another user if the system allows it.
const NAMESPACES: [&[&str]; 2] = [&[], &["--user", "--map-root-user"]];
const INIT: [&str; 4] = ["--pid", "--fork", "--mount-proc", "--kill-child"];

/// R30: orphans are reaped, the exit status of workers is still reported, and SIGTERM stops the server gracefully.
#[test]
fn r30_as_pid_1_the_server_reaps_orphans_and_obeys_sigterm() {
    let Some(options) = NAMESPACES.into_iter().find(|options| is_allowed(options)) else {
        eprintln!("not tested: this user may not create a PID namespace");
        return;
    };
    let folder = folder(CONFIG);
    fs::write(folder.path().join("leaves.py"), LEAVES).unwrap();
    let unshare = [&["unshare"], options, &INIT].concat();
    let script = format!("import os, sys\nos.execvp('unshare', {unshare:?} + sys.argv[1:])");
    let mut server = Server::by(&script, folder);
    server.until_ready();
    let init = children(server.pid())[0];
    let leave = |then: &str| server.call("one/leave", &json!({ "count": 30, "then": then }).to_string(), &[]);

    for _ in 0..5 {
        assert_eq!(leave("return").result(), &json!(null));
    }
    // The worker exits at the same moment as the processes that it leaves.
    for (then, field, value) in [("exit", "exit_status", 3), ("kill", "signal", 9), ("exit", "exit_status", 3)] {
        assert_eq!(leave(then).problem(502, "worker-lost")[field], value, "{then}");
        wait_until("another worker", || server.get("/readyz").status == 200);
    }
    wait_until("only a worker and the watchdog are left", || children(init).len() == 2);
    signal(init, Signal::TERM).unwrap();
    assert_eq!(server.wait().code(), Some(0), "unshare passes on the exit code");
}

fn is_allowed(options: &[&str]) -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(options).args(INIT).arg("true").stderr(Stdio::null());
    unshare.status().is_ok_and(|status| status.success())
}

/// Returns the children of a process, including zombies.
fn children(parent: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    all.filter(|&pid| stat(pid).is_some_and(|seen| seen.parent == parent)).collect()
}
