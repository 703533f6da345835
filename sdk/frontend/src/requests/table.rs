//! Tables for people, laid out as Go's `tabwriter` does: a column is as wide as its widest cell among
//! the rows that stand together and have it.
//!
//! Rows of cells come in, text goes out. A cell may have tabs and line breaks of its own: they end
//! cells and rows like any other.

/// Rows as text. Columns stand `gap` spaces apart; the last cell of a row has no column.
pub(super) fn table(rows: &[Vec<&str>], gap: usize) -> String {
    let text: String = rows.iter().map(|row| row.join("\t") + "\n").collect();
    let mut out = String::with_capacity(text.len() * 2);
    // A form feed ends a row and all columns with it.
    let mut parts = text.split('\u{c}').peekable();
    while let Some(part) = parts.next() {
        let lines: Vec<Vec<&str>> =
            part.split('\n').map(|line| line.split(['\t', '\u{b}']).collect()).collect();
        write(&lines, gap, &mut out);
        if parts.peek().is_some() {
            out.push('\n');
        }
    }
    out
}

/// Writes lines whose columns depend on each other.
fn write(lines: &[Vec<&str>], gap: usize, out: &mut String) {
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| vec![0; line.len() - 1]).collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or_default();
    for column in 0..columns {
        let width = |row: usize| lines[row][column].chars().count() + gap;
        let mut row = 0;
        while row < lines.len() {
            let block = widths[row..].iter().take_while(|cells| column < cells.len()).count();
            let widest = (row..row + block).map(width).max().unwrap_or_default();
            widths[row..row + block].iter_mut().for_each(|cells| cells[column] = widest);
            row += block.max(1);
        }
    }
    for (row, (line, widths)) in lines.iter().zip(&widths).enumerate() {
        if row > 0 {
            out.push('\n');
        }
        for (column, cell) in line.iter().enumerate() {
            out.push_str(cell);
            let width = widths.get(column).copied().unwrap_or_default();
            out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_as_wide_as_its_widest_cell() {
        let rows = [vec!["NAME", "VALUE", "WHY"], vec!["a", "é", ""], vec!["long name", "", "x"]];
        let want = "NAME        VALUE   WHY\na           é       \nlong name           x\n";
        assert_eq!(table(&rows, 3), want);
    }

    #[test]
    fn tabs_and_line_breaks_of_a_cell_count() {
        assert_eq!(table(&[vec!["B", "a\tb", "c"], vec!["CC", "d", "e"]], 1), "B  a b c\nCC d e\n");
        // The row that breaks the line has fewer cells, so that the columns end there.
        assert_eq!(table(&[vec!["a", "b\nc", "d"], vec!["e", "f"]], 1), "a b\nc d\ne f\n");
        assert_eq!(table(&[vec!["aaa", "b"], vec!["x\n"], vec!["c", "d"]], 1), "aaa b\nx\n\nc d\n");
    }
}
