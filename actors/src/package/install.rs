//! Selects a folder for the package and writes the package into it.

use super::{
    contents,
    error::InstallError,
    ownership::{Folder, Owners},
};
use crate::{child::LaunchError, events::EventLog};
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
    /// The private folder, removed with this value in the process that created it, and a shared lock on it: systemd's cleaner
    /// of temporary files skips locked folders.
    private: Option<(TempDir, File)>,
    process: ProcessMark,
}

/// Keeps the folder in a forked copy of the host: the host's workers import from it.
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

    /// Returns whether the package can be used again. A package in the cache folder is looked up again, since other hosts of
    /// this user share it.
    pub(super) fn is_valid(&self, candidates: &InstallCandidates) -> bool {
        self.private.is_some() && contents::verify(&self.path, candidates.owners).is_ok()
    }
}

/// The folders to try.
#[derive(Debug)]
pub(super) struct InstallCandidates {
    /// The variable that names the cache folder, and the folder; `None` if neither variable is set.
    pub(super) cache: Option<(&'static str, PathBuf)>,
    /// The folders for temporary files.
    pub(super) temporary: Vec<PathBuf>,
    pub(super) owners: Owners,
}

impl InstallCandidates {
    /// Reads the folders from the host's environment. A variable without an absolute path counts as not set.
    pub(super) fn from_environment() -> Self {
        let variable = |key: &'static str| {
            let path = env::var_os(key).map(PathBuf::from).filter(|path| path.is_absolute());
            path.map(|path| (key, path))
        };
        let defaults = ["/tmp", "/var/tmp"].map(PathBuf::from);
        Self {
            cache: variable("XDG_CACHE_HOME").or_else(|| variable("HOME")),
            temporary: variable("TMPDIR").map(|(_, path)| path).into_iter().chain(defaults).collect(),
            owners: Owners::current(),
        }
    }

    /// Installs the package in the first folder that can be used.
    pub(super) fn install(&self) -> Result<Package, LaunchError> {
        let mut tried = String::new();
        if let Some((key, folder)) = &self.cache {
            match self.cached(key, folder) {
                Ok(path) => return Ok(Package::new(path, None)),
                Err(refused) if refused.is_out_of_descriptors() => return Err(no_descriptors(&refused)),
                Err(error) => {
                    let key = *key;
                    let _ = write!(tried, "{key}: {error}; "); // writing to a string does not fail
                    EventLog::new("herder").queue(Level::INFO, move || {
                        tracing::info!(%error, "cannot use {key}; the Python package is written to a temporary folder");
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

    /// Installs the package in the cache folder. An existing folder that fails the check is replaced.
    fn cached(&self, key: &str, folder: &Path) -> Result<PathBuf, InstallError> {
        let cache = match (key, folder.parent(), folder.file_name().and_then(|name| name.to_str())) {
            ("HOME", ..) => Folder::open(folder, self.owners)?.own_subfolder(".cache")?,
            (_, Some(parent), Some(name)) if fs::symlink_metadata(folder).is_err() => {
                Folder::open(parent, self.owners)?.own_subfolder(name)?
            }
            _ => Folder::open(folder, self.owners)?,
        };
        let parent = cache.own_subfolder("herder")?;
        let path = parent.path().join(format!("python-{}-{:016x}", env!("CARGO_PKG_VERSION"), fingerprint()));
        match contents::verify(&path, self.owners) {
            Ok(()) => return Ok(path),
            Err(refused) if refused.is_out_of_descriptors() => return Err(refused), // the folder itself may be valid
            Err(_) => write_and_rename(parent.path(), &path)?,
        }
        // Checked again, since another host may have replaced the folder after the rename.
        contents::verify(&path, self.owners)?;
        Ok(path)
    }

    /// Installs the package in a new folder with an unpredictable name.
    fn private(&self, temporary: &Path) -> Result<Package, InstallError> {
        let parent = Folder::open(temporary, self.owners)?;
        // Hidden, since `herder dev` and other programs watch the Python files below a project: it may be in the temporary folder.
        let dir = create_draft(parent.path(), ".herder-")?;
        let io = |error| InstallError::io(dir.path(), error);
        // Locked before the package is written: the cleaner could remove the folder at any time.
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

/// Writes the package into a draft folder and renames it: hosts that start at the same time see the complete package or
/// nothing.
fn write_and_rename(parent: &Path, path: &Path) -> Result<(), InstallError> {
    let draft = create_draft(parent, ".draft-")?;
    contents::write(draft.path())?;
    if fs::rename(draft.path(), path).is_ok() {
        return Ok(());
    }
    // The path exists: another host was faster, or what is there failed the check. The exchange is atomic, and what was there
    // is removed under the draft's name.
    let exchanged = renameat_with(CWD, draft.path(), CWD, path, RenameFlags::EXCHANGE);
    if exchanged.is_ok() {
        return Ok(());
    }
    // Not every file system can exchange two folders. A worker that starts between the two renames finds no package: its
    // start fails and is retried.
    let old = draft.path().join("replaced");
    fs::rename(path, &old)
        .and_then(|()| fs::rename(draft.path(), path))
        .map_err(|error| InstallError::io(path, error))?;
    let _ = fs::remove_dir_all(path.join("replaced"));
    Ok(())
}

fn create_draft(parent: &Path, prefix: &str) -> Result<TempDir, InstallError> {
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
