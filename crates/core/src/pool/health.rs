//! Liveness: pings on the control channel, off the calls' path, and what silence means (R26). A process that answers is alive. One
//! that computes for its calls and does not answer is bound by the GIL: its calls' own deadlines end it. Everything else is a miss.

use super::{Core, Effect, Effects, Note, StopHow};
use crate::{
    Now, Vitals, WorkerRef,
    failure::Doom,
    timers::Timer,
    worker::{Ping, Process, WorkerState},
};

impl Core {
    /// Sends the ping that is due, or looks into the silence that followed one.
    pub(super) fn ping_due(&mut self, now: Now, at: WorkerRef, fx: &mut Effects) {
        let Process::Live { ping, .. } = self.slot(at.worker).process else { return };
        match ping {
            Ping::Due { at: due } if due <= now => self.ping(now, at, fx),
            Ping::Sent { nonce, until } if until <= now => self.examine(now, at, nonce, fx),
            Ping::Examined { nonce, until } if until <= now => self.silent(now, at, nonce, Vitals::Unknown, fx),
            Ping::Off | Ping::Due { .. } | Ping::Sent { .. } | Ping::Examined { .. } => {}
        }
    }

    fn ping(&mut self, now: Now, at: WorkerRef, fx: &mut Effects) {
        self.next_nonce += 1;
        let (nonce, until) = (self.next_nonce, now + self.settings.health.timeout);
        self.set_ping(at, Ping::Sent { nonce, until }, until);
        fx.push(Effect::Ping { at, nonce });
    }

    fn examine(&mut self, now: Now, at: WorkerRef, nonce: u64, fx: &mut Effects) {
        let until = now + self.settings.health.timeout;
        self.set_ping(at, Ping::Examined { nonce, until }, until);
        fx.push(Effect::Examine { at, nonce });
    }

    /// What a silent process did. Of a process that answered meanwhile, or is being ended, nobody wants to know.
    pub(super) fn examined(&mut self, now: Now, at: WorkerRef, nonce: u64, vitals: Vitals, fx: &mut Effects) {
        let asked = |ping: Ping| matches!(ping, Ping::Examined { nonce: asked, .. } if asked == nonce);
        let Some(slot) = self.current(at) else { return };
        if matches!(slot.process, Process::Live { ping, .. } if asked(ping)) {
            self.silent(now, at, nonce, vitals, fx);
        }
    }

    fn silent(&mut self, now: Now, at: WorkerRef, nonce: u64, vitals: Vitals, fx: &mut Effects) {
        let slot = self.slot_mut(at.worker);
        let busy = !slot.running.is_empty();
        let Process::Live { silent, misses, .. } = &mut slot.process else { return };
        let new = silent.replace(vitals) != Some(vitals) || *misses > 0;
        if vitals == Vitals::Computing && busy {
            if new {
                fx.push(Effect::Note(Note::Bound(at)));
            }
            return self.bound(now, at, nonce, fx);
        }
        self.ping_missed(now, at, vitals, fx);
    }

    /// No new ping: the one that is out is answered when the GIL is free, and more of them would only pile up.
    fn bound(&mut self, now: Now, at: WorkerRef, nonce: u64, fx: &mut Effects) {
        let until = now + self.settings.health.timeout;
        self.set_ping(at, Ping::Sent { nonce, until }, until);
        self.restore(now, at, "busy with a call", fx);
    }

    fn ping_missed(&mut self, now: Now, at: WorkerRef, vitals: Vitals, fx: &mut Effects) {
        let (gated, failures) = (self.gated(), self.settings.health.failures);
        let slot = self.slot_mut(at.worker);
        let before = slot.state(gated);
        let Process::Live { misses, .. } = &mut slot.process else { return };
        *misses += 1;
        let misses = *misses;
        fx.push(Effect::Note(Note::PingMissed(at, misses, vitals)));
        if misses == 1 {
            self.record(now, at.worker, before, WorkerState::Degraded, "missed a ping");
        }
        if misses >= failures {
            let doom = if vitals == Vitals::Stopped { Doom::Stopped } else { Doom::Unresponsive };
            return self.doom(now, at, doom, StopHow::Ladder, fx);
        }
        self.ping(now, at, fx);
    }

    /// Any pong proves life, a late one too.
    pub(super) fn pong(&mut self, now: Now, at: WorkerRef, nonce: u64, fx: &mut Effects) {
        let next = now + self.settings.health.interval;
        let Some(slot) = self.current(at) else { return };
        let Process::Live { ping, silent, .. } = &mut slot.process else { return };
        *silent = None;
        if matches!(*ping, Ping::Sent { nonce: out, .. } | Ping::Examined { nonce: out, .. } if out == nonce) {
            *ping = Ping::Due { at: next };
            self.timers.set(next, Timer::Worker(at.worker));
        }
        self.restore(now, at, "answered a ping", fx);
    }

    /// It lives: what it missed is forgotten, and it gets work again.
    fn restore(&mut self, now: Now, at: WorkerRef, reason: &'static str, fx: &mut Effects) {
        let Process::Live { misses, .. } = &mut self.slot_mut(at.worker).process else { return };
        if std::mem::take(misses) > 0 {
            self.record(now, at.worker, WorkerState::Degraded, WorkerState::Ready, reason);
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
