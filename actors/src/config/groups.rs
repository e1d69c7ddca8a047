//! The settings that come in groups, each spelled as its table in TOML. They hold what was given and no more: defaults and
//! bounds come in when the pool is built.

use super::{Affinity, Backoff, CountedFailures, Expiry, OnExpired};
use std::time::Duration;

macro_rules! group {
    ($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[must_use]
        pub struct $name { $(pub(super) $field: Option<$type>,)* }

        impl $name {
            /// Everything at its default.
            pub fn new() -> Self {
                Self::default()
            }

            $($(#[$field_about])* pub fn $field(mut self, $field: $type) -> Self {
                self.$field = Some($field);
                self
            })*
        }
    };
}

group! {
    /// `queue`: the calls that wait. Bounded, since an unbounded queue only turns overload into late answers.
    Queue {
        /// Calls waiting in the pool: 1 to 1,000,000; 1000 unless set.
        limit: usize,
        /// The wait for any free worker, 5 s unless set. A wait for a session's own worker ends with the call's deadline.
        timeout: Duration,
        /// Calls waiting in one session: 1 to `limit`; a quarter of it unless set.
        per_session: usize,
        /// Whether a call is refused at once whose turn, by what recent calls took, can't come in time. It is, unless set.
        shed: bool,
    }
}

group! {
    /// `cancel`: patience with a call that goes on after its deadline or cancel. Both times count from the worker's answer that the
    /// call runs or, without an answer, from the moment at which it is cancelled and the worker's oldest unfinished call. A call that has
    /// not begun is neither interrupted nor killed for. If the pool sends the interrupt late, it delays the kill by the same amount.
    Cancel {
        /// Until the running code is interrupted, 1 s unless set; at most `kill`.
        interrupt: Duration,
        /// Until the worker is killed, 5 s unless set.
        kill: Duration,
    }
}

group! {
    /// `stop`: patience with a worker that was told to stop.
    Stop {
        /// From the shutdown message to SIGTERM, 5 s unless set.
        grace: Duration,
        /// From SIGTERM to SIGKILL, 2 s unless set.
        term: Duration,
    }
}

group! {
    /// `breaker`: the circuit breaker, which refuses calls at once while the pool fails them anyway (R34).
    Breaker {
        /// Whether there is one. None unless set.
        enabled: bool,
        /// Failures in a row that open it: 1 to 1,000,000; 5 unless set.
        failure_threshold: usize,
        /// Trials that must succeed to close it: 1 to 1,000,000; 3 unless set.
        success_threshold: usize,
        /// How long it is open before it lets a trial through, 60 s unless set.
        open_duration: Duration,
        /// Trials under way at once: 1 to 1,000,000; 3 unless set.
        half_open_max_calls: usize,
        /// What counts as a failure: timeouts and lost workers unless set, but for those ended by a signal from elsewhere.
        counts: CountedFailures,
    }
}

group! {
    /// `poison`: the quarantine of calls that end their workers again and again (R37).
    Poison {
        /// Whether there is one. There is unless set.
        enabled: bool,
        /// Workers in a row: 1 to 1000; 3 unless set.
        max_worker_deaths: usize,
        /// For how long, 10 minutes unless set.
        quarantine: Duration,
    }
}

/// `retry`: when an idempotent call is sent again whose worker died (R33).
///
/// ```
/// use herder_actors::{Backoff, PoolConfig, Retry};
/// use std::time::Duration;
///
/// let retry = Retry::new().attempts(5).backoff(Backoff::Fibonacci).base(Duration::from_millis(20)).budget(0.1);
/// PoolConfig::basic("models").app("models.py:app").retry(retry).build()?;
/// # Ok::<(), herder_actors::InvalidConfig>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Retry {
    pub(super) attempts: Option<usize>,
    pub(super) backoff: Option<Backoff>,
    pub(super) base: Option<Duration>,
    pub(super) max: Option<Duration>,
    pub(super) jitter: Option<f64>,
    pub(super) budget: Option<f64>,
}

impl Retry {
    /// Everything at its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// How often a call is sent at most: 1 to 100; 3 unless set. 1: never again.
    pub fn attempts(mut self, attempts: usize) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// How the waits grow: doubling unless set.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = Some(backoff);
        self
    }

    /// The first wait, 100 ms unless set; at most `max`.
    pub fn base(mut self, base: Duration) -> Self {
        self.base = Some(base);
        self
    }

    /// The longest wait, 5 s unless set.
    pub fn max(mut self, max: Duration) -> Self {
        self.max = Some(max);
        self
    }

    /// How far a wait may be from its backoff, as a share of it: 0 to 1; 0.25 unless set.
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = Some(share);
        self
    }

    /// Retries of the whole pool, as a share of its successes of the last ten seconds: 0 to 1; 0.2 unless set. Ten in ten seconds
    /// are always allowed.
    pub fn budget(mut self, share: f64) -> Self {
        self.budget = Some(share);
        self
    }
}

