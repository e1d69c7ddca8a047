//! Puts the embedded Python package where `python3` finds it: once per content, in the user's cache folder. The only files
//! Herder itself writes.

use std::{
    env, fs,
    hash::{BuildHasher, Hasher},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

/// The folder to put on `PYTHONPATH`. Writes it if it is not there yet, or not as it should be; blocks for that moment.
///
/// # Errors
/// In words, with the path: the folder can't be written, or belongs to somebody else.
pub(crate) fn installed() -> Result<PathBuf, String> {
    let folder = cache().join(format!("python-{}-{:016x}", env!("CARGO_PKG_VERSION"), fingerprint()));
    let told =
        |error: io::Error| format!("the embedded Python package can't be written to {}: {error}", folder.display());
    if !is_complete(&folder) {
        write(&folder).map_err(told)?;
    }
    if fs::metadata(&folder).map_err(told)?.uid() != rustix::process::getuid().as_raw() {
        return Err(format!("{} belongs to another user: not run from", folder.display()));
    }
    Ok(folder)
}

fn cache() -> PathBuf {
    let absolute = |key: &str| env::var_os(key).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    let user = rustix::process::getuid().as_raw();
    home.map_or_else(|| env::temp_dir().join(format!("herder-{user}")), |cache| cache.join("herder"))
}

fn fingerprint() -> u64 {
    let mut hasher = foldhash::quality::FixedState::with_seed(1).build_hasher();
    for (path, text) in herder_python::FILES {
        hasher.write(path.as_bytes());
        hasher.write(text.as_bytes());
    }
    hasher.finish()
}

/// Every file, byte for byte: a torn or tampered copy is written anew.
fn is_complete(folder: &Path) -> bool {
    herder_python::FILES
        .iter()
        .all(|(path, text)| fs::read(folder.join("herder").join(path)).is_ok_and(|found| found == text.as_bytes()))
}

/// Writes beside the place and renames: processes that start at the same moment see all of it or nothing.
fn write(folder: &Path) -> io::Result<()> {
    let parent = folder.parent().unwrap_or(folder);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    let draft = tempfile::Builder::new().prefix(".draft-").tempdir_in(parent)?;
    for (path, text) in herder_python::FILES {
        let file = draft.path().join("herder").join(path);
        fs::create_dir_all(file.parent().unwrap_or(&file))?;
        fs::write(file, text)?;
    }
    match fs::rename(draft.path(), folder) {
        Ok(()) => Ok(()),
        Err(_) if is_complete(folder) => Ok(()), // somebody else was faster
        Err(_) => {
            fs::rename(folder, draft.path().join("replaced"))?;
            fs::rename(draft.path(), folder)
        }
    }
}
