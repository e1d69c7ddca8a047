//! Which sessions come due when: the idle ones by their last activity, the marked ones by their marking. Holds row numbers.

use super::{
    expiry_list::{ExpiryList, ListPosition, Sparse},
    row::RowState,
};

/// The two timelines of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ExpiryQueues {
    /// Idle and not marked, the first due first.
    pub(super) idle: ExpiryList,
    /// Marked as expired, the first marked first.
    pub(super) marked: ExpiryList,
}

/// What a row left behind, to be tidied up once it has its new place.
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

    /// Takes a row off its timeline; one with calls is on none.
    #[inline]
    pub(super) fn leave(&mut self, age: RowState) -> SparseBlock {
        match age {
            RowState::Busy(_) => SparseBlock::Nothing,
            RowState::Idle(place) => self.idle.remove(place).map_or(SparseBlock::Nothing, SparseBlock::Idle),
            RowState::Marked(place, _) => self.marked.remove(place).map_or(SparseBlock::Nothing, SparseBlock::Marked),
        }
    }

    /// Merges blocks that became sparse; tells each row that moves, and where to.
    #[inline]
    pub(super) fn compact(&mut self, left: SparseBlock, moved: impl FnMut(u32, ListPosition)) {
        match left {
            SparseBlock::Nothing => {}
            SparseBlock::Idle(sparse) => self.idle.merge(sparse, moved),
            SparseBlock::Marked(sparse) => self.marked.merge(sparse, moved),
        }
    }
}
