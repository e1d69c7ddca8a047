//! Frames on their way to one descriptor. Small ones share a buffer, large payloads stay where they are; all that is there
//! goes out in one vectored write. Holds bytes, no descriptor.

use bytes::{Buf, Bytes, BytesMut};
use std::{collections::VecDeque, io::IoSlice};

/// Payloads up to this size are copied behind their head: cheaper than one more slice.
const COPY: usize = 4096;

/// Bytes to be written, in order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    parts: VecDeque<Bytes>,
    tail: BytesMut,
}

impl Outbox {
    /// The buffer to append a frame's head to.
    pub(crate) fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Appends what follows the head.
    pub(crate) fn payload(&mut self, payload: &Bytes) {
        if payload.len() <= COPY {
            self.tail.extend_from_slice(payload);
        } else {
            self.seal();
            self.parts.push_back(payload.clone());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.tail.is_empty()
    }

    /// Takes all there is over into `other`, which is being written.
    pub(crate) fn move_into(&mut self, other: &mut Self) {
        other.seal();
        other.parts.append(&mut self.parts);
        std::mem::swap(&mut self.tail, &mut other.tail);
    }

    /// What is to be written, as slices; at most as many as there is room for.
    pub(crate) fn slices<'a>(&'a self, room: &mut [IoSlice<'a>]) -> usize {
        let all = self.parts.iter().map(|part| &part[..]).chain(std::iter::once(&self.tail[..]));
        let filled = room.iter_mut().zip(all.filter(|part| !part.is_empty()));
        filled.map(|(slot, part)| *slot = IoSlice::new(part)).count()
    }

    /// Drops what was written.
    pub(crate) fn advance(&mut self, mut written: usize) {
        while let Some(part) = self.parts.front_mut() {
            let taken = part.len().min(written);
            part.advance(taken);
            written -= taken;
            if !part.is_empty() {
                return;
            }
            self.parts.pop_front();
        }
        self.tail.advance(written);
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.parts.push_back(self.tail.split().freeze());
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
    fn bytes_leave_in_the_order_they_came_whatever_is_written_at_once() {
        let mut outbox = Outbox::default();
        let large = Bytes::from(vec![b'x'; COPY + 1]);
        for part in [&b"ab"[..], b"cd"] {
            outbox.tail().extend_from_slice(part);
            outbox.payload(&large);
        }
        outbox.tail().extend_from_slice(b"ef");
        let mut writing = Outbox::default();
        outbox.move_into(&mut writing);
        let expected = text(&writing);
        assert_eq!(expected.len(), 6 + 2 * (COPY + 1));
        let mut seen = Vec::new();
        while !writing.is_empty() {
            let step = text(&writing).len().min(1000);
            seen.extend_from_slice(&text(&writing)[..step]);
            writing.advance(step);
        }
        assert!(seen == expected && outbox.is_empty());
    }
}
