//! The flag `state_machine`: with it, a worker that missed a ping is degraded and gets no calls; without it, it is not
//! and does (R9, R24).

#[cfg(test)]
mod tests {
    use herder_core::{
        CallId, Core, Effect, Effects, Generation, Health, Input, KillReason, ProcessActivity, Settings, StopMethod,
        Submission, Timestamp, WorkerId, WorkerRef, WorkerState, WorkerStatus, WorkerTypeSettings,
    };
    use std::time::Duration;

    const AT: WorkerRef = WorkerRef { id: WorkerId(1), generation: Generation(1) };

    /// A pool with one worker that never answers a ping.
    struct UnresponsiveWorker {
        core: Core,
        now: Timestamp,
    }

    impl UnresponsiveWorker {
        fn new(kind: WorkerTypeSettings) -> Self {
            let settings = Settings { overflow: 0, ..Settings::new(kind, 1) };
            let mut pool = Self { core: Core::new(settings, 1, Timestamp(0)), now: Timestamp(0) };
            pool.step(Input::Tick);
            pool.step(Input::Ready { worker: AT, window: 1, control: true, in_order: None });
            pool
        }

        fn step(&mut self, input: Input) -> Effects {
            let mut effects = Effects::new();
            self.core.handle(self.now, input, &mut effects);
            effects
        }

        fn wait(&mut self, seconds: u64) -> Effects {
            let end = self.now + Duration::from_secs(seconds);
            let mut all = Effects::new();
            while let Some(next) = self.core.next_wakeup().filter(|next| *next <= end) {
                self.now = next;
                for effect in self.step(Input::Tick) {
                    if let Effect::Examine { worker, nonce } = effect {
                        all.extend(self.step(Input::Activity { worker, nonce, activity: ProcessActivity::Idle }));
                    }
                    all.push(effect);
                }
            }
            self.now = end;
            all
        }

        fn worker(&self) -> WorkerStatus {
            self.core.status(self.now).workers.remove(0)
        }
    }

    fn enhanced(state_machine: bool) -> WorkerTypeSettings {
        let WorkerTypeSettings::Enhanced { session_affinity, worker_metrics, .. } = WorkerTypeSettings::enhanced()
        else {
            unreachable!()
        };
        WorkerTypeSettings::Enhanced { session_affinity, worker_metrics, state_machine }
    }

    #[test]
    fn r9_health_gates_dispatch_only_with_state_machine() {
        for (kind, health_gated) in
            [(enhanced(true), true), (enhanced(false), false), (WorkerTypeSettings::Basic, false)]
        {
            let mut pool = UnresponsiveWorker::new(kind.clone());
            pool.wait(36);
            let worker = pool.worker();
            let expected = if health_gated { WorkerState::Degraded } else { WorkerState::Ready };
            let health = (worker.state, worker.health, worker.unresponsive);
            assert_eq!(health, (expected, Health::Unhealthy, Some(ProcessActivity::Idle)), "{kind:?}");
            let missed = worker.history.map(|history| history.iter().any(|change| change.reason == "missed a ping"));
            assert_eq!(missed, health_gated.then_some(true), "{kind:?}");
            let deadline = pool.now + Duration::from_secs(30);
            let call = Submission {
                call: CallId(1),
                session: None,
                deadline,
                idempotent: false,
                batch: None,
                fingerprint: None,
                stream: None,
            };
            let sent = pool.step(Input::Submit(call)).iter().any(|effect| matches!(effect, Effect::Send { .. }));
            assert_eq!(sent, !health_gated, "{kind:?}");
            let end = Effect::Stop { worker: AT, method: StopMethod::Graceful, kill_reason: KillReason::Unresponsive };
            assert!(pool.wait(20).contains(&end), "all the same, it is ended: {kind:?}");
        }
    }
}
