//! Waiting until units have come as far as they should: told by the node's watch; a fleetd of old is asked again and again.
//!
//! A unit that cannot come so far is not waited for to the end: where it fits on no machine, where its machine refuses
//! it, where it was started and does not run, the reason is said after a short grace.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::client::escape;
use super::list::{Machines, machine_legend};
use super::{Context, Failed, say};
use crate::api::fleet::model::{Explanation, News, UnitJson, UnitStateJson};
use crate::ctl::http::Streamed;

/// One attempt of `--block-attempts`.
const ATTEMPT: Duration = Duration::from_secs(2);
/// How long a unit may be nowhere, refused, or started and not running, before that is said to be its fate.
const GRACE: Duration = Duration::from_secs(2);
/// How long a unit may be nowhere before the reasons are told; it may still find a place.
const SAY: Duration = Duration::from_millis(300);
/// How long a unit must stay active: a program that fails at once is active for a moment, too.
const SETTLE: Duration = Duration::from_millis(50);
/// How long is waited where nobody said how long.
const UNTOLD: Duration = Duration::from_secs(600);
/// How often a fleetd of old is asked.
const POLL: Duration = Duration::from_millis(250);
/// Pause before a watch that broke off is opened anew.
const REOPEN: Duration = Duration::from_millis(100);
/// More units than these are not named in the watch's address.
const NAMED_MAX: usize = 500;
/// A line of the watch that is longer is none.
const LINE_BYTES_MAX: usize = 4 << 20;

/// How far units should come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    Inactive,
    Loaded,
    /// Launched, and active according to systemd.
    Launched,
}

impl Goal {
    fn word(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Loaded => "loaded",
            Self::Launched => "launched",
        }
    }
}

/// How long may be waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Patience {
    /// `None`: for ever.
    in_all: Option<Duration>,
    /// Whether to go on waiting for what cannot be as things stand.
    stubborn: bool,
}

/// What is known of the units that are waited for.
#[derive(Default)]
struct Board {
    machines: Machines,
    units: BTreeMap<String, UnitJson>,
    states: BTreeMap<(String, String), UnitStateJson>,
    synced: bool,
}

/// Where news come from.
enum Source {
    Closed,
    Watch {
        stream: Box<Streamed>,
        rest: Vec<u8>,
    },
    /// A fleetd of old.
    Polled,
}

/// Waits for units.
pub struct Waiter<'a> {
    context: &'a Context,
    names: Vec<String>,
    patience: Patience,
    board: Board,
    source: Source,
}

/// A unit that is waited for.
struct Pending<'n> {
    name: &'n str,
    /// Whether its line has been printed.
    told: bool,
    stuck: Option<Since>,
    /// Since when it is active.
    active: Option<Instant>,
}

/// A unit's trouble: since when it lasts, whether it was said, whether that was the end of it.
#[derive(Clone, Copy)]
struct Since {
    at: Instant,
    said: bool,
    judged: bool,
}

impl Pending<'_> {
    /// When to look again although nothing is heard.
    fn next_look(&self) -> Option<Instant> {
        let trouble = self.stuck.map(|since| match since {
            Since { at, said: false, .. } => Some(at + SAY),
            Since { at, judged: false, .. } => Some(at + GRACE),
            _ => None,
        });
        trouble.flatten().into_iter().chain(self.active.map(|at| at + SETTLE)).min()
    }
}

/// How a unit stands to its goal.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Reached,
    OnItsWay,
    /// Launched, and not yet active.
    Starting,
    /// As things stand it cannot get there.
    Stuck(Stuck),
    Gone,
}

/// Why a unit does not get on.
#[derive(Debug, PartialEq, Eq)]
enum Stuck {
    Nowhere,
    Refused(String),
    Down(String),
}

impl<'a> Waiter<'a> {
    /// A waiter for these units.
    pub fn new(context: &'a Context, names: &[String]) -> Result<Self, Failed> {
        let attempts: Option<i64> = context.parsed.number("block-attempts")?;
        let patience = match attempts {
            None => Patience { in_all: Some(UNTOLD), stubborn: false },
            Some(attempts) => {
                let attempts = u32::try_from(attempts).unwrap_or(0);
                Patience { in_all: (attempts > 0).then(|| ATTEMPT.saturating_mul(attempts)), stubborn: true }
            }
        };
        let (board, source) = (Board::default(), Source::Closed);
        Ok(Self { context, names: names.to_vec(), patience, board, source })
    }

