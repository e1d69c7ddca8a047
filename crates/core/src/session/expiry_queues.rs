//! The order in which sessions expire: idle ones by their last activity, marked ones by the time of the marking. Holds
//! row numbers.

use super::{
    expiry_list::{ExpiryList, ListPosition, Sparse},
    row::RowState,
};

/// The two expiry lists of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ExpiryQueues {
    /// Idle sessions that are not marked, the earliest due first.
    pub(super) idle: ExpiryList,
    /// Sessions that are marked as expired, the earliest marked first.
    pub(super) marked: ExpiryList,
}

/// A block that a removal left sparse. It must be merged only after the removed row has its new position.
#[derive(Clone, Copy)]
pub(super) enum SparseBlock {
    Nothing,
    Idle(Sparse),
    Marked(Sparse),
}

impl ExpiryQueues {
    pub(super) fn new() -> Self {
        Self { idle: ExpiryList::new(), marked: ExpiryList::new() }
    }

    /// Removes a row from its list. A row with calls is in none.
    #[inline(always)]
    pub(super) fn remove(&mut self, state: RowState) -> SparseBlock {
        match state {
            RowState::Busy(_) => SparseBlock::Nothing,
            RowState::Idle(place) => self.idle.remove(place).map_or(SparseBlock::Nothing, SparseBlock::Idle),
            RowState::Marked(place, _) => self.marked.remove(place).map_or(SparseBlock::Nothing, SparseBlock::Marked),
        }
    }

    /// Merges a sparse block with a neighbour and reports the new position of each row that moves.
    #[inline]
    pub(super) fn compact(&mut self, sparse_block: SparseBlock, moved: impl FnMut(u32, ListPosition)) {
        match sparse_block {
            SparseBlock::Nothing => {}
            SparseBlock::Idle(sparse) => self.idle.merge(sparse, moved),
            SparseBlock::Marked(sparse) => self.marked.merge(sparse, moved),
        }
    }
}
