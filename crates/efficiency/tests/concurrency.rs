//! The evidence of concurrency held against schedules whose truth is known (R45, R46): verdicts against a count at every moment, an
//! account against a run that was put together from known losses.

#![expect(clippy::unwrap_used, reason = "these are tests")]

#[path = "concurrency/runs.rs"]
mod runs;

use herder_efficiency::concurrency::{Interval, Serialized, TimeAccount, verify_concurrent_execution};
use proptest::prelude::*;
use runs::{KnownRun, chain, known};
use std::time::Duration;

/// How many are in flight just behind each start: the slow way to a peak.
fn peak(intervals: &[Interval]) -> usize {
    let long = || intervals.iter().filter(|interval| interval.started < interval.ended);
    let at = |moment| long().filter(|other| other.started <= moment && moment < other.ended).count();
    long().map(|interval| at(interval.started)).max().unwrap_or(0)
}

fn any_intervals() -> impl Strategy<Value = Vec<Interval>> {
    let interval = (0u64..200, 0u64..30).prop_map(|(started, length)| Interval { started, ended: started + length });
    prop::collection::vec(interval, 0..24)
}

/// The sum of the parts against `call_slots x (measured - ideal)`, which loses less than a nanosecond a lane in a division.
fn adds_up(account: &TimeAccount) -> bool {
    let lost = (account.measured - account.ideal) * u32::try_from(account.call_slots).unwrap();
    lost.abs_diff(account.losses.total()) <= Duration::from_nanos(account.call_slots as u64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    /// R46: whatever the schedule, the verdict is what counting at each moment says.
    #[test]
    fn r46_the_verdict_is_right_of_any_schedule(intervals in any_intervals()) {
        let (long, peak) = (intervals.iter().filter(|i| i.started < i.ended).count(), peak(&intervals));
        match verify_concurrent_execution(&intervals) {
            Ok(evidence) => prop_assert!(peak >= 2 && evidence.peak == peak && !evidence.overlap.is_zero()),
            Err(Serialized::TooFewOperations { operations }) => prop_assert!(long < 2 && operations == long),
            Err(Serialized::NoOverlap { operations }) => prop_assert!(peak == 1 && operations == long && long >= 2),
        }
    }

    /// R46: a chain of operations is serial, in whatever order it is told; drawn together by one nanosecond anywhere it is not.
    #[test]
    fn r46_a_chain_is_serial_and_one_nanosecond_makes_it_concurrent((serial, at) in chain()) {
        let operations = serial.len();
        prop_assert_eq!(verify_concurrent_execution(&serial), Err(Serialized::NoOverlap { operations }));
        let mut sorted = serial;
        sorted.sort();
        let next = sorted[at + 1].started;
        sorted[at].ended = next + 1;
        let evidence = verify_concurrent_execution(&sorted).unwrap();
        prop_assert_eq!((evidence.peak, evidence.overlap), (2, Duration::from_nanos(1)));
    }

    /// R45: of a run that was put together from known losses, each is found, and together they are all that was lost.
    #[test]
    fn r45_losses_are_found_where_they_were_put(known in known()) {
        let KnownRun { observed, losses, ideal } = known;
        let account = TimeAccount::of(&observed).unwrap();
        prop_assert!(adds_up(&account), "{:?}", account);
        prop_assert_eq!(account.losses, losses);
        prop_assert_eq!(account.ideal, ideal);
        prop_assert!(account.efficiency > 0.0 && account.efficiency <= 1.0);
    }

    /// R45: of any operations at all, too many at once and with moments in odd places, the parts add up.
    #[test]
    fn r45_the_parts_add_up_of_any_run(observed in runs::any()) {
        let account = TimeAccount::of(&observed).unwrap();
        prop_assert!(adds_up(&account), "{:?}", account);
    }
}
