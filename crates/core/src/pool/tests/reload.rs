//! Reloads: the replacement of all workers.

use super::*;
use crate::{ReloadOutcome, Reloaded};

const SECOND: Duration = Duration::from_secs(1);

fn ended(effects: &Effects) -> Vec<ReloadOutcome> {
    let outcome = |effect: &Effect| match effect {
        Effect::ReloadEnded(outcome) => Some(*outcome),
        _ => None,
    };
    effects.iter().filter_map(outcome).collect()
}

fn completed(workers: u32, sessions: u32) -> Vec<ReloadOutcome> {
    vec![ReloadOutcome::Completed(Reloaded { workers, sessions })]
}

fn stop(worker: WorkerRef, method: StopMethod) -> Effect {
    Effect::Stop { worker, method, kill_reason: KillReason::Reload }
}

impl Harness {
    fn reload(&mut self) -> Effects {
        self.step(Input::Reload)
    }

    fn ready(&mut self, worker: u32, generation: u32) -> Effects {
        self.step(Input::Ready { worker: process(worker, generation), window: 1, control: true, in_order: None })
    }

    /// Returns the processes of the base workers.
    fn base_workers(&self) -> Vec<String> {
        let workers = self.core.workers(self.now).into_iter().filter(|worker| !worker.overflow);
        workers.map(|worker| format!("{}.{} {:?}", worker.id, worker.generation, worker.state)).collect()
    }
}

fn basic(size: u32, overflow: u32) -> Harness {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, size);
    settings.overflow = overflow;
    Harness::with(settings)
}

/// R31: the old worker serves until its replacement is ready, then finishes the call that it runs.
#[test]
fn r31_old_worker_goes_only_when_its_replacement_is_ready() {
    let mut harness = basic(1, 0);
    assert!(harness.reload().contains(&Effect::Start(process(2, 1))));
    let (running, effects) = harness.call(None);
    let old = sent(&effects, running).unwrap();
    assert_eq!(old.0, process(1, 1), "until then the old worker runs the calls");
    let effects = harness.ready(2, 1);
    assert!(effects.contains(&stop(process(1, 1), StopMethod::AfterCalls)), "{effects:?}");
    assert_eq!(ended(&effects), completed(1, 0));
    let (next, effects) = harness.call(None);
    assert_eq!(sent(&effects, next).map(|sent| sent.0), Some(process(2, 1)), "from then on the new one");
    let effects = harness.finish(old);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Deliver { call, .. } if *call == running)));
    let effects = harness.exit(process(1, 1), None, Vec::new());
    let [Effect::Log(LogEvent::WorkerStopped(stopped, _))] = effects[..] else { panic!("no restart: {effects:?}") };
    assert_eq!(stopped, process(1, 1));
    assert_eq!((harness.base_workers(), harness.core.restarts.counted()), (vec!["w2.1 Busy".to_owned()], 0));
}

/// R31, R35: a call that hangs in a worker that stops after its calls is interrupted and killed as in any other.
#[test]
fn r31_abandoned_call_does_not_keep_the_old_worker() {
    let mut harness = basic(1, 0);
    harness.reload();
    let (hangs, effects) = harness.call(None);
    let (old, wire) = sent(&effects, hangs).unwrap();
    harness.ready(2, 1);
    harness.step(Input::Cancel(hangs));
    let effects = harness.wait(SECOND);
    assert!(effects.contains(&Effect::Cancel { worker: old, wire, interrupt: true }), "{effects:?}");
    assert!(!harness.wait(3 * SECOND).contains(&stop(old, StopMethod::Kill)));
    assert!(harness.wait(SECOND).contains(&stop(old, StopMethod::Kill)), "`cancel.kill` has passed");
    assert!(!harness.wait(20 * SECOND).contains(&stop(old, StopMethod::Kill)), "once");
}

/// R31: the next reload uses the slot that the first one left, under the next generation.
#[test]
fn r31_slots_alternate_and_generations_rise() {
    let mut harness = basic(1, 1);
    for (vacant, generation, old) in [(3, 1, process(1, 1)), (1, 2, process(3, 1)), (3, 2, process(1, 2))] {
        harness.reload();
        assert_eq!(ended(&harness.ready(vacant, generation)), completed(1, 0));
        harness.exit(old, None, Vec::new());
        assert_eq!(harness.base_workers(), [format!("w{vacant}.{generation} Ready")]);
    }
}

