//! Fingerprints of calls, for the quarantine (R37). They are computed only when a worker died, when an attempt lost its
//! caller, or while some fingerprint is watched: otherwise calls pay nothing.

use super::{
    call::Call,
    state::{FinalFrame, State},
};
use foldhash::quality::FixedState;
use herder_core::{Fingerprint, Suspect, WireId, WorkerRef};
use herder_wire::{CallBuffers, MAX_BUFFERS, WorkerErrorKind};
use std::hash::{BuildHasher, Hash, Hasher};

/// The maximum number of bytes of a call's buffers that are hashed. More would keep the pool's thread from other calls: it takes some
/// milliseconds for 64 MiB.
const SAMPLE: usize = 1 << 20;
/// The length of a part of a long buffer that is hashed.
const BLOCK: usize = 1024;
const _: () = assert!(SAMPLE / MAX_BUFFERS >= BLOCK, "each buffer has at least one block");

/// Hashes a command and the bytes of its arguments, with the lengths and a [`sample`] of its buffers. Equal arguments that are encoded
/// differently have different fingerprints. Equal calls have equal ones: what is hashed depends on the call alone.
fn fingerprint(command: &str, body: &[u8], buffers: Option<&CallBuffers>) -> Fingerprint {
    let mut hasher = FixedState::with_seed(0).build_hasher();
    (command, body).hash(&mut hasher);
    let buffers = buffers.map_or(&[][..], |buffers| &buffers.buffers);
    for buffer in buffers {
        (buffer.pointer(), buffer.length()).hash(&mut hasher);
        sample(buffer.bytes(), SAMPLE / buffers.len()).for_each(|block| hasher.write(block));
    }
    Fingerprint(hasher.finish())
}

/// Returns the bytes of a buffer, or if these are more than `limit`, blocks of that length altogether: the first, the last, and others
/// at equal distances between them.
fn sample(bytes: &[u8], limit: usize) -> impl Iterator<Item = &[u8]> {
    let (count, length) = if bytes.len() <= limit { (1, bytes.len()) } else { (limit / BLOCK, BLOCK) };
    let (rest, gaps) = (bytes.len() - length, (count - 1).max(1));
    (0..count).map(move |number| {
        // Without the product of both, which could exceed the number of bytes by far.
        let start = rest / gaps * number + rest % gaps * number / gaps;
        &bytes[start..start + length]
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

#[cfg(test)]
mod tests {
    use super::*;
    use herder_wire::Buffer;

    fn of(buffers: Vec<Vec<u8>>) -> Fingerprint {
        let named = |(number, bytes): (usize, Vec<u8>)| Buffer::from(bytes).named(&number.to_string());
        let buffers = buffers.into_iter().enumerate().map(named).collect();
        fingerprint("command", b"{}", Some(&CallBuffers { take: false, buffers }))
    }

    /// R37, R43: the pool's thread hashes a bounded part of large buffers, which contains their ends.
    #[test]
    fn r43_a_bounded_part_of_large_buffers_is_hashed() {
        for (length, limit) in
            [(0, SAMPLE), (SAMPLE, SAMPLE), (SAMPLE + 1, SAMPLE), (9 << 20, SAMPLE), (BLOCK + 1, BLOCK), (9999, 5000)]
        {
            let bytes = vec![0; length];
            let places: Vec<_> = sample(&bytes, limit)
                .map(|block| (block.as_ptr().addr() - bytes.as_ptr().addr(), block.len()))
                .collect();
            let total: usize = places.iter().map(|(_, length)| length).sum();
            assert!(total <= limit && places.is_sorted() && places[0].0 == 0, "{length} {places:?}");
            let (start, last) = places[places.len() - 1];
            assert!(places.len() == 1 || start + last == length, "{length} {places:?}");
            assert!(length > limit || total == length, "{length} {places:?}");
        }
    }

    /// R37: different buffers have different fingerprints: of other lengths, at other places, or with another first or last byte.
    #[test]
    fn r37_buffers_are_distinguished() {
        let large = || vec![0; 3 * SAMPLE];
        let (mut first, mut last, mut middle) = (large(), large(), large());
        (first[0], last[3 * SAMPLE - 1]) = (1, 1);
        middle[SAMPLE..2 * SAMPLE].fill(1);
        let calls = || {
            let others = vec![
                first.clone(),
                last.clone(),
                middle.clone(),
                vec![0; 3 * SAMPLE - 1],
                vec![0; 9],
                vec![1; 9],
                vec![],
            ];
            others.into_iter().map(|bytes| vec![bytes]).chain([
                vec![large()],
                vec![],
                vec![large(), vec![]],
                vec![vec![], large()],
            ])
        };
        let all: Vec<_> = calls().map(of).collect();
        assert_eq!(all, calls().map(of).collect::<Vec<_>>());
        let different: std::collections::BTreeSet<_> = all.iter().map(|fingerprint| fingerprint.0).collect();
        assert_eq!(different.len(), all.len());
    }
}
