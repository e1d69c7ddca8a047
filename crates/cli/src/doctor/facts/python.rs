//! The interpreter, one started worker, and the import of the app of a pool.

use super::progress::Progress;
use crate::{
    check::interpreter_command,
    commands,
    python::{Imports, Interpreter},
};
use herder::{
    Error, PoolConfig,
    config::{Launch, StartMethod},
    status::{CommandDescription, Status},
};
use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    time::{Duration, Instant},
};

/// What is known about a pool.
#[derive(Debug, Default)]
pub(crate) struct PoolFacts {
    pub(crate) name: String,
    /// The app; `None` for a pool with its own program.
    pub(crate) app: Option<String>,
    pub(crate) workers: u64,
    pub(crate) overflow: u64,
    /// Whether its workers are forked from a template.
    pub(crate) is_forked: bool,
    /// The answer of the interpreter; `None` if it is missing, and for a pool with its own program.
    pub(crate) interpreter: Option<Result<Interpreter, String>>,
    /// One worker, which was started and stopped again; `None` if something that it needs is missing.
    pub(crate) worker: Option<Result<Worker, String>>,
    /// The import of the app, if the worker started.
    pub(crate) import: Option<Result<Imports, String>>,
}

/// A worker after its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Worker {
    pub(crate) commands: usize,
    /// The time until it was ready.
    pub(crate) start: Duration,
    /// The resident memory in bytes.
    pub(crate) memory: Option<u64>,
    pub(crate) threads: Option<u64>,
    /// The folder of the package that this program wrote for it.
    pub(crate) package: Option<PathBuf>,
}

impl PoolFacts {
    /// Starts the interpreter and a worker.
    pub(super) fn gather(config: &PoolConfig, progress: &Progress) -> Self {
        let name = config.name().to_string();
        progress.show(&format!("asking the interpreter of pool `{name}`"));
        // The configuration's check reports what is missing.
        let missing = config.find_programs().err();
        let has_program = missing.as_ref().is_none_or(|missing| missing.key() == "app");
        let interpreter = interpreter_command(config).filter(|_| has_program).map(Interpreter::ask);
        // A program that does not answer at all would keep the start of a worker for its whole timeout, too.
        let hangs = matches!(&interpreter, Some(Err(reason)) if Interpreter::has_hung(reason));
        let worker = (missing.is_none() && !hangs).then(|| {
            progress.show(&format!("starting a worker of pool `{name}`"));
            worker(config)
        });
        let app = match config.launch() {
            Launch::App { app, .. } => Some(app.to_string()),
            Launch::Command { .. } => None,
        };
        let import = app.as_ref().filter(|_| matches!(worker, Some(Ok(_)))).and_then(|app| {
            progress.show(&format!("importing {app}"));
            Some(Imports::measure(interpreter_command(config)?, app, config.start_timeout()))
        });
        Self {
            name,
            app,
            workers: config.pool_size().into(),
            overflow: config.overflow().into(),
            is_forked: config.start() == StartMethod::Template,
            interpreter,
            worker,
            import,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the time of the start is what is measured")]
fn worker(config: &PoolConfig) -> Result<Worker, String> {
    let began = Instant::now();
    let examine = |commands: std::sync::Arc<[CommandDescription]>, status: Status| {
        let start = began.elapsed();
        let pid = status.workers.first().and_then(|worker| worker.pid);
        Worker { commands: commands.len(), start, ..pid.map(process).unwrap_or_default() }
    };
    commands::with_worker(config, examine).map_err(|error| match error {
        Error::StartFailed { reason, .. } => reason.to_string(),
        other => other.to_string(),
    })
}

/// Reads what `/proc` has about a process.
fn process(pid: u32) -> Worker {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let rest = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        rest.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
    };
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let path = environment.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(b"PYTHONPATH="));
    let package = path.and_then(|path| path.split(|byte| *byte == b':').next());
    Worker {
        memory: field("VmRSS").map(|kibibytes| kibibytes * 1024),
        threads: field("Threads"),
        package: package.map(|folder| PathBuf::from(OsStr::from_bytes(folder))),
        ..Worker::default()
    }
}
