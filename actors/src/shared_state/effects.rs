//! Applies the core's effects. Cheap effects are applied at once; those that need the supervisor are deferred.

use super::{
    Link, Outbox, Replier,
    call::Call,
    outbox::PendingFrame,
    slabs::Placed,
    state::{Deferred, FinalFrame, State},
};
use crate::{
    Error, Reply, Result,
    call_log::{Success, Times},
    recorder::Descriptor,
    traces::{CallTrace, Described},
};
use bytes::Bytes;
use herder_core::{
    CallFailure, CallId, Delivery, Dispatch, Effect, Epoch, FinalAnswer, Input, KillReason, LogEvent, SessionEndReason,
    SessionId, StopMethod, Timestamp, WireId, WorkerLoss, WorkerRef,
};
use herder_wire::{
    Buffer, CallBuffers, CallHead, EncodeError, EndReason, FrameKind, HEADER_LEN, HostMessage, Stamps, encode_headers,
};
use std::{sync::Arc, time::Duration};

/// Results and chunks up to this size, in bytes, are copied out of the read buffer, which can then be reused at once. A reply
/// that an application keeps would otherwise keep 64 KiB.
pub(crate) const COPY_LIMIT: usize = 8192;

impl State {
    /// Applies the core's effects until none are left, then sets the timer if something is due earlier.
    pub(super) fn apply_effects(&mut self) {
        // An effect can cause inputs (`send` reports failures to the core), and these have effects: hence the loop. The list
        // is taken out of the state, since `apply_effect` needs the state mutably and the core appends to `self.effects`
        // meanwhile.
        loop {
            let mut effects = std::mem::take(&mut self.effects);
            if effects.is_empty() {
                self.effects = effects;
                break;
            }
            for effect in effects.drain(..) {
                self.apply_effect(effect);
            }
            if self.effects.is_empty() {
                self.effects = effects; // reuses its capacity: a step does not allocate
            }
        }
        self.current_frame = None;
        // Only an earlier deadline must wake the timer. If everything is due later now, the timer fires once for nothing and
        // is set again then, which is cheaper than waking it in each step.
        if self.core.next_wakeup().is_some_and(|next| next < self.timer_deadline) {
            self.rearm.notify_one();
        }
    }

