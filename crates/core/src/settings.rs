//! What a pool was told to be. Plain validated data, handed to the core once; whoever builds it has checked the bounds.

use crate::Backoff;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Which of the two worker types a pool has (R2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerType {
    /// Any worker takes any call; nothing of the enhanced features exists.
    #[default]
    Basic,
    /// Sessions can stay with their worker; metrics and the full state machine, each by its flag.
    Enhanced,
}

/// What happens to a session whose timeout has passed (R16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Expiry {
    /// It is gone at once.
    #[default]
    Immediate,
    /// It is marked, answers `SessionExpired` for `grace` from the marking, and is then removed by the sweep.
    TwoPhase {
        /// How long a marked session is still known.
        grace: Duration,
    },
}

/// How strictly a session's calls keep to its worker (R19).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Affinity {
    /// Wait for the bound worker, in order, one call at a time.
    #[default]
    StrictQueue,
    /// Prefer the bound worker, run elsewhere when it is busy.
    Hint,
    /// Answer `WorkerBusy` at once when the bound worker is busy.
    StrictFailFast,
}

/// What a call of an expired session gets, where expired and never seen can be told apart (two-phase expiry).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExpired {
    /// A new state on any worker; the reply says `rebound`, `expired`.
    #[default]
    Rebind,
    /// `SessionExpired`.
    Reject,
}

/// What a call gets whose session does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IfAbsent {
    /// The session begins with this call.
    #[default]
    Create,
    /// An error.
    Reject,
}

/// A pool's settings, all of them validated by whoever built them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Base workers, at least 1.
    pub pool_size: u32,
    /// Workers beyond those, started when all are busy.
    pub overflow: u32,
    /// Calls a worker runs at once, at least 1.
    pub concurrency: u32,
    /// Calls held per running slot, at least 1.
    pub pipeline: u32,
    /// The pool's queue.
    pub queue: QueueSettings,
    /// From spawn to ready.
    pub start_timeout: Duration,
    /// How many workers start at the same time, at least 1 (R13).
    pub start_batch: u32,
    /// How long an idle overflow worker stays.
    pub overflow_idle_timeout: Duration,
    /// Patience with an attempt whose call is settled.
    pub cancel: CancelSettings,
    /// From the moment a shutdown tells the workers to end until it no longer waits for them.
    pub stop_timeout: Duration,
    /// Liveness.
    pub health: HealthSettings,
    /// Restarts.
    pub restart: RestartSettings,
    /// Sending a call again.
    pub retry: RetrySettings,
    /// The circuit breaker, if there is one.
    pub breaker: Option<BreakerSettings>,
    /// The quarantine of calls that end their workers, if there is one.
    pub poison: Option<PoisonSettings>,
    /// Tracking of sessions, which every pool does.
    pub sessions: SessionSettings,
    /// The worker type with its features.
    pub worker_type: WorkerTypeSettings,
}

/// Bounds of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueueSettings {
    /// Calls waiting in the whole pool.
    pub limit: usize,
    /// Calls waiting in one session.
    pub per_session: usize,
    /// How long a call waits for any free worker. A wait for a session's own worker ends with the call's deadline.
    pub timeout: Duration,
    /// Whether a call is refused at once that can't be reached within its time, by all that was seen.
    pub shed: bool,
}

/// Patience after a deadline or a cancel, both from that moment. A pool that comes late with the interrupt kills later by as
/// much, so that the time between the two is the worker's. If `kill` is not the longer, nothing is interrupted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CancelSettings {
    /// Until running code is interrupted.
    pub interrupt: Duration,
    /// Until the worker is killed.
    pub kill: Duration,
    /// Until the worker is killed for a call that it withdrew, that is the oldest it has, and whose final frame does not come: something
    /// other than its calls holds the worker up.
    pub withdrawn: Duration,
}

/// Pings on the control channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthSettings {
    /// Between two pings.
    pub interval: Duration,
    /// Until a ping counts as missed.
    pub timeout: Duration,
    /// Misses in a row that end the worker, at least 1.
    pub failures: u32,
}

/// Restart intensity and backoff (R28).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RestartSettings {
    /// Failed starts, and early deaths without a call, of base workers allowed within the window.
    pub max: u32,
    /// The window.
    pub window: Duration,
    /// A death before this age is early: its slot waits before the next start.
    pub min_uptime: Duration,
    /// The wait before the next start after one that failed, or an early death; doubles.
    pub backoff: Duration,
    /// The longest such wait.
    pub max_backoff: Duration,
    /// How long a failed pool rests before its probe; doubles up to ten minutes.
    pub cooldown: Duration,
}

