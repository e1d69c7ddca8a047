//! Folders whose meaning nobody but this user and root can change. The way to a folder is walked from the root down, by
//! descriptors and without following links blindly: each folder on it is owned by this user or by root, and others cannot rename
//! or replace anything in it. Once such a way has been walked, its path names the same folder as long as the host lives.

use super::error::InstallError;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, mkdirat, open, openat, readlinkat, statat},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs,
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    path::{Component, Path, PathBuf},
};

/// A folder is only looked at: it need not be readable.
#[cfg(target_os = "linux")]
const OPEN_PATH: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const OPEN_PATH: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Links on one way; more are taken for a circle.
const MAX_LINKS: u32 = 40;

/// Whom files may belong to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owners {
    us: u32,
    /// Where a user namespace does not map it: the owner that stands for everybody outside, the system's own root among them.
    outside: Option<u32>,
}

impl Owners {
    pub(super) fn current() -> Self {
        Self { us: rustix::process::geteuid().as_raw(), outside: outside() }
    }

    #[cfg(test)]
    pub(super) fn of(us: u32) -> Self {
        Self { us, outside: None }
    }

    fn include(self, owner: u32) -> bool {
        owner == self.us || owner == 0 || Some(owner) == self.outside
    }

    /// Checks a file or folder that must have been written by this user or by root, and by nobody else.
    pub(super) fn check(self, path: &Path, owner: u32, mode: u32) -> Result<(), InstallError> {
        if !self.include(owner) {
            return Err(InstallError::Owner { path: path.into(), owner });
        }
        if mode & 0o022 != 0 {
            return Err(InstallError::Writable { path: path.into() });
        }
        Ok(())
    }

    /// Checks a folder on the way. In a sticky one, such as `/tmp`, others can add entries, and not touch ours.
    fn check_parent(self, path: &Path, stat: &Stat) -> Result<(), InstallError> {
        let (owner, mode) = owner_and_mode(stat);
        self.check(path, owner, if mode & 0o1000 == 0 { mode } else { mode & !0o022 })
    }
}

/// The owner that files of unmapped users show in a user namespace, unless somebody inside has that number too.
fn outside() -> Option<u32> {
    let overflow: u32 = fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?.trim().parse().ok()?;
    let map = fs::read_to_string("/proc/self/uid_map").ok()?;
    (!is_mapped(&map, overflow)).then_some(overflow)
}

/// Whether a line of a `uid_map` (first number inside, first outside, how many) covers the number.
fn is_mapped(map: &str, number: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u64>().unwrap_or(0));
        let (first, _, count) = (numbers.next(), numbers.next(), numbers.next());
        first.zip(count).is_some_and(|(first, count)| (first..first + count).contains(&u64::from(number)))
    })
}

#[cfg_attr(target_os = "linux", expect(clippy::useless_conversion, reason = "elsewhere a mode is shorter"))]
fn owner_and_mode(stat: &Stat) -> (u32, u32) {
    (stat.st_uid, u32::from(stat.st_mode))
}

/// A folder that was reached so.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    /// Without links.
    path: PathBuf,
    owners: Owners,
}

impl Folder {
    /// Walks to a folder that is there. The path must be absolute.
    pub(super) fn walk(path: &Path, owners: Owners) -> Result<Self, InstallError> {
        let mut at = Self::root(owners)?;
        let mut rest = names(path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if let Some(target) = at.link(&name)? {
                links += 1;
                if links > MAX_LINKS {
                    return Err(InstallError::io(path, Errno::LOOP));
                }
                if target.is_absolute() {
                    at = Self::root(owners)?;
                }
                rest.extend(names(&target));
            } else {
                at = at.enter(&name)?;
            }
        }
        Ok(at)
    }

    fn root(owners: Owners) -> Result<Self, InstallError> {
        let path = PathBuf::from("/");
        let fd = open(&path, OPEN_PATH, Mode::empty()).map_err(|error| InstallError::io(&path, error))?;
        Self { fd, path, owners }.checked()
    }

