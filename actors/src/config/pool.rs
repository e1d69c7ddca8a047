//! A pool's configuration, checked: whoever holds one needs to check nothing again. Made by the builder alone, read-only.

use super::{Basic, Enhanced, EnvMode, Launch, NumericThreads, PoolBuilder};
use herder_core::{PoolName, Settings, WorkerType};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A pool's configuration, checked.
///
/// ```
/// use herder_actors::{PoolConfig, Queue, WorkerType};
/// use std::time::Duration;
///
/// let queue = Queue::new().limit(200).timeout(Duration::from_secs(1));
/// let config = PoolConfig::enhanced("carts").app("carts.py:app").pool_size(4).queue(queue).build()?;
/// assert_eq!(config.worker_type(), WorkerType::Enhanced);
/// assert_eq!(config.settings().queue.per_session, 50); // a quarter of the limit unless set
/// # Ok::<(), herder_actors::InvalidConfig>(())
/// ```
///
/// What only an enhanced pool has does not exist for a basic one:
/// ```compile_fail,E0599
/// use herder_actors::PoolConfig;
/// PoolConfig::basic("carts").worker_metrics(true);
/// ```
/// ```compile_fail,E0599
/// use herder_actors::{Features, PoolConfig};
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
    pub(super) timeout: Duration,
    pub(super) stop: StopSettings,
    pub(super) max_frame: u32,
}

/// Patience with a worker that was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopSettings {
    /// From the shutdown message to SIGTERM.
    pub grace: Duration,
    /// From SIGTERM to SIGKILL.
    pub term: Duration,
}

impl PoolConfig {
    /// Begins the configuration of a basic pool: any worker takes any call.
    pub fn basic(name: impl Into<String>) -> PoolBuilder<Basic> {
        PoolBuilder::new(name.into(), Basic::default())
    }

    /// Begins the configuration of an enhanced pool: a session stays with its worker; metrics and the full state machine.
    pub fn enhanced(name: impl Into<String>) -> PoolBuilder<Enhanced> {
        PoolBuilder::new(name.into(), Enhanced::default())
    }

    /// The pool's name.
    pub fn name(&self) -> &PoolName {
        &self.name
    }

    /// The worker type.
    pub fn worker_type(&self) -> WorkerType {
        self.settings.worker_type()
    }

    /// Base workers.
    pub fn pool_size(&self) -> u32 {
        self.settings.pool_size
    }

    /// Workers beyond those.
    pub fn overflow(&self) -> u32 {
        self.settings.overflow
    }

    /// What the core of the pool needs to know: sizes, queue, patience, restarts, sessions, and the type with its features.
    pub fn settings(&self) -> Settings {
        self.settings.clone()
    }

    /// How a worker is started.
    pub fn launch(&self) -> &Launch {
        &self.launch
    }

    /// The virtual environments that were looked up before the interpreter of [`launch`](Self::launch) was found, and that have no
    /// interpreter: `$VIRTUAL_ENV` if it is set, and `.venv` if it exists. The log has a warning for each when the pool starts.
    pub fn stale_venvs(&self) -> &[PathBuf] {
        &self.stale_venvs
    }

    /// The workers' working directory, absolute.
    pub fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// The environment variables that were given.
    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    /// Whether a worker also gets the host's environment.
    pub fn env_mode(&self) -> EnvMode {
        self.env_mode
    }

    /// How many threads the numeric libraries of each worker use.
    pub fn numeric_threads(&self) -> NumericThreads {
        self.numeric_threads
    }

    /// The whole deadline of a call that names none.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// From spawn to ready.
    pub fn start_timeout(&self) -> Duration {
        self.settings.start_timeout
    }

    /// Patience with a worker that was told to stop.
    pub fn stop(&self) -> StopSettings {
        self.stop
    }

    /// The longest frame, in bytes.
    pub fn max_frame(&self) -> u32 {
        self.max_frame
    }
}
