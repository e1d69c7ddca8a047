//! Installs the embedded Python package where `python3` finds it. These are the only files that Herder itself writes.
//!
//! The package is in the user's cache folder if only the user and root can change that folder and its parents (`ownership`).
//! Otherwise it is in a private folder with an unpredictable name, which is removed with the last pool of the host. It is
//! written once, and checked file by file at each start of a worker (`contents`), since a cleaner of temporary files may have
//! removed some.

mod contents;
mod error;
mod install;
mod ownership;
#[cfg(test)]
mod tests;

use crate::child::LaunchError;
use herder_process::thread_builder;
use install::{InstallCandidates, Package};
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tokio::sync::oneshot;

/// The installed package. A private folder is removed when the last clone of this is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Installed(Arc<Package>);

impl Installed {
    /// Returns the folder for `PYTHONPATH`.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// The host's package. Weak, so that a private folder is removed with the last pool; pools that run at the same time share
/// it.
static CURRENT: Mutex<Weak<Package>> = Mutex::new(Weak::new());

/// Returns the package; writes it if it does not exist, and checks it. The files are read and written on a separate thread: a
/// home folder on a file server that does not respond must block neither the pool nor the end of its runtime.
///
/// # Errors
/// The text says which folders were tried, what is wrong with each, and which variables select other folders; or that the
/// host has no descriptors left.
pub(crate) async fn installed() -> Result<Installed, LaunchError> {
    let (reply, answer) = oneshot::channel();
    let run = move || drop(reply.send(install())); // fails if the pool was dropped meanwhile
    let thread = thread_builder("herder-package").spawn(run);
    thread.map_err(|error| {
        LaunchError::new(format!("cannot start a thread to write the embedded Python package: {error}"))
    })?;
    answer
        .await
        .unwrap_or_else(|_| Err(LaunchError::new("the embedded Python package was not written: its thread ended")))
}

fn install() -> Result<Installed, LaunchError> {
    // Locked during the installation, so that pools that start at the same time do not each write a private folder.
    let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    let candidates = InstallCandidates::from_environment();
    // Only a private package is reused: `is_valid` is false for the cache folder, which is looked up again.
    if let Some(package) = current.upgrade().filter(|package| package.is_valid(&candidates)) {
        return Ok(Installed(package));
    }
    let package = Arc::new(candidates.install()?);
    *current = Arc::downgrade(&package);
    Ok(Installed(package))
}
