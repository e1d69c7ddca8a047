//! The settings that come in groups, each spelled as its table in TOML. They hold the given values only: defaults and bounds
//! are applied when the pool is built.

use herder_core::{Affinity, Backoff, CountedFailures, Expiry, OnExpired};
use std::time::Duration;

macro_rules! group {
    ($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[must_use]
        pub struct $name { $(pub(super) $field: Option<$type>,)* }

        impl $name {
            /// Creates a group with all settings at their defaults.
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
    /// `queue`: the limits of waiting calls. The queue is bounded, since an unbounded queue only turns overload into late
    /// answers.
    Queue {
        /// Sets the maximum number of calls waiting in the pool: 1 to 1,000,000. Default: 1000.
        limit: usize,
        /// Sets the maximum time that a call waits for any free worker. Default: 5 s. A wait for the session's own worker
        /// ends with the call's deadline.
        timeout: Duration,
        /// Sets the maximum number of calls waiting in one session: 1 to `limit`. Default: a quarter of `limit`.
        per_session: usize,
        /// Sets whether a call is refused at once if its estimated wait, derived from recent calls, is more than twice the
        /// time that it may wait. Default: true.
        shed: bool,
    }
}

group! {
    /// `cancel`: how long a call may run on after its deadline or cancel. Both times count from the worker's confirmation
    /// that the call is running. Without a confirmation they count from the moment at which the call is cancelled and is the
    /// worker's oldest unfinished call. A call that has not started is not interrupted, nor is its worker killed for it. If
    /// the pool sends the interrupt late, it delays the kill by the same amount.
    Cancel {
        /// Sets the time until the running code is interrupted; at most `kill`. Default: 1 s.
        interrupt: Duration,
        /// Sets the time until the worker is killed. Default: 5 s.
        kill: Duration,
    }
}

group! {
    /// `stream`: the limits of streams.
    Streams {
        /// Sets the number of bytes of a stream that a worker sends before its consumer has taken some: 4096 to 67,108,864.
        /// Default: 256 KiB. An item counts its length and 16 bytes. At most this many bytes and one item are in memory for a
        /// stream, on both sides together.
        window: usize,
        /// Sets how long the consumer may take no item while the worker waits for it. The stream then fails with
        /// [`StreamStalled`](crate::Error::StreamStalled), after at most twice this time. Default: 30 s.
        stall: Duration,
    }
}

group! {
    /// `buffers`: the memory that workers share with the host, in which large buffers need not pass through sockets.
    Buffers {
        /// Sets the maximum size of this memory for all workers of the pool together, in bytes: 0 to 1 TiB. Default: 512 MiB.
        /// Memory is allocated when buffers need it, and freed when it was unused for 30 s. Buffers that do not fit are sent through
        /// the sockets of the workers, with the same results. With 0 there is no such memory.
        max_bytes: usize,
    }
}

group! {
    /// `stop`: how long a worker may take to stop.
    Stop {
        /// Sets the time from the shutdown message to SIGTERM. Default: 5 s.
        grace: Duration,
        /// Sets the time from SIGTERM to SIGKILL. Default: 2 s.
        term: Duration,
    }
}

group! {
    /// `breaker`: the circuit breaker, which refuses calls at once while the pool fails them anyway.
    Breaker {
        /// Sets whether the pool has a breaker. Default: false.
        enabled: bool,
        /// Sets the number of consecutive failures that open the breaker: 1 to 1,000,000. Default: 5.
        failure_threshold: usize,
        /// Sets the number of trials that must succeed to close the breaker: 1 to 1,000,000. Default: 3.
        success_threshold: usize,
        /// Sets how long the breaker is open before it admits a trial. Default: 60 s.
        open_duration: Duration,
        /// Sets the maximum number of concurrent trials: 1 to 1,000,000. Default: 3.
        half_open_max_calls: usize,
        /// Sets what counts as a failure. Default: timeouts and lost workers, except workers that another process killed by a
        /// signal.
        counts: CountedFailures,
    }
}

group! {
    /// `poison`: the quarantine of calls that repeatedly kill their workers.
    Poison {
        /// Sets whether the pool has a quarantine. Default: true.
        enabled: bool,
        /// Sets the number of consecutive worker deaths that start a quarantine: 1 to 1000. Default: 3.
        max_worker_deaths: usize,
        /// Sets the length of the quarantine. Default: 10 minutes.
        quarantine: Duration,
    }
}

/// `retry`: when an idempotent call whose worker died is retried.
///
/// ```
/// # use herder_actors::{Backoff, PoolConfig, Retry};
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
    /// Creates a group with all settings at their defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the maximum number of attempts of a call: 1 to 100. Default: 3. 1 disables retries.
    pub fn attempts(mut self, attempts: usize) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// Sets how the waits between attempts grow. Default: they double.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = Some(backoff);
        self
    }

    /// Sets the first wait; at most `max`. Default: 100 ms.
    pub fn base(mut self, base: Duration) -> Self {
        self.base = Some(base);
        self
    }

    /// Sets the maximum wait. Default: 5 s.
    pub fn max(mut self, max: Duration) -> Self {
        self.max = Some(max);
        self
    }

    /// Sets the maximum random deviation of a wait, as a fraction of the wait: 0 to 1. Default: 0.25.
    pub fn jitter(mut self, fraction: f64) -> Self {
        self.jitter = Some(fraction);
        self
    }

    /// Sets the maximum number of retries in the pool, as a fraction of its successful calls of the last ten seconds: 0 to 1.
    /// Default: 0.2. Ten retries in ten seconds are always allowed.
    pub fn budget(mut self, fraction: f64) -> Self {
        self.budget = Some(fraction);
        self
    }
}

