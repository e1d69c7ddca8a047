//! Health checks: pings on the control channel, apart from the calls, and the handling of missed ones (R26).
//!
//! A process that answers a ping is alive. A process that does not answer, but computes and has calls, holds Python's
//! GIL: the deadlines of its calls end it if necessary. In every other case the ping counts as missed.

use super::{Ping, Process, WorkerState, Workers};
use crate::{Effect, Effects, LogEvent, ProcessActivity, Timestamp, WorkerRef, failure::KillReason};
/// What follows from the state of a ping for the rest of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PingOutcome {
    /// Nothing.
    Unchanged,
    /// The worker, which had missed pings, accepts calls again.
    Restored,
    /// The worker missed too many pings and must be stopped.
    Failed(KillReason),
}

impl Workers {
    /// Sends the ping that is due, or handles a ping that was not answered in time.
    pub(crate) fn ping_due(&mut self, now: Timestamp, worker: WorkerRef, effects: &mut Effects) -> PingOutcome {
        let Process::Live { ping, .. } = self.slot(worker.id).process else { return PingOutcome::Unchanged };
        match ping {
            Ping::Due { at: due } if due <= now => self.send_ping(now, worker, effects),
            Ping::Sent { nonce, until } if until <= now => self.examine(now, worker, nonce, effects),
            Ping::Examined { nonce, until } if until <= now => {
                return self.on_unresponsive(now, worker, nonce, ProcessActivity::Unknown, effects);
            }
            Ping::Off | Ping::Due { .. } | Ping::Sent { .. } | Ping::Examined { .. } => {}
        }
        PingOutcome::Unchanged
    }

    fn send_ping(&mut self, now: Timestamp, worker: WorkerRef, effects: &mut Effects) {
        self.next_nonce += 1;
        let (nonce, until) = (self.next_nonce, now + self.health.timeout);
        self.set_ping(worker, Ping::Sent { nonce, until });
        effects.push(Effect::Ping { worker, nonce });
    }

    fn examine(&mut self, now: Timestamp, worker: WorkerRef, nonce: u64, effects: &mut Effects) {
        let until = now + self.health.examination;
        self.set_ping(worker, Ping::Examined { nonce, until });
        effects.push(Effect::Examine { worker, nonce });
    }

    /// Handles the result of an examination. Ignores it if the process has answered in the meantime, or is being
    /// stopped.
    pub(crate) fn examined(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        nonce: u64,
        activity: ProcessActivity,
        effects: &mut Effects,
    ) -> PingOutcome {
        let is_this_examination =
            |ping: Ping| matches!(ping, Ping::Examined { nonce: examined, .. } if examined == nonce);
        // The examination reads `/proc` outside of the step. Until its result arrives, the process may have answered,
        // or a newer ping may be out: the nonce distinguishes them.
        match self.current(worker).map(|slot| &slot.process) {
            Some(Process::Live { ping, .. }) if is_this_examination(*ping) => {
                self.on_unresponsive(now, worker, nonce, activity, effects)
            }
            _ => PingOutcome::Unchanged,
        }
    }

    fn on_unresponsive(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        nonce: u64,
        activity: ProcessActivity,
        effects: &mut Effects,
    ) -> PingOutcome {
        let slot = &mut self.slots[super::workers::index(worker.id)];
        let busy = slot.in_flight() > 0;
        let Process::Live { unresponsive, misses, .. } = &mut slot.process else { return PingOutcome::Unchanged };
        // Logged once for each period without answers, not for each ping.
        let is_news = unresponsive.replace(activity) != Some(activity) || *misses > 0;
        if activity != ProcessActivity::Computing || !busy {
            return self.ping_missed(now, worker, activity, effects);
        }
        if is_news {
            effects.push(Effect::Log(LogEvent::GilHeld(worker)));
        }
        // Waits for the ping that was sent already. It is answered when the GIL is released; more pings would only
        // accumulate in the socket.
        let until = now + self.health.timeout;
        self.set_ping(worker, Ping::Sent { nonce, until });
        self.restore(now, worker, "busy with a call")
    }

    fn ping_missed(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        activity: ProcessActivity,
        effects: &mut Effects,
    ) -> PingOutcome {
        let before = self.slot(worker.id).state(self.is_health_gated());
        let misses = self.update(worker.id, |slot| match &mut slot.process {
            Process::Live { misses, .. } => {
                *misses += 1;
                *misses
            }
            _ => 0,
        });
        effects.push(Effect::Log(LogEvent::PingMissed(worker, misses, activity)));
        if misses == 1 {
            self.record(now, worker.id, before, WorkerState::Degraded, "missed a ping");
        }
        if misses >= self.health.failures {
            let is_stopped = activity == ProcessActivity::Stopped;
            return PingOutcome::Failed(if is_stopped { KillReason::Stopped } else { KillReason::Unresponsive });
        }
        // At once, not after the interval, so that a worker that hangs is stopped soon.
        self.send_ping(now, worker, effects);
        PingOutcome::Unchanged
    }

    /// Handles the answer to a ping. A late answer also proves that the process is alive.
    pub(crate) fn pong(&mut self, now: Timestamp, worker: WorkerRef, nonce: u64) -> PingOutcome {
        let next = now + self.health.interval;
        let Some(slot) = self.current_mut(worker) else { return PingOutcome::Unchanged };
        let Process::Live { ping, unresponsive, .. } = &mut slot.process else { return PingOutcome::Unchanged };
        *unresponsive = None;
        // Only the answer to the current ping schedules the next one. If a late answer did so too, two chains of pings
        // would run from then on.
        if matches!(*ping, Ping::Sent { nonce: sent, .. } | Ping::Examined { nonce: sent, .. } if sent == nonce) {
            self.set_ping(worker, Ping::Due { at: next });
        }
        self.restore(now, worker, "answered a ping")
    }

    /// Resets the missed pings of a process that is alive.
    fn restore(&mut self, now: Timestamp, worker: WorkerRef, reason: &'static str) -> PingOutcome {
        let misses = self.update(worker.id, |slot| match &mut slot.process {
            Process::Live { misses, .. } => std::mem::take(misses),
            _ => 0,
        });
        if misses == 0 {
            return PingOutcome::Unchanged;
        }
        self.record(now, worker.id, WorkerState::Degraded, WorkerState::Ready, reason);
        PingOutcome::Restored
    }

    fn set_ping(&mut self, worker: WorkerRef, next: Ping) {
        self.update(worker.id, |slot| {
            if let Process::Live { ping, .. } = &mut slot.process {
                *ping = next;
            }
        });
    }
}
