//! What was measured, beside fleet's own figures, as a table in Markdown.

/// One figure.
pub struct Row {
    pub what: String,
    pub unit: &'static str,
    /// Measured of fleet 1.0 with three agents around etcd 3.4, on two cores too.
    pub fleet: &'static str,
    /// What is asked for.
    pub at_most: Option<f64>,
    pub ours: Vec<f64>,
}

/// Medians, and the largest where there are several.
pub fn print(rows: &[Row]) -> String {
    let mut text =
        String::from("| | unit | fleet 1.0 | ours | most | asked for |\n| --- | --- | --- | --- | --- | --- |\n");
    for Row { what, unit, fleet, at_most, ours } in rows {
        let mut ours = ours.clone();
        ours.sort_by(f64::total_cmp);
        let (median, most) = (ours[ours.len() / 2], ours[ours.len() - 1]);
        let goal = at_most
            .map_or(String::new(), |goal| format!("<= {goal} {}", if median <= goal { "reached" } else { "MISSED" }));
        text += &format!("| {what} | {unit} | {fleet} | {median:.2} | {most:.2} | {goal} |\n");
    }
    text
}
