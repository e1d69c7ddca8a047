//! The last frames of one process, headers only: a ring of fixed size, allocated with the process. Recording a frame of a
//! call takes a few stores: it allocates nothing and does not read the clock. Confined to the pool's thread.

use super::{
    Descriptor, Direction, MalformedFrame, RecordedFrame,
    malformed::{name, raw},
};
use crate::clock::{Clock, WallClock};
use herder_core::{Timestamp, WireId};
use herder_wire::{FrameKind, HEADER_LEN, Header};
use std::cell::{OnceCell, RefCell};

/// The number of recorded frames. A power of two.
const FRAMES: usize = 128;
/// The maximum length of a recorded command name in bytes.
const MAX_NAME: usize = 24;

/// The recorder of one process.
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
struct Entry {
    at: Timestamp,
    wire: WireId,
    length: u32,
    /// The kind, as the byte of the header.
    kind: u8,
    direction: Direction,
    descriptor: Descriptor,
    name_length: u8,
    name: [u8; MAX_NAME],
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
    name: [0; MAX_NAME],
};

impl Recorder {
    /// Creates the recorder of a process that has just been started.
    pub(crate) fn new(clock: Clock) -> Self {
        let ring = Ring { written: 0, entries: vec![EMPTY; FRAMES].into() };
        Self { started: clock.now(), clock, ring: RefCell::new(ring), malformed: OnceCell::new() }
    }

    /// Records that a call with a body of `length` bytes was put into the outbox.
    pub(crate) fn call(&self, at: Timestamp, wire: WireId, length: usize, command: &str) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let mut ring = self.ring.borrow_mut();
        let entry = ring.next();
        entry.frame(at, wire, length, FrameKind::Call as u8, Direction::Sent, Descriptor::Calls);
        let kept = command.len().min(MAX_NAME);
        entry.name_length = command.len().min(MAX_NAME + 1) as u8;
        entry.name[..kept].copy_from_slice(&command.as_bytes()[..kept]);
    }

    /// Records a frame that was received.
    pub(crate) fn received(&self, at: Timestamp, descriptor: Descriptor, header: &Header) {
        let Header { length, kind, wire, .. } = *header;
        self.ring.borrow_mut().next().frame(at, wire, length, kind as u8, Direction::Received, descriptor);
    }

    /// Records a frame other than a call, given by its bytes, that was put into the outbox. These are rare, so reading the
    /// clock for each does not matter.
    pub(crate) fn sent(&self, descriptor: Descriptor, bytes: &[u8]) {
        if let Some(header) = bytes.first_chunk::<HEADER_LEN>() {
            let (length, kind, wire) = raw(header);
            self.ring.borrow_mut().next().frame(self.now(), wire, length, kind, Direction::Sent, descriptor);
        }
    }

    /// Records a protocol violation. Only the first is kept: later ones follow from it.
    pub(crate) fn malformed(&self, malformed: MalformedFrame) {
        self.malformed.get_or_init(|| (self.now(), malformed));
    }

    /// Returns the current time of the pool's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn started(&self) -> Timestamp {
        self.started
    }

    fn fault(&self) -> Option<&(Timestamp, MalformedFrame)> {
        self.malformed.get()
    }

    /// Returns the frames, the oldest first, and the number of earlier ones.
    fn entries(&self) -> (Vec<Entry>, u64) {
        let ring = self.ring.borrow();
        let kept = ring.written.min(FRAMES as u64);
        let dropped = ring.written - kept;
        ((dropped..ring.written).map(|number| ring.entries[index(number)]).collect(), dropped)
    }
}

impl Ring {
    /// Returns the entry of the next frame, which may contain the oldest frame.
    fn next(&mut self) -> &mut Entry {
        let index = index(self.written);
        self.written += 1;
        &mut self.entries[index]
    }
}

fn index(number: u64) -> usize {
    number as usize % FRAMES
}

impl Entry {
    /// Overwrites the entry in place: building it elsewhere and copying it takes twice the time. The command is cleared.
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

