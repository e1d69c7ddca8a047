//! What a silent process does: its processor time now beside what it was when it was pinged. Reads `/proc`, so it is for the
//! supervisor, never for a step.

use super::State;
use herder_core::{ProcessActivity, Timestamp, WorkerRef};
use std::time::Duration;

/// The processor time of a process, at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuSample {
    at: Timestamp,
    cpu: Duration,
}

impl State {
    /// Remembers what the process did so far, and says what it did since the last time.
    pub(crate) fn activity_since_sample(&mut self, worker: WorkerRef) -> ProcessActivity {
        let moment = self.clock.now();
        let Some(link) = self.link(worker) else { return ProcessActivity::Unknown };
        let Some(activity) = link.child.sample().filter(|_| link.is_direct_child) else {
            return ProcessActivity::Unknown;
        };
        let now = CpuSample { at: moment, cpu: activity.cpu };
        match link.last_cpu_sample.replace(now) {
            _ if activity.stopped => ProcessActivity::Stopped,
            // Also one that gets next to no processor, on a machine that has too much to do.
            _ if activity.runnable => ProcessActivity::Computing,
            Some(before) => ProcessActivity::classify(now.cpu.saturating_sub(before.cpu), now.at.since(before.at)),
            None => ProcessActivity::Unknown,
        }
    }
}
