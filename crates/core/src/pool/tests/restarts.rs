//! Restarts, and the failure of pools (R27, R28).

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn log_events(effects: &Effects) -> Vec<LogEvent> {
    let record_event = |effect: &Effect| match effect {
        Effect::Log(record_event @ (LogEvent::PoolFailed(_) | LogEvent::PoolRecovered)) => Some(*record_event),
        _ => None,
    };
    effects.iter().filter_map(record_event).collect()
}

/// R28: recovery is complete: the log event, all starts, overflow workers for waiting calls, and a short next cooldown.
#[test]
fn r28_failed_pool_with_ready_base_workers_recovers_at_its_probe() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    settings.queue.timeout = 60 * SECOND;
    let mut harness = Harness::with(settings);
    harness.call_within(None, 60 * SECOND);
    harness.core.restarts.fail_now(harness.now);
    harness.wait(10 * SECOND);
    harness.call_within(None, 60 * SECOND); // waits
    let effects = harness.wait(20 * SECOND);
    assert_eq!(log_events(&effects), [LogEvent::PoolRecovered], "{effects:?}");
    assert!(effects.contains(&Effect::Start(process(2, 1))), "{effects:?}");
    let again = harness.now + 30 * SECOND;
    assert_eq!(harness.core.restarts.fail_now(harness.now), again, "the next cooldown is short");
}

/// R28, I7: when the probe is ready, every base slot starts, within `start_batch`, and every start has its timer.
#[test]
fn r28_all_base_workers_start_when_the_probe_is_ready() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 3);
    (settings.overflow, settings.start_batch, settings.restart.max) = (0, 1, 1);
    let mut harness = Harness::with(settings);
    harness.exit_by_signal(process(1, 1));
    let effects = harness.exit_by_signal(process(2, 1));
    assert_eq!(log_events(&effects), [LogEvent::PoolFailed(harness.now + 30 * SECOND)]);
    harness.exit_by_signal(process(3, 1));
    let effects = harness.wait(30 * SECOND);
    assert!(
        effects.contains(&Effect::Start(process(1, 2))) && harness.core.missing_starts() == 2,
        "one probe: {effects:?}"
    );
    let effects = harness.step(Input::Ready { worker: process(1, 2), window: 1, control: false, in_order: None });
    assert_eq!(log_events(&effects), [LogEvent::PoolRecovered]);
    assert!(effects.contains(&Effect::Start(process(2, 2))) && harness.core.missing_starts() == 0, "{effects:?}");
    let effects = harness.step(Input::Ready { worker: process(2, 2), window: 1, control: false, in_order: None });
    assert!(effects.contains(&Effect::Start(process(3, 2))), "{effects:?}");
}

/// R28: an overflow worker that ends while the probe is being stopped decides nothing.
#[test]
fn r28_only_a_base_worker_makes_a_probe_fail() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.restart.max, settings.queue.timeout) = (1, 1000 * SECOND);
    let mut harness = Harness::with(settings);
    harness.call(None);
    harness.call(None);
    harness.step(Input::Ready { worker: process(2, 1), window: 1, control: false, in_order: None });
    harness.exit_by_signal(process(1, 1));
    (2..4).for_each(|generation| {
        harness.wait(SECOND);
        harness.exit_by_signal(process(1, generation));
    });
    assert_eq!(harness.core.pool_state(), PoolState::Failed);
    let effects = harness.wait(95 * SECOND);
    let probe = process(1, harness.core.slot(WorkerId(1)).worker.generation.0);
    let stop = Effect::Stop { worker: probe, method: StopMethod::Kill, kill_reason: KillReason::StartTimeout };
    assert!(effects.contains(&stop), "{effects:?}");
    assert!(log_events(&harness.exit_by_signal(process(2, 1))).is_empty());
    assert_eq!(log_events(&harness.exit_by_signal(probe)).len(), 1);
}

/// R28: another base worker that ends in the meantime decides nothing either: the probe runs until its exit.
#[test]
fn r28_stopping_probe_is_judged_at_its_exit() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 2);
    (settings.overflow, settings.restart.max) = (0, 1);
    let mut harness = Harness::with(settings);
    harness.exit_by_signal(process(1, 1));
    harness.wait(SECOND);
    assert_eq!(log_events(&harness.exit_by_signal(process(1, 2))).len(), 1, "the pool failed");
    let effects = harness.wait_silent(95 * SECOND, ProcessActivity::Unknown);
    assert!(
        effects.contains(&Effect::Stop {
            worker: process(1, 3),
            method: StopMethod::Kill,
            kill_reason: KillReason::StartTimeout
        }),
        "{effects:?}"
    );
    assert!(log_events(&harness.exit_by_signal(process(2, 1))).is_empty());
    assert_eq!(log_events(&harness.exit_by_signal(process(1, 3))).len(), 1, "the pool failed again");
}

