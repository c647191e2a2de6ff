//! `node ctl status`: the cluster at a glance, member by member.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::Parsed;
use super::contact::Contact;
use super::node_ctl::{self, ANSWER_WITHIN};

/// How long another member may take to say that it is there.
const PEER_WITHIN: Duration = Duration::from_secs(2);

/// Carries out `status`: 0, or 1 where something is missing.
///
/// # Errors
/// The node that is asked does not answer.
pub async fn run(parsed: &Parsed) -> anyhow::Result<u8> {
    let at = node_ctl::contact(parsed).await?;
    let own = post(&at, "/v3/maintenance/status", ANSWER_WITHIN).await?;
    let members = post(&at, "/v3/cluster/member/list", ANSWER_WITHIN).await?;
    let mut rows = Vec::new();
    for member in members["members"].as_array().into_iter().flatten() {
        rows.push(row(parsed, &at, member, &own).await);
    }
    let fleet = fleet_counts(&at).await;
    let (text, well) = render(&own, &rows, fleet.as_ref());
    print!("{text}");
    Ok(u8::from(!well))
}

/// One member: id, name, part, address, and how it answers.
struct Row {
    id: String,
    name: String,
    part: &'static str,
    address: String,
    answer: Result<String, String>,
    /// What it has to say besides.
    troubles: Vec<String>,
}

async fn row(parsed: &Parsed, at: &Contact, member: &Value, own: &Value) -> Row {
    let url = member["clientURLs"][0].as_str().unwrap_or_default();
    let mut troubles = Vec::new();
    let answer = match node_ctl::address(parsed, url) {
        Ok(address) => match post(&at.at(address), "/v3/maintenance/status", PEER_WITHIN).await {
            Ok(status) => {
                let errors = status["errors"].as_array().into_iter().flatten();
                troubles = errors.filter_map(Value::as_str).map(|text| text.trim().to_owned()).collect();
                Ok(format!("revision {}", status["header"]["revision"].as_str().unwrap_or("?")))
            }
            Err(error) => Err(format!("{error:#}")),
        },
        Err(_) => Err("has never told its client address".to_owned()),
    };
    let leads = !member["ID"].is_null() && member["ID"] == own["leader"];
    let learns = member["isLearner"].as_bool().unwrap_or(false);
    Row {
        id: node_ctl::hex(&member["ID"]),
        name: member["name"].as_str().unwrap_or("-").to_owned(),
        part: if leads {
            "leader"
        } else if learns {
            "learner"
        } else {
            "follower"
        },
        address: if url.is_empty() { "-".to_owned() } else { url.to_owned() },
        answer,
        troubles,
    }
}

/// Machines, units and active units; `None` where fleet is not served or does not answer.
async fn fleet_counts(at: &Contact) -> Option<[usize; 3]> {
    let machines = node_ctl::listed(at, "machines", "machines").await?;
    let units = node_ctl::listed(at, "units", "units").await?;
    let states = node_ctl::listed(at, "state", "states").await?;
    let active = states.iter().filter(|state| state["systemdActiveState"] == "active").count();
    Some([machines.len(), units.len(), active])
}

async fn post(at: &Contact, path: &str, wait: Duration) -> anyhow::Result<Value> {
    at.tell(path, &json!({}), wait).await
}

/// The text, and whether there is a leader, everyone answers and no alarm is raised.
fn render(own: &Value, rows: &[Row], fleet: Option<&[usize; 3]>) -> (String, bool) {
    let mut text = String::new();
    let leader = rows.iter().find(|row| row.part == "leader");
    let _ = match leader {
        Some(row) => writeln!(text, "leader    {} ({})", row.name, row.id),
        None => writeln!(text, "leader    none: an election is under way, or there is no quorum"),
    };
    let _ = writeln!(text, "revision  {}", own["header"]["revision"].as_str().unwrap_or("?"));
    let answering = rows.iter().filter(|row| row.answer.is_ok()).count();
    let _ = writeln!(text, "members   {answering} of {} answer", rows.len());
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    for row in rows {
        let (mark, answer) = match &row.answer {
            Ok(answer) => (' ', answer.clone()),
            Err(error) => ('!', format!("MISSING: {error}")),
        };
        let _ =
            writeln!(text, "  {mark} {:width$}  {:16}  {:8}  {}  {answer}", row.name, row.id, row.part, row.address);
    }
    let troubles: BTreeSet<&str> = rows.iter().flat_map(|row| &row.troubles).map(String::as_str).collect();
    for trouble in &troubles {
        let _ = writeln!(text, "trouble   {trouble}");
    }
    let alarmed = troubles.iter().any(|trouble| trouble.starts_with("memberID:"));
    if let Some([machines, units, active]) = fleet {
        let _ = writeln!(text, "machines  {machines}\nunits     {units} ({active} active)");
    }
    (text, leader.is_some() && answering == rows.len() && !alarmed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_missing_is_said() {
        let own = json!({"header": {"revision": "7"}, "leader": "1"});
        let row = |id: &str, part, answer: Result<&str, &str>| Row {
            id: id.into(),
            name: format!("n{id}"),
            part,
            address: "http://a:1".into(),
            answer: answer.map(str::to_owned).map_err(str::to_owned),
            troubles: Vec::new(),
        };
        let rows = [row("1", "leader", Ok("revision 7")), row("2", "follower", Err("cannot connect"))];
        let (text, well) = render(&own, &rows, Some(&[2, 5, 3]));
        assert!(!well);
        for part in ["leader    n1 (1)", "members   1 of 2 answer", "! n2", "MISSING: cannot connect", "5 (3 active)"] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(render(&own, &rows[..1], None).1);
        assert!(!render(&own, &[], None).1);
        for (trouble, expected) in [("the disk of n1 is 81 % full", true), ("memberID:1 alarm:NOSPACE", false)] {
            let row = Row { troubles: vec![trouble.into()], ..row("1", "leader", Ok("revision 7")) };
            let (text, well) = render(&own, &[row], None);
            assert_eq!(well, expected);
            assert!(text.contains(&format!("trouble   {trouble}\n")), "{text}");
        }
    }
}
