//! The builder of a pool's configuration: one method a key, spelled as in TOML. Holds what was given, checks nothing.

use super::launch::ProgramSource;
use super::{
    Breaker, Cancel, EnvMode, Features, Health, NumericThreads, Poison, Queue, Restart, Retry, Routed, Sessions, Stop,
    Tracked,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Builds a [`PoolConfig`](super::PoolConfig), of the type `T`: [`Basic`] or [`Enhanced`].
///
/// Whatever isn't set has its default. What only an enhanced pool has exists only on `PoolBuilder<Enhanced>`.
#[derive(Clone, Debug)]
#[must_use]
pub struct PoolBuilder<T> {
    pub(super) name: String,
    pub(super) common: Common,
    pub(super) of: T,
}

/// A basic pool's own part: its sessions are tracked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Basic {
    pub(super) sessions: Sessions<Tracked>,
}

/// An enhanced pool's own part: its sessions are routed, and it has features.
#[derive(Clone, Copy, Debug, Default)]
pub struct Enhanced {
    pub(super) sessions: Sessions<Routed>,
    pub(super) features: Features,
}

/// What both types have.
#[derive(Clone, Debug, Default)]
pub(super) struct Common {
    pub(super) program: ProgramSource,
    pub(super) env: BTreeMap<String, String>,
    pub(super) env_mode: EnvMode,
    pub(super) numeric_threads: NumericThreads,
    pub(super) pool_size: Option<usize>,
    pub(super) overflow: Option<usize>,
    pub(super) overflow_idle_timeout: Option<Duration>,
    pub(super) timeout: Option<Duration>,
    pub(super) queue: Queue,
    pub(super) concurrency: Option<usize>,
    pub(super) pipeline: Option<usize>,
    pub(super) start_timeout: Option<Duration>,
    pub(super) cancel: Cancel,
    pub(super) stop: Stop,
    pub(super) health: Health,
    pub(super) restart: Restart,
    pub(super) retry: Retry,
    pub(super) breaker: Breaker,
    pub(super) poison: Poison,
    pub(super) max_frame: Option<usize>,
}

impl<T> PoolBuilder<T> {
    pub(super) fn new(name: String, of: T) -> Self {
        Self { name, common: Common::default(), of }
    }

    /// The Python app a worker runs: `module:app` or `path/to/file.py:app`. A path starts at [`cwd`](Self::cwd).
    pub fn app(mut self, app: impl Into<String>) -> Self {
        self.common.program.app = Some(app.into());
        self
    }

    /// Instead of [`app`](Self::app): any executable that speaks the protocol, with its arguments. A program with a `/` in
    /// it starts at [`relative_to`](Self::relative_to).
    pub fn command<S: Into<String>>(mut self, argv: impl IntoIterator<Item = S>) -> Self {
        self.common.program.command = Some(argv.into_iter().map(Into::into).collect());
        self
    }

    /// The interpreter of the app: a name to look up in `PATH`, or a path, which starts at
    /// [`relative_to`](Self::relative_to). Unless set: `$VIRTUAL_ENV/bin/python`, `.venv/bin/python`, `python3`, the first
    /// that is there. The log has a warning for a virtual environment without an interpreter.
    pub fn python(mut self, python: impl Into<PathBuf>) -> Self {
        self.common.program.python = Some(python.into());
        self
    }

