//! Restarts, and pools that fail (R27, R28).

use super::*;
use crate::timers::Timer;

const SECOND: Duration = Duration::from_secs(1);

fn notes(effects: &Effects) -> Vec<LogEvent> {
    let record_event = |effect: &Effect| match effect {
        Effect::Log(record_event @ (LogEvent::PoolFailed(_) | LogEvent::PoolRecovered)) => Some(*record_event),
        _ => None,
    };
    effects.iter().filter_map(record_event).collect()
}

/// R28: recovery is complete and says so, whatever brought it: the note, all starts, overflow for who waits, short cooldowns.
#[test]
fn r28_a_failed_pool_whose_base_workers_are_well_recovers_at_its_probe() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    settings.queue.timeout = 60 * SECOND;
    let mut harness = Harness::with(settings);
    harness.call_within(None, 60 * SECOND);
    let crate::restart::IntensityVerdict::Exceeded { retry_at } = harness.core.intensity.escalate(harness.now) else {
        panic!()
    };
    harness.core.phase = Phase::Failed { retry_at };
    harness.core.timers.set(retry_at, Timer::Pool);
    harness.wait(10 * SECOND);
    harness.call_within(None, 60 * SECOND); // waits
    let effects = harness.wait(20 * SECOND);
    assert_eq!(notes(&effects), [LogEvent::PoolRecovered], "{effects:?}");
    assert!(effects.contains(&Effect::Start(at(2, 1))), "{effects:?}");
    let again = crate::restart::IntensityVerdict::Exceeded { retry_at: harness.now + 30 * SECOND };
    assert_eq!(harness.core.intensity.escalate(harness.now), again, "the next cooldown is short");
}

/// R28, I7: when the probe is ready each base slot starts, as the batch has room, and each start has its timer.
#[test]
fn r28_all_base_workers_start_when_the_probe_is_ready() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 3);
    (settings.overflow, settings.start_batch, settings.restart.max) = (0, 1, 1);
    let mut harness = Harness::with(settings);
    harness.die(at(1, 1));
    let effects = harness.die(at(2, 1));
    assert_eq!(notes(&effects), [LogEvent::PoolFailed(harness.now + 30 * SECOND)]);
    harness.die(at(3, 1));
    let effects = harness.wait(30 * SECOND);
    assert!(effects.contains(&Effect::Start(at(1, 2))) && harness.core.missing_starts() == 2, "one probe: {effects:?}");
    let effects = harness.step(Input::Ready { worker: at(1, 2), window: 1, control: false });
    assert_eq!(notes(&effects), [LogEvent::PoolRecovered]);
    assert!(effects.contains(&Effect::Start(at(2, 2))) && harness.core.missing_starts() == 0, "{effects:?}");
    let effects = harness.step(Input::Ready { worker: at(2, 2), window: 1, control: false });
    assert!(effects.contains(&Effect::Start(at(3, 2))), "{effects:?}");
}

/// R28: an overflow worker that ends while the probe is being ended decides nothing.
#[test]
fn r28_only_a_base_worker_makes_a_probe_fail() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.restart.max, settings.queue.timeout) = (1, 1000 * SECOND);
    let mut harness = Harness::with(settings);
    harness.call(None);
    harness.call(None);
    harness.step(Input::Ready { worker: at(2, 1), window: 1, control: false });
    harness.die(at(1, 1));
    (2..4).for_each(|generation| {
        harness.wait(SECOND);
        harness.die(at(1, generation));
    });
    assert_eq!(harness.core.pool_state(), PoolState::Failed);
    let effects = harness.wait(95 * SECOND);
    let probe = at(1, harness.core.slots[0].worker.generation.0);
    let stop = Effect::Stop { worker: probe, method: StopMethod::Kill, kill_reason: KillReason::StartTimeout };
    assert!(effects.contains(&stop), "{effects:?}");
    assert!(notes(&harness.die(at(2, 1))).is_empty());
    assert_eq!(notes(&harness.die(probe)).len(), 1);
}

