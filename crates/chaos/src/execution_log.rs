//! Reads the execution log of the workers: which calls started and ended, and how often. Keeps 8 bytes for each call, so that
//! the log of a long run fits into memory.

use std::io::{self, Read};

/// The length of a record in bytes, as `worker.py` writes it.
const RECORD_LENGTH: usize = 64;

/// The runs of each call, by its id.
#[derive(Debug, Default)]
pub(crate) struct Runs(Vec<Run>);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    pub(crate) began: u8,
    pub(crate) ended: u8,
    /// Whether the same attempt of the call started twice.
    pub(crate) repeated: bool,
    attempt: u32,
}

impl Runs {
    /// Reads a log to its end. Ignores an incomplete record at the end.
    pub(crate) fn read(mut log: impl Read) -> io::Result<Self> {
        let (mut runs, mut record) = (Self::default(), [0; RECORD_LENGTH]);
        loop {
            match log.read_exact(&mut record) {
                Ok(()) => runs.add(&record).ok_or_else(|| invalid_record(&record))?,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(runs),
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn of(&self, id: u64) -> Run {
        usize::try_from(id).ok().and_then(|id| self.0.get(id)).copied().unwrap_or_default()
    }

    /// Returns the number of calls that ran more than once.
    pub(crate) fn more_than_once(&self) -> u64 {
        self.0.iter().filter(|run| run.began > 1).count() as u64
    }

    fn add(&mut self, record: &[u8]) -> Option<()> {
        let mut fields = std::str::from_utf8(record).ok()?.split_whitespace();
        let (id, attempt) = (fields.next()?.parse::<usize>().ok()?, fields.next()?.parse::<u64>().ok()?);
        let (_pid, event) = (fields.next()?, fields.next()?);
        if self.0.len() <= id {
            self.0.resize(id + 1, Run::default());
        }
        let run = self.0.get_mut(id)?;
        // Attempt ids are unique in a pool. Two attempts of one call cannot be equal in their lower 32 bits: there would have
        // to be 2^32 attempts between them.
        let attempt = (attempt & u64::from(u32::MAX)) as u32;
        match event {
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

fn invalid_record(record: &[u8]) -> io::Error {
    io::Error::other(format!("invalid record in the execution log: {:?}", String::from_utf8_lossy(record)))
}

#[cfg(test)]
pub(crate) fn record(id: u64, attempt: u64, event: &str) -> String {
    format!("{:63}\n", format!("{id} {attempt} 4711 {event} 123456789"))
}
