//! `cargo xtask regress` on a package whose benchmark says what its library says.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs;
use support::Fixture;

const MANIFEST: &str = "\
[package]
name = \"fixture\"
edition = \"2024\"
[workspace]
[lib]
path = \"lib.rs\"
[[bench]]
name = \"layers\"
harness = false
";

/// Two figures of the library's speed: a time and its reciprocal.
const BENCHMARK: &str = r#"
fn main() {
    let json = std::env::args().skip_while(|word| word != "--json").nth(1).unwrap();
    let line = |name: &str, better: &str, median: f64| {
        format!("{{\"figure\":\"{name}\",\"regime\":\"one core\",\"unit\":\"us\",\"better\":\"{better}\",\"median\":{median}}}\n")
    };
    let text = line("time", "lower", fixture::MICROSECONDS) + &line("rate", "higher", 1e6 / fixture::MICROSECONDS);
    std::fs::write(json, text).unwrap();
}
"#;

fn speed(microseconds: &str) -> String {
    format!("pub const MICROSECONDS: f64 = {microseconds};\n")
}

#[test]
fn r49_a_slower_revision_is_found_between_two() {
    let fixture =
        Fixture::new(&[("Cargo.toml", MANIFEST), ("lib.rs", &speed("10.0")), ("benches/layers.rs", "fn main() {}")]);
    fixture.commit(&[("lib.rs", &speed("12.0")), ("benches/layers.rs", BENCHMARK)]);
    let regress = |revisions: &[&str]| {
        let more = ["--pairs", "2", "--seed", "1", "--without-instructions"];
        fixture.xtask(&[&["regress"], revisions, &more].concat())
    };
    let (code, printed) = regress(&["HEAD~1"]);
    assert_eq!(code, 1, "{printed}");
    let slower = |name: &str, ratio: &str| {
        printed.lines().any(|line| line.starts_with(name) && line.contains(ratio) && line.ends_with("  slower"))
    };
    assert!(
        slower("one core time", "10.000       12.000   1.200 (1.200 - 1.200)") && slower("one core rate", "0.833"),
        "{printed}"
    );
    assert!(printed.contains("2 surely by more than 5 %"), "{printed}");

    let (code, printed) = regress(&["HEAD~1", "--threshold", "25%"]);
    assert!(code == 0 && printed.contains("2 slower") && printed.contains("0 surely"), "{printed}");
    let (code, printed) = regress(&["HEAD"]);
    assert!(code == 0 && printed.matches("no difference seen").count() == 2, "{printed}");
    let (code, printed) = regress(&["no-such-revision"]);
    assert!(code == 2 && printed.contains("git rev-parse"), "{printed}");
    let mut left: Vec<_> =
        fs::read_dir(fixture.path().join("target/regress")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["base.target", "head.target"], "what was built, and no worktree");
}
