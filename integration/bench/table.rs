//! Medians and ratios as text.

/// What is measured, with the ratio ours / etcd that is asked for.
pub struct Row {
    pub name: &'static str,
    pub unit: &'static str,
    pub goal: Goal,
    pub etcd: Vec<f64>,
    pub ours: Vec<f64>,
}

/// Where the ratio shall be.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// Shown, not promised.
    None,
}

impl Goal {
    fn text(self, ratio: f64) -> String {
        match self {
            Goal::AtLeast(goal) => format!(">= {goal:.1} {}", mark(ratio >= goal)),
            Goal::AtMost(goal) => format!("<= {goal:.1} {}", mark(ratio <= goal)),
            Goal::None => String::new(),
        }
    }
}

fn mark(reached: bool) -> &'static str {
    if reached { "reached" } else { "MISSED" }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

/// A table in Markdown.
pub fn print(rows: &[Row]) -> String {
    let mut text =
        String::from("| | unit | etcd | ours | ours / etcd | asked for |\n| --- | --- | --- | --- | --- | --- |\n");
    for row in rows {
        let (etcd, ours) = (median(&row.etcd), median(&row.ours));
        let ratio = ours / etcd;
        let (name, unit, goal) = (row.name, row.unit, row.goal.text(ratio));
        text += &format!("| {name} | {unit} | {etcd:.2} | {ours:.2} | {ratio:.2} | {goal} |\n");
    }
    text
}
