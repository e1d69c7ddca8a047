//! The ledger: one line of JSON for each run, in a file for each revision. Appended to, never rewritten.

use super::events::Outcome;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

/// One run of the suite.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) loaded: bool,
    /// Seconds since 1970.
    pub(crate) begun: u64,
    pub(crate) seconds: f64,
    /// Before the run and after it: other work on the machine counts as well.
    pub(crate) load_average: [Option<f64>; 2],
    pub(crate) parts: BTreeMap<String, Outcome>,
}

impl Run {
    pub(crate) fn tests(&self) -> usize {
        self.parts.values().map(|outcome| outcome.ran.len()).sum()
    }

    pub(crate) fn failures(&self) -> usize {
        self.parts.values().map(|outcome| outcome.failures.len()).sum()
    }
}

/// Where the runs of a revision are.
pub(crate) fn file(folder: &Path, revision: &str) -> PathBuf {
    folder.join(revision).with_extension("jsonl")
}

/// Adds a run.
pub(crate) fn append(file: &Path, run: &Run) -> Result<(), Error> {
    let mut line =
        serde_json::to_vec(run).map_err(|source| Error::Io { what: "a run".into(), source: source.into() })?;
    line.push(b'\n');
    let opened = OpenOptions::new().create(true).append(true).open(file);
    opened.and_then(|mut ledger| ledger.write_all(&line)).map_err(Error::file(file)) // one write: no other's line gets between
}

/// All runs of the revisions that begin with one of these, or of all.
pub(crate) fn read(folder: &Path, revisions: &[String]) -> Result<BTreeMap<String, Vec<Run>>, Error> {
    let mut ledgers = BTreeMap::new();
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(ledgers),
        Err(error) => return Err(Error::file(folder)(error)),
    };
    for entry in listed {
        let path = entry.map_err(Error::file(folder))?.path();
        let (name, ending) = (path.file_stem().unwrap_or_default().to_string_lossy(), path.extension());
        let wanted = revisions.is_empty() || revisions.iter().any(|revision| name.starts_with(revision.as_str()));
        if ending.is_some_and(|ending| ending == "jsonl") && wanted {
            ledgers.insert(name.into_owned(), runs(&path)?);
        }
    }
    Ok(ledgers)
}

fn runs(file: &Path) -> Result<Vec<Run>, Error> {
    let text = fs::read_to_string(file).map_err(Error::file(file))?;
    let parse = |(at, line): (usize, &str)| {
        let wrong = |source| Error::Ledger { file: file.display().to_string(), line: at + 1, source };
        serde_json::from_str(line).map_err(wrong)
    };
    text.lines().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r49_runs_of_several_sessions_add_up() {
        let folder = tempfile::tempdir().unwrap();
        let parts = BTreeMap::from([("herder/pools".into(), Outcome { seconds: 0.5, ..Outcome::default() })]);
        let run = |seed| Run {
            seed,
            loaded: false,
            begun: 9,
            seconds: 1.5,
            load_average: [None, Some(2.0)],
            parts: BTreeMap::new(),
        };
        for (revision, run) in [("a1", Run { parts, ..run(1) }), ("a1", run(2)), ("b2", run(3))] {
            append(&file(folder.path(), revision), &run).unwrap();
        }
        fs::write(folder.path().join("now.out"), "what runs now").unwrap();
        let seeds = |revisions: &[&str]| {
            let revisions: Vec<_> = revisions.iter().map(|each| (*each).to_owned()).collect();
            let ledgers = read(folder.path(), &revisions).unwrap();
            ledgers
                .into_iter()
                .map(|(name, runs)| (name, runs.iter().map(|run| run.seed).collect()))
                .collect::<Vec<(_, Vec<_>)>>()
        };
        assert_eq!(seeds(&[]), [("a1".into(), vec![1, 2]), ("b2".into(), vec![3])]);
        assert_eq!(seeds(&["b"]), [("b2".into(), vec![3])]);
        assert!(read(&folder.path().join("none"), &[]).unwrap().is_empty());
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(file(folder.path(), "c3"), "{}\n").unwrap();
        assert!(read(folder.path(), &[]).unwrap_err().to_string().contains("c3.jsonl:1: "));
    }
}
