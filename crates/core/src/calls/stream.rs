//! The part of a call whose caller takes chunks: how long it may wait for its worker and for its consumer, and when that
//! is examined. Plain data.

use crate::{CallFailure, StreamWait, Timestamp};
use std::time::Duration;

/// A wait of zero would be over at once, again and again.
const SHORTEST: Duration = Duration::from_millis(1);

/// A call whose caller takes chunks.
///
/// The pool takes no step for each chunk. It examines a running stream often enough that no wait can begin and exceed its
/// limit between two examinations, and learns then what the stream waits for, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CallStream {
    /// The longest wait for a chunk while the worker may send one, if it is limited.
    idle: Option<Duration>,
    /// The longest wait for the consumer while the worker may send nothing.
    stall: Duration,
    /// When the stream is examined. Meaningful only while the call runs.
    examine_at: Timestamp,
    has_chunks: bool,
}

impl CallStream {
    pub(crate) fn new(idle: Option<Duration>, stall: Duration) -> Self {
        let idle = idle.map(|idle| idle.max(SHORTEST));
        Self { idle, stall: stall.max(SHORTEST), examine_at: Timestamp::NEVER, has_chunks: false }
    }

    pub(super) fn due(&self) -> Timestamp {
        self.examine_at
    }

    pub(crate) fn has_chunks(&self) -> bool {
        self.has_chunks
    }

    /// Records that the call begins to run.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.examine_at = self.idle.map_or(Timestamp::NEVER, |idle| now + idle);
    }

    /// Records that the first chunk has arrived. From now on, the consumer can make the stream wait.
    pub(super) fn first_chunk(&mut self, now: Timestamp) {
        self.has_chunks = true;
        self.examine_at = self.next(now);
    }

    /// Records that the stream is being examined.
    pub(super) fn examining(&mut self, now: Timestamp) {
        self.examine_at = self.next(now);
    }

    /// Handles the result of an examination. Returns the failure of the call if the stream has waited too long.
    pub(super) fn examined(&mut self, now: Timestamp, wait: StreamWait) -> Option<CallFailure> {
        let (since, limit, failure) = match wait {
            StreamWait::Worker { since } => (since, self.idle, self.idle_failure()),
            StreamWait::Consumer { since } => {
                (since, Some(self.stall), Some(CallFailure::StreamStalled { stall: self.stall }))
            }
        };
        let end = limit.map_or(Timestamp::NEVER, |limit| since + limit);
        if end <= now {
            return failure;
        }
        self.examine_at = self.next(now).min(end);
        None
    }

    /// Returns the failure of a stream whose worker has sent nothing for too long.
    pub(crate) fn idle_failure(&self) -> Option<CallFailure> {
        self.idle.map(|idle| CallFailure::StreamIdle { idle })
    }

    /// Returns a time before which no wait that begins now, or later, exceeds its limit.
    fn next(&self, now: Timestamp) -> Timestamp {
        now + self.idle.map_or(self.stall, |idle| idle.min(self.stall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(10);
    const STALL: Duration = Duration::from_secs(3);

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    fn worker(since: u64) -> StreamWait {
        StreamWait::Worker { since: at(since) }
    }

    fn consumer(since: u64) -> StreamWait {
        StreamWait::Consumer { since: at(since) }
    }

    /// R42: a wait that exceeds its limit is found exactly then, whatever the stream waited for at the last examination.
    #[test]
    fn r42_waits_are_examined_at_their_limits() {
        let mut stream = CallStream::new(Some(IDLE), STALL);
        assert_eq!(stream.due(), Timestamp::NEVER, "it does not run");
        stream.begin(at(5));
        assert_eq!(stream.due(), at(15), "before its first chunk, no consumer delays it");
        stream.first_chunk(at(6));
        assert_eq!(stream.due(), at(9));
        stream.examining(at(9));
        assert_eq!(stream.examined(at(9), worker(8)), None);
        assert_eq!(stream.due(), at(12), "the consumer may stop just now");
        assert_eq!((stream.examined(at(12), consumer(10)), stream.due()), (None, at(13)));
        assert_eq!((stream.examined(at(13), consumer(12)), stream.due()), (None, at(15)));
        assert_eq!(stream.examined(at(15), consumer(12)), Some(CallFailure::StreamStalled { stall: STALL }));
        assert_eq!((stream.examined(at(15), worker(6)), stream.due()), (None, at(16)));
        assert_eq!(stream.examined(at(16), worker(6)), Some(CallFailure::StreamIdle { idle: IDLE }));
    }

    #[test]
    fn stream_without_idle_limit_waits_for_its_worker_without_end() {
        let mut stream = CallStream::new(None, STALL);
        stream.begin(at(0));
        assert_eq!(stream.due(), Timestamp::NEVER);
        stream.first_chunk(at(1));
        assert_eq!((stream.examined(at(1000), worker(1)), stream.due()), (None, at(1003)));
    }

    /// I8: a limit of zero does not make a stream due at the same time again.
    #[test]
    fn i8_examination_makes_the_stream_due_later() {
        let mut stream = CallStream::new(Some(Duration::ZERO), Duration::ZERO);
        stream.first_chunk(at(1));
        stream.examining(at(2));
        assert!(stream.due() > at(2));
        assert_eq!(stream.examined(at(2), worker(2)), None);
        assert!(stream.due() > at(2));
    }
}
