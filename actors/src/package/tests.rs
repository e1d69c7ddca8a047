//! Where the package is installed, and which files there are refused. Each test has its own folder; nothing here reads the
//! environment.

use super::{
    contents,
    error::InstallError,
    install::InstallCandidates,
    ownership::{Folder, Owners},
};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, lchown, symlink},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const NOBODY: u32 = 65534;

fn home_of(dir: &TempDir) -> InstallCandidates {
    let (home, temporary) = (dir.path().join("home"), dir.path().join("tmp"));
    fs::create_dir_all(&home).unwrap();
    fs::create_dir_all(&temporary).unwrap();
    InstallCandidates { cache: Some(("HOME", home)), temporary: vec![temporary], owners: Owners::current() }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Returns whether this test can change the owner of files. If not, prints that the test was skipped.
fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        let text = format!("SKIPPED: {test} must be run as root\n");
        let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    }
    root
}

fn write_private(path: &Path, text: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    mode(path, 0o600);
}

/// The package is installed in the cache folder, reused by the next start, and not accessible for others, whatever the umask.
#[test]
fn the_package_is_installed_in_the_cache_folder_for_this_user_only() {
    let dir = tempfile::tempdir().unwrap();
    let places = home_of(&dir);
    let path = places.install().unwrap().path().to_path_buf();
    assert!(path.starts_with(dir.path().canonicalize().unwrap().join("home/.cache/herder")));
    assert_eq!(places.install().unwrap().path(), path);
    for below in ["", "herder", "herder/worker.py"] {
        assert_eq!(fs::metadata(path.join(below)).unwrap().permissions().mode() & 0o077, 0, "{below}");
    }
}

/// Files that are not part of the package, or differ from it, are refused and replaced: modules that shadow Python's own,
/// bytecode without a record, links, changed sources.
#[test]
fn files_outside_the_package_are_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let places = home_of(&dir);
    let path = places.install().unwrap().path().to_path_buf();
    let evil = [
        "json.py",
        "struct/__init__.py",
        "herder/json.py",
        "herder/worker.py",
        "herder/__pycache__/cpython-311.record",
        "herder/__pycache__/deeper/x",
    ];
    for name in evil {
        write_private(&path.join(name), b"evil");
        assert!(contents::verify(&path, places.owners).is_err(), "{name}");
        assert_eq!(places.install().unwrap().path(), path, "the folder is replaced");
        assert!(
            contents::verify(&path, places.owners).is_ok() && fs::read(path.join(name)).ok() != Some(b"evil".into())
        );
    }
    for name in ["worker.cpython-311.pyc", "worker.cpython-311.opt-1.pyc", "worker.cpython-311.pyc.4711"] {
        let bytecode = path.join("herder/__pycache__").join(name);
        write_private(&bytecode, b"evil");
        contents::verify(&path, places.owners).unwrap();
        assert!(!bytecode.exists(), "the folder is kept, since workers may be importing from it");
        write_private(&bytecode, b"evil");
        mode(&bytecode, 0o666);
        assert!(matches!(contents::verify(&path, places.owners), Err(InstallError::Writable { .. })), "{name}");
        fs::remove_file(bytecode).unwrap();
    }
    let source = path.join("herder/loop.py");
    mode(&source, 0o666);
    assert!(matches!(contents::verify(&path, places.owners), Err(InstallError::Writable { .. })));
    let elsewhere = dir.path().join("loop.py");
    fs::rename(&source, &elsewhere).unwrap();
    mode(&elsewhere, 0o600);
    symlink(&elsewhere, &source).unwrap();
    assert!(matches!(contents::verify(&path, places.owners), Err(InstallError::Unlisted { .. })));
    places.install().unwrap();
    assert!(fs::symlink_metadata(&source).unwrap().is_file());
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no other folder remains");
}

/// Bytecode that equals its record is accepted, also while a worker is still writing it.
#[test]
fn bytecode_that_equals_its_record_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let places = home_of(&dir);
    let path = places.install().unwrap().path().to_path_buf();
    let mut modules: Vec<&str> = herder_python::FILES.iter().filter_map(|(name, _)| name.strip_suffix(".py")).collect();
    modules.sort_unstable();
    let record: Vec<u8> = modules
        .iter()
        .flat_map(|module| [&(module.len() as u64).to_le_bytes()[..], module.as_bytes()].concat())
        .collect();
    let cache = path.join("herder/__pycache__");
    write_private(&cache.join("x-1.opt-1.record"), &record);
    mode(&cache, 0o700);
    for module in modules {
        contents::verify(&path, places.owners).unwrap();
        write_private(&cache.join(format!("{module}.x-1.opt-1.pyc")), module.as_bytes());
    }
    contents::verify(&path, places.owners).unwrap();
    write_private(&cache.join("loop.x-1.opt-1.pyc"), b"evil");
    assert!(matches!(contents::verify(&path, places.owners), Err(InstallError::Contents { .. })));
}

