//! A round through all rows of a table in small steps. Holds where it is, and nothing of the rows.

/// Which rows are still to be looked at: so many from here on, beginning anew after the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Walk {
    next: usize,
    left: usize,
}

impl Walk {
    /// Every row there is now will be looked at once more.
    pub(crate) fn begin(&mut self, rows: usize) {
        self.left = rows;
    }

    /// The next row to look at, in a table that has this many places.
    pub(crate) fn step(&mut self, places: usize) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let at = if self.next < places { self.next } else { 0 };
        self.next = at + 1;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::Walk;

    #[test]
    fn a_round_that_begins_anew_in_the_middle_still_sees_all() {
        let mut walk = Walk::default();
        walk.begin(5);
        assert_eq!([walk.step(5), walk.step(5), walk.step(5)], [Some(0), Some(1), Some(2)]);
        walk.begin(5);
        let mut rest: Vec<usize> = std::iter::from_fn(|| walk.step(5)).collect();
        rest.sort_unstable();
        assert_eq!(rest, [0, 1, 2, 3, 4]);
        assert_eq!(walk.step(5), None);
    }
}