    /// Returns the name of the command, truncated if it was too long.
    fn command(&self) -> Option<Box<str>> {
        let kept = usize::from(self.name_length).min(MAX_NAME);
        let name = String::from_utf8_lossy(&self.name[..kept]);
        match usize::from(self.name_length) {
            0 => None,
            length if length > MAX_NAME => {
                Some(format!("{}…", name.trim_end_matches(char::REPLACEMENT_CHARACTER)).into())
            }
            _ => Some(name.into()),
        }
    }
}

/// Returns the frames, with the malformed frame at its place in time, and the number of dropped ones.
pub(crate) fn frames(recorder: &Recorder, wall_clock: &WallClock) -> (Vec<RecordedFrame>, u64) {
    let (entries, dropped) = recorder.entries();
    let mut frames: Vec<RecordedFrame> =
        entries.iter().map(|entry| recorded_frame(wall_clock, entry, &entries)).collect();
    if let Some((time, malformed)) = recorder.fault() {
        let place = entries.partition_point(|entry| entry.at <= *time);
        frames.insert(place, malformed_frame(wall_clock, *time, malformed));
    }
    debug_assert!(frames.len() <= FRAMES + 1);
    (frames, dropped)
}

fn recorded_frame(wall_clock: &WallClock, entry: &Entry, all: &[Entry]) -> RecordedFrame {
    let call = || all.iter().find(|call| call.wire == entry.wire && call.command().is_some());
    let is_answer =
        entry.direction == Direction::Received && entry.descriptor == Descriptor::Calls && entry.wire.0 != 0;
    let command = entry.command().or_else(|| call().filter(|_| is_answer).and_then(Entry::command));
    RecordedFrame {
        at: wall_clock.at(entry.at),
        direction: entry.direction,
        descriptor: entry.descriptor,
        kind: name(entry.kind),
        wire: (entry.wire.0 != 0).then_some(entry.wire.0),
        length: Some(entry.length),
        command,
        fault: None,
        bytes: None,
    }
}

fn malformed_frame(wall_clock: &WallClock, time: Timestamp, malformed: &MalformedFrame) -> RecordedFrame {
    let MalformedFrame { descriptor, fault, kind, length, wire, bytes } = malformed.clone();
    RecordedFrame {
        at: wall_clock.at(time),
        direction: Direction::Received,
        descriptor,
        kind,
        wire: wire.map(|wire| wire.0).filter(|wire| *wire != 0),
        length,
        command: None,
        fault: Some(fault),
        bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R38: the ring keeps the last frames in order and counts the dropped ones.
    #[test]
    fn r38_the_last_frames_are_kept_and_the_rest_is_counted() {
        let recorder = Recorder::new(Clock::default());
        for number in 0..10_000 {
            recorder.call(Timestamp(number), WireId(number), 7, "echo");
        }
        let (entries, dropped) = recorder.entries();
        let wires: Vec<u64> = entries.iter().map(|entry| entry.wire.0).collect();
        assert_eq!((dropped, wires), (10_000 - FRAMES as u64, (10_000 - FRAMES as u64..10_000).collect()));
    }

    #[test]
    fn long_names_are_truncated_between_characters() {
        let recorder = Recorder::new(Clock::default());
        for name in
            ["", "echo", &"x".repeat(MAX_NAME), &"x".repeat(MAX_NAME + 1), &format!("{}é", "x".repeat(MAX_NAME - 1))]
        {
            recorder.call(Timestamp(0), WireId(1), 0, name);
        }
        let names: Vec<_> = recorder.entries().0.iter().map(|entry| entry.command().map(String::from)).collect();
        let truncated = |count| Some(format!("{}…", "x".repeat(count)));
        let complete = |text: &str| Some(text.to_owned());
        assert_eq!(
            names,
            [None, complete("echo"), complete(&"x".repeat(MAX_NAME)), truncated(MAX_NAME), truncated(MAX_NAME - 1)]
        );
    }
}
