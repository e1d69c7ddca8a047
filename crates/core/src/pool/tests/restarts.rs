//! Restarts, and pools that fail (R27, R28).

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn notes(fx: &Effects) -> Vec<Note> {
    let note = |effect: &Effect| match effect {
        Effect::Note(note @ (Note::Failed(_) | Note::Recovered)) => Some(*note),
        _ => None,
    };
    fx.iter().filter_map(note).collect()
}

/// R28: recovery is complete and says so, whatever brought it: the note, all starts, overflow for who waits, short cooldowns.
#[test]
fn r28_a_failed_pool_whose_base_workers_are_well_recovers_at_its_probe() {
    let mut settings = Settings::new(KindSettings::Basic, 1);
    settings.queue.timeout = 60 * SECOND;
    let mut bench = Bench::with(settings);
    bench.call_within(None, 60 * SECOND);
    let crate::restart::Verdict::Escalate { retry_at } = bench.core.intensity.escalate(bench.now) else { panic!() };
    bench.core.phase = Phase::Failed { retry_at };
    bench.core.timers.set(retry_at, Timer::Pool);
    bench.wait(10 * SECOND);
    bench.call_within(None, 60 * SECOND); // waits
    let fx = bench.wait(20 * SECOND);
    assert_eq!(notes(&fx), [Note::Recovered], "{fx:?}");
    assert!(fx.contains(&Effect::Start(at(2, 1))), "{fx:?}");
    let again = crate::restart::Verdict::Escalate { retry_at: bench.now + 30 * SECOND };
    assert_eq!(bench.core.intensity.escalate(bench.now), again, "the next cooldown is short");
}

/// R28, I7: when the probe is ready each base slot starts, as the batch has room, and each start has its timer.
#[test]
fn r28_all_base_workers_start_when_the_probe_is_ready() {
    let mut settings = Settings::new(KindSettings::Basic, 3);
    (settings.overflow, settings.start_batch, settings.restart.max) = (0, 1, 1);
    let mut bench = Bench::with(settings);
    bench.die(at(1, 1));
    let fx = bench.die(at(2, 1));
    assert_eq!(notes(&fx), [Note::Failed(bench.now + 30 * SECOND)]);
    bench.die(at(3, 1));
    let fx = bench.wait(30 * SECOND);
    assert!(fx.contains(&Effect::Start(at(1, 2))) && bench.core.missing_starts() == 2, "one probe: {fx:?}");
    let fx = bench.step(Input::Ready { at: at(1, 2), window: 1, control: false });
    assert_eq!(notes(&fx), [Note::Recovered]);
    assert!(fx.contains(&Effect::Start(at(2, 2))) && bench.core.missing_starts() == 0, "{fx:?}");
    let fx = bench.step(Input::Ready { at: at(2, 2), window: 1, control: false });
    assert!(fx.contains(&Effect::Start(at(3, 2))), "{fx:?}");
}

/// R28: an overflow worker that ends while the probe is being ended decides nothing.
#[test]
fn r28_only_a_base_worker_makes_a_probe_fail() {
    let mut settings = Settings::new(KindSettings::Basic, 1);
    (settings.restart.max, settings.queue.timeout) = (1, 1000 * SECOND);
    let mut bench = Bench::with(settings);
    bench.call(None);
    bench.call(None);
    bench.step(Input::Ready { at: at(2, 1), window: 1, control: false });
    bench.die(at(1, 1));
    (2..4).for_each(|generation| {
        bench.wait(SECOND);
        bench.die(at(1, generation));
    });
    assert_eq!(bench.core.pool_state(), PoolState::Failed);
    let fx = bench.wait(95 * SECOND);
    let probe = at(1, bench.core.slots[0].at.generation.0);
    let stop = Effect::Stop { at: probe, how: StopHow::Kill, doom: Doom::StartTimeout };
    assert!(fx.contains(&stop), "{fx:?}");
    assert!(notes(&bench.die(at(2, 1))).is_empty());
    assert_eq!(notes(&bench.die(probe)).len(), 1);
}
