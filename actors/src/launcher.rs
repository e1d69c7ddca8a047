//! How a pool starts its processes. The pool's own launcher spawns them through `herder-process`; tests use one whose workers
//! are scripted. Holds no state of the pool.

use crate::{
    EnvMode, Launch, PoolConfig,
    child::{ChildHandle, LaunchError},
    config::thread_variables,
    events::EventLog,
    package::{self, Installed},
};
use herder_core::WorkerRef;
use herder_process::Command;
use std::{
    cell::RefCell, env, ffi::OsString, future::Future, num::NonZero, os::unix::net::UnixStream, path::Path, pin::Pin,
    rc::Rc, thread::available_parallelism,
};
use tracing::Level;

/// A started process and the host's ends of its two sockets (non-blocking).
pub struct Launched {
    /// The calls descriptor: calls and answers.
    pub calls: UnixStream,
    /// The control descriptor: pings, cancels, shutdown.
    pub control: UnixStream,
    /// The process.
    pub child: Rc<dyn ChildHandle>,
}

/// A started process without an owner. Dropping it kills the process.
pub(crate) struct UnclaimedChild(Option<Launched>);

impl UnclaimedChild {
    pub(crate) fn new(launched: Launched) -> Self {
        Self(Some(launched))
    }

    pub(crate) fn claim(mut self) -> Option<Launched> {
        self.0.take()
    }
}

impl Drop for UnclaimedChild {
    fn drop(&mut self) {
        if let Some(launched) = &self.0 {
            launched.child.kill();
        }
    }
}

/// The future result of a launch.
pub type LaunchFuture = Pin<Box<dyn Future<Output = Result<Launched, LaunchError>>>>;

/// Starts the processes of a pool.
pub trait Launcher: 'static {
    /// Starts a process for a slot. Must not block the thread.
    fn launch(&self, worker: WorkerRef) -> LaunchFuture;
    /// Starts a process that is told this number from 0: the number of its slot, or of the slot whose worker it replaces in a
    /// reload. Must not block the thread.
    fn launch_with_number(&self, worker: WorkerRef, number: u32) -> LaunchFuture {
        let _ = number;
        self.launch(worker)
    }
    /// Called once, when the pool has started. An implementation may queue log events; it must not call the `tracing`
    /// subscriber, which may block.
    fn log_warnings(&self) {}
    /// Returns whether this process answers pings by itself: a virtual clock waits for the answers.
    #[cfg(feature = "testing")]
    fn answers_pings(&self, worker: WorkerRef) -> bool {
        let _ = worker;
        false
    }
}

/// Starts the processes that the configuration describes.
#[derive(Debug)]
pub(crate) struct ProcessLauncher {
    config: Rc<PoolConfig>,
    events: EventLog,
    threads: Rc<ThreadVariables>,
    /// The directories from which workers were started. They are kept until the pool has ended: a worker imports from its
    /// directory as long as it runs, and another user could take the name of a private directory that was removed.
    packages: Rc<RefCell<Vec<Installed>>>,
}

/// The variables of the host that a worker keeps in a clean environment.
pub const CLEAN_ENV_VARIABLES: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];
/// The token of the host's HTTP server. Workers do not inherit it: a worker that prints or sends its environment must not
/// reveal it. A pool's `env` may set it.
const TOKEN: &str = "HERDER_TOKEN";
/// The number of a worker's slot.
const SLOT: &str = "HERDER_SLOT";

impl ProcessLauncher {
    pub(crate) fn new(config: PoolConfig) -> Self {
        let threads = Rc::new(ThreadVariables::of(&config));
        let events = EventLog::new(config.name().as_str());
        Self { config: Rc::new(config), events, threads, packages: Rc::default() }
    }

    fn warn_of_stale_venvs(&self) {
        let Launch::App { python, .. } = self.config.launch() else { return };
        for venv in self.config.stale_venvs() {
            let (pool, python, venv) = (self.config.name().clone(), python.clone(), venv.to_path_buf());
            self.events.queue(Level::WARN, move || {
                let (python, venv) = (python.display(), venv.display());
                tracing::warn!(%pool, %venv, %python, "virtual environment ignored: it has no bin/python; workers use another interpreter");
            });
        }
    }
}

/// The thread count of numeric libraries in each worker, determined once per pool, so that all its processes get the same
/// number.
#[derive(Debug)]
struct ThreadVariables {
    cores: usize,
    threads_per_worker: usize,
    /// The variables to set: those that the worker's environment does not contain.
    variables: Vec<&'static str>,
}

impl ThreadVariables {
    fn of(config: &PoolConfig) -> Self {
        // Respects the process's CPU affinity and the quota of its control group.
        let cores = available_parallelism().map_or(1, NonZero::get);
        let threads_per_worker = config.numeric_threads().of_each(cores, config.pool_size());
        let inherits = config.env_mode() == EnvMode::Inherit;
        let is_set = |name: &str| config.env().contains_key(name) || (inherits && env::var_os(name).is_some());
        let variables = threads_per_worker.map(|_| thread_variables(is_set)).unwrap_or_default();
        Self { cores, threads_per_worker: threads_per_worker.unwrap_or_default(), variables }
    }

