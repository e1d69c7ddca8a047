//! Where the package can lie, and how it gets there.

use super::{
    contents,
    error::InstallError,
    ownership::{Folder, Owners},
};
use crate::{events::EventLog, launcher::LaunchError};
use herder_process::ProcessMark;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use std::{
    env,
    fmt::Write as _,
    fs::{self, DirBuilder, File, Permissions},
    hash::{BuildHasher, Hasher},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use tracing::Level;

/// The package in its folder.
#[derive(Debug)]
pub(super) struct Package {
    path: PathBuf,
    /// Removed with this value, in the process that made it. Locked, so that systemd's cleaner of temporary files leaves it alone.
    private: Option<(TempDir, File)>,
    process: ProcessMark,
}

/// In a forked copy of the host the folder stays: the host's workers import from it.
impl Drop for Package {
    fn drop(&mut self) {
        if let Some((folder, _)) = &mut self.private {
            folder.disable_cleanup(!self.process.is_here());
        }
    }
}

impl Package {
    fn new(path: PathBuf, private: Option<(TempDir, File)>) -> Self {
        Self { path, private, process: ProcessMark::here() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it can go on being used. One in the cache folder is looked for again, since other hosts of this user share it.
    pub(super) fn is_valid(&self, places: &InstallCandidates) -> bool {
        self.private.is_some() && contents::verify(&self.path, places.owners).is_ok()
    }
}

/// The places to try.
#[derive(Debug)]
pub(super) struct InstallCandidates {
    /// The variable that names the cache folder, and the folder; `None`: neither does.
    pub(super) cache: Option<(&'static str, PathBuf)>,
    /// Folders for temporary files.
    pub(super) temporary: Vec<PathBuf>,
    pub(super) owners: Owners,
}

impl InstallCandidates {
    /// As the host's environment says. Variables that hold no absolute path count as unset.
    pub(super) fn from_environment() -> Self {
        let named = |key: &'static str| {
            let path = env::var_os(key).map(PathBuf::from).filter(|path| path.is_absolute());
            path.map(|path| (key, path))
        };
        let standard = ["/tmp", "/var/tmp"].map(PathBuf::from);
        Self {
            cache: named("XDG_CACHE_HOME").or_else(|| named("HOME")),
            temporary: named("TMPDIR").map(|(_, path)| path).into_iter().chain(standard).collect(),
            owners: Owners::current(),
        }
    }

    /// The package in the first place that will do.
    pub(super) fn install(&self) -> Result<Package, LaunchError> {
        let mut tried = String::new();
        if let Some((key, folder)) = &self.cache {
            match self.cached(key, folder) {
                Ok(path) => return Ok(Package::new(path, None)),
                Err(refused) if refused.is_out_of_descriptors() => return Err(no_descriptors(&refused)),
                Err(refused) => {
                    let key = *key;
                    let _ = write!(tried, "{key}: {refused}; "); // it cannot fail
                    EventLog::new("herder").queue(Level::INFO, move || {
                        tracing::info!(%refused, "cannot use {key}; the Python package is written to a temporary folder");
                    });
                }
            }
        }
        for folder in &self.temporary {
            match self.private(folder) {
                Ok(package) => return Ok(package),
                Err(refused) if refused.is_out_of_descriptors() => return Err(no_descriptors(&refused)),
                Err(refused) => _ = write!(tried, "temporary folder: {refused}; "),
            }
        }
        Err(LaunchError::new(format!(
            "cannot write the embedded Python package ({}); set XDG_CACHE_HOME, HOME or TMPDIR to a folder that this \
             user can write and others cannot",
            tried.trim_end_matches("; ")
        )))
    }

    /// The package in the cache folder. What is there and is not as it should be is replaced.
    fn cached(&self, key: &str, folder: &Path) -> Result<PathBuf, InstallError> {
        let cache = match (key, folder.parent(), folder.file_name().and_then(|name| name.to_str())) {
            ("HOME", ..) => Folder::walk(folder, self.owners)?.own(".cache")?,
            (_, Some(parent), Some(name)) if fs::symlink_metadata(folder).is_err() => {
                Folder::walk(parent, self.owners)?.own(name)?
            }
            _ => Folder::walk(folder, self.owners)?,
        };
        let parent = cache.own("herder")?;
        let path = parent.path().join(format!("python-{}-{:016x}", env!("CARGO_PKG_VERSION"), fingerprint()));
        match contents::verify(&path, self.owners) {
            Ok(()) => return Ok(path),
            Err(refused) if refused.is_out_of_descriptors() => return Err(refused), // nothing is wrong with what is there
            Err(_) => write_and_rename(parent.path(), &path)?,
        }
        contents::verify(&path, self.owners)?;
        Ok(path)
    }

    /// The package in a new folder with an unpredictable name.
    fn private(&self, temporary: &Path) -> Result<Package, InstallError> {
        let parent = Folder::walk(temporary, self.owners)?;
        let dir = draft(parent.path(), "herder-")?;
        let io = |error| InstallError::io(dir.path(), error);
        let lock = File::open(dir.path()).map_err(io)?;
        flock(&lock, FlockOperation::NonBlockingLockShared).map_err(|error| InstallError::io(dir.path(), error))?;
        let path = dir.path().join("python");
        DirBuilder::new().mode(0o700).create(&path).map_err(io)?;
        contents::write(&path)?;
        contents::verify(&path, self.owners)?;
        Ok(Package::new(path, Some((dir, lock))))
    }
}

/// An error for a host that has no descriptors left: another folder would fail, too.
pub(super) fn no_descriptors(refused: &InstallError) -> LaunchError {
    LaunchError::out_of_descriptors(format!("the embedded Python package cannot be checked: {refused}"))
}

/// Writes the package beside its place and renames it: processes that start at the same moment see all of it or nothing.
fn write_and_rename(parent: &Path, path: &Path) -> Result<(), InstallError> {
    let draft = draft(parent, ".draft-")?;
    contents::write(draft.path())?;
    if fs::rename(draft.path(), path).is_ok() {
        return Ok(());
    }
    // Something is there: another host was faster, or it is refused. It goes with the draft's name.
    let exchanged = renameat_with(CWD, draft.path(), CWD, path, RenameFlags::EXCHANGE);
    if exchanged.is_ok() {
        return Ok(());
    }
    // Not every file system can exchange two folders. A worker that starts in between finds nothing, and is started again.
    let old = draft.path().join("replaced");
    fs::rename(path, &old)
        .and_then(|()| fs::rename(draft.path(), path))
        .map_err(|error| InstallError::io(path, error))?;
    let _ = fs::remove_dir_all(path.join("replaced"));
    Ok(())
}

fn draft(parent: &Path, prefix: &str) -> Result<TempDir, InstallError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).permissions(Permissions::from_mode(0o700));
    builder.tempdir_in(parent).map_err(|error| InstallError::io(parent, error))
}

fn fingerprint() -> u64 {
    let mut hasher = foldhash::quality::FixedState::with_seed(1).build_hasher();
    for (path, text) in herder_python::FILES {
        hasher.write(path.as_bytes());
        hasher.write(text.as_bytes());
    }
    hasher.finish()
}
