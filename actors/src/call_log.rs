//! Logs calls: one event for each failed call, within a limit, and one for each call at level DEBUG. Holds the counters of
//! the limit for one pool; shared by its supervisor and its handles.
//!
//! Nothing here calls the subscriber, which is code of the application: events are queued.

use crate::{
    Error, ErrorId,
    events::{EventLog, OneLine},
    metrics::{Refusals, RefusedCalls},
};
use foldhash::fast::FixedState;
use herder_core::{CallId, PoolName, Routing, SessionId, Timestamp, WorkerRef};
use std::{
    collections::HashMap,
    hash::BuildHasher,
    num::NonZeroU128,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};
use tracing::{
    Level, Metadata,
    callsite::{DefaultCallsite, Identifier},
    field::FieldSet,
    level_filters::LevelFilter,
    metadata::Kind,
};

/// The target of the events.
const TARGET: &str = "herder::call";

/// The number of failures of one command with one kind of error that are logged in each [`WINDOW`].
const LIMIT: u32 = 10;
pub(crate) const WINDOW: Duration = Duration::from_secs(10);
/// The maximum number of pairs of command and error kind with their own limit. Further pairs share one limit per error kind,
/// since callers can invent any number of names.
const MAX_WINDOWS: usize = 256;

/// What the log says of each call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallIdentity<'a> {
    pub(crate) id: CallId,
    pub(crate) command: &'a Arc<str>,
    pub(crate) session: Option<&'a SessionId>,
    /// The id of its trace, if it belongs to one.
    pub(crate) trace: Option<NonZeroU128>,
}

/// An answered call, with the fields that are logged.
#[derive(Debug)]
pub(crate) struct AnsweredCall {
    id: CallId,
    command: Arc<str>,
    session: Option<SessionId>,
    trace: Option<NonZeroU128>,
    outcome: Result<Success, Error>,
    /// How long it waited and ran, if a worker answered it.
    times: Option<Times>,
    /// `Some` if the call is logged as a failure: the number of failures suppressed before it.
    logged: Option<u64>,
}

impl AnsweredCall {
    pub(crate) fn new(
        call: CallIdentity<'_>,
        outcome: Result<Success, &Error>,
        times: Option<Times>,
        logged: Option<u64>,
    ) -> Self {
        let CallIdentity { id, command, session, trace } = call;
        let (command, session) = (command.clone(), session.cloned());
        Self { id, command, session, trace, outcome: outcome.map_err(Clone::clone), times, logged }
    }

    fn trace_id(&self) -> Option<String> {
        self.trace.map(|trace| format!("{trace:032x}"))
    }
}

/// A handler that ended after its call had failed, such as at its deadline.
#[derive(Debug)]
pub(crate) struct LateFailure {
    pub(crate) call: CallId,
    pub(crate) command: Arc<str>,
    pub(crate) session: Option<SessionId>,
    pub(crate) trace: Option<NonZeroU128>,
    pub(crate) worker: WorkerRef,
    /// Whether Herder interrupted it. Otherwise it raised an exception.
    pub(crate) was_interrupted: bool,
    /// The exception.
    pub(crate) reason: String,
    /// Where the handler was.
    pub(crate) traceback: String,
}

/// How a successful call was executed.
#[derive(Debug)]
pub(crate) struct Success {
    pub(crate) worker: WorkerRef,
    pub(crate) routing: Routing,
}

/// How long a call waited and ran.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) queued: Duration,
    pub(crate) ran: Duration,
}

/// The log of one pool's calls.
#[derive(Debug)]
pub(crate) struct CallLog {
    pool: PoolStart,
    events: EventLog,
    limiter: Mutex<Limiter>,
    /// The calls that were refused before they reached the pool's state, which has not counted them yet.
    refusals: Refusals,
}

/// One start of a pool.
#[derive(Clone, Debug)]
struct PoolStart {
    pool: PoolName,
    start: u32,
}

impl CallLog {
    pub(crate) fn new(pool: PoolName) -> Self {
        let start = FixedState::default().hash_one((pool.as_str(), std::process::id(), SystemTime::now()));
        let events = EventLog::new(pool.as_str());
        let pool = PoolStart { pool, start: (start >> 32) as u32 };
        Self { pool, events, limiter: Mutex::default(), refusals: Refusals::default() }
    }

    /// Returns the event queue of this pool.
    pub(crate) fn events(&self) -> &EventLog {
        &self.events
    }

