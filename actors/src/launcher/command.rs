//! The command lines and environments of a pool's processes. Reads the host's environment at each start.

use crate::{
    EnvMode, Launch, PoolConfig,
    child::LaunchError,
    config::{OPENMP, THREAD_VARIABLES, thread_variables},
    package::{self, Installed},
};
use herder_core::WorkerRef;
use herder_process::{Command, ForkRequest};
use std::{
    cell::{Cell, RefCell},
    env,
    ffi::OsString,
    num::NonZero,
    path::Path,
    rc::Rc,
    thread::available_parallelism,
};
use tracing::level_filters::LevelFilter;

/// The variables of the host that a worker keeps in a clean environment.
pub const CLEAN_ENV_VARIABLES: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];
/// The variables with the tokens of the host's HTTP server, or with the paths of their files. Workers do not inherit them: a
/// worker that prints or sends its environment must not reveal a token. A pool's `env` may set them.
pub const TOKEN_VARIABLES: [&str; 6] = [
    "HERDER_TOKEN",
    "HERDER_TOKEN_FILE",
    "HERDER_CALL_TOKEN",
    "HERDER_CALL_TOKEN_FILE",
    "HERDER_METRICS_TOKEN",
    "HERDER_METRICS_TOKEN_FILE",
];
/// The number of a worker's slot.
const SLOT: &str = "HERDER_SLOT";
/// The variable with the most detailed level of the log records that a worker sends.
const LOG_LEVEL: &str = "HERDER_LOG_LEVEL";
/// How long a thread of OpenBLAS spins before it sleeps: 2 to this power, in cycles. OpenBLAS reads it when it is loaded.
const BLAS_SPIN: &str = "OPENBLAS_THREAD_TIMEOUT";
/// A third of a millisecond. With OpenBLAS's own value, 26, the threads that a fork has just started would spin for 27 ms, for each copy of the
/// library, in place of the worker's first call.
const BLAS_SPIN_IN_FORKS: &str = "20";
/// Marks a template, with the number of threads that numeric libraries are to have in its forks; 0 if that is unknown.
const TEMPLATE: &str = "HERDER_TEMPLATE";
/// The variables that change what a worker does. A host that was started by a worker of another host may have them: they do not
/// apply to its own workers. A pool's `env` may set the last two, as `herder dev` does.
const OF_OTHER_HOSTS: [&str; 3] = [TEMPLATE, "HERDER_FRESH_SOURCES", "HERDER_TERMINAL"];

/// Builds the commands of a pool's processes.
#[derive(Debug)]
pub(super) struct Commands {
    pub(super) config: Rc<PoolConfig>,
    pub(super) threads: ThreadVariables,
    /// The directories from which workers were started. They are kept until the pool has ended: a worker imports from its
    /// directory as long as it runs, and another user could take the name of a private directory that was removed.
    packages: RefCell<Vec<Installed>>,
    /// The level that was set for the log records of workers.
    pub(super) log_level: Cell<Option<LevelFilter>>,
}

impl Commands {
    pub(super) fn new(config: Rc<PoolConfig>) -> Self {
        let threads = ThreadVariables::of(&config);
        Self { config, threads, packages: RefCell::default(), log_level: Cell::default() }
    }

    /// Returns the command of a worker.
    pub(super) async fn of_worker(&self, worker: WorkerRef, number: u32) -> Result<Command, LaunchError> {
        let label = label(&self.config, worker);
        let command = match self.config.launch() {
            Launch::App { app, python } => self.of_app(label, Some(number), app.as_str(), python).await?,
            Launch::Command { argv } => {
                let mut parts = argv.iter().map(OsString::from);
                let program = parts.next().unwrap_or_default();
                command(&self.config, label, Some(number), program, parts.collect())
            }
        };
        Ok(self.threads.apply_to(command).log_level(self.log_level.get()))
    }

