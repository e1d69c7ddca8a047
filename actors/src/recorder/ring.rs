//! The last frames of one process, headers only: a ring of fixed size, allocated with the process. To record a frame is a few
//! stores: no allocation, and no look at a clock on the way of a call. Confined to the pool's thread.

use super::{Descriptor, Direction, MalformedFrame};
use crate::clock::Clock;
use herder_core::{Timestamp, WireId};
use herder_wire::{FrameKind, HEADER_LEN, Header};
use std::cell::{OnceCell, RefCell};

/// How many frames are kept. A power of two.
pub(super) const FRAMES: usize = 128;
/// How much of a command's name is kept, in bytes.
const NAME: usize = 24;

/// What is recorded of one process.
pub(crate) struct Recorder {
    clock: Clock,
    started: Timestamp,
    ring: RefCell<Ring>,
    malformed: OnceCell<(Timestamp, MalformedFrame)>,
}

struct Ring {
    written: u64,
    entries: Box<[Entry]>,
}

/// One frame. 48 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) at: Timestamp,
    pub(super) wire: WireId,
    pub(super) length: u32,
    /// The header's byte.
    pub(super) kind: u8,
    pub(super) direction: Direction,
    pub(super) descriptor: Descriptor,
    name_length: u8,
    name: [u8; NAME],
}

const _: () = assert!(size_of::<Entry>() == 48 && FRAMES.is_power_of_two());

const EMPTY: Entry = Entry {
    at: Timestamp(0),
    wire: WireId(0),
    length: 0,
    kind: 0,
    direction: Direction::Sent,
    descriptor: Descriptor::Calls,
    name_length: 0,
    name: [0; NAME],
};

impl Recorder {
    /// Of a process that was just started.
    pub(crate) fn new(clock: Clock) -> Self {
        let ring = Ring { written: 0, entries: vec![EMPTY; FRAMES].into() };
        Self { started: clock.now(), clock, ring: RefCell::new(ring), malformed: OnceCell::new() }
    }

    /// A call went into the outbox, with a body of `length` bytes.
    pub(crate) fn call(&self, at: Timestamp, wire: WireId, length: usize, command: &str) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let mut ring = self.ring.borrow_mut();
        let entry = ring.next();
        entry.frame(at, wire, length, FrameKind::Call as u8, Direction::Sent, Descriptor::Calls);
        let kept = command.len().min(NAME);
        entry.name_length = command.len().min(NAME + 1) as u8;
        entry.name[..kept].copy_from_slice(&command.as_bytes()[..kept]);
    }

    /// A frame arrived.
    pub(crate) fn received(&self, at: Timestamp, descriptor: Descriptor, header: &Header) {
        let Header { length, kind, wire, .. } = *header;
        self.ring.borrow_mut().next().frame(at, wire, length, kind as u8, Direction::Received, descriptor);
    }

    /// A frame that is not a call went into the outbox; these are its bytes. Rare enough to look at the clock.
    pub(crate) fn sent(&self, descriptor: Descriptor, bytes: &[u8]) {
        if let Some(header) = bytes.first_chunk::<HEADER_LEN>() {
            let (length, kind, wire) = raw(header);
            self.ring.borrow_mut().next().frame(self.now(), wire, length, kind, Direction::Sent, descriptor);
        }
    }

    /// The process broke the protocol. The first time counts: everything after it follows from that.
    pub(crate) fn malformed(&self, malformed: MalformedFrame) {
        self.malformed.get_or_init(|| (self.now(), malformed));
    }

    /// This moment, on the clock of the pool.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn started(&self) -> Timestamp {
        self.started
    }

    pub(super) fn fault(&self) -> Option<&(Timestamp, MalformedFrame)> {
        self.malformed.get()
    }

    /// The frames, the oldest first, and how many there were before those.
    pub(super) fn entries(&self) -> (Vec<Entry>, u64) {
        let ring = self.ring.borrow();
        let kept = ring.written.min(FRAMES as u64);
        let forgotten = ring.written - kept;
        ((forgotten..ring.written).map(|number| ring.entries[place(number)]).collect(), forgotten)
    }
}

impl Ring {
    /// The place of the next frame, where the oldest may still be.
    fn next(&mut self) -> &mut Entry {
        let place = place(self.written);
        self.written += 1;
        &mut self.entries[place]
    }
}

fn place(number: u64) -> usize {
    number as usize % FRAMES
}

/// Length, kind and wire id as a header has them, whether they make sense or not.
pub(super) fn raw(header: &[u8; HEADER_LEN]) -> (u32, u8, WireId) {
    let [a, b, c, d, kind, _, _, _, wire @ ..] = *header;
    (u32::from_le_bytes([a, b, c, d]), kind, WireId(u64::from_le_bytes(wire)))
}

impl Entry {
    /// Written where it stays: to build it elsewhere and copy it takes twice the time. No command, until there is one.
    fn frame(
        &mut self,
        at: Timestamp,
        wire: WireId,
        length: u32,
        kind: u8,
        direction: Direction,
        descriptor: Descriptor,
    ) {
        (self.at, self.wire, self.length, self.kind) = (at, wire, length, kind);
        (self.direction, self.descriptor, self.name_length) = (direction, descriptor, 0);
    }

    /// The command's name, cut if it was too long.
    pub(super) fn command(&self) -> Option<Box<str>> {
        let kept = usize::from(self.name_length).min(NAME);
        let name = String::from_utf8_lossy(&self.name[..kept]);
        match usize::from(self.name_length) {
            0 => None,
            length if length > NAME => Some(format!("{}…", name.trim_end_matches(char::REPLACEMENT_CHARACTER)).into()),
            _ => Some(name.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R38: the ring keeps the last frames in their order, and says how many it forgot.
    #[test]
    fn r38_the_last_frames_are_kept_and_the_rest_is_counted() {
        let recorder = Recorder::new(Clock::default());
        for number in 0..10_000 {
            recorder.call(Timestamp(number), WireId(number), 7, "echo");
        }
        let (entries, forgotten) = recorder.entries();
        let wires: Vec<u64> = entries.iter().map(|entry| entry.wire.0).collect();
        assert_eq!((forgotten, wires), (10_000 - FRAMES as u64, (10_000 - FRAMES as u64..10_000).collect()));
    }

    #[test]
    fn names_are_cut_between_characters() {
        let recorder = Recorder::new(Clock::default());
        for name in ["", "echo", &"x".repeat(NAME), &"x".repeat(NAME + 1), &format!("{}é", "x".repeat(NAME - 1))] {
            recorder.call(Timestamp(0), WireId(1), 0, name);
        }
        let names: Vec<_> = recorder.entries().0.iter().map(|entry| entry.command().map(String::from)).collect();
        let cut = |count| Some(format!("{}…", "x".repeat(count)));
        let whole = |text: &str| Some(text.to_owned());
        assert_eq!(names, [None, whole("echo"), whole(&"x".repeat(NAME)), cut(NAME), cut(NAME - 1)]);
    }
}
