//! The chunks of a stream: the first one, and what the stream waits for afterwards. The chunks themselves are passed on by the
//! shell, without a step.

use crate::{CallId, Effect, Effects, StreamWait, Timestamp, WireId, WorkerRef, failure::CallFailure, pool::Core};

impl Core {
    /// Performs the step of [`Input::FirstChunk`](crate::Input::FirstChunk). Returns the call whose caller takes the chunk, and
    /// all further ones of this attempt; `None` if the call is settled, or the attempt is not known.
    pub fn first_chunk(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        wire: WireId,
        effects: &mut Effects,
    ) -> Option<CallId> {
        self.tick(now, effects);
        let Some(call) = self.workers.chunk_arrived(worker, wire) else {
            self.on_unknown_answer(worker, wire, effects);
            return None;
        };
        let begun = self.workers.begin_up_to(now, worker, wire);
        if !begun.is_empty() {
            // It has begun before those that were sent before it have ended, although it stated otherwise.
            self.workers.distrust_order(worker);
            begun.into_iter().for_each(|id| self.calls.begin(now, id));
        }
        let admission = &mut self.admission;
        self.calls.first_chunk(now, call?, |permit| admission.stream_began(now, permit));
        call
    }

    /// Handles a stream that is due. Before its first chunk, it waits for its worker. Afterwards, the shell knows for whom.
    pub(super) fn stream_due(&mut self, now: Timestamp, id: CallId, effects: &mut Effects) {
        let Some(stream) = self.calls.get(id).and_then(|call| call.stream.as_deref()) else { return };
        if let Some(failure) = stream.idle_failure().filter(|_| !stream.has_chunks()) {
            return self.fail_stream(now, id, failure, effects);
        }
        // Examined again later if the shell has no answer, so that it is not due again at once.
        self.calls.examining_stream(now, id);
        effects.push(Effect::ExamineStream { call: id });
    }

    /// Handles what a stream that is examined waits for.
    pub(in crate::pool) fn on_stream_wait(
        &mut self,
        now: Timestamp,
        id: CallId,
        wait: StreamWait,
        effects: &mut Effects,
    ) {
        if let Some(failure) = self.calls.examined_stream(now, id, wait) {
            self.fail_stream(now, id, failure, effects);
        }
    }

    fn fail_stream(&mut self, now: Timestamp, id: CallId, failure: CallFailure, effects: &mut Effects) {
        self.counters.timeouts += 1;
        self.settle_without_answer(now, id, failure, effects);
    }

    /// Returns whether a process has an unfinished attempt with this wire id, whose call may be settled.
    pub fn has_attempt(&self, worker: WorkerRef, wire: WireId) -> bool {
        self.workers.current(worker).is_some_and(|slot| slot.attempts().get(wire).is_some())
    }
}
