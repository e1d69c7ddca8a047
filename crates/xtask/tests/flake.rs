//! `cargo xtask flake` on a small workspace with a test that fails for one seed in four, one that always fails, or none that does.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod support;

use rustix::process::{Pid, Signal, kill_process};
use std::{fs, io::Read, net::TcpListener, path::PathBuf, process::Stdio};
use support::Fixture;

/// Fails when the seed it was shuffled by is a multiple of four.
const NOW_AND_THEN: &str = r#"
fn seed() -> u64 {
    let told = std::env::args().skip_while(|word| word != "--shuffle-seed").nth(1);
    told.unwrap().parse().unwrap()
}

#[test]
fn now_and_then() {
    println!("what is printed is kept");
    assert!(seed() % 4 != 0, "the seed is {}", seed());
}

#[test]
fn never() {}

#[test]
#[ignore = "it is"]
fn not_at_all() {}
"#;

/// A doc test that fails, in a library that is fine otherwise.
const DOCUMENTED: &str = "//! ```\n//! assert_eq!(1 + 1, 3);\n//! ```\n//! ```\n//! assert_eq!(1 + 1, 2);\n//! ```\n";

/// A test that lasts as long as its process: it reads from who listens for it, who says nothing.
const ENDLESS: &str = r#"
#[test]
fn endless() {
    let mut stream = std::net::TcpStream::connect(std::env::var("LISTENS").unwrap()).unwrap();
    std::io::Read::read(&mut stream, &mut [0]).unwrap();
}
"#;

fn fixture(library: &str, doc_tests: bool) -> Fixture {
    let manifest =
        "[package]\nname = \"fixture\"\nedition = \"2024\"\n[workspace]\n[lib]\npath = \"lib.rs\"\ndoctest = ";
    Fixture::new(&[("Cargo.toml", &format!("{manifest}{doc_tests}\n")), ("lib.rs", library)])
}

/// The lines of the one ledger.
fn ledger(fixture: &Fixture) -> Vec<String> {
    let listed = fs::read_dir(fixture.path().join("target/flake")).unwrap();
    let ledgers: Vec<PathBuf> = listed
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "jsonl"))
        .collect();
    let [ledger] = &ledgers[..] else { panic!("{ledgers:?}") };
    fs::read_to_string(ledger).unwrap().lines().map(str::to_owned).collect()
}

/// The seeds in the lines that begin so.
fn seeds(printed: &str) -> Vec<u64> {
    let words = printed.lines().filter(|line| line.starts_with("run ")).map(|line| line.split_once("seed ").unwrap().1);
    words.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()).collect()
}

/// `..., LOW to HIGH %` of the line below the test's name, as shares.
fn interval(report: &str) -> (f64, f64) {
    let line = report
        .split("fixture/lib tests::now_and_then\n")
        .nth(1)
        .or_else(|| report.split("fixture/lib now_and_then\n").nth(1));
    let (low, high) = line.unwrap().lines().next().unwrap().split_once(" %, ").unwrap().1.split_once(" to ").unwrap();
    (low.parse::<f64>().unwrap() / 100.0, high.trim_end_matches(" %").parse::<f64>().unwrap() / 100.0)
}

#[test]
fn r49_a_test_that_fails_at_random_is_reported_with_its_rate_and_its_seeds() {
    let fixture = fixture(NOW_AND_THEN, false);
    let (code, printed) = fixture.xtask(&["flake", "--runs", "40", "--loaded", "2", "--seed", "49"]);
    assert_eq!(code, 1, "{printed}");
    let seeds = seeds(&printed);
    let failing: Vec<_> = seeds.iter().filter(|seed| *seed % 4 == 0).collect();
    assert!(seeds.len() == 40 && !failing.is_empty(), "{printed}");
    let (low, high) = interval(&printed);
    assert!(low < 0.25 && 0.25 < high, "{printed}");
    let told: Vec<_> = failing.iter().map(ToString::to_string).collect();
    assert!(printed.contains(&format!("seeds {}\n", told.join(" "))), "{printed}");
    assert!(printed.contains(&format!("the seed is {}", failing[0])) && printed.contains("what is printed is kept"));
    assert!(printed.contains(&format!("{:>10} of{:>8}   ", failing.len(), 80)), "two tests a run: {printed}");

    let (code, reported) = fixture.xtask(&["flake", "--report"]);
    assert_eq!((code, interval(&reported)), (1, (low, high)), "{reported}");
    let well = seeds.iter().find(|seed| *seed % 4 != 0).unwrap();
    for (seed, wanted) in [(failing[0], 1), (well, 0)] {
        assert_eq!(fixture.xtask(&["flake", "--replay", &seed.to_string()]).0, wanted);
    }
    assert_eq!(ledger(&fixture).len(), 40, "what is repeated is not counted");

    let (_, more) = fixture.xtask(&["flake", "--runs", "40", "--seed", "49", "--fail-fast"]);
    let until = 1 + seeds.iter().position(|seed| seed == failing[0]).unwrap();
    assert_eq!(self::seeds(&more), seeds[..until]);
    assert_eq!(ledger(&fixture).len(), 40 + until, "runs add up");
}

#[test]
fn r49_doc_tests_are_run_and_a_suite_that_can_not_be_built_is_an_error() {
    let fixture = fixture(DOCUMENTED, true);
    let (code, printed) = fixture.xtask(&["flake", "--runs", "1"]);
    assert!(code == 1 && printed.contains("--- fixture/doc lib.rs - (line 1) FAILED"), "{printed}");
    assert!(printed.contains("2 tests, 1 failed"), "{printed}");
    fs::write(fixture.path().join("lib.rs"), "fn broken(").unwrap();
    let (code, printed) = fixture.xtask(&["flake", "--runs", "1"]);
    assert!(code == 2 && printed.contains("lib.rs:1"), "{printed}");
}

#[test]
fn r49_a_signal_ends_the_test_that_runs_and_counts_no_run() {
    let fixture = fixture(ENDLESS, false);
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut chore = fixture.chore(&["flake", "--runs", "1"]);
    chore.env("LISTENS", listener.local_addr().unwrap().to_string()).stderr(Stdio::piped());
    #[expect(clippy::disallowed_methods, reason = "it is waited for below; it is no worker")]
    let mut chore = chore.spawn().unwrap();
    let (mut running, _) = listener.accept().unwrap();
    kill_process(Pid::from_child(&chore), Signal::TERM).unwrap();
    let (status, mut said) = (chore.wait().unwrap(), String::new());
    chore.stderr.unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(143), "{said}");
    assert!(said.contains("ended by signal 15"), "{said}");
    assert!(!matches!(running.read(&mut [0]), Ok(1..)), "the test's end of the stream is closed: its process is gone");
    assert!(
        !fixture.path().join("target/flake").read_dir().unwrap().any(|it| it
            .unwrap()
            .path()
            .extension()
            .is_some_and(|it| it == "jsonl"))
    );
}
