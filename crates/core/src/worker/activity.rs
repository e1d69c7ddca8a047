//! What a process did while it answered no ping. Pure: the figures come from whoever can read them.

use serde::Serialize;
use std::{fmt, time::Duration};

/// A process computes if it used at least this part of one processor. Less is noise: a thread that waits for Python's GIL asks for
/// it every 5 ms, which costs it up to 1 % of a processor for as long as it waits.
const SHARE: u32 = 16;

/// What a process that let a ping pass did meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessActivity {
    /// Its processor time grew.
    Computing,
    /// Its processor time stood still.
    Idle,
    /// It is stopped (`SIGSTOP`, or a debugger).
    Stopped,
    /// Nobody could tell.
    Unknown,
}

impl ProcessActivity {
    /// What a process did that used so much processor time within such a span and is not stopped.
    ///
    /// ```
    /// use herder_core::ProcessActivity;
    /// use std::time::Duration;
    /// let (second, tick) = (Duration::from_secs(1), Duration::from_millis(10));
    /// assert_eq!(ProcessActivity::classify(second / 2, second), ProcessActivity::Computing);
    /// assert_eq!(ProcessActivity::classify(tick, second), ProcessActivity::Idle);
    /// ```
    pub fn classify(used: Duration, within: Duration) -> Self {
        if !used.is_zero() && used >= within / SHARE { Self::Computing } else { Self::Idle }
    }
}

impl fmt::Display for ProcessActivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Computing => "computing",
            Self::Idle => "idle",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
        })
    }
}