    /// Where a link leads to. Whom it belongs to matters: in a sticky folder anybody can put one.
    fn link(&self, name: &OsStr) -> Result<Option<PathBuf>, InstallError> {
        let path = self.path.join(name);
        let io = |error| InstallError::io(&path, error);
        let stat = statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(io)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Ok(None);
        }
        let (owner, _) = owner_and_mode(&stat);
        self.owners.check(&path, owner, 0)?;
        let target = readlinkat(&self.fd, name, Vec::new()).map_err(io)?;
        Ok(Some(OsString::from_vec(target.into_bytes()).into()))
    }

    fn enter(self, name: &OsStr) -> Result<Self, InstallError> {
        let path =
            if name == ".." { self.path.parent().unwrap_or(&self.path).to_path_buf() } else { self.path.join(name) };
        let fd = openat(&self.fd, name, OPEN_PATH, Mode::empty()).map_err(|error| InstallError::io(&path, error))?;
        Self { fd, path, owners: self.owners }.checked()
    }

    fn checked(self) -> Result<Self, InstallError> {
        self.owners.check_parent(&self.path, &self.stat()?)?;
        Ok(self)
    }

    fn stat(&self) -> Result<Stat, InstallError> {
        fstat(&self.fd).map_err(|error| InstallError::io(&self.path, error))
    }

    /// Goes on to a folder in this one that must be this user's alone, and makes it if it is not there.
    pub(super) fn own(self, name: &str) -> Result<Self, InstallError> {
        let path = self.path.join(name);
        match mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(InstallError::io(&path, error)),
        }
        let folder = self.enter(OsStr::new(name))?;
        let (owner, mode) = owner_and_mode(&folder.stat()?);
        folder.owners.check(&folder.path, owner, mode)?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The parts of a path, the first one last.
fn names(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    parts.map(|part| part.as_os_str().to_os_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A way through a folder that others can write is refused, wherever it stands; a sticky one is passed, and not taken as our own.
    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (middle, inner) = (dir.path().join("middle"), dir.path().join("middle/inner"));
        fs::create_dir_all(&inner).unwrap();
        let walk = || Folder::walk(&inner, Owners::current()).map(|folder| folder.path().to_path_buf());
        mode(&middle, 0o755);
        assert_eq!(walk().unwrap(), inner.canonicalize().unwrap());
        for open in [0o777, 0o775, 0o757] {
            mode(&middle, open);
            assert!(matches!(walk(), Err(InstallError::Writable { path }) if path.ends_with("middle")), "{open:o}");
        }
        mode(&middle, 0o1777);
        walk().unwrap();
        let own = Folder::walk(dir.path(), Owners::current()).unwrap().own("middle");
        assert!(matches!(own, Err(InstallError::Writable { .. })));
    }

    /// Somebody else's folder is refused: here the temporary one, seen by a user that is neither its owner nor root.
    #[test]
    fn files_of_another_user_are_refused() {
        let owners = Owners::of(1000);
        assert!(owners.check(Path::new("x"), 1000, 0o700).is_ok() && owners.check(Path::new("x"), 0, 0o755).is_ok());
        assert!(matches!(owners.check(Path::new("x"), 1001, 0o700), Err(InstallError::Owner { owner: 1001, .. })));
    }

    /// Links of our own are followed, from the root and from where they stand, and circles end.
    #[test]
    fn symbolic_links_are_resolved_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        symlink(at("a"), at("absolute")).unwrap();
        symlink("../absolute/./b", at("a/relative")).unwrap();
        symlink("circle", at("circle")).unwrap();
        let found = Folder::walk(&at("absolute/relative"), Owners::current()).unwrap();
        assert_eq!(found.path(), at("a/b").canonicalize().unwrap());
        assert!(matches!(Folder::walk(&at("circle"), Owners::current()), Err(InstallError::Io { .. })));
        assert!(matches!(Folder::walk(&at("nothing"), Owners::current()), Err(InstallError::Io { .. })));
    }

    /// In a user namespace that maps few users, the owner of everything else counts as root; where everybody is mapped, nobody does.
    #[test]
    fn unmapped_owner_is_recognized_in_a_user_namespace() {
        assert!(is_mapped("         0          0 4294967295\n", 65534));
        assert!(!is_mapped("         0       1000          1\n", 65534));
        assert!(is_mapped("0 1000 1\n1 100000 65536\n", 65534));
    }
}