/// When a call is sent again whose process died: only an idempotent one without a strict session, never past its deadline.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RetrySettings {
    /// How often a call is sent at most, at least 1.
    pub attempts: u32,
    /// How the waits grow.
    pub backoff: Backoff,
    /// The first wait.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
    /// How far a wait may be from what the backoff says, in thousandths of it: at most 1000.
    pub jitter: u32,
    /// How many retries the pool may send, in thousandths of its successes of the last ten seconds. Ten are always allowed.
    pub budget: u32,
}

/// When a pool's circuit breaker opens, and when it closes again (R34).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BreakerSettings {
    /// Failures in a row that open it, at least 1.
    pub failure_threshold: u32,
    /// Trials that must succeed to close it, at least 1.
    pub success_threshold: u32,
    /// How long it stays open before it lets a trial through.
    pub open_duration: Duration,
    /// Trials under way at once, at least 1.
    pub half_open_max_calls: u32,
    /// What counts as a failure.
    pub counts: CountedFailures,
}

/// What counts as a failure for a breaker, by category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CountedFailures {
    /// Deadlines and queue timeouts.
    pub timeout: bool,
    /// Workers that were lost with their call: exits, broken protocol, hanging.
    pub connection: bool,
    /// Those that ended by a signal Herder did not send on its own account.
    pub signal: bool,
    /// Errors that a worker answered.
    pub python: bool,
}

/// When a call's payload is quarantined (R37).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoisonSettings {
    /// Deaths in a row, at least 1.
    pub max_worker_deaths: u32,
    /// For how long, from the last of them. Deaths farther apart do not add up.
    pub quarantine: Duration,
}

/// Tracking of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionSettings {
    /// A session without calls is stale after this.
    pub timeout: Duration,
    /// Between two sweeps.
    pub cleanup_interval: Duration,
    /// Sessions at most.
    pub max: usize,
}

/// The worker type and what only an enhanced pool has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WorkerTypeSettings {
    /// A basic pool.
    Basic,
    /// An enhanced pool.
    Enhanced {
        /// Routing by session, unless the flag is off.
        session_affinity: Option<AffinitySettings>,
        /// Metrics for each worker.
        worker_metrics: bool,
        /// Degraded state, health-gated work and the history of transitions.
        state_machine: bool,
    },
}

/// How sessions are routed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AffinitySettings {
    /// The expiry policy.
    pub expiry: Expiry,
    /// The mode of calls that name none.
    pub mode: Affinity,
    /// What calls of an expired session get. Immediate expiry knows none: it takes [`OnExpired::Reject`] for
    /// [`OnExpired::Rebind`], and the configuration refuses the pair.
    pub on_expired: OnExpired,
}

impl Settings {
    /// The worker type.
    pub fn worker_type(&self) -> WorkerType {
        match self.worker_type {
            WorkerTypeSettings::Basic => WorkerType::Basic,
            WorkerTypeSettings::Enhanced { .. } => WorkerType::Enhanced,
        }
    }

    /// Unfinished calls a worker may hold at most, whatever its hello offers.
    pub fn window(&self) -> u32 {
        self.concurrency.saturating_mul(self.pipeline)
    }

    /// A small pool for tests and examples: everything at its default, one worker a slot.
    pub fn new(kind: WorkerTypeSettings, pool_size: u32) -> Self {
        let seconds = Duration::from_secs;
        Self {
            pool_size,
            overflow: 2,
            concurrency: 1,
            pipeline: 1,
            queue: QueueSettings { limit: 1000, per_session: 250, timeout: seconds(5), shed: true },
            start_timeout: seconds(60),
            start_batch: 8,
            overflow_idle_timeout: seconds(30),
            cancel: CancelSettings { interrupt: seconds(1), kill: seconds(5), withdrawn: seconds(65) },
            stop_timeout: seconds(8),
            health: HealthSettings { interval: seconds(30), timeout: seconds(5), failures: 3 },
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
    /// Returns what these words of `breaker.counts` name: `timeout`, `connection`, `signal`, `python`.
    pub fn of(words: &[impl AsRef<str>]) -> Self {
        let named = |name: &str| words.iter().any(|word| word.as_ref() == name);
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
    /// An enhanced pool with all features on and everything else at its default.
    pub fn enhanced() -> Self {
        let session_affinity = Some(AffinitySettings {
            expiry: Expiry::Immediate,
            mode: Affinity::StrictQueue,
            on_expired: OnExpired::Rebind,
        });
        Self::Enhanced { session_affinity, worker_metrics: true, state_machine: true }
    }
}