    fn apply_to(&self, command: Command) -> Command {
        let number = self.threads_per_worker.to_string();
        self.variables.iter().fold(command, |command, name| command.env(*name, &number))
    }
}

impl Launcher for ProcessLauncher {
    fn log_warnings(&self) {
        self.warn_of_stale_venvs();
        let (pool, pool_size) = (self.config.name().clone(), self.config.pool_size());
        let ThreadVariables { cores, threads_per_worker, variables } = &*self.threads;
        if !variables.is_empty() {
            let (cores, threads, variables) = (*cores, *threads_per_worker, variables.join(" "));
            self.events.queue(Level::INFO, move || {
                tracing::info!(%pool, threads, cores, pool_size, variables, "set the thread count of numeric libraries in each worker");
            });
        }
    }

    fn launch(&self, worker: WorkerRef) -> LaunchFuture {
        self.launch_with_number(worker, worker.id.0.saturating_sub(1))
    }

    fn launch_with_number(&self, worker: WorkerRef, number: u32) -> LaunchFuture {
        let (config, packages, threads) = (self.config.clone(), self.packages.clone(), self.threads.clone());
        Box::pin(async move {
            let command = match config.launch() {
                Launch::App { app, python } => {
                    // Checked at each start, since a cleaner of temporary files may have removed some files.
                    let installed = package::installed().await?;
                    // Run as a script: with `-m`, a `types.py` in the working directory would replace Python's own module.
                    let script = installed.path().join("herder/__main__.py");
                    let args = vec![script.into_os_string(), app.as_str().into()];
                    let command = command(&config, worker, number, python.clone().into_os_string(), args);
                    let command = with_package(command, &config, number, installed.path());
                    // Remembered before the spawn: a pool that is dropped while the process starts keeps the directory until
                    // this future has returned or was dropped.
                    keep_installed(&mut packages.borrow_mut(), installed);
                    command
                }
                Launch::Command { argv } => {
                    let mut parts = argv.iter().map(OsString::from);
                    let program = parts.next().unwrap_or_default();
                    command(&config, worker, number, program, parts.collect())
                }
            };
            let spawned = herder_process::spawn(threads.apply_to(command)).await?;
            Ok(Launched { calls: spawned.calls, control: spawned.control, child: Rc::new(spawned.child) })
        })
    }
}

/// Keeps the directory, once.
fn keep_installed(packages: &mut Vec<Installed>, installed: Installed) {
    if packages.iter().all(|kept| kept.path() != installed.path()) {
        packages.push(installed);
    }
}

fn command(config: &PoolConfig, worker: WorkerRef, number: u32, program: OsString, args: Vec<OsString>) -> Command {
    let label = format!("{}/{worker}", config.name());
    let clean = config.env_mode() == EnvMode::Clean;
    let mut command = Command::new(program).args(args).cwd(config.cwd()).label(label);
    command = command.env_clear(clean).env_remove(TOKEN);
    if clean {
        let kept = CLEAN_ENV_VARIABLES.iter().filter_map(|key| Some((key, env::var_os(key)?)));
        command = kept.fold(command, |command, (key, value)| command.env(*key, value));
    }
    let command = command.env(SLOT, number.to_string());
    config.env().iter().fold(command, |command, (key, value)| command.env(key, in_slot(value, number)))
}

/// Returns the value of a variable of the pool's `env` in the slot with this number.
fn in_slot(value: &str, number: u32) -> String {
    value.replace("{slot}", &number.to_string())
}

/// Returns the value of a variable in the worker's environment, unless it is empty.
fn value(config: &PoolConfig, number: u32, key: &str) -> Option<OsString> {
    let inherited = || env::var_os(key).filter(|_| config.env_mode() != EnvMode::Clean);
    let own = config.env().get(key).map(|value| OsString::from(in_slot(value, number)));
    own.or_else(inherited).filter(|value| !value.is_empty())
}

/// Adds the variables for the embedded package. Python must not write bytecode beside the package by itself, since the host
/// refuses files that it does not know: the package writes its bytecode itself (`bytecode.py`) and then restores the user's
/// value of the variable.
fn with_package(command: Command, config: &PoolConfig, number: u32, package: &Path) -> Command {
    const DONT_WRITE: &str = "PYTHONDONTWRITEBYTECODE";
    let command = command.env("HERDER_BYTECODE", value(config, number, DONT_WRITE).unwrap_or_default());
    command.env(DONT_WRITE, "1").env("PYTHONPATH", python_path(package, value(config, number, "PYTHONPATH")))
}

/// Returns the value of `PYTHONPATH`. The embedded package comes first, since another installed version of it may implement
/// another protocol version.
fn python_path(package: &Path, rest: Option<OsString>) -> OsString {
    let mut path = package.as_os_str().to_os_string();
    if let Some(rest) = rest {
        path.push(":");
        path.push(rest);
    }
    path
}
