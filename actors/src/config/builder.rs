//! The builder of a pool's configuration, with one method per key, spelled as in TOML. Holds the given values and checks
//! nothing.

use super::launch::ProgramSource;
use super::{
    BatchSettings, Breaker, Buffers, Cancel, EnvMode, Features, Health, NumericThreads, Poison, Queue, Restart, Retry,
    Routed, Sessions, StartMethod, Stop, Streams, Tracked,
};
use herder_core::Pipeline;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Builds a [`PoolConfig`](super::PoolConfig) of the type `T`: [`Basic`] or [`Enhanced`].
///
/// Keys that are not set have their defaults. Methods that only enhanced pools have exist only on `PoolBuilder<Enhanced>`.
#[derive(Clone, Debug)]
#[must_use]
pub struct PoolBuilder<T> {
    pub(super) name: String,
    pub(super) common: Common,
    pub(super) of: T,
}

/// The settings that only a basic pool has: its sessions are tracked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Basic {
    pub(super) sessions: Sessions<Tracked>,
}

/// The settings that only an enhanced pool has: its sessions are routed, and it has features.
#[derive(Clone, Copy, Debug, Default)]
pub struct Enhanced {
    pub(super) sessions: Sessions<Routed>,
    pub(super) features: Features,
}

/// The settings of both types.
#[derive(Clone, Debug, Default)]
pub(super) struct Common {
    pub(super) program: ProgramSource,
    pub(super) env: BTreeMap<String, String>,
    pub(super) env_mode: EnvMode,
    pub(super) numeric_threads: NumericThreads,
    pub(super) start: StartMethod,
    pub(super) lazy: Option<bool>,
    pub(super) pool_size: Option<usize>,
    pub(super) overflow: Option<usize>,
    pub(super) overflow_delay: Option<Duration>,
    pub(super) overflow_idle_timeout: Option<Duration>,
    pub(super) timeout: Option<Duration>,
    pub(super) queue: Queue,
    pub(super) concurrency: Option<usize>,
    pub(super) pipeline: Option<Pipeline>,
    pub(super) forward_headers: Vec<String>,
    pub(super) start_timeout: Option<Duration>,
    pub(super) cancel: Cancel,
    pub(super) stream: Streams,
    pub(super) batches: BTreeMap<String, BatchSettings>,
    pub(super) buffers: Buffers,
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

    /// Sets the Python app that each worker runs: `module:app` or `path/to/file.py:app`. A relative path is resolved against
    /// [`cwd`](Self::cwd).
    pub fn app(mut self, app: impl Into<String>) -> Self {
        self.common.program.app = Some(app.into());
        self
    }

