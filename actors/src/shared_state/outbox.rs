//! Frames to be written to one descriptor. Small frames share a buffer and large arguments are not copied; everything is
//! written with one vectored write. Holds bytes, not a descriptor.

use super::slabs::SlabWork;
use bytes::{Buf, Bytes, BytesMut};
use std::{collections::VecDeque, io::IoSlice};

/// Arguments up to this size, in bytes, are copied behind the head: cheaper than one more slice.
const COPY_LIMIT: usize = 4096;

/// Bytes to be written, in order: first `parts`, then `tail`.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    parts: VecDeque<Part>,
    tail: BytesMut,
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
    pub(crate) work: SlabWork,
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

    /// Takes the work that must be done before anything else can be written.
    pub(crate) fn take_pending(&mut self) -> Option<Box<PendingFrame>> {
        match self.parts.pop_front()? {
            Part::Work(frame) => Some(frame),
            part @ Part::Bytes(_) => {
                self.parts.push_front(part);
                None
            }
        }
    }

    /// Puts a frame in front of everything else.
    pub(crate) fn put_first(&mut self, mut frame: Self) {
        frame.seal();
        frame.parts.into_iter().rev().for_each(|part| self.parts.push_front(part));
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
        while let Some(Part::Bytes(part)) = self.parts.front_mut() {
            let count = part.len().min(written);
            part.advance(count);
            written -= count;
            if !part.is_empty() {
                return;
            }
            self.parts.pop_front();
        }
        self.tail.advance(written); // by 0 if the next part is work
    }

    /// Moves the tail to the parts, so that further parts can follow it.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.parts.push_back(Part::Bytes(self.tail.split().freeze()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(outbox: &Outbox) -> Vec<u8> {
        let mut room = [IoSlice::new(&[]); 8];
        let filled = outbox.slices(&mut room);
        room[..filled].iter().flat_map(|part| part.to_vec()).collect()
    }

    #[test]
    fn partial_writes_keep_the_order_of_the_bytes() {
        let mut outbox = Outbox::default();
        let large = Bytes::from(vec![b'x'; COPY_LIMIT + 1]);
        for part in [&b"ab"[..], b"cd"] {
            outbox.tail().extend_from_slice(part);
            outbox.push_body(&large);
        }
        outbox.tail().extend_from_slice(b"ef");
        let mut writing = Outbox::default();
        outbox.move_into(&mut writing);
        let expected = text(&writing);
        assert_eq!(expected.len(), 6 + 2 * (COPY_LIMIT + 1));
        let mut seen = Vec::new();
        while !writing.is_empty() {
            let step = text(&writing).len().min(1000);
            seen.extend_from_slice(&text(&writing)[..step]);
            writing.advance(step);
        }
        assert!(seen == expected && outbox.is_empty());
    }
}
