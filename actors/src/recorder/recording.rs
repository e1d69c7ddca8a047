//! The recording of one process as people and programs read it: frames, transitions, output and exit. A snapshot.

use super::{
    MalformedFrame, Recorder,
    malformed::name,
    ring::{Entry, FRAMES},
};
use crate::{
    Error, ExitMemory, Result,
    clock::WallClock,
    error::{ExitRecord, loss_reason},
    shared_state::State,
};
use herder_core::{Generation, ProcessExit, Timestamp, Transition, WorkerId, WorkerRef, WorkerState};
use serde::{Serialize, Serializer};
use std::{borrow::Cow, fmt, sync::Arc, time::SystemTime};

/// The recording of one process, running or exited: its last 128 frames without their contents, its state transitions, its
/// output, and its exit.
///
/// Times are system times with microseconds. Of a process that could not be spawned only the exit is known.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Recording {
    /// The slot.
    pub worker: WorkerId,
    /// The generation of the process.
    pub generation: Generation,
    /// When the process was started.
    #[serde(serialize_with = "optional")]
    pub started_at: Option<SystemTime>,
    /// When its exit was noticed; `None` while it runs.
    #[serde(serialize_with = "optional")]
    pub ended_at: Option<SystemTime>,
    /// Its exit; `None` while it runs.
    pub exit: Option<RecordedExit>,
    /// The last frames in both directions, the oldest first. A frame counts as sent when it is put into the outbox.
    pub frames: Vec<RecordedFrame>,
    /// The number of earlier frames, which are no longer recorded.
    pub dropped_frames: u64,
    /// Its state transitions, the oldest first; only in a pool with `state_machine`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transitions: Option<Vec<RecordedTransition>>,
    /// The last lines of its output.
    pub stderr_tail: Vec<String>,
}

/// One frame, without its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordedFrame {
    /// When it was sent or received.
    #[serde(serialize_with = "micros")]
    pub at: SystemTime,
    /// Whether the host sent or received it.
    pub direction: Direction,
    /// On which of the two descriptors.
    pub descriptor: Descriptor,
    /// The kind as the protocol names it; `unknown` if there is no such kind, `end_of_stream` if the worker closed the
    /// descriptor too early.
    pub kind: Cow<'static, str>,
    /// The attempt that it concerns, or the nonce of a ping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wire: Option<u64>,
    /// The length of the body in bytes, as the header states it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u32>,
    /// The command of the call, at most the first 24 bytes of its name; also for an answer if its call is among these frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Box<str>>,
    /// The protocol violation as the protocol names it, or `out_of_order`, or `closed`. The process was killed because of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<&'static str>,
    /// The bytes of a faulty header in hexadecimal, at most 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Box<str>>,
}

// Bounds the memory of the 64 recordings that are kept, as docs/semantics.md states it: most of it is frames.
const _: () = assert!(size_of::<RecordedFrame>() <= 128);

/// The direction of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the worker.
    Sent,
    /// From the worker.
    Received,
}

/// One of a worker's two descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Descriptor {
    /// Calls and answers.
    Calls,
    /// Pings, cancels, shutdown.
    Control,
}

/// A state transition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordedTransition {
    /// When it happened.
    #[serde(serialize_with = "micros")]
    pub at: SystemTime,
    /// The previous state.
    pub from: WorkerState,
    /// The new state.
    pub to: WorkerState,
    /// The reason.
    pub reason: &'static str,
}

/// The exit of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordedExit {
    /// The reason, as in errors.
    pub reason: Box<str>,
    /// The exit status, if the process returned one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// The signal that killed the process, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The peak of its resident memory in bytes, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// The evidence, if it was likely killed because memory was short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likely_out_of_memory: Option<String>,
}

impl Recording {
    /// Returns the last frames, at most `count`.
    pub fn last_frames(&self, count: usize) -> &[RecordedFrame] {
        &self.frames[self.frames.len().saturating_sub(count)..]
    }

    /// Returns the process.
    pub fn process(&self) -> WorkerRef {
        WorkerRef { id: self.worker, generation: self.generation }
    }
}

/// Shortened, since errors contain a recording; the JSON form is complete.
impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recording({}, {} frames, {:?})", self.process(), self.frames.len(), self.exit)
    }
}