    /// Returns the command of the template; `None` if the pool has no app. Numeric libraries have one thread there, since a fork
    /// does not have the threads of its template.
    pub(super) async fn of_template(&self) -> Result<Option<Command>, LaunchError> {
        let Launch::App { app, python } = self.config.launch() else { return Ok(None) };
        let label = format!("{}/template", self.config.name());
        let command = self.of_app(label, None, app.as_str(), python).await?;
        let command = THREAD_VARIABLES.iter().fold(command, |command, name| command.env(*name, "1"));
        let command = match value(&self.config, Some(0), BLAS_SPIN) {
            Some(_) => command,
            None => command.env(BLAS_SPIN, BLAS_SPIN_IN_FORKS),
        };
        let command = command.env(TEMPLATE, self.threads_in_fork().unwrap_or_default().to_string());
        Ok(Some(command.log_level(self.log_level.get())))
    }

    /// Describes a worker for its template: what differs between the two.
    pub(super) fn fork_request(&self, worker: WorkerRef, number: u32) -> ForkRequest {
        let of_slot = self.config.env().iter().filter(|(_, value)| in_slot(value, number) != **value);
        let of_slot = of_slot.map(|(key, value)| (key.clone(), Some(in_slot(value, number))));
        let variables = THREAD_VARIABLES.iter().chain([&BLAS_SPIN]);
        let threads = variables.map(|name| ((*name).to_owned(), self.thread_variable(name, number)));
        let own = [(SLOT.to_owned(), Some(number.to_string()))];
        ForkRequest::new(
            label(&self.config, worker),
            own.into_iter().chain(threads).chain(of_slot).collect(),
            self.threads_in_fork(),
        )
        .slabs(has_slabs(&self.config))
        .log_level(worker_log_level(&self.config, self.log_level.get()))
    }

    /// Returns the value of a thread count's variable in a worker.
    fn thread_variable(&self, name: &str, number: u32) -> Option<String> {
        if self.threads.variables.contains(&name) {
            return Some(self.threads.threads_per_worker.to_string());
        }
        value(&self.config, Some(number), name).map(|value| value.to_string_lossy().into_owned())
    }

    /// Returns the number of threads of numeric libraries in a worker, if it is known.
    fn threads_in_fork(&self) -> Option<usize> {
        self.thread_variable(OPENMP, 0)?.split(',').next()?.trim().parse().ok()
    }

    /// Returns the command of a process that imports the app.
    async fn of_app(
        &self,
        label: String,
        number: Option<u32>,
        app: &str,
        python: &Path,
    ) -> Result<Command, LaunchError> {
        // Checked at each start, since a cleaner of temporary files may have removed some files.
        let installed = package::installed().await?;
        // Run as a script: with `-m`, a `types.py` in the working directory would replace Python's own module.
        let script = installed.path().join("herder/__main__.py");
        let args = vec![script.into_os_string(), app.into()];
        let command = command(&self.config, label, number, python.as_os_str().to_os_string(), args);
        let command = with_package(command, &self.config, number, installed.path());
        // Remembered before the spawn: a pool that is dropped while the process starts keeps the directory until the future has
        // returned or was dropped.
        keep_installed(&mut self.packages.borrow_mut(), installed);
        Ok(command)
    }
}

fn label(config: &PoolConfig, worker: WorkerRef) -> String {
    format!("{}/{worker}", config.name())
}

/// Returns the most detailed level of the log records that a worker is to send: the one that was set for the pool, or that of the
/// application's subscriber, but nothing more detailed than what the worker's environment allows.
pub(crate) fn worker_log_level(config: &PoolConfig, set: Option<LevelFilter>) -> LevelFilter {
    let wanted = set.unwrap_or_else(LevelFilter::current);
    match value(config, Some(0), LOG_LEVEL) {
        // Python takes a name that it does not know as `info`.
        Some(limit) => {
            let known = limit
                .to_str()
                .and_then(|name| name.parse().ok())
                .filter(|level: &LevelFilter| *level.to_string() == *limit);
            wanted.min(known.unwrap_or(LevelFilter::INFO))
        }
        None => wanted,
    }
}

