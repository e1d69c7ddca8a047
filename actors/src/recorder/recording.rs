//! What a flight recorder gives: frames, transitions, output and exit of one process, as people and programs read it. A snapshot.

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

/// The end of one process's story, or the present of one that lives: the last 128 frames, without their contents.
///
/// Times are the wall clock's, to the microsecond. Of a process that could not be spawned only the exit is known.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Recording {
    /// The slot.
    pub worker: WorkerId,
    /// Which of its processes.
    pub generation: Generation,
    /// When it was started, if it was.
    #[serde(serialize_with = "optional")]
    pub started_at: Option<SystemTime>,
    /// When its end was noticed; `None` while it lives.
    #[serde(serialize_with = "optional")]
    pub ended_at: Option<SystemTime>,
    /// How it ended; `None` while it lives.
    pub exit: Option<RecordedExit>,
    /// The last frames in both directions, the oldest first. Sent means: put into the outbox.
    pub frames: Vec<RecordedFrame>,
    /// How many frames came before those.
    pub dropped_frames: u64,
    /// Its changes of state, the oldest first; only in a pool with `state_machine`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transitions: Option<Vec<RecordedTransition>>,
    /// The last lines it printed.
    pub stderr_tail: Vec<String>,
}

/// One frame, without its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordedFrame {
    /// When.
    #[serde(serialize_with = "micros")]
    pub at: SystemTime,
    /// From the host, or to it.
    pub direction: Direction,
    /// On which of the two descriptors.
    pub descriptor: Descriptor,
    /// The kind as the protocol names it; `unknown` where it is none, `end_of_stream` where the descriptor was closed too early.
    pub kind: Cow<'static, str>,
    /// The attempt it concerns, or a ping's nonce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wire: Option<u64>,
    /// The body's length in bytes, as the header has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u32>,
    /// The command of the call, also at its answer if the call is among these frames; the first 24 bytes of its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Box<str>>,
    /// What was wrong with it, as the protocol names it, or `out_of_order`, or `closed`. The process was killed for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<&'static str>,
    /// With a fault in the header: its bytes in hexadecimal, 16 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Box<str>>,
}

// What is remembered of 64 processes is bounded, as docs/semantics.md says: frames count for most of it.
const _: () = assert!(size_of::<RecordedFrame>() <= 128);

/// Which way a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the worker.
    Sent,
    /// From the worker.
    Received,
}

/// Which of a worker's two descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Descriptor {
    /// Calls and answers.
    Calls,
    /// Pings, cancels, shutdown.
    Control,
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordedTransition {
    /// When.
    #[serde(serialize_with = "micros")]
    pub at: SystemTime,
    /// The state left.
    pub from: WorkerState,
    /// The state entered.
    pub to: WorkerState,
    /// Why.
    pub reason: &'static str,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordedExit {
    /// In words, as errors have it.
    pub reason: Box<str>,
    /// Its exit status, if it returned one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// The signal that ended it, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The most main memory it ever had, in bytes, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// The evidence, if it was likely killed for a lack of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likely_out_of_memory: Option<String>,
}

impl Recording {
    /// The last frames, at most so many.
    pub fn last_frames(&self, count: usize) -> &[RecordedFrame] {
        &self.frames[self.frames.len().saturating_sub(count)..]
    }

    /// The process.
    pub fn process(&self) -> WorkerRef {
        WorkerRef { id: self.worker, generation: self.generation }
    }
}

/// Short, since errors hold one: what it says in full is its JSON form.
impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recording({}, {} frames, {:?})", self.process(), self.frames.len(), self.exit)
    }
}

impl State {
    /// The recording of a process: of the slot's present one, or of its last that is remembered, unless a generation is named.
    pub(crate) fn recording(&self, worker: WorkerId, generation: Option<Generation>) -> Result<Arc<Recording>> {
        let wanted = |worker_ref: WorkerRef| {
            worker_ref.id == worker && generation.is_none_or(|wanted| wanted == worker_ref.generation)
        };
        if let Some(link) = self.links().find(|link| wanted(link.worker)) {
            let recorder = Some(&*link.recorder);
            return Ok(Arc::new(self.record(link.worker, recorder, link.child.output_tail(), None)));
        }
        let remembered = self
            .exit_records()
            .filter(|(worker_ref, _)| wanted(*worker_ref))
            .find_map(|(_, found)| found.recording.clone());
        remembered.ok_or_else(|| Error::NoSuchWorker { message: self.no_recording(worker, generation) })
    }

    /// What is to be remembered of a process that is gone.
    pub(crate) fn last_recording(
        &self,
        worker: WorkerRef,
        end: ProcessExit,
        recorder: Option<&Recorder>,
        exit_record: &ExitRecord,
    ) -> Arc<Recording> {
        let end = self.core().exit_of(worker).unwrap_or(end); // which knows why Herder ended it, if it did
        let (exit_status, signal) = crate::error::status_parts(end.status);
        let ExitMemory { peak_memory, out_of_memory } = exit_record.death.clone();
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
        let wall = WallClock::now(self.clock());
        let (frames, forgotten) = recorder.map(|recorder| frames(recorder, &wall)).unwrap_or_default();
        let since = recorder.map_or(Timestamp::NEVER, Recorder::started);
        let ours = |change: &&Transition| change.at >= since;
        let transitions =
            self.core().transitions(worker.id).map(|all| all.filter(ours).map(|t| wall.shown(t)).collect());
        Recording {
            worker: worker.id,
            generation: worker.generation,
            started_at: recorder.map(|recorder| wall.at(recorder.started())),
            ended_at: exit.is_some().then(SystemTime::now),
            exit,
            frames,
            dropped_frames: forgotten,
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
        let living = self.links().map(|link| link.worker);
        let known = living
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

/// The frames with the bad one at its place in time, and how many are forgotten.
fn frames(recorder: &Recorder, wall: &WallClock) -> (Vec<RecordedFrame>, u64) {
    let (entries, forgotten) = recorder.entries();
    let mut frames: Vec<RecordedFrame> = entries.iter().map(|entry| recorded_frame(wall, entry, &entries)).collect();
    if let Some((at, malformed)) = recorder.fault() {
        let place = entries.partition_point(|entry| entry.at <= *at);
        frames.insert(place, malformed_frame(wall, *at, malformed));
    }
    debug_assert!(frames.len() <= FRAMES + 1);
    (frames, forgotten)
}

fn recorded_frame(wall: &WallClock, entry: &Entry, all: &[Entry]) -> RecordedFrame {
    let call = || all.iter().find(|call| call.wire == entry.wire && call.command().is_some());
    let answers = entry.direction == Direction::Received && entry.descriptor == Descriptor::Calls && entry.wire.0 != 0;
    let command = entry.command().or_else(|| call().filter(|_| answers).and_then(Entry::command));
    RecordedFrame {
        at: wall.at(entry.at),
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

fn malformed_frame(wall: &WallClock, at: Timestamp, malformed: &MalformedFrame) -> RecordedFrame {
    let MalformedFrame { descriptor, fault, kind, length, wire, bytes } = malformed.clone();
    RecordedFrame {
        at: wall.at(at),
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
    fn shown(&self, change: &Transition) -> RecordedTransition {
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