    /// Waits until all of `names` have reached the goal, printing a line for each that has.
    ///
    /// # Errors
    /// The first reason why one has not; every reason is printed as it is found.
    pub async fn until(&mut self, goal: Goal, names: &[String]) -> Result<(), String> {
        let deadline = self.patience.in_all.map(|in_all| Instant::now() + in_all);
        let mut pending: Vec<Pending<'_>> =
            names.iter().map(|name| Pending { name, told: false, stuck: None, active: None }).collect();
        let mut first_error = None;
        loop {
            if self.board.synced {
                let mut rest = Vec::new();
                for mut unit in pending {
                    match self.step(goal, &mut unit).await {
                        Ok(true) => {}
                        Ok(false) => rest.push(unit),
                        Err(error) => {
                            say::warn(&format!("Error waiting for units: {error}"));
                            first_error.get_or_insert(error);
                        }
                    }
                }
                pending = rest;
            }
            if pending.is_empty() {
                return first_error.map_or(Ok(()), Err);
            }
            let next = pending.iter().filter_map(Pending::next_look).chain(deadline).min();
            match next {
                None => self.hear().await,
                Some(next) => {
                    // At the time itself the next round finds out what it was for.
                    let _ = tokio::time::timeout_at(next, self.hear()).await;
                }
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(self.give_up(goal, &pending, first_error).await);
            }
        }
    }

    /// Whether the unit is done with.
    async fn step(&self, goal: Goal, unit: &mut Pending<'_>) -> Result<bool, String> {
        let standing = self.board.standing(goal, unit.name);
        if matches!(standing, Standing::Reached | Standing::Starting | Standing::Stuck(Stuck::Down(_))) && !unit.told {
            unit.told = true;
            say::out(&self.board.line(unit.name));
        }
        let stuck = match standing {
            Standing::Reached if goal == Goal::Launched => {
                unit.stuck = None;
                return Ok(unit.active.get_or_insert_with(Instant::now).elapsed() >= SETTLE);
            }
            Standing::Reached => return Ok(true),
            Standing::Gone => return Err(format!("Unit {} not found", unit.name)),
            Standing::OnItsWay | Standing::Starting => {
                (unit.stuck, unit.active) = (None, None);
                return Ok(false);
            }
            Standing::Stuck(stuck) => stuck,
        };
        unit.active = None;
        let mut since = *unit.stuck.get_or_insert(Since { at: Instant::now(), said: false, judged: false });
        let lasts = since.at.elapsed();
        let (say, judge) = (!since.said && lasts >= SAY, !since.judged && lasts >= GRACE);
        (since.said, since.judged) = (since.said || say, since.judged || judge);
        unit.stuck = Some(since);
        if !say && !judge {
            return Ok(false);
        }
        self.judge(unit.name, &stuck, say, judge).await.map(|()| false)
    }

    /// Says what keeps a unit from getting on, and in the end that it will not.
    async fn judge(&self, name: &str, stuck: &Stuck, say: bool, judge: bool) -> Result<(), String> {
        let end = judge && !self.patience.stubborn;
        match stuck {
            Stuck::Nowhere => {
                let Some(reasons) = self.why_nowhere(name).await else { return Ok(()) };
                if say {
                    say::warn(&reasons);
                }
                if end {
                    return Err(format!(
                        "unit {name} fits on no machine (with --block-attempts=N fleetctl waits for one)"
                    ));
                }
            }
            Stuck::Refused(problem) => {
                if say {
                    say::warn(&format!("Unit {name}: {problem}"));
                }
                if end {
                    return Err(format!("unit {name} was refused by its machine"));
                }
            }
            Stuck::Down(state) if judge => {
                let place = self.board.place(name);
                say::warn(&format!("Unit {name} is {state} on {place}; `fleetctl journal {name}` may say why"));
                let within = GRACE.as_secs();
                return Err(format!(
                    "Failed to find an active unit {name} within {within}s, err: Failed to fetch states within {within}s"
                ));
            }
            Stuck::Down(_) => {}
        }
        Ok(())
    }

