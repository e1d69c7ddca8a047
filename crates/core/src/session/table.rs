//! The rows of a pool's sessions: found by id, and ordered by their last activity. Has no reference to workers.
//!
//! Every operation is O(1), amortized over a block of an expiry list or a segment of the index. Rows are stored in
//! chunks that never move. Idle rows are in an expiry list in the order in which they are due, which is the order of
//! their last activity, since all sessions of a pool have the same timeout.

use super::{
    expiry_list::ListPosition,
    expiry_queues::{ExpiryQueues, SparseBlock},
    index::Index,
    row::{Row, RowState},
};
use crate::{RowKey, SessionId, Timestamp, time::Nanos};
use foldhash::quality::FixedState;
use std::hash::{BuildHasher, Hash, Hasher};

const CHUNK: usize = 1024;
const NONE: u32 = u32::MAX;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum RowCell<R> {
    Vacant { next: u32, stamp: u32 },
    Taken(Row<R>),
}

/// The result of [`Table::renew`].
pub(crate) enum RenewOutcome {
    Renewed,
    /// The session does not exist.
    Absent,
    /// The timeout of the session has passed; it was not renewed.
    Due,
}

/// All sessions of a pool.
#[derive(Clone, Debug)]
pub(crate) struct Table<R> {
    rows: Rows<R>,
    index: Index,
    seed: FixedState,
    expiry: ExpiryQueues,
}

