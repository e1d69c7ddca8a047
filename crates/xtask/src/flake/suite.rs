//! The parts of the suite: each test binary, the doc tests of each package, and pytest; and the command that runs a part in an order.

use super::python;
use crate::{
    error::Error,
    workspace::{Package, TestBinary, Workspace, cargo, command},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// What is run as one program.
#[derive(Debug)]
pub(crate) struct Part {
    /// `PACKAGE/TARGET`, `PACKAGE/doc`, or `pytest`.
    pub(crate) name: String,
    pub(crate) deterministic: bool,
    what: What,
}

#[derive(Debug)]
enum What {
    Binary(Box<TestBinary>),
    Doc {
        package: Package,
        root: PathBuf,
        rustdoc: PathBuf,
    },
    Pytest(python::Pytest),
    #[cfg(test)]
    Nothing,
}

/// Builds the suite, and lists its parts.
pub(crate) fn parts(workspace: &Workspace, scratch: &Path, pytest: Option<python::Pytest>) -> Result<Vec<Part>, Error> {
    let rustdoc = shuffling_rustdoc(scratch)?;
    let binaries = workspace.build_tests()?.into_iter().map(|binary| Part {
        name: format!("{}/{}", binary.package.name, binary.target),
        deterministic: binary.package.deterministic.contains(&binary.target),
        what: What::Binary(Box::new(binary)),
    });
    let documented = workspace.packages().into_iter().filter(|package| package.doc_tests);
    let docs = documented.map(|package| Part {
        name: format!("{}/doc", package.name),
        deterministic: false,
        what: What::Doc { package, root: workspace.root.clone(), rustdoc: rustdoc.clone() },
    });
    let pytest = pytest.map(|what| Part { name: "pytest".into(), deterministic: false, what: What::Pytest(what) });
    Ok(binaries.chain(docs).chain(pytest).collect())
}

/// A rustdoc whose tests take the unstable options: cargo itself must not see the variable, it would build everything anew.
fn shuffling_rustdoc(scratch: &Path) -> Result<PathBuf, Error> {
    let script = scratch.join("rustdoc");
    let text = "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec \"${FLAKE_RUSTDOC:-rustdoc}\" \"$@\"\n";
    fs::write(&script, text).map_err(Error::file(&script))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).map_err(Error::file(&script))?;
    Ok(script)
}

impl Part {
    /// What runs its tests in the order of this seed and prints events (`events.rs`).
    pub(crate) fn command(&self, seed: u64) -> Command {
        match &self.what {
            What::Binary(binary) => test_binary(binary, seed),
            What::Doc { package, root, rustdoc } => doc_tests(package, root, rustdoc, seed),
            What::Pytest(pytest) => pytest.command(seed),
            #[cfg(test)]
            What::Nothing => Command::new("true"),
        }
    }

    #[cfg(test)]
    pub(crate) fn new(name: &str, deterministic: bool) -> Self {
        Self { name: name.into(), deterministic, what: What::Nothing }
    }
}

/// As cargo runs it: in the package's folder, told what it is told. A test that runs cargo has to take `RUSTC_BOOTSTRAP` away.
fn test_binary(binary: &TestBinary, seed: u64) -> Command {
    let package = &binary.package;
    let mut command = command(&binary.program, &package.folder);
    command.env("CARGO", cargo()).env("CARGO_MANIFEST_DIR", &package.folder);
    command.env("CARGO_PKG_NAME", &package.name).env("CARGO_PKG_VERSION", &package.version);
    command.env("RUSTC_BOOTSTRAP", "1").args(shuffled(seed));
    leave_no_snapshots(&mut command);
    keep_bytecode(&mut command);
    command
}

fn doc_tests(package: &Package, root: &Path, rustdoc: &Path, seed: u64) -> Command {
    let mut command = command(cargo(), root);
    if let Some(own) = std::env::var_os("RUSTDOC") {
        command.env("FLAKE_RUSTDOC", own);
    }
    command.env("RUSTDOC", rustdoc).args(["test", "--quiet", "--doc", "--package", &package.name, "--"]);
    command.args(shuffled(seed));
    command
}

fn shuffled(seed: u64) -> [String; 6] {
    let words = ["-Zunstable-options", "--format", "json", "--shuffle", "--shuffle-seed", &seed.to_string()];
    words.map(str::to_owned)
}

/// A run starts some thousand workers; where the environment forbids bytecode, as many images of containers do, each would compile the
/// package anew.
pub(super) fn keep_bytecode(command: &mut Command) {
    command.env_remove("PYTHONDONTWRITEBYTECODE");
}

/// A snapshot that differs is a failure, and no file in the tree, which would make the next run another revision's.
fn leave_no_snapshots(command: &mut Command) {
    command.env("INSTA_UPDATE", "no").env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
}
