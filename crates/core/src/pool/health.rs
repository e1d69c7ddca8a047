//! Liveness: pings on the control channel, off the calls' path, and what silence means (R26). A process that answers is alive. One
//! that computes for its calls and does not answer is bound by the GIL: its calls' own deadlines end it. Everything else is a miss.

use super::{Core, Effect, Effects, LogEvent, StopMethod};
use crate::{
    ProcessActivity, Timestamp, WorkerRef,
    failure::KillReason,
    timers::Timer,
    worker::{Ping, Process, WorkerState},
};

impl Core {
    /// Sends the ping that is due, or looks into the silence that followed one.
    pub(super) fn ping_due(&mut self, now: Timestamp, at: WorkerRef, fx: &mut Effects) {
        let Process::Live { ping, .. } = self.slot(at.worker).process else { return };
        match ping {
            Ping::Due { at: due } if due <= now => self.ping(now, at, fx),
            Ping::Sent { nonce, until } if until <= now => self.examine(now, at, nonce, fx),
            Ping::Examined { nonce, until } if until <= now => {
                self.on_unresponsive(now, at, nonce, ProcessActivity::Unknown, fx)
            }
            Ping::Off | Ping::Due { .. } | Ping::Sent { .. } | Ping::Examined { .. } => {}
        }
    }

    fn ping(&mut self, now: Timestamp, at: WorkerRef, fx: &mut Effects) {
        self.next_nonce += 1;
        let (nonce, until) = (self.next_nonce, now + self.settings.health.timeout);
        self.set_ping(at, Ping::Sent { nonce, until }, until);
        fx.push(Effect::Ping { at, nonce });
    }

    fn examine(&mut self, now: Timestamp, at: WorkerRef, nonce: u64, fx: &mut Effects) {
        let until = now + self.settings.health.timeout;
        self.set_ping(at, Ping::Examined { nonce, until }, until);
        fx.push(Effect::Examine { at, nonce });
    }

    /// What a silent process did. Of a process that answered meanwhile, or is being ended, nobody wants to know.
    pub(super) fn examined(
        &mut self,
        now: Timestamp,
        at: WorkerRef,
        nonce: u64,
        activity: ProcessActivity,
        fx: &mut Effects,
    ) {
        let asked = |ping: Ping| matches!(ping, Ping::Examined { nonce: asked, .. } if asked == nonce);
        let Some(slot) = self.current(at) else { return };
        if matches!(slot.process, Process::Live { ping, .. } if asked(ping)) {
            self.on_unresponsive(now, at, nonce, activity, fx);
        }
    }

    fn on_unresponsive(
        &mut self,
        now: Timestamp,
        at: WorkerRef,
        nonce: u64,
        activity: ProcessActivity,
        fx: &mut Effects,
    ) {
        let slot = self.slot_mut(at.worker);
        let busy = !slot.running.is_empty();
        let Process::Live { unresponsive, misses, .. } = &mut slot.process else { return };
        let new = unresponsive.replace(activity) != Some(activity) || *misses > 0;
        if activity == ProcessActivity::Computing && busy {
            if new {
                fx.push(Effect::Log(LogEvent::GilHeld(at)));
            }
            return self.bound(now, at, nonce, fx);
        }
        self.ping_missed(now, at, activity, fx);
    }

    /// No new ping: the one that is out is answered when the GIL is free, and more of them would only pile up.
    fn bound(&mut self, now: Timestamp, at: WorkerRef, nonce: u64, fx: &mut Effects) {
        let until = now + self.settings.health.timeout;
        self.set_ping(at, Ping::Sent { nonce, until }, until);
        self.restore(now, at, "busy with a call", fx);
    }

    fn ping_missed(&mut self, now: Timestamp, at: WorkerRef, activity: ProcessActivity, fx: &mut Effects) {
        let (gated, failures) = (self.gated(), self.settings.health.failures);
        let slot = self.slot_mut(at.worker);
        let before = slot.state(gated);
        let Process::Live { misses, .. } = &mut slot.process else { return };
        *misses += 1;
        let misses = *misses;
        fx.push(Effect::Log(LogEvent::PingMissed(at, misses, activity)));
        if misses == 1 {
            self.record(now, at.worker, before, WorkerState::Degraded, "missed a ping");
        }
        if misses >= failures {
            let kill_reason =
                if activity == ProcessActivity::Stopped { KillReason::Stopped } else { KillReason::Unresponsive };
            return self.stop_process(now, at, kill_reason, StopMethod::Graceful, fx);
        }
        self.ping(now, at, fx);
    }

    /// Any pong proves life, a late one too.
    pub(super) fn pong(&mut self, now: Timestamp, at: WorkerRef, nonce: u64, fx: &mut Effects) {
        let next = now + self.settings.health.interval;
        let Some(slot) = self.current(at) else { return };
        let Process::Live { ping, unresponsive, .. } = &mut slot.process else { return };
        *unresponsive = None;
        if matches!(*ping, Ping::Sent { nonce: out, .. } | Ping::Examined { nonce: out, .. } if out == nonce) {
            *ping = Ping::Due { at: next };
            self.timers.set(next, Timer::Worker(at.worker));
        }
        self.restore(now, at, "answered a ping", fx);
    }

    /// It lives: what it missed is forgotten, and it gets work again.
    fn restore(&mut self, now: Timestamp, at: WorkerRef, reason: &'static str, fx: &mut Effects) {
        let Process::Live { misses, .. } = &mut self.slot_mut(at.worker).process else { return };
        if std::mem::take(misses) > 0 {
            self.record(now, at.worker, WorkerState::Degraded, WorkerState::Ready, reason);
            self.fill(now, at.worker, fx);
        }
    }

    fn set_ping(&mut self, at: WorkerRef, next: Ping, due: Timestamp) {
        if let Process::Live { ping, .. } = &mut self.slot_mut(at.worker).process {
            *ping = next;
            self.timers.set(due, Timer::Worker(at.worker));
        }
    }
}
