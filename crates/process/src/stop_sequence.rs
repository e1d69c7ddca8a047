//! The stop sequence of one process as a pure state machine: request, `SIGTERM`, `SIGKILL`. Time is an argument; it sends
//! nothing.

use rustix::process::Signal;
use std::time::{Duration, Instant};

/// The maximum delay of a step. It prevents an overflow of `Instant`.
const MAX_DELAY: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopSequence {
    /// No stop was requested.
    NotRequested,
    /// A stop was requested; both signals are still to be sent.
    Requested { term: Instant, kill: Instant },
    /// `SIGTERM` was sent, or is not wanted; only `SIGKILL` is still to be sent.
    Terminated { kill: Instant },
    /// `SIGKILL` was sent. No step follows.
    Killed,
}

impl StopSequence {
    /// Starts the sequence, or shortens one that has started. It never gets longer.
    pub(crate) fn request(&mut self, now: Instant, term_after: Duration, kill_after: Duration) {
        let new_term = now + term_after.min(MAX_DELAY);
        let new_kill = new_term + kill_after.min(MAX_DELAY);
        *self = match *self {
            Self::NotRequested => Self::Requested { term: new_term, kill: new_kill },
            Self::Requested { term, kill } => Self::Requested { term: term.min(new_term), kill: kill.min(new_kill) },
            Self::Terminated { kill } => Self::Terminated { kill: kill.min(new_kill) },
            Self::Killed => Self::Killed,
        };
    }

    /// Skips to `SIGKILL`, due immediately.
    pub(crate) fn kill_now(&mut self, now: Instant) {
        if *self != Self::Killed {
            *self = Self::Terminated { kill: now };
        }
    }

    /// Takes the next step if it is due, and returns its signal. Must be called until it returns `None`.
    pub(crate) fn advance(&mut self, now: Instant) -> Option<Signal> {
        match *self {
            Self::Requested { term, kill } if term <= now => {
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

    /// Returns when the next step is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        match *self {
            Self::Requested { term, .. } => Some(term),
            Self::Terminated { kill } => Some(kill),
            Self::NotRequested | Self::Killed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// R30: SIGTERM, then SIGKILL, each once and each at its time.
    #[test]
    fn stop_steps_run_in_order() {
        let now = Instant::now();
        let mut stop_sequence = StopSequence::NotRequested;
        stop_sequence.request(now, S, 2 * S);
        assert_eq!((stop_sequence.advance(now), stop_sequence.next()), (None, Some(now + S)));
        assert_eq!((stop_sequence.advance(now + S), stop_sequence.next()), (Some(Signal::TERM), Some(now + 3 * S)));
        assert_eq!(stop_sequence.advance(now + 2 * S), None);
        assert_eq!((stop_sequence.advance(now + 3 * S), stop_sequence.next()), (Some(Signal::KILL), None));
        assert_eq!(stop_sequence.advance(now + 9 * S), None);
    }

    #[test]
    fn a_second_call_only_shortens() {
        let now = Instant::now();
        let mut stop_sequence = StopSequence::NotRequested;
        stop_sequence.request(now, S, S);
        stop_sequence.request(now, 5 * S, 5 * S);
        assert_eq!(stop_sequence, StopSequence::Requested { term: now + S, kill: now + 2 * S });
        stop_sequence.request(now, Duration::ZERO, 9 * S);
        assert_eq!(stop_sequence, StopSequence::Requested { term: now, kill: now + 2 * S });
        assert_eq!(stop_sequence.advance(now), Some(Signal::TERM));
        stop_sequence.request(now, Duration::ZERO, Duration::ZERO);
        assert_eq!(stop_sequence.advance(now), Some(Signal::KILL));
        stop_sequence.request(now, S, S);
        assert_eq!(stop_sequence, StopSequence::Killed);
    }

    #[test]
    fn the_condemned_get_no_sigterm() {
        let now = Instant::now();
        let mut stop_sequence = StopSequence::NotRequested;
        stop_sequence.kill_now(now);
        assert_eq!((stop_sequence.advance(now), stop_sequence.advance(now)), (Some(Signal::KILL), None));
        stop_sequence.kill_now(now);
        assert_eq!(stop_sequence, StopSequence::Killed);
    }

    #[test]
    fn endless_patience_does_not_overflow() {
        let mut stop_sequence = StopSequence::NotRequested;
        stop_sequence.request(Instant::now(), Duration::MAX, Duration::MAX);
        assert!(stop_sequence.next().is_some());
    }
}