    async fn give_up(&self, goal: Goal, pending: &[Pending<'_>], first_error: Option<String>) -> String {
        let mut first_error = first_error;
        for unit in pending {
            let standing = self.board.standing(goal, unit.name);
            let error = match standing {
                Standing::Starting | Standing::Stuck(Stuck::Down(_)) => {
                    format!("timed out waiting for unit {} to report active state", unit.name)
                }
                _ => format!("timed out waiting for unit {} to report state {}", unit.name, goal.word()),
            };
            let said = unit.stuck.is_some_and(|since| since.said);
            if standing == Standing::Stuck(Stuck::Nowhere)
                && !said
                && let Some(reasons) = self.why_nowhere(unit.name).await
            {
                say::warn(&reasons);
            }
            say::warn(&format!("Error waiting for units: {error}"));
            first_error.get_or_insert(error);
        }
        first_error.unwrap_or_default()
    }

    /// For each machine what speaks against it; `None` where one does not, or nobody can say.
    async fn why_nowhere(&self, name: &str) -> Option<String> {
        let explained = self.context.client.get::<Explanation>(&format!("explain/{}", escape(name))).await.ok()?;
        if explained.machines.iter().any(|verdict| verdict.fits) {
            return None;
        }
        if explained.machines.is_empty() {
            return Some(format!("Unit {name} fits on no machine: there is none in the cluster"));
        }
        let reasons = explained.machines.iter().map(|verdict| {
            format!("\n  {}: {}", machine_legend(&verdict.machine_id, &self.board.machines), verdict.reason)
        });
        Some(format!("Unit {name} fits on no machine:{}", reasons.collect::<String>()))
    }

    /// Waits for the next news and takes them in. Cancel-safe: what was read is kept.
    async fn hear(&mut self) {
        match &mut self.source {
            Source::Closed => self.open().await,
            Source::Polled => self.poll().await,
            Source::Watch { stream, rest } => match stream.next().await {
                Ok(Some(chunk)) if rest.len() + chunk.len() <= LINE_BYTES_MAX => {
                    rest.extend_from_slice(&chunk);
                    let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                    let lines: Vec<u8> = rest.drain(..whole).collect();
                    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                        self.board.take_in(line);
                    }
                }
                // The node stops, or we were too slow: another one, or the same, is asked anew.
                _ => {
                    self.source = Source::Closed;
                    self.board = Board::default();
                    tokio::time::sleep(REOPEN).await;
                }
            },
        }
    }

    async fn open(&mut self) {
        let query: Vec<String> = self.names.iter().map(|name| format!("unit={}", escape(name))).collect();
        let query = if query.len() > NAMED_MAX { String::new() } else { format!("?{}", query.join("&")) };
        match self.context.client.open(&format!("watch{query}")).await {
            Ok(stream) => self.source = Source::Watch { stream: Box::new(stream), rest: Vec::new() },
            Err(error) if error.is_unknown_path() => self.source = Source::Polled,
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }

    async fn poll(&mut self) {
        if self.board.synced {
            tokio::time::sleep(POLL).await;
        }
        let client = &self.context.client;
        let mut board = Board { synced: true, ..Board::default() };
        let Ok(machines) = client.machines().await else { return };
        board.machines = machines.into_iter().map(|machine| (machine.id.clone(), machine)).collect();
        for name in &self.names {
            let Ok(unit) = client.unit(name).await else { return };
            let Some(unit) = unit else { continue };
            // fleetd 1.0 breaks down when it is asked for a state that is not there.
            if unit.current_state != "inactive"
                && let Ok(Some(state)) = client.state(name).await
            {
                board.states.insert((name.clone(), state.machine_id.clone()), state);
            }
            board.units.insert(name.clone(), unit);
        }
        self.board = board;
    }
}

impl Board {
    fn take_in(&mut self, line: &[u8]) {
        let Ok(news) = serde_json::from_slice::<News>(line) else { return };
        self.synced |= news.synced;
        if let Some(machine) = news.machine {
            self.machines.insert(machine.id.clone(), machine);
        }
        if let Some(unit) = news.unit {
            self.units.insert(unit.name.clone(), unit);
        }
        if let Some(state) = news.state {
            self.states.insert((state.name.clone(), state.machine_id.clone()), state);
        }
        if let Some(gone) = news.gone {
            if gone.state {
                self.states.remove(&(gone.unit, gone.machine_id));
            } else if gone.unit.is_empty() {
                self.machines.remove(&gone.machine_id);
            } else {
                self.units.remove(&gone.unit);
            }
        }
    }

