//! A scan of all rows of a table in small steps. Holds only a position.

/// The progress of a scan. It visits the rows that existed when it was started: `left` more, from `next` on, and from 0
/// after the last one. Rows that are added later are not visited. They must not be counted in `left`: each would take
/// the place of an existing row, which would be missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct RowCursor {
    next: usize,
    left: usize,
    rows: usize,
}

impl RowCursor {
    /// Restarts the scan: every row that exists now is visited once more.
    pub(crate) fn begin(&mut self, rows: usize) {
        (self.left, self.rows) = (rows, rows);
    }

    /// Returns the number of the next row, or `None` at the end of the scan.
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
