//! Measures what an unresponsive process does: its processor time now, compared with the time when it was pinged. Reads
//! `/proc`, so the supervisor calls it and no step does.

use super::State;
use herder_core::{ProcessActivity, Timestamp, WorkerRef};
use std::time::Duration;

/// The processor time that a process had used at a point in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuSample {
    at: Timestamp,
    cpu: Duration,
}

impl State {
    /// Records the processor time of a process and returns its activity since the previous sample.
    pub(crate) fn activity_since_sample(&mut self, worker: WorkerRef) -> ProcessActivity {
        let moment = self.clock.now();
        let Some(link) = self.link(worker) else { return ProcessActivity::Unknown };
        let Some(activity) = link.child.sample().filter(|_| link.is_direct_child) else {
            return ProcessActivity::Unknown;
        };
        let now = CpuSample { at: moment, cpu: activity.cpu };
        match link.last_cpu_sample.replace(now) {
            _ if activity.stopped => ProcessActivity::Stopped,
            // Also counts a process that gets almost no processor time on an overloaded machine.
            _ if activity.runnable => ProcessActivity::Computing,
            Some(before) => ProcessActivity::classify(now.cpu.saturating_sub(before.cpu), now.at.since(before.at)),
            None => ProcessActivity::Unknown,
        }
    }
}
