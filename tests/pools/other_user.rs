//! R30: a host that starts a pool as root and then changes its user. Its old workers belong to root, so it may not send signals
//! to them, and it cannot read the directory of their package. The host is this test binary, started again; a variable names
//! its role.

use herder::{
    Pool, PoolConfig,
    testing::{PoolProcesses, TestContext, change_user, stat, wait_until},
};
use serde_json::{Value, json};
use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

const ROLE: &str = "HERDER_TEST_OTHER_USER";
const NOBODY: u32 = 65534;

/// Each worker has a child in its process group. `hang` computes in C and holds the GIL: only SIGKILL ends it.
const APP: &str = "
import os, pathlib, re, subprocess, herder
app = herder.App()

@app.on_start
def breed() -> None:
    subprocess.Popen(['sleep', '3600'])

@app.command
def who() -> list[int]:
    return [os.getuid(), os.getpid()]

@app.command
def hang() -> None:
    re.match(r'(a+)+$', 'a' * 64 + 'b')
";

/// Returns whether the test can change its user. If it cannot, it prints that it proved nothing.
fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        _ = writeln!(io::stderr(), "SKIPPED, nothing was proved: {test} has to be run as root");
    }
    root
}

/// R30: a hanging worker of the old user is killed with its child. The next worker belongs to the new user and uses a package
/// that this user wrote. The pool shuts down in order.
#[tokio::test]
async fn r30_host_that_changed_its_user_kills_its_old_workers() {
    if !is_root("r30_host_that_changed_its_user_kills_its_old_workers") {
        return;
    }
    let mut host = Host::start("kills");
    let processes = PoolProcesses::new(&host.next());
    let first = host.next();
    host.resume(); // the host becomes the user `nobody`, and a worker of root hangs
    let answer = host.next();
    assert!(answer.starts_with("65534 "), "the next worker belongs to the new user: {answer}");
    let old = first.strip_prefix("0 ").unwrap().parse().unwrap();
    wait_until("the old worker has exited", async || stat(old).is_none()).await;
    assert_eq!(processes.processes().len(), 2, "one worker and its child");
    host.resume();
    assert_eq!(host.next(), "left 0");
    wait_until("nothing is left", async || processes.processes().is_empty()).await;
}

/// R30: if the watchdog of root was killed, no process of the host may kill the old workers. A shutdown still ends, and reports
/// the workers that are left.
#[tokio::test]
async fn r30_shutdown_reports_workers_it_may_not_kill() {
    if !is_root("r30_shutdown_reports_workers_it_may_not_kill") {
        return;
    }
    let mut host = Host::start("keeps");
    let processes = PoolProcesses::new(&host.next());
    host.next();
    let pid = host.process.id();
    let watchdog = || children(pid).find(|pid| stat(*pid).is_some_and(|seen| seen.name == "herder-watchdog"));
    let first_watchdog = watchdog().unwrap();
    // The watchdog of root could still kill root's workers, and the host starts a new one after its death. So the watchdog must
    // die after the host has changed its user: the new watchdog then belongs to the new user and may not signal them either.
    let mut stdin = host.stdin.take().unwrap();
    writeln!(stdin, "go on").unwrap(); // the host becomes the user `nobody`
    assert_eq!(host.next(), "changed");
    herder::testing::signal(first_watchdog, herder::testing::Signal::KILL).unwrap();
    wait_until("another watchdog", async || watchdog().is_some_and(|pid| pid != first_watchdog)).await;
    writeln!(stdin, "go on").unwrap();
    let left = host.next();
    processes.processes().iter().for_each(|seen| _ = processes.signal(seen.pid, herder::testing::Signal::KILL));
    assert_eq!(left, "left 1");
}

