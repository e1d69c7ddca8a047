//! The workspace a chore is started in: where it is, what is in it, and the tests that cargo built of it.

use crate::error::Error;
use cargo_metadata::{Artifact, Message, Metadata, MetadataCommand, TargetKind};
use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What `cargo metadata` says, read once.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    metadata: Metadata,
}

/// A package of the workspace.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) folder: PathBuf,
    /// Whether rustdoc has examples to test.
    pub(crate) doc_tests: bool,
    /// The targets whose tests come out the same each time, as `[package.metadata.flake]` says.
    pub(crate) deterministic: Vec<String>,
}

/// A program that holds tests.
#[derive(Debug)]
pub(crate) struct TestBinary {
    pub(crate) package: Package,
    /// The name of the target, or `lib`.
    pub(crate) target: String,
    pub(crate) program: PathBuf,
}

impl Workspace {
    /// The workspace of the current folder.
    pub(crate) fn here() -> Result<Self, Error> {
        let metadata = MetadataCommand::new().cargo_path(cargo()).no_deps().exec()?;
        let (root, target) = (metadata.workspace_root.clone().into(), metadata.target_directory.clone().into());
        Ok(Self { root, target, metadata })
    }

    /// Its packages, in the order of their names.
    pub(crate) fn packages(&self) -> Vec<Package> {
        let mut packages: Vec<_> = self.metadata.workspace_packages().into_iter().map(package).collect();
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        packages
    }

    /// Builds all tests and says where they are; what cargo says goes to standard error.
    pub(crate) fn build_tests(&self) -> Result<Vec<TestBinary>, Error> {
        let built = build(command(cargo(), &self.root).args(["test", "--workspace", "--no-run"]))?;
        Ok(built.into_iter().filter_map(|artifact| self.test_binary(artifact)).collect())
    }

    fn test_binary(&self, artifact: Artifact) -> Option<TestBinary> {
        let program = artifact.executable.filter(|_| artifact.profile.test)?;
        let package = self.metadata.packages.iter().find(|package| package.id == artifact.package_id)?;
        let target = if artifact.target.is_kind(TargetKind::Lib) { "lib".into() } else { artifact.target.name };
        Some(TestBinary { package: self::package(package), target, program: program.into() })
    }

    /// The revision that is checked out, `-dirty` if files differ from it.
    pub(crate) fn revision(&self) -> Result<String, Error> {
        let head = git(&self.root, &["rev-parse", "--short=12", "HEAD"])?;
        let changed = !git(&self.root, &["status", "--porcelain"])?.is_empty();
        Ok(head + if changed { "-dirty" } else { "" })
    }
}

fn package(package: &cargo_metadata::Package) -> Package {
    let names = package.metadata["flake"]["deterministic"].as_array();
    Package {
        name: package.name.to_string(),
        version: package.version.to_string(),
        folder: package.manifest_path.parent().map_or_else(PathBuf::new, |folder| folder.into()),
        doc_tests: package.targets.iter().any(|target| target.is_lib() && target.doctest),
        deterministic: names.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
    }
}

/// Runs a build of cargo's, and says what came out of it; what the compiler says of errors goes to standard error.
pub(crate) fn build(cargo: &mut Command) -> Result<Vec<Artifact>, Error> {
    let built = cargo.args(["--quiet", "--message-format=json"]).stderr(Stdio::inherit()).output();
    let built = built.map_err(Error::program("cargo"))?;
    let mut artifacts = Vec::new();
    for message in Message::parse_stream(&built.stdout[..]) {
        match message.map_err(Error::program("cargo"))? {
            Message::CompilerArtifact(artifact) => artifacts.push(artifact),
            Message::CompilerMessage(said) if !built.status.success() => eprint!("{said}"),
            _ => {}
        }
    }
    if built.status.success() { Ok(artifacts) } else { Err(Error::Failed("cargo build".into())) }
}

/// What this was started with, else the one on the path.
pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A program in a folder, without what cargo told this one about itself.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    let ours = |name: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|each| name.starts_with(each))
    };
    env::vars_os().filter(|(name, _)| name.to_str().is_some_and(ours)).for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// What git prints, without the last line's end.
pub(crate) fn git(folder: &Path, args: &[&str]) -> Result<String, Error> {
    let output = command("git", folder).args(args).stderr(Stdio::inherit()).output().map_err(Error::program("git"))?;
    let told = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    if output.status.success() { Ok(told) } else { Err(Error::Failed(format!("git {}", args.join(" ")))) }
}