/// R31: one worker is away at a time, also with a full pool.
#[test]
fn r31_workers_are_replaced_one_after_the_other() {
    let mut harness = basic(2, 0);
    harness.reload();
    let effects = harness.ready(3, 1);
    assert_eq!(effects, [stop(process(1, 1), StopMethod::AfterCalls)], "its slot is needed for the next one");
    let effects = harness.exit(process(1, 1), None, Vec::new());
    assert_eq!(effects[1..], [Effect::Start(process(1, 2))], "{effects:?}");
    assert_eq!(harness.core.ready_workers(), 2);
    let effects = harness.ready(1, 2);
    assert!(effects.contains(&stop(process(2, 1), StopMethod::AfterCalls)));
    assert_eq!(ended(&effects), completed(2, 0));
    harness.exit(process(2, 1), None, Vec::new());
    assert_eq!(harness.base_workers(), ["w1.2 Ready", "w3.1 Ready"]);
    let number = |worker| harness.core.slot_number(WorkerId(worker));
    assert_eq!((number(3), number(1)), (0, 1), "w3 replaced w1, and w1 replaced w2");
}

/// R31, R27: a replacement that cannot start leaves everything as it is, and counts for nothing.
#[test]
fn r31_failed_replacement_keeps_the_old_worker() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.restart.max) = (0, 1);
    let mut harness = Harness::with(settings);
    for generation in 1..5 {
        assert!(harness.reload().contains(&Effect::Start(process(2, generation))), "at once");
        let effects = harness.exit_by_signal(process(2, generation));
        let exit = ProcessExit { status: ExitStatus::Signal(9), kill_reason: None };
        let (worker, replaced) = (process(2, generation), Reloaded::default());
        assert_eq!(ended(&effects), [ReloadOutcome::StartFailed { worker, exit, replaced }]);
        assert!(effects.contains(&Effect::Log(LogEvent::StartFailed(worker, exit))));
    }
    assert_eq!(
        (harness.core.pool_state(), harness.base_workers()),
        (PoolState::Running, vec!["w1.1 Ready".to_owned()])
    );
    harness.reload();
    assert_eq!(ended(&harness.ready(2, 5)), completed(1, 0));
}

/// R31: a replacement that is not ready read what is old by now. It is started again.
#[test]
fn r31_next_reload_starts_an_unready_replacement_again() {
    let mut harness = basic(1, 0);
    harness.reload();
    let effects = harness.reload();
    assert_eq!(effects, [Effect::ReloadEnded(ReloadOutcome::Superseded), stop(process(2, 1), StopMethod::Kill)]);
    let effects = harness.exit(process(2, 1), None, Vec::new());
    assert_eq!(effects, [Effect::Start(process(2, 2))]);
    assert_eq!(ended(&harness.ready(2, 2)), completed(1, 0));
}

/// R31, R20: the sessions of the old worker are lost and counted. A call of one that runs still gets its result.
#[test]
fn r31_sessions_of_the_old_worker_are_lost() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    harness.run_call("idle");
    let (running, effects) = harness.call(Some("busy"));
    let old = sent(&effects, running).unwrap();
    let (behind, _) = harness.call(Some("busy"));
    harness.reload();
    let vacant = harness.core.workers.vacant().unwrap().0;
    assert_eq!(ended(&harness.ready(vacant, 1)), completed(1, 2));
    let (lost, effects) = harness.call(Some("idle"));
    assert!(matches!(settled(&effects, lost), Some(CallFailure::SessionWorkerLost { .. })), "{effects:?}");
    assert_eq!(harness.run_call("idle"), Routing::Rebound(RebindReason::WorkerLost), "reported once");
    let effects = harness.finish(old);
    assert!(routing(&effects, running).is_some(), "{effects:?}");
    let effects = harness.exit(process(1, 1), None, Vec::new());
    let Some(CallFailure::SessionWorkerLost { loss, .. }) = settled(&effects, behind) else { panic!("{effects:?}") };
    assert_eq!(loss.exit.and_then(|exit| exit.kill_reason), Some(KillReason::Reload));
    assert_eq!(harness.lookup("idle"), Lookup::Bound(process(vacant, 1)));
}

/// R31: what is not ready is started again at once, without the wait after failed starts. Nothing else could be kept.
#[test]
fn r31_reload_of_a_pool_without_ready_workers_restarts_them() {
    let mut harness = basic(1, 0);
    harness.exit_by_signal(process(1, 1));
    harness.wait(SECOND);
    harness.exit_by_signal(process(1, 2));
    assert!(harness.reload().contains(&Effect::Start(process(1, 3))), "scheduled for later");
    let effects = harness.reload();
    assert!(effects.contains(&stop(process(1, 3), StopMethod::Kill)), "starting: {effects:?}");
    assert!(harness.exit(process(1, 3), None, Vec::new()).contains(&Effect::Start(process(1, 4))));
    assert_eq!(ended(&harness.ready(1, 4)), completed(0, 0));
    assert_eq!(harness.base_workers(), ["w1.4 Ready"]);
}

