//! The answers to each request about a session, by expiry policy and age of the session (R15, R16): the rows of the
//! table in `docs/semantics.md`.

#[cfg(test)]
mod tests {
    use herder_core::{
        Affinity, AffinitySettings, CallFailure, CallId, Core, Effect, Effects, Expiry, Generation, IfAbsent, Input,
        Lookup, OnExpired, RebindReason, Routing, SessionCall, SessionId, SessionState, Settings, Submission,
        Timestamp, WorkerId, WorkerRef, WorkerTypeSettings,
    };
    use std::time::Duration;

    const AT: WorkerRef = WorkerRef { id: WorkerId(1), generation: Generation(1) };
    const GRACE: Duration = Duration::from_secs(1);

    /// The age of the session `ann` at the time of the request.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Age {
        NotThere,
        Active,
        /// Its timeout has passed, and nothing has read it since.
        Due,
        /// It is marked, and the grace has not passed.
        Marked,
        /// The grace since the marking has passed, and no sweep has run.
        PastGrace,
    }

    const AGES: [Age; 5] = [Age::NotThere, Age::Active, Age::Due, Age::Marked, Age::PastGrace];

    struct Pool {
        core: Core,
        now: Timestamp,
        calls: u64,
        effects: Effects,
    }

    fn ann() -> SessionId {
        SessionId::new("ann").unwrap()
    }

    fn routed(expiry: Expiry, on_expired: OnExpired) -> WorkerTypeSettings {
        let session_affinity = Some(AffinitySettings { expiry, mode: Affinity::StrictQueue, on_expired });
        WorkerTypeSettings::Enhanced { session_affinity, worker_metrics: false, state_machine: false }
    }

    fn immediate() -> WorkerTypeSettings {
        routed(Expiry::Immediate, OnExpired::Rebind)
    }

    fn two_phase(on_expired: OnExpired) -> WorkerTypeSettings {
        routed(Expiry::TwoPhase { grace: GRACE }, on_expired)
    }

    impl Pool {
        /// Returns a pool whose session has this age. Time passes without a tick, so that only those sweeps run that
        /// are requested, or that a marking schedules.
        fn new(kind: WorkerTypeSettings, age: Age) -> Self {
            let mut settings = Settings::new(kind, 1);
            settings.sessions.cleanup_interval = Duration::MAX;
            let core = Core::new(settings, 1, Timestamp(1));
            let mut pool = Self { core, now: Timestamp(1), calls: 0, effects: Effects::new() };
            pool.step(Input::Tick);
            pool.step(Input::Ready { worker: AT, window: 1, control: false, in_order: None });
            if age != Age::NotThere {
                assert!(pool.call(IfAbsent::Create).is_ok());
            }
            if age != Age::NotThere && age != Age::Active {
                pool.now = pool.now + Duration::from_secs(301);
            }
            if age == Age::Marked || age == Age::PastGrace {
                pool.core.worker_of(pool.now, "ann", &mut pool.effects);
            }
            if age == Age::PastGrace {
                pool.now = pool.now + GRACE;
            }
            pool
        }

        fn step(&mut self, input: Input) {
            self.effects.clear();
            self.core.handle(self.now, input, &mut self.effects);
        }

        /// Runs one call of the session and returns how it was routed.
        fn call(&mut self, if_absent: IfAbsent) -> Result<Routing, CallFailure> {
            self.calls += 1;
            let session = Some(SessionCall { id: ann(), if_absent, affinity: None });
            let deadline = self.now + Duration::from_secs(30);
            self.step(Input::Submit(Submission {
                call: CallId(self.calls),
                session,
                deadline,
                idempotent: false,
                batch: None,
                fingerprint: None,
                stream: None,
            }));
            let answer = self.effects.iter().find_map(|effect| match effect {
                Effect::Send { worker, wire, .. } => Some(Ok((*worker, *wire))),
                Effect::Settle { failure, .. } => Some(Err(failure.clone())),
                _ => None,
            });
            let (worker, wire) = answer.unwrap()?;
            self.step(Input::Final { worker, wire, ok: true, ran: Duration::ZERO });
            let routing = self.effects.iter().find_map(|effect| match effect {
                Effect::Deliver { delivery, .. } => Some(delivery.routing),
                _ => None,
            });
            Ok(routing.unwrap())
        }
    }

    fn each<T>(kind: &WorkerTypeSettings, question: impl Fn(&mut Pool) -> T) -> [T; 5] {
        AGES.map(|age| question(&mut Pool::new(kind.clone(), age)))
    }

    const NEW: Result<Routing, CallFailure> = Ok(Routing::New);
    const HIT: Result<Routing, CallFailure> = Ok(Routing::Hit);
    const REBOUND: Result<Routing, CallFailure> = Ok(Routing::Rebound(RebindReason::Expired));
    const ANY: Result<Routing, CallFailure> = Ok(Routing::Unrouted);

    #[test]
    fn r16_calls_by_policy_and_age() {
        let calls = |kind: WorkerTypeSettings| each(&kind, |pool| pool.call(IfAbsent::Create));
        let expired = || Err(CallFailure::SessionExpired(ann()));
        assert_eq!(calls(WorkerTypeSettings::Basic), [ANY, ANY, ANY, ANY, ANY]);
        // With immediate expiry, the read of a due session has removed it, so that the next call finds none.
        assert_eq!(calls(immediate()), [NEW, HIT, REBOUND, NEW, NEW]);
        assert_eq!(calls(two_phase(OnExpired::Reject)), [NEW, HIT, expired(), expired(), NEW]);
        assert_eq!(calls(two_phase(OnExpired::Rebind)), [NEW, HIT, REBOUND, REBOUND, NEW]);
    }

    #[test]
    fn r16_calls_that_want_a_session() {
        let calls = |kind: WorkerTypeSettings| each(&kind, |pool| pool.call(IfAbsent::Reject));
        let (none, expired) = (|| Err(CallFailure::SessionNotFound(ann())), || Err(CallFailure::SessionExpired(ann())));
        assert_eq!(calls(WorkerTypeSettings::Basic), [none(), ANY, none(), none(), none()]);
        assert_eq!(calls(immediate()), [none(), HIT, none(), none(), none()]);
        for on_expired in [OnExpired::Reject, OnExpired::Rebind] {
            assert_eq!(calls(two_phase(on_expired)), [none(), HIT, expired(), expired(), none()]);
        }
    }

    #[test]
    fn r15_lookups_by_policy_and_age() {
        let lookups =
            |kind: WorkerTypeSettings| each(&kind, |pool| pool.core.worker_of(pool.now, "ann", &mut pool.effects));
        let (at, none, expired) = (Lookup::Bound(AT), Lookup::NotBound, Lookup::Expired);
        assert_eq!(lookups(immediate()), [none, at, none, none, none]);
        assert_eq!(lookups(two_phase(OnExpired::Reject)), [none, at, expired, expired, none]);
        assert_eq!(lookups(WorkerTypeSettings::Basic), [none; 5]);
    }

    /// Reading without marking returns what the next call would find.
    #[test]
    fn r15_states_by_policy_and_age() {
        let states = |kind: WorkerTypeSettings| {
            each(&kind, |pool| pool.core.session_info(pool.now, "ann").map(|info| info.state))
        };
        let (active, expired) = (Some(SessionState::Active), Some(SessionState::Expired));
        for kind in [WorkerTypeSettings::Basic, immediate()] {
            assert_eq!(states(kind), [None, active, None, None, None]);
        }
        assert_eq!(states(two_phase(OnExpired::Reject)), [None, active, expired, expired, None]);
    }

    #[test]
    fn r22_tracking_by_policy_and_age() {
        let tracks = |kind: WorkerTypeSettings| {
            each(&kind, |pool| {
                let tracked = pool.core.track_session(pool.now, ann(), &mut pool.effects);
                tracked.map(|info| (info.state, info.operations))
            })
        };
        let (fresh, known) = (Ok((SessionState::Active, 0)), Ok((SessionState::Active, 1)));
        let expired = || Err(CallFailure::SessionExpired(ann()));
        for kind in [WorkerTypeSettings::Basic, immediate()] {
            assert_eq!(tracks(kind), [fresh.clone(), known.clone(), fresh.clone(), fresh.clone(), fresh.clone()]);
        }
        assert_eq!(tracks(two_phase(OnExpired::Rebind)), [fresh.clone(), known, expired(), expired(), fresh]);
    }

    /// Only an active session is renewed, ended or unbound. Any session can be bound, which makes it active.
    #[test]
    fn r14_changes_by_policy_and_age() {
        let only_active = [false, true, false, false, false];
        for kind in [immediate(), two_phase(OnExpired::Reject), two_phase(OnExpired::Rebind)] {
            let renew = |pool: &mut Pool| pool.core.update_session_activity(pool.now, &ann(), &mut pool.effects);
            assert_eq!(each(&kind, renew), only_active);
            assert_eq!(each(&kind, |pool| pool.core.end_session(pool.now, "ann", &mut pool.effects)), only_active);
            assert_eq!(each(&kind, |pool| pool.core.unbind_session(pool.now, "ann", &mut pool.effects)), only_active);
            let bind = |pool: &mut Pool| pool.core.bind_session(pool.now, ann(), AT.id, &mut pool.effects).is_ok();
            assert_eq!(each(&kind, bind), [true; 5]);
        }
    }

    /// A sweep counts the sessions that it removes. With two-phase expiry, these are the ones marked before the grace,
    /// not those that it marks itself.
    #[test]
    fn r16_sweeps_by_policy_and_age() {
        let swept = |kind: WorkerTypeSettings| each(&kind, |pool| pool.core.sweep(pool.now, 256, &mut pool.effects).0);
        assert_eq!(swept(WorkerTypeSettings::Basic), [0, 0, 1, 1, 1]);
        assert_eq!(swept(immediate()), [0, 0, 1, 0, 0]);
        assert_eq!(swept(two_phase(OnExpired::Reject)), [0, 0, 0, 0, 1]);
    }
}
