//! Workers beyond the base (R12): started when calls wait that could run there, kept for a while, ended when idle.

use super::{Core, Effects, Phase, StopHow};
use crate::{
    Now, WorkerRef,
    failure::Doom,
    timers::Timer,
    worker::{Process, Slot},
};

impl Core {
    /// Starts overflow workers while more calls wait that could run there than places are on their way (R12).
    pub(super) fn want_overflow(&mut self, now: Now, fx: &mut Effects) {
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        let homeless = if self.base_lives() { 0 } else { self.homeless.len() };
        while self.anyone.len() + homeless > self.places_to_come(now) {
            let idle = |slot: &&mut Slot| !slot.base && matches!(slot.process, Process::Absent);
            let Some(slot) = self.slots.iter_mut().find(idle) else { return };
            let start_at = now + self.intensity.backoff(slot.failures);
            slot.process = Process::Scheduled { at: start_at };
            self.timers.set(start_at, Timer::Worker(slot.at.worker));
            self.start_due(now, fx);
        }
    }

    fn places_to_come(&self, now: Now) -> usize {
        let coming = |slot: &&Slot| match slot.process {
            Process::Starting { .. } => true,
            Process::Scheduled { at } => at <= now,
            _ => false,
        };
        self.slots.iter().filter(coming).count() * self.settings.window() as usize
    }

    /// Ends an overflow worker that was idle long enough and holds no session's state (R12).
    pub(super) fn linger_due(&mut self, now: Now, at: WorkerRef, fx: &mut Effects) {
        if !self.is_alive(at) {
            return;
        }
        let bound = self.routes().map_or(0, |routes| routes.bound_to(at));
        let slot = self.slot(at.worker);
        let Process::Live { idle_since, .. } = slot.process else { return };
        let idle = slot.running.is_empty() && bound == 0;
        let over = if idle { idle_since + self.settings.overflow_linger } else { now + self.settings.overflow_linger };
        if idle && now >= over {
            return self.doom(now, at, Doom::Idle, StopHow::Ladder, fx);
        }
        self.timers.set(over, Timer::Linger(at));
    }
}