/// Whatever is wrong with the cache folder, the package is installed in a folder that other users can neither guess nor
/// enter, and that is removed with the last pool. Files that a cleaner removed are written again.
#[test]
fn without_a_cache_folder_the_package_is_installed_in_a_private_one() {
    let dir = tempfile::tempdir().unwrap();
    let bad: [(&str, PathBuf); 4] = [
        ("HOME", dir.path().join("nothing")),
        ("XDG_CACHE_HOME", dir.path().join("no/such")),
        ("HOME", "/proc/self".into()),
        ("XDG_CACHE_HOME", dir.path().join("open")),
    ];
    fs::create_dir(dir.path().join("open")).unwrap();
    mode(&dir.path().join("open"), 0o777);
    for cache in [None].into_iter().chain(bad.map(Some)) {
        let places = InstallCandidates { cache, ..home_of(&dir) };
        let [package, another] = [(); 2].map(|()| places.install().unwrap());
        assert_ne!(package.path(), another.path(), "{places:?}");
        let private = package.path().parent().unwrap().to_path_buf();
        assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(package.is_valid(&places));
        fs::remove_file(package.path().join("herder/aio.py")).unwrap();
        assert!(!package.is_valid(&places), "it is written again for the next worker");
        drop((package, another));
        assert!(!private.exists());
    }
}

/// The attack: another user creates the predictable folders first, as folders, as a link, or as a parent of ours.
#[test]
fn folders_of_another_user_are_not_used() {
    if !is_root("folders_of_another_user_are_not_used") {
        return;
    }
    for attack in ["home", "home/.cache", "home/.cache/herder", "link"] {
        let dir = tempfile::tempdir().unwrap();
        let places = home_of(&dir);
        let path = places.install().unwrap().path().to_path_buf();
        write_private(&path.join("json.py"), b"evil");
        let cache = dir.path().join("home/.cache");
        if attack == "link" {
            mode(&cache, 0o1777);
            fs::rename(cache.join("herder"), dir.path().join("theirs")).unwrap();
            symlink(dir.path().join("theirs"), cache.join("herder")).unwrap();
            lchown(cache.join("herder"), Some(NOBODY), None).unwrap();
        } else {
            chown(dir.path().join(attack), Some(NOBODY), None).unwrap();
        }
        let package = places.install().unwrap();
        assert!(package.path().starts_with(dir.path().canonicalize().unwrap().join("tmp")), "{attack}: {package:?}");
        assert!(!package.path().join("json.py").exists());
    }
}

/// If no folder can be written, the error names each folder, what is wrong with it, and the variables that select other
/// folders.
#[test]
fn install_error_names_the_variable_to_set() {
    let places = InstallCandidates {
        cache: Some(("HOME", "/proc/self".into())),
        temporary: vec!["/proc".into()],
        owners: Owners::current(),
    };
    let error = places.install().unwrap_err().to_string();
    for part in [
        "cannot write the embedded Python package",
        "HOME: /proc/",
        "temporary folder: /proc",
        "XDG_CACHE_HOME",
        "TMPDIR",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

/// A cache folder that does not exist is created, if its parent exists.
#[test]
fn missing_xdg_cache_home_is_created() {
    let dir = tempfile::tempdir().unwrap();
    let places = InstallCandidates { cache: Some(("XDG_CACHE_HOME", dir.path().join("cache"))), ..home_of(&dir) };
    let package = places.install().unwrap();
    let cache = Folder::open(&dir.path().join("cache"), Owners::current()).unwrap();
    assert!(package.path().starts_with(cache.path()));
}

/// R13: a host without descriptors reports that, whichever folder it tried, and not that the package cannot be written. No
/// other folder is tried.
#[test]
fn r13_lack_of_descriptors_is_not_reported_as_an_unusable_folder() {
    let refused = InstallError::io("/somewhere", std::io::Error::from_raw_os_error(24));
    assert!(refused.is_out_of_descriptors());
    let error = super::install::no_descriptors(&refused);
    assert!(error.is_out_of_descriptors() && error.to_string().contains("(`ulimit -n`)"), "{error}");
    assert!(!error.to_string().contains("cannot write"), "{error}");
    assert!(!InstallError::io("/somewhere", std::io::Error::from_raw_os_error(2)).is_out_of_descriptors());
}

/// R30: a forked copy of the host that drops its values of a pool does not remove the folder from which the host's workers
/// import.
#[cfg(feature = "testing")]
#[test]
fn r30_a_forked_copy_removes_no_package() {
    let dir = tempfile::tempdir().unwrap();
    let package = InstallCandidates { cache: None, ..home_of(&dir) }.install().unwrap();
    let path = package.path().to_path_buf();
    let mut package = Some(package);
    assert_eq!(herder_process::in_fork(|| u8::from(package.take().is_none())).unwrap(), Some(0));
    assert!(path.exists(), "the copy removed the folder");
    drop(package);
    assert!(!path.exists(), "the host removes the folder");
}
