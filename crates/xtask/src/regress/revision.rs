//! A revision checked out below the target folder, and what is built of it. Removed again when it was compared.

use crate::{
    error::Error,
    workspace::{Workspace, build, cargo, command, git},
};
use std::{
    fmt::{self, Display, Formatter},
    path::{Path, PathBuf},
};

/// A worktree of the repository.
#[derive(Debug)]
pub(crate) struct Revision {
    folder: PathBuf,
    /// Where cargo builds: no other tree's. To cargo, worktrees of one repository are the same packages, and what one built is fresh in the
    /// next if its files are older than that: both sides would run the same program.
    target: PathBuf,
    root: PathBuf,
    commit: String,
    subject: String,
}

impl Revision {
    /// With its own benchmarks, or with those of another revision: then only what they measure differs.
    pub(crate) fn check_out(
        workspace: &Workspace,
        folder: &Path,
        name: &str,
        benches: Option<&Self>,
    ) -> Result<Self, Error> {
        let root = workspace.root.clone();
        let commit = git(&root, &["rev-parse", "--verify", "--end-of-options", &format!("{name}^{{commit}}")])?;
        let subject = git(&root, &["log", "-1", "--format=%h %s", &commit])?;
        if folder.exists() {
            remove(&root, folder)?; // of a comparison that was ended
        }
        git(&root, &["worktree", "add", "--quiet", "--detach", &folder.to_string_lossy(), &commit])?;
        let revision =
            Self { folder: folder.to_owned(), target: folder.with_extension("target"), root, commit, subject };
        if let Some(other) = benches {
            git(&revision.folder, &["checkout", "--quiet", &other.commit, "--", ":(glob)**/benches/**"])?;
        }
        Ok(revision)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The program of the layers' benchmark.
    pub(crate) fn build_layers(&self) -> Result<PathBuf, Error> {
        let built = build(self.cargo().args(["build", "--release", "--bench", "layers"]))?;
        let mut programs = built.into_iter().filter(|artifact| artifact.target.name == "layers");
        let program = programs.find_map(|artifact| artifact.executable);
        program.map(Into::into).ok_or_else(|| Error::Missing(format!("{self} has no benchmark `layers`")))
    }

    /// Cargo, in this revision.
    pub(crate) fn cargo(&self) -> std::process::Command {
        let mut command = command(cargo(), &self.folder);
        command.env("CARGO_TARGET_DIR", &self.target);
        command
    }
}

/// Takes a worktree away.
fn remove(root: &Path, folder: &Path) -> Result<(), Error> {
    git(root, &["worktree", "remove", "--force", &folder.to_string_lossy()]).map(drop)
}

impl Drop for Revision {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.root, &self.folder) {
            eprintln!("{} is left: {error}", self.folder.display());
        }
    }
}

impl Display for Revision {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.subject)
    }
}
