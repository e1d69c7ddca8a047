//! Runs a fuzz target as a property test: on every file of its corpus, and on mutations of those files. Included by the
//! tests that have a target; needs no fuzzer. A failing input is minimized and printed. Saved as a file of the corpus, it
//! is run in each test.

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};
use std::{
    fmt, fs,
    panic::{catch_unwind, resume_unwind},
    path::{Path, PathBuf},
};

#[derive(Clone, PartialEq, Eq)]
struct Input(Vec<u8>);

/// Formats the input as a Rust literal, to be pasted into a test.
impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// Runs every file of the target's corpus, in the order of the names, so that the same file fails each time.
pub(crate) fn replay(target: &str, check_input: fn(&[u8])) {
    for (name, input) in corpus(target) {
        if let Err(panic) = catch_unwind(|| check_input(&input.0)) {
            eprintln!("{name} fails: {input:?}");
            resume_unwind(panic);
        }
    }
}

/// Runs `cases` inputs that are mutated from the corpus, or as many as `PROPTEST_CASES` states.
pub(crate) fn vary(target: &str, cases: u32, check_input: fn(&[u8])) {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { Config::default().cases } else { cases };
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let kept: Vec<Input> = corpus(target).into_iter().map(|(_, input)| input).collect();
    let varied = TestRunner::new(config).run(&inputs(kept), |input| {
        check_input(&input.0);
        Ok(())
    });
    if let Err(failure) = varied {
        panic!("{target}: {failure}");
    }
}

fn corpus(target: &str) -> Vec<(String, Input)> {
    let read = |entry: fs::DirEntry| {
        let bytes = fs::read(entry.path()).unwrap_or_else(|error| panic!("{:?}: {error}", entry.path()));
        (entry.path().display().to_string(), Input(bytes))
    };
    let folder = folder(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<_> = entries.flatten().map(read).collect();
    inputs.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!inputs.is_empty(), "{} is empty", folder.display());
    inputs
}

/// Returns the corpus folder of a target, below the root of the workspace, which is an ancestor of the including crate.
fn folder(target: &str) -> PathBuf {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    above.map(|folder| folder.join("fuzz/corpus").join(target)).find(|folder| folder.is_dir()).unwrap_or_default()
}

fn inputs(kept: Vec<Input>) -> impl Strategy<Value = Input> {
    let one = select(kept);
    let spliced = (one.clone(), one.clone(), any::<(Index, Index)>()).prop_map(|(a, b, (end, begin))| {
        let (end, begin) = (end.index(a.0.len() + 1), begin.index(b.0.len() + 1));
        Input([&a.0[..end], &b.0[begin..]].concat())
    });
    let changed = (prop_oneof![3 => one, 1 => spliced], vec(change(), 1..8))
        .prop_map(|(input, changes)| changes.into_iter().fold(input, |input, change| change.apply(input)));
    prop_oneof![8 => changed, 1 => vec(any::<u8>(), 0..1500).prop_map(Input)]
}

/// A mutation of an input at one position.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    /// Removes this many bytes, or all up to the end.
    Remove(Index, usize),
    /// Appends a copy of this many bytes, or of all up to the end.
    Repeat(Index, usize),
    /// Overwrites four bytes with a length that is a boundary value.
    Length(Index, u32),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let edge = select(vec![0, 1, 255, 256, 4095, 4096, 4097, 1 << 16, 1 << 20, (1 << 20) + 1, 1 << 30, u32::MAX]);
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        2 => (at(), vec(any::<u8>(), 1..20)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        2 => (at(), 1_usize..40).prop_map(|(at, count)| Change::Remove(at, count)),
        1 => (at(), 1_usize..60).prop_map(|(at, count)| Change::Repeat(at, count)),
        1 => (at(), edge).prop_map(|(at, length)| Change::Length(at, length)),
    ]
}

impl Change {
    fn apply(self, Input(mut bytes): Input) -> Input {
        let length = bytes.len();
        let at = |place: Index| place.index(length + 1);
        let span = |place: Index, count: usize| at(place)..(at(place) + count).min(length);
        match self {
            Self::Set(place, byte) => drop(bytes.splice(span(place, 1), [byte])),
            Self::Insert(place, new) => drop(bytes.splice(at(place)..at(place), new)),
            Self::Remove(place, count) => drop(bytes.drain(span(place, count))),
            Self::Repeat(place, count) => bytes.extend_from_within(span(place, count)),
            Self::Length(place, length) => drop(bytes.splice(span(place, 4), length.to_le_bytes())),
        }
        Input(bytes)
    }
}