/// R31, R28: a failed pool tries again at once.
#[test]
fn r31_reload_starts_the_probe_of_a_failed_pool() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.restart.max) = (0, 1);
    let mut harness = Harness::with(settings);
    harness.exit_by_signal(process(1, 1));
    harness.wait(SECOND);
    harness.exit_by_signal(process(1, 2));
    assert_eq!(harness.core.pool_state(), PoolState::Failed);
    assert!(harness.reload().contains(&Effect::Start(process(1, 3))));
    let effects = harness.exit_by_signal(process(1, 3));
    assert!(matches!(ended(&effects)[..], [ReloadOutcome::StartFailed { .. }]), "{effects:?}");
    harness.reload();
    let effects = harness.ready(1, 4);
    assert!(effects.contains(&Effect::Log(LogEvent::PoolRecovered)), "{effects:?}");
    assert_eq!(ended(&effects), completed(0, 0));
}

/// R31: a worker that dies during the reload is replaced once, by whichever process is ready first.
#[test]
fn r31_worker_that_dies_during_the_reload_is_replaced_once() {
    let mut harness = basic(1, 0);
    harness.reload();
    harness.exit_by_signal(process(1, 1));
    assert_eq!(ended(&harness.ready(2, 1)), completed(1, 0), "its restart, which waits, is cancelled");
    harness.wait(SECOND);
    assert_eq!(harness.base_workers(), ["w2.1 Ready"]);

    harness.reload();
    harness.exit_by_signal(process(2, 1));
    harness.wait(SECOND);
    harness.ready(2, 2);
    let effects = harness.ready(1, 2);
    assert!(effects.contains(&stop(process(1, 2), StopMethod::Graceful)), "the slot has its own: {effects:?}");
    assert_eq!(ended(&effects), completed(0, 0));
    harness.exit(process(1, 2), None, Vec::new());
    assert_eq!(harness.base_workers(), ["w2.2 Ready"]);
}

/// R31: overflow workers are stopped once the new code is known to start.
#[test]
fn r31_overflow_workers_are_stopped_at_the_end() {
    let mut harness = basic(1, 1);
    let (first, effects) = harness.call(None);
    let first = sent(&effects, first).unwrap();
    harness.call(None);
    harness.ready(2, 1);
    harness.reload();
    let effects = harness.ready(3, 1);
    assert!(effects.contains(&stop(process(2, 1), StopMethod::AfterCalls)), "{effects:?}");
    assert_eq!(ended(&effects), completed(1, 0));
    harness.finish(first);
    harness.exit(process(1, 1), None, Vec::new());
    harness.exit(process(2, 1), None, Vec::new());
    assert_eq!(harness.base_workers(), ["w3.1 Ready"]);
}

/// R31: a shutdown ends a reload, and stops its replacement.
#[test]
fn r31_shutdown_ends_a_reload() {
    for input in [Input::PrepareShutdown, Input::Shutdown { until: Timestamp(0) + SECOND }] {
        let mut harness = basic(1, 0);
        harness.reload();
        let effects = harness.step(input);
        assert_eq!(ended(&effects), [ReloadOutcome::PoolClosed]);
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Stop { worker, .. } if *worker == process(2, 1))));
        harness.exit(process(2, 1), None, Vec::new());
        assert_eq!(ended(&harness.reload()), [ReloadOutcome::PoolClosed]);
        harness.step(Input::Shutdown { until: harness.now });
        let effects = harness.exit(process(1, 1), None, Vec::new());
        assert!(effects.contains(&Effect::Stopped), "{effects:?}");
    }
}

/// R31, R30: at the end of the pool, a worker that waited for its calls has no more time to stop than the others. Its calls
/// have ended, so the wait for their deadlines would be for nothing.
#[test]
fn r31_shutdown_shortens_the_stop_of_an_old_worker() {
    let mut harness = basic(1, 0);
    let (running, effects) = harness.call(None);
    let old = sent(&effects, running).unwrap();
    harness.reload();
    harness.ready(2, 1);
    let effects = harness.step(Input::Shutdown { until: harness.now + SECOND });
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Stop { .. })), "its call may end: {effects:?}");
    let effects = harness.finish(old);
    assert!(effects.contains(&stop(process(1, 1), StopMethod::Graceful)), "{effects:?}");
    harness.exit(process(1, 1), None, Vec::new());
    assert!(harness.exit(process(2, 1), None, Vec::new()).contains(&Effect::Stopped));
}

/// R31, R29: a pool that is rebuilt after a reload uses no generation twice.
#[test]
fn r31_rebuilt_pool_continues_the_generations_of_all_slots() {
    let mut harness = basic(1, 0);
    harness.reload();
    harness.ready(2, 1);
    let snapshot = harness.core.recovery_snapshot();
    harness.core = Core::resume(harness.core.settings().clone(), 1, harness.now, snapshot);
    assert!(harness.step(Input::Tick).contains(&Effect::Start(process(1, 2))));
    harness.ready(1, 2);
    assert!(harness.reload().contains(&Effect::Start(process(2, 2))));
}
