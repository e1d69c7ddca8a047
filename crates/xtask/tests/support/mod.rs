//! A package in a repository of its own, for the chores to be done in; taken away at its end.

use std::{fs, path::Path, process::Command};
use tempfile::TempDir;

pub(crate) struct Fixture(TempDir);

impl Fixture {
    /// With these files, which are committed; none of them is known to the workspace that this test is in.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let fixture = Self(tempfile::tempdir().unwrap());
        fixture.git(&["init", "--quiet"]);
        fixture.commit(&[files, &[(".gitignore", "/target\n/Cargo.lock\n")]].concat());
        fixture
    }

    /// Writes files, and makes a commit of them.
    pub(crate) fn commit(&self, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = self.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        self.git(&["add", "."]);
        let who = ["-c", "user.name=fixture", "-c", "user.email=fixture@localhost", "-c", "commit.gpgsign=false"];
        self.git(&[&who[..], &["commit", "--quiet", "-m", "all"]].concat());
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    fn git(&self, args: &[&str]) {
        assert!(Command::new("git").current_dir(self.path()).args(args).status().unwrap().success(), "git {args:?}");
    }

    /// A chore, not begun yet.
    pub(crate) fn chore(&self, args: &[&str]) -> Command {
        let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let target = self.path().join("target");
        xtask.current_dir(self.path()).env("CARGO_TARGET_DIR", target).env_remove("RUSTC_BOOTSTRAP").args(args);
        xtask
    }

    /// The exit code of a chore, and what was printed.
    pub(crate) fn xtask(&self, args: &[&str]) -> (i32, String) {
        let output = self.chore(args).output().unwrap();
        let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap(), format!("{printed}{said}"))
    }
}
