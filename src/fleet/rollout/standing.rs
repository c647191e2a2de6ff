//! How a unit stands, on one machine, to the text that it is to run: what the gate of a batch goes by.

use std::borrow::Cow;

use crate::base::MachineId;
use crate::fleet::cluster::Cluster;
use crate::fleet::types::{DesiredState, Health, Unit, UnitState};
use crate::unit::{UnitText, health};

/// For how long a unit must be down to count as such: a start may be on its way.
const DOWN_MS: u64 = 2_000;

/// How one unit stands on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It runs as it is to, or is not to run.
    Well,
    /// It may get well: why it is not yet, and when it is to be looked at without news.
    OnItsWay { why: String, look_at: Option<u64> },
    /// It does not run as it is to.
    Bad(String),
}

impl Standing {
    fn waiting(why: impl Into<String>) -> Self {
        Self::OnItsWay { why: why.into(), look_at: None }
    }
}

/// What a machine said of a unit when its batch began, and since when it has said what it says now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub at_first: Option<UnitState>,
    /// How active it is, of which text and which start, and when that was first heard.
    pub says: (String, u64),
}

/// How `unit` stands on `machine`, which has told `published`, to the text with this hash. `now` and what it is compared
/// with count alike.
pub(super) fn standing(
    (unit, machine, hash): (&Unit, &MachineId, &str),
    published: Option<&UnitState>,
    seen: &Seen,
    settle_ms: u64,
    now: u64,
) -> Standing {
    let Some(state) = published else { return Standing::waiting("its machine has not told of it yet") };
    if state.hash != hash {
        return match &state.problem {
            // What was said before this batch is about something else.
            Some(problem) if seen.at_first.as_ref() != Some(state) => Standing::Bad(problem.clone()),
            _ => Standing::waiting("its former text is still there"),
        };
    }
    if let Some(problem) = &state.problem {
        if state.put_off {
            return Standing::waiting(problem.clone());
        }
        return Standing::Bad(problem.clone());
    }
    if unit.desired != DesiredState::Launched {
        return Standing::Well;
    }
    if state.launched != unit.launch_on(machine) {
        return Standing::waiting("it has not been started yet");
    }
    let lasts = now.saturating_sub(seen.says.1);
    let for_long = |ms: u64| if lasts >= ms { None } else { Some(seen.says.1.saturating_add(ms)) };
    let word = format!("{} ({})", state.state.active, state.state.sub);
    match state.state.active.as_str() {
        // What the executor itself finds of a container's health.
        "active" if state.state.sub == "unhealthy" => Standing::waiting(format!("it is {word}")),
        "active" => match (for_long(settle_ms), asks_for_health(&text_of(unit, hash), &unit.name), &state.health) {
            (None, false, _) | (None, true, Some(Health::Well)) => Standing::Well,
            (_, true, Some(Health::Failing(why))) => Standing::waiting(format!("unhealthy: {why}")),
            (None, true, None) => Standing::waiting("its health is not known yet"),
            (look_at, ..) => Standing::OnItsWay { why: "it has not been active for long enough".into(), look_at },
        },
        "inactive" if text_of(unit, hash).last("Service", "Type").as_deref() == Some("oneshot") => Standing::Well,
        "failed" | "inactive" => match for_long(DOWN_MS) {
            None => Standing::Bad(format!("it is {word}")),
            look_at => Standing::OnItsWay { why: format!("it is {word}"), look_at },
        },
        _ => Standing::waiting(format!("it is {word}")),
    }
}

/// The unit's own text, or the one that it has beside it.
fn text_of<'a>(unit: &'a Unit, hash: &str) -> Cow<'a, UnitText> {
    let next = unit.next.as_ref().filter(|next| next.hash == hash && unit.hash != hash);
    match next.and_then(|next| UnitText::parse(&next.text).ok()) {
        Some(text) => Cow::Owned(text),
        None => Cow::Borrowed(&unit.text),
    }
}

fn asks_for_health(text: &UnitText, unit: &str) -> bool {
    health::checks(text, unit).is_ok_and(|checks| !checks.is_empty())
}

/// Where a unit that is no global one is looked at: where it is scheduled.
pub(super) fn place<'a>(cluster: &'a Cluster, unit: &Unit) -> Option<&'a MachineId> {
    cluster.schedule.get(&unit.name).map(|scheduled| &scheduled.machine)
}