    fn apply_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Send { worker, call, wire, epoch } => self.send(Dispatch { worker, call, wire, epoch }),
            Effect::SendBatch(sends) => self.send_batch(sends),
            Effect::Deliver { call, delivery, earlier } => self.deliver(&FinalAnswer { call, delivery, earlier }),
            Effect::Settle { call, failure, earlier } => self.settle(call, failure, &earlier),
            Effect::Cancel { worker, wire, interrupt } => {
                self.send_control(worker, &HostMessage::Cancel { wire, interrupt });
            }
            Effect::ExamineStream { call } => self.examine_stream(call),
            Effect::Revoke { worker, wire } => self.send_control(worker, &HostMessage::Revoke { wire }),
            Effect::Ping { worker, nonce } => {
                self.send_control(worker, &HostMessage::Ping { nonce });
                self.check_health(worker, nonce);
                let now = self.now;
                if let Some(link) = self.link(worker) {
                    link.drop_unused_slabs(now);
                }
                // Sampled now, so that a missed ping can be compared with the time of the ping. `/proc` must not be read in a
                // step.
                self.defer(Deferred::SampleCpu(worker));
            }
            Effect::Examine { worker, nonce } => self.defer(Deferred::Examine(worker, nonce)),
            Effect::EndSession { worker, session, epoch, reason } => {
                let reason = match reason {
                    SessionEndReason::Ended => EndReason::Ended,
                    SessionEndReason::Expired => EndReason::Expired,
                    SessionEndReason::Moved => EndReason::Moved,
                };
                if let Some(link) = self.link(worker) {
                    link.end_session(herder_wire::SessionEnd { session, epoch, reason });
                }
            }
            Effect::Stop { worker, method, kill_reason } => self.stop(worker, method, kill_reason),
            Effect::Start(worker) => {
                self.metrics.processes.started(worker);
                self.defer(Deferred::Start(worker));
            }
            Effect::Log(event) => {
                // Noted at once and not with the log event: calls that fail in this same step contain the error.
                if let LogEvent::StartFailed(worker, exit) = event {
                    self.note_start_error(worker, exit);
                }
                if let LogEvent::StartFailed(worker, exit) | LogEvent::WorkerDied(worker, exit) = event {
                    self.note_death(worker, &exit);
                }
                self.defer(Deferred::Log(event));
            }
            Effect::ReloadEnded(outcome) => self.defer(Deferred::ReloadEnded(outcome)),
            Effect::Stopped => self.defer(Deferred::Stopped),
        }
    }

    fn send_control(&mut self, worker: WorkerRef, message: &HostMessage) {
        if let Some(link) = self.link(worker) {
            link.send_control(message);
        }
    }

    /// Stops or kills a process. A process that is still being launched has no link: it is killed when its launch completes,
    /// because the core no longer expects it then.
    fn stop(&mut self, worker: WorkerRef, method: StopMethod, kill_reason: KillReason) {
        let timeouts = self.config.stop();
        let grace = match method {
            StopMethod::AfterCalls => self.time_for_calls(worker).saturating_add(timeouts.grace),
            StopMethod::Graceful | StopMethod::Kill => timeouts.grace,
        };
        let Some(link) = self.link(worker) else { return };
        match method {
            StopMethod::Kill => link.kill(kill_reason),
            StopMethod::Graceful | StopMethod::AfterCalls => link.stop(kill_reason, grace, timeouts.term),
        }
    }

    /// Returns the time until all calls of a process have ended or should have: the last deadline, and the time in which a
    /// call must stop after it.
    fn time_for_calls(&self, worker: WorkerRef) -> Duration {
        // Not a search of all calls: a reload stops each worker, and many calls may wait.
        let of_worker = self.core.unfinished(worker).filter_map(|(_, call)| self.calls.get(&call?));
        // A stream may have no deadline. It gets the time of a call that sets none.
        let default_end = self.now + self.config.timeout();
        let end = |call: &Call| if call.deadline == Timestamp::NEVER { default_end } else { call.deadline };
        let last = of_worker.map(end).max();
        last.map_or(Duration::ZERO, |last| last.since(self.now)).saturating_add(self.core.settings().cancel.kill)
    }

    /// Asks the worker to run the health function of its app, unless it runs already.
    fn check_health(&mut self, worker: WorkerRef, nonce: u64) {
        let timeout_ms = u64::try_from(self.core.settings().health.timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        if let Some(link) = self.link(worker) {
            link.check_health(nonce, timeout_ms);
        }
    }

    /// Writes the call into the outbox of the process. If that fails, the caller gets the error here and the core takes the
    /// attempt back. The size was checked before admission, so this happens only if the core and the links disagree.
    pub(super) fn send(&mut self, Dispatch { worker, call: id, wire, epoch }: Dispatch) {
        let Err(error) = self.write_call(worker, id, wire, epoch) else { return };
        if self.core.process_of(worker.id) != Some(worker) {
            // A step that handles an exit first handles what was due, and that may have sent a call to the same process,
            // whose link is gone. For the core the call is lost with its process: a later effect of this step answers it, or
            // it is retried. Answered here, a call that can be retried would fail.
            return;
        }
        if let Some(mut call) = self.calls.remove(&id) {
            self.end_trace_of(&mut call, id, Some(&error), None);
            let error = self.record_failure(call.identity(id), error);
            call.answer(Err(error));
        }
        // The effects of this input are applied by the loop in `apply_effects`: this function is called in it, or, by
        // `submit`, before it.
        self.handle(Input::SendFailed { worker, wire });
    }

    fn write_call(&mut self, worker: WorkerRef, id: CallId, wire: WireId, epoch: Option<Epoch>) -> Result<()> {
        // Without its call, the attempt must not stay: it would occupy the worker until the deadline.
        let unknown = || Error::Internal { reason: format!("call {} is not pending", id.0).into() };
        let call = self.calls.get_mut(&id).ok_or_else(unknown)?;
        // Not `self.link(worker)`, which would borrow all of the state: `call` is borrowed from `self.calls` meanwhile.
        let link =
            self.links.get_mut(worker.id.0 as usize - 1).and_then(Option::as_mut).filter(|link| link.worker == worker);
        let link =
            link.ok_or_else(|| Error::Internal { reason: format!("worker {worker} is not connected").into() })?;
        (call.sent, call.sent_at) = (Some((worker, wire)), self.now);
        let traced = call.trace.as_mut().map(|trace| trace.send(self.now, worker, call.headers.as_deref()));
        let session = call.session.as_ref().map(|session| (session, epoch.unwrap_or(Epoch(0))));
        let (command, deadline) = (&*call.command, Some(call.deadline).filter(|at| *at != Timestamp::NEVER));
        let chunks = match &call.reply {
            Replier::Stream(chunks) if link.streams.is_offered() => Some(chunks),
            Replier::Stream(_) | Replier::Once(_) => None,
        };
        let buffers = accepted_buffers(call, link)?;
        let head = CallHead { wire, deadline, command, session, stream: chunks.is_some(), buffers: buffers.is_some() };
        let headers = traced.as_deref().or(call.headers.as_deref());
        if let Err(error) = write_frames(link, self.now, &head, (headers, &call.body), buffers) {
            return Err(Error::TooLarge { message: error.to_string(), may_have_run: false, worker: None });
        }
        if let Some(chunks) = chunks {
            link.streams.add(wire, chunks.input());
        }
        link.flush.notify_one();
        if buffers.is_some() {
            self.make_room(worker);
        }
        Ok(())
    }

    /// Answers a call with the frame that was just received.
    pub(super) fn deliver(&mut self, answer: &FinalAnswer) {
        let FinalAnswer { call: id, delivery, earlier } = answer;
        let (id, delivery) = (*id, *delivery);
        let Some(mut call) = self.calls.remove(&id) else { return };
        let times = Some(Times { queued: delivery.queued(), ran: delivery.ran() });
        let frame = self.current_frame.take();
        self.count_answer(&call, &delivery, frame.as_ref());
        match frame {
            Some(FinalFrame::Result(result)) => {
                let Delivery { worker, routing, .. } = delivery;
                let done = Success { worker, routing };
                self.end_trace_of(&mut call, id, None, Some(result.stamps));
                self.note_delivered(id, &call, &delivery, "ok");
                self.log_call(call.identity(id), Ok(done), times, None);
                call.answer(Ok(reply(copied_if_small(result.payload), result.buffers, result.stamps, delivery)));
            }
            Some(FinalFrame::StreamEnd(stamps)) => {
                let Delivery { worker, routing, .. } = delivery;
                let done = Success { worker, routing };
                self.end_trace_of(&mut call, id, None, Some(stamps));
                self.note_delivered(id, &call, &delivery, "ok");
                self.log_call(call.identity(id), Ok(done), times, None);
                call.end_stream(reply(Bytes::new(), Vec::new(), stamps, delivery));
            }
            Some(FinalFrame::Error(error, stamps)) => {
                let error = Error::of_worker(&call.command, delivery.worker, error);
                self.end_trace_of(&mut call, id, Some(&error), Some(stamps));
                let error = error.with_attempts(self.attempts(earlier));
                self.note_delivered(id, &call, &delivery, error.slug());
                let (error, _) = self.record_failure_with(call.identity(id), error, times);
                call.answer(Err(error));
            }
            None => {} // not reachable: only `on_final_frame` causes deliveries. The dropped call answers `PoolClosed`.
        }
    }

    /// Queues the spans of a call that is answered now, if it is recorded.
    pub(super) fn end_trace_of(&self, call: &mut Call, id: CallId, error: Option<&Error>, stamps: Option<Stamps>) {
        self.end_trace(call.trace.as_deref_mut(), id, (&call.command, call.session.as_ref()), error, stamps);
    }

    /// Does what [`end_trace_of`](Self::end_trace_of) does. `of`: the command and the session of the call.
    pub(super) fn end_trace(
        &self,
        trace: Option<&mut CallTrace>,
        id: CallId,
        of: (&Arc<str>, Option<&SessionId>),
        error: Option<&Error>,
        stamps: Option<Stamps>,
    ) {
        let Some(trace) = trace else { return };
        let (command, session) = of;
        trace.finish(self.now, &Described { pool: self.config.name(), command, session, id }, error, stamps);
    }

    fn settle(&mut self, id: CallId, failure: CallFailure, earlier: &[WorkerLoss]) {
        let Some(mut call) = self.calls.remove(&id) else { return };
        // Before the call is dropped: if its attempt kills the worker later, the fingerprint can no longer be computed.
        self.remember_abandoned(&call);
        let attempt = self.unfinished_attempt(id, &call);
        let abandoned = matches!(failure, CallFailure::Abandoned);
        let error = self.error(self.clock.now(), failure).with_attempts(self.attempts(earlier));
        let error = error.with_command_timeout(call.command_timeout).with_ran_on(attempt.map(|(worker, _)| worker));
        self.end_trace_of(&mut call, id, Some(&error), None);
        self.note_settled(id, &call, error.slug());
        if abandoned {
            // The caller abandoned the call, so there is no receiver. Nor does it count as a failure for the log.
            self.metrics.failed(&call.command, &error);
            return self.log_call(call.identity(id), Err(&error), None, None);
        }
        let (error, is_logged) = self.record_failure_with(call.identity(id), error, None);
        if let Some(attempt) = attempt.filter(|_| is_logged) {
            self.remember_failed(attempt, id, &call);
        }
        call.answer(Err(error));
    }
}

