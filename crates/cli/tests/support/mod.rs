//! Runs the real binary with real workers, on a free port, in a temporary directory. HTTP goes over a plain socket, so
//! that tests control every byte.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod http;
#[cfg(target_os = "linux")]
pub(crate) mod terminal;

pub(crate) use http::{Reply, Request, get, post};

use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
};
use tempfile::TempDir;

/// The app of these tests. The command `wait` returns when a file exists.
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
def headers(call: herder.Call): return call.headers

@app.command
def refuse(data=None, status: int | None = None):
    raise herder.Rejected("not today", code="today", data=data, status=status)

@app.command
def die(): os._exit(3)

@app.command
def odd(): return object()

@app.command
def tell(text: str): print(text, flush=True)
"#;

/// Creates a directory with the app and a configuration. Without a table `[server]` in it, no server can run at the configured
/// address. At the default address one may, and then `herder call` without `--url` asks that server.
pub(crate) fn folder(config: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("app.py"), APP).unwrap();
    if !config.is_empty() {
        let address = if config.contains("[server]") { "" } else { "\n[server]\nlisten = '127.0.0.1:1'\n" };
        fs::write(folder.path().join("herder.toml"), format!("{config}{address}")).unwrap();
    }
    folder
}

/// The variables that choose an interpreter, and the form and the colors of the output of the program.
const CHOICES: [&str; 5] = ["VIRTUAL_ENV", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS"];

/// Returns a command for the binary in a directory. The log of `serve` is text, although it is no terminal.
pub(crate) fn herder(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herder"));
    command.current_dir(folder).args(args).stdin(Stdio::null());
    remove_choices(&mut command);
    command.env("HERDER_LOG_FORMAT", "text");
    command
}

/// Removes what the environment of the developer tells the program: Herder's variables and the [`CHOICES`].
fn remove_choices(command: &mut Command) {
    let inherited = env::vars_os().map(|(name, _)| name).filter(|name| name.as_encoded_bytes().starts_with(b"HERDER_"));
    inherited.chain(CHOICES.map(Into::into)).for_each(|name| _ = command.env_remove(name));
}

/// Returns a command that starts a program with these arguments, which executes Herder. It has Herder's directory and environment.
pub(crate) fn through(program: &str, args: &[&str], herder: &Command) -> Command {
    let mut command = Command::new(program);
    command.args(args).arg(herder.get_program()).args(herder.get_args()).stdin(Stdio::null());
    command.current_dir(herder.get_current_dir().unwrap());
    for (name, value) in herder.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Returns the output of a shell command from the documentation, in this directory. A proxy of the developer is not used.
pub(crate) fn sh(folder: &Path, script: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(folder).env("no_proxy", "*");
    remove_choices(&mut command);
    command.output().unwrap()
}

/// A running `herder serve`. Dropping it kills the server; its watchdog then kills the workers.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// The lines that the server printed up to its address.
    pub(crate) banner: Vec<String>,
    pub(crate) folder: TempDir,
    child: Child,
}

impl Server {
    /// Starts a server with this configuration, and waits until all pools are ready.
    pub(crate) fn with(config: &str) -> Self {
        let server = Self::start(folder(config), &[], &[]);
        server.until_ready();
        server
    }

    /// Starts a server, and waits only for its address.
    pub(crate) fn start(folder: TempDir, args: &[&str], env: &[(&str, &str)]) -> Self {
        let log = File::create(folder.path().join("log")).unwrap();
        Self::with_stderr(folder, args, env, log)
    }

    /// Starts a server with a standard output that is not read. Its address is unknown.
    #[expect(clippy::disallowed_methods, reason = "the child is herder itself, and is reaped below")]
    pub(crate) fn unread(folder: TempDir, stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Self {
        let mut command = herder(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
        let child = command.stdout(stdout).stderr(stderr).spawn().unwrap();
        Self { address: ([127, 0, 0, 1], 0).into(), banner: Vec::new(), folder, child }
    }

    /// Runs a command about the server. Returns its exit code, its output and its errors.
    pub(crate) fn run(&self, args: &[&str]) -> (i32, String, String) {
        let output = herder(self.folder.path(), args).args(["--url", &self.url()]).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Starts a server with this standard error instead of the file `log`.
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

    /// Starts a server that chooses the form of its log itself, and waits until all pools are ready.
    pub(crate) fn json(folder: TempDir, args: &[&str]) -> Self {
        let server = Self::in_environment(folder, |command| _ = command.args(args).env_remove("HERDER_LOG_FORMAT"));
        server.until_ready();
        server
    }

    /// Starts a server after the test has changed its environment.
    pub(crate) fn in_environment(folder: TempDir, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = herder(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
        command.stderr(File::create(folder.path().join("log")).unwrap());
        change(&mut command);
        Self::spawned(folder, command)
    }

    /// Starts a server with a Python script that executes the program in its arguments.
    pub(crate) fn by(script: &str, folder: TempDir) -> Self {
        let herder = herder(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
        let mut command = through("python3", &["-I", "-c", script], &herder);
        command.stderr(File::create(folder.path().join("log")).unwrap());
        Self::spawned(folder, command)
    }

    #[expect(clippy::disallowed_methods, reason = "the child is herder itself, and is reaped below")]
    fn spawned(folder: TempDir, mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut server = Self { address: ([127, 0, 0, 1], 0).into(), banner: Vec::new(), folder, child };
        for line in lines.by_ref().map_while(Result::ok) {
            // The line is text, or an event in JSON.
            let url = line.split_once("herder listens on http://").map(|(_, url)| url.to_owned());
            server.banner.push(line);
            if let Some(address) = url {
                thread::spawn(move || lines.for_each(drop));
                server.address = address.split('"').next().unwrap().parse().unwrap();
                return server;
            }
        }
        panic!("the server has exited: {:?}", server.banner);
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

    /// Makes a call with this body and these headers.
    pub(crate) fn call(&self, pool_and_command: &str, body: &str, headers: &[(&str, &str)]) -> Reply {
        self.request(pool_and_command, body, headers).send(self.address)
    }

    /// Returns the request of a call.
    pub(crate) fn request(&self, pool_and_command: &str, body: &str, headers: &[(&str, &str)]) -> Request {
        let (pool, command) = pool_and_command.split_once('/').unwrap();
        let request = post(&format!("/v1/pools/{pool}/call/{command}"), body);
        headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    /// Makes a call on another thread.
    pub(crate) fn background(
        &self,
        pool_and_command: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> thread::JoinHandle<Reply> {
        let (request, address) = (self.request(pool_and_command, body, headers), self.address);
        thread::spawn(move || request.send(address))
    }

    /// Waits until a pool has this many waiting and running calls.
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

    /// Returns the path of a file in the server's directory. The command `wait` returns when it exists.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the process id of the server.
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

/// Polls until the condition holds. Panics after a long time.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(herder::testing::wait_until(what, async || holds()));
}

/// Returns whether a process exists and is not a zombie.
pub(crate) fn is_alive(pid: u64) -> bool {
    herder::testing::stat(u32::try_from(pid).unwrap()).is_some_and(|seen| seen.state != 'Z')
}
