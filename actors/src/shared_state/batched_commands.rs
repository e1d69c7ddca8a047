//! The commands of a pool that run in batches: their numbers in the core, and their limits. Holds no calls.

use crate::BatchSettings;
use herder_core::{BATCHED_COMMAND_LIMIT, BatchKey, BatchLimits};
use herder_wire::BatchEntry;
use std::time::Duration;

/// The commands that some worker has stated to run in batches, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct BatchedCommands(Vec<BatchedCommand>);

#[derive(Debug)]
struct BatchedCommand {
    name: String,
    /// The largest batch whose frame fits.
    largest: u32,
    /// What a worker stated most recently.
    stated: BatchLimits,
    /// What was configured or set for this pool instead.
    set: BatchSettings,
}

impl BatchedCommands {
    /// Records what a worker states about a command. `configured` applies until something else is set. Returns the number of the
    /// command, unless there are too many commands.
    pub(super) fn state(
        &mut self,
        name: &str,
        entry: BatchEntry,
        configured: BatchSettings,
        max_frame: u32,
    ) -> Option<BatchKey> {
        // The wire ids of a batch must fit into a frame.
        let largest = BatchSettings::LARGEST.min((max_frame / 8).max(1));
        let max_batch_size = entry.max_batch_size.get().min(largest);
        let max_wait = Duration::from_micros(entry.max_wait_us).min(BatchSettings::LONGEST_WAIT);
        let stated = BatchLimits { max_batch_size, max_wait };
        let index = match self.0.iter().position(|command| command.name == name) {
            Some(index) => index,
            None if self.0.len() >= BATCHED_COMMAND_LIMIT => return None,
            None => {
                self.0.push(BatchedCommand { name: name.into(), largest, stated, set: configured });
                self.0.len() - 1
            }
        };
        self.0[index].stated = stated;
        u16::try_from(index).ok().map(BatchKey)
    }

    pub(super) fn limits(&self, key: BatchKey) -> BatchLimits {
        let Some(BatchedCommand { largest, stated, set, .. }) = self.0.get(usize::from(key.0)) else {
            return BatchLimits::default();
        };
        BatchLimits {
            max_batch_size: set.max_batch_size.map_or(stated.max_batch_size, |size| size.get().min(*largest)),
            max_wait: set.max_wait.unwrap_or(stated.max_wait),
        }
    }

    /// Changes the limits of a command, whatever workers state. What `settings` leaves out stays. Returns `None` if there is no
    /// such command.
    pub(super) fn set(&mut self, command: &str, settings: BatchSettings) -> Option<BatchKey> {
        let index = self.0.iter().position(|known| known.name == command)?;
        let set = &mut self.0[index].set;
        set.max_batch_size = settings.max_batch_size.or(set.max_batch_size);
        set.max_wait = settings.max_wait.or(set.max_wait);
        u16::try_from(index).ok().map(BatchKey)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (BatchKey, &str)> {
        (0..).map(BatchKey).zip(self.0.iter().map(|command| command.name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    /// The wire ids of a batch fit into a frame, whatever a worker states, a configuration has, or is set later.
    #[test]
    fn no_batch_exceeds_a_frame() {
        let size = |size| BatchSettings { max_batch_size: NonZeroU32::new(size), max_wait: None };
        let mut commands = BatchedCommands::default();
        let entry = BatchEntry { max_batch_size: NonZeroU32::MAX, max_wait_us: u64::MAX };
        let stated = commands.state("stated", entry, BatchSettings::default(), 1024).unwrap();
        let limits = BatchLimits { max_batch_size: 128, max_wait: BatchSettings::LONGEST_WAIT };
        assert_eq!(commands.limits(stated), limits);
        let configured = commands.state("configured", entry, size(200), 1024).unwrap();
        assert_eq!(commands.limits(configured), limits);
        commands.set("stated", size(65_536));
        assert_eq!(commands.limits(stated), limits);
        commands.set("stated", size(100));
        assert_eq!(commands.limits(stated).max_batch_size, 100);
    }
}
