//! Carries out what the core decided. Cheap things at once; what needs a context is posted to the supervisor.

use super::state::{Deferred, FinalFrame, State};
use crate::{Error, Reply, Result, call_log::Success};
use bytes::Bytes;
use herder_core::{
    CallFailure, CallId, Delivery, Effect, Epoch, Input, KillReason, LogEvent, SessionEndReason, StopMethod, WireId,
    WorkerLoss, WorkerRef,
};
use herder_wire::{CallHead, CallResult, EndReason, HEADER_LEN, HostMessage};

/// Results up to this size are copied out of the read buffer, which can then be used again at once; a reply that somebody keeps
/// would otherwise keep 64 KiB.
const COPY: usize = 8192;

impl State {
    pub(super) fn apply_effects(&mut self) {
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
                self.effects = effects; // keeps its capacity: a step allocates nothing
            }
        }
        self.current_frame = None;
        if self.core.next_wakeup().is_some_and(|next| next < self.timer_deadline) {
            self.rearm.notify_one();
        }
    }

    fn apply_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Send { worker, call, wire, epoch } => self.send(worker, call, wire, epoch),
            Effect::Deliver { call, delivery, earlier } => self.deliver(call, delivery, &earlier),
            Effect::Settle { call, failure, earlier } => self.settle(call, failure, &earlier),
            Effect::Cancel { worker, wire, interrupt } => {
                self.send_control(worker, &HostMessage::Cancel { wire, interrupt })
            }
            Effect::Ping { worker, nonce } => {
                self.send_control(worker, &HostMessage::Ping { nonce });
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
            Effect::Stop { worker, method: how, kill_reason } => self.stop(worker, how, kill_reason),
            Effect::Start(worker) => self.defer(Deferred::Start(worker)),
            Effect::Log(note) => {
                if let LogEvent::StartFailed(worker, end) = note {
                    self.note_start_error(worker, end);
                }
                self.defer(Deferred::Log(note));
            }
            Effect::Stopped => self.defer(Deferred::Stopped),
        }
    }

    fn send_control(&mut self, worker: WorkerRef, message: &HostMessage) {
        if let Some(link) = self.link(worker) {
            link.send_control(message);
        }
    }

    /// A process that is still being spawned has no link: it is killed when it has started, since nobody waits for it to.
    fn stop(&mut self, worker: WorkerRef, how: StopMethod, kill_reason: KillReason) {
        let patience = self.config.stop();
        let Some(link) = self.link(worker) else { return };
        match how {
            StopMethod::Kill => link.kill(kill_reason),
            StopMethod::Graceful => link.stop(kill_reason, patience.grace, patience.term),
        }
    }

    /// Puts the call into the process's outbox. A call that cannot go there is answered here, and the core takes it back. Its size was checked
    /// before it was admitted, so that this happens only if the core and the links disagree.
    fn send(&mut self, worker: WorkerRef, id: CallId, wire: WireId, epoch: Option<Epoch>) {
        let Err(error) = self.put(worker, id, wire, epoch) else { return };
        if let Some(call) = self.calls.remove(&id) {
            let error = self.failed(id, &call.command, call.session.as_ref(), error);
            call.answer(Err(error));
        }
        self.handle(Input::SendFailed { worker, wire }); // the loop that called this carries out what follows
    }

    fn put(&mut self, worker: WorkerRef, id: CallId, wire: WireId, epoch: Option<Epoch>) -> Result<()> {
        let Some(call) = self.calls.get_mut(&id) else { return Ok(()) };
        let link =
            self.links.get_mut(worker.id.0 as usize - 1).and_then(Option::as_mut).filter(|link| link.worker == worker);
        let link =
            link.ok_or_else(|| Error::Internal { reason: format!("worker {worker} is not connected").into() })?;
        call.sent = Some((worker, wire));
        let session = call.session.as_ref().map(|session| (session, epoch.unwrap_or(Epoch(0))));
        let (command, deadline) = (&*call.command, Some(call.deadline));
        let head = CallHead { wire, deadline, command, session };
        let (tail, payload) = (link.calls.tail(), call.body.len());
        let begin = tail.len() + HEADER_LEN;
        let too_large = |message| Error::TooLarge { message, may_have_run: false, worker: None };
        head.encode(payload, link.max_frame, tail).map_err(|error| too_large(error.to_string()))?;
        link.recorder.call(self.now, wire, tail.len() - begin + payload, command);
        link.calls.payload(&call.body);
        link.flush.notify_one();
        Ok(())
    }

    fn deliver(&mut self, id: CallId, delivery: Delivery, earlier: &[WorkerLoss]) {
        let Some(call) = self.calls.remove(&id) else { return };
        match self.current_frame.take() {
            Some(FinalFrame::Result(result)) => {
                let Delivery { worker, routing, queued, ran, .. } = delivery;
                self.log_call(
                    id,
                    &call.command,
                    call.session.as_ref(),
                    Ok(Success { worker, routing, queued, ran }),
                    None,
                );
                call.answer(Ok(reply(result, delivery)));
            }
            Some(FinalFrame::Error(error)) => {
                let error = Error::of_worker(&call.command, delivery.worker, error);
                let error = error.with_attempts(self.attempts(earlier));
                let error = self.failed(id, &call.command, call.session.as_ref(), error);
                call.answer(Err(error));
            }
            None => {}
        }
    }

    fn settle(&mut self, id: CallId, failure: CallFailure, earlier: &[WorkerLoss]) {
        let Some(call) = self.calls.remove(&id) else { return };
        self.remember_abandoned(&call);
        let abandoned = matches!(failure, CallFailure::Abandoned);
        let error = self.error(self.clock.now(), failure).with_attempts(self.attempts(earlier));
        if abandoned {
            // Its caller left, and nobody gets this.
            return self.log_call(id, &call.command, call.session.as_ref(), Err(&error), None);
        }
        let error = self.failed(id, &call.command, call.session.as_ref(), error);
        call.answer(Err(error));
    }
}

fn reply(result: CallResult, delivery: Delivery) -> Reply {
    let CallResult { payload, stamps, .. } = result;
    let body = if payload.len() <= COPY { Bytes::copy_from_slice(&payload) } else { payload };
    let Delivery { worker: worker_ref, routing, attempts, admitted, queued, ran } = delivery;
    let WorkerRef { id: worker, generation } = worker_ref;
    Reply { worker, generation, routing, attempts, admitted, queued, ran, stamps, body }
}
