//! What happened to pools, for people who watch them: workers that started and died, changes of a pool's state, failed calls.
//! Holds the last events of each pool. They are numbered across all pools of the process, so that one reader can merge them.

use crate::{
    Error,
    events::{EventLog, OneLine},
    status::rfc3339,
};
use herder_core::{Generation, PoolName, WorkerId, WorkerRef};
use serde::{Serialize, Serializer};
use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use tokio::sync::Notify;
use tracing::Level;

/// The number of events that are kept of a pool. With [`MAX_MESSAGE`] they take at most 5 MiB; most take 200 bytes.
const KEPT: usize = 1024;
/// The maximum length of a message in bytes.
const MAX_MESSAGE: usize = 4096;

/// The number of the last event of the process. It is locked before the events of a pool, while an event is added and while
/// events are read: otherwise a reader could see an event before one with a smaller number.
static LAST: Mutex<u64> = Mutex::new(0);
/// Notified of each event.
static ADDED: Notify = Notify::const_new();

/// Something that happened to a pool.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PoolEvent {
    /// The number of the event. Events of all pools of this process are numbered in their order.
    #[serde(skip)]
    pub number: u64,
    /// When it happened.
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
    /// The pool.
    pub pool: PoolName,
    /// What happened.
    pub kind: PoolEventKind,
    /// The slot of the worker that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    /// The generation of that worker's process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// What happened, as text in one line.
    pub message: String,
}

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PoolEventKind {
    /// A worker became ready.
    WorkerReady,
    /// A worker exited by itself.
    WorkerExited,
    /// The pool killed or stopped a worker before its time.
    WorkerKilled,
    /// The pool stopped a worker that it no longer needed: an idle overflow worker, or one that a reload replaced.
    WorkerStopped,
    /// A worker exited before it was ready.
    StartFailed,
    /// A worker did not answer a ping in time.
    PingMissed,
    /// The health function of a worker's app failed.
    Unhealthy,
    /// The state of the pool changed.
    PoolState,
    /// The state of a session was lost with its worker, and a call was told.
    SessionLost,
    /// The state of the circuit breaker changed.
    Breaker,
    /// Calls were put into quarantine, or released.
    Quarantine,
    /// A reload ended.
    Reload,
    /// A call failed or was refused. Not each one: at most as many as the log has.
    CallFailed,
    /// A person asked for something, such as killing a worker.
    Action,
}

/// The last events of one pool. Clones refer to the same events. It outlives its pool.
#[derive(Clone, Debug)]
pub struct EventFeed {
    pool: PoolName,
    log: EventLog,
    ring: Arc<Mutex<Ring>>,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Arc<PoolEvent>>,
    /// The number of the last event that was dropped.
    dropped: u64,
}

/// Events that were read from feeds.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct EventBatch {
    /// The events, the oldest first.
    pub events: Vec<Arc<PoolEvent>>,
    /// The number after which to read next.
    pub next: u64,
    /// Whether events may be missing before these: a feed has dropped them, or the number is one of another process.
    pub missed: bool,
}

impl EventFeed {
    pub(crate) fn new(pool: PoolName, log: EventLog) -> Self {
        Self { pool, log, ring: Arc::default() }
    }

    /// Adds an event. Never waits for a reader. A long message is cut.
    pub(crate) fn add(&self, kind: PoolEventKind, worker: Option<WorkerRef>, message: &str) {
        // Cut before it is escaped, and again after: escaping makes it longer. A string that is only truncated keeps its memory.
        let mut message = OneLine(&message[..end_of(message)]).to_string();
        message.truncate(end_of(&message));
        message.shrink_to_fit();
        let (generation, worker) = (worker.map(|worker| worker.generation), worker.map(|worker| worker.id));
        let (at, pool) = (SystemTime::now(), self.pool.clone());
        {
            let mut last = lock(&LAST);
            *last += 1;
            let event = PoolEvent { number: *last, at, pool, kind, worker, generation, message };
            lock(&self.ring).push(Arc::new(event));
        }
        ADDED.notify_waiters();
    }

    /// Adds the failure of a call.
    pub(crate) fn call_failed(&self, command: &str, error: &Error) {
        let kind = match error {
            Error::SessionWorkerLost { .. } => PoolEventKind::SessionLost,
            _ => PoolEventKind::CallFailed,
        };
        self.add(kind, error.worker(), &format!("{command}: {error}"));
    }

    /// Adds an event of the kind [`Action`](PoolEventKind::Action), and logs it at level INFO. `role` is that of the person who
    /// asked for it.
    pub fn note_action(&self, role: &'static str, worker: Option<WorkerRef>, action: &str) {
        self.add(PoolEventKind::Action, worker, &format!("requested by role `{role}`: {action}"));
        let (pool, action) = (self.pool.clone(), OneLine(action).to_string());
        self.log.queue(Level::INFO, move || {
            // Without the field `pool`: a level that was set for the pool must not hide who set it.
            let worker = worker.map(tracing::field::display);
            tracing::info!(worker, role, action, "action over HTTP on pool `{pool}`");
        });
    }