    /// Sets an executable that implements the worker protocol, with its arguments; used instead of [`app`](Self::app). A
    /// program with a `/` is resolved against [`relative_to`](Self::relative_to).
    pub fn command<S: Into<String>>(mut self, argv: impl IntoIterator<Item = S>) -> Self {
        self.common.program.command = Some(argv.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the interpreter of the app: a name to look up in `PATH`, or a path, which is resolved against
    /// [`relative_to`](Self::relative_to). The path of a folder stands for its `bin/python` (an environment) or
    /// `.venv/bin/python` (a project). Default: the first that exists of `$VIRTUAL_ENV/bin/python`, `.venv/bin/python`, the
    /// `bin/python` of the virtual environment in which this program is installed, and `python3`. A virtual environment
    /// without an interpreter is logged as a warning.
    pub fn python(mut self, python: impl Into<PathBuf>) -> Self {
        self.common.program.python = Some(python.into());
        self
    }

    /// Sets an environment variable of each worker. `{slot}` in the value is the number of the worker's slot, from 0: `w1` has 0.
    /// Each worker also has it in `HERDER_SLOT`. Workers do not inherit the host's `HERDER_TOKEN`; this method can set it.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.common.env.insert(name.into(), value.into());
        self
    }

    /// Sets whether workers inherit the host's environment. Default: they do.
    pub fn env_mode(mut self, mode: EnvMode) -> Self {
        self.common.env_mode = mode;
        self
    }

    /// Sets the number of threads of the numeric libraries in each worker. Default: the worker's share of the cores.
    /// Variables that the pool's [`env`](Self::env) or the inherited environment contains are not changed.
    pub fn numeric_threads(mut self, threads: NumericThreads) -> Self {
        self.common.numeric_threads = threads;
        self
    }

    /// Sets how workers are started. Default: [`StartMethod::Spawn`].
    ///
    /// ```
    /// # use herder_actors::{PoolConfig, StartMethod};
    /// let config = PoolConfig::basic("models").app("models.py:app").start(StartMethod::Template).build()?;
    /// assert_eq!(config.start(), StartMethod::Template);
    /// # Ok::<(), herder_actors::InvalidConfig>(())
    /// ```
    pub fn start(mut self, method: StartMethod) -> Self {
        self.common.start = method;
        self
    }

    /// Sets whether the workers are started by the first call, and not by the start of the pool. Default: false.
    pub fn lazy(mut self, lazy: bool) -> Self {
        self.common.lazy = Some(lazy);
        self
    }

    /// Sets the workers' working directory. Default: [`relative_to`](Self::relative_to).
    pub fn cwd(mut self, folder: impl Into<PathBuf>) -> Self {
        self.common.program.cwd = Some(folder.into());
        self
    }

    /// Sets the directory against which relative paths of this configuration are resolved and in which `.venv` is looked for.
    /// Default: the current directory. For a configuration file it is the file's directory.
    pub fn relative_to(mut self, folder: impl Into<PathBuf>) -> Self {
        self.common.program.base = Some(folder.into());
        self
    }

    /// Sets the number of base workers: 1 to 1024. Default: twice the cores.
    pub fn pool_size(mut self, workers: usize) -> Self {
        self.common.pool_size = Some(workers);
        self
    }

    /// Sets the maximum number of overflow workers, started for calls that have waited for
    /// [`overflow_delay`](Self::overflow_delay): 0 to 1024. Default: 2.
    pub fn overflow(mut self, workers: usize) -> Self {
        self.common.overflow = Some(workers);
        self
    }

    /// Sets how long a call must have waited before an overflow worker is started for it. Default: 100 ms.
    pub fn overflow_delay(mut self, delay: Duration) -> Self {
        self.common.overflow_delay = Some(delay);
        self
    }

    /// Sets how long an overflow worker may be idle before it is stopped. Default: 30 s.
    pub fn overflow_idle_timeout(mut self, timeout: Duration) -> Self {
        self.common.overflow_idle_timeout = Some(timeout);
        self
    }

    /// Sets the deadline of a call, which covers the queue, the run and all retries. Default: 30 s. A call may set its own.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.common.timeout = Some(timeout);
        self
    }

    /// Sets the limits of the queue.
    pub fn queue(mut self, queue: Queue) -> Self {
        self.common.queue = queue;
        self
    }

    /// Sets the maximum number of calls that a worker runs concurrently: 1 to 1024. Default: 1. More than 1 helps only
    /// `async` handlers.
    pub fn concurrency(mut self, calls: usize) -> Self {
        self.common.concurrency = Some(calls);
        self
    }

    /// Sets the number of unfinished calls that a worker may have for each call that it runs at once: 1 to 1024, or
    /// [`Pipeline::Auto`], the default. More than 1 saves a round trip, but lets short calls wait behind long ones; with `Auto`,
    /// the pool sends more only while the worker's calls are short, and takes them back if one takes longer.
    ///
    /// ```
    /// # use herder_actors::{Pipeline, PoolConfig};
    /// let config = PoolConfig::basic("carts").app("carts.py:app").pipeline(4).build()?;
    /// assert_eq!(config.settings().pipeline, Pipeline::Fixed(4));
    /// let config = PoolConfig::basic("carts").app("carts.py:app").pipeline(Pipeline::Auto).build()?;
    /// assert_eq!(config.settings().pipeline, Pipeline::Auto);
    /// # Ok::<(), herder_actors::InvalidConfig>(())
    /// ```
    pub fn pipeline(mut self, calls: impl Into<Pipeline>) -> Self {
        self.common.pipeline = Some(calls.into());
        self
    }

