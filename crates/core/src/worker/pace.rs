//! How many calls a process is sent: those that it runs at the same time, and more in advance while its calls are short.
//! Holds numbers of one process; which calls it has is held by [`Attempts`](super::Attempts).

use crate::{Pipeline, Timestamp, WireId};
use std::{num::NonZeroU32, time::Duration};

/// The run time of the calls that a process has in advance. It bounds how long a call waits in advance although another
/// worker becomes free, and is far above the time of a call through the socket, which calls in advance hide.
pub(super) const BUDGET: Duration = Duration::from_millis(2);

/// A call that runs longer than the average moves the average by 1/8 of the difference.
const SMOOTHING: u64 = 8;

/// The number of calls that a process may have, at once and in advance.
///
/// # Invariants
/// - `places` <= `limit` <= `window`, once the process is ready.
/// - Without an adaptive pipeline, the three are equal: no call is in advance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Pace {
    /// The maximum number of unfinished calls.
    window: u32,
    /// The number of unfinished calls that count as running. The others are in advance.
    places: u32,
    /// The number of unfinished calls up to which the process is sent more.
    limit: u32,
    /// The maximum number of calls that have begun and are not finished, if the process begins its calls in order.
    in_order: Option<NonZeroU32>,
    /// The recent run time in nanoseconds, and 0 before the first call. `None` if the pipeline is fixed, or if calls
    /// cannot be taken back from the process.
    recent: Option<u64>,
    /// When the calls in advance are examined, and the oldest running call at the time when that was decided.
    check: Option<(Timestamp, WireId)>,
}

/// What a process states of itself when it becomes ready. See [`Input::Ready`](crate::Input::Ready).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capabilities {
    /// The number of unfinished calls that it accepts.
    pub(crate) window: u32,
    /// Whether it has a control channel.
    pub(crate) control: bool,
    /// The maximum number of calls that have begun and are not finished, if it begins its calls in order.
    pub(crate) in_order: Option<NonZeroU32>,
}

impl Pace {
    /// Returns the pace of a process that has just become ready.
    pub(super) fn new(pipeline: Pipeline, concurrency: u32, process: Capabilities) -> Self {
        let Capabilities { window, control, in_order } = process;
        // Without a control channel, it cannot answer a revoke, which the statement includes.
        let in_order = in_order.filter(|_| control);
        let places = match pipeline {
            Pipeline::Fixed(_) => window,
            Pipeline::Auto => in_order.map_or(concurrency, |calls| calls.get().min(concurrency)).min(window),
        };
        let recent = (pipeline == Pipeline::Auto && in_order.is_some()).then_some(0);
        Self { window, places, limit: places, in_order, recent, check: None }
    }

    pub(super) fn window(&self) -> u32 {
        self.window
    }

    #[inline]
    pub(super) fn places(&self) -> u32 {
        self.places
    }

    #[inline]
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// Forgets that the process begins its calls in order.
    pub(super) fn distrust_order(&mut self) {
        (self.in_order, self.recent) = (None, None);
        self.update_limit();
    }

    pub(super) fn in_order(&self) -> Option<NonZeroU32> {
        self.in_order
    }

    /// Counts the run time of a finished call; zero if it did not run. Returns whether the limit may have changed.
    #[inline]
    pub(super) fn observe(&mut self, ran: Duration) -> bool {
        let counts = self.recent.is_some() && !ran.is_zero();
        if counts {
            self.observe_recent(nanos(ran));
        }
        counts
    }

    #[inline(never)]
    fn observe_recent(&mut self, ran: u64) {
        let Some(recent) = &mut self.recent else { return };
        // One long call ends the sending in advance at once, since more of them are likely to follow. It needs several
        // short ones to begin again.
        *recent = if ran > *recent { ran } else { *recent - (*recent - ran) / SMOOTHING };
        self.update_limit();
    }

    /// Records that a call runs for longer than all calls in advance may take.
    pub(super) fn observe_slow(&mut self) {
        self.observe_recent(nanos(BUDGET) + 1); // with exactly that run time, one call would fit
    }

    fn update_limit(&mut self) {
        // The budget is for the calls in advance, not for the one that runs: a call of 1 ms would otherwise have none
        // behind it, and its worker would sleep and wake for each call. Before its first answer, nothing is known about
        // the calls of a process.
        let depth = match self.recent {
            None | Some(0) => 1,
            Some(recent) => (1 + nanos(BUDGET) / recent).min(u64::from(Pipeline::Auto.max_depth())) as u32,
        };
        self.limit = self.places.saturating_mul(depth).min(self.window);
    }

