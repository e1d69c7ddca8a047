//! The rows of a pool's sessions: found by id, aged by their last activity. Knows nothing of workers: what routing adds
//! to a row is the type parameter, `()` where there is none (R10).
//!
//! Every step costs O(1) and none moves more than a segment of the index: rows live in chunks that never move, and the idle ones hang
//! on a list in the order in which they come due, since all sessions of a pool have one timeout.

use super::index::Index;
use crate::{Now, SessionId};
use foldhash::quality::FixedState;
use std::{
    hash::{BuildHasher, Hash, Hasher},
    time::Duration,
};

const CHUNK: usize = 1024;
const NONE: u32 = u32::MAX;

/// Names a row for as long as it lives; a key of a row that is gone finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowKey {
    index: u32,
    stamp: u32,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Row<R> {
    pub(crate) id: SessionId,
    pub(crate) first_seen: Now,
    /// The last finish or explicit activity: the timeout runs from here.
    pub(crate) last: Now,
    pub(crate) operations: u64,
    /// Calls queued or unfinished; a session that has any does not expire.
    pub(crate) pending: u32,
    pub(crate) marked: Option<Now>,
    /// It goes when its last call is over; only where sessions are tracked and no more.
    pub(crate) ended: bool,
    pub(crate) route: R,
    stamp: u32,
    links: Links,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Links {
    previous: u32,
    next: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Cell<R> {
    Vacant { next: u32, stamp: u32 },
    Taken(Row<R>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct List {
    first: u32,
    last: u32,
    len: usize,
}

/// All sessions of one pool.
#[derive(Clone, Debug)]
pub(crate) struct Table<R> {
    chunks: Vec<Vec<Cell<R>>>,
    vacant: u32,
    len: usize,
    index: Index,
    seed: FixedState,
    /// Idle and not marked, the first due first.
    fresh: List,
    /// Marked as expired, the first marked first.
    marked: List,
}

impl<R> Table<R> {
    pub(crate) fn new(seed: u64) -> Self {
        let empty = List { first: NONE, last: NONE, len: 0 };
        let seed = FixedState::with_seed(seed);
        Self { chunks: Vec::new(), vacant: NONE, len: 0, index: Index::new(), seed, fresh: empty, marked: empty }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn marked_len(&self) -> usize {
        self.marked.len
    }

    pub(crate) fn find(&self, id: &str) -> Option<RowKey> {
        let index =
            self.index.find(self.seed.hash_one(id), |index| self.at(index).is_some_and(|row| row.id.as_str() == id))?;
        self.at(index).map(|row| RowKey { index, stamp: row.stamp })
    }

    /// Adds a session that is not here yet, idle since now.
    pub(crate) fn insert(&mut self, now: Now, id: SessionId, route: R) -> RowKey {
        let hash = self.seed.hash_one(id.as_str());
        let (index, stamp) = self.vacate();
        let links = Links { previous: NONE, next: NONE };
        let row = Row {
            id,
            first_seen: now,
            last: now,
            operations: 0,
            pending: 0,
            marked: None,
            ended: false,
            route,
            stamp,
            links,
        };
        self.chunks[index as usize / CHUNK][index as usize % CHUNK] = Cell::Taken(row);
        self.len += 1;
        let (chunks, seed) = (&self.chunks, &self.seed);
        self.index.insert(hash, index, |index| match &chunks[index as usize / CHUNK][index as usize % CHUNK] {
            Cell::Taken(row) => seed.hash_one(row.id.as_str()),
            Cell::Vacant { .. } => 0,
        });
        self.append(index);
        RowKey { index, stamp }
    }

    pub(crate) fn remove(&mut self, key: RowKey) -> Option<Row<R>> {
        let hash = self.seed.hash_one(self.row(key)?.id.as_str());
        self.unlink(key.index);
        self.index.remove(hash, key.index);
        let vacant = Cell::Vacant { next: self.vacant, stamp: key.stamp.wrapping_add(1) };
        let cell = std::mem::replace(&mut self.chunks[key.index as usize / CHUNK][key.index as usize % CHUNK], vacant);
        self.vacant = key.index;
        self.len -= 1;
        match cell {
            Cell::Taken(row) => Some(row),
            Cell::Vacant { .. } => None,
        }
    }

    pub(crate) fn row(&self, key: RowKey) -> Option<&Row<R>> {
        self.at(key.index).filter(|row| row.stamp == key.stamp)
    }

    pub(crate) fn row_mut(&mut self, key: RowKey) -> Option<&mut Row<R>> {
        self.at_mut(key.index).filter(|row| row.stamp == key.stamp)
    }

    /// Activity: the timeout runs anew, and a mark is taken off.
    pub(crate) fn touch(&mut self, key: RowKey, now: Now) {
        if self.row(key).is_none() {
            return;
        }
        self.unlink(key.index);
        if let Some(row) = self.row_mut(key) {
            row.last = now;
            row.marked = None;
        }
        self.append(key.index);
    }

    /// A call of the session was admitted: it can't expire until that is over.
    pub(crate) fn begin_call(&mut self, key: RowKey) {
        if self.row(key).is_none() {
            return;
        }
        self.unlink(key.index);
        if let Some(row) = self.row_mut(key) {
            row.pending += 1;
            row.marked = None;
            row.ended = false;
        }
    }

    /// A call of the session is over; `ran` if a worker finished it.
    pub(crate) fn end_call(&mut self, key: RowKey, now: Now, ran: bool) {
        let Some(row) = self.row_mut(key) else { return };
        row.pending = row.pending.saturating_sub(1);
        row.operations += u64::from(ran);
        row.last = now;
        if row.pending == 0 {
            self.append(key.index);
        }
    }

    /// Phase one of two-phase expiry.
    pub(crate) fn mark(&mut self, key: RowKey, now: Now) {
        if self.row(key).is_none_or(|row| row.pending > 0 || row.marked.is_some()) {
            return;
        }
        self.unlink(key.index);
        if let Some(row) = self.row_mut(key) {
            row.marked = Some(now);
        }
        self.append(key.index);
    }

    pub(crate) fn is_due(&self, key: RowKey, now: Now, timeout: Duration) -> bool {
        self.row(key).is_some_and(|row| row.pending == 0 && (row.marked.is_some() || now >= row.last + timeout))
    }

    /// The idle session that comes due first.
    pub(crate) fn oldest_fresh(&self) -> Option<(RowKey, Now)> {
        self.at(self.fresh.first).map(|row| (RowKey { index: self.fresh.first, stamp: row.stamp }, row.last))
    }

    /// The session that was marked first.
    pub(crate) fn oldest_marked(&self) -> Option<(RowKey, Now)> {
        let row = self.at(self.marked.first)?;
        row.marked.map(|at| (RowKey { index: self.marked.first, stamp: row.stamp }, at))
    }

    /// How many idle sessions are due and not yet marked or removed. Costs their number.
    pub(crate) fn due(&self, now: Now, timeout: Duration) -> usize {
        let follow = |row: &&Row<R>| self.at(row.links.next);
        std::iter::successors(self.at(self.fresh.first), follow).take_while(|row| now >= row.last + timeout).count()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (RowKey, &Row<R>)> {
        self.chunks.iter().flatten().enumerate().filter_map(|(index, cell)| match cell {
            Cell::Taken(row) => Some((RowKey { index: u32::try_from(index).unwrap_or(NONE), stamp: row.stamp }, row)),
            Cell::Vacant { .. } => None,
        })
    }

    fn at(&self, index: u32) -> Option<&Row<R>> {
        match self.chunks.get(index as usize / CHUNK)?.get(index as usize % CHUNK)? {
            Cell::Taken(row) => Some(row),
            Cell::Vacant { .. } => None,
        }
    }

    fn at_mut(&mut self, index: u32) -> Option<&mut Row<R>> {
        match self.chunks.get_mut(index as usize / CHUNK)?.get_mut(index as usize % CHUNK)? {
            Cell::Taken(row) => Some(row),
            Cell::Vacant { .. } => None,
        }
    }

    /// A free cell's place and stamp.
    fn vacate(&mut self) -> (u32, u32) {
        if let Some(Cell::Vacant { next, stamp }) =
            self.chunks.get(self.vacant as usize / CHUNK).and_then(|chunk| chunk.get(self.vacant as usize % CHUNK))
        {
            let free = (self.vacant, *stamp);
            self.vacant = *next;
            return free;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let place = (self.chunks.len() - 1) * CHUNK + self.chunks.last().map_or(0, Vec::len);
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(Cell::Vacant { next: NONE, stamp: 0 });
        }
        (u32::try_from(place).unwrap_or(NONE), 0)
    }

    fn list(&mut self, marked: bool) -> &mut List {
        if marked { &mut self.marked } else { &mut self.fresh }
    }

    /// Hangs an idle row on its list, last.
    fn append(&mut self, index: u32) {
        let Some(row) = self.at(index) else { return };
        if row.pending > 0 {
            return;
        }
        let marked = row.marked.is_some();
        let last = std::mem::replace(&mut self.list(marked).last, index);
        if let Some(row) = self.at_mut(index) {
            row.links = Links { previous: last, next: NONE };
        }
        match self.at_mut(last) {
            Some(before) => before.links.next = index,
            None => self.list(marked).first = index,
        }
        self.list(marked).len += 1;
    }

    /// Takes an idle row off its list; a row with calls is on none.
    fn unlink(&mut self, index: u32) {
        let Some(row) = self.at(index) else { return };
        if row.pending > 0 {
            return;
        }
        let (marked, links) = (row.marked.is_some(), row.links);
        match self.at_mut(links.previous) {
            Some(before) => before.links.next = links.next,
            None => self.list(marked).first = links.next,
        }
        match self.at_mut(links.next) {
            Some(after) => after.links.previous = links.previous,
            None => self.list(marked).last = links.previous,
        }
        self.list(marked).len -= 1;
    }
}

/// The index follows from the rows.
impl<R: PartialEq> PartialEq for Table<R> {
    fn eq(&self, other: &Self) -> bool {
        self.chunks == other.chunks
            && self.vacant == other.vacant
            && self.fresh == other.fresh
            && self.marked == other.marked
    }
}

impl<R: Eq> Eq for Table<R> {}

impl<R: Hash> Hash for Table<R> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.chunks.hash(state);
        self.vacant.hash(state);
        self.fresh.hash(state);
        self.marked.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> SessionId {
        SessionId::new(format!("s{n}")).unwrap()
    }

    #[test]
    fn rows_are_found_until_removed_and_old_keys_find_nothing() {
        let mut table = Table::new(1);
        let keys: Vec<RowKey> = (0..3000).map(|n| table.insert(Now(n), id(n), ())).collect();
        assert_eq!(table.find("s2999"), Some(keys[2999]));
        assert!(table.remove(keys[5]).is_some());
        assert!(table.remove(keys[5]).is_none());
        let again = table.insert(Now(9000), id(5), ());
        assert_ne!(again, keys[5]);
        assert!(table.row(keys[5]).is_none());
        assert_eq!((table.len(), table.find("s5")), (3000, Some(again)));
    }

    #[test]
    fn idle_rows_come_due_in_the_order_of_their_last_activity() {
        let mut table = Table::new(1);
        let keys: Vec<RowKey> = (0..4).map(|n| table.insert(Now(n), id(n), ())).collect();
        table.touch(keys[0], Now(10));
        table.begin_call(keys[1]);
        let timeout = Duration::from_nanos(5);
        assert_eq!(table.oldest_fresh(), Some((keys[2], Now(2))));
        assert_eq!(table.due(Now(8), timeout), 2);
        assert!(!table.is_due(keys[1], Now(99), timeout), "it has a call");
        table.end_call(keys[1], Now(11), true);
        assert_eq!(table.due(Now(16), timeout), 4);
        table.mark(keys[2], Now(20));
        table.mark(keys[0], Now(21));
        assert_eq!((table.oldest_marked(), table.marked_len()), (Some((keys[2], Now(20))), 2));
        table.touch(keys[2], Now(22));
        assert_eq!((table.oldest_marked(), table.marked_len()), (Some((keys[0], Now(21))), 1));
        let order: Vec<Now> = std::iter::from_fn(|| {
            let (key, last) = table.oldest_fresh()?;
            table.remove(key);
            Some(last)
        })
        .collect();
        assert_eq!(order, [Now(3), Now(11), Now(22)]);
    }
}
