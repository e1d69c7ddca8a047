//! Lazy pools: the first call starts the workers (R11).

use super::*;

fn lazy(size: u32) -> Harness {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, size);
    settings.lazy = true;
    let mut harness =
        Harness { core: Core::new(settings, 1, Timestamp(0)), now: Timestamp(0), effects: Vec::new(), calls: 0 };
    assert_eq!(harness.step(Input::Tick), []);
    harness
}

/// R11, I7: nothing is started before the first call, which waits for the workers that it starts.
#[test]
fn r11_first_call_starts_the_base_workers() {
    let mut harness = lazy(2);
    assert_eq!(harness.core.pool_state(), PoolState::Idle);
    let (call, effects) = harness.call(None);
    assert_eq!(effects, [Effect::Start(process(1, 1)), Effect::Start(process(2, 1))]);
    assert_eq!(harness.core.pool_state(), PoolState::Starting);
    let effects = harness.step(Input::Ready { worker: process(2, 1), window: 1, control: true, in_order: None });
    assert!(sent(&effects, call).is_some_and(|(worker, _)| worker == process(2, 1)), "{effects:?}");
}

/// R11: a call that is refused starts nothing; a reload has nothing to replace; a shutdown ends at once.
#[test]
fn r11_only_admitted_calls_start_workers() {
    let mut harness = lazy(1);
    let (call, effects) = harness.call_within(None, Duration::ZERO);
    assert!(settled(&effects, call).is_some() && effects.len() == 1, "{effects:?}");
    let completed = crate::ReloadOutcome::Completed(crate::Reloaded::default());
    assert_eq!(harness.step(Input::Reload), [Effect::ReloadEnded(completed)]);
    assert_eq!(harness.core.pool_state(), PoolState::Idle);
    assert_eq!(harness.step(Input::Shutdown { until: Timestamp(1) }), [Effect::Stopped]);
}

/// R11, R29: a pool that is rebuilt is idle only if it has never started a process.
#[test]
fn r11_rebuild_keeps_an_idle_pool_idle() {
    let mut harness = lazy(1);
    let rebuilt = |harness: &Harness| {
        let snapshot = harness.core.recovery_snapshot();
        Core::resume(harness.core.settings().clone(), 1, harness.now, snapshot).pool_state()
    };
    assert_eq!(rebuilt(&harness), PoolState::Idle);
    harness.call(None);
    assert_eq!(rebuilt(&harness), PoolState::Starting);
}
