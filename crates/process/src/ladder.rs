//! The stop ladder of one process, as a pure state chart: ask, `SIGTERM`, `SIGKILL`. Time is an argument; it sends nothing.

use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Beyond this a rung might as well be never; it keeps `Instant` arithmetic from overflowing.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ladder {
    /// Nobody wants it to stop.
    Standing,
    /// Somebody asked it to; both rungs are ahead.
    Asked { term: Instant, kill: Instant },
    /// `SIGTERM` was sent, or is not wanted: only `SIGKILL` is ahead.
    Terminated { kill: Instant },
    /// `SIGKILL` was sent. There is nothing higher.
    Killed,
}

impl Ladder {
    /// Begins the climb, or shortens one that is under way; it never gets longer.
    pub(crate) fn shorten(&mut self, now: Instant, term_after: Duration, kill_after: Duration) {
        let new_term = now + term_after.min(FOREVER);
        let new_kill = new_term + kill_after.min(FOREVER);
        *self = match *self {
            Self::Standing => Self::Asked { term: new_term, kill: new_kill },
            Self::Asked { term, kill } => Self::Asked { term: term.min(new_term), kill: kill.min(new_kill) },
            Self::Terminated { kill } => Self::Terminated { kill: kill.min(new_kill) },
            Self::Killed => Self::Killed,
        };
    }

    /// Leaves nothing but `SIGKILL`, due now.
    pub(crate) fn condemn(&mut self, now: Instant) {
        if *self != Self::Killed {
            *self = Self::Terminated { kill: now };
        }
    }

    /// Takes the next rung if its time has come. Call until it gives `None`.
    pub(crate) fn climb(&mut self, now: Instant) -> Option<Signal> {
        match *self {
            Self::Asked { term, kill } if term <= now => {
                *self = Self::Terminated { kill };
                Some(Signal::TERM)
            }
            Self::Terminated { kill } if kill <= now => {
                *self = Self::Killed;
                Some(Signal::KILL)
            }
            _ => None,
        }
    }

    /// When the next rung is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        match *self {
            Self::Asked { term, .. } => Some(term),
            Self::Terminated { kill } => Some(kill),
            Self::Standing | Self::Killed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// R30: term, then kill, each once and each at its time.
    #[test]
    fn rungs_come_in_order() {
        let now = Instant::now();
        let mut ladder = Ladder::Standing;
        ladder.shorten(now, S, 2 * S);
        assert_eq!((ladder.climb(now), ladder.next()), (None, Some(now + S)));
        assert_eq!((ladder.climb(now + S), ladder.next()), (Some(Signal::TERM), Some(now + 3 * S)));
        assert_eq!(ladder.climb(now + 2 * S), None);
        assert_eq!((ladder.climb(now + 3 * S), ladder.next()), (Some(Signal::KILL), None));
        assert_eq!(ladder.climb(now + 9 * S), None);
    }

    #[test]
    fn a_second_call_only_shortens() {
        let now = Instant::now();
        let mut ladder = Ladder::Standing;
        ladder.shorten(now, S, S);
        ladder.shorten(now, 5 * S, 5 * S);
        assert_eq!(ladder, Ladder::Asked { term: now + S, kill: now + 2 * S });
        ladder.shorten(now, Duration::ZERO, 9 * S);
        assert_eq!(ladder, Ladder::Asked { term: now, kill: now + 2 * S });
        assert_eq!(ladder.climb(now), Some(Signal::TERM));
        ladder.shorten(now, Duration::ZERO, Duration::ZERO);
        assert_eq!(ladder.climb(now), Some(Signal::KILL));
        ladder.shorten(now, S, S);
        assert_eq!(ladder, Ladder::Killed);
    }

    #[test]
    fn the_condemned_get_no_sigterm() {
        let now = Instant::now();
        let mut ladder = Ladder::Standing;
        ladder.condemn(now);
        assert_eq!((ladder.climb(now), ladder.climb(now)), (Some(Signal::KILL), None));
        ladder.condemn(now);
        assert_eq!(ladder, Ladder::Killed);
    }

    #[test]
    fn endless_patience_does_not_overflow() {
        let mut ladder = Ladder::Standing;
        ladder.shorten(Instant::now(), Duration::MAX, Duration::MAX);
        assert!(ladder.next().is_some());
    }
}
