//! Carries out what the core decided. Cheap things at once; what needs a context is posted to the supervisor.

use super::{
    call::{Body, Call},
    state::{Arrival, Post, State},
};
use crate::{Error, Reply, clock};
use bytes::Bytes;
use herder_core::{CallId, Delivery, Effect, Epoch, SessionEnd, StopHow, WireId, WorkerRef};
use herder_wire::{CallHead, CallResult, Codec, EndReason, HostMessage, WorkerError, WorkerErrorKind};

/// Results up to this size are copied out of the read buffer, which can then be used again at once; a reply that somebody keeps
/// would otherwise keep 64 KiB.
const COPY: usize = 8192;

impl State {
    pub(super) fn carry_out(&mut self) {
        loop {
            let mut effects = std::mem::take(&mut self.effects);
            if effects.is_empty() {
                self.effects = effects;
                break;
            }
            for effect in effects.drain(..) {
                self.carry_out_one(effect);
            }
            if self.effects.is_empty() {
                self.effects = effects; // keeps its capacity: a step allocates nothing
            }
        }
        self.arrival = None;
        if self.core.next_wakeup().is_some_and(|next| next < self.armed) {
            self.rearm.notify_one();
        }
    }

    fn carry_out_one(&mut self, effect: Effect) {
        match effect {
            Effect::Send { at, call, wire, epoch } => self.send(at, call, wire, epoch),
            Effect::Deliver { call, delivery } => self.deliver(call, delivery),
            Effect::Settle { call, failure } => {
                if let Some(call) = self.calls.remove(&call) {
                    call.answer(Err(self.error(clock::now(), failure)));
                }
            }
            Effect::Cancel { at, wire, interrupt } => self.tell(at, &HostMessage::Cancel { wire, interrupt }),
            Effect::Ping { at, nonce } => self.tell(at, &HostMessage::Ping { nonce }),
            Effect::EndSession { at, session, epoch, reason } => {
                let reason = match reason {
                    SessionEnd::Ended => EndReason::Ended,
                    SessionEnd::Expired => EndReason::Expired,
                    SessionEnd::Moved => EndReason::Moved,
                };
                if let Some(link) = self.link(at) {
                    link.end_session(herder_wire::SessionEnd { session, epoch, reason });
                }
            }
            Effect::Stop { at, how, .. } => self.stop(at, how),
            Effect::Start(at) => self.post(Post::Start(at)),
            Effect::Note(note) => self.post(Post::Note(note)),
            Effect::Stopped => self.post(Post::Stopped),
        }
    }

    fn tell(&mut self, at: WorkerRef, message: &HostMessage) {
        if let Some(link) = self.link(at) {
            link.tell(message);
        }
    }

    /// A process that is still being spawned has no link: the supervisor asks again when it has.
    fn stop(&mut self, at: WorkerRef, how: StopHow) {
        let patience = self.config.stop();
        let Some(link) = self.link(at) else { return };
        match how {
            StopHow::Kill => link.child.kill(),
            StopHow::Ladder => link.stop(patience.grace, patience.term),
        }
    }

    fn send(&mut self, at: WorkerRef, id: CallId, wire: WireId, epoch: Option<Epoch>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(link) = self.links[at.worker.0 as usize - 1].as_mut().filter(|link| link.at == at) else { return };
        let session = call.session.as_ref().map(|session| (session, epoch.unwrap_or(Epoch(0))));
        let (command, deadline) = (&*call.command, Some(call.deadline));
        if call.body.codec == Codec::Msgpack && !link.msgpack {
            call.body = as_json(&call.body);
        }
        let codec = call.body.codec;
        let head = CallHead { wire, deadline, command, session, codec };
        match head.encode(call.body.bytes.len(), link.max_frame, link.calls.tail()) {
            Ok(()) => {
                link.calls.payload(&call.body.bytes);
                link.flush.notify_one();
            }
            Err(error) => {
                let error = WorkerError::new(WorkerErrorKind::TooLarge, error.to_string());
                self.arrived(at, wire, Arrival::Error(error));
                self.carry_out();
            }
        }
    }

    fn deliver(&mut self, id: CallId, delivery: Delivery) {
        let Some(call) = self.calls.remove(&id) else { return };
        match self.arrival.take() {
            Some(Arrival::Result(result)) => call.answer(Ok(reply(result, delivery))),
            Some(Arrival::Error(error)) => deliver_error(call, delivery, error),
            None => {}
        }
    }
}

fn reply(result: CallResult, delivery: Delivery) -> Reply {
    let CallResult { codec, payload, stamps, .. } = result;
    let body = if payload.len() <= COPY { Bytes::copy_from_slice(&payload) } else { payload };
    let Delivery { at, routing, attempts, queued, ran } = delivery;
    Reply { worker: at.worker, generation: at.generation, routing, attempts, queued, ran, stamps, codec, body }
}

fn deliver_error(call: Call, delivery: Delivery, error: WorkerError) {
    let error = Error::of_worker(&call.command, delivery.at, error);
    call.answer(Err(error));
}

/// For the rare worker without msgpack beside one that has it.
fn as_json(body: &Body) -> Body {
    let bytes = herder_wire::msgpack_to_json(&body.bytes).unwrap_or_else(|_| Bytes::from_static(b"null"));
    Body { codec: Codec::Json, bytes }
}