    /// Returns the events of these feeds after the one with the number `after`; with 0, all that are kept. A number that no event
    /// has yet is one of another process: returns all that are kept, and `missed`.
    pub fn read(feeds: &[Self], after: u64) -> EventBatch {
        let last = lock(&LAST);
        let (mut events, mut missed) = (Vec::new(), after > *last);
        let after = if missed { 0 } else { after };
        for feed in feeds {
            let ring = lock(&feed.ring);
            missed |= after > 0 && ring.dropped > after;
            events.extend(ring.after(after).cloned());
        }
        let next = *last;
        drop(last);
        events.sort_unstable_by_key(|event| event.number);
        EventBatch { events, next, missed }
    }

    /// Waits until one of these feeds has an event after the one with the number `after`. Cancel safe.
    pub async fn wait(feeds: &[Self], after: u64) {
        loop {
            let mut added = pin!(ADDED.notified());
            // The waiter must exist before the feeds are read: `notify_waiters` does not wake later ones.
            added.as_mut().enable();
            if feeds.iter().any(|feed| lock(&feed.ring).after(after).next().is_some()) {
                return;
            }
            added.await;
        }
    }
}

/// Serialized as the list of the events that are kept.
impl Serialize for EventFeed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::read(std::slice::from_ref(self), 0).events.serialize(serializer)
    }
}

impl Ring {
    fn push(&mut self, event: Arc<PoolEvent>) {
        if self.events.len() == KEPT
            && let Some(dropped) = self.events.pop_front()
        {
            self.dropped = dropped.number;
        }
        self.events.push_back(event);
    }

    fn after(&self, number: u64) -> impl Iterator<Item = &Arc<PoolEvent>> {
        self.events.iter().skip(self.events.partition_point(|event| event.number <= number))
    }
}

/// Returns the end of what is kept of a message.
fn end_of(message: &str) -> usize {
    (0..=message.len().min(MAX_MESSAGE)).rev().find(|end| message.is_char_boundary(*end)).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::Future, task::Context};

    fn feed(name: &str) -> EventFeed {
        EventFeed::new(name.parse().unwrap(), EventLog::new(name))
    }

    fn messages(batch: &EventBatch) -> Vec<&str> {
        batch.events.iter().map(|event| event.message.as_str()).collect()
    }

    /// Other tests of this process add events as well, so only the order is certain.
    #[test]
    fn events_of_two_pools_are_merged_in_order_and_read_once() {
        let feeds = [feed("one"), feed("two")];
        feeds[0].add(PoolEventKind::Reload, None, "first\nline");
        feeds[1].add(PoolEventKind::Reload, None, &"ä".repeat(MAX_MESSAGE));
        feeds[0].add(PoolEventKind::Reload, None, "third");
        let all = EventFeed::read(&feeds, 0);
        assert_eq!(messages(&all), ["first\\nline", &"ä".repeat(MAX_MESSAGE / 2), "third"]);
        assert!(
            all.events.iter().all(|event| event.message.capacity() <= MAX_MESSAGE),
            "a message that is cut keeps no memory"
        );
        assert!(!all.missed && all.events.is_sorted_by_key(|event| event.number));
        assert_eq!(messages(&EventFeed::read(&feeds, all.events[1].number)), ["third"]);
        assert!(EventFeed::read(&feeds, all.next).events.is_empty());
        let mut wait = pin!(EventFeed::wait(&feeds, all.next));
        let waker = std::task::Waker::noop();
        assert!(wait.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
        feeds[1].add(PoolEventKind::Reload, None, "fourth");
        assert!(wait.as_mut().poll(&mut Context::from_waker(waker)).is_ready());
    }

    #[test]
    fn a_reader_that_is_too_late_is_told() {
        let feed = feed("late");
        feed.add(PoolEventKind::Reload, None, "0");
        let first = EventFeed::read(std::slice::from_ref(&feed), 0);
        for number in 1..=KEPT + 1 {
            feed.add(PoolEventKind::Reload, None, &number.to_string());
        }
        let late = EventFeed::read(std::slice::from_ref(&feed), first.next);
        assert_eq!((late.missed, late.events.len(), messages(&late)[0]), (true, KEPT, "2"));
        assert!(!EventFeed::read(std::slice::from_ref(&feed), late.next).missed);
        let new = EventFeed::read(std::slice::from_ref(&feed), 0);
        assert!(!new.missed, "a reader without a number begins with what is kept");
        let unknown = EventFeed::read(std::slice::from_ref(&feed), u64::MAX);
        assert!(unknown.missed && unknown.events.len() == KEPT && unknown.next < u64::MAX);
    }
}