/// R28: nor does another base worker that ends meanwhile: the probe is out until its exit.
#[test]
fn r28_a_probe_that_is_being_ended_decides_at_its_exit() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 2);
    (settings.overflow, settings.restart.max) = (0, 1);
    let mut harness = Harness::with(settings);
    harness.die(at(1, 1));
    harness.wait(SECOND);
    assert_eq!(notes(&harness.die(at(1, 2))).len(), 1, "it failed");
    let effects = harness.wait_silent(95 * SECOND, ProcessActivity::Unknown);
    assert!(
        effects.contains(&Effect::Stop {
            worker: at(1, 3),
            method: StopMethod::Kill,
            kill_reason: KillReason::StartTimeout
        }),
        "{effects:?}"
    );
    assert!(notes(&harness.die(at(2, 1))).is_empty());
    assert_eq!(notes(&harness.die(at(1, 3))).len(), 1, "it failed again");
}

fn one() -> Harness {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1); // five in a minute
    (settings.overflow, settings.queue.timeout) = (0, 60 * SECOND);
    Harness::with(settings)
}

impl Harness {
    /// The next process of w1 starts, after the wait that is given back, and is ready.
    fn next_of_w1(&mut self) -> Duration {
        let died = self.now;
        let starts = |effects: Effects| effects.iter().any(|effect| matches!(effect, Effect::Start(_)));
        let started = (0..100).any(|_| {
            let next = self.core.next_wakeup().unwrap();
            starts(self.wait(next - self.now))
        });
        assert!(started, "w1 is not started again");
        let process = self.core.slots[0].worker;
        self.step(Input::Ready { worker: process, window: 1, control: false });
        self.now - died
    }
}

/// R28: a worker that dies in the middle of a call costs that call, and its slot a wait that grows. The pool does not fail for it.
#[test]
fn r28_calls_that_end_their_workers_never_fail_the_pool() {
    let mut harness = one();
    let waits: Vec<u128> = (0..20)
        .map(|_| {
            let (call, effects) = harness.call(None);
            let effects = harness.die(sent(&effects, call).unwrap().0);
            assert!(
                matches!(settled(&effects, call), Some(CallFailure::WorkerLost(_))) && notes(&effects).is_empty(),
                "{effects:?}"
            );
            harness.next_of_w1().as_millis()
        })
        .collect();
    assert_eq!(waits[..9], [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    assert_eq!(harness.core.intensity.counted(), 0);
    let (other, effects) = harness.call(None);
    assert!(sent(&effects, other).is_some());
}

/// R28: nor does one that is killed for a call that is over and does not stop.
#[test]
fn r28_an_abandoned_call_is_a_call() {
    let mut harness = one();
    for _ in 0..8 {
        let (call, effects) = harness.call(None);
        let worker = sent(&effects, call).unwrap().0;
        harness.step(Input::Cancel(call));
        let effects = harness.end(worker, Some(KillReason::CancelTimeout), Vec::new());
        assert!(notes(&effects).is_empty());
        harness.next_of_w1();
    }
}

/// R28: what counts: failed starts, and workers that die young without a call. An early death counts up to `restart.min_uptime`.
#[test]
fn r28_failed_starts_and_young_idle_workers_fail_the_pool() {
    let mut harness = one();
    for generation in 1..=3 {
        assert!(notes(&harness.die(at(1, generation))).is_empty(), "an idle one");
        harness.next_of_w1();
    }
    let (call, effects) = harness.call(None);
    assert!(notes(&harness.die(sent(&effects, call).unwrap().0)).is_empty(), "one with a call does not count");
    harness.next_of_w1();
    harness.wait_and_pong(10 * SECOND);
    let effects = harness.die(at(1, 5));
    assert!(
        notes(&effects).is_empty() && effects.contains(&Effect::Start(at(1, 6))),
        "one that lived long enough does not either"
    );
    harness.step(Input::Ready { worker: at(1, 6), window: 1, control: false });
    assert_eq!(harness.core.intensity.counted(), 3);
    for generation in 6..=7 {
        assert!(notes(&harness.die(at(1, generation))).is_empty());
        harness.wait(200 * Duration::from_millis(1));
    }
    let failed = LogEvent::PoolFailed(harness.now + 30 * SECOND);
    assert_eq!(notes(&harness.die(at(1, 8))), [failed], "a start that fails, the sixth event");
}

fn starts(effects: &Effects) -> Vec<WorkerRef> {
    effects.iter().filter_map(|effect| if let Effect::Start(worker) = effect { Some(*worker) } else { None }).collect()
}

fn of(size: u32) -> Harness {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, size);
    (settings.overflow, settings.queue.timeout) = (0, 60 * SECOND);
    Harness::with(settings)
}

/// R30: once a shutdown is announced no worker is started for its own sake, however its predecessor ended, and one as soon as a call waits.
#[test]
fn r30_a_pool_that_will_shut_down_starts_workers_for_waiting_calls_alone() {
    let mut harness = of(2);
    harness.wait_and_pong(20 * SECOND); // past the time in which a death is early
    harness.step(Input::PrepareShutdown);
    for worker in 1..=2 {
        assert_eq!(starts(&harness.die(at(worker, 1))), [], "w{worker}");
    }
    assert_eq!(starts(&harness.wait(60 * SECOND)), []);
    let (_, effects) = harness.call(None);
    assert_eq!(starts(&effects), [at(1, 2)], "one call, one worker");
    let effects = harness.step(Input::Ready { worker: at(1, 2), window: 1, control: false });
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Send { .. })), "{effects:?}");
    assert_eq!(starts(&harness.die(at(1, 2))), [], "its call is lost, and nobody waits");
}

