//! The queue of recorded spans, between the pools and the thread that exports them.
//!
//! The thread is woken for the first call of a batch and for its last one. A channel would wake it for each call: two context
//! switches, which cost more than the spans.

use super::span::Span;
use std::{
    collections::VecDeque,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The limits of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanLimits {
    /// The number of calls whose spans may wait.
    pub calls: usize,
    /// The number of spans from which on a batch does not wait for more.
    pub batch: usize,
    /// How long a smaller batch waits for more.
    pub interval: Duration,
}

/// The recorded spans that are not exported yet.
#[derive(Debug)]
pub struct SpanQueue {
    limits: SpanLimits,
    waiting: Mutex<Waiting>,
    /// Notified when the thread that exports must not wait any longer.
    arrived: Condvar,
    /// Notified when all spans were exported.
    emptied: Condvar,
    /// The spans for which there was no space, and those that were not exported.
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The spans of each call.
    calls: VecDeque<Vec<Span>>,
    /// The number of all these spans.
    spans: usize,
    /// The number of spans of the batch that the thread has taken and exports.
    exporting: usize,
    /// The number of threads that wait until all spans are exported.
    flushing: usize,
    /// What the thread waits for, until it has been notified.
    waits_for: Option<Awaited>,
}

/// What the thread that exports waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Call,
    /// A full batch, or the end of the interval.
    Batch,
}

impl SpanQueue {
    pub(super) fn new(limits: SpanLimits) -> Self {
        let (arrived, emptied) = (Condvar::new(), Condvar::new());
        Self { limits, waiting: Mutex::default(), arrived, emptied, dropped: AtomicU64::new(0) }
    }

    /// Queues the spans of a call, or drops and counts them. Never waits for the export.
    pub(super) fn push(&self, spans: Vec<Span>) {
        let mut waiting = self.lock();
        if waiting.calls.len() >= self.limits.calls {
            drop(waiting);
            return self.count_dropped(spans.len() as u64);
        }
        waiting.spans += spans.len();
        waiting.calls.push_back(spans);
        self.notify_if_due(waiting);
    }

    /// Counts spans that were taken from the queue and could not be exported.
    pub fn count_dropped(&self, spans: u64) {
        self.dropped.fetch_add(spans, Ordering::Relaxed);
    }

    /// Returns the number of spans that were dropped: because the queue was full, or because they could not be exported.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Returns the number of spans that wait, or are being exported.
    pub fn left(&self) -> u64 {
        let waiting = self.lock();
        (waiting.spans + waiting.exporting) as u64
    }

    /// Waits for the next batch and takes it. Whoever calls this has exported the batch before. For one thread.
    pub fn next_batch(&self) -> Vec<Span> {
        let mut waiting = self.lock();
        waiting.exporting = 0;
        if waiting.calls.is_empty() {
            self.emptied.notify_all();
        }
        while waiting.calls.is_empty() {
            waiting.waits_for = Some(Awaited::Call);
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting = self.wait_for_more(waiting);
        waiting.waits_for = None;
        waiting.take(self.limits.batch)
    }

    #[expect(clippy::disallowed_methods, reason = "spans are only exported later, and a flush ends the wait")]
    fn wait_for_more<'a>(&self, mut waiting: MutexGuard<'a, Waiting>) -> MutexGuard<'a, Waiting> {
        waiting.waits_for = Some(Awaited::Batch);
        let is_small = |waiting: &mut Waiting| !waiting.must_export(self.limits.batch);
        let waited = self.arrived.wait_timeout_while(waiting, self.limits.interval, is_small);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Has what is queued exported at once, and waits until that is done, but at most this long. Returns whether it was done in
    /// time.
    #[expect(
        clippy::disallowed_methods,
        reason = "a collector that does not answer must not keep the program from ending"
    )]
    pub fn flush(&self, within: Duration) -> bool {
        let mut waiting = self.lock();
        waiting.flushing += 1;
        self.notify_if_due(waiting);
        let is_left = |waiting: &mut Waiting| waiting.exporting > 0 || !waiting.calls.is_empty();
        let waited = self.emptied.wait_timeout_while(self.lock(), within, is_left);
        let mut waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        waiting.flushing -= 1;
        !is_left(&mut waiting)
    }

    /// Notifies the thread if it waits for what is there now. To notify it more often would be a system call for each call.
    fn notify_if_due(&self, mut waiting: MutexGuard<'_, Waiting>) {
        let is_due = match waiting.waits_for {
            Some(Awaited::Call) => !waiting.calls.is_empty(),
            Some(Awaited::Batch) => waiting.must_export(self.limits.batch),
            None => false,
        };
        if is_due {
            waiting.waits_for = None;
            drop(waiting);
            self.arrived.notify_one();
        }
    }

    /// Locks the queue. No code that can panic runs while it is locked, so a poisoned lock is still consistent.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Whether the spans must be exported without waiting for more.
    fn must_export(&self, batch: usize) -> bool {
        self.spans >= batch || self.flushing > 0
    }

    /// Takes the spans of the first calls, until they are a batch.
    fn take(&mut self, batch: usize) -> Vec<Span> {
        let mut taken = Vec::with_capacity(self.spans.min(2 * batch));
        while taken.len() < batch {
            let Some(spans) = self.calls.pop_front() else { break };
            taken.extend(spans);
        }
        self.spans -= taken.len();
        self.exporting = taken.len();
        taken
    }
}

#[cfg(test)]
mod tests;
