//! The real binary with real workers, on a free port, in a folder of its own; and plain HTTP over a socket, so that tests see
//! and send every byte.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod http;

pub(crate) use http::{Reply, Request, get, post};

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};
use tempfile::TempDir;

/// The worker of these tests. `wait` ends when a file is there.
pub(crate) const APP: &str = r#"
import os, time
import herder
app = herder.App()

@app.command(idempotent=True)
def echo(**arguments): return arguments

@app.command
def wait(file: str):
    while not os.path.exists(file): time.sleep(0.01)
    return "waited"

@app.command
def count(session: herder.Session):
    session.state["n"] = session.state.get("n", 0) + 1
    return session.state["n"]

@app.command(idempotent=True)
def pid(): return os.getpid()

@app.command
def fail(): raise ValueError("on purpose")

@app.command
def refuse(): raise herder.Rejected("not today", code="today")

@app.command
def die(): os._exit(3)

@app.command
def odd(): return {1, 2}

@app.command
def tell(text: str): print(text, flush=True)
"#;

/// A folder with the test's worker and a configuration.
pub(crate) fn folder(config: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("app.py"), APP).unwrap();
    if !config.is_empty() {
        fs::write(folder.path().join("herder.toml"), config).unwrap();
    }
    folder
}

/// The binary, in a folder, with nothing of ours in its environment.
pub(crate) fn herder(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herder"));
    command.current_dir(folder).args(args).stdin(Stdio::null());
    for name in ["HERDER_URL", "HERDER_TOKEN", "HERDER_LOG", "HERDER_ALLOW_CODE", "VIRTUAL_ENV", "NO_COLOR"] {
        command.env_remove(name);
    }
    command
}

/// `herder serve`, running. Killed when dropped; its watchdog kills the workers then.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// What it printed up to its address.
    pub(crate) banner: Vec<String>,
    pub(crate) folder: TempDir,
    child: Child,
}

impl Server {
    /// Starts the pools of this configuration and waits until all of them are ready.
    pub(crate) fn with(config: &str) -> Self {
        let server = Self::start(folder(config), &[], &[]);
        server.until_ready();
        server
    }

    /// Starts it, and waits for its address only.
    pub(crate) fn start(folder: TempDir, args: &[&str], env: &[(&str, &str)]) -> Self {
        let log = File::create(folder.path().join("log")).unwrap();
        Self::with_stderr(folder, args, env, log)
    }

    /// Starts it with a standard output that nobody reads: its address is not known.
    #[expect(clippy::disallowed_methods, reason = "it is herder itself that is spawned, and reaped below")]
    pub(crate) fn unread(folder: TempDir, stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Self {
        let mut command = herder(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
        let child = command.stdout(stdout).stderr(stderr).spawn().unwrap();
        Self { address: ([127, 0, 0, 1], 0).into(), banner: Vec::new(), folder, child }
    }

    /// Starts it with this standard error in place of the file `log`.
    pub(crate) fn with_stderr(folder: TempDir, args: &[&str], env: &[(&str, &str)], stderr: impl Into<Stdio>) -> Self {
        let listen = ["--listen", "127.0.0.1:0"];
        let mut command = herder(folder.path(), &["serve"]);
        command
            .args(listen.iter().filter(|_| !args.contains(&"--listen")))
            .args(args)
            .envs(env.iter().copied())
            .stderr(stderr);
        Self::spawned(folder, command)
    }

    /// Starts it with an environment that the test makes: with variables that are not there.
    pub(crate) fn in_environment(folder: TempDir, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = herder(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
        command.stderr(File::create(folder.path().join("log")).unwrap());
        change(&mut command);
        Self::spawned(folder, command)
    }

    /// Starts it by a Python script, which becomes the program in its arguments.
    pub(crate) fn by(script: &str, folder: TempDir) -> Self {
        let herder = herder(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(herder.get_program()).args(herder.get_args());
        command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stderr(File::create(folder.path().join("log")).unwrap());
        for (name, _) in herder.get_envs() {
            command.env_remove(name); // it sets none
        }
        Self::spawned(folder, command)
    }

    #[expect(clippy::disallowed_methods, reason = "it is herder itself that is spawned, and reaped below")]
    fn spawned(folder: TempDir, mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut server = Self { address: ([127, 0, 0, 1], 0).into(), banner: Vec::new(), folder, child };
        for line in lines.by_ref().map_while(Result::ok) {
            let url = line.strip_prefix("herder listens on http://").map(str::to_owned);
            server.banner.push(line);
            if let Some(address) = url {
                thread::spawn(move || lines.for_each(drop));
                server.address = address.parse().unwrap();
                return server;
            }
        }
        panic!("it ended: {:?}", server.banner);
    }

    pub(crate) fn until_ready(&self) {
        wait_until("all pools are ready", || self.log().contains("all pools are ready"));
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        get(path).send(self.address)
    }

    /// A call, with this body and these headers.
    pub(crate) fn call(&self, pool_and_command: &str, body: &str, headers: &[(&str, &str)]) -> Reply {
        self.request(pool_and_command, body, headers).send(self.address)
    }

    /// The same, not sent yet.
    pub(crate) fn request(&self, pool_and_command: &str, body: &str, headers: &[(&str, &str)]) -> Request {
        let (pool, command) = pool_and_command.split_once('/').unwrap();
        let request = post(&format!("/v1/pools/{pool}/call/{command}"), body);
        headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    /// Sends a call on a thread of its own.
    pub(crate) fn background(
        &self,
        pool_and_command: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> thread::JoinHandle<Reply> {
        let (request, address) = (self.request(pool_and_command, body, headers), self.address);
        thread::spawn(move || request.send(address))
    }

    /// Waits until a pool's queue has this many calls waiting and running.
    pub(crate) fn until_queue(&self, pool: &str, waiting: u64, running: u64) {
        wait_until("calls wait and run", || {
            let queue = self.get(&format!("/v1/pools/{pool}")).json["queue"].clone();
            queue["waiting"] == waiting && queue["in_flight"] == running
        });
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub(crate) fn until_logged(&self, text: &str) {
        wait_until(text, || self.log().contains(text));
    }

    /// A file the worker's `wait` waits for; making it lets `wait` go on.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: herder::testing::Signal) {
        herder::testing::signal(self.child.id(), signal).unwrap();
    }

    pub(crate) fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        wait_until("the server ends", || {
            ended = self.try_wait();
            ended.is_some()
        });
        ended.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log"));
            eprintln!("--- the server's log\n{}", log.unwrap_or_default());
        }
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Looks again and again until it holds. Gives up only long after it should have.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(herder::testing::wait_until(what, async || holds()));
}

/// Whether a process is there and not a zombie.
pub(crate) fn is_alive(pid: u64) -> bool {
    herder::testing::stat(u32::try_from(pid).unwrap()).is_some_and(|seen| seen.state != 'Z')
}
