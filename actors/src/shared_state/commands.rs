//! Keeps what the workers say about their commands, and logs what is ignored.

use super::State;
use crate::CommandDescription;
use herder_wire::CommandEntry;
use std::sync::Arc;
use tracing::Level;

impl State {
    /// Returns the descriptions of the commands of the worker that became ready most recently.
    pub(crate) fn command_descriptions(&self) -> Arc<[CommandDescription]> {
        self.descriptions.current()
    }

    /// Takes over the descriptions of a worker. Workers of one version of an app send the same ones, so that a wrong
    /// description is logged once.
    pub(super) fn describe_commands(&mut self, commands: Vec<CommandEntry>) {
        let ignored = self.descriptions.replace(commands);
        let count = ignored.len();
        if let Some(first) = ignored.into_iter().next() {
            let pool = self.config.name().clone();
            self.call_log.events().queue(Level::WARN, move || {
                tracing::warn!(%pool, "{count} descriptions of commands are ignored, which does not affect calls: {first}");
            });
        }
    }
}
