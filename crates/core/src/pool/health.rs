//! Liveness: pings on the control channel, off the calls' path (R26).

use super::{Core, Effect, Effects, Note, StopHow};
use crate::{
    Now, WorkerRef,
    failure::Doom,
    timers::Timer,
    worker::{Ping, Process, WorkerState},
};

impl Core {
    /// Sends the ping that is due, or counts the one that was missed.
    pub(super) fn ping_due(&mut self, now: Now, at: WorkerRef, fx: &mut Effects) {
        let Process::Live { ping, .. } = self.slot(at.worker).process else { return };
        match ping {
            Ping::Due { at: due } if due <= now => self.ping(now, at, fx),
            Ping::Sent { until, .. } if until <= now => self.ping_missed(now, at, fx),
            Ping::Off | Ping::Due { .. } | Ping::Sent { .. } => {}
        }
    }

    fn ping(&mut self, now: Now, at: WorkerRef, fx: &mut Effects) {
        self.next_nonce += 1;
        let (nonce, until) = (self.next_nonce, now + self.settings.health.timeout);
        self.set_ping(at, Ping::Sent { nonce, until }, until);
        fx.push(Effect::Ping { at, nonce });
    }

    fn ping_missed(&mut self, now: Now, at: WorkerRef, fx: &mut Effects) {
        let (gated, failures) = (self.gated(), self.settings.health.failures);
        let slot = self.slot_mut(at.worker);
        let before = slot.state(gated);
        let Process::Live { misses, .. } = &mut slot.process else { return };
        *misses += 1;
        let misses = *misses;
        fx.push(Effect::Note(Note::PingMissed(at, misses)));
        if misses == 1 {
            self.record(now, at.worker, before, WorkerState::Degraded, "missed a ping");
        }
        if misses >= failures {
            return self.doom(now, at, Doom::Unresponsive, StopHow::Ladder, fx);
        }
        self.ping(now, at, fx);
    }

    /// Any pong proves life, a late one too.
    pub(super) fn pong(&mut self, now: Now, at: WorkerRef, nonce: u64, fx: &mut Effects) {
        let next = now + self.settings.health.interval;
        let Some(slot) = self.current(at) else { return };
        let Process::Live { ping, misses, .. } = &mut slot.process else { return };
        let was_missing = std::mem::take(misses) > 0;
        if matches!(*ping, Ping::Sent { nonce: sent, .. } if sent == nonce) {
            *ping = Ping::Due { at: next };
            self.timers.set(next, Timer::Worker(at.worker));
        }
        if was_missing {
            self.record(now, at.worker, WorkerState::Degraded, WorkerState::Ready, "answered a ping again");
            self.fill(now, at.worker, fx);
        }
    }

    fn set_ping(&mut self, at: WorkerRef, next: Ping, due: Now) {
        if let Process::Live { ping, .. } = &mut self.slot_mut(at.worker).process {
            *ping = next;
            self.timers.set(due, Timer::Worker(at.worker));
        }
    }
}
