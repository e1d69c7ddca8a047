//! Logs which copy of Herder's Python package the workers of the pool import, if one is installed for their interpreter.

use super::State;
use herder_wire::InstalledPackage;
use tracing::Level;

/// The maximum number of characters of a worker's text in the log event.
const MAX_CHARS: usize = 512;

impl State {
    /// Logs the installed copy that a worker states. All workers of a pool normally state the same one, which is logged once.
    pub(crate) fn log_installed_package(&mut self, mut stated: InstalledPackage) {
        // Kept until the next start, and a worker's text may be as long as its frame.
        stated.path = shorten(&stated.path);
        stated.unused = stated.unused.as_deref().map(shorten);
        if self.installed_package.as_ref() == Some(&stated) {
            return;
        }
        let pool = self.config.name().clone();
        let InstalledPackage { path, unused } = stated.clone();
        self.installed_package = Some(stated);
        let events = self.call_log.events();
        match unused {
            None => events.queue(Level::INFO, move || {
                tracing::info!(%pool, %path, "workers use the installed Python package herder, which equals that of this program");
            }),
            Some(reason) => events.queue(Level::WARN, move || {
                tracing::warn!(%pool, %path, "workers do not use the installed Python package herder but that of this program: {reason}");
            }),
        }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_CHARS).collect()
}
