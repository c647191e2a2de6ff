//! Tables as etcdctl draws them: heads in the middle, cells at the right, long cells in lines of at most thirty characters.

/// A cell's line becomes no longer by another word than this.
const CELL_WIDTH_MAX: usize = 30;

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Words of a cell, in lines.
fn wrapped(cell: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for (at, word) in cell.split(' ').enumerate() {
        let Some(line) = lines.last_mut() else { break };
        if at > 0 && width(line) + 1 + width(word) > CELL_WIDTH_MAX {
            lines.push(word.to_owned());
        } else {
            if at > 0 {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// In the middle; what is left over goes to the right.
fn centred(text: &str, wide: usize) -> String {
    let room = wide.saturating_sub(width(text));
    format!("{}{text}{}", " ".repeat(room / 2), " ".repeat(room.div_ceil(2)))
}

/// A table with its frame and a newline at its end.
pub fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<Vec<Vec<String>>> = rows.iter().map(|row| row.iter().map(|cell| wrapped(cell)).collect()).collect();
    let mut widths = heads.map(width);
    for row in &rows {
        for (wide, cell) in widths.iter_mut().zip(row) {
            *wide = cell.iter().map(|line| width(line)).max().unwrap_or(0).max(*wide);
        }
    }
    let frame = widths.iter().map(|wide| "-".repeat(wide + 2)).collect::<Vec<_>>().join("+");
    let framed = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = format!("+{frame}+\n");
    text.push_str(&framed(heads.iter().zip(widths).map(|(head, wide)| centred(head, wide)).collect()));
    text.push_str(&format!("+{frame}+\n"));
    for row in &rows {
        let lines = row.iter().map(Vec::len).max().unwrap_or(1);
        for line in 0..lines {
            let cell = |(cell, wide): (&Vec<String>, usize)| {
                format!("{:>wide$}", cell.get(line).map(String::as_str).unwrap_or_default())
            };
            text.push_str(&framed(row.iter().zip(widths).map(cell).collect()));
        }
    }
    text.push_str(&format!("+{frame}+\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_look_as_etcdctls() {
        let row = ["127.0.0.1:42379", "true", "memberID:7383792418829112008 alarm:NOSPACE "].map(str::to_owned);
        let expected = "\
+-----------------+--------+------------------------------+
|    ENDPOINT     | HEALTH |            ERRORS            |
+-----------------+--------+------------------------------+
| 127.0.0.1:42379 |   true | memberID:7383792418829112008 |
|                 |        |               alarm:NOSPACE  |
+-----------------+--------+------------------------------+
";
        assert_eq!(table(["ENDPOINT", "HEALTH", "ERRORS"], &[row]), expected);
    }
}
