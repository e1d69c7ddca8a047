//! The rows of a pool's sessions: found by id, aged by their last activity. Knows nothing of workers.
//!
//! Every step costs O(1), amortized over a block of the timeline or a segment of the index: rows live in chunks that never move,
//! and the idle ones hang on a timeline in the order in which they come due, since all sessions of a pool have one timeout.

use super::{
    expiry_list::ListPosition,
    expiry_queues::{ExpiryQueues, SparseBlock},
    index::Index,
    row::{Row, RowKey, RowState},
};
use crate::{SessionId, Timestamp};
use foldhash::quality::FixedState;
use std::{
    hash::{BuildHasher, Hash, Hasher},
    time::Duration,
};

const CHUNK: usize = 1024;
const NONE: u32 = u32::MAX;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum RowCell<R> {
    Vacant { next: u32, stamp: u32 },
    Taken(Row<R>),
}

/// What came of a renewal.
pub(crate) enum RenewOutcome {
    Done,
    /// There is no such session.
    Absent,
    /// It is due, so nothing was done.
    Late,
}

/// All sessions of one pool.
#[derive(Clone, Debug)]
pub(crate) struct Table<R> {
    rows: Rows<R>,
    index: Index,
    seed: FixedState,
    expiry: ExpiryQueues,
}

/// Rows by number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Rows<R> {
    chunks: Vec<Vec<RowCell<R>>>,
    vacant: u32,
    len: usize,
}