/// The rows, by number.
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

    /// Returns the key and the row of a session.
    #[inline(always)]
    pub(crate) fn get(&self, id: &[u8]) -> Option<(RowKey, &Row<R>)> {
        let hash = self.hash(id);
        self.index.find(hash, |index| {
            let row = self.rows.at(index).filter(|row| row.id.as_bytes() == id)?;
            Some((RowKey { index, stamp: row.stamp }, row))
        })
    }

    /// Does the same as [`get`](Self::get).
    #[inline(always)]
    pub(crate) fn get_by_id(&self, id: &SessionId) -> Option<(RowKey, &Row<R>)> {
        self.index.find(self.hash(id.as_bytes()), |index| {
            let row = self.rows.at(index).filter(|row| row.id == *id)?;
            Some((RowKey { index, stamp: row.stamp }, row))
        })
    }

    /// Adds a session that is not in the table, idle since `now`.
    pub(crate) fn insert(&mut self, now: Timestamp, id: SessionId, route: R) -> RowKey {
        let hash = self.hash(id.as_bytes());
        let (index, stamp) = self.rows.take_vacant_cell();
        let place = self.expiry.idle.append(index, now);
        self.rows.put(index, Row::new(now, id, place, stamp, route));
        self.index.insert(hash, index);
        RowKey { index, stamp }
    }

    pub(crate) fn remove(&mut self, key: RowKey) -> Option<Row<R>> {
        let (hash, state) = self.row(key).map(|row| (self.hash(row.id.as_bytes()), row.state))?;
        let sparse = self.expiry.remove(state);
        self.compact(sparse);
        self.index.remove(hash, key.index);
        self.rows.take(key)
    }

    #[inline]
    pub(crate) fn row(&self, key: RowKey) -> Option<&Row<R>> {
        // The stamp differs if the row's number was reused for another session since the key was created.
        self.rows.at(key.index).filter(|row| row.stamp == key.stamp)
    }

    #[inline]
    pub(crate) fn row_mut(&mut self, key: RowKey) -> Option<&mut Row<R>> {
        self.rows.at_mut(key.index).filter(|row| row.stamp == key.stamp)
    }

    /// Restarts the timeout of a session that is not due. Does the same as [`get`](Self::get) and
    /// [`touch`](Self::touch) with one search.
    pub(crate) fn renew(&mut self, id: &[u8], now: Timestamp, timeout: Nanos) -> RenewOutcome {
        let Some((key, _)) = self.get(id) else { return RenewOutcome::Absent };
        let Some(row) = self.rows.at_mut(key.index).filter(|row| !row.is_due(now, timeout)) else {
            return RenewOutcome::Due;
        };
        row.last = now;
        if let RowState::Idle(place) = row.state {
            let sparse = self.expiry.idle.remove(place);
            row.state = RowState::Idle(self.expiry.idle.append(key.index, now));
            // The merge may move this row again, so the row must have its new position before. Storing the position
            // afterwards would overwrite the one that the merge reported.
            if let Some(sparse) = sparse {
                self.compact(SparseBlock::Idle(sparse));
            }
        }
        RenewOutcome::Renewed
    }

    /// Restarts the timeout of a session and removes its mark.
    #[inline]
    pub(crate) fn touch(&mut self, key: RowKey, now: Timestamp) {
        let Some(row) = self.rows.at_mut(key.index).filter(|row| row.stamp == key.stamp) else { return };
        row.last = now;
        if matches!(row.state, RowState::Busy(_)) {
            return;
        }
        let sparse = self.expiry.remove(row.state);
        row.state = RowState::Idle(self.expiry.idle.append(key.index, now));
        self.compact(sparse);
    }

    /// Counts an admitted call of the session, which cannot expire until the call is finished. Returns the result of
    /// `change`, or `None` if there is no such row.
    #[inline(always)]
    pub(crate) fn begin_call<T>(&mut self, key: RowKey, change: impl FnOnce(&mut R) -> T) -> Option<T> {
        let row = self.rows.at_mut(key.index).filter(|row| row.stamp == key.stamp)?;
        let sparse = self.expiry.remove(row.state);
        row.state = RowState::Busy(row.pending() + 1);
        let result = change(&mut row.route);
        self.compact(sparse);
        Some(result)
    }

    /// Does what [`begin_call`](Self::begin_call) does for the session with this id, with one search, if `change` returns a
    /// result. Returns `None` otherwise, and if there is no such session. `change` is called once at most.
    #[inline(always)]
    pub(crate) fn begin_call_by_id<T>(
        &mut self,
        id: &SessionId,
        mut change: impl FnMut(RowKey, &mut Row<R>) -> Option<T>,
    ) -> Option<T> {
        let hash = self.hash(id.as_bytes());
        let Self { rows, index, expiry, .. } = self;
        let (result, sparse) = index.find(hash, |place| {
            let row = rows.at_mut(place).filter(|row| row.id == *id)?;
            let Some(result) = change(RowKey { index: place, stamp: row.stamp }, row) else {
                return Some((None, SparseBlock::Nothing));
            };
            let sparse = expiry.remove(row.state);
            row.state = RowState::Busy(row.pending() + 1);
            Some((Some(result), sparse))
        })?;
        self.compact(sparse);
        result
    }

    /// Counts a finished call of the session. `ran` is true if a worker finished it. Returns its row, or `None` if
    /// there is no such row.
    #[inline(always)]
    pub(crate) fn end_call(&mut self, key: RowKey, now: Timestamp, ran: bool) -> Option<&mut Row<R>> {
        let row = self.rows.at_mut(key.index).filter(|row| row.stamp == key.stamp)?;
        let RowState::Busy(calls) = row.state else { return Some(row) };
        row.last = now;
        *row.operations += u64::from(ran);
        row.state = match calls {
            0 | 1 => RowState::Idle(self.expiry.idle.append(key.index, now)),
            more => RowState::Busy(more - 1),
        };
        Some(row)
    }

    /// Marks a session as expired: the first phase of two-phase expiry. Returns false if the session has calls or is
    /// already marked.
    pub(crate) fn mark(&mut self, key: RowKey, now: Timestamp) -> bool {
        let Some(row) = self.rows.at_mut(key.index).filter(|row| row.stamp == key.stamp) else { return false };
        if !matches!(row.state, RowState::Idle(_)) {
            return false;
        }
        let sparse = self.expiry.remove(row.state);
        row.state = RowState::Marked(self.expiry.marked.append(key.index, now), now);
        self.compact(sparse);
        true
    }

    pub(crate) fn is_due(&self, key: RowKey, now: Timestamp, timeout: Nanos) -> bool {
        self.row(key).is_some_and(|row| row.is_due(now, timeout))
    }

    /// Returns the idle session that is due first.
    pub(crate) fn oldest_idle(&self) -> Option<(RowKey, Timestamp)> {
        let index = self.expiry.idle.first()?;
        self.rows.at(index).map(|row| (RowKey { index, stamp: row.stamp }, row.last))
    }

    /// Returns the session that was marked first.
    pub(crate) fn oldest_marked(&self) -> Option<(RowKey, Timestamp)> {
        let index = self.expiry.marked.first()?;
        let row = self.rows.at(index)?;
        row.marked().map(|at| (RowKey { index, stamp: row.stamp }, at))
    }

    /// Returns the number of idle sessions that are due and neither marked nor removed. Costs the number of blocks of
    /// the expiry list, not of sessions.
    pub(crate) fn count_due(&self, now: Timestamp, timeout: Nanos) -> usize {
        let is_over = |last: Timestamp| now >= last.after(timeout);
        self.expiry.idle.count_due(is_over, |row| self.rows.at(row).is_some_and(|row| is_over(row.last)))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (RowKey, &Row<R>)> {
        (0..self.row_capacity()).filter_map(|index| self.row_at(index))
    }

    /// Returns the number of row numbers in use or vacant; every row number is below it.
    pub(crate) fn row_capacity(&self) -> usize {
        self.rows.chunks.last().map_or(0, |last| (self.rows.chunks.len() - 1) * CHUNK + last.len())
    }

    /// Returns the key and the row with this number, if there is one.
    pub(crate) fn row_at(&self, place: usize) -> Option<(RowKey, &Row<R>)> {
        let index = u32::try_from(place).ok()?;
        self.rows.at(index).map(|row| (RowKey { index, stamp: row.stamp }, row))
    }

    /// Reports rows that are not found by their id, or are not at their position in the expiry lists.
    pub(crate) fn verify(&self, broken: &mut Vec<String>) {
        let (mut rows, mut idle, mut marked) = (0, 0, 0);
        for (key, row) in self.iter() {
            rows += 1;
            let is_listed = match row.state {
                RowState::Busy(calls) => calls > 0,
                RowState::Idle(place) => {
                    idle += 1;
                    self.expiry.idle.at(place) == key.index
                }
                RowState::Marked(place, _) => {
                    marked += 1;
                    self.expiry.marked.at(place) == key.index
                }
            };
            if !is_listed || self.find(row.id.as_bytes()) != Some(key) {
                broken.push(format!("session {} is not found by its id, or not where it expires", row.id));
            }
        }
        let counted = (self.len(), self.expiry.idle.len(), self.expiry.marked.len());
        if counted != (rows, idle, marked) {
            broken.push(format!(
                "{counted:?} rows are counted, idle and marked, but there are {:?}",
                (rows, idle, marked)
            ));
        }
    }

    #[inline]
    fn hash(&self, id: &[u8]) -> u32 {
        let mut hasher = self.seed.build_hasher();
        hasher.write(id);
        // The lower half is sufficient: ids are compared as well.
        hasher.finish() as u32
    }

    #[inline]
    fn compact(&mut self, sparse: SparseBlock) {
        self.expiry.compact(sparse, |row, place| self.rows.set_position(row, place));
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
        // The next row with this number gets another stamp, so that keys of the removed row do not find it.
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

    /// Stores the new position of a row that a merge has moved.
    fn set_position(&mut self, index: u32, place: ListPosition) {
        if let Some(row) = self.at_mut(index) {
            row.state = match row.state {
                RowState::Busy(calls) => RowState::Busy(calls),
                RowState::Idle(_) => RowState::Idle(place),
                RowState::Marked(_, at) => RowState::Marked(place, at),
            };
        }
    }

    /// Returns the number and the stamp of a vacant cell.
    fn take_vacant_cell(&mut self) -> (u32, u32) {
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

/// The index is not compared, since it follows from the rows.
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

    /// R54, R10: the documented memory of a session.
    #[test]
    fn rows_have_the_documented_size() {
        assert_eq!(size_of::<RowCell<super::super::Route>>(), 144);
        assert_eq!(size_of::<RowCell<Tracked>>(), 88);
    }

    #[test]
    fn keys_of_removed_rows_find_nothing() {
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
        table.begin_call(keys[1], |_| ());
        let timeout = Nanos::from(std::time::Duration::from_nanos(5));
        assert_eq!(table.oldest_idle(), Some((keys[2], Timestamp(2))));
        assert_eq!(table.count_due(Timestamp(8), timeout), 2);
        assert!(!table.is_due(keys[1], Timestamp(99), timeout), "a session with a call is not due");
        table.end_call(keys[1], Timestamp(11), true);
        assert_eq!(table.count_due(Timestamp(16), timeout), 4);
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