/// Writes the frames of a call to the outbox of its process, with its large buffers in a slab if there is room.
fn write_frames(
    link: &mut Link,
    now: Timestamp,
    head: &CallHead<'_>,
    (headers, body): (Option<&[u8]>, &Bytes),
    buffers: Option<&CallBuffers>,
) -> Result<(), EncodeError> {
    let mut placed = buffers.and_then(|buffers| link.place_in_slab(now, buffers));
    let written = write_headers(link, head.wire, headers).and_then(|()| match &mut placed {
        None => write_call(&mut link.calls, link.max_frame, head, body, buffers),
        Some(placed) if placed.work.is_none() => {
            write_call(&mut link.calls, link.max_frame, head, body, Some(&placed.buffers))
        }
        Some(placed) => write_after_work(link, head, body, buffers, placed),
    });
    match (written, placed) {
        // If the slab cannot be made, the frame has another length. It is recorded now, in the order of the frames.
        (Ok(length), _) => link.recorder.call(now, head.wire, length, head.command),
        (Err(error), placed) => {
            link.slabs.iter_mut().zip(placed).for_each(|(slabs, placed)| slabs.take_back(placed));
            return Err(error);
        }
    }
    Ok(())
}

fn write_headers(link: &mut Link, wire: WireId, headers: Option<&[u8]>) -> Result<(), EncodeError> {
    let Some(headers) = headers else { return Ok(()) };
    let tail = link.calls.tail();
    let begin = tail.len();
    encode_headers(wire, headers, link.max_frame, tail)?;
    link.recorder.sent(Descriptor::Calls, &tail[begin..]);
    Ok(())
}