    /// Returns the id under which the log has this call.
    pub(crate) fn error_id(&self, call: CallId) -> ErrorId {
        self.pool.error_id(call)
    }

    /// Returns whether successful calls are logged, too.
    pub(crate) fn logs_all() -> bool {
        LevelFilter::current() >= LevelFilter::DEBUG && may_log_calls()
    }

    /// Counts a failed call and decides whether it is logged.
    pub(crate) fn admit(&self, command: &Arc<str>, error: &Error, now: Timestamp) -> LogDecision {
        self.limiter().admit(command, error.slug(), now)
    }

    /// Logs and counts a call that was refused before it reached the pool's state. Returns true if it is the first one that is
    /// suppressed in its window.
    pub(crate) fn log_refusal(&self, call: CallIdentity<'_>, error: &Error, now: Timestamp) -> bool {
        self.refusals.count(call.command, error.slug());
        let decision = self.admit(call.command, error, now);
        let logged = decision.logged();
        if logged.is_some() || Self::logs_all() {
            self.log(AnsweredCall::new(call, Err(error), None, logged));
        }
        decision == LogDecision::FirstSuppressed
    }

    /// Logs a call: as a failure if `logged` is set, and at level DEBUG in any case.
    pub(crate) fn log(&self, call: AnsweredCall) {
        let level = match (&call.outcome, call.logged) {
            (Err(error), Some(_)) if is_failure(error) => Level::WARN,
            (Err(_), Some(_)) => Level::INFO,
            _ => Level::DEBUG,
        };
        let pool = self.pool.clone();
        self.events.queue(level, move || pool.emit(&call));
    }

    /// Logs where the handler of a failed call was.
    pub(crate) fn log_late_failure(&self, late: LateFailure) {
        let pool = self.pool.clone();
        self.events.queue(Level::INFO, move || pool.emit_late_failure(&late));
    }

    /// Logs the number of suppressed failures of each window that has ended; of all windows if `now` is `None`.
    pub(crate) fn log_suppressed(&self, now: Option<Timestamp>) {
        for (command, error, suppressed) in self.limiter().take_suppressed(now) {
            let pool = self.pool.pool.clone();
            self.events.queue(Level::WARN, move || {
                let command = &*command;
                tracing::warn!(target: TARGET, %pool, command, error, suppressed, "log lines of failed calls were suppressed");
            });
        }
    }

    /// Returns the calls that were refused before they reached the pool's state, and forgets them.
    pub(crate) fn take_refusals(&self) -> RefusedCalls {
        self.refusals.take()
    }

    fn limiter(&self) -> std::sync::MutexGuard<'_, Limiter> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs on the thread that calls subscribers.
impl PoolStart {
    fn error_id(&self, call: CallId) -> ErrorId {
        ErrorId::new(self.start, call.0)
    }

    fn emit(&self, call: &AnsweredCall) {
        if let (Err(error), Some(suppressed)) = (&call.outcome, call.logged) {
            self.log_failure(call, error, suppressed);
        }
        register_call_events();
        self.log_call(call);
    }

    fn log_failure(&self, call: &AnsweredCall, error: &Error, suppressed: u64) {
        let AnsweredCall { id, command, session, .. } = call;
        let worker_ref = error.worker();
        macro_rules! event {
            ($level:ident, $message:literal) => {
                tracing::$level!(
                    target: TARGET,
                    pool = %self.pool,
                    command = &**command,
                    session = session.as_ref().map(SessionId::as_str),
                    worker = worker_ref.map(tracing::field::display),
                    call = id.0,
                    error_id = %self.error_id(*id),
                    trace_id = call.trace_id(),
                    error = error.slug(),
                    reason = %OneLine(error),
                    may_have_run = error.may_have_run(),
                    attempts = error.send_count(),
                    suppressed = (suppressed > 0).then_some(suppressed),
                    stack = error.report().and_then(|report| report.stack.as_deref()),
                    stderr = error.report().map(|report| report.stderr_tail.join("\n")).filter(|tail| !tail.is_empty()),
                    traceback = error.traceback(),
                    $message
                )
            };
        }
        if is_failure(error) { event!(warn, "call failed") } else { event!(info, "call refused") }
    }