impl State {
    /// Returns the recording of a process: the slot's present process, or its last recorded one, unless a generation is
    /// given.
    pub(crate) fn recording(&self, worker: WorkerId, generation: Option<Generation>) -> Result<Arc<Recording>> {
        let is_requested = |worker_ref: WorkerRef| {
            worker_ref.id == worker && generation.is_none_or(|generation| generation == worker_ref.generation)
        };
        if let Some(link) = self.links().find(|link| is_requested(link.worker)) {
            let recorder = Some(&*link.recorder);
            return Ok(Arc::new(self.record(link.worker, recorder, link.child.output_tail(), None)));
        }
        let kept = self
            .exit_records()
            .filter(|(worker_ref, _)| is_requested(*worker_ref))
            .find_map(|(_, exit_record)| exit_record.recording.clone());
        kept.ok_or_else(|| Error::NoSuchWorker { message: self.no_recording(worker, generation) })
    }

    /// Creates the recording of a process that has exited.
    pub(crate) fn last_recording(
        &self,
        worker: WorkerRef,
        end: ProcessExit,
        recorder: Option<&Recorder>,
        exit_record: &ExitRecord,
    ) -> Arc<Recording> {
        let end = self.core().exit_of(worker).unwrap_or(end); // the core's record has the kill reason
        let (exit_status, signal) = crate::error::status_parts(end.status);
        let ExitMemory { peak_memory, out_of_memory } = exit_record.memory.clone();
        let exit = RecordedExit {
            reason: loss_reason(&end, Some(exit_record)),
            exit_status,
            signal,
            peak_memory,
            likely_out_of_memory: out_of_memory.map(|evidence| evidence.to_string()),
        };
        Arc::new(self.record(worker, recorder, exit_record.stderr_tail.clone(), Some(exit)))
    }

    fn record(
        &self,
        worker: WorkerRef,
        recorder: Option<&Recorder>,
        stderr_tail: Vec<String>,
        exit: Option<RecordedExit>,
    ) -> Recording {
        let wall_clock = WallClock::now(self.clock());
        let (frames, dropped_frames) = recorder.map(|recorder| frames(recorder, &wall_clock)).unwrap_or_default();
        // The core's history belongs to the slot: transitions before the start are those of earlier processes.
        let since = recorder.map_or(Timestamp::NEVER, Recorder::started);
        let is_of_process = |change: &&Transition| change.at >= since;
        let transitions = self
            .core()
            .transitions(worker.id)
            .map(|all| all.filter(is_of_process).map(|t| wall_clock.transition(t)).collect());
        Recording {
            worker: worker.id,
            generation: worker.generation,
            started_at: recorder.map(|recorder| wall_clock.at(recorder.started())),
            ended_at: exit.is_some().then(SystemTime::now),
            exit,
            frames,
            dropped_frames,
            transitions,
            stderr_tail,
        }
    }

    fn no_recording(&self, worker: WorkerId, generation: Option<Generation>) -> String {
        let settings = self.core().settings();
        let slots = settings.pool_size + settings.overflow;
        if !(1..=slots).contains(&worker.0) {
            return format!("unknown worker {worker}; the pool has w1 to w{slots}");
        }
        let running = self.links().map(|link| link.worker);
        let known = running
            .chain(self.exit_records().map(|(worker_ref, _)| *worker_ref))
            .filter(|worker_ref| worker_ref.id == worker);
        let mut known: Vec<u32> = known.map(|worker_ref| worker_ref.generation.0).collect();
        known.sort_unstable();
        let known: Vec<String> = known.iter().map(u32::to_string).collect();
        match (generation, known.is_empty()) {
            (Some(generation), false) => {
                format!(
                    "no recording of worker {worker}, generation {generation}; recorded generations: {}",
                    known.join(", ")
                )
            }
            _ => format!("no recording of worker {worker}: it has no process, and no earlier process is recorded"),
        }
    }
}

/// Returns the frames, with the malformed frame at its place in time, and the number of dropped ones.
fn frames(recorder: &Recorder, wall_clock: &WallClock) -> (Vec<RecordedFrame>, u64) {
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

impl WallClock {
    fn transition(&self, change: &Transition) -> RecordedTransition {
        let Transition { from, to, reason, at, .. } = *change;
        RecordedTransition { at: self.at(at), from, to, reason }
    }
}

fn micros<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_micros(*time))
}

fn optional<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => micros(time, serializer),
        None => serializer.serialize_none(),
    }
}
