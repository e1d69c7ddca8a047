//! A round through all rows of a table in small steps. Holds where it is, and nothing of the rows.

/// Which rows are still to be looked at: so many from here on, beginning anew after the last that there was at the beginning. Rows
/// that come later are of no interest, and must not be counted: one old row would be missed for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct RowCursor {
    next: usize,
    left: usize,
    rows: usize,
}

impl RowCursor {
    /// Every row there is now will be looked at once more.
    pub(crate) fn begin(&mut self, rows: usize) {
        (self.left, self.rows) = (rows, rows);
    }

    /// The next row to look at.
    pub(crate) fn step(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let at = if self.next < self.rows { self.next } else { 0 };
        self.next = at + 1;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::RowCursor;

    #[test]
    fn restarted_scan_visits_every_row() {
        let mut cursor = RowCursor::default();
        cursor.begin(5);
        assert_eq!([cursor.step(), cursor.step(), cursor.step()], [Some(0), Some(1), Some(2)]);
        cursor.begin(5);
        let mut rest: Vec<usize> = std::iter::from_fn(|| cursor.step()).collect();
        rest.sort_unstable();
        assert_eq!(rest, [0, 1, 2, 3, 4]);
        assert_eq!(cursor.step(), None);
    }
}
