//! Puts the embedded Python package where `python3` finds it. The only files that Herder itself writes.
//!
//! In the user's cache folder, if nobody but the user and root can change what is there or on the way to it (`trust`); otherwise in
//! a private folder with an unpredictable name, which is removed with the last pool of the host. It is written once and checked at
//! each start of a worker, file by file (`contents`): a cleaner of temporary files may have been there since.

mod contents;
mod error;
mod install;
mod ownership;
#[cfg(test)]
mod tests;

use crate::launcher::LaunchError;
use herder_process::thread_builder;
use install::{InstallCandidates, Package};
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tokio::sync::oneshot;

/// Holds the package where it is. A private folder is removed with the last of these.
#[derive(Clone, Debug)]
pub(crate) struct Installed(Arc<Package>);

impl Installed {
    /// The folder to put on `PYTHONPATH`.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// The host's package. Pools come and go; a private folder is shared by those that live at the same time.
static CURRENT: Mutex<Weak<Package>> = Mutex::new(Weak::new());

/// The package, written if it is not there, and checked. Files are touched on a thread of their own: a home folder on a server that
/// does not answer must block neither the pool nor the end of its runtime.
///
/// # Errors
/// The text says which folders were tried, what is wrong with each, and which variables select other folders; or that the host has no descriptors left.
pub(crate) async fn installed() -> Result<Installed, LaunchError> {
    let (reply, answer) = oneshot::channel();
    let run = move || drop(reply.send(install())); // whoever asked may have left
    let thread = thread_builder("herder-package").spawn(run);
    thread.map_err(|error| {
        LaunchError::new(format!("cannot start a thread to write the embedded Python package: {error}"))
    })?;
    answer
        .await
        .unwrap_or_else(|_| Err(LaunchError::new("the embedded Python package was not written: its thread ended")))
}

fn install() -> Result<Installed, LaunchError> {
    let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    let places = InstallCandidates::from_environment();
    if let Some(package) = current.upgrade().filter(|package| package.is_valid(&places)) {
        return Ok(Installed(package));
    }
    let package = Arc::new(places.install()?);
    *current = Arc::downgrade(&package);
    Ok(Installed(package))
}
