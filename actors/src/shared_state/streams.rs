//! The streams of one process: where the chunks of each attempt go, and how much of its window is used. Part of the link.

use crate::chunks::{ChunkInput, Item};
use foldhash::fast::FixedState;
use herder_core::{StreamWait, Timestamp, WireId};
use std::{collections::HashMap, task::Waker};

/// The unfinished attempts of a process whose callers take chunks. Empty and without memory of its own before the first one.
pub(crate) struct Streams {
    running: HashMap<WireId, RunningStream, FixedState>,
    window: u64,
    /// Whether the process knows streams.
    is_offered: bool,
}

struct RunningStream {
    input: ChunkInput,
    fate: Fate,
    /// The bytes that have arrived and were not credited.
    used: u64,
    /// When the stream began to wait for what it waits for, as far as is known.
    since: Timestamp,
    /// What the consumer had taken when it was last looked at.
    consumed: u64,
}

/// What happens to the chunks of an attempt. The core decides it at the first one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Undecided,
    PassedOn,
    Dropped,
}

/// What became of a chunk.
pub(crate) enum ChunkOutcome {
    /// It was passed on, or dropped because its call is settled. The consumer must be woken if it waits.
    Handled(Option<Waker>),
    /// It is the first of its attempt: the core must decide.
    First,
    /// The attempt is unknown, or its caller takes no chunks.
    NotAsked,
    /// The window was used up before it.
    BeyondWindow,
}

impl Streams {
    pub(super) fn new(window: u32) -> Self {
        Self { running: HashMap::default(), window: u64::from(window), is_offered: false }
    }

    /// Records that the process knows streams.
    pub(super) fn offer(&mut self) {
        self.is_offered = true;
    }

    pub(super) fn is_offered(&self) -> bool {
        self.is_offered
    }

    /// Adds an attempt that is sent.
    pub(super) fn add(&mut self, wire: WireId, input: ChunkInput) {
        let fate = Fate::Undecided;
        self.running.insert(wire, RunningStream { input, fate, used: 0, since: Timestamp(0), consumed: 0 });
    }

    /// Removes an attempt that has finished.
    pub(super) fn remove(&mut self, wire: WireId) {
        if !self.running.is_empty() {
            self.running.remove(&wire);
        }
    }

    /// Returns whether an attempt is a stream that has not finished.
    pub(crate) fn contains(&self, wire: WireId) -> bool {
        self.running.contains_key(&wire)
    }

    /// Counts a chunk that has arrived, and passes it on.
    pub(crate) fn on_chunk(&mut self, now: Timestamp, wire: WireId, chunk: &Item) -> ChunkOutcome {
        let Some(stream) = self.running.get_mut(&wire) else { return ChunkOutcome::NotAsked };
        // Also if the chunks are dropped: a worker that ignores its window must not be read for ever.
        if stream.used >= self.window {
            return ChunkOutcome::BeyondWindow;
        }
        (stream.used, stream.since) = (stream.used + chunk.cost(), now);
        match stream.fate {
            Fate::Undecided => ChunkOutcome::First,
            Fate::PassedOn => ChunkOutcome::Handled(stream.input.push(chunk.clone())),
            Fate::Dropped => ChunkOutcome::Handled(None),
        }
    }

    /// Records what the core decided about the chunks of an attempt, and handles the first one.
    pub(super) fn decide(&mut self, wire: WireId, is_taken: bool, first: Item) -> Option<Waker> {
        let stream = self.running.get_mut(&wire)?;
        stream.fate = if is_taken { Fate::PassedOn } else { Fate::Dropped };
        is_taken.then(|| stream.input.push(first)).flatten()
    }

    /// Records that the consumer of a stream has taken these bytes. Returns false if there is no such stream.
    pub(super) fn credit(&mut self, now: Timestamp, wire: WireId, bytes: u32) -> bool {
        let Some(stream) = self.running.get_mut(&wire) else { return false };
        let was_out = stream.used >= self.window;
        stream.used = stream.used.saturating_sub(u64::from(bytes));
        if was_out && stream.used < self.window {
            stream.since = now; // only now does the worker have to send something
        }
        true
    }

    /// Returns what a stream waits for.
    pub(super) fn wait(&mut self, now: Timestamp, wire: WireId) -> Option<StreamWait> {
        let stream = self.running.get_mut(&wire)?;
        if stream.used < self.window {
            return Some(StreamWait::Worker { since: stream.since });
        }
        // The consumer reports what it takes only from half of the window on, and never at which time.
        let consumed = stream.input.consumed();
        if std::mem::replace(&mut stream.consumed, consumed) != consumed {
            stream.since = now;
        }
        Some(StreamWait::Consumer { since: stream.since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunks::{ChunkReceiver, ChunkSender, chunks};
    use bytes::Bytes;
    use std::task::Context;

    const WIRE: WireId = WireId(7);

    fn stream() -> (Streams, ChunkSender, ChunkReceiver) {
        let (sender, receiver) = chunks(200);
        let mut streams = Streams::new(200);
        streams.add(WIRE, sender.input());
        assert!(matches!(send(&mut streams, 1), ChunkOutcome::First));
        assert!(streams.decide(WIRE, true, chunk()).is_none());
        (streams, sender, receiver)
    }

    fn chunk() -> Item {
        Item::new(Bytes::from_static(&[b'1'; 84]), Vec::new(), 84)
    }

    fn send(streams: &mut Streams, now: u64) -> ChunkOutcome {
        streams.on_chunk(Timestamp(now), WIRE, &chunk())
    }

    /// R42: at most the window and one chunk are accepted; a credit makes room.
    #[test]
    fn r42_chunks_beyond_the_window_are_found() {
        let (mut streams, _sender, _receiver) = stream();
        assert!(matches!(send(&mut streams, 2), ChunkOutcome::Handled(None)));
        assert!(matches!(send(&mut streams, 3), ChunkOutcome::BeyondWindow), "200 of 200 bytes are used");
        assert!(streams.credit(Timestamp(4), WIRE, 1));
        assert!(matches!(send(&mut streams, 5), ChunkOutcome::Handled(None)), "one chunk of any length");
        assert!(matches!(send(&mut streams, 6), ChunkOutcome::BeyondWindow));
        streams.remove(WIRE);
        assert!(!streams.credit(Timestamp(7), WIRE, 300));
        assert!(matches!(send(&mut streams, 8), ChunkOutcome::NotAsked));
    }

    /// R42: a consumer that takes a little is not stalled, although it has earned no credit yet.
    #[test]
    fn r42_wait_is_for_whoever_must_act_next() {
        let (mut streams, _sender, mut receiver) = stream();
        assert_eq!(streams.wait(Timestamp(5), WIRE), Some(StreamWait::Worker { since: Timestamp(1) }));
        send(&mut streams, 6);
        assert_eq!(streams.wait(Timestamp(9), WIRE), Some(StreamWait::Consumer { since: Timestamp(6) }));
        assert!(receiver.poll_next(&mut Context::from_waker(Waker::noop())).is_ready());
        assert_eq!(streams.wait(Timestamp(12), WIRE), Some(StreamWait::Consumer { since: Timestamp(12) }));
        assert_eq!(streams.wait(Timestamp(15), WIRE), Some(StreamWait::Consumer { since: Timestamp(12) }));
        streams.credit(Timestamp(16), WIRE, 100);
        assert_eq!(streams.wait(Timestamp(20), WIRE), Some(StreamWait::Worker { since: Timestamp(16) }));
    }
}
