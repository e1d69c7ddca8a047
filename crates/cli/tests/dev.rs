//! `herder dev`: saves, broken saves, and what the console shows.

use crate::support::{Reply, folder, herder, post, wait_until};
use herder::testing::Signal;
use serde_json::json;
use std::{
    fs::{self, File},
    io::Write,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
};
use tempfile::TempDir;

/// A running `herder dev`, whose standard error is in the file `log`.
pub(crate) struct Dev {
    pub(crate) address: SocketAddr,
    pub(crate) folder: TempDir,
    child: Child,
}

impl Dev {
    /// Starts the command, and waits until it has printed its address.
    fn start(folder: TempDir, args: &[&str]) -> Self {
        let mut command = herder(folder.path(), &["dev"]);
        command.args(args).stdin(Stdio::piped());
        Self::spawn(folder, command)
    }

    /// Does the same with a command that has its standard input.
    #[expect(clippy::disallowed_methods, reason = "the child is herder itself, and is reaped below")]
    pub(crate) fn spawn(folder: TempDir, mut command: Command) -> Self {
        let log = File::create(folder.path().join("log")).unwrap();
        let child = command.args(["--port", "0"]).stderr(log).spawn().unwrap();
        let mut dev = Self { address: ([127, 0, 0, 1], 0).into(), folder, child };
        dev.until("listens on http://");
        let log = dev.log();
        let address = log.lines().find_map(|line| line.strip_prefix("herder listens on http://")).unwrap();
        dev.address = address.parse().unwrap();
        dev
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub(crate) fn until(&self, text: &str) {
        self.until_times(text, 1);
    }

    /// Waits until the log contains a text so many times.
    pub(crate) fn until_times(&self, text: &str, times: usize) {
        wait_until(text, || self.log().matches(text).count() >= times);
    }

    fn save(&self, file: &str, text: &str) {
        fs::write(self.folder.path().join(file), text).unwrap();
    }

    fn call(&self, command: &str, session: Option<&str>) -> Reply {
        let request = post(&format!("/v1/pools/app/call/{command}"), "{}");
        session.map_or(request.clone(), |session| request.header("Herder-Session", session)).send(self.address)
    }

    /// Ends the command as Ctrl-C does, and returns its log.
    fn stop(mut self) -> String {
        herder::testing::signal(self.child.id(), Signal::INT).unwrap();
        self.until_ended();
        self.log()
    }

    /// Waits until the command has ended successfully.
    pub(crate) fn until_ended(&mut self) {
        let mut status = None;
        wait_until("the command ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.unwrap().code(), Some(0), "{}", self.log());
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the log of herder dev\n{}", self.log());
        }
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

const APP: &str = "import herder
from prices import PRICE
app = herder.App()

@app.command
def price() -> int:
    print('asked')
    return PRICE

@app.command
def fail():
    raise ValueError('on purpose')
";

fn project() -> TempDir {
    let folder = folder("");
    fs::write(folder.path().join("app.py"), APP).unwrap();
    fs::write(folder.path().join("prices.py"), "PRICE = 1\n").unwrap();
    folder
}

/// R31: a save, a broken save and its correction. Each save has the size of the one before, and follows it at once.
#[test]
fn r31_each_save_replaces_the_worker_unless_it_is_broken() {
    let dev = Dev::start(project(), &["app.py:app"]);
    dev.until("ready app in");
    assert_eq!(dev.call("price", None).result(), &json!(1));
    dev.save("prices.py", "PRICE = 2\n");
    dev.until("reloaded app in");
    assert_eq!(dev.call("price", None).result(), &json!(2));
    dev.save("prices.py", "PRICE = (\n");
    dev.until("the old worker keeps serving");
    assert_eq!(dev.call("price", None).result(), &json!(2));
    dev.save("prices.py", "PRICE = 3\n");
    dev.until_times("reloaded app in", 2);
    assert_eq!(dev.call("price", None).result(), &json!(3));
    let log = dev.stop();
    assert!(log.contains("reloading: prices.py changed\n"), "{log}");
    assert!(log.contains("prices.py\", line 1\n    PRICE = (\n") && log.contains("\nSyntaxError: "), "{log}");
    assert!(!log.contains('\x1b'), "no colors in a file: {log}");
}

/// R31: a call of the old code holds up a newer save only for some seconds, and not silently.
#[test]
fn r31_newer_save_does_not_wait_for_a_call_of_the_old_code() {
    let folder = project();
    let hang = "\n@app.command\ndef hang():\n    print('hangs')\n    import time\n    time.sleep(1000)\n";
    fs::write(folder.path().join("app.py"), format!("{APP}{hang}")).unwrap();
    let dev = Dev::start(folder, &["app.py:app"]);
    dev.until("ready app in");
    let address = dev.address;
    let held = thread::spawn(move || post("/v1/pools/app/call/hang", "{}").send(address));
    dev.until("hangs\n");
    dev.save("prices.py", "PRICE = 2\n");
    dev.until("reloaded app in");
    assert_eq!(dev.call("price", None).result(), &json!(2), "the call runs on in the old worker");
    dev.save("prices.py", "PRICE = 3\n");
    dev.until_times("reloaded app in", 2);
    assert_eq!(dev.call("price", None).result(), &json!(3));
    let held = held.join().unwrap();
    let detail = held.problem(502, "worker-lost")["detail"].to_string();
    assert!(detail.contains("replaced by a reload"), "{detail}");
    let log = dev.stop();
    assert!(
        log.contains("app waits for `hang` in the old worker w1, for ") && log.contains("; it is ended in 3 s\n"),
        "{log}"
    );
    assert!(log.contains("app ended `hang` in the old worker w1, for "), "{log}");
}

/// A worker that dies while its file is broken leaves none, which is said once.
#[test]
fn pool_without_a_worker_is_told() {
    let folder = project();
    let die = "\n@app.command\ndef die():\n    import os\n    os._exit(3)\n";
    fs::write(folder.path().join("app.py"), format!("{APP}{die}")).unwrap();
    let dev = Dev::start(folder, &["app.py:app"]);
    dev.until("ready app in");
    dev.save("prices.py", "PRICE = (\n");
    dev.until("the old worker keeps serving");
    dev.call("die", None).problem(502, "worker-lost");
    dev.until("app: no worker is running: ");
    dev.save("prices.py", "PRICE = 2\n");
    dev.until("reloaded app in");
    assert_eq!(dev.call("price", None).result(), &json!(2));
    assert_eq!(dev.stop().matches("no worker is running").count(), 1);
}

/// R31: what an enhanced pool loses is told, and Enter after `r` reloads by hand.
#[test]
fn r31_lost_sessions_are_told() {
    let mut dev = Dev::start(folder(""), &["app.py:app", "--enhanced"]);
    dev.until("ready app in");
    assert_eq!(dev.call("count", Some("ann")).result(), &json!(1));
    dev.child.stdin.take().unwrap().write_all(b"r\n").unwrap();
    dev.until("; 1 session ended by the reload");
    let lost = dev.call("count", Some("ann"));
    let problem = lost.problem(410, "session-worker-lost");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("replaced by a reload")), "{problem}");
    assert_eq!(dev.call("count", Some("ann")).result(), &json!(1));
    let log = dev.stop();
    assert!(log.contains("reloading: by hand\n") && log.contains("  session ann\n"), "{log}");
}

/// The console has a line for each call, what the handler prints, and the traceback of an exception without frames of Herder.
#[test]
fn console_shows_calls_output_and_tracebacks() {
    let dev = Dev::start(project(), &["app.py:app"]);
    dev.until("ready app in");
    dev.call("price", None).result();
    dev.call("fail", None).problem(500, "exception");
    dev.until("ValueError: on purpose\n");
    let log = dev.stop();
    assert!(log.contains("; commands: price, fail\n"), "{log}");
    assert!(log.contains("\nasked\n"), "{log}");
    assert!(log.lines().any(|line| line.starts_with("price  ") && line.ends_with(" ms  ok")), "{log}");
    assert!(log.lines().any(|line| line.starts_with("fail  ") && line.contains("exception: ")), "{log}");
    let source = "app.py\", line 12, in fail\n    raise ValueError('on purpose')\n";
    assert!(log.contains(source) && !log.contains("loop.py"), "{log}");
}

/// An app that is broken at the start is served once it is corrected.
#[test]
fn app_that_is_broken_at_the_start_is_served_when_it_is_corrected() {
    let folder = project();
    fs::write(folder.path().join("app.py"), "import nothing_of_that_name\n").unwrap();
    let dev = Dev::start(folder, &["app.py:app"]);
    dev.until("no worker is running");
    dev.save("app.py", APP);
    dev.until("reloaded app in");
    assert_eq!(dev.call("price", None).result(), &json!(1));
    assert!(dev.stop().contains("ModuleNotFoundError: No module named 'nothing_of_that_name'"));
}

#[test]
fn number_of_workers_is_checked_as_an_option() {
    let output =
        herder(tempfile::tempdir().unwrap().path(), &["dev", "app.py:app", "--workers", "0"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("'--workers <N>'") && text.contains("1..=1024") && !text.contains("pool_size"), "{text}");
}

#[test]
fn without_an_app_there_is_nothing_to_serve() {
    let folder = tempfile::tempdir().unwrap();
    let output = herder(folder.path(), &["dev"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("herder dev app.py:app") && text.contains("herder init"), "{text}");
}
