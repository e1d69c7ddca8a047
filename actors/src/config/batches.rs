//! The limits of batches: as a configuration gives them for a command, and as they are set while the pool runs.

use super::InvalidConfig;
use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

/// The limits of the batches of a command. `None` keeps the current value: what was set before, or what the app declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchSettings {
    /// The maximum number of calls of a batch, at most 65536. With 1, calls run alone.
    pub max_batch_size: Option<NonZeroU32>,
    /// The maximum time that a call waits for others while a worker could run it, at most one minute.
    pub max_wait: Option<Duration>,
}

impl BatchSettings {
    /// The largest batch.
    pub(crate) const LARGEST: u32 = 65_536;
    /// The longest time for which a call waits for others.
    pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(60);

    /// Returns an error if a value is too large.
    ///
    /// # Errors
    /// Names the value that is too large, and the limit.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        if let Some(size) = self.max_batch_size.filter(|size| size.get() > Self::LARGEST) {
            return Err(InvalidConfig::new("max_batch_size", size, format_args!("1 to {}", Self::LARGEST)));
        }
        match self.max_wait.filter(|wait| *wait > Self::LONGEST_WAIT) {
            Some(wait) => Err(InvalidConfig::new("max_wait", format_args!("{wait:?}"), "0s to 1m")),
            None => Ok(()),
        }
    }
}

/// Checks the limits of all commands in a configuration.
pub(super) fn check(given: &BTreeMap<String, BatchSettings>) -> Result<(), InvalidConfig> {
    for (command, limits) in given {
        limits.check().map_err(|error| {
            let given = format_args!("{command} = {{ {} = {} }}", error.key(), error.given());
            InvalidConfig::new(super::table::BATCH.path, given, format_args!("{} {}", error.key(), error.allowed()))
        })?;
    }
    Ok(())
}
