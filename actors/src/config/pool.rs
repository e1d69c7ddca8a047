//! The checked configuration of a pool. Only the builder creates it, and it is read-only, so its users check nothing again.

use super::{Basic, BatchSettings, Enhanced, EnvMode, Launch, NumericThreads, PoolBuilder, StartMethod};
use herder_core::{PoolName, Settings, WorkerType, WorkerTypeSettings};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The checked configuration of a pool.
///
/// ```
/// # use herder_actors::{PoolConfig, Queue, WorkerType};
/// use std::time::Duration;
///
/// let queue = Queue::new().limit(200).timeout(Duration::from_secs(1));
/// let config = PoolConfig::enhanced("carts").app("carts.py:app").pool_size(4).queue(queue).build()?;
/// assert_eq!(config.worker_type(), WorkerType::Enhanced);
/// assert_eq!(config.settings().queue.per_session, 50); // a quarter of the limit unless set
/// # Ok::<(), herder_actors::InvalidConfig>(())
/// ```
///
/// The builder of a basic pool has no methods for the keys of enhanced pools:
/// ```compile_fail,E0599
/// # use herder_actors::PoolConfig;
/// PoolConfig::basic("carts").worker_metrics(true);
/// ```
/// ```compile_fail,E0599
/// # use herder_actors::{Features, PoolConfig};
/// PoolConfig::basic("carts").features(Features::new());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    pub(super) name: PoolName,
    pub(super) settings: Settings,
    pub(super) launch: Launch,
    pub(super) stale_venvs: Vec<PathBuf>,
    pub(super) cwd: PathBuf,
    pub(super) env: BTreeMap<String, String>,
    pub(super) env_mode: EnvMode,
    pub(super) numeric_threads: NumericThreads,
    pub(super) start: StartMethod,
    pub(super) forward_headers: Box<[Box<str>]>,
    pub(super) batches: BTreeMap<String, BatchSettings>,
    pub(super) timeout: Duration,
    pub(super) stop: StopSettings,
    pub(super) stream_window: u32,
    pub(super) max_buffer_bytes: u64,
    pub(super) max_frame: u32,
}

/// How long a worker may take to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopSettings {
    /// The time from the shutdown message to SIGTERM.
    pub grace: Duration,
    /// The time from SIGTERM to SIGKILL.
    pub term: Duration,
}

impl PoolConfig {
    /// Starts the configuration of a basic pool, in which any worker runs any call.
    pub fn basic(name: impl Into<String>) -> PoolBuilder<Basic> {
        PoolBuilder::new(name.into(), Basic::default())
    }

    /// Starts the configuration of an enhanced pool, with session affinity, worker metrics and the state machine.
    pub fn enhanced(name: impl Into<String>) -> PoolBuilder<Enhanced> {
        PoolBuilder::new(name.into(), Enhanced::default())
    }

    /// Returns the pool's name.
    pub fn name(&self) -> &PoolName {
        &self.name
    }

    /// Returns the worker type.
    pub fn worker_type(&self) -> WorkerType {
        self.settings.worker_type()
    }

    /// Returns whether the pool keeps the calls of a session on one worker: whether it is enhanced and has the feature
    /// `session_affinity`.
    pub fn session_affinity(&self) -> bool {
        matches!(self.settings.worker_type, WorkerTypeSettings::Enhanced { session_affinity: Some(_), .. })
    }

    /// Returns the number of base workers.
    pub fn pool_size(&self) -> u32 {
        self.settings.pool_size
    }

    /// Returns the maximum number of overflow workers.
    pub fn overflow(&self) -> u32 {
        self.settings.overflow
    }

    /// Returns the settings of the core: sizes, queue, timeouts, restarts, sessions, and the worker type with its features.
    #[doc(hidden)] // the core's types, for tests
    pub fn settings(&self) -> Settings {
        self.settings.clone()
    }

    /// Returns how a worker is started.
    pub fn launch(&self) -> &Launch {
        &self.launch
    }

    /// Returns the virtual environments that have precedence over the interpreter of [`launch`](Self::launch) but contain no
    /// interpreter: `$VIRTUAL_ENV` if it is set, and `.venv` if it exists. Each is logged as a warning when the pool starts.
    pub fn stale_venvs(&self) -> &[PathBuf] {
        &self.stale_venvs
    }

    /// Returns the workers' working directory as an absolute path.
    pub fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// Returns the environment variables that were set.
    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    /// Returns whether workers inherit the host's environment.
    pub fn env_mode(&self) -> EnvMode {
        self.env_mode
    }

    /// Returns the setting for the threads of numeric libraries.
    pub fn numeric_threads(&self) -> NumericThreads {
        self.numeric_threads
    }

    /// Returns how workers are started.
    pub fn start(&self) -> StartMethod {
        self.start
    }

    /// Returns whether the workers are started by the first call.
    pub fn is_lazy(&self) -> bool {
        self.settings.lazy
    }

    /// Returns the names of the headers of HTTP requests that handlers can read, in lower case.
    pub fn forward_headers(&self) -> &[Box<str>] {
        &self.forward_headers
    }

    /// Returns the configured limits of batches, by command.
    pub fn batches(&self) -> &BTreeMap<String, BatchSettings> {
        &self.batches
    }

    /// Returns the deadline of a call that sets none.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the maximum time from starting a process until the worker is ready.
    pub fn start_timeout(&self) -> Duration {
        self.settings.start_timeout
    }

    /// Returns how long a worker may take to stop.
    pub fn stop(&self) -> StopSettings {
        self.stop
    }

    /// Returns the maximum size of the memory that all workers together share with the host, in bytes.
    pub fn max_buffer_bytes(&self) -> u64 {
        self.max_buffer_bytes
    }

    /// Returns the number of bytes of a stream that a worker sends before its consumer has taken some.
    pub fn stream_window(&self) -> u32 {
        self.stream_window
    }

    /// Returns the maximum length of a frame in bytes.
    pub fn max_frame(&self) -> u32 {
        self.max_frame
    }
}
