//! Tables whose columns are chosen by the width of the screen. Draws into a buffer.

use super::palette::Palette;
use ratatui_core::{buffer::Buffer, layout::Rect, style::Style};

/// The columns between two cells.
const GAP: u16 = 2;

/// A column of a table.
pub(super) struct Column<T> {
    pub(super) title: &'static str,
    pub(super) width: u16,
    /// Columns of a high rank are left out first.
    pub(super) rank: u8,
    pub(super) align: Align,
    pub(super) cell: fn(&T) -> String,
}

/// The place of a text in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
    /// Left, in a column that also takes the space that is left.
    Stretch,
}

/// The rows of a table.
pub(super) struct Rows<'a, T> {
    pub(super) rows: &'a [&'a T],
    /// The position of the selected row.
    pub(super) selected: Option<usize>,
    /// The column whose texts have the styles of states.
    pub(super) state: &'static str,
}

/// Draws the titles and as many rows as fit, among them the selected one.
pub(super) fn draw<T>(buffer: &mut Buffer, area: Rect, columns: &[Column<T>], rows: &Rows<'_, T>, palette: Palette) {
    let Some(fitting) = area.height.checked_sub(1) else { return };
    let placed = place(columns, area);
    for (column, cell) in &placed {
        print(buffer, *cell, column.align, column.title, palette.title());
    }
    let first = first(rows.selected.unwrap_or(0), rows.rows.len(), usize::from(fitting));
    let shown = rows.rows.iter().enumerate().skip(first).take(usize::from(fitting));
    for ((position, row), y) in shown.zip(area.y + 1..) {
        for (column, cell) in &placed {
            let text = (column.cell)(row);
            let style = if column.title == rows.state { palette.state(&text) } else { Style::new() };
            print(buffer, Rect { y, ..*cell }, column.align, &text, style);
        }
        if rows.selected == Some(position) {
            buffer.set_style(Rect { y, height: 1, ..area }, palette.selected());
        }
    }
}

/// Returns the first row that is shown, so that the selected one is visible.
fn first(selected: usize, count: usize, fitting: usize) -> usize {
    (selected + 1).saturating_sub(fitting).min(count.saturating_sub(fitting))
}

/// Returns the columns that fit, each with its place.
fn place<T>(columns: &[Column<T>], area: Rect) -> Vec<(&Column<T>, Rect)> {
    let mut by_rank: Vec<usize> = (0..columns.len()).collect();
    by_rank.sort_by_key(|at| columns[*at].rank);
    let (mut used, mut chosen) = (0, Vec::new());
    for at in by_rank {
        let needed = columns[at].width + if chosen.is_empty() { 0 } else { GAP };
        // A column of a higher rank is not shown instead of one that does not fit.
        if used + needed > area.width {
            break;
        }
        used += needed;
        chosen.push(at);
    }
    chosen.sort_unstable();
    let mut x = area.x;
    let mut spare = area.width - used;
    let mut placed = Vec::with_capacity(chosen.len());
    for at in chosen {
        let column = &columns[at];
        let extra = if column.align == Align::Stretch { std::mem::take(&mut spare).min(column.width * 2) } else { 0 };
        placed.push((column, Rect::new(x, area.y, column.width + extra, 1)));
        x += column.width + extra + GAP;
    }
    placed
}

fn print(buffer: &mut Buffer, cell: Rect, align: Align, text: &str, style: Style) {
    let (width, length) = (usize::from(cell.width), text.chars().count());
    let text = if length > width {
        // The end is replaced, so that nobody takes a part of a number or a name for the whole.
        text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
    } else if align == Align::Right {
        format!("{text:>width$}")
    } else {
        text.to_owned()
    };
    buffer.set_stringn(cell.x, cell.y, text, width, style);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selected_row_is_visible() {
        assert_eq!([0, 4, 5, 9].map(|selected| first(selected, 10, 5)), [0, 0, 1, 5]);
        assert_eq!((first(3, 4, 10), first(0, 0, 5)), (0, 0));
    }

    #[test]
    fn columns_of_a_high_rank_are_left_out_first() {
        let column = |title, rank, align| Column::<()> { title, width: 6, rank, align, cell: |()| "1234567".into() };
        let columns = [column("A", 0, Align::Stretch), column("B", 2, Align::Left), column("C", 1, Align::Right)];
        let titles = |width| {
            let placed = place(&columns, Rect::new(0, 0, width, 1));
            placed.iter().map(|(column, cell)| (column.title, cell.x, cell.width)).collect::<Vec<_>>()
        };
        assert_eq!(titles(22), [("A", 0, 6), ("B", 8, 6), ("C", 16, 6)]);
        assert_eq!(titles(21), [("A", 0, 13), ("C", 15, 6)]);
        assert_eq!(titles(13), [("A", 0, 13)]);
        assert_eq!(titles(5), []);
        let mut buffer = Buffer::empty(Rect::new(0, 0, 6, 2));
        let area = buffer.area;
        let rows = Rows { rows: &[&()], selected: None, state: "" };
        draw(&mut buffer, area, &columns[..1], &rows, Palette { has_colors: false });
        let text: String = buffer.content().iter().map(|cell| cell.symbol()).collect();
        assert_eq!(text, "A     12345…");
    }
}