/// Appends the frame of a call. Returns its length.
fn write_call(
    outbox: &mut Outbox,
    max_frame: u32,
    head: &CallHead<'_>,
    body: &Bytes,
    buffers: Option<&CallBuffers>,
) -> Result<usize, EncodeError> {
    let tail = outbox.tail();
    let begin = tail.len() + HEADER_LEN;
    let parts = buffers.map(|buffers| buffers.parts(FrameKind::Call, head.length(), body)).transpose()?;
    let parts = parts.as_deref().unwrap_or(std::slice::from_ref(body));
    let body_length: usize = parts.iter().map(Bytes::len).sum();
    head.encode(body_length, max_frame, tail)?;
    let length = tail.len() - begin + body_length;
    parts.iter().for_each(|part| outbox.push_body(part));
    Ok(length)
}

/// Appends the frame of a call that is written after the work on its slab, and takes the work. Returns its length.
fn write_after_work(
    link: &mut Link,
    head: &CallHead<'_>,
    body: &Bytes,
    buffers: Option<&CallBuffers>,
    placed: &mut Placed,
) -> Result<usize, EncodeError> {
    let (mut with_slab, mut without_slab) = (Outbox::default(), Outbox::default());
    let length = write_call(&mut with_slab, link.max_frame, head, body, Some(&placed.buffers))?;
    // Now, and not if it is needed: an error can still be handled like that of any other call.
    write_call(&mut without_slab, link.max_frame, head, body, buffers)?;
    if let Some(work) = placed.work.take() {
        link.calls.push_pending(PendingFrame { work: Some(work), with_slab, without_slab });
    }
    Ok(length)
}

