//! Opens folders that only this user and root can change. A path is resolved from the root, one component at a time, by
//! descriptors and with checked links: each folder on it is owned by this user or by root, and other users cannot rename or
//! replace anything in it. So the path names the same folder as long as the host runs.

use super::error::InstallError;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, readlinkat, statat},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs,
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    path::{Component, Path, PathBuf},
};

/// How folders are opened. On Linux they need not be readable.
#[cfg(target_os = "linux")]
const OPEN_PATH: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const OPEN_PATH: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The maximum number of links in one path; more are taken for a cycle.
const MAX_LINKS: u32 = 40;

/// The users that may own the files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owners {
    us: u32,
    /// In a user namespace that does not map it: the owner that represents all users outside of the namespace, among them the
    /// system's root.
    outside: Option<u32>,
}

impl Owners {
    pub(super) fn current() -> Self {
        Self { us: rustix::process::geteuid().as_raw(), outside: unmapped_owner() }
    }

    #[cfg(test)]
    pub(super) fn of(us: u32) -> Self {
        Self { us, outside: None }
    }

    fn include(self, owner: u32) -> bool {
        owner == self.us || owner == 0 || Some(owner) == self.outside
    }

    /// Checks a file or folder that only this user or root may have written.
    pub(super) fn check(self, path: &Path, owner: u32, mode: u32) -> Result<(), InstallError> {
        if !self.include(owner) {
            return Err(InstallError::Owner { path: path.into(), owner });
        }
        if mode & 0o022 != 0 {
            return Err(InstallError::Writable { path: path.into() });
        }
        Ok(())
    }

    /// Checks a folder on the path. In a sticky folder such as `/tmp`, other users can add entries, but not rename or remove
    /// ours.
    fn check_parent(self, path: &Path, stat: &Stat) -> Result<(), InstallError> {
        let (owner, mode) = owner_and_mode(stat);
        self.check(path, owner, if mode & 0o1000 == 0 { mode } else { mode & !0o022 })
    }
}

/// Returns the owner that files of unmapped users show in a user namespace, unless a user inside has that number, too.
fn unmapped_owner() -> Option<u32> {
    let overflow: u32 = fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?.trim().parse().ok()?;
    let map = fs::read_to_string("/proc/self/uid_map").ok()?;
    (!is_mapped(&map, overflow)).then_some(overflow)
}

/// Returns whether a line of a `uid_map` (first number inside, first number outside, count) covers the number.
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

/// An opened folder whose path was checked.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    /// The path, without links.
    path: PathBuf,
    owners: Owners,
}

impl Folder {
    /// Opens an existing folder and checks its path, which must be absolute.
    pub(super) fn open(path: &Path, owners: Owners) -> Result<Self, InstallError> {
        let mut folder = Self::root(owners)?;
        let mut rest = names(path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            // Between this check and `enter` another user cannot replace the entry: the folder that contains it was checked.
            // `enter` does not follow links either (`NOFOLLOW`).
            if let Some(target) = folder.link(&name)? {
                links += 1;
                if links > MAX_LINKS {
                    return Err(InstallError::io(path, Errno::LOOP));
                }
                if target.is_absolute() {
                    folder = Self::root(owners)?;
                }
                rest.extend(names(&target));
            } else {
                folder = folder.enter(&name)?;
            }
        }
        Ok(folder)
    }

    fn root(owners: Owners) -> Result<Self, InstallError> {
        let path = PathBuf::from("/");
        let fd = rustix::fs::open(&path, OPEN_PATH, Mode::empty()).map_err(|error| InstallError::io(&path, error))?;
        Self { fd, path, owners }.checked()
    }

    /// Returns the target of a link. The owner of the link matters: in a sticky folder any user can create one.
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

    /// Opens a folder in this one that only this user may write; creates it if it does not exist.
    pub(super) fn own_subfolder(self, name: &str) -> Result<Self, InstallError> {
        let path = self.path.join(name);
        // Created first and opened then: a folder that another user creates in between is found by the check of its owner.
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

/// Returns the components of a path in reverse order.
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

    /// A path through a folder that other users can write is refused. A sticky folder is accepted in a path, but not as a
    /// folder of our own.
    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (middle, inner) = (dir.path().join("middle"), dir.path().join("middle/inner"));
        fs::create_dir_all(&inner).unwrap();
        let open = || Folder::open(&inner, Owners::current()).map(|folder| folder.path().to_path_buf());
        mode(&middle, 0o755);
        assert_eq!(open().unwrap(), inner.canonicalize().unwrap());
        for writable in [0o777, 0o775, 0o757] {
            mode(&middle, writable);
            assert!(matches!(open(), Err(InstallError::Writable { path }) if path.ends_with("middle")), "{writable:o}");
        }
        mode(&middle, 0o1777);
        open().unwrap();
        let own = Folder::open(dir.path(), Owners::current()).unwrap().own_subfolder("middle");
        assert!(matches!(own, Err(InstallError::Writable { .. })));
    }

    /// A folder of another user is refused.
    #[test]
    fn files_of_another_user_are_refused() {
        let owners = Owners::of(1000);
        assert!(owners.check(Path::new("x"), 1000, 0o700).is_ok() && owners.check(Path::new("x"), 0, 0o755).is_ok());
        assert!(matches!(owners.check(Path::new("x"), 1001, 0o700), Err(InstallError::Owner { owner: 1001, .. })));
    }

    /// Links of this user are followed, absolute and relative ones; a cycle is an error.
    #[test]
    fn symbolic_links_are_resolved_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("a/b")).unwrap();
        symlink(path("a"), path("absolute")).unwrap();
        symlink("../absolute/./b", path("a/relative")).unwrap();
        symlink("circle", path("circle")).unwrap();
        let folder = Folder::open(&path("absolute/relative"), Owners::current()).unwrap();
        assert_eq!(folder.path(), path("a/b").canonicalize().unwrap());
        assert!(matches!(Folder::open(&path("circle"), Owners::current()), Err(InstallError::Io { .. })));
        assert!(matches!(Folder::open(&path("nothing"), Owners::current()), Err(InstallError::Io { .. })));
    }

    /// In a user namespace that maps few users, the owner that represents all others is accepted like root. Where all users
    /// are mapped there is no such owner.
    #[test]
    fn unmapped_owner_is_recognized_in_a_user_namespace() {
        assert!(is_mapped("         0          0 4294967295\n", 65534));
        assert!(!is_mapped("         0       1000          1\n", 65534));
        assert!(is_mapped("0 1000 1\n1 100000 65536\n", 65534));
    }
}
