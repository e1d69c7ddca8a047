//! The package's folder: how it is written and checked. `herder/` contains the sources. `herder/__pycache__` contains
//! bytecode, which the first worker of each interpreter compiles (`python/src/herder/bytecode.py`), and for each interpreter
//! a record, which is a copy of that bytecode. Bytecode without a record is removed. Bytecode that differs from its record is
//! refused, as is any file that is not part of the package.

use super::{error::InstallError, ownership::Owners};
use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

const CACHE: &str = "__pycache__";
const RECORD: &str = ".record";

/// Writes the package into an existing, empty folder that only this user can access.
pub(super) fn write(folder: &Path) -> Result<(), InstallError> {
    let package = folder.join("herder");
    DirBuilder::new().mode(0o700).create(&package).map_err(|error| InstallError::io(&package, error))?;
    for (name, text) in herder_python::FILES {
        let path = package.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| InstallError::io(&path, error))?;
    }
    Ok(())
}

/// Checks that the folder contains the package and nothing that another user wrote or that is not part of it.
pub(super) fn verify(folder: &Path, owners: Owners) -> Result<(), InstallError> {
    let package = folder.join("herder");
    for name in names(folder, owners)? {
        if name != "herder" {
            return Err(InstallError::Unlisted { path: folder.join(name) });
        }
    }
    for name in names(&package, owners)? {
        if name != CACHE && herder_python::FILES.iter().all(|(listed, _)| *listed != name) {
            return Err(InstallError::Unlisted { path: package.join(name) });
        }
    }
    for (name, text) in herder_python::FILES {
        let path = package.join(name);
        if contents(&path, owners)? != text.as_bytes() {
            return Err(InstallError::Contents { path });
        }
    }
    match verify_bytecode(&package.join(CACHE), owners) {
        Err(refused) if refused.is_absent() => Ok(()), // no worker has compiled yet, or a file was renamed meanwhile
        verified => verified,
    }
}

/// Checks the bytecode. A worker may write bytecode at the same time. It writes its record before its files, so the files are
/// listed first and the records second: then the list of records contains the record of each listed file. In the other order,
/// bytecode whose record was written in between would be taken for unrecorded and removed.
fn verify_bytecode(cache: &Path, owners: Owners) -> Result<(), InstallError> {
    let mut rest = names(cache, owners)?;
    rest.retain(|name| !name.ends_with(RECORD));
    for record in names(cache, owners)?.iter().filter(|name| name.ends_with(RECORD)) {
        let path = cache.join(record);
        let bytes = contents(&path, owners)?;
        for (module, code) in parse(&bytes).ok_or(InstallError::Contents { path })? {
            let name = format!("{module}.{}.pyc", record.trim_end_matches(RECORD));
            if rest.remove(&name) {
                verify_code(&cache.join(name), code, owners)?;
            }
        }
    }
    rest.into_iter().try_for_each(|name| remove_bytecode(&cache.join(name), owners))
}

/// Removes bytecode that no record lists. Other programs of this user write it, such as a child of a worker that runs another
/// interpreter with this package on its path. The folder is not replaced because of it: that would take the package away from
/// workers that are starting.
fn remove_bytecode(path: &Path, owners: Owners) -> Result<(), InstallError> {
    let is_bytecode = path.to_string_lossy().contains(".pyc"); // or a draft of it, `.pyc.1234`
    let meta = fs::symlink_metadata(path).map_err(|error| InstallError::io(path, error));
    match meta {
        Err(refused) if refused.is_absent() => Ok(()), // the draft was renamed meanwhile
        Ok(meta) if is_bytecode && meta.is_file() => {
            owners.check(path, meta.uid(), meta.mode())?;
            fs::remove_file(path).or_else(|error| match InstallError::io(path, error) {
                refused if refused.is_absent() => Ok(()),
                refused => Err(refused),
            })
        }
        Ok(_) => Err(InstallError::Unlisted { path: path.into() }),
        Err(refused) => Err(refused),
    }
}

fn verify_code(path: &Path, code: &[u8], owners: Owners) -> Result<(), InstallError> {
    match contents(path, owners) {
        Ok(bytes) if bytes == code => Ok(()),
        Ok(_) => Err(InstallError::Contents { path: path.into() }),
        Err(refused) if refused.is_absent() => Ok(()), // a worker replaces it at this moment
        Err(refused) => Err(refused),
    }
}

/// Parses a record: for each module, in the order of the names, the length of its bytecode (8 bytes, little endian) and the
/// bytecode.
fn parse(mut record: &[u8]) -> Option<Vec<(&'static str, &[u8])>> {
    let modules: BTreeSet<&str> =
        herder_python::FILES.iter().filter_map(|(name, _)| name.strip_suffix(".py")).collect();
    let mut compiled = Vec::with_capacity(modules.len());
    for module in modules {
        let (length, rest) = record.split_first_chunk()?;
        let (code, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        compiled.push((module, code));
        record = rest;
    }
    record.is_empty().then_some(compiled)
}

/// Returns the names in a folder that only this user may write.
fn names(folder: &Path, owners: Owners) -> Result<BTreeSet<String>, InstallError> {
    let io = |error| InstallError::io(folder, error);
    let meta = fs::symlink_metadata(folder).map_err(io)?;
    if !meta.is_dir() {
        return Err(InstallError::Unlisted { path: folder.into() });
    }
    owners.check(folder, meta.uid(), meta.mode())?;
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let name = entry.map_err(io)?.file_name().into_string();
        names.insert(name.map_err(|name| InstallError::Unlisted { path: folder.join(name) })?);
    }
    Ok(names)
}

/// Returns the contents of a file that only this user may write. No other user can replace the file between the check and the
/// read, since its folder was checked before.
fn contents(path: &Path, owners: Owners) -> Result<Vec<u8>, InstallError> {
    let io = |error| InstallError::io(path, error);
    let meta = fs::symlink_metadata(path).map_err(io)?;
    if !meta.is_file() {
        return Err(InstallError::Unlisted { path: path.into() });
    }
    owners.check(path, meta.uid(), meta.mode())?;
    fs::read(path).map_err(io)
}