impl<R> Table<R> {
    pub(crate) fn new(seed: u64) -> Self {
        let rows = Rows { chunks: Vec::new(), vacant: NONE, len: 0 };
        let seed = FixedState::with_seed(seed);
        Self { rows, index: Index::new(), seed, expiry: ExpiryQueues::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len
    }

    pub(crate) fn marked_len(&self) -> usize {
        self.expiry.marked.len()
    }

    pub(crate) fn find(&self, id: &[u8]) -> Option<RowKey> {
        self.get(id).map(|(key, _)| key)
    }

    /// The session's row and its key.
    #[inline(always)]
    pub(crate) fn get(&self, id: &[u8]) -> Option<(RowKey, &Row<R>)> {
        let hash = self.hash(id);
        self.index.find(hash, |index| {
            let row = self.rows.at(index).filter(|row| row.id.as_bytes() == id)?;
            Some((RowKey { index, stamp: row.stamp }, row))
        })
    }

    /// Adds a session that is not here yet, idle since now.
    pub(crate) fn insert(&mut self, now: Timestamp, id: SessionId, route: R) -> RowKey {
        let hash = self.hash(id.as_bytes());
        let (index, stamp) = self.rows.vacate();
        let place = self.expiry.idle.append(index, now);
        self.rows.put(index, Row::new(now, id, place, stamp, route));
        self.index.insert(hash, index);
        RowKey { index, stamp }
    }

    pub(crate) fn remove(&mut self, key: RowKey) -> Option<Row<R>> {
        let (hash, age) = self.row(key).map(|row| (self.hash(row.id.as_bytes()), row.state))?;
        let left = self.expiry.leave(age);
        self.compact(left);
        self.index.remove(hash, key.index);
        self.rows.take(key)
    }

    pub(crate) fn row(&self, key: RowKey) -> Option<&Row<R>> {
        self.rows.at(key.index).filter(|row| row.stamp == key.stamp)
    }

    pub(crate) fn row_mut(&mut self, key: RowKey) -> Option<&mut Row<R>> {
        self.rows.at_mut(key.index).filter(|row| row.stamp == key.stamp)
    }

    /// Activity of a session that is not due: its timeout runs anew. The same as [`get`](Self::get) and [`touch`](Self::touch), with
    /// one search for the row.
    pub(crate) fn renew(&mut self, id: &[u8], now: Timestamp, timeout: Duration) -> RenewOutcome {
        let Some((key, _)) = self.get(id) else { return RenewOutcome::Absent };
        let Some(row) = self.rows.at_mut(key.index).filter(|row| !row.is_due(now, timeout)) else {
            return RenewOutcome::Late;
        };
        row.last = now;
        if let RowState::Idle(place) = row.state {
            let sparse = self.expiry.idle.remove(place);
            row.state = RowState::Idle(self.expiry.idle.append(key.index, now));
            if let Some(sparse) = sparse {
                self.compact(SparseBlock::Idle(sparse));
            }
        }
        RenewOutcome::Done
    }

    /// Activity: the timeout runs anew, and a mark is taken off.
    #[inline]
    pub(crate) fn touch(&mut self, key: RowKey, now: Timestamp) {
        let Some(row) = self.rows.at_mut(key.index).filter(|row| row.stamp == key.stamp) else { return };
        row.last = now;
        if matches!(row.state, RowState::Busy(_)) {
            return;
        }
        let left = self.expiry.leave(row.state);
        row.state = RowState::Idle(self.expiry.idle.append(key.index, now));
        self.compact(left);
    }

    /// A call of the session was admitted: it can't expire until that is over.
    pub(crate) fn begin_call(&mut self, key: RowKey) {
        let Some(row) = self.rows.at_mut(key.index).filter(|row| row.stamp == key.stamp) else { return };
        let left = self.expiry.leave(row.state);
        row.state = RowState::Busy(row.pending() + 1);
        self.compact(left);
    }

    /// A call of the session is over; `ran` if a worker finished it.
    pub(crate) fn end_call(&mut self, key: RowKey, now: Timestamp, ran: bool) {
        let Some(row) = self.rows.at_mut(key.index).filter(|row| row.stamp == key.stamp) else { return };
        let RowState::Busy(calls) = row.state else { return };
        row.last = now;
        row.operations += u64::from(ran);
        row.state = match calls {
            0 | 1 => RowState::Idle(self.expiry.idle.append(key.index, now)),
            more => RowState::Busy(more - 1),
        };
    }

    /// Phase one of two-phase expiry. False for a session that has calls, or is marked already.
    pub(crate) fn mark(&mut self, key: RowKey, now: Timestamp) -> bool {
        let Some(row) = self.rows.at_mut(key.index).filter(|row| row.stamp == key.stamp) else { return false };
        if !matches!(row.state, RowState::Idle(_)) {
            return false;
        }
        let left = self.expiry.leave(row.state);
        row.state = RowState::Marked(self.expiry.marked.append(key.index, now), now);
        self.compact(left);
        true
    }

    pub(crate) fn is_due(&self, key: RowKey, now: Timestamp, timeout: Duration) -> bool {
        self.row(key).is_some_and(|row| row.is_due(now, timeout))
    }

    /// The idle session that comes due first.
    pub(crate) fn oldest_idle(&self) -> Option<(RowKey, Timestamp)> {
        let index = self.expiry.idle.first()?;
        self.rows.at(index).map(|row| (RowKey { index, stamp: row.stamp }, row.last))
    }

    /// The session that was marked first.
    pub(crate) fn oldest_marked(&self) -> Option<(RowKey, Timestamp)> {
        let index = self.expiry.marked.first()?;
        let row = self.rows.at(index)?;
        row.marked().map(|at| (RowKey { index, stamp: row.stamp }, at))
    }

    /// How many idle sessions are due and not yet marked or removed. Costs the blocks of the timeline, not
    /// the sessions.
    pub(crate) fn due(&self, now: Timestamp, timeout: Duration) -> usize {
        let is_over = |last: Timestamp| now >= last + timeout;
        self.expiry.idle.due(is_over, |row| self.rows.at(row).is_some_and(|row| is_over(row.last)))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (RowKey, &Row<R>)> {
        (0..self.places()).filter_map(|index| self.at_place(index))
    }

    /// Numbers of rows ever used at once: each row's is below.
    pub(crate) fn places(&self) -> usize {
        self.rows.chunks.last().map_or(0, |last| (self.rows.chunks.len() - 1) * CHUNK + last.len())
    }

    /// The row with this number, if there is one.
    pub(crate) fn at_place(&self, place: usize) -> Option<(RowKey, &Row<R>)> {
        let index = u32::try_from(place).ok()?;
        self.rows.at(index).map(|row| (RowKey { index, stamp: row.stamp }, row))
    }

    #[inline]
    fn hash(&self, id: &[u8]) -> u32 {
        let mut hasher = self.seed.build_hasher();
        hasher.write(id);
        hasher.finish() as u32 // the rest is not needed: what counts is compared
    }

    fn compact(&mut self, left: SparseBlock) {
        self.expiry.compact(left, |row, place| self.rows.set_position(row, place));
    }
}

impl<R> Rows<R> {
    #[inline]
    fn at(&self, index: u32) -> Option<&Row<R>> {
        match self.chunks.get(index as usize / CHUNK)?.get(index as usize % CHUNK)? {
            RowCell::Taken(row) => Some(row),
            RowCell::Vacant { .. } => None,
        }
    }

    #[inline]
    fn at_mut(&mut self, index: u32) -> Option<&mut Row<R>> {
        match self.chunks.get_mut(index as usize / CHUNK)?.get_mut(index as usize % CHUNK)? {
            RowCell::Taken(row) => Some(row),
            RowCell::Vacant { .. } => None,
        }
    }

    fn put(&mut self, index: u32, row: Row<R>) {
        self.chunks[index as usize / CHUNK][index as usize % CHUNK] = RowCell::Taken(row);
        self.len += 1;
    }

    fn take(&mut self, key: RowKey) -> Option<Row<R>> {
        let vacant = RowCell::Vacant { next: self.vacant, stamp: key.stamp.wrapping_add(1) };
        let cell = &mut self.chunks[key.index as usize / CHUNK][key.index as usize % CHUNK];
        match std::mem::replace(cell, vacant) {
            RowCell::Taken(row) => {
                self.vacant = key.index;
                self.len -= 1;
                Some(row)
            }
            RowCell::Vacant { .. } => None,
        }
    }

    /// A row was moved along its timeline.
    fn set_position(&mut self, index: u32, place: ListPosition) {
        if let Some(row) = self.at_mut(index) {
            row.state = match row.state {
                RowState::Busy(calls) => RowState::Busy(calls),
                RowState::Idle(_) => RowState::Idle(place),
                RowState::Marked(_, at) => RowState::Marked(place, at),
            };
        }
    }

    /// A free cell's number and stamp.
    fn vacate(&mut self) -> (u32, u32) {
        let cell =
            self.chunks.get(self.vacant as usize / CHUNK).and_then(|chunk| chunk.get(self.vacant as usize % CHUNK));
        if let Some(RowCell::Vacant { next, stamp }) = cell {
            let free = (self.vacant, *stamp);
            self.vacant = *next;
            return free;
        }
        (self.add_cell(), 0)
    }

    fn add_cell(&mut self) -> u32 {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let chunk = self.chunks.len() - 1;
        self.chunks[chunk].push(RowCell::Vacant { next: NONE, stamp: 0 });
        u32::try_from(chunk * CHUNK + self.chunks[chunk].len() - 1).unwrap_or(NONE)
    }
}

/// The index follows from the rows.
impl<R: PartialEq> PartialEq for Table<R> {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows && self.expiry == other.expiry
    }
}

impl<R: Eq> Eq for Table<R> {}

impl<R: Hash> Hash for Table<R> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rows.hash(state);
        self.expiry.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::row::Tracked, *};

    fn id(n: u64) -> SessionId {
        SessionId::new(format!("s{n}")).unwrap()
    }

    /// R54, R10: what is stated of the memory of a session.
    #[test]
    fn a_row_has_its_size() {
        assert_eq!(size_of::<RowCell<super::super::Route>>(), 144);
        assert_eq!(size_of::<RowCell<Tracked>>(), 88);
    }

    #[test]
    fn rows_are_found_until_removed_and_old_keys_find_nothing() {
        let mut table = Table::new(1);
        let keys: Vec<RowKey> = (0..3000).map(|n| table.insert(Timestamp(n), id(n), Tracked::default())).collect();
        assert_eq!(table.find(b"s2999"), Some(keys[2999]));
        assert!(table.remove(keys[5]).is_some());
        assert!(table.remove(keys[5]).is_none());
        let again = table.insert(Timestamp(9000), id(5), Tracked::default());
        assert_ne!(again, keys[5]);
        assert!(table.row(keys[5]).is_none());
        assert_eq!((table.len(), table.find(b"s5")), (3000, Some(again)));
    }

    #[test]
    fn idle_rows_come_due_in_the_order_of_their_last_activity() {
        let mut table = Table::new(1);
        let keys: Vec<RowKey> = (0..4).map(|n| table.insert(Timestamp(n), id(n), Tracked::default())).collect();
        table.touch(keys[0], Timestamp(10));
        table.begin_call(keys[1]);
        let timeout = Duration::from_nanos(5);
        assert_eq!(table.oldest_idle(), Some((keys[2], Timestamp(2))));
        assert_eq!(table.due(Timestamp(8), timeout), 2);
        assert!(!table.is_due(keys[1], Timestamp(99), timeout), "it has a call");
        table.end_call(keys[1], Timestamp(11), true);
        assert_eq!(table.due(Timestamp(16), timeout), 4);
        assert!(table.mark(keys[2], Timestamp(20)) && table.mark(keys[0], Timestamp(21)));
        assert_eq!((table.oldest_marked(), table.marked_len()), (Some((keys[2], Timestamp(20))), 2));
        table.touch(keys[2], Timestamp(22));
        assert_eq!((table.oldest_marked(), table.marked_len()), (Some((keys[0], Timestamp(21))), 1));
        let order: Vec<Timestamp> = std::iter::from_fn(|| {
            let (key, last) = table.oldest_idle()?;
            table.remove(key);
            Some(last)
        })
        .collect();
        assert_eq!(order, [Timestamp(3), Timestamp(11), Timestamp(22)]);
    }
}