group! {
    /// `health`: the probes of a worker.
    Health {
        /// Between two probes, 30 s unless set.
        interval: Duration,
        /// Until a probe counts as missed, 5 s unless set.
        timeout: Duration,
        /// Missed probes in a row that end the worker: 1 to 1000; 3 unless set.
        failures: usize,
    }
}

group! {
    /// `restart`: how often workers may fail, and how long the pool waits before it tries again.
    Restart {
        /// Failed starts, and early deaths without a call, of base workers within the window: 1 to 1,000,000;
        /// max(5, 2 x pool_size) unless set. Beyond it the pool has failed, until its probe succeeds. A worker that dies in the
        /// middle of a call does not count.
        max: usize,
        /// The window, 60 s unless set.
        window: Duration,
        /// A death before this age is early: the slot waits before its next start. 10 s unless set.
        min_uptime: Duration,
        /// The first wait, 100 ms unless set; doubles. At most `max_backoff`.
        backoff: Duration,
        /// The longest wait, 10 s unless set.
        max_backoff: Duration,
        /// How long a failed pool rests before its probe, 30 s unless set; doubles up to 10 minutes.
        cooldown: Duration,
    }
}

group! {
    /// `features`: what an enhanced pool has beyond a basic one, each switched by itself, all of them on unless set.
    Features {
        /// The affinity table, its actor and registered name, routing by session, its statistics.
        session_affinity: bool,
        /// Operations and run times of each worker.
        worker_metrics: bool,
        /// The degraded state, health-gated work, and the history of transitions.
        state_machine: bool,
    }
}

/// `sessions`: what a pool remembers of its sessions.
///
/// Any pool tracks them. How they are routed and expire is for enhanced pools: the methods that say so give a
/// `Sessions<Routed>`, which a basic pool does not take.
///
/// ```
/// use herder_actors::{Affinity, PoolConfig, Sessions};
/// use std::time::Duration;
///
/// let tracked = Sessions::new().timeout(Duration::from_secs(60)).max(500);
/// PoolConfig::basic("carts").app("carts.py:app").sessions(tracked).build()?;
/// PoolConfig::enhanced("carts").app("carts.py:app").sessions(tracked.affinity(Affinity::Hint)).build()?;
/// # Ok::<(), herder_actors::InvalidConfig>(())
/// ```
/// ```compile_fail,E0308
/// use herder_actors::{Affinity, PoolConfig, Sessions};
/// PoolConfig::basic("carts").sessions(Sessions::new().affinity(Affinity::Hint));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Sessions<R = Tracked> {
    pub(super) timeout: Option<Duration>,
    pub(super) cleanup_interval: Option<Duration>,
    pub(super) max: Option<usize>,
    pub(super) routed: R,
}

/// Of [`Sessions`]: tracked, and nothing more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracked;

/// Of [`Sessions`]: tracked, and routed to their workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Routed {
    pub(super) expiry: Expiry,
    pub(super) affinity: Affinity,
    pub(super) on_expired: Option<OnExpired>,
}

impl Sessions {
    /// Everything at its default.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<R> Sessions<R> {
    /// A session without calls is stale after this, 5 minutes unless set. It runs from the end of the last call.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Between two sweeps of stale sessions, 1 minute unless set.
    pub fn cleanup_interval(mut self, interval: Duration) -> Self {
        self.cleanup_interval = Some(interval);
        self
    }

    /// Sessions at most: 1 to 10,000,000; 10,000 unless set.
    pub fn max(mut self, max: usize) -> Self {
        self.max = Some(max);
        self
    }

    fn map<S>(self, to: impl FnOnce(R) -> S) -> Sessions<S> {
        let Self { timeout, cleanup_interval, max, routed } = self;
        Sessions { timeout, cleanup_interval, max, routed: to(routed) }
    }
}

impl<R: Into<Routed>> Sessions<R> {
    /// What happens to a stale session; gone at once unless set.
    pub fn expiry(self, expiry: Expiry) -> Sessions<Routed> {
        self.map(|routed| Routed { expiry, ..routed.into() })
    }

    /// How strictly a session's calls keep to its worker; [`Affinity::StrictQueue`] unless set.
    pub fn affinity(self, affinity: Affinity) -> Sessions<Routed> {
        self.map(|routed| Routed { affinity, ..routed.into() })
    }

    /// What a call of an expired session gets. Unless set: an error with [`Expiry::TwoPhase`], a new state with
    /// [`Expiry::Immediate`], which can't tell an expired session from an unknown one and so refuses [`OnExpired::Reject`].
    pub fn on_expired(self, on_expired: OnExpired) -> Sessions<Routed> {
        self.map(|routed| Routed { on_expired: Some(on_expired), ..routed.into() })
    }
}

impl From<Tracked> for Routed {
    fn from(Tracked: Tracked) -> Self {
        Self::default()
    }
}

impl From<Sessions<Tracked>> for Sessions<Routed> {
    fn from(sessions: Sessions<Tracked>) -> Self {
        sessions.map(Routed::from)
    }
}
