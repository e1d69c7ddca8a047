//! The activity of a process while it did not answer a ping. The figures are measured by the shell.

use serde::Serialize;
use std::{fmt, time::Duration};

/// A process that used at least 1/16 of one core is computing. Less is noise: a thread that waits for Python's GIL
/// requests it every 5 ms, which uses up to 1 % of a core.
const BUSY_FRACTION: u32 = 16;

/// The activity of a process while it did not answer a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProcessActivity {
    /// The CPU time of the process increased.
    Computing,
    /// The CPU time of the process did not increase.
    Idle,
    /// The process is suspended (`SIGSTOP`, or a debugger).
    Stopped,
    /// The activity could not be determined.
    Unknown,
}

impl ProcessActivity {
    /// Returns the activity of a process that is not suspended and used this much CPU time within this period.
    ///
    /// ```
    /// # use herder_core::ProcessActivity;
    /// use std::time::Duration;
    /// let (second, tick) = (Duration::from_secs(1), Duration::from_millis(10));
    /// assert_eq!(ProcessActivity::classify(second / 2, second), ProcessActivity::Computing);
    /// assert_eq!(ProcessActivity::classify(tick, second), ProcessActivity::Idle);
    /// ```
    pub fn classify(used: Duration, within: Duration) -> Self {
        if !used.is_zero() && used >= within / BUSY_FRACTION { Self::Computing } else { Self::Idle }
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
