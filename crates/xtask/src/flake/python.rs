//! pytest in random order, by a plugin of a few lines that also prints the events of `events.rs`.

use super::suite;
use crate::{
    error::Error,
    workspace::{Workspace, command},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Given to pytest with `-p`; on its path by `PYTHONPATH`.
const PLUGIN: &str = include_str!("herder_flake_order.py");
const NAME: &str = "herder_flake_order";

/// The Python tests, and what runs them.
#[derive(Debug)]
pub(crate) struct Pytest {
    python: PathBuf,
    root: PathBuf,
    plugins: PathBuf,
}

impl Pytest {
    /// The tests of this workspace, if it has any; an error if this Python, or the one of CI, has no pytest.
    pub(crate) fn of(workspace: &Workspace, scratch: &Path, python: Option<&Path>) -> Result<Option<Self>, Error> {
        if !workspace.root.join("python/tests").is_dir() {
            return Ok(None);
        }
        let ci = workspace.target.join("ci/venv/bin/python");
        let python = python.map_or_else(|| if ci.exists() { ci } else { "python3".into() }, Path::to_owned);
        let found = command(&python, &workspace.root).args(["-c", "import pytest"]).output();
        if !found.is_ok_and(|found| found.status.success()) {
            let hint = "`.ci/run prepare` installs it; --python names another Python, --without-pytest leaves it out";
            return Err(Error::Missing(format!("{} has no pytest: {hint}", python.display())));
        }
        let plugin = scratch.join(NAME).with_extension("py");
        fs::write(&plugin, PLUGIN).map_err(Error::file(&plugin))?;
        Ok(Some(Self { python, root: workspace.root.clone(), plugins: scratch.to_owned() }))
    }

    /// As `.ci/run` runs it, in the order of this seed.
    pub(super) fn command(&self, seed: u64) -> Command {
        let mut command = command(&self.python, &self.root);
        command.args(["-m", "pytest", "-q", "-p", NAME, "-p", "no:cacheprovider", "--rootdir", "python"]);
        command.args(["-c", "python/pyproject.toml", "python/tests"]);
        command
            .env("PYTHONPATH", &self.plugins)
            .env("PYTHONPYCACHEPREFIX", self.plugins.join("pycache")) // kept for the next run, and not in the tree
            .env("FLAKE_SEED", seed.to_string());
        suite::keep_bytecode(&mut command);
        command
    }
}