    /// Returns when the calls in advance are examined, or [`Timestamp::NEVER`].
    pub(super) fn check_due(&self) -> Timestamp {
        self.check.map_or(Timestamp::NEVER, |(at, _)| at)
    }

    /// Returns the call that was the oldest running one when the examination was decided.
    pub(super) fn checked(&self) -> Option<WireId> {
        self.check.map(|(_, oldest)| oldest)
    }

    /// Decides to examine the calls in advance once `oldest` has been the oldest running call for the time that all of
    /// them may take.
    // Not at each change of the oldest call, which every final frame would then pay for: the examination that finds
    // another call decides for the next one.
    pub(super) fn check_later(&mut self, now: Timestamp, oldest: Option<WireId>) {
        self.check = oldest.map(|oldest| (now + BUDGET, oldest));
    }

    /// Returns whether the invariants hold. For tests.
    pub(super) fn is_consistent(&self) -> bool {
        let is_adaptive = self.recent.is_some() || self.limit == self.places;
        self.places <= self.limit && self.limit <= self.window && is_adaptive
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROS: Duration = Duration::from_micros(1);

    /// Returns a process that begins its calls in order if `in_order` is not 0.
    fn process(window: u32, control: bool, in_order: u32) -> Capabilities {
        Capabilities { window, control, in_order: NonZeroU32::new(in_order) }
    }

    fn adaptive(places: u32) -> Pace {
        Pace::new(Pipeline::Auto, 4, process(4 * 32, true, places))
    }

    fn limits(pace: &mut Pace, runs: &[Duration]) -> Vec<u32> {
        let limit = |ran: &Duration| {
            pace.observe(*ran);
            assert!(pace.is_consistent());
            pace.limit()
        };
        runs.iter().map(limit).collect()
    }

    /// R71
    #[test]
    fn limit_follows_from_recent_runs() {
        let mut pace = adaptive(1);
        assert_eq!(pace.limit(), 1, "nothing is known yet");
        assert_eq!(limits(&mut pace, &[MICROS * 30]), [32], "the largest depth");
        assert_eq!(limits(&mut pace, &[MICROS * 250, Duration::ZERO]), [9, 9], "a call that did not run says nothing");
        assert_eq!(limits(&mut pace, &[MICROS * 1050]), [2], "one call of 1 ms is in advance");
        assert_eq!(limits(&mut pace, &[MICROS * 2000, MICROS * 2001, MICROS * 5000]), [2, 1, 1]);
        let after = limits(&mut pace, &[MICROS * 50; 40]);
        assert!(after.is_sorted() && after[0] == 1 && after[5] == 1 && after[39] >= 20, "{after:?}");
    }

    #[test]
    fn limit_is_a_multiple_of_the_calls_that_run_at_once() {
        let mut pace = adaptive(3);
        assert_eq!((pace.places(), pace.limit()), (3, 3));
        assert_eq!(limits(&mut pace, &[MICROS * 500, MICROS]), [15, 15]);
        let mut narrow = Pace::new(Pipeline::Auto, 1, process(5, true, 1));
        assert_eq!(limits(&mut narrow, &[MICROS]), [5], "the process accepts no more");
    }

    #[test]
    fn slow_call_ends_the_sending_in_advance() {
        let mut pace = adaptive(1);
        assert_eq!(limits(&mut pace, &[MICROS * 10]), [32]);
        pace.observe_slow();
        assert_eq!(pace.limit(), 1);
    }

    #[test]
    fn nothing_is_in_advance_once_the_process_did_not_do_as_it_stated() {
        let mut pace = adaptive(1);
        assert_eq!(limits(&mut pace, &[MICROS * 10]), [32]);
        pace.distrust_order();
        assert_eq!((pace.limit(), pace.in_order()), (1, None));
        assert_eq!(limits(&mut pace, &[MICROS * 10]), [1]);
    }

    #[test]
    fn nothing_is_in_advance_without_the_statement_of_the_process() {
        let others = [
            Pace::new(Pipeline::Fixed(4), 2, process(8, true, 1)),
            Pace::new(Pipeline::Auto, 2, process(64, true, 0)),
            Pace::new(Pipeline::Auto, 2, process(64, false, 2)),
        ];
        for (mut pace, places) in others.into_iter().zip([8, 2, 2]) {
            assert_eq!(limits(&mut pace, &[MICROS]), [places]);
            assert_eq!(pace.places(), places);
        }
    }
}