/// Whether the workers of a pool may share memory with the host.
fn has_slabs(config: &PoolConfig) -> bool {
    config.max_buffer_bytes() > 0
}

/// The thread count of numeric libraries in each worker, determined once per pool, so that all its processes get the same
/// number.
#[derive(Debug)]
pub(super) struct ThreadVariables {
    pub(super) cores: usize,
    pub(super) threads_per_worker: usize,
    /// The variables to set: those that the worker's environment does not contain.
    pub(super) variables: Vec<&'static str>,
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

/// Keeps the directory, once.
fn keep_installed(packages: &mut Vec<Installed>, installed: Installed) {
    if packages.iter().all(|kept| kept.path() != installed.path()) {
        packages.push(installed);
    }
}

/// Returns the command of a process. `number` is that of the worker's slot; a template has none, and neither the variables that
/// contain it.
fn command(config: &PoolConfig, label: String, number: Option<u32>, program: OsString, args: Vec<OsString>) -> Command {
    let clean = config.env_mode() == EnvMode::Clean;
    let mut command = Command::new(program).args(args).cwd(config.cwd()).label(label).slabs(has_slabs(config));
    let removed = TOKEN_VARIABLES.iter().chain(&OF_OTHER_HOSTS);
    command = removed.fold(command.env_clear(clean), |command, name| command.env_remove(*name));
    if clean {
        let kept = CLEAN_ENV_VARIABLES.iter().filter_map(|key| Some((key, env::var_os(key)?)));
        command = kept.fold(command, |command, (key, value)| command.env(*key, value));
    }
    let Some(number) = number else {
        // A number that the host itself was given is not that of a worker.
        let command = command.env_remove(SLOT);
        let common = config.env().iter().filter(|(_, value)| in_slot(value, 0) == **value);
        return common.fold(command, |command, (key, value)| command.env(key, value));
    };
    let command = command.env(SLOT, number.to_string());
    config.env().iter().fold(command, |command, (key, value)| command.env(key, in_slot(value, number)))
}

/// Returns the value of a variable of the pool's `env` in the slot with this number.
fn in_slot(value: &str, number: u32) -> String {
    value.replace("{slot}", &number.to_string())
}

/// Returns the value of a variable in the worker's environment, unless it is empty.
fn value(config: &PoolConfig, number: Option<u32>, key: &str) -> Option<OsString> {
    let inherited = || env::var_os(key).filter(|_| config.env_mode() != EnvMode::Clean);
    let own = config.env().get(key).map(|value| OsString::from(in_slot(value, number.unwrap_or_default())));
    own.or_else(inherited).filter(|value| !value.is_empty())
}

/// Adds the variables for the embedded package. Python must not write bytecode beside the package by itself, since the host
/// refuses files that it does not know: the package writes its bytecode itself (`bytecode.py`) and then restores the user's
/// value of the variable.
fn with_package(command: Command, config: &PoolConfig, number: Option<u32>, package: &Path) -> Command {
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

#[cfg(test)]
mod tests {
    use super::*;
    use herder_core::{Generation, WorkerId};

    /// R50: a worker and the template, which logs while it imports the app, start with the level of their pool.
    #[actix_rt::test]
    async fn r50_processes_start_with_the_log_level_of_their_pool() {
        let config = PoolConfig::basic("levels").app("app.py:app").pool_size(1).build().unwrap();
        let commands = Commands::new(Rc::new(config));
        let worker = WorkerRef { id: WorkerId(1), generation: Generation(1) };
        for level in [Some(LevelFilter::DEBUG), None] {
            commands.log_level.set(level);
            assert_eq!(commands.of_worker(worker, 0).await.unwrap().log_level, level);
            assert_eq!(commands.of_template().await.unwrap().unwrap().log_level, level);
        }
    }
}
