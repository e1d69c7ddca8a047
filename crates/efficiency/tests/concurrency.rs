//! Compares verdicts and accounts with schedules whose result is known (R45, R46): verdicts with a count at each start,
//! accounts with runs that were composed of known losses.

#![expect(clippy::unwrap_used, reason = "these are tests")]

#[path = "concurrency/runs.rs"]
mod runs;

use herder_efficiency::concurrency::{Interval, Serialized, TimeAccount, verify_concurrent_execution};
use proptest::prelude::*;
use runs::{KnownRun, chain, known};
use std::time::Duration;

/// Returns the peak by brute force: counts the operations in flight at each start.
fn peak(intervals: &[Interval]) -> usize {
    let long = || intervals.iter().filter(|interval| interval.started < interval.ended);
    let in_flight = |time| long().filter(|other| other.started <= time && time < other.ended).count();
    long().map(|interval| in_flight(interval.started)).max().unwrap_or(0)
}

fn any_intervals() -> impl Strategy<Value = Vec<Interval>> {
    let interval = (0u64..200, 0u64..30).prop_map(|(started, length)| Interval { started, ended: started + length });
    prop::collection::vec(interval, 0..24)
}

/// Returns whether the losses add up to `call_slots x (measured - ideal)`. The division by the number of slots may lose less
/// than a nanosecond a slot.
fn adds_up(account: &TimeAccount) -> bool {
    let lost = (account.measured - account.ideal) * u32::try_from(account.call_slots).unwrap();
    lost.abs_diff(account.losses.total()) <= Duration::from_nanos(account.call_slots as u64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// R46: for any schedule, the verdict agrees with a count at each start.
    #[test]
    fn r46_verdict_is_right_for_any_schedule(intervals in any_intervals()) {
        let (long, peak) = (intervals.iter().filter(|i| i.started < i.ended).count(), peak(&intervals));
        match verify_concurrent_execution(&intervals) {
            Ok(evidence) => prop_assert!(peak >= 2 && evidence.peak == peak && !evidence.overlap.is_zero()),
            Err(Serialized::TooFewOperations { operations }) => prop_assert!(long < 2 && operations == long),
            Err(Serialized::NoOverlap { operations }) => prop_assert!(peak == 1 && operations == long && long >= 2),
        }
    }

    /// R46: consecutive operations are serial in whatever order they are listed. If two of them overlap by one nanosecond, they
    /// are concurrent.
    #[test]
    fn r46_consecutive_operations_are_serial_until_one_nanosecond_overlaps((serial, index) in chain()) {
        let operations = serial.len();
        prop_assert_eq!(verify_concurrent_execution(&serial), Err(Serialized::NoOverlap { operations }));
        let mut sorted = serial;
        sorted.sort();
        let next = sorted[index + 1].started;
        sorted[index].ended = next + 1;
        let evidence = verify_concurrent_execution(&sorted).unwrap();
        prop_assert_eq!((evidence.peak, evidence.overlap), (2, Duration::from_nanos(1)));
    }

    /// R45: in a run composed of known losses, each loss is found with its duration, and nothing else is lost.
    #[test]
    fn r45_known_losses_are_found(known in known()) {
        let KnownRun { observed, losses, ideal } = known;
        let account = TimeAccount::of(&observed).unwrap();
        prop_assert!(adds_up(&account), "{:?}", account);
        prop_assert_eq!(account.losses, losses);
        prop_assert_eq!(account.ideal, ideal);
        prop_assert!(account.efficiency > 0.0 && account.efficiency <= 1.0);
    }

    /// R45: the losses add up for any operations, also with too many at once and on unlisted workers.
    #[test]
    fn r45_losses_add_up_for_any_run(observed in runs::any()) {
        let account = TimeAccount::of(&observed).unwrap();
        prop_assert!(adds_up(&account), "{:?}", account);
    }
}