fn one_worker() -> Harness {
    // Five failures within a minute are allowed.
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.queue.timeout) = (0, 60 * SECOND);
    Harness::with(settings)
}

impl Harness {
    /// Waits until the next process of w1 starts and is ready. Returns the wait.
    fn next_of_w1(&mut self) -> Duration {
        let died = self.now;
        let starts = |effects: Effects| effects.iter().any(|effect| matches!(effect, Effect::Start(_)));
        let started = (0..100).any(|_| {
            let next = self.core.next_wakeup().unwrap();
            starts(self.wait(next - self.now))
        });
        assert!(started, "w1 is not started again");
        let process = self.core.slot(WorkerId(1)).worker;
        self.step(Input::Ready { worker: process, window: 1, control: false, in_order: None });
        self.now - died
    }
}

/// R28: a worker that dies during a call costs that call, and its slot a growing wait. The pool does not fail.
#[test]
fn r28_calls_that_end_their_workers_never_fail_the_pool() {
    let mut harness = one_worker();
    let waits: Vec<u128> = (0..20)
        .map(|_| {
            let (call, effects) = harness.call(None);
            let effects = harness.exit_by_signal(sent(&effects, call).unwrap().0);
            assert!(
                matches!(settled(&effects, call), Some(CallFailure::WorkerLost(_))) && log_events(&effects).is_empty(),
                "{effects:?}"
            );
            harness.next_of_w1().as_millis()
        })
        .collect();
    assert_eq!(waits[..9], [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    assert_eq!(harness.core.restarts.counted(), 0);
    let (other, effects) = harness.call(None);
    assert!(sent(&effects, other).is_some());
}

/// R28: the same is true for a worker that is killed because an abandoned call did not stop.
#[test]
fn r28_death_during_an_abandoned_call_does_not_count() {
    let mut harness = one_worker();
    for _ in 0..8 {
        let (call, effects) = harness.call(None);
        let worker = sent(&effects, call).unwrap().0;
        harness.step(Input::Cancel(call));
        let effects = harness.exit(worker, Some(KillReason::CancelTimeout), Vec::new());
        assert!(log_events(&effects).is_empty());
        harness.next_of_w1();
    }
}

/// R28: failed starts and early deaths without a call count. A death is early up to `restart.min_uptime`.
#[test]
fn r28_failed_starts_and_early_idle_deaths_fail_the_pool() {
    let mut harness = one_worker();
    for generation in 1..=3 {
        assert!(
            log_events(&harness.exit_by_signal(process(1, generation))).is_empty(),
            "an early death without a call"
        );
        harness.next_of_w1();
    }
    let (call, effects) = harness.call(None);
    assert!(
        log_events(&harness.exit_by_signal(sent(&effects, call).unwrap().0)).is_empty(),
        "a death during a call does not count"
    );
    harness.next_of_w1();
    harness.wait_and_pong(10 * SECOND);
    let effects = harness.exit_by_signal(process(1, 5));
    assert!(
        log_events(&effects).is_empty() && effects.contains(&Effect::Start(process(1, 6))),
        "a death after `min_uptime` does not count either"
    );
    harness.step(Input::Ready { worker: process(1, 6), window: 1, control: false, in_order: None });
    assert_eq!(harness.core.restarts.counted(), 3);
    for generation in 6..=7 {
        assert!(log_events(&harness.exit_by_signal(process(1, generation))).is_empty());
        harness.wait(200 * Duration::from_millis(1));
    }
    let failed = LogEvent::PoolFailed(harness.now + 30 * SECOND);
    assert_eq!(log_events(&harness.exit_by_signal(process(1, 8))), [failed], "a failed start is the sixth event");
}

fn starts(effects: &Effects) -> Vec<WorkerRef> {
    effects.iter().filter_map(|effect| if let Effect::Start(worker) = effect { Some(*worker) } else { None }).collect()
}

fn pool_of(size: u32) -> Harness {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, size);
    (settings.overflow, settings.queue.timeout) = (0, 60 * SECOND);
    Harness::with(settings)
}

/// R30: once a shutdown is announced, workers are started only for waiting calls, however their predecessors ended.
#[test]
fn r30_pool_about_to_shut_down_starts_workers_only_for_waiting_calls() {
    let mut harness = pool_of(2);
    // Later than `min_uptime`, so that no death is early.
    harness.wait_and_pong(20 * SECOND);
    harness.step(Input::PrepareShutdown);
    for worker in 1..=2 {
        assert_eq!(starts(&harness.exit_by_signal(process(worker, 1))), [], "w{worker}");
    }
    assert_eq!(starts(&harness.wait(60 * SECOND)), []);
    let (_, effects) = harness.call(None);
    assert_eq!(starts(&effects), [process(1, 2)], "one worker for one call");
    let effects = harness.step(Input::Ready { worker: process(1, 2), window: 1, control: false, in_order: None });
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Send { .. })), "{effects:?}");
    assert_eq!(starts(&harness.exit_by_signal(process(1, 2))), [], "its call is lost, and no other waits");
}

