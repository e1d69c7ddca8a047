//! Choice and queues: which process takes which call, and where a call waits that none can take.

use super::{
    Core, Effect, Effects, Phase,
    call::{Place, Role},
};
use crate::{
    CallId, Epoch, Now, SessionEnd, WorkerId, WorkerRef,
    routing::{RebindReason, Routing},
    session::{Binding, Routes, RowKey, Sessions, Then, Unbound},
    timers::Timer,
    worker::{Occupant, Process, Running, Slot},
};

/// What looking for a process came to.
pub(super) enum Sought {
    Sent,
    /// None can take it now; it would wait here.
    Waits(Place),
}

impl Core {
    /// Sends the call if some process can take it now.
    pub(super) fn seek(&mut self, now: Now, id: CallId, fx: &mut Effects) -> Sought {
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

    fn seek_strict(&mut self, now: Now, id: CallId, row: RowKey, fx: &mut Effects) -> Sought {
        match self.binding(row) {
            Binding::To { at, .. } if self.can_take(at) => self.send(now, id, at, Routing::Hit, fx),
            Binding::To { at, .. } => Sought::Waits(Place::Bound(at)),
            Binding::None(_) => match self.home() {
                Some(at) => self.settle_and_send(now, id, row, at, fx),
                None => Sought::Waits(Place::Homeless),
            },
        }
    }

    fn seek_hint(&mut self, now: Now, id: CallId, row: RowKey, fx: &mut Effects) -> Sought {
        self.drop_void_binding(row, fx);
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
    fn settle_and_send(&mut self, now: Now, id: CallId, row: RowKey, at: WorkerRef, fx: &mut Effects) -> Sought {
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

    /// The epoch a session that is bound nowhere is bound under: that of the call whose turn it is, if there is one.
    pub(super) fn next_epoch_of(&self, row: RowKey) -> Epoch {
        match self.turn_of(row).and_then(|id| self.calls.get(&id)).map(|call| call.role) {
            Some(Role::Strict { epoch, .. }) => epoch,
            _ => self.epoch_of(row),
        }
    }

    /// A session was bound: its other calls, if more than `known` are pending, no longer wait for just any home.
    pub(super) fn rehome(&mut self, now: Now, row: RowKey, known: u32, fx: &mut Effects) {
        let pending = self.routes().and_then(|routes| routes.table.row(row)).map_or(0, |row| row.pending);
        if pending <= known {
            return;
        }
        let of_row = |id: &CallId| self.calls.get(id).is_some_and(|call| call.role.row() == Some(row));
        for id in self.homeless.iter().filter(of_row).collect::<Vec<CallId>>() {
            self.unqueue(id);
            self.seek_or_wait(now, id, fx);
        }
    }

    /// Sends a hint call elsewhere than to its session's worker, which keeps the binding. The stray is told when the session ends.
    fn send_astray(&mut self, now: Now, id: CallId, row: RowKey, at: WorkerRef, fx: &mut Effects) -> Sought {
        if let Sessions::Routed(routes) = &mut self.sessions
            && let Some(route) = routes.route_mut(row)
        {
            let strays = &mut route.line_mut().strays;
            if !strays.contains(&at) {
                strays.push(at);
            }
        }
        self.send(now, id, at, Routing::Rebound(RebindReason::Busy), fx)
    }

    fn send(&mut self, now: Now, id: CallId, at: WorkerRef, routing: Routing, fx: &mut Effects) -> Sought {
        let wire = self.fresh_wire();
        let epoch = self.wire_epoch(id);
        let Some(call) = self.calls.get_mut(&id) else { return Sought::Sent };
        call.place = Place::Sent { at, wire };
        call.attempts += 1;
        let session = call.role.row().map(|row| (row, call.role.is_strict()));
        let running = Running { wire, occupant: Occupant::Call(id), since: now, routing, session };
        self.slot_mut(at.worker).running.push(running);
        self.count_routing(routing);
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
    pub(super) fn wait(&mut self, now: Now, id: CallId, place: Place, fx: &mut Effects) {
        match place {
            Place::Anyone => self.anyone.insert(id),
            Place::Homeless => self.homeless.insert(id),
            Place::Bound(at) => self.slot_mut(at.worker).queue.insert(id),
            Place::Nowhere | Place::Line | Place::Sent { .. } => return,
        }
        self.queued += 1;
        self.set_place(id, place);
        if let Some(due) = self.calls.get(&id).map(|call| call.due()) {
            self.timers.set(due, Timer::Call(id));
        }
        self.want_overflow(now, fx);
    }

    /// Looks for a process again, for a call that may wait as long as its deadline allows.
    pub(super) fn seek_or_wait(&mut self, now: Now, id: CallId, fx: &mut Effects) {
        if let Sought::Waits(place) = self.seek(now, id, fx) {
            self.wait(now, id, place, fx);
        }
    }

    /// Gives a process what waits for it, the oldest first, until its window is full.
    pub(super) fn fill(&mut self, now: Now, worker: WorkerId, fx: &mut Effects) {
        while self.slot(worker).accepts(self.gated()) {
            let Some(id) = self.next_for(worker) else { return };
            self.unqueue(id);
            if self.wants_a_home(id, worker, fx) {
                self.wait(now, id, Place::Homeless, fx);
                continue;
            }
            self.send_to(now, id, self.slot(worker).at, fx);
        }
    }

    pub(super) fn fill_all(&mut self, now: Now, fx: &mut Effects) {
        for worker in 1..=self.slots.len() {
            self.fill(now, WorkerId(u32::try_from(worker).unwrap_or(0)), fx);
        }
    }

    fn next_for(&self, worker: WorkerId) -> Option<CallId> {
        let slot = self.slot(worker);
        let homeless = if slot.base || !self.base_lives() { self.homeless.first() } else { None };
        [slot.queue.first(), self.anyone.first(), homeless].into_iter().flatten().min()
    }

    /// Whether a hint call's session lost its worker meanwhile, so that this one of the overflow must not take it (R12).
    fn wants_a_home(&mut self, id: CallId, worker: WorkerId, fx: &mut Effects) -> bool {
        let Some(Role::Hint(row)) = self.calls.get(&id).map(|call| call.role) else { return false };
        self.drop_void_binding(row, fx);
        matches!(self.binding(row), Binding::None(_)) && !self.slot(worker).base && self.base_lives()
    }

    /// Sends a call that waited to the process that became free for it.
    fn send_to(&mut self, now: Now, id: CallId, at: WorkerRef, fx: &mut Effects) {
        let Some(role) = self.calls.get(&id).map(|call| call.role) else { return };
        let Some(row) = role.row().filter(|_| !matches!(role, Role::Tracked(_))) else {
            self.send(now, id, at, Routing::Unrouted, fx);
            return;
        };
        self.drop_void_binding(row, fx);
        match self.binding(row) {
            Binding::To { at: bound, .. } if bound == at => self.send(now, id, at, Routing::Hit, fx),
            Binding::To { .. } => self.send_astray(now, id, row, at, fx),
            Binding::None(_) => self.settle_and_send(now, id, row, at, fx),
        };
    }

    /// Takes a waiting call out of its queue.
    pub(super) fn unqueue(&mut self, id: CallId) {
        let Some((place, role)) = self.calls.get(&id).map(|call| (call.place, call.role)) else { return };
        let found = match place {
            Place::Anyone => self.anyone.remove(id),
            Place::Homeless => self.homeless.remove(id),
            Place::Bound(at) => self.slot_mut(at.worker).queue.remove(id),
            Place::Line => self.leave_line(id, role),
            Place::Nowhere | Place::Sent { .. } => false,
        };
        self.queued -= usize::from(found);
        self.set_place(id, Place::Nowhere);
    }

    fn leave_line(&mut self, id: CallId, role: Role) -> bool {
        let Some(route) = role.row().and_then(|row| self.route_mut(row)) else { return false };
        let line = route.line_mut();
        let before = line.waiting.len();
        line.waiting.retain(|&other| other != id);
        line.waiting.len() < before
    }

    /// The turn of a session is over: an epoch that ended is closed, and the next call goes.
    pub(super) fn pass_turn(&mut self, now: Now, row: RowKey, fx: &mut Effects) {
        let Some(route) = self.route_mut(row) else { return };
        route.turn = None;
        let next = route.next_waiting();
        self.close_ended_epoch(row, next, fx);
        let Some(next) = next else { return self.drop_if_forgotten(row) };
        self.unqueue(next);
        if let Some(call) = self.calls.get_mut(&next) {
            call.queue_until = now + self.settings.queue.timeout; // its wait for any worker begins now, if it has one
        }
        self.take_turn(row, next);
        self.seek_or_wait(now, next, fx);
    }

    /// Ends the state of the bound epoch if the next call, or nobody, belongs to it.
    pub(super) fn close_ended_epoch(&mut self, row: RowKey, next: Option<CallId>, fx: &mut Effects) {
        let Some((admitting, then)) = self.route(row).map(|route| (route.epoch, route.then)) else { return };
        let wanted = next.and_then(|id| self.calls.get(&id)).map_or(admitting, |call| match call.role {
            Role::Strict { epoch, .. } => epoch,
            _ => admitting,
        });
        if let Binding::To { epoch, .. } = self.binding(row) {
            if wanted <= epoch {
                return;
            }
            let reason = if matches!(then, Then::Bind(_)) { SessionEnd::Moved } else { SessionEnd::Ended };
            self.end_state(row, reason, Unbound::New, fx);
        }
        if wanted == admitting
            && let Then::Bind(at) = then
        {
            self.bind_if_alive(row, at, admitting);
        }
    }

    pub(super) fn bind_if_alive(&mut self, row: RowKey, at: WorkerRef, epoch: Epoch) {
        let alive = self.is_alive(at);
        if let Sessions::Routed(routes) = &mut self.sessions {
            if let Some(route) = routes.route_mut(row) {
                route.then = Then::Stay;
            }
            if alive {
                routes.bind(row, at, epoch);
            }
        }
    }

    fn drop_if_forgotten(&mut self, row: RowKey) {
        let Sessions::Routed(routes) = &mut self.sessions else { return };
        let over = |row: &crate::session::Row<crate::session::Route>| {
            row.pending == 0 && row.route.then == Then::Forget && matches!(row.route.binding, Binding::None(_))
        };
        if routes.table.row(row).is_some_and(over) {
            routes.table.remove(row);
        }
    }

    /// A call of this session is over: its place in the session goes to the next.
    pub(super) fn release(&mut self, now: Now, row: RowKey, turn: bool, ran: bool, fx: &mut Effects) {
        match &mut self.sessions {
            Sessions::Tracked(table) => {
                table.end_call(row, now, ran);
                if table.row(row).is_some_and(|row| row.ended && row.pending == 0) {
                    table.remove(row);
                }
            }
            Sessions::Routed(routes) => {
                routes.table.end_call(row, now, ran);
                if turn {
                    self.pass_turn(now, row, fx);
                } else {
                    self.drop_if_forgotten(row);
                }
            }
        }
    }

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
