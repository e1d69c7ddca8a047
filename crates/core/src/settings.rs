//! The settings of a pool. Plain data: the configuration validates all bounds before.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// The two worker types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerType {
    /// Any worker runs any call. The enhanced features do not exist.
    #[default]
    Basic,
    /// Sessions can be bound to workers, and workers can have metrics and the state machine; each feature has its own
    /// flag.
    Enhanced,
}

impl WorkerType {
    /// Returns the name of the type, as in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Enhanced => "enhanced",
        }
    }
}

/// The treatment of a session whose timeout has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Expiry {
    /// The session is removed at once.
    #[default]
    Immediate,
    /// The session is marked. Calls of it fail with `SessionExpired` for `grace` after the marking; then the sweep
    /// removes it.
    TwoPhase {
        /// The time for which a marked session is remembered.
        grace: Duration,
    },
}

/// The strictness with which the calls of a session keep to its worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Affinity {
    /// Calls wait for the bound worker and run one at a time, in order.
    #[default]
    StrictQueue,
    /// Calls prefer the bound worker and run on another worker if it is busy.
    Hint,
    /// Calls fail at once with `WorkerBusy` if the bound worker is busy.
    StrictFailFast,
}

/// The treatment of a call of an expired session. Applies to two-phase expiry, which can distinguish an expired session
/// from an unknown one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnExpired {
    /// The session starts with a new state on any worker; the reply's `routing` is `rebound` and its `why` is
    /// `expired`.
    #[default]
    Rebind,
    /// The call fails with `SessionExpired`.
    Reject,
}

/// The treatment of a call whose session does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IfAbsent {
    /// The call creates the session.
    #[default]
    Create,
    /// The call fails.
    Reject,
}

/// The largest number of `Pipeline::Auto`. More gains nothing: the worker then reads and answers many calls with each
/// system call.
const MAX_AUTO_DEPTH: u32 = 32;

/// The number of unfinished calls that a worker may have for each call that it can run at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pipeline {
    /// The pool decides for each worker. More than 1 only while the worker's calls are short, and only if the worker states
    /// that it begins them in order.
    #[default]
    Auto,
    /// Always this number, at least 1.
    Fixed(u32),
}

impl Pipeline {
    /// Returns the maximum of the number.
    pub fn max_depth(self) -> u32 {
        match self {
            Self::Auto => MAX_AUTO_DEPTH,
            Self::Fixed(calls) => calls,
        }
    }
}

impl From<u32> for Pipeline {
    fn from(calls: u32) -> Self {
        Self::Fixed(calls)
    }
}

impl fmt::Display for Pipeline {
    /// Writes the value of the key `pipeline`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(calls) => calls.fmt(f),
        }
    }
}

/// The length of a wait that the settings give as zero, where the pool would otherwise find the same thing due again at
/// once, and a step would never end.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// The settings of a pool, validated by the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// The number of base workers, at least 1.
    pub pool_size: u32,
    /// The maximum number of overflow workers, which are started for calls that have waited for `overflow_delay`.
    pub overflow: u32,
    /// The time for which a call must have waited before an overflow worker is started for it.
    pub overflow_delay: Duration,
    /// The number of calls that a worker runs at the same time, at least 1.
    pub concurrency: u32,
    /// The number of unfinished calls that a worker may have for each call that it can run at the same time.
    pub pipeline: Pipeline,
    /// The limits of the queue.
    pub queue: QueueSettings,
    /// The maximum time from the start of a process until it is ready.
    pub start_timeout: Duration,
    /// The maximum number of workers that start at the same time, at least 1 (R13).
    pub start_batch: u32,
    /// Whether no worker is started before the first call (R11).
    pub lazy: bool,
    /// The time for which an overflow worker may be idle before it is stopped. Zero acts as 1 ms.
    pub overflow_idle_timeout: Duration,
    /// The limits on an attempt whose call is settled.
    pub cancel: CancelSettings,
    /// The limits of streams.
    pub stream: StreamSettings,
    /// The maximum time that a shutdown waits for the workers after it has asked them to stop.
    pub stop_timeout: Duration,
    /// The health checks.
    pub health: HealthSettings,
    /// The limits and waits of restarts.
    pub restart: RestartSettings,
    /// The retries.
    pub retry: RetrySettings,
    /// The circuit breaker; `None` for a pool without one.
    pub breaker: Option<BreakerSettings>,
    /// The quarantine of calls that end their workers; `None` for a pool without one.
    pub poison: Option<PoisonSettings>,
    /// The tracking of sessions, which every pool does.
    pub sessions: SessionSettings,
    /// The worker type and its features.
    pub worker_type: WorkerTypeSettings,
}

/// The limits of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueueSettings {
    /// The maximum number of waiting calls in the pool.
    pub limit: usize,
    /// The maximum number of waiting calls of one session.
    pub per_session: usize,
    /// The time for which a call waits for any free worker. The wait for a session's own worker is limited by the
    /// call's deadline only.
    pub timeout: Duration,
    /// Whether a call is refused at once if its estimated wait, judged by recent calls, is more than twice the time that it can
    /// wait.
    pub shed: bool,
}

