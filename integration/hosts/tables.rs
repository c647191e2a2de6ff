//! The tables that fleetctl prints, built anew from what a test expects, to compare byte by byte.

/// Columns are multiples of this many characters wide.
const TAB_WIDTH: usize = 8;

/// The text of a table as Go's text/tabwriter sets it with tabs as padding: every cell but the last of a row is
/// followed by the tabs that reach the next column, which begins at least one character after the longest cell.
pub fn table<const N: usize>(rows: &[[&str; N]]) -> String {
    let width = |column: usize| {
        let longest = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        (longest + 1).next_multiple_of(TAB_WIDTH)
    };
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < N {
                let missing = width(column) - cell.chars().count();
                text.push_str(&"\t".repeat(missing.div_ceil(TAB_WIDTH)));
            }
        }
        text.push('\n');
    }
    text
}

#[test]
fn columns_are_set_as_fleetctl_sets_them() {
    let machines = [["MACHINE", "IP", "METADATA"], ["11111111...", "127.0.1.1", "node=n1,region=r1"]];
    assert_eq!(table(&machines), "MACHINE\t\tIP\t\tMETADATA\n11111111...\t127.0.1.1\tnode=n1,region=r1\n");
    assert_eq!(table(&[["UNIT", "MACHINE", "ACTIVE", "SUB"]]), "UNIT\tMACHINE\tACTIVE\tSUB\n");
}
