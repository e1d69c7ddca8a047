//! Frames to be written to one descriptor. Small frames share a buffer and large arguments are not copied; everything is
//! written with one vectored write. Holds bytes, not a descriptor.

use super::slabs::SlabWork;
use bytes::{Buf, Bytes, BytesMut};
use herder_core::WireId;
use herder_wire::{FrameKind, HEADER_LEN, Header};
use std::{collections::VecDeque, io::IoSlice};

/// Arguments up to this size, in bytes, are copied behind the head: cheaper than one more slice.
const COPY_LIMIT: usize = 4096;

/// Bytes to be written, in order: first `parts`, then `tail`.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    parts: VecDeque<Part>,
    tail: BytesMut,
    /// How many of the first bytes end a frame whose beginning was written.
    rest: usize,
}

#[derive(Debug)]
enum Part {
    Bytes(Bytes),
    /// What follows is written after this work, so that frames keep their order.
    Work(Box<PendingFrame>),
}

/// A frame that is written after some work on a slab.
#[derive(Debug)]
pub(crate) struct PendingFrame {
    /// `None` while it is being done.
    pub(crate) work: Option<SlabWork>,
    /// What is written if the worker has the slab then.
    pub(crate) with_slab: Outbox,
    /// What is written if the slab could not be made.
    pub(crate) without_slab: Outbox,
}

impl Outbox {
    /// Returns the buffer to which the head of a frame is appended.
    pub(crate) fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Appends the arguments after the head.
    pub(crate) fn push_body(&mut self, body: &Bytes) {
        if body.len() <= COPY_LIMIT {
            self.tail.extend_from_slice(body);
        } else {
            self.seal();
            self.parts.push_back(Part::Bytes(body.clone()));
        }
    }

    /// Appends a frame that needs some work first.
    pub(crate) fn push_pending(&mut self, frame: PendingFrame) {
        self.seal();
        self.parts.push_back(Part::Work(Box::new(frame)));
    }

    /// Takes the work that must be done before anything else can be written. Its frame stays in front until
    /// [`finish_work`](Self::finish_work).
    pub(crate) fn take_work(&mut self) -> Option<SlabWork> {
        match self.parts.front_mut()? {
            Part::Work(frame) => frame.work.take(),
            Part::Bytes(_) => None,
        }
    }

    /// Replaces the frame whose work is done by what is to be written. `has_slab`: whether the worker has the slab.
    pub(crate) fn finish_work(&mut self, has_slab: bool) {
        let Some(Part::Work(frame)) = self.parts.pop_front() else { return }; // nothing else is put in front
        let mut frame = if has_slab { frame.with_slab } else { frame.without_slab };
        frame.seal();
        frame.parts.into_iter().rev().for_each(|part| self.parts.push_front(part));
    }

    /// Returns the first call of which nothing was written.
    pub(crate) fn first_call(&self) -> Option<WireId> {
        let mut rest = self.rest;
        let in_parts = self.parts.iter().find_map(|part| match part {
            Part::Bytes(bytes) => first_call_in(bytes, &mut rest),
            Part::Work(frame) => frame.with_slab.first_call(),
        });
        in_parts.or_else(|| first_call_in(&self.tail, &mut rest))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.tail.is_empty()
    }

    /// Moves everything to the end of `other`, from which it is written.
    pub(crate) fn move_into(&mut self, other: &mut Self) {
        other.seal();
        other.parts.append(&mut self.parts);
        std::mem::swap(&mut self.tail, &mut other.tail);
    }

    /// Fills `room` with slices to be written, up to the next work, and returns how many were filled.
    pub(crate) fn slices<'a>(&'a self, room: &mut [IoSlice<'a>]) -> usize {
        let parts = self.parts.iter().map(|part| match part {
            Part::Bytes(bytes) => Some(&bytes[..]),
            Part::Work(_) => None,
        });
        let ready = parts.chain(std::iter::once(Some(&self.tail[..]))).map_while(|bytes| bytes);
        let filled = room.iter_mut().zip(ready.filter(|part| !part.is_empty()));
        filled.map(|(slot, part)| *slot = IoSlice::new(part)).count()
    }

    /// Removes the bytes that were written.
    pub(crate) fn advance(&mut self, mut written: usize) {
        // In nearly all cases, everything was written.
        if self.parts.is_empty() && written == self.tail.len() {
            self.tail.advance(written);
            self.rest = 0;
            return;
        }
        // One frame or part after the other, so that it is known where the first frame begins of which nothing was written.
        while written > 0 {
            let front = match self.parts.front() {
                Some(Part::Bytes(part)) => &part[..],
                Some(Part::Work(_)) => return, // not reachable: no slice is behind it
                None => &self.tail[..],
            };
            if self.rest == 0 {
                self.rest = frame_length(front);
            }
            let count = self.rest.min(front.len()).min(written);
            self.rest -= count;
            written -= count;
            self.remove(count);
        }
    }

    /// Removes the first bytes, which are in one part.
    fn remove(&mut self, count: usize) {
        let Some(Part::Bytes(part)) = self.parts.front_mut() else { return self.tail.advance(count) };
        part.advance(count);
        if part.is_empty() {
            self.parts.pop_front();
        }
    }