/// R30: the same is true during a drain.
#[test]
fn r30_draining_pool_starts_workers_only_for_waiting_calls() {
    for waiting in [0, 1] {
        let mut harness = pool_of(2);
        (0..2 + waiting).for_each(|_| _ = harness.call(None));
        let until = harness.now + 60 * SECOND;
        harness.step(Input::Shutdown { until });
        let effects = [harness.exit_by_signal(process(1, 1)), harness.wait(10 * SECOND)].concat();
        assert_eq!(starts(&effects), if waiting == 0 { vec![] } else { vec![process(1, 2)] }, "{waiting} waiting");
    }
}

/// R30: a failed pool starts no probe then.
#[test]
fn r30_failed_pool_about_to_shut_down_starts_no_probe() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.restart.max) = (0, 0);
    let mut harness = Harness::with(settings);
    assert_eq!(log_events(&harness.exit_by_signal(process(1, 1))).len(), 1, "the pool failed");
    harness.step(Input::PrepareShutdown);
    assert_eq!(starts(&harness.wait(600 * SECOND)), []);
    assert_eq!(harness.core.verify(), [""; 0]);
}

/// R28: a lack of descriptors on the host is no failure of a worker. However often it occurs, the pool does not fail,
/// and the slot tries again with growing waits. It does not make a probe fail either.
#[test]
fn r28_host_without_descriptors_does_not_fail_the_pool() {
    let exit = ProcessExit { status: ExitStatus::Unknown, kill_reason: Some(KillReason::NoDescriptors) };
    let mut harness = one_worker();
    harness.wait_and_pong(20 * SECOND);
    harness.exit_by_signal(process(1, 1));
    let mut waits = Vec::new();
    for generation in 2..20 {
        assert_eq!(
            log_events(&harness.step(Input::Exited {
                worker: process(1, generation),
                exit,
                answers: Answers::ReadToEnd,
                unwritten: None,
                suspects: vec![]
            })),
            []
        );
        let since = harness.now;
        while harness.core.slot(WorkerId(1)).worker == process(1, generation) {
            let next = harness.core.next_wakeup().unwrap();
            harness.wait(next - harness.now);
        }
        waits.push((harness.now - since).as_millis());
    }
    assert_eq!((waits[..3].to_vec(), waits.last()), (vec![100, 200, 400], Some(&10_000)));
    assert_eq!(harness.core.pool_state(), PoolState::Starting);

    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.restart.max) = (0, 0);
    let mut harness = Harness::with(settings);
    assert_eq!(log_events(&harness.exit_by_signal(process(1, 1))).len(), 1, "the pool failed");
    assert_eq!(starts(&harness.wait(30 * SECOND)), [process(1, 2)], "the probe");
    assert_eq!(
        log_events(&harness.step(Input::Exited {
            worker: process(1, 2),
            exit,
            answers: Answers::ReadToEnd,
            unwritten: None,
            suspects: vec![]
        })),
        []
    );
    assert_eq!(starts(&harness.wait(10 * SECOND)), [process(1, 3)], "the same probe again");
    assert_eq!(
        log_events(&harness.step(Input::Ready { worker: process(1, 3), window: 1, control: false, in_order: None })),
        [LogEvent::PoolRecovered]
    );
}

/// R28, R30: a probe that was waiting to start again is cancelled by an announced shutdown. The pool states when the next one
/// would start, not that one is starting.
#[test]
fn r30_probe_cancelled_by_an_announced_shutdown_is_postponed() {
    let exit = ProcessExit { status: ExitStatus::Unknown, kill_reason: Some(KillReason::NoDescriptors) };
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.restart.max) = (0, 0);
    let mut harness = Harness::with(settings);
    harness.exit_by_signal(process(1, 1));
    assert_eq!(starts(&harness.wait(30 * SECOND)), [process(1, 2)], "the probe");
    harness.step(Input::Exited {
        worker: process(1, 2),
        exit,
        answers: Answers::ReadToEnd,
        unwritten: None,
        suspects: vec![],
    });
    harness.step(Input::PrepareShutdown);
    assert_eq!(starts(&harness.wait(10 * SECOND)), []);
    let (call, effects) = harness.call(None);
    let Some(CallFailure::PoolFailed { retry_at }) = settled(&effects, call) else { panic!("{effects:?}") };
    assert!(retry_at > harness.now + 30 * SECOND, "{retry_at:?}");
}
