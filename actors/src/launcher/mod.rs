//! How a pool starts its processes. The pool's own launcher spawns them through `herder-process`, or lets its template fork
//! them; tests use one whose workers are scripted. Holds no state of the pool.

mod command;
mod template;

pub(crate) use command::worker_log_level;
pub use command::{CLEAN_ENV_VARIABLES, TOKEN_VARIABLES};
pub use template::TemplateStatus;

use crate::{
    Launch, PoolConfig, StartMethod,
    child::{ChildHandle, LaunchError},
    events::EventLog,
};
use command::{Commands, ThreadVariables};
use herder_core::WorkerRef;
use herder_process::{SlabSocket, Spawned};
use std::{
    future::{Future, ready},
    os::unix::net::UnixStream,
    pin::Pin,
    rc::Rc,
    time::Duration,
};
use template::TemplateOwner;
use tracing::{Level, level_filters::LevelFilter};

/// A started process and the host's ends of its sockets (non-blocking).
pub struct Launched {
    /// The calls descriptor: calls and answers.
    pub calls: UnixStream,
    /// The control descriptor: pings, cancels, shutdown.
    pub control: UnixStream,
    /// The socket on which the worker gets memory that it shares with the host, if it has one.
    pub slabs: Option<SlabSocket>,
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
    /// Returns how long a launch may take, given the pool's `start_timeout`.
    fn launch_limit(&self, start_timeout: Duration) -> Duration {
        start_timeout
    }
    /// Called when a reload begins, before any process is started for it: all that is started from now on must use the current
    /// files.
    fn on_reload(&self) {}
    /// Sets the most detailed level of the log records that processes send which are started from now on. `None`: that of the
    /// application's subscriber.
    fn set_log_level(&self, level: Option<LevelFilter>) {
        let _ = level;
    }
    /// Returns the state of the pool's template, if it has one.
    fn template(&self) -> Option<TemplateStatus> {
        None
    }
    /// Ends what the launcher itself has started, and waits for its end. Called after the last worker has ended.
    fn end(&self) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(ready(()))
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

/// How long the end of a template that hangs may take, with the print of its stack.
const TEMPLATE_END: Duration = Duration::from_secs(5);

/// Starts the processes that the configuration describes.
#[derive(Debug)]
pub(crate) struct ProcessLauncher {
    events: EventLog,
    commands: Rc<Commands>,
    template: Option<TemplateOwner>,
}

impl ProcessLauncher {
    pub(crate) fn new(config: PoolConfig) -> Self {
        let events = EventLog::new(config.name().as_str());
        let has_template = config.start() == StartMethod::Template;
        let commands = Rc::new(Commands::new(Rc::new(config)));
        let template = has_template.then(|| TemplateOwner::new(commands.clone(), events.clone()));
        Self { events, commands, template }
    }

    fn warn_of_stale_venvs(&self) {
        let config = &self.commands.config;
        let Launch::App { python, .. } = config.launch() else { return };
        for venv in config.stale_venvs() {
            let (pool, python, venv) = (config.name().clone(), python.clone(), venv.to_path_buf());
            self.events.queue(Level::WARN, move || {
                let (python, venv) = (python.display(), venv.display());
                tracing::warn!(%pool, %venv, %python, "virtual environment ignored: it has no bin/python; workers use another interpreter");
            });
        }
    }
}

impl Launcher for ProcessLauncher {
    fn launch_limit(&self, start_timeout: Duration) -> Duration {
        // The import of the template has the same limit. A launch that waits for it says more about it than a launch that is
        // given up.
        start_timeout + if self.template.is_some() { TEMPLATE_END } else { Duration::ZERO }
    }

    fn on_reload(&self) {
        if let Some(template) = &self.template {
            template.replace();
        }
    }

    fn set_log_level(&self, level: Option<LevelFilter>) {
        self.commands.log_level.set(level);
    }

    fn template(&self) -> Option<TemplateStatus> {
        self.template.as_ref().map(TemplateOwner::status)
    }

    fn end(&self) -> Pin<Box<dyn Future<Output = ()>>> {
        match &self.template {
            Some(template) => Box::pin(template.end()),
            None => Box::pin(ready(())),
        }
    }

    fn log_warnings(&self) {
        self.warn_of_stale_venvs();
        let config = &self.commands.config;
        let (pool, pool_size) = (config.name().clone(), config.pool_size());
        let ThreadVariables { cores, threads_per_worker, variables } = &self.commands.threads;
        if !variables.is_empty() {
            let (cores, threads, variables) = (*cores, *threads_per_worker, variables.join(" "));
            self.events.queue(Level::INFO, move || {
                tracing::info!(%pool, threads, cores, pool_size, variables, "set the thread count of numeric libraries in each worker");
            });
        }
        if let Some(template) = &self.template {
            template.prepare();
        }
    }

    fn launch(&self, worker: WorkerRef) -> LaunchFuture {
        self.launch_with_number(worker, worker.id.0.saturating_sub(1))
    }

    fn launch_with_number(&self, worker: WorkerRef, number: u32) -> LaunchFuture {
        let (commands, template) = (self.commands.clone(), self.template.clone());
        Box::pin(async move {
            if let Some(template) = template
                && let Some(forked) = template.fork(worker, number).await
            {
                return forked.map(launched);
            }
            let command = commands.of_worker(worker, number).await?;
            Ok(launched(herder_process::spawn(command).await?))
        })
    }
}

fn launched(spawned: Spawned) -> Launched {
    let Spawned { calls, control, slabs, child, .. } = spawned;
    Launched { calls, control, slabs, child: Rc::new(child) }
}
