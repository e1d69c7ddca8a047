//! The workers' account: which calls began and ended, and how often. One byte and a number for each call, however long a run is.

use std::io::{self, Read};

/// Bytes of a record: see `worker.py`.
const RECORD: usize = 64;

/// How often each call ran, by its id.
#[derive(Debug, Default)]
pub(crate) struct Runs(Vec<Run>);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    pub(crate) began: u8,
    pub(crate) ended: u8,
    /// Whether one and the same attempt began twice.
    pub(crate) repeated: bool,
    attempt: u32,
}

impl Runs {
    /// Reads a whole account.
    pub(crate) fn read(mut account: impl Read) -> io::Result<Self> {
        let (mut runs, mut record) = (Self::default(), [0; RECORD]);
        loop {
            match account.read_exact(&mut record) {
                Ok(()) => runs.note(&record).ok_or_else(|| bad(&record))?,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(runs),
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn of(&self, id: u64) -> Run {
        usize::try_from(id).ok().and_then(|id| self.0.get(id)).copied().unwrap_or_default()
    }

    /// How many calls ran more than once.
    pub(crate) fn more_than_once(&self) -> u64 {
        self.0.iter().filter(|run| run.began > 1).count() as u64
    }

    fn note(&mut self, record: &[u8]) -> Option<()> {
        let mut words = std::str::from_utf8(record).ok()?.split_whitespace();
        let (id, attempt) = (words.next()?.parse::<usize>().ok()?, words.next()?.parse::<u64>().ok()?);
        let (_pid, what) = (words.next()?, words.next()?);
        if self.0.len() <= id {
            self.0.resize(id + 1, Run::default());
        }
        let run = self.0.get_mut(id)?;
        // Attempts are numbered by the pool and never twice; what is cut off here can't make two of one call equal.
        let attempt = (attempt & u64::from(u32::MAX)) as u32;
        match what {
            "begins" => {
                run.repeated |= run.began > 0 && run.attempt == attempt;
                run.attempt = attempt;
                run.began = run.began.saturating_add(1);
            }
            "ends" => run.ended = run.ended.saturating_add(1),
            _ => return None,
        }
        Some(())
    }
}

fn bad(record: &[u8]) -> io::Error {
    io::Error::other(format!("no record of a worker: {:?}", String::from_utf8_lossy(record)))
}

#[cfg(test)]
pub(crate) fn record(id: u64, attempt: u64, what: &str) -> String {
    format!("{:63}\n", format!("{id} {attempt} 4711 {what} 123456789"))
}