    /// Moves the tail to the parts, so that further parts can follow it.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.parts.push_back(Part::Bytes(self.tail.split().freeze()));
        }
    }
}

/// Returns the length of the frame that begins here. The head of a frame is in one part.
fn frame_length(bytes: &[u8]) -> usize {
    header(bytes).map_or(bytes.len(), |header| HEADER_LEN + header.length as usize)
}

/// Returns the first call whose frame begins in these bytes. The first `rest` bytes, of these and the ones that follow, belong to a
/// frame before.
fn first_call_in(mut bytes: &[u8], rest: &mut usize) -> Option<WireId> {
    loop {
        let count = bytes.len().min(*rest);
        bytes = &bytes[count..];
        *rest -= count;
        match header(bytes)? {
            Header { kind: FrameKind::Call, wire, .. } => return Some(wire),
            _ => *rest = frame_length(bytes),
        }
    }
}

/// `None` if there are no bytes.
fn header(bytes: &[u8]) -> Option<Header> {
    Header::decode(bytes.first_chunk()?, u32::MAX).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use herder_wire::{CallHead, HostMessage};

    fn text(outbox: &Outbox) -> Vec<u8> {
        let mut room = [IoSlice::new(&[]); 64];
        let filled = outbox.slices(&mut room);
        room[..filled].iter().flat_map(|part| part.to_vec()).collect()
    }

    /// Appends a call with a body of this length.
    fn push(outbox: &mut Outbox, wire: u64, length: usize) {
        let wire = WireId(wire);
        let head = CallHead { wire, deadline: None, command: "any", session: None, stream: false, buffers: false };
        head.encode(length, u32::MAX, outbox.tail()).unwrap();
        outbox.push_body(&Bytes::from(vec![b'x'; length]));
    }

    /// R20: whatever was written, the first call of which nothing was written is known: of frames in one part and in several, and
    /// behind frames of other kinds.
    #[test]
    fn r20_the_first_call_that_was_not_written_is_known() {
        let filled = || {
            let (mut outbox, mut begins) = (Outbox::default(), Vec::new());
            for (wire, length) in [(1, 10), (2, COPY_LIMIT + 1), (3, 0), (5, COPY_LIMIT), (6, COPY_LIMIT + 1)] {
                HostMessage::Shutdown.encode(u32::MAX, outbox.tail()).unwrap();
                begins.push((text(&outbox).len(), WireId(wire)));
                push(&mut outbox, wire, length);
            }
            (outbox, begins)
        };
        let whole = text(&filled().0).len();
        for step in [17, 1000, COPY_LIMIT, whole] {
            let ((mut outbox, begins), mut written) = (filled(), 0);
            let first = |written: usize| begins.iter().find(|(begin, _)| *begin >= written).map(|(_, wire)| *wire);
            while written < whole {
                assert_eq!(outbox.first_call(), first(written), "{step} {written}");
                let count = step.min(text(&outbox).len());
                outbox.advance(count);
                written += count;
            }
            assert!(outbox.is_empty() && outbox.first_call().is_none());
        }
    }

    /// R20: a call that waits for work on a slab was not written, before the work, during it and after it.
    #[test]
    fn r20_a_call_that_waits_for_work_was_not_written() {
        for has_slab in [true, false] {
            let (mut outbox, mut with_slab, mut without_slab) = <(Outbox, Outbox, Outbox)>::default();
            push(&mut with_slab, 7, 10);
            push(&mut without_slab, 7, 99);
            push(&mut outbox, 6, 10);
            outbox.push_pending(PendingFrame { work: None, with_slab, without_slab });
            push(&mut outbox, 8, 10);
            assert_eq!(outbox.first_call(), Some(WireId(6)));
            outbox.advance(text(&outbox).len());
            assert_eq!((outbox.first_call(), text(&outbox).len()), (Some(WireId(7)), 0));
            outbox.finish_work(has_slab);
            assert_eq!(outbox.first_call(), Some(WireId(7)));
            outbox.advance(1);
            assert_eq!(outbox.first_call(), Some(WireId(8)));
            let written = text(&outbox).iter().filter(|byte| **byte == b'x').count();
            assert_eq!(written, 10 + if has_slab { 10 } else { 99 });
        }
    }

    #[test]
    fn partial_writes_keep_the_order_of_the_bytes() {
        let mut outbox = Outbox::default();
        (1..3).for_each(|wire| push(&mut outbox, wire, COPY_LIMIT + 1));
        push(&mut outbox, 3, 2);
        let mut writing = Outbox::default();
        outbox.move_into(&mut writing);
        let expected = text(&writing);
        assert_eq!(expected.iter().filter(|byte| **byte == b'x').count(), 2 * (COPY_LIMIT + 1) + 2);
        let mut seen = Vec::new();
        while !writing.is_empty() {
            let step = text(&writing).len().min(1000);
            seen.extend_from_slice(&text(&writing)[..step]);
            writing.advance(step);
        }
        assert!(seen == expected && outbox.is_empty());
    }
}
