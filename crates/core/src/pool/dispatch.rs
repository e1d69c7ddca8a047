//! Choice and queues: which process takes which call, and where a call waits that none can take.

use super::{
    Core, Effect, Effects,
    call::{Place, Role},
    index,
};
use crate::{
    CallId, Epoch, Timestamp, WorkerId, WorkerRef,
    queue::Turn,
    routing::{RebindReason, Routing},
    session::{Binding, Routes, RowKey, SessionEventKind, Sessions, Unbound},
    timers::Timer,
    worker::{Occupant, Running},
};

/// What looking for a process came to.
pub(super) enum Sought {
    Sent,
    /// None can take it now; it would wait here.
    Waits(Place),
}

impl Core {
    /// Sends the call if some process can take it now.
    pub(super) fn seek(&mut self, now: Timestamp, id: CallId, fx: &mut Effects) -> Sought {
        let Some(role) = self.calls.get(&id).map(|call| call.role) else { return Sought::Sent };
        match role {
            Role::Anyone | Role::Tracked(_) => match self.least_loaded() {
                Some(at) => self.send(now, id, at, Routing::Unrouted, fx),
                None => Sought::Waits(Place::Anyone),
            },
            Role::Hint(row) => self.seek_hint(now, id, row, fx),
            Role::Strict { row, .. } => self.seek_strict(now, id, row, fx),
        }
    }

    fn seek_strict(&mut self, now: Timestamp, id: CallId, row: RowKey, fx: &mut Effects) -> Sought {
        match self.binding(row) {
            Binding::To { at, .. } if self.can_take(at) => self.send(now, id, at, Routing::Hit, fx),
            Binding::To { at, .. } => Sought::Waits(Place::Bound(at)),
            Binding::None(_) => match self.home() {
                Some(at) => self.settle_and_send(now, id, row, at, fx),
                None => Sought::Waits(Place::Homeless),
            },
        }
    }

    fn seek_hint(&mut self, now: Timestamp, id: CallId, row: RowKey, fx: &mut Effects) -> Sought {
        self.drop_void_binding(now, row, fx);
        match self.binding(row) {
            Binding::To { at, .. } if self.can_take(at) => self.send(now, id, at, Routing::Hit, fx),
            Binding::To { .. } => match self.least_loaded() {
                Some(at) => self.send_astray(now, id, row, at, fx),
                None => Sought::Waits(Place::Anyone),
            },
            Binding::None(_) => match self.home() {
                Some(at) => self.settle_and_send(now, id, row, at, fx),
                None => Sought::Waits(Place::Homeless),
            },
        }
    }

    /// Binds the session to the process and sends its call there.
    fn settle_and_send(&mut self, now: Timestamp, id: CallId, row: RowKey, at: WorkerRef, fx: &mut Effects) -> Sought {
        let routing = match self.binding(row) {
            Binding::None(Unbound::WorkerLost) => Routing::Rebound(RebindReason::WorkerLost),
            Binding::None(Unbound::Expired) => Routing::Rebound(RebindReason::Expired),
            _ => Routing::New,
        };
        let epoch = self.next_epoch_of(row);
        if let Sessions::Routed(routes) = &mut self.sessions {
            routes.bind(row, at, epoch);
        }
        let sought = self.send(now, id, at, routing, fx);
        self.rehome(now, row, 1, fx);
        sought
    }

    /// Sends a hint call elsewhere than to its session's worker, which keeps the binding. The stray is told when the session ends.
    fn send_astray(&mut self, now: Timestamp, id: CallId, row: RowKey, at: WorkerRef, fx: &mut Effects) -> Sought {
        if let Sessions::Routed(routes) = &mut self.sessions
            && let Some(route) = routes.route_mut(row)
        {
            let (strays, slots) = (&mut route.line_mut().strays, &self.slots);
            if !strays.contains(&at) {
                strays.retain(|stray| slots[index(stray.worker)].holds(*stray)); // the dead are told nothing (I6)
                strays.push(at);
            }
        }
        self.send(now, id, at, Routing::Rebound(RebindReason::Busy), fx)
    }

    fn send(&mut self, now: Timestamp, id: CallId, at: WorkerRef, routing: Routing, fx: &mut Effects) -> Sought {
        let wire = self.fresh_wire();
        let epoch = self.wire_epoch(id);
        let Some(call) = self.calls.get_mut(&id) else { return Sought::Sent };
        call.place = Place::Sent { at, wire };
        call.attempts += 1;
        let waited = now - call.admitted;
        let session = call.role.row().map(|row| (row, call.role.is_strict()));
        let running = Running { wire, occupant: Occupant::Call(id), since: now, routing, session };
        self.slot_mut(at.worker).running.push(running);
        if let Some((row, _)) = session {
            if let Sessions::Routed(routes) = &mut self.sessions {
                routes.sent(row, at);
            }
            self.count_routing(routing);
            self.note_wait(now, row, SessionEventKind::Sent(routing), Some(at), waited);
        }
        fx.push(Effect::Send { at, call: id, wire, epoch });
        Sought::Sent
    }

    fn wire_epoch(&self, id: CallId) -> Option<Epoch> {
        match self.calls.get(&id)?.role {
            Role::Anyone | Role::Tracked(_) => None,
            Role::Strict { epoch, .. } => Some(epoch),
            Role::Hint(row) => match self.binding(row) {
                Binding::To { epoch, .. } => Some(epoch),
                Binding::None(_) => Some(self.epoch_of(row)),
            },
        }
    }

    fn count_routing(&mut self, routing: Routing) {
        let Sessions::Routed(routes) = &mut self.sessions else { return };
        match routing {
            Routing::Unrouted => {}
            Routing::Hit => routes.counters.hits += 1,
            Routing::New => routes.counters.misses += 1,
            Routing::Rebound(_) => routes.counters.rebinds += 1,
        }
    }