    /// An environment variable of each worker. Workers do not inherit the host's `HERDER_TOKEN`; this sets it for them.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.common.env.insert(name.into(), value.into());
        self
    }

    /// Whether a worker also gets the host's environment; it does unless set.
    pub fn env_mode(mut self, mode: EnvMode) -> Self {
        self.common.env_mode = mode;
        self
    }

    /// How many threads the numeric libraries of each worker use: its share of the cores unless set. Variables that the pool's
    /// [`env`](Self::env) or the inherited environment sets are not changed.
    pub fn numeric_threads(mut self, threads: NumericThreads) -> Self {
        self.common.numeric_threads = threads;
        self
    }

    /// The workers' working directory, [`relative_to`](Self::relative_to) unless set.
    pub fn cwd(mut self, folder: impl Into<PathBuf>) -> Self {
        self.common.program.cwd = Some(folder.into());
        self
    }

    /// Where relative paths of this configuration start, and `.venv` is looked for. Unless set: the current directory.
    /// A configuration file gives its own folder.
    pub fn relative_to(mut self, folder: impl Into<PathBuf>) -> Self {
        self.common.program.base = Some(folder.into());
        self
    }

    /// Base workers: 1 to 1024; twice the cores unless set.
    pub fn pool_size(mut self, workers: usize) -> Self {
        self.common.pool_size = Some(workers);
        self
    }

    /// Workers beyond those, started when all are busy: 0 to 1024; 2 unless set.
    pub fn overflow(mut self, workers: usize) -> Self {
        self.common.overflow = Some(workers);
        self
    }

    /// How long an idle overflow worker stays, 30 s unless set.
    pub fn overflow_idle_timeout(mut self, linger: Duration) -> Self {
        self.common.overflow_idle_timeout = Some(linger);
        self
    }

    /// The whole deadline of a call (queue, run and retries), 30 s unless set. A call may bring its own.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.common.timeout = Some(timeout);
        self
    }

    /// The calls that wait.
    pub fn queue(mut self, queue: Queue) -> Self {
        self.common.queue = queue;
        self
    }

    /// Calls a worker runs at once: 1 to 1024; 1 unless set. More only helps handlers that are `async`.
    pub fn concurrency(mut self, calls: usize) -> Self {
        self.common.concurrency = Some(calls);
        self
    }

    /// Calls held per running slot: 1 to 1024; 1 unless set. More saves a round trip and lets short calls wait behind long ones.
    pub fn pipeline(mut self, calls: usize) -> Self {
        self.common.pipeline = Some(calls);
        self
    }

    /// From spawn to ready, 60 s unless set.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.common.start_timeout = Some(timeout);
        self
    }

    /// Patience with a call that goes on after its deadline or cancel.
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.common.cancel = cancel;
        self
    }

    /// Patience with a worker that was told to stop.
    pub fn stop(mut self, stop: Stop) -> Self {
        self.common.stop = stop;
        self
    }

    /// The probes of a worker.
    pub fn health(mut self, health: Health) -> Self {
        self.common.health = health;
        self
    }

    /// How often workers may fail, and the waits between.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.common.restart = restart;
        self
    }

    /// When a call is sent again whose worker died.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.common.retry = retry;
        self
    }

    /// The circuit breaker, off unless it says otherwise.
    pub fn breaker(mut self, breaker: Breaker) -> Self {
        self.common.breaker = breaker;
        self
    }

    /// The quarantine of calls that end their workers.
    pub fn poison(mut self, poison: Poison) -> Self {
        self.common.poison = poison;
        self
    }

    /// The longest frame in bytes: 1 KiB to 1 GiB - 1; 64 MiB unless set.
    pub fn max_frame(mut self, bytes: usize) -> Self {
        self.common.max_frame = Some(bytes);
        self
    }
}

impl PoolBuilder<Basic> {
    /// What the pool remembers of its sessions.
    pub fn sessions(mut self, sessions: Sessions<Tracked>) -> Self {
        self.of.sessions = sessions;
        self
    }
}

impl PoolBuilder<Enhanced> {
    /// What the pool remembers of its sessions, how they are routed and how they expire.
    pub fn sessions(mut self, sessions: impl Into<Sessions<Routed>>) -> Self {
        self.of.sessions = sessions.into();
        self
    }

    /// All flags together.
    pub fn features(mut self, features: Features) -> Self {
        self.of.features = features;
        self
    }

    /// The flag `features.session_affinity`, on unless set.
    pub fn session_affinity(mut self, on: bool) -> Self {
        self.of.features = self.of.features.session_affinity(on);
        self
    }

    /// The flag `features.worker_metrics`, on unless set.
    pub fn worker_metrics(mut self, on: bool) -> Self {
        self.of.features = self.of.features.worker_metrics(on);
        self
    }

    /// The flag `features.state_machine`, on unless set.
    pub fn state_machine(mut self, on: bool) -> Self {
        self.of.features = self.of.features.state_machine(on);
        self
    }
}