/// The limits of streams.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StreamSettings {
    /// The longest time for which a consumer may take nothing while the worker may send nothing. Zero acts as 1 ms.
    pub stall: Duration,
}

/// The waits after a deadline has passed or a call was cancelled. Both count from the moment at which the attempt is known or
/// assumed to run. If the pool interrupts late, it also kills later by the same amount, so that the worker always has the
/// time between the two. If `kill` is not longer than `interrupt`, nothing is interrupted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CancelSettings {
    /// The time until running code is interrupted.
    pub interrupt: Duration,
    /// The time until the worker is killed.
    pub kill: Duration,
    /// The time until the worker is killed for a call that it has withdrawn, that is the oldest it has, and whose final
    /// frame does not arrive: something other than its calls blocks the worker.
    pub withdrawn: Duration,
}

/// The pings on the control channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthSettings {
    /// The time between two pings.
    pub interval: Duration,
    /// The time after which a ping counts as missed. Zero acts as 1 ms.
    pub timeout: Duration,
    /// The time after which a ping counts as missed although it is not known what the process does.
    pub examination: Duration,
    /// The number of consecutive missed pings after which the worker is killed, at least 1.
    pub failures: u32,
}

/// Restart intensity and backoff (R28).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RestartSettings {
    /// The number of failed starts, and of early deaths without a call, of base workers that is allowed within the
    /// window.
    pub max: u32,
    /// The length of the window.
    pub window: Duration,
    /// A process that ends before this age died early: its slot waits before the next start.
    pub min_uptime: Duration,
    /// The wait before the next start after a failed start or an early death. Doubles with each consecutive failure.
    pub backoff: Duration,
    /// The longest such wait.
    pub max_backoff: Duration,
    /// The time for which a failed pool waits before its probe. Doubles each time, up to ten minutes. Zero acts as 1 ms.
    pub cooldown: Duration,
}

/// The growth of the wait from one retry to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Backoff {
    /// `base`, 2 x `base`, 3 x `base`, ...
    Linear,
    /// `base`, doubled for each retry.
    #[default]
    Exponential,
    /// `base` times 1, 1, 2, 3, 5, ...
    Fibonacci,
    /// A random wait between `base` and three times the previous wait, so that the retries of calls that failed
    /// together spread out (Marc Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015). `jitter` does
    /// not apply.
    Decorrelated,
    /// These waits in order; the last one repeats. An empty list means no wait. `base` does not apply.
    Custom(Vec<Duration>),
}

/// When a call is retried whose process died: only if it is idempotent and has no strict session, and never past its
/// deadline.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RetrySettings {
    /// The maximum number of attempts, at least 1.
    pub attempts: u32,
    /// The growth of the waits.
    pub backoff: Backoff,
    /// The first wait.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
    /// The maximum deviation of a wait from the backoff, in thousandths of it: at most 1000.
    pub jitter: u32,
    /// The retry budget of the pool, in thousandths of its successes of the last ten seconds. Ten retries are always
    /// allowed.
    pub budget: u32,
}

/// When the circuit breaker of a pool opens and closes (R34).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BreakerSettings {
    /// The number of consecutive failures that opens it, at least 1.
    pub failure_threshold: u32,
    /// The number of successful trials that closes it, at least 1.
    pub success_threshold: u32,
    /// The time for which it stays open before it admits a trial.
    pub open_duration: Duration,
    /// The maximum number of trials in flight, at least 1.
    pub half_open_max_calls: u32,
    /// The failures that it counts.
    pub counts: CountedFailures,
}

/// The categories of failures that a breaker counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CountedFailures {
    /// Deadlines and queue timeouts.
    pub timeout: bool,
    /// Workers that were lost with their call: exits, protocol violations, hangs.
    pub connection: bool,
    /// Workers that were terminated by a signal that Herder did not send by its own decision.
    pub signal: bool,
    /// Errors that a worker answered.
    pub python: bool,
}

/// When a command with certain arguments is quarantined (R37).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoisonSettings {
    /// The number of consecutive worker deaths that leads to quarantine, at least 1.
    pub max_worker_deaths: u32,
    /// The duration of the quarantine, from the last of these deaths. Deaths that are farther apart are not added up.
    pub quarantine: Duration,
}

/// The tracking of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionSettings {
    /// The time for which a session without calls is kept.
    pub timeout: Duration,
    /// The time between two sweeps.
    pub cleanup_interval: Duration,
    /// The maximum number of sessions.
    pub max: usize,
}

/// The worker type, and the settings that only an enhanced pool has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WorkerTypeSettings {
    /// A basic pool.
    Basic,
    /// An enhanced pool.
    Enhanced {
        /// The routing by session; `None` if the flag is off.
        session_affinity: Option<AffinitySettings>,
        /// Whether each worker has metrics.
        worker_metrics: bool,
        /// Whether workers can be degraded, health decides which workers get calls, and transitions are recorded.
        state_machine: bool,
    },
}