    /// Puts a call where it waits.
    pub(super) fn wait(&mut self, now: Timestamp, id: CallId, place: Place, fx: &mut Effects) {
        let turn = self.join(id);
        match place {
            Place::Anyone => self.anyone.insert(turn, id),
            Place::Homeless => self.homeless.insert(turn, id),
            Place::Bound(at) => self.slot_mut(at.worker).queue.insert(turn, id),
            Place::Nowhere | Place::Line | Place::Backoff { .. } | Place::Sent { .. } => return,
        }
        self.queued += 1;
        self.set_place(id, place);
        if let Some(due) = self.calls.get(&id).map(|call| call.due()) {
            self.timers.set(due, Timer::Call(id));
            self.shrink_timers();
        }
        self.want_overflow(now, fx);
    }

    /// A call's turn among those that wait. One that waited before keeps it.
    fn join(&mut self, id: CallId) -> Turn {
        let Some(call) = self.calls.get_mut(&id) else { return Turn::default() };
        let session = call.role.row();
        if call.has_waited {
            self.fairness.join_again(session, call.turn);
        } else {
            call.turn = self.fairness.join(session, call.turn);
            call.has_waited = true;
        }
        call.turn
    }

    /// Looks for a process again, for a call that may wait as long as its deadline allows.
    pub(super) fn seek_or_wait(&mut self, now: Timestamp, id: CallId, fx: &mut Effects) {
        if let Sought::Waits(place) = self.seek(now, id, fx) {
            self.wait(now, id, place, fx);
        }
    }

    /// Gives a process what waits for it, in the order of their turns, until its window is full.
    pub(super) fn fill(&mut self, now: Timestamp, worker: WorkerId, fx: &mut Effects) {
        while self.slot(worker).accepts(self.gated()) {
            let Some(id) = self.next_for(worker) else { return };
            if self.ends_as_poison(now, id, fx) {
                continue;
            }
            self.fairness.served();
            self.unqueue(id);
            if self.wants_a_home(now, id, worker, fx) {
                self.wait(now, id, Place::Homeless, fx);
                continue;
            }
            self.send_to(now, id, self.slot(worker).at, fx);
        }
    }

    pub(super) fn fill_all(&mut self, now: Timestamp, fx: &mut Effects) {
        for worker in 1..=self.slots.len() {
            self.fill(now, WorkerId(u32::try_from(worker).unwrap_or(0)), fx);
        }
    }

    pub(super) fn next_for(&self, worker: WorkerId) -> Option<CallId> {
        let slot = self.slot(worker);
        let homeless = if slot.base || !self.base_lives() { self.homeless.first() } else { None };
        [slot.queue.first(), self.anyone.first(), homeless].into_iter().flatten().min().map(|(_, call)| call)
    }

    /// Whether a hint call's session lost its worker meanwhile, so that this one of the overflow must not take it (R12).
    fn wants_a_home(&mut self, now: Timestamp, id: CallId, worker: WorkerId, fx: &mut Effects) -> bool {
        let Some(Role::Hint(row)) = self.calls.get(&id).map(|call| call.role) else { return false };
        self.drop_void_binding(now, row, fx);
        matches!(self.binding(row), Binding::None(_)) && !self.slot(worker).base && self.base_lives()
    }

    /// Sends a call that waited to the process that became free for it.
    fn send_to(&mut self, now: Timestamp, id: CallId, at: WorkerRef, fx: &mut Effects) {
        let Some(role) = self.calls.get(&id).map(|call| call.role) else { return };
        let Some(row) = role.row().filter(|_| !matches!(role, Role::Tracked(_))) else {
            self.send(now, id, at, Routing::Unrouted, fx);
            return;
        };
        self.drop_void_binding(now, row, fx);
        match self.binding(row) {
            Binding::To { at: bound, .. } if bound == at => self.send(now, id, at, Routing::Hit, fx),
            Binding::To { .. } => self.send_astray(now, id, row, at, fx),
            Binding::None(_) => self.settle_and_send(now, id, row, at, fx),
        };
    }

    /// The process with the fewest unfinished calls that can take one; base workers first. O(slots).
    fn least_loaded(&self) -> Option<WorkerRef> {
        let gated = self.gated();
        let free = self.slots.iter().filter(|slot| slot.accepts(gated));
        free.min_by_key(|slot| (slot.running.len(), !slot.base)).map(|slot| slot.at)
    }

    /// The process for a new session: a base worker, as long as one lives, with the fewest sessions, then the fewest calls.
    fn home(&self) -> Option<WorkerRef> {
        let Sessions::Routed(routes) = &self.sessions else { return None };
        let (gated, base_only) = (self.gated(), self.base_lives());
        let free = self.slots.iter().filter(|slot| slot.accepts(gated) && (slot.base || !base_only));
        free.min_by_key(|slot| (routes.bound_to(slot.at), slot.running.len())).map(|slot| slot.at)
    }

    pub(super) fn base_lives(&self) -> bool {
        self.slots[..self.settings.pool_size as usize].iter().any(|slot| slot.is_live())
    }

    fn can_take(&self, at: WorkerRef) -> bool {
        let slot = self.slot(at.worker);
        slot.at == at && slot.accepts(self.gated())
    }

    pub(super) fn routes(&self) -> Option<&Routes> {
        match &self.sessions {
            Sessions::Routed(routes) => Some(routes),
            Sessions::Tracked(_) => None,
        }
    }

    pub(super) fn set_place(&mut self, id: CallId, place: Place) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.place = place;
        }
    }
}