    /// Sets the headers of HTTP requests that handlers can read, by their names. Default: none. A handler also gets those of
    /// `Call::header`, whatever their names are.
    pub fn forward_headers<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.common.forward_headers = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the maximum time from starting a process until the worker is ready. Default: 60 s.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.common.start_timeout = Some(timeout);
        self
    }

    /// Sets the limit of the memory that workers share with the host.
    pub fn buffers(mut self, buffers: Buffers) -> Self {
        self.common.buffers = buffers;
        self
    }

    /// Sets the limits of streams.
    pub fn stream(mut self, stream: Streams) -> Self {
        self.common.stream = stream;
        self
    }

    /// Sets limits of the batches of a command with `@app.batch`. What they leave out is as the app declares it. A warning is
    /// logged if the app has no such command.
    ///
    /// ```
    /// # use herder_actors::{BatchSettings, PoolConfig};
    /// # use std::{num::NonZeroU32, time::Duration};
    /// let limits = BatchSettings { max_batch_size: NonZeroU32::new(16), max_wait: Some(Duration::from_millis(5)) };
    /// let config = PoolConfig::basic("models").app("models.py:app").batch("predict", limits).build()?;
    /// assert_eq!(config.batches()["predict"], limits);
    /// # Ok::<(), herder_actors::InvalidConfig>(())
    /// ```
    pub fn batch(mut self, command: impl Into<String>, limits: BatchSettings) -> Self {
        self.common.batches.insert(command.into(), limits);
        self
    }

    /// Sets how long a call may run on after its deadline or cancel.
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.common.cancel = cancel;
        self
    }

    /// Sets how long a worker may take to stop.
    pub fn stop(mut self, stop: Stop) -> Self {
        self.common.stop = stop;
        self
    }

    /// Sets the pings of workers.
    pub fn health(mut self, health: Health) -> Self {
        self.common.health = health;
        self
    }

    /// Sets how often workers may fail, and the waits before restarts.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.common.restart = restart;
        self
    }

    /// Sets when a call whose worker died is retried.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.common.retry = retry;
        self
    }

    /// Sets the circuit breaker, which is off by default.
    pub fn breaker(mut self, breaker: Breaker) -> Self {
        self.common.breaker = breaker;
        self
    }

    /// Sets the quarantine of calls that kill their workers.
    pub fn poison(mut self, poison: Poison) -> Self {
        self.common.poison = poison;
        self
    }

    /// Sets the maximum length of a frame in bytes: 1 KiB to 1 GiB - 1. Default: 64 MiB.
    pub fn max_frame(mut self, bytes: usize) -> Self {
        self.common.max_frame = Some(bytes);
        self
    }
}

impl PoolBuilder<Basic> {
    /// Sets how sessions are tracked.
    pub fn sessions(mut self, sessions: Sessions<Tracked>) -> Self {
        self.of.sessions = sessions;
        self
    }
}

impl PoolBuilder<Enhanced> {
    /// Sets how sessions are tracked, routed and expired.
    pub fn sessions(mut self, sessions: impl Into<Sessions<Routed>>) -> Self {
        self.of.sessions = sessions.into();
        self
    }

    /// Sets all features.
    pub fn features(mut self, features: Features) -> Self {
        self.of.features = features;
        self
    }

    /// Sets `features.session_affinity`. Default: true.
    pub fn session_affinity(mut self, on: bool) -> Self {
        self.of.features = self.of.features.session_affinity(on);
        self
    }

    /// Sets `features.worker_metrics`. Default: true.
    pub fn worker_metrics(mut self, on: bool) -> Self {
        self.of.features = self.of.features.worker_metrics(on);
        self
    }

    /// Sets `features.state_machine`. Default: true.
    pub fn state_machine(mut self, on: bool) -> Self {
        self.of.features = self.of.features.state_machine(on);
        self
    }
}
