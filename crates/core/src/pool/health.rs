//! Health checks: pings on the control channel, apart from the calls, and the handling of missed ones (R26).
//!
//! A process that answers a ping is alive. A process that does not answer, but computes and has calls, holds Python's
//! GIL: the deadlines of its calls end it if necessary. In every other case the ping counts as missed.

use super::Core;
use crate::{
    Effect, Effects, LogEvent, ProcessActivity, StopMethod, Timestamp, WorkerRef,
    failure::KillReason,
    worker::{Ping, Process, Slot, WorkerState},
};

impl Core {
    /// Sends the ping that is due, or handles a ping that was not answered in time.
    pub(super) fn ping_due(&mut self, now: Timestamp, worker: WorkerRef, effects: &mut Effects) {
        let Process::Live { ping, .. } = *self.slot(worker.id).process() else { return };
        match ping {
            Ping::Due { at: due } if due <= now => self.send_ping(now, worker, effects),
            Ping::Sent { nonce, until } if until <= now => self.examine(now, worker, nonce, effects),
            Ping::Examined { nonce, until } if until <= now => {
                self.on_unresponsive(now, worker, nonce, ProcessActivity::Unknown, effects);
            }
            Ping::Off | Ping::Due { .. } | Ping::Sent { .. } | Ping::Examined { .. } => {}
        }
    }

    fn send_ping(&mut self, now: Timestamp, worker: WorkerRef, effects: &mut Effects) {
        self.next_nonce += 1;
        let (nonce, until) = (self.next_nonce, now + self.settings.health.timeout);
        self.workers.set_ping(worker.id, Ping::Sent { nonce, until });
        effects.push(Effect::Ping { worker, nonce });
    }

    fn examine(&mut self, now: Timestamp, worker: WorkerRef, nonce: u64, effects: &mut Effects) {
        let until = now + self.settings.health.timeout;
        self.workers.set_ping(worker.id, Ping::Examined { nonce, until });
        effects.push(Effect::Examine { worker, nonce });
    }

    /// Handles the result of an examination. Ignores it if the process has answered in the meantime, or is being
    /// stopped.
    pub(super) fn on_examined(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        nonce: u64,
        activity: ProcessActivity,
        effects: &mut Effects,
    ) {
        let is_this_examination =
            |ping: Ping| matches!(ping, Ping::Examined { nonce: examined, .. } if examined == nonce);
        // The examination reads `/proc` outside of the step. Until its result arrives, the process may have answered,
        // or a newer ping may be out: the nonce distinguishes them.
        let Some(slot) = self.workers.current(worker) else { return };
        if matches!(*slot.process(), Process::Live { ping, .. } if is_this_examination(ping)) {
            self.on_unresponsive(now, worker, nonce, activity, effects);
        }
    }

    fn on_unresponsive(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        nonce: u64,
        activity: ProcessActivity,
        effects: &mut Effects,
    ) {
        let busy = self.slot(worker.id).in_flight() > 0;
        let Some((before, misses)) = self.workers.set_unresponsive(worker.id, Some(activity)) else { return };
        // Logged once for each period without answers, not for each ping.
        let is_news = before != Some(activity) || misses > 0;
        if activity == ProcessActivity::Computing && busy {
            if is_news {
                effects.push(Effect::Log(LogEvent::GilHeld(worker)));
            }
            return self.on_gil_held(now, worker, nonce, effects);
        }
        self.ping_missed(now, worker, activity, effects);
    }

    /// Waits for the ping that was sent already. It is answered when the GIL is released; more pings would only
    /// accumulate in the socket.
    fn on_gil_held(&mut self, now: Timestamp, worker: WorkerRef, nonce: u64, effects: &mut Effects) {
        let until = now + self.settings.health.timeout;
        self.workers.set_ping(worker.id, Ping::Sent { nonce, until });
        self.restore_worker(now, worker, "busy with a call", effects);
    }

    fn ping_missed(&mut self, now: Timestamp, worker: WorkerRef, activity: ProcessActivity, effects: &mut Effects) {
        let (health_gated, failures) = (self.is_health_gated(), self.settings.health.failures);
        let before = self.slot(worker.id).state(health_gated);
        let Some(misses) = self.workers.miss_ping(worker.id) else { return };
        effects.push(Effect::Log(LogEvent::PingMissed(worker, misses, activity)));
        if misses == 1 {
            self.record(now, worker.id, before, WorkerState::Degraded, "missed a ping");
        }
        if misses >= failures {
            let kill_reason =
                if activity == ProcessActivity::Stopped { KillReason::Stopped } else { KillReason::Unresponsive };
            return self.stop_process(now, worker, kill_reason, StopMethod::Graceful, effects);
        }
        // At once, not after the interval, so that a worker that hangs is stopped soon.
        self.send_ping(now, worker, effects);
    }

    /// Handles the answer to a ping. A late answer also proves that the process is alive.
    pub(super) fn on_pong(&mut self, now: Timestamp, worker: WorkerRef, nonce: u64, effects: &mut Effects) {
        let next = now + self.settings.health.interval;
        let Some(&Process::Live { ping, .. }) = self.workers.current(worker).map(Slot::process) else { return };
        self.workers.set_unresponsive(worker.id, None);
        // Only the answer to the current ping schedules the next one. If a late answer did so too, two chains of pings
        // would run from then on.
        if matches!(ping, Ping::Sent { nonce: sent, .. } | Ping::Examined { nonce: sent, .. } if sent == nonce) {
            self.workers.set_ping(worker.id, Ping::Due { at: next });
        }
        self.restore_worker(now, worker, "answered a ping", effects);
    }

    /// Resets the missed pings of a process that is alive, and gives it calls again.
    fn restore_worker(&mut self, now: Timestamp, worker: WorkerRef, reason: &'static str, effects: &mut Effects) {
        if self.workers.reset_misses(worker.id) {
            self.record(now, worker.id, WorkerState::Degraded, WorkerState::Ready, reason);
            self.fill(now, worker.id, effects);
        }
    }
}