group! {
    /// `health`: the pings of a worker.
    Health {
        /// Sets the time between two pings. Default: 30 s.
        interval: Duration,
        /// Sets the time after which an unanswered ping counts as missed. Default: 5 s.
        timeout: Duration,
        /// Sets the number of consecutive missed pings after which the worker is killed: 1 to 1000. Default: 3.
        failures: usize,
    }
}

group! {
    /// `restart`: how often workers may fail, and how long the pool waits before it tries again.
    Restart {
        /// Sets the maximum number, within the window, of failed starts of base workers and of their deaths before `min_uptime`
        /// with no unfinished call: 1 to 1,000,000. Default: max(5, 2 x pool_size). One more makes the pool fail, until its
        /// trial start succeeds.
        max: usize,
        /// Sets the length of the window. Default: 60 s.
        window: Duration,
        /// Sets the age below which a death is early: the slot then waits before its next start. Default: 10 s.
        min_uptime: Duration,
        /// Sets the first wait before a restart, which doubles each time; at most `max_backoff`. Default: 100 ms.
        backoff: Duration,
        /// Sets the maximum wait before a restart. Default: 10 s.
        max_backoff: Duration,
        /// Sets how long a failed pool waits before its trial start, which doubles up to 10 minutes. Default: 30 s.
        cooldown: Duration,
    }
}

group! {
    /// `features`: what an enhanced pool has beyond a basic one. Each feature has its own flag. Default: all are on.
    Features {
        /// Enables or disables the affinity table with its actor and registered name, routing by session, and affinity
        /// statistics.
        session_affinity: bool,
        /// Enables or disables the metrics of each worker: number of calls and run times.
        worker_metrics: bool,
        /// Enables or disables the degraded state, which gets no new calls, and the history of state transitions.
        state_machine: bool,
    }
}

/// `sessions`: how a pool treats its sessions.
///
/// Every pool tracks sessions. Routing and expiry policies exist only in enhanced pools: the methods for them return a
/// `Sessions<Routed>`, which a basic pool does not accept.
///
/// ```
/// # use herder_actors::{Affinity, PoolConfig, Sessions};
/// use std::time::Duration;
///
/// let tracked = Sessions::new().timeout(Duration::from_secs(60)).max(500);
/// PoolConfig::basic("carts").app("carts.py:app").sessions(tracked).build()?;
/// PoolConfig::enhanced("carts").app("carts.py:app").sessions(tracked.affinity(Affinity::Hint)).build()?;
/// # Ok::<(), herder_actors::InvalidConfig>(())
/// ```
/// ```compile_fail,E0308
/// # use herder_actors::{Affinity, PoolConfig, Sessions};
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

/// Marks [`Sessions`] that are tracked only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracked;

/// The part of [`Sessions`] for routing sessions to their workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Routed {
    pub(super) expiry: Expiry,
    pub(super) affinity: Affinity,
    pub(super) on_expired: Option<OnExpired>,
}

impl Sessions {
    /// Creates a group with all settings at their defaults.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<R> Sessions<R> {
    /// Sets the idle time after which a session expires, counted from the end of its last call. Default: 5 minutes.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the time between two sweeps of expired sessions. Default: 1 minute.
    pub fn cleanup_interval(mut self, interval: Duration) -> Self {
        self.cleanup_interval = Some(interval);
        self
    }

    /// Sets the maximum number of sessions: 1 to 10,000,000. Default: 10,000.
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
    /// Sets what happens to an expired session. Default: it is removed at once.
    pub fn expiry(self, expiry: Expiry) -> Sessions<Routed> {
        self.map(|routed| Routed { expiry, ..routed.into() })
    }

    /// Sets how strictly the calls of a session keep to its worker. Default: [`Affinity::StrictQueue`].
    pub fn affinity(self, affinity: Affinity) -> Sessions<Routed> {
        self.map(|routed| Routed { affinity, ..routed.into() })
    }

    /// Sets what a call of an expired session gets. Default: an error with [`Expiry::TwoPhase`], a new state with
    /// [`Expiry::Immediate`]. The latter cannot tell an expired session from an unknown one and does not accept
    /// [`OnExpired::Reject`].
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
