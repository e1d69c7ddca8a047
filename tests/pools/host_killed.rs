//! R30: a host is killed with SIGKILL, and no process of its pool is left, whatever its workers were doing. The host is this
//! test binary, started again; a variable names the command that its workers run. It writes its files into a directory of the
//! test.

use futures_util::future::join_all;
use herder::testing::{PoolProcesses, TestContext, wait_until};
use herder::{Pool, config::StartMethod};
use serde_json::{Value, json};
use std::{
    env, fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

const ROLE: &str = "HERDER_TEST_HOST_DOES";
/// Set if the workers are forked.
const TEMPLATE: &str = "HERDER_TEST_HOST_FORKS";
const WORKERS: usize = 2;

/// Each worker starts a child process. Each command creates a file when it begins; all but `idle` never return.
const APP: &str = "
import os, pathlib, re, subprocess, time, herder
app = herder.App()
HOME = pathlib.Path(os.environ['TMPDIR'])

@app.on_start
def breed() -> None:
    subprocess.Popen(['sleep', '3600'])

def begin() -> None:
    (HOME / f'began-{os.getpid()}').touch()

@app.command
def idle() -> None:
    begin()

@app.command
def compute() -> None:
    begin()
    while True:
        pass

@app.command
def match_in_c() -> None:
    begin()
    re.match(r'(a+)+$', 'a' * 64 + 'b')

@app.command
def wait_for_a_child() -> None:
    child = subprocess.Popen(['sh', '-c', 'sleep 3600 & wait'])
    begin()
    child.wait()
";

#[tokio::test]
async fn r30_idle_workers_end_with_a_killed_host() {
    kill_host("idle", 2 * WORKERS).await;
}

#[tokio::test]
async fn r30_workers_busy_in_python_end_with_a_killed_host() {
    kill_host("compute", 2 * WORKERS).await;
}

#[tokio::test]
async fn r30_workers_that_hold_the_gil_in_c_end_with_a_killed_host() {
    kill_host("match_in_c", 2 * WORKERS).await;
}

#[tokio::test]
async fn r30_workers_that_wait_for_subprocesses_end_with_a_killed_host() {
    kill_host("wait_for_a_child", 4 * WORKERS).await;
}

/// The workers are forks of a template. It is a process of the pool, too; the workers wait for calls or compute.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn r30_forked_workers_end_with_a_killed_host() {
    for command in ["idle", "compute"] {
        kill_host_with(command, StartMethod::Template, 2 * WORKERS + 1).await;
    }
}

/// Kills a host whose workers all run this command and which has this number of worker and child processes. Asserts that none
/// is left.
async fn kill_host(command: &str, count: usize) {
    kill_host_with(command, StartMethod::Spawn, count).await;
}

async fn kill_host_with(command: &str, method: StartMethod, count: usize) {
    let home = TempDir::new().unwrap();
    let mut host = Host::start(command, method, home.path());
    let began = |name: &str| name.starts_with("began-");
    wait_until("every worker runs the command", async || {
        files(home.path()).iter().filter(|name| began(name)).count() == WORKERS
    })
    .await;
    let processes = PoolProcesses::new(&fs::read_to_string(home.path().join("name")).unwrap());
    // The processes must be counted before the kill, or the test would also pass if none had started.
    wait_until("all processes have started", async || processes.processes().len() == count).await;
    host.0.kill().unwrap();
    assert_eq!(host.0.wait().unwrap().signal(), Some(9));
    wait_until("no worker and no grandchild is left", async || processes.processes().is_empty()).await;
}

fn files(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// The host process that the test kills.
struct Host(Child);

impl Host {
    #[expect(clippy::disallowed_methods, reason = "it starts a host, not a worker, and waits for its exit")]
    fn start(command: &str, method: StartMethod, home: &Path) -> Self {
        let mut host = Command::new(env::current_exe().unwrap());
        if method == StartMethod::Template {
            host.env(TEMPLATE, "1");
        }
        host.args(["--exact", "pools::host_killed::host", "--include-ignored"]).env(ROLE, command).env("TMPDIR", home);
        Self(host.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not a test: the role of the host.
#[tokio::test]
#[ignore = "started by the other tests"]
async fn host() {
    let Ok(command) = env::var(ROLE) else { return };
    let context = TestContext::new("host");
    context.file("app.py", APP);
    let method = if env::var_os(TEMPLATE).is_some() { StartMethod::Template } else { StartMethod::Spawn };
    let builder = context.basic().app("app.py:app").cwd(context.dir()).pool_size(WORKERS).start(method);
    let config = builder.build().unwrap();
    let pool = Pool::start(config).await.unwrap();
    fs::write(env::temp_dir().join("name"), context.name()).unwrap();
    // Submit one call per worker until each worker has run one. Calls that never return occupy all workers in the first round;
    // `idle` returns, so one worker may have run both calls of a round.
    let nothing = json!({});
    while files(&env::temp_dir()).iter().filter(|name| name.starts_with("began-")).count() < WORKERS {
        let calls = (0..WORKERS).map(|_| pool.call::<Value>(&command, &nothing).into_future());
        join_all(calls).await.into_iter().for_each(|answer| drop(answer.unwrap()));
    }
    std::future::pending::<()>().await;
}
