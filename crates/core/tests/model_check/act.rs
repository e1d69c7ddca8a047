//! What may happen next, and how it does. Keeps to what a shell guarantees: a process says ready once, frames come between that
//! and its exit, and each process exits once.

use crate::{
    pool::{Kind, Pool},
    state::{Call, State},
};
use herder_core::{
    Affinity, CallId, Core, Effects, End, ExitStatus, IfAbsent, Input, Now, SessionCall, SessionId, Submission, WireId,
    WorkerId, WorkerRef,
};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Submit(Kind),
    Cancel(CallId),
    Ready(WorkerRef),
    /// The final frame of an attempt.
    Answer(WorkerRef, WireId),
    /// The process is gone, whether told to end or not.
    Die(WorkerRef),
    /// The next deadline, timeout, end of patience or start comes.
    Pass,
    /// Time enough for sessions to expire, in a pool where nothing else goes on.
    Idle,
    Sweep,
    Bind(&'static str, WorkerId),
    Unbind(&'static str),
    End(&'static str),
    Shutdown,
}

impl State {
    pub(crate) fn possible(&self, pool: &Pool, actions: &mut Vec<Action>) {
        self.by_callers(pool, actions);
        self.by_processes(actions);
        self.by_hand(pool, actions);
        if self.core.next_wakeup().is_some() {
            actions.push(Action::Pass);
        }
        if self.left.idles > 0 {
            actions.extend([Action::Idle, Action::Sweep]);
        }
        if self.left.shutdowns > 0 {
            actions.push(Action::Shutdown);
        }
    }

    fn by_callers(&self, pool: &Pool, actions: &mut Vec<Action>) {
        if self.left.calls > 0 {
            actions.extend(pool.kinds.iter().map(|kind| Action::Submit(*kind)));
        }
        if self.left.cancels > 0 {
            let waiting = (1..).map(CallId).zip(&self.calls).filter(|(_, call)| call.answers == 0);
            actions.extend(waiting.map(|(id, _)| Action::Cancel(id)));
        }
    }

    fn by_processes(&self, actions: &mut Vec<Action>) {
        for (&at, process) in &self.world.processes {
            if !process.ready {
                actions.push(Action::Ready(at));
            }
            if process.stopping || self.left.deaths > 0 {
                actions.push(Action::Die(at));
            }
            actions.extend(process.unfinished.keys().map(|wire| Action::Answer(at, *wire)));
        }
    }

    fn by_hand(&self, pool: &Pool, actions: &mut Vec<Action>) {
        let sessions = pool.sessions.iter().filter(|_| self.left.hands > 0);
        for &session in sessions {
            actions.extend([Action::Unbind(session), Action::End(session)]);
            let workers = (1..=pool.settings.pool_size).map(WorkerId);
            actions.extend(workers.map(|worker| Action::Bind(session, worker)));
        }
    }

    /// False if it changes nothing, or can not happen now.
    pub(crate) fn act(&mut self, pool: &Pool, action: Action) -> bool {
        match action {
            Action::Submit(kind) => self.submit(pool, kind),
            Action::Cancel(id) => {
                self.left.cancels -= 1;
                self.step(pool, Input::Cancel(id), None);
            }
            Action::Ready(at) => self.ready(pool, at),
            Action::Answer(at, wire) => {
                let call = self.world.answer(at, wire).map(|attempt| attempt.call);
                self.step(pool, Input::Final { at, wire, ok: true }, call);
            }
            Action::Die(at) => self.die(pool, at),
            Action::Pass => return self.pass(pool),
            Action::Idle => return self.idle(pool),
            Action::Sweep => {
                self.left.idles -= 1;
                self.ask(pool, |core, now, fx| core.sweep(now, usize::MAX, fx).0);
            }
            Action::Bind(session, worker) => {
                self.by_name(pool, |core, now, fx| core.bind_session(now, name(session), worker, fx).is_ok());
            }
            Action::Unbind(session) => self.by_name(pool, |core, now, fx| core.unbind_session(now, session, fx)),
            Action::End(session) => self.by_name(pool, |core, now, fx| core.end_session(now, session, fx)),
            Action::Shutdown => {
                self.left.shutdowns -= 1;
                self.step(pool, Input::Shutdown { until: self.now + pool.patience / 2 }, None);
            }
        }
        true
    }

    fn submit(&mut self, pool: &Pool, kind: Kind) {
        self.left.calls -= 1;
        let mode = pool.mode(kind);
        let strict = mode.is_some_and(|mode| mode != Affinity::Hint);
        self.calls.push(Call { session: kind.session, strict, epoch: None, sent: false, answers: 0 });
        let call = CallId(self.calls.len() as u64);
        let of = |session| SessionCall { id: name(session), if_absent: IfAbsent::Create, affinity: kind.affinity };
        let (session, deadline) = (kind.session.map(of), self.now + pool.patience);
        let submission = Submission { call, session, deadline, idempotent: kind.idempotent, fingerprint: None };
        let mut effects = Effects::new();
        self.core.handle(self.now, Input::Submit(submission), &mut effects);
        let info = kind.session.and_then(|session| self.core.session_info(self.now, session));
        self.call(call).epoch = info.and_then(|info| info.epoch).filter(|_| mode.is_some());
        self.carry_out(pool, &effects, None);
    }

    pub(crate) fn ready(&mut self, pool: &Pool, at: WorkerRef) {
        if let Some(process) = self.world.processes.get_mut(&at) {
            process.ready = true;
        }
        // No control channel: pings would go on for ever, and health is not what is checked here.
        let window = pool.settings.window();
        self.step(pool, Input::Ready { at, window, control: false }, None);
    }

    fn die(&mut self, pool: &Pool, at: WorkerRef) {
        let process = self.world.processes.remove(&at).unwrap_or_default();
        self.left.deaths -= u32::from(!process.stopping);
        if self.is_unheard(pool) {
            return;
        }
        let end = End { status: ExitStatus::Signal(9), doom: None };
        self.step(pool, Input::Exited { at, end, suspects: Vec::new() }, None);
    }

    fn idle(&mut self, pool: &Pool) -> bool {
        self.left.idles -= 1;
        let rests = self.is_at_rest(pool);
        self.now = self.now + pool.settings.sessions.timeout;
        self.step(pool, Input::Tick, None);
        rests
    }

    fn by_name(&mut self, pool: &Pool, question: impl FnOnce(&mut Core, Now, &mut Effects) -> bool) {
        self.left.hands -= 1;
        self.ask(pool, |core, now, fx| usize::from(question(core, now, fx)));
    }

    fn ask(&mut self, pool: &Pool, question: impl FnOnce(&mut Core, Now, &mut Effects) -> usize) {
        let mut effects = Effects::new();
        question(&mut self.core, self.now, &mut effects);
        self.carry_out(pool, &effects, None);
    }
}

fn name(session: &str) -> SessionId {
    SessionId::new(session).expect("a session id")
}

/// The unit of all times in the model: equal times make equal states.
pub(crate) fn beats(count: u32) -> Duration {
    Duration::from_millis(10) * count
}