/// The settings of session affinity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AffinitySettings {
    /// The treatment of sessions whose timeout has passed.
    pub expiry: Expiry,
    /// The affinity of calls that specify none.
    pub mode: Affinity,
    /// The treatment of calls of an expired session. With immediate expiry, [`OnExpired::Reject`] acts as
    /// [`OnExpired::Rebind`]; the configuration refuses this combination.
    pub on_expired: OnExpired,
}

impl Settings {
    /// Returns the worker type.
    pub fn worker_type(&self) -> WorkerType {
        match self.worker_type {
            WorkerTypeSettings::Basic => WorkerType::Basic,
            WorkerTypeSettings::Enhanced { .. } => WorkerType::Enhanced,
        }
    }

    /// Returns the maximum number of unfinished calls of a worker, whatever its hello frame offers.
    pub fn window(&self) -> u32 {
        self.concurrency.saturating_mul(self.pipeline.max_depth())
    }

    /// Returns the maximum number of unfinished calls of a worker that count as running. Further ones are in advance: they
    /// still count as waiting.
    pub fn places(&self) -> u32 {
        match self.pipeline {
            Pipeline::Auto => self.concurrency,
            Pipeline::Fixed(_) => self.window(),
        }
    }

    /// Replaces zeros by the shortest wait, where something is due again after the wait. The configuration refuses these
    /// zeros; a direct user of the core is protected here.
    pub(crate) fn with_shortest_waits(mut self) -> Self {
        for wait in [&mut self.overflow_idle_timeout, &mut self.restart.cooldown, &mut self.health.timeout] {
            *wait = if wait.is_zero() { SHORTEST_WAIT } else { *wait };
        }
        self
    }

    /// Returns the settings of a small pool for tests and examples: everything has its default, except that overflow workers
    /// start at once. Each worker runs one call at a time.
    pub fn new(kind: WorkerTypeSettings, pool_size: u32) -> Self {
        let seconds = Duration::from_secs;
        Self {
            pool_size,
            overflow: 2,
            overflow_delay: Duration::ZERO,
            concurrency: 1,
            pipeline: Pipeline::default(),
            queue: QueueSettings { limit: 1000, per_session: 250, timeout: seconds(5), shed: true },
            start_timeout: seconds(60),
            start_batch: 8,
            lazy: false,
            overflow_idle_timeout: seconds(30),
            cancel: CancelSettings { interrupt: seconds(1), kill: seconds(5), withdrawn: seconds(65) },
            stream: StreamSettings { stall: seconds(30) },
            stop_timeout: seconds(8),
            health: HealthSettings { interval: seconds(30), timeout: seconds(5), examination: seconds(5), failures: 3 },
            restart: RestartSettings {
                max: u32::max(5, 2 * pool_size),
                window: seconds(60),
                min_uptime: seconds(10),
                backoff: Duration::from_millis(100),
                max_backoff: seconds(10),
                cooldown: seconds(30),
            },
            retry: RetrySettings::default(),
            breaker: None,
            poison: Some(PoisonSettings::default()),
            sessions: SessionSettings { timeout: seconds(300), cleanup_interval: seconds(60), max: 10_000 },
            worker_type: kind,
        }
    }
}

impl Default for RetrySettings {
    fn default() -> Self {
        let (base, max) = (Duration::from_millis(100), Duration::from_secs(5));
        Self { attempts: 3, backoff: Backoff::Exponential, base, max, jitter: 250, budget: 200 }
    }
}

impl Default for BreakerSettings {
    fn default() -> Self {
        let (open, counts) = (Duration::from_secs(60), CountedFailures::default());
        Self { failure_threshold: 5, success_threshold: 3, open_duration: open, half_open_max_calls: 3, counts }
    }
}

impl CountedFailures {
    /// Returns the categories that are named in `breaker.counts`: `timeout`, `connection`, `signal`, `python`.
    pub fn of(names: &[impl AsRef<str>]) -> Self {
        let named = |name: &str| names.iter().any(|listed| listed.as_ref() == name);
        Self {
            timeout: named("timeout"),
            connection: named("connection"),
            signal: named("signal"),
            python: named("python"),
        }
    }
}

impl Default for CountedFailures {
    fn default() -> Self {
        Self { timeout: true, connection: true, signal: false, python: false }
    }
}

impl Default for PoisonSettings {
    fn default() -> Self {
        Self { max_worker_deaths: 3, quarantine: Duration::from_secs(600) }
    }
}

impl WorkerTypeSettings {
    /// Returns an enhanced pool with all features on and everything else at its default.
    pub fn enhanced() -> Self {
        let session_affinity = Some(AffinitySettings {
            expiry: Expiry::Immediate,
            mode: Affinity::StrictQueue,
            on_expired: OnExpired::Rebind,
        });
        Self::Enhanced { session_affinity, worker_metrics: true, state_machine: true }
    }
}
