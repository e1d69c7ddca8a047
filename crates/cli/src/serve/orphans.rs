//! Reaps orphans where the server is PID 1, as in a container without an init process. Holds nothing.

use crate::error::{CommandError, Outcome};
use tokio::signal::unix::{SignalKind, signal};

/// Reaps orphans that are left to this process, now and after each SIGCHLD, if it is PID 1. They stay zombies otherwise, and the
/// container runs out of process ids.
pub(super) fn reap_if_init() -> Outcome {
    if std::process::id() != 1 {
        return Ok(());
    }
    let mut ended = signal(SignalKind::child()).map_err(CommandError::failed)?;
    actix_rt::spawn(async move {
        loop {
            // All children but these orphans are Herder's own, which this leaves alone.
            herder::reap_orphans(|_| false);
            // Signals that arrive together are one here, and a pass reaps all that have ended.
            if ended.recv().await.is_none() {
                return;
            }
        }
    });
    Ok(())
}
