//! Payloads by fingerprint, for the quarantine (R37). Computed only when a worker died, an attempt lost its caller, or some payload
//! is watched: calls in quiet times pay nothing.

use super::{
    call::Call,
    state::{FinalFrame, State},
};
use foldhash::quality::FixedState;
use herder_core::{Fingerprint, Suspect, WireId, WorkerRef};
use herder_wire::WorkerErrorKind;
use std::hash::BuildHasher;

/// The same for the same command with the same bytes. Arguments that mean the same and are written otherwise differ.
fn fingerprint(command: &str, body: &[u8]) -> Fingerprint {
    Fingerprint(FixedState::with_seed(0).hash_one((command, body)))
}

impl State {
    /// The payload of a call that is submitted, if anything is watched.
    pub(super) fn watched_payload(&self, command: &str, body: &[u8]) -> Option<Fingerprint> {
        self.core.needs_fingerprints().then(|| fingerprint(command, body))
    }

    /// What a process had when it ended.
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

    /// The payload that the final frame of an attempt clears, if anything is watched. An attempt that was cancelled clears nothing:
    /// it never began, or was broken off. Nor does a frame of no attempt.
    pub(super) fn cleared_payload(&self, worker: WorkerRef, wire: WireId, arrival: &FinalFrame) -> Option<Fingerprint> {
        let cancelled = matches!(arrival, FinalFrame::Error(error) if error.kind == WorkerErrorKind::Cancelled);
        if cancelled || !self.core.needs_fingerprints() {
            return None;
        }
        match self.core.unfinished(worker).find(|(unfinished, _)| *unfinished == wire)? {
            (_, Some(id)) => self.calls.get(&id).map(|call| fingerprint(&call.command, &call.body)),
            (_, None) => {
                self.abandoned(worker).iter().find(|suspect| suspect.wire == wire).map(|suspect| suspect.fingerprint)
            }
        }
    }

    fn abandoned(&self, worker: WorkerRef) -> &[Suspect] {
        self.links().find(|link| link.worker == worker).map_or(&[][..], |link| &link.abandoned)
    }

    /// A call is settled: if an attempt of it goes on, its payload is remembered with the process.
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
        Suspect { wire, fingerprint: fingerprint(&self.command, &self.body), command: self.command.clone() }
    }
}
