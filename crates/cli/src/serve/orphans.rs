//! Reaps orphans if the server is PID 1, as in a container without an init process. Stateless.

use crate::error::{CommandError, Outcome};
use tokio::signal::unix::{SignalKind, signal};

/// Reaps orphans that are adopted by this process, now and after each SIGCHLD, if it is PID 1. Otherwise they would
/// stay zombies, and the container could run out of process ids.
pub(super) fn reap_if_init() -> Outcome {
    if std::process::id() != 1 {
        return Ok(());
    }
    let mut ended = signal(SignalKind::child()).map_err(CommandError::failed)?;
    actix_rt::spawn(async move {
        loop {
            // `reap_orphans` skips the processes that Herder started. All other children are orphans.
            herder::process::reap_orphans(|_| false);
            // Several SIGCHLD can arrive as one, but one pass reaps all orphans that have exited. The handler is
            // registered before the first pass, so that an exit in between is not missed.
            if ended.recv().await.is_none() {
                return;
            }
        }
    });
    Ok(())
}