    fn emit_late_failure(&self, late: &LateFailure) {
        macro_rules! event {
            ($message:literal) => {
                tracing::info!(
                    target: TARGET,
                    pool = %self.pool,
                    command = &*late.command,
                    session = late.session.as_ref().map(SessionId::as_str),
                    worker = %late.worker,
                    call = late.call.0,
                    error_id = %self.error_id(late.call),
                    trace_id = late.trace.map(|trace| format!("{trace:032x}")),
                    reason = %OneLine(&late.reason),
                    traceback = late.traceback,
                    $message
                )
            };
        }
        if late.was_interrupted {
            event!("handler interrupted");
        } else {
            event!("handler failed after its call had ended");
        }
    }

    fn log_call(&self, call: &AnsweredCall) {
        let AnsweredCall { id, command, session, outcome, times, .. } = call;
        let (done, error) = (outcome.as_ref().ok(), outcome.as_ref().err());
        let worker_ref = done.map(|done| done.worker).or(error.and_then(Error::worker));
        tracing::debug!(
            target: TARGET,
            pool = %self.pool,
            command = &**command,
            session = session.as_ref().map(SessionId::as_str),
            worker = worker_ref.map(tracing::field::display),
            call = id.0,
            outcome = error.map_or("ok", Error::slug),
            error_id = error.map(|_| tracing::field::display(self.error_id(*id))),
            trace_id = call.trace_id(),
            routing = done.map(|done| done.routing.as_str()),
            queue_us = times.map(|times| micros(times.queued)),
            run_us = times.map(|times| micros(times.ran)),
            "call"
        );
    }
}

/// Stands for the DEBUG events of calls: subscribers are asked whether they may want it. The most detailed level of the process is
/// often DEBUG because of other targets, and each call would wake the thread that calls subscribers, only for its event to be dropped.
static CALL_EVENTS: DefaultCallsite = DefaultCallsite::new(&CALL_METADATA);
static CALL_METADATA: Metadata<'static> = Metadata::new(
    "call",
    TARGET,
    Level::DEBUG,
    Some(file!()),
    Some(line!()),
    Some(module_path!()),
    FieldSet::new(CALL_FIELDS, Identifier(&CALL_EVENTS)),
    Kind::EVENT,
);
/// The fields of the event in [`PoolStart::log_call`]: a filter may ask for any of them.
const CALL_FIELDS: &[&str] = &[
    "message", "pool", "command", "session", "worker", "call", "outcome", "error_id", "trace_id", "routing",
    "queue_us", "run_us",
];
/// Whether subscribers have been asked. They are asked on the thread that may call them.
static IS_REGISTERED: AtomicBool = AtomicBool::new(false);

/// Asks the subscribers about the DEBUG events of calls. `tracing` asks them again when they change.
fn register_call_events() {
    CALL_EVENTS.register();
    IS_REGISTERED.store(true, Ordering::Release);
}

/// Returns false if no subscriber wants the DEBUG events of calls. Reads what they have answered, and calls none.
fn may_log_calls() -> bool {
    !IS_REGISTERED.load(Ordering::Acquire) || !CALL_EVENTS.interest().is_never()
}

