//! Tables as Go's text/tabwriter sets them with fleetctl's settings: minimal width 0, tab width 8, padding 1, tabs.

/// Columns are this wide, or a multiple of it.
const TAB_WIDTH: usize = 8;

/// Sets rows of cells. A cell but the last of its row belongs to a column, which is a run of consecutive rows that have
/// it; the column is as wide as its longest cell (in characters) and one more, rounded up to tabs, and cells are filled
/// with tabs, never spaces. Each row ends in a newline.
pub fn format<R, C>(rows: &[R]) -> String
where
    R: AsRef<[C]>,
    C: AsRef<str>,
{
    let mut out = String::new();
    // The end (exclusive) of the run that each column is in, and its width.
    let mut columns: Vec<(usize, usize)> = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.as_ref();
        for (column, cell) in cells.iter().enumerate() {
            out.push_str(cell.as_ref());
            if column + 1 == cells.len() {
                break;
            }
            if columns.len() == column {
                columns.push((0, 0));
            }
            if columns[column].0 <= index {
                columns[column] = run(&rows[index..], column, index);
            }
            let missing = columns[column].1 - cell.as_ref().chars().count();
            out.extend(std::iter::repeat_n('\t', missing.div_ceil(TAB_WIDTH)));
        }
        out.push('\n');
    }
    out
}

fn run<R, C>(rows: &[R], column: usize, first: usize) -> (usize, usize)
where
    R: AsRef<[C]>,
    C: AsRef<str>,
{
    let in_run = rows.iter().take_while(|row| row.as_ref().len() > column + 1);
    let lengths: Vec<usize> = in_run.map(|row| row.as_ref()[column].as_ref().chars().count()).collect();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    (first + lengths.len(), (longest + 1).next_multiple_of(TAB_WIDTH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_format_exact() {
        let cases: [(&[&[&str]], &str); 6] = [
            (
                &[
                    &["UNIT", "MACHINE", "ACTIVE", "SUB"],
                    &["hello.service", "11111111.../127.0.1.1", "active", "running"],
                ],
                "UNIT\t\tMACHINE\t\t\tACTIVE\tSUB\nhello.service\t11111111.../127.0.1.1\tactive\trunning\n",
            ),
            (
                &[
                    &["UNIT", "HASH", "DSTATE", "STATE", "TARGET"],
                    &["hello.service", "3750b3e", "inactive", "inactive", "-"],
                ],
                "UNIT\t\tHASH\tDSTATE\t\tSTATE\t\tTARGET\nhello.service\t3750b3e\tinactive\tinactive\t-\n",
            ),
            (
                &[&["MACHINE", "IP", "METADATA"], &["11111111...", "127.0.1.1", "node=n1,region=r1"]],
                "MACHINE\t\tIP\t\tMETADATA\n11111111...\t127.0.1.1\tnode=n1,region=r1\n",
            ),
            (
                &[
                    &["UNIT", "MACHINE", "ACTIVE", "SUB"],
                    &["hello.service", "0123456789abcdef0123456789abcdef/127.0.1.1", "active", "running"],
                ],
                "UNIT\t\tMACHINE\t\t\t\t\t\tACTIVE\tSUB\nhello.service\t0123456789abcdef0123456789abcdef/127.0.1.1\tactive\trunning\n",
            ),
            (
                &[&["a", "b"], &["only"], &["longer than eight", "c"], &["é", ""]],
                "a\tb\nonly\nlonger than eight\tc\né\t\t\t\n",
            ),
            (&[], ""),
        ];
        for (rows, expected) in cases {
            assert_eq!(format(rows), expected);
        }
    }
}
