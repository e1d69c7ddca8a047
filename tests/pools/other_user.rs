//! R30: a host that is started as root, starts a pool, and then becomes another user. Its old workers are root's: it may not signal them, and their
//! package lies where it cannot read. The host is this test binary, started again in a role that a variable names.

use herder::testing::{PoolProcesses, TestContext, change_user, stat, wait_until};
use herder::{Pool, PoolConfig};
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

/// Each worker has a child in its group. `hang` computes in C, with the GIL held: only SIGKILL ends it.
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

/// Whether this test can change its user; where it can't it says that it proved nothing.
fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        _ = writeln!(io::stderr(), "SKIPPED, nothing was proved: {test} has to be run as root");
    }
    root
}

/// R30: a worker of the old user that hangs is killed, with what it started; the next one is the new user's, with a package that this user wrote; and
/// the pool ends in order.
#[tokio::test]
async fn r30_a_host_that_became_another_user_ends_its_old_workers() {
    if !is_root("r30_a_host_that_became_another_user_ends_its_old_workers") {
        return;
    }
    let mut host = Host::start("kills");
    let processes = PoolProcesses::new(&host.next());
    let first = host.next();
    host.goes_on(); // it is nobody now, and one worker of root's hangs
    let answer = host.next();
    assert!(answer.starts_with("65534 "), "the next worker is the new user's: {answer}");
    let old = first.strip_prefix("0 ").unwrap().parse().unwrap();
    wait_until("the old worker is gone", async || stat(old).is_none()).await;
    assert_eq!(processes.processes().len(), 2, "one worker and its child");
    host.goes_on();
    assert_eq!(host.next(), "left 0");
    wait_until("nothing is left", async || processes.processes().is_empty()).await;
}

/// R30: without the watchdog that root started nobody can end them: a shutdown ends all the same, and names what is left.
#[tokio::test]
async fn r30_a_shutdown_ends_that_may_not_end_its_workers() {
    if !is_root("r30_a_shutdown_ends_that_may_not_end_its_workers") {
        return;
    }
    let mut host = Host::start("leaves");
    let processes = PoolProcesses::new(&host.next());
    host.next();
    let pid = host.process.id();
    let watchdog = || children(pid).find(|pid| stat(*pid).is_some_and(|seen| seen.name == "herder-watchdog"));
    let roots = watchdog().unwrap();
    let mut stdin = host.stdin.take().unwrap();
    writeln!(stdin, "go on").unwrap(); // it is nobody now
    assert_eq!(host.next(), "changed");
    herder::testing::signal(roots, herder::testing::Signal::KILL).unwrap();
    wait_until("another watchdog", async || watchdog().is_some_and(|pid| pid != roots)).await;
    writeln!(stdin, "go on").unwrap();
    let left = host.next();
    processes.processes().iter().for_each(|seen| _ = processes.signal(seen.pid, herder::testing::Signal::KILL));
    assert_eq!(left, "left 1");
}

/// R30: they go with their host, too, however it ends.
#[tokio::test]
async fn r30_workers_of_the_old_user_go_with_a_killed_host() {
    if !is_root("r30_workers_of_the_old_user_go_with_a_killed_host") {
        return;
    }
    let mut host = Host::start("leaves");
    let processes = PoolProcesses::new(&host.next());
    host.next();
    host.goes_on();
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

/// The process that changes its user, with a home of its own. It says one line after the other, and waits to be told to go on.
struct Host {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    _home: TempDir,
}

impl Host {
    #[expect(clippy::disallowed_methods, reason = "it is a host that is started, not a worker; it is waited for")]
    fn start(role: &str) -> Self {
        let home = TempDir::new().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap(); // as `/root` is on some systems
        let mut host = Command::new(env::current_exe().unwrap());
        host.args(["--exact", "pools::other_user::host", "--include-ignored", "--nocapture"]);
        host.env(ROLE, role).env("HOME", home.path()).env_remove("XDG_CACHE_HOME");
        let mut process = host.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (process.stdin.take(), BufReader::new(process.stdout.take().unwrap()));
        Self { process, stdin, stdout, _home: home }
    }

    fn next(&mut self) -> String {
        let mut line = String::new();
        while !line.starts_with("SAYS ") {
            line.clear();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the host has ended");
        }
        line["SAYS ".len()..].trim_end().to_owned()
    }

    fn goes_on(&mut self) {
        writeln!(self.stdin.as_ref().unwrap(), "go on").unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn say(text: impl std::fmt::Display) {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "\nSAYS {text}").unwrap();
    stdout.flush().unwrap();
}

fn wait_to_go_on() {
    io::stdin().read_line(&mut String::new()).unwrap();
}

/// The host's role; a test in name only.
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
        wait_to_go_on();
        change_user(NOBODY).unwrap();
        hang().await.unwrap_err();
        say(who(&pool).await);
        wait_to_go_on();
        say(format_args!("left {}", pool.shutdown(Duration::ZERO).await.unwrap().still_running.len()));
    } else {
        wait_to_go_on();
        change_user(NOBODY).unwrap();
        say("changed");
        wait_to_go_on();
        hang().await.unwrap_err();
        say(format_args!("left {}", pool.shutdown(Duration::ZERO).await.unwrap().still_running.len()));
    }
    wait_to_go_on(); // until the test has seen what is left
}

fn config(context: &TestContext) -> PoolConfig {
    let ms = Duration::from_millis;
    let pool = context.basic().app("app.py:app").cwd(context.dir()).pool_size(1).overflow(0);
    let pool = pool.cancel(herder::Cancel::new().interrupt(ms(10)).kill(ms(100)));
    pool.stop(herder::Stop::new().grace(ms(200)).term(ms(200))).build().unwrap()
}

async fn who(pool: &Pool) -> String {
    let [user, process]: [u32; 2] = pool.call("who", &json!({})).await.unwrap();
    format!("{user} {process}")
}