/// Returns whether an error counts as a failure. Otherwise the call was refused: nothing ran, or the handler rejected it.
fn is_failure(error: &Error) -> bool {
    error.may_have_run() && !matches!(error, Error::Rejected { .. })
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Whether a failure is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogDecision {
    /// It is logged; this many were suppressed before it.
    Logged(u64),
    /// It is not logged, and the caller must log the number of suppressed failures when the window ends.
    FirstSuppressed,
    /// It is not logged.
    Suppressed,
}

impl LogDecision {
    /// Returns the number of failures suppressed before it, if it is logged.
    pub(crate) fn logged(self) -> Option<u64> {
        match self {
            Self::Logged(suppressed) => Some(suppressed),
            Self::FirstSuppressed | Self::Suppressed => None,
        }
    }
}

/// The recent failures of each pair of command and error kind.
#[derive(Debug, Default)]
struct Limiter {
    windows: HashMap<(Arc<str>, &'static str), Window, FixedState>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    ends: Timestamp,
    logged: u32,
    suppressed: u64,
}

impl Limiter {
    fn admit(&mut self, command: &Arc<str>, error: &'static str, now: Timestamp) -> LogDecision {
        let window = self.window(command, error, now);
        if now >= window.ends {
            let suppressed = window.suppressed;
            *window = Window { ends: now + WINDOW, logged: 1, suppressed: 0 };
            return LogDecision::Logged(suppressed);
        }
        if window.logged < LIMIT {
            window.logged += 1;
            return LogDecision::Logged(0);
        }
        window.suppressed += 1;
        if window.suppressed == 1 { LogDecision::FirstSuppressed } else { LogDecision::Suppressed }
    }

    fn window(&mut self, command: &Arc<str>, error: &'static str, now: Timestamp) -> &mut Window {
        let mut key = (command.clone(), error);
        if self.windows.len() >= MAX_WINDOWS && !self.windows.contains_key(&key) {
            // A window with suppressed failures is kept although it has ended, until they are reported.
            self.windows.retain(|_, window| window.ends > now || window.suppressed > 0);
            if self.windows.len() >= MAX_WINDOWS {
                key.0 = "(others)".into(); // one per error kind, so the map stays bounded
            }
        }
        self.windows.entry(key).or_insert(Window { ends: now, logged: 0, suppressed: 0 })
    }

    fn take_suppressed(&mut self, now: Option<Timestamp>) -> Vec<(Arc<str>, &'static str, u64)> {
        let due = |window: &Window| window.suppressed > 0 && now.is_none_or(|now| now >= window.ends);
        let windows = self.windows.iter_mut().filter(|(_, window)| due(window));
        windows
            .map(|((command, error), window)| (command.clone(), *error, std::mem::take(&mut window.suppressed)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    /// R38: ten failures per command and error kind are logged in ten seconds; the next logged one contains the number of
    /// suppressed failures.
    #[test]
    fn r38_logged_failures_are_limited_and_suppressed_ones_counted() {
        let (mut limiter, add, sub) = (Limiter::default(), Arc::from("add"), Arc::from("sub"));
        for _ in 0..LIMIT {
            assert_eq!(limiter.admit(&add, "exception", time(1)), LogDecision::Logged(0));
        }
        assert_eq!(limiter.admit(&add, "exception", time(2)), LogDecision::FirstSuppressed);
        assert_eq!(limiter.admit(&add, "exception", time(10)), LogDecision::Suppressed);
        assert_eq!(limiter.admit(&add, "rejected", time(10)), LogDecision::Logged(0), "another kind");
        assert_eq!(limiter.admit(&sub, "exception", time(10)), LogDecision::Logged(0), "another command");
        assert!(limiter.take_suppressed(Some(time(10))).is_empty(), "the window has not ended");
        assert_eq!(limiter.admit(&add, "exception", time(11)), LogDecision::Logged(2));
        (0..LIMIT).for_each(|_| _ = limiter.admit(&add, "exception", time(12)));
        assert_eq!(limiter.take_suppressed(Some(time(21))), [(add.clone(), "exception", 1)]);
        assert!(limiter.take_suppressed(None).is_empty(), "reported once");
        assert_eq!(limiter.admit(&add, "exception", time(22)), LogDecision::Logged(0));
    }

    /// R54: names that callers invent do not make the limiter grow.
    #[test]
    fn r54_the_limit_is_kept_for_a_bounded_number_of_commands() {
        let mut limiter = Limiter::default();
        for number in 0..10 * MAX_WINDOWS {
            limiter.admit(&number.to_string().into(), "unknown-command", time(1));
        }
        assert_eq!(limiter.windows.len(), MAX_WINDOWS + 1);
        assert_eq!(limiter.admit(&Arc::from("more"), "unknown-command", time(1)), LogDecision::Suppressed);
        assert_eq!(limiter.admit(&Arc::from("more"), "unknown-command", time(30)), LogDecision::Logged(0));
        assert!(limiter.windows.len() <= 2, "ended windows are removed");
    }

    /// Notes the fields of the events.
    #[derive(Clone, Default)]
    struct Fields(Arc<Mutex<Vec<&'static str>>>);

    impl tracing::Subscriber for Fields {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }

        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            self.0.lock().unwrap().extend(event.metadata().fields().iter().map(|field| field.name()));
        }

        fn enter(&self, _: &tracing::span::Id) {}

        fn exit(&self, _: &tracing::span::Id) {}
    }

    /// A filter that names a field of the DEBUG events of calls is asked about the same fields.
    #[test]
    fn the_stand_in_has_the_fields_of_call_events() {
        let fields = Fields::default();
        let start = PoolStart { pool: "fields".parse().unwrap(), start: 1 };
        let call = CallIdentity { id: CallId(1), command: &"add".into(), session: None, trace: None };
        let error = Error::Malformed { message: "no object".into(), cause: None };
        tracing::subscriber::with_default(fields.clone(), || {
            start.log_call(&AnsweredCall::new(call, Err(&error), None, None));
        });
        assert_eq!(*fields.0.lock().unwrap(), CALL_FIELDS);
    }
}
