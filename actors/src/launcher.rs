//! How a pool gets its processes. The pool's own launcher spawns them through `herder-process`; tests hand in one whose
//! workers are scripted peers. Holds no pool state.

use crate::{EnvMode, Launch, PoolConfig, child::ChildHandle, package};
use herder_core::WorkerRef;
use herder_process::Command;
use std::{ffi::OsString, future::Future, os::unix::net::UnixStream, path::PathBuf, pin::Pin, rc::Rc};

/// A process that was started, and the host's ends of its two sockets (non-blocking).
pub struct Launched {
    /// Calls and answers.
    pub calls: UnixStream,
    /// Pings, cancels, shutdown.
    pub control: UnixStream,
    /// The process.
    pub child: Rc<dyn ChildHandle>,
}

/// A process that was started and is in nobody's charge yet. Dropped as such, it is killed.
pub(crate) struct Unclaimed(Option<Launched>);

impl Unclaimed {
    pub(crate) fn new(launched: Launched) -> Self {
        Self(Some(launched))
    }

    pub(crate) fn claim(mut self) -> Option<Launched> {
        self.0.take()
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(launched) = &self.0 {
            launched.child.kill();
        }
    }
}

/// A start on its way. Its error is what callers are told.
pub type Launching = Pin<Box<dyn Future<Output = Result<Launched, String>>>>;

/// Starts one process for a slot.
pub trait Launcher: 'static {
    /// Starts it. Must not block the thread.
    fn launch(&self, at: WorkerRef) -> Launching;
    /// Whether that process answers pings by itself: a clock that a test moves waits for that.
    #[cfg(feature = "testing")]
    fn answers(&self, at: WorkerRef) -> bool {
        let _ = at;
        false
    }
}

/// Starts what the configuration says.
#[derive(Debug)]
pub(crate) struct ProcessLauncher {
    config: PoolConfig,
}

/// What a worker can't do without in a clean environment.
const KEPT: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];

impl ProcessLauncher {
    pub(crate) fn new(config: PoolConfig) -> Self {
        Self { config }
    }

    fn command(&self, at: WorkerRef) -> Result<Command, String> {
        let label = format!("{}/{at}", self.config.name());
        let (program, args, package) = match self.config.launch() {
            Launch::App { app, python } => {
                let args = ["-m", "herder", app.as_str()].map(OsString::from).to_vec();
                (python.clone().into_os_string(), args, Some(package::installed()?))
            }
            Launch::Command { argv } => {
                let mut parts = argv.iter().map(OsString::from);
                (parts.next().unwrap_or_default(), parts.collect(), None)
            }
        };
        let clean = self.config.env_mode() == EnvMode::Clean;
        let mut command = Command::new(program).args(args).cwd(self.config.cwd()).label(label).env_clear(clean);
        if clean {
            command = KEPT
                .iter()
                .filter_map(|key| Some((key, std::env::var_os(key)?)))
                .fold(command, |command, (key, value)| command.env(*key, value));
        }
        if let Some(package) = package {
            command = command.env("PYTHONPATH", with_package(package, self.config.env().get("PYTHONPATH"), clean));
        }
        let own = self
            .config
            .env()
            .iter()
            .filter(|(key, _)| *key != "PYTHONPATH" || matches!(self.config.launch(), Launch::Command { .. }));
        Ok(own.fold(command, |command, (key, value)| command.env(key, value)))
    }
}

impl Launcher for ProcessLauncher {
    fn launch(&self, at: WorkerRef) -> Launching {
        let command = self.command(at);
        Box::pin(async move {
            let spawned = herder_process::spawn(command?).await.map_err(|error| error.to_string())?;
            Ok(Launched { calls: spawned.calls, control: spawned.control, child: Rc::new(spawned.child) })
        })
    }
}

/// The embedded package comes first, so that another version of it that is installed can't speak another protocol.
fn with_package(package: PathBuf, own: Option<&String>, clean: bool) -> OsString {
    let inherited = || std::env::var_os("PYTHONPATH").filter(|_| !clean);
    let rest = own.map(OsString::from).or_else(inherited).filter(|rest| !rest.is_empty());
    let mut path = package.into_os_string();
    if let Some(rest) = rest {
        path.push(":");
        path.push(rest);
    }
    path
}
