//! Logs which copy of Herder's Python package the workers of the pool import, if one is installed for their interpreter.

use super::State;
use herder_wire::InstalledPackage;
use tracing::Level;

/// The maximum number of characters of a worker's text in the log event.
const MAX_CHARS: usize = 512;

impl State {
    /// Logs the installed copy that a worker states. All workers of a pool normally state the same one, which is logged once.
    pub(crate) fn log_installed_package(&mut self, stated: InstalledPackage) {
        if self.installed_package.as_ref() == Some(&stated) {
            return;
        }
        let pool = self.config.name().clone();
        let path: String = stated.path.chars().take(MAX_CHARS).collect();
        let unused: Option<String> = stated.unused.as_ref().map(|reason| reason.chars().take(MAX_CHARS).collect());
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
