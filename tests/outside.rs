//! Crates outside of this workspace that depend on `herder` as its users do: `tests/outside` speaks to pools by messages alone, and
//! `tests/outside_service` is a service whose tests have `herder::testing`. Built with the dependencies this workspace has locked, in the
//! folder that holds this test's own build.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// R1-R6, R18: see `tests/outside/src/main.rs`.
#[test]
fn an_outside_crate_uses_messages_alone() {
    let printed = cargo("run", "outside");
    let wanted = ["basic: {}", "bound: 2.1", "no basic affinity", "refused: ", "gone"];
    assert!(wanted.iter().all(|line| printed.contains(line)), "{printed}");
}

/// R49: see `tests/outside_service/src/tests.rs`: a scripted worker, real Python and a kill, the virtual clock, `assert_concurrent!`.
#[test]
fn r49_an_outside_crate_tests_its_service_with_the_kit() {
    let printed = cargo("test", "outside_service");
    assert!(printed.contains("test result: ok. 4 passed; 0 failed; 0 ignored"), "{printed}");
}

/// What such a crate printed, which must succeed.
fn cargo(what: &str, name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let outside = root.join("tests").join(name);
    fs::copy(root.join("Cargo.lock"), outside.join("Cargo.lock")).unwrap(); // ignored by git
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([what, "--quiet", "--manifest-path"]).arg(outside.join("Cargo.toml"));
    cargo.env_remove("RUSTC_BOOTSTRAP"); // `cargo xtask flake` sets it for tests; cargo would build everything anew
    let run = cargo.env("CARGO_TARGET_DIR", target()).output().unwrap();
    let (printed, said) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{printed}\n{said}");
    printed.into_owned()
}

/// `target`, of `target/debug/deps/outside-0123456789abcdef`.
fn target() -> PathBuf {
    env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned()
}
