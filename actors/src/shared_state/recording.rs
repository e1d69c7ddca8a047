//! Creates the recordings of the pool's processes, running or exited, from their recorders, the core's transitions and the
//! exit records. Reads the state and changes nothing.

use super::State;
use crate::{
    Error, ExitMemory, RecordedExit, RecordedTransition, Recording, Result,
    clock::WallClock,
    error::{ExitRecord, loss_reason, status_parts},
    recorder::{Recorder, frames},
};
use herder_core::{Generation, ProcessExit, Timestamp, Transition, WorkerId, WorkerRef};
use std::{sync::Arc, time::SystemTime};

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
        exit: ProcessExit,
        recorder: Option<&Recorder>,
        exit_record: &ExitRecord,
    ) -> Arc<Recording> {
        let exit = self.core().exit_of(worker).unwrap_or(exit); // the core's record has the kill reason
        let (exit_status, signal) = status_parts(exit.status);
        let ExitMemory { peak_memory, out_of_memory } = exit_record.memory.clone();
        let exit = RecordedExit {
            reason: loss_reason(&exit, Some(exit_record)),
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

impl WallClock {
    fn transition(&self, change: &Transition) -> RecordedTransition {
        let Transition { from, to, reason, at, .. } = *change;
        RecordedTransition { at: self.at(at), from, to, reason }
    }
}