/// Returns a payload that does not keep the read buffer alive, if it is small.
pub(crate) fn copied_if_small(payload: Bytes) -> Bytes {
    if payload.len() <= COPY_LIMIT { Bytes::copy_from_slice(&payload) } else { payload }
}

/// Returns the buffers with which the call is sent. A worker that knows no buffers gets a plain call.
fn accepted_buffers<'a>(call: &'a Call, link: &Link) -> Result<Option<&'a CallBuffers>> {
    let buffers = call.buffers.as_deref().filter(|buffers| link.accepts_buffers || !buffers.buffers.is_empty());
    if buffers.is_some() && !link.accepts_buffers {
        let worker = link.worker;
        let message = format!("{worker} accepts no buffers: its hello does not state `buffers`; send JSON instead");
        return Err(Error::Malformed { message, cause: None });
    }
    Ok(buffers)
}

fn reply(body: Bytes, mut buffers: Vec<Buffer>, stamps: Stamps, delivery: Delivery) -> Reply {
    buffers.iter_mut().for_each(|buffer| buffer.detach_small(COPY_LIMIT));
    let (queued, ran) = (delivery.queued(), delivery.ran());
    let Delivery { worker: WorkerRef { id: worker, generation }, routing, attempts, admitted, .. } = delivery;
    Reply { worker, generation, routing, attempts, admitted, queued, ran, stamps, body, buffers }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PoolConfig, clock::Clock, error::ExitRecord, shared_state::Incoming};
    use herder_core::{Answers, ExitStatus, Generation, ProcessExit, WorkerId};
    use tokio::sync::oneshot;

    /// R20: a step can send a call to a process and then handle the exit of that process. The call is lost, as one that was
    /// sent before.
    #[test]
    fn r20_call_sent_in_the_step_of_the_exit_is_lost_with_its_process() {
        let config = PoolConfig::basic("exits").command(["scripted"]).pool_size(1).build().unwrap();
        let mut state = State::new(config, 1, Clock::default());
        let worker = WorkerRef { id: WorkerId(1), generation: Generation(1) };
        state.handle(Input::Tick);
        state.handle(Input::Ready { worker, window: 1, control: false, in_order: None });
        let (reply, mut answer) = oneshot::channel();
        let deadline = state.clock.now() + Duration::from_secs(60);
        let (command, body) = ("add".into(), Bytes::from_static(b"{}"));
        let (id, session, idempotent, headers, idle, buffers, permit) = (CallId(1), None, None, None, None, None, None);
        let trace = None;
        let reply = Replier::Once(reply);
        let incoming =
            Incoming { id, command, session, body, deadline, idempotent, headers, trace, idle, buffers, reply, permit };
        state.submit(incoming);
        let end = ProcessExit { status: ExitStatus::Signal(9), kill_reason: None };
        // The effects of both inputs are applied afterwards, as those of one step are.
        state.on_exit(worker, end, (Answers::ReadToEnd, None), ExitRecord::default(), None);
        state.apply_effects();
        let error = answer.try_recv().unwrap().unwrap_err();
        assert!(matches!(error, Error::WorkerLost { .. }), "{error:?}");
    }
}