    fn standing(&self, goal: Goal, name: &str) -> Standing {
        let Some(unit) = self.units.get(name) else { return Standing::Gone };
        // Global units have no current state: what is wanted of them is all there is.
        let current = if unit.current_state.is_empty() { &unit.desired_state } else { &unit.current_state };
        let arrived = unit.desired_state == goal.word() && current == goal.word();
        let state = self.states.get(&(name.to_owned(), unit.machine_id.clone()));
        let problem = state.map(|state| state.problem.as_str()).filter(|problem| !problem.is_empty());
        if goal != Goal::Launched && arrived {
            return Standing::Reached;
        }
        if goal != Goal::Inactive {
            if unit.machine_id.is_empty() {
                return Standing::Stuck(Stuck::Nowhere);
            }
            if let Some(problem) = problem {
                return Standing::Stuck(Stuck::Refused(problem.to_owned()));
            }
        }
        if !arrived {
            return Standing::OnItsWay;
        }
        match state {
            Some(state) if state.active == "active" && state.load == "loaded" => Standing::Reached,
            Some(state) if matches!(state.active.as_str(), "activating" | "reloading" | "deactivating") => {
                Standing::Starting
            }
            Some(state) => Standing::Stuck(Stuck::Down(format!("{} ({})", state.active, state.sub))),
            None => Standing::Starting,
        }
    }

    /// The line that says how far a unit has come.
    fn line(&self, name: &str) -> String {
        let current = self.units.get(name).map(|unit| unit.current_state.as_str()).unwrap_or_default();
        let place = self.place(name);
        if place.is_empty() {
            format!("Unit {name} {current}\n")
        } else {
            format!("Unit {name} {current} on {place}\n")
        }
    }

    fn place(&self, name: &str) -> String {
        let machine = self.units.get(name).map(|unit| unit.machine_id.as_str()).unwrap_or_default();
        if machine.is_empty() { String::new() } else { machine_legend(machine, &self.machines) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn board(lines: &[&str]) -> Board {
        let mut board = Board::default();
        for line in lines {
            board.take_in(line.as_bytes());
        }
        board
    }

    fn unit(desired: &str, current: &str, machine: &str) -> String {
        format!(
            r#"{{"unit":{{"name":"a.service","desiredState":"{desired}","currentState":"{current}","machineID":"{machine}"}}}}"#
        )
    }

    fn state(active: &str, problem: &str) -> String {
        format!(
            r#"{{"state":{{"name":"a.service","machineID":"{ID}","systemdLoadState":"loaded","systemdActiveState":"{active}","systemdSubState":"x","problem":"{problem}"}}}}"#
        )
    }

    #[test]
    fn how_units_stand_to_their_goals() {
        use Goal::{Inactive, Launched, Loaded};
        let down = || Standing::Stuck(Stuck::Down("failed (x)".into()));
        let refused = || Standing::Stuck(Stuck::Refused("no".into()));
        let nowhere = || Standing::Stuck(Stuck::Nowhere);
        let cases = [
            (Inactive, vec![unit("inactive", "inactive", "")], Standing::Reached),
            (Inactive, vec![unit("inactive", "launched", ID)], Standing::OnItsWay),
            (Inactive, vec![unit("inactive", "", "")], Standing::Reached),
            (Loaded, vec![unit("launched", "launched", ID)], Standing::OnItsWay),
            (Loaded, vec![unit("loaded", "loaded", ID), state("failed", "")], Standing::Reached),
            (Launched, vec![unit("launched", "inactive", "")], nowhere()),
            (Launched, vec![unit("launched", "inactive", ID)], Standing::OnItsWay),
            (Launched, vec![unit("launched", "inactive", ID), state("", "no")], refused()),
            (Launched, vec![unit("launched", "launched", ID), state("active", "")], Standing::Reached),
            (Launched, vec![unit("launched", "launched", ID), state("activating", "")], Standing::Starting),
            (Launched, vec![unit("launched", "launched", ID), state("failed", "")], down()),
            (Launched, vec![unit("loaded", "launched", ID), state("active", "")], Standing::OnItsWay),
            (Launched, vec![], Standing::Gone),
        ];
        for (goal, lines, expected) in cases {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            assert_eq!(board(&lines).standing(goal, "a.service"), expected, "{goal:?} {lines:?}");
        }
    }

    #[test]
    fn lines_name_machine_and_address() {
        let machine = format!(r#"{{"machine":{{"id":"{ID}","primaryIP":"10.0.0.1"}}}}"#);
        let launched = unit("launched", "launched", ID);
        let line = |lines: &[&str]| board(lines).line("a.service");
        assert_eq!(line(&[&machine, &launched]), "Unit a.service launched on 01234567.../10.0.0.1\n");
        assert_eq!(line(&[&launched]), "Unit a.service launched on 01234567...\n");
        assert_eq!(line(&[&unit("inactive", "inactive", "")]), "Unit a.service inactive\n");
        assert_eq!(line(&[&unit("inactive", "", "")]), "Unit a.service \n");
        let gone = r#"{"gone":{"unit":"a.service"}}"#;
        assert_eq!(board(&[&launched, gone]).standing(Goal::Launched, "a.service"), Standing::Gone);
    }
}
