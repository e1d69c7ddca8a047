//! A crate outside of this workspace, `tests/outside`, that depends on `herder` as its users do, and speaks to pools by messages
//! alone. Built with the dependencies this workspace has locked, in the folder that holds this test's own build.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// R1-R6, R18: see `tests/outside/src/main.rs`.
#[test]
fn an_outside_crate_uses_messages_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let outside = root.join("tests/outside");
    fs::copy(root.join("Cargo.lock"), outside.join("Cargo.lock")).unwrap(); // ignored by git
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--manifest-path"]).arg(outside.join("Cargo.toml"));
    let run = cargo.env("CARGO_TARGET_DIR", target()).output().unwrap();
    let (printed, said) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{printed}\n{said}");
    let wanted = ["basic: {}", "bound: 2.1", "no basic affinity", "refused: ", "gone"];
    assert!(wanted.iter().all(|line| printed.contains(line)), "{printed}");
}

/// `target`, of `target/debug/deps/outside-0123456789abcdef`.
fn target() -> PathBuf {
    env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned()
}
