//! Which sessions come due when: the idle ones by their last activity, the marked ones by their marking. Holds row numbers.

use super::{
    row::Age,
    timeline::{Place, Sparse, Timeline},
};

/// The two timelines of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ages {
    /// Idle and not marked, the first due first.
    pub(super) idle: Timeline,
    /// Marked as expired, the first marked first.
    pub(super) marked: Timeline,
}

/// What a row left behind, to be tidied up once it has its new place.
#[derive(Clone, Copy)]
pub(super) enum Left {
    Nothing,
    Idle(Sparse),
    Marked(Sparse),
}

impl Ages {
    pub(super) fn new() -> Self {
        Self { idle: Timeline::new(), marked: Timeline::new() }
    }

    /// Takes a row off its timeline; one with calls is on none.
    #[inline]
    pub(super) fn leave(&mut self, age: Age) -> Left {
        match age {
            Age::Busy(_) => Left::Nothing,
            Age::Idle(place) => self.idle.remove(place).map_or(Left::Nothing, Left::Idle),
            Age::Marked(place, _) => self.marked.remove(place).map_or(Left::Nothing, Left::Marked),
        }
    }

    /// Merges blocks that became sparse; tells each row that moves, and where to.
    #[inline]
    pub(super) fn tidy(&mut self, left: Left, moved: impl FnMut(u32, Place)) {
        match left {
            Left::Nothing => {}
            Left::Idle(sparse) => self.idle.merge(sparse, moved),
            Left::Marked(sparse) => self.marked.merge(sparse, moved),
        }
    }
}
