use super::*;
use herder_core::Timestamp;
use std::{
    num::{NonZeroU64, NonZeroU128},
    sync::{Arc, mpsc},
    thread,
};

const LIMITS: SpanLimits = SpanLimits { calls: 8, batch: 4, interval: Duration::from_secs(24 * 3600) };

fn spans(count: usize) -> Vec<Span> {
    let span = Span {
        trace: NonZeroU128::MIN,
        id: NonZeroU64::MIN,
        parent: None,
        state: None,
        name: "call".into(),
        is_server: false,
        started: Timestamp(1),
        ended: Timestamp(2),
        attributes: Vec::new(),
        error: None,
    };
    vec![span; count]
}

/// A queue with a thread that receives its batches.
struct Exported {
    queue: Arc<SpanQueue>,
    batches: mpsc::Receiver<usize>,
}

impl Exported {
    fn start(limits: SpanLimits) -> Self {
        let (queue, (sender, batches)) = (Arc::new(SpanQueue::new(limits)), mpsc::channel());
        let theirs = queue.clone();
        thread::spawn(move || while sender.send(theirs.next_batch().len()).is_ok() {});
        Self { queue, batches }
    }

    fn until_waiting_for(&self, awaited: Awaited) {
        while self.queue.lock().waits_for != Some(awaited) {
            thread::yield_now();
        }
    }
}

/// R50: the exporter is notified for the first call of a batch and for the last one, not for those between.
#[test]
fn r50_the_exporter_is_woken_twice_for_a_batch() {
    let exported = Exported::start(LIMITS);
    exported.until_waiting_for(Awaited::Call);
    exported.queue.push(spans(1));
    exported.until_waiting_for(Awaited::Batch);
    exported.queue.push(spans(2));
    assert_eq!(exported.queue.lock().waits_for, Some(Awaited::Batch), "it still waits, since nothing has notified it");
    exported.queue.push(spans(3));
    assert_eq!(exported.batches.recv().unwrap(), 6, "the spans of a call stay together");
    exported.until_waiting_for(Awaited::Call);
}

/// R50: a flush does not wait for a full batch, nor for the interval, and ends when the last batch was exported.
#[test]
fn r50_a_flush_exports_a_small_batch_at_once() {
    let exported = Exported::start(LIMITS);
    exported.until_waiting_for(Awaited::Call);
    assert!(exported.queue.flush(Duration::MAX), "nothing is queued");
    exported.queue.push(spans(1));
    exported.until_waiting_for(Awaited::Batch);
    assert!(exported.queue.flush(Duration::MAX));
    assert_eq!(exported.batches.try_recv(), Ok(1));
    assert_eq!(exported.queue.lock().flushing, 0);
}

/// R50: a small batch does not wait for ever.
#[test]
fn r50_a_small_batch_is_exported_after_the_interval() {
    let exported = Exported::start(SpanLimits { interval: Duration::from_millis(1), ..LIMITS });
    exported.queue.push(spans(1));
    assert_eq!(exported.batches.recv().unwrap(), 1);
}

/// R50: a full queue drops and counts spans. A flush that is too late says so.
#[test]
fn r50_a_full_queue_drops_what_comes_later() {
    let queue = SpanQueue::new(LIMITS);
    (0..LIMITS.calls + 3).for_each(|_| queue.push(spans(2)));
    assert_eq!(queue.dropped(), 6);
    assert!(!queue.flush(Duration::ZERO));
    let taken: Vec<_> = (0..4).map(|_| queue.next_batch().len()).collect();
    assert_eq!(taken, [4; 4], "those that were there first");
    assert!(!queue.flush(Duration::ZERO), "the last batch is not exported yet");
    assert_eq!(queue.left(), 2 * LIMITS.calls as u64 - 12, "with the batch that is being exported");
}
