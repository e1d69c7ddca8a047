//! The queue between the threads whose events are logged and the one that calls the subscriber. Holds the entries that wait.
//!
//! The thread is woken for the first entry after a while without any, and then pauses after each batch. A channel would wake it for
//! each entry: on a busy server that logs each request, two context switches a request, which cost more than the event.

use std::{
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long the thread pauses when it has emitted everything.
const PAUSE: Duration = Duration::from_millis(5);
/// The number of entries that end the pause.
const BATCH: usize = 512;
/// The number of entries for which memory is kept.
const KEPT: usize = 4 * BATCH;

/// The entries that wait, in their order. The number is bounded by those who queue.
#[derive(Debug)]
pub(super) struct EntryQueue<T> {
    waiting: Mutex<Waiting<T>>,
    /// Notified when the thread must not wait any longer.
    arrived: Condvar,
}

#[derive(Debug)]
struct Waiting<T> {
    entries: Vec<T>,
    /// Whether somebody waits for one of the entries.
    is_urgent: bool,
    /// What the thread waits for, until it has been notified.
    waits_for: Option<Awaited>,
}

/// What the thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Entry,
    /// The end of its pause.
    Pause,
}

impl<T> EntryQueue<T> {
    pub(super) fn new() -> Self {
        let waiting = Waiting { entries: Vec::new(), is_urgent: false, waits_for: None };
        Self { waiting: Mutex::new(waiting), arrived: Condvar::new() }
    }

    /// Queues an entry. Never waits for the thread.
    pub(super) fn push(&self, entry: T) {
        let mut waiting = self.lock();
        waiting.entries.push(entry);
        self.notify_if_due(waiting);
    }

    /// Queues an entry that somebody waits for: the thread does not pause before it.
    pub(super) fn push_urgent(&self, entry: T) {
        let mut waiting = self.lock();
        waiting.entries.push(entry);
        waiting.is_urgent = true;
        self.notify_if_due(waiting);
    }

    /// Waits for entries, and moves all of them into `batch`, which is empty. For one thread.
    pub(super) fn next_batch(&self, batch: &mut Vec<T>) {
        let mut waiting = self.pause();
        while waiting.entries.is_empty() {
            waiting.waits_for = Some(Awaited::Entry);
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.waits_for = None;
        waiting.is_urgent = false;
        // Not the memory of a backlog for ever.
        batch.shrink_to(KEPT);
        mem::swap(&mut waiting.entries, batch);
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "entries are only emitted later, and nobody who waits for them waits longer"
    )]
    fn pause(&self) -> MutexGuard<'_, Waiting<T>> {
        let mut waiting = self.lock();
        waiting.waits_for = Some(Awaited::Pause);
        let waited = self.arrived.wait_timeout_while(waiting, PAUSE, |waiting| !waiting.ends_pause());
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Notifies the thread if it waits for what is there now. To notify it more often would be a system call for each entry.
    fn notify_if_due(&self, mut waiting: MutexGuard<'_, Waiting<T>>) {
        let is_due = match waiting.waits_for {
            Some(Awaited::Entry) => true,
            Some(Awaited::Pause) => waiting.ends_pause(),
            None => false,
        };
        if is_due {
            waiting.waits_for = None;
            drop(waiting);
            self.arrived.notify_one();
        }
    }

    /// Locks the queue. No code that can panic runs while it is locked, so a poisoned lock is still consistent.
    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Waiting<T> {
    fn ends_pause(&self) -> bool {
        self.is_urgent || self.entries.len() >= BATCH
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, thread};

    /// Entries of several threads arrive once each, those of a thread in their order, whether the thread pauses or not.
    #[test]
    fn entries_arrive_once_and_in_order() {
        let queue = Arc::new(EntryQueue::new());
        let senders: Vec<_> = (0..3)
            .map(|sender| {
                let queue = queue.clone();
                thread::spawn(move || {
                    for number in 0..2000 {
                        match number % 700 {
                            0 => queue.push_urgent((sender, number)),
                            _ => queue.push((sender, number)),
                        }
                    }
                })
            })
            .collect();
        let (mut next, mut batch) = ([0; 3], Vec::new());
        while next != [2000; 3] {
            queue.next_batch(&mut batch);
            assert!(!batch.is_empty());
            for (sender, number) in batch.drain(..) {
                assert_eq!(number, next[sender]);
                next[sender] += 1;
            }
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert!(queue.lock().entries.is_empty());
    }

    /// While the thread pauses, an entry does not wake it; one that somebody waits for and a full batch do.
    #[test]
    fn only_what_ends_the_pause_wakes_the_thread() {
        let queue = EntryQueue::new();
        let pause = || queue.lock().waits_for = Some(Awaited::Pause);
        let is_awake = || queue.lock().waits_for.is_none();
        pause();
        queue.push(1);
        assert!(!is_awake());
        queue.push_urgent(2);
        assert!(is_awake());
        queue.next_batch(&mut Vec::new());
        pause();
        (1..BATCH).for_each(|number| queue.push(number));
        assert!(!is_awake());
        queue.push(BATCH);
        assert!(is_awake());
    }
}
