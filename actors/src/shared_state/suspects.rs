//! Fingerprints of calls, for the quarantine (R37). They are computed only when a worker died, when an attempt lost its
//! caller, or while some fingerprint is watched: otherwise calls pay nothing.

use super::{
    call::Call,
    state::{FinalFrame, State},
};
use foldhash::quality::FixedState;
use herder_core::{Fingerprint, Suspect, WireId, WorkerRef};
use herder_wire::{CallBuffers, WorkerErrorKind};
use std::hash::BuildHasher;

/// Hashes a command and the bytes of its arguments, with those of its buffers. Equal arguments that are encoded differently have different fingerprints.
fn fingerprint(command: &str, body: &[u8], buffers: Option<&CallBuffers>) -> Fingerprint {
    let hashes = FixedState::with_seed(0);
    Fingerprint(match buffers.map(|buffers| &buffers.buffers[..]) {
        None | Some([]) => hashes.hash_one((command, body)),
        Some(buffers) => {
            let bytes: Vec<_> = buffers.iter().map(|buffer| (buffer.pointer(), buffer.bytes())).collect();
            hashes.hash_one((command, body, bytes))
        }
    })
}

impl State {
    /// Returns the fingerprint of a submitted call while any fingerprint is watched.
    pub(super) fn watched_fingerprint(
        &self,
        command: &str,
        body: &[u8],
        buffers: Option<&CallBuffers>,
    ) -> Option<Fingerprint> {
        self.core.needs_fingerprints().then(|| fingerprint(command, body, buffers))
    }

    /// Returns the calls that a process had not finished when it exited.
    pub(super) fn suspects(&self, worker: WorkerRef) -> Vec<Suspect> {
        if !self.core.needs_suspects() {
            return Vec::new();
        }
        let abandoned = self.abandoned(worker);
        let suspect = |(wire, call): (WireId, Option<_>)| match call {
            Some(id) => self.calls.get(&id).map(|call| call.suspect(wire)),
            None => abandoned.iter().find(|suspect| suspect.wire == wire).cloned(),
        };
        self.core.unfinished(worker).filter_map(suspect).collect()
    }

    /// Returns the fingerprint that the final frame of an attempt clears from suspicion, while any fingerprint is watched. A
    /// cancelled attempt clears nothing, since its handler did not start or was interrupted. A frame that belongs to no
    /// attempt clears nothing either.
    pub(super) fn cleared_fingerprint(
        &self,
        worker: WorkerRef,
        wire: WireId,
        frame: &FinalFrame,
    ) -> Option<Fingerprint> {
        let cancelled = matches!(frame, FinalFrame::Error(error, _) if error.kind == WorkerErrorKind::Cancelled);
        if cancelled || !self.core.needs_fingerprints() {
            return None;
        }
        match self.core.unfinished(worker).find(|(unfinished, _)| *unfinished == wire)? {
            (_, Some(id)) => self.calls.get(&id).map(Call::fingerprint),
            (_, None) => {
                self.abandoned(worker).iter().find(|suspect| suspect.wire == wire).map(|suspect| suspect.fingerprint)
            }
        }
    }

    fn abandoned(&self, worker: WorkerRef) -> &[Suspect] {
        self.links().find(|link| link.worker == worker).map_or(&[][..], |link| &link.abandoned)
    }

    /// Keeps the fingerprint of a settled call with the process if an attempt of the call is still running there.
    pub(super) fn remember_abandoned(&mut self, call: &Call) {
        let Some((worker, wire)) = call.sent.filter(|_| self.core.needs_suspects()) else { return };
        if self.core.unfinished(worker).any(|attempt| attempt == (wire, None))
            && let Some(link) = self.link(worker)
        {
            link.abandoned.push(call.suspect(wire));
        }
    }
}

impl Call {
    fn suspect(&self, wire: WireId) -> Suspect {
        Suspect { wire, fingerprint: self.fingerprint(), command: self.command.clone() }
    }

    fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.command, &self.body, self.buffers.as_deref())
    }
}
