//! The baseline: a `HashMap` from session to worker, with the time of the last activity. It has no expiry order, no dead
//! processes and no epochs, and an insert that makes it grow stops everything else.

use foldhash::quality::FixedState;
use herder_core::{Timestamp, WorkerRef};
use std::{collections::HashMap, time::Duration};

const TIMEOUT: Duration = Duration::from_secs(300);

pub(crate) struct BaselineMap(HashMap<String, Session, FixedState>);

struct Session {
    last: Timestamp,
    worker: WorkerRef,
    _first_seen: Timestamp,
    _operations: u64,
    _pending: u32,
}

impl BaselineMap {
    pub(crate) fn new() -> Self {
        Self(HashMap::with_hasher(FixedState::with_seed(7)))
    }

    pub(crate) fn bind(&mut self, id: &str, worker: WorkerRef, now: Timestamp) {
        if let Some(session) = self.0.get_mut(id) {
            return (session.worker, session.last) = (worker, now);
        }
        let session = Session { last: now, worker, _first_seen: now, _operations: 0, _pending: 0 };
        self.0.insert(id.to_owned(), session);
    }

    pub(crate) fn lookup(&self, id: &str, now: Timestamp) -> Option<WorkerRef> {
        self.0.get(id).filter(|session| now < session.last + TIMEOUT).map(|session| session.worker)
    }

    pub(crate) fn touch(&mut self, id: &str, now: Timestamp) -> bool {
        let session = self.0.get_mut(id).filter(|session| now < session.last + TIMEOUT);
        session.map(|session| session.last = now).is_some()
    }
}