/// R30: the workers of the old user are also killed when their host is killed.
#[tokio::test]
async fn r30_workers_of_the_old_user_end_with_a_killed_host() {
    if !is_root("r30_workers_of_the_old_user_end_with_a_killed_host") {
        return;
    }
    let mut host = Host::start("keeps");
    let processes = PoolProcesses::new(&host.next());
    host.next();
    host.resume();
    assert_eq!(host.next(), "changed");
    assert_eq!(processes.processes().len(), 2, "one worker and its child");
    host.process.kill().unwrap();
    wait_until("nothing is left", async || processes.processes().is_empty()).await;
}

fn children(parent: u32) -> impl Iterator<Item = u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    all.filter(move |&pid| stat(pid).is_some_and(|seen| seen.parent == parent && seen.state != 'Z'))
}

/// The process that changes its user. It has its own home directory, prints lines that begin with `SAYS`, and waits for a line
/// on its standard input before each step.
struct Host {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    _home: TempDir,
}

impl Host {
    #[expect(clippy::disallowed_methods, reason = "it starts a host, not a worker, and waits for its exit")]
    fn start(role: &str) -> Self {
        let home = TempDir::new().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap(); // like `/root` on some systems
        let mut host = Command::new(env::current_exe().unwrap());
        host.args(["--exact", "pools::other_user::host", "--include-ignored", "--nocapture"]);
        host.env(ROLE, role).env("HOME", home.path()).env_remove("XDG_CACHE_HOME");
        let mut process = host.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (process.stdin.take(), BufReader::new(process.stdout.take().unwrap()));
        Self { process, stdin, stdout, _home: home }
    }

    /// Returns the next line of the host.
    fn next(&mut self) -> String {
        let mut line = String::new();
        while !line.starts_with("SAYS ") {
            line.clear();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the host has exited");
        }
        line["SAYS ".len()..].trim_end().to_owned()
    }

    /// Lets the host take its next step.
    fn resume(&mut self) {
        writeln!(self.stdin.as_ref().unwrap(), "go on").unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Prints a line for the test.
fn say(text: impl std::fmt::Display) {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "\nSAYS {text}").unwrap();
    stdout.flush().unwrap();
}

/// Waits until the test calls `resume`.
fn wait_to_resume() {
    io::stdin().read_line(&mut String::new()).unwrap();
}

/// Not a test: the role of the host.
#[tokio::test]
#[ignore = "started by the other tests"]
async fn host() {
    let Ok(role) = env::var(ROLE) else { return };
    let context = TestContext::new("user");
    context.file("app.py", APP);
    fs::set_permissions(context.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    let pool = Pool::start(config(&context)).await.unwrap();
    say(context.name());
    say(who(&pool).await);
    let hang = || pool.call::<Value>("hang", &json!({})).timeout(Duration::from_millis(50));
    if role == "kills" {
        wait_to_resume();
        change_user(NOBODY).unwrap();
        hang().await.unwrap_err();
        say(who(&pool).await);
        wait_to_resume();
        say(format_args!("left {}", pool.shutdown(Duration::ZERO).await.unwrap().still_running.len()));
    } else {
        wait_to_resume();
        change_user(NOBODY).unwrap();
        say("changed");
        wait_to_resume();
        hang().await.unwrap_err();
        say(format_args!("left {}", pool.shutdown(Duration::ZERO).await.unwrap().still_running.len()));
    }
    wait_to_resume(); // the test looks for processes that are left
}

fn config(context: &TestContext) -> PoolConfig {
    let ms = Duration::from_millis;
    let pool = context.basic().app("app.py:app").cwd(context.dir()).pool_size(1).overflow(0);
    let pool = pool.cancel(herder::config::Cancel::new().interrupt(ms(10)).kill(ms(100)));
    pool.stop(herder::config::Stop::new().grace(ms(200)).term(ms(200))).build().unwrap()
}

/// Returns the user id and the pid of a worker.
async fn who(pool: &Pool) -> String {
    let [user, process]: [u32; 2] = pool.call("who", &json!({})).await.unwrap();
    format!("{user} {process}")
}
