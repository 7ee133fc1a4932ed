//! PURE: words in aligned columns.

/// The rows as lines, two spaces between columns, none at a line's end. `right` says which columns stand at the right, `width` how
/// wide a cell is. The first row says how many columns there are.
pub(super) fn aligned<R: AsRef<[String]>>(
    rows: &[R],
    right: impl Fn(usize) -> bool,
    width: impl Fn(&str) -> usize,
) -> Vec<String> {
    let columns = rows.first().map_or(0, |row| row.as_ref().len());
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.as_ref().get(column));
        cells.map(|cell| width(cell)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(widest).collect();
    let line = |row: &R| {
        let cells = row.as_ref().iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, wide))| {
            let room = " ".repeat(wide - width(cell));
            match right(column) {
                true => room + cell,
                false => cell.clone() + &room,
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        line.trim_end_matches(' ').to_string()
    };
    rows.iter().map(line).collect()
}

/// A cell's letters.
pub(super) fn letters(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "N", ""], ["größe", "10", "x"]].map(|row| row.map(String::from));
        assert_eq!(
            aligned(&rows, |column| column == 1, letters),
            ["a       N", "größe  10  x"]
        );
        assert!(aligned::<[String; 1]>(&[], |_| false, letters).is_empty());
    }
}