/// R30: so it is while admitted calls finish: a worker that ends beside them is not started again, unless a call waits.
#[test]
fn r30_a_pool_that_drains_starts_workers_for_waiting_calls_alone() {
    for waiting in [0, 1] {
        let mut harness = of(2);
        (0..2 + waiting).for_each(|_| _ = harness.call(None));
        let until = harness.now + 60 * SECOND;
        harness.step(Input::Shutdown { until });
        let effects = [harness.die(at(1, 1)), harness.wait(10 * SECOND)].concat();
        assert_eq!(starts(&effects), if waiting == 0 { vec![] } else { vec![at(1, 2)] }, "{waiting} waiting");
    }
}

/// R30: nor does a failed pool probe then.
#[test]
fn r30_a_failed_pool_that_will_shut_down_starts_no_probe() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.restart.max) = (0, 0);
    let mut harness = Harness::with(settings);
    assert_eq!(notes(&harness.die(at(1, 1))).len(), 1, "it failed");
    harness.step(Input::PrepareShutdown);
    assert_eq!(starts(&harness.wait(600 * SECOND)), []);
    assert_eq!(harness.core.missing_timers(), Vec::<String>::new());
}

/// R28: that the host has no descriptors left is no failure of a worker: however often it happens, the pool does not fail, and its slot tries again
/// with growing waits. Nor does it make a probe fail.
#[test]
fn r28_a_host_without_descriptors_fails_no_pool() {
    let end = ProcessExit { status: ExitStatus::Unknown, kill_reason: Some(KillReason::NoDescriptors) };
    let mut harness = one();
    harness.wait_and_pong(20 * SECOND);
    harness.die(at(1, 1));
    let mut waits = Vec::new();
    for generation in 2..20 {
        assert_eq!(notes(&harness.step(Input::Exited { worker: at(1, generation), end, suspects: vec![] })), []);
        let since = harness.now;
        while harness.core.slots[0].worker == at(1, generation) {
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
    assert_eq!(notes(&harness.die(at(1, 1))).len(), 1, "it failed");
    assert_eq!(starts(&harness.wait(30 * SECOND)), [at(1, 2)], "the probe");
    assert_eq!(notes(&harness.step(Input::Exited { worker: at(1, 2), end, suspects: vec![] })), []);
    assert_eq!(starts(&harness.wait(10 * SECOND)), [at(1, 3)], "the same probe again");
    assert_eq!(
        notes(&harness.step(Input::Ready { worker: at(1, 3), window: 1, control: false })),
        [LogEvent::PoolRecovered]
    );
}
