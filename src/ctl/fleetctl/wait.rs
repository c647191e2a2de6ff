//! Waiting until units have come as far as they should: told by the node's watch; a fleetd of old is asked again and again.
//!
//! A unit that cannot come so far is not waited for to the end: where it fits on no machine, where its machine refuses
//! it, where it was started and does not run, the reason is said after a short grace.

use std::time::Duration;

use tokio::time::Instant;

pub use super::board::Goal;
use super::board::{Board, Standing, Stuck};
use super::client::escape;
use super::list::machine_legend;
use super::{Context, Failed, say, why};
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

/// How long may be waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Patience {
    /// `None`: for ever.
    in_all: Option<Duration>,
    /// Whether to go on waiting for what cannot be as things stand.
    stubborn: bool,
}

/// Where news come from.
enum Source {
    Closed,
    Watch(Box<Streamed>),
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
    /// What was last said of its image's pull.
    pulling: String,
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
        let mut pending: Vec<Pending<'_>> = names
            .iter()
            .map(|name| Pending { name, told: false, stuck: None, active: None, pulling: String::new() })
            .collect();
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
        if let Some(pulling) = self.board.pulling(unit.name).filter(|pulling| *pulling != unit.pulling) {
            say::warn(&format!("Unit {}: pulling its image, {pulling}", unit.name));
            unit.pulling = pulling.to_owned();
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
                let Some(reasons) = why::nowhere(self.context, name, &self.board.machines).await else { return Ok(()) };
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
                    say::warn(&why::refused(name, problem));
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
                && let Some(reasons) = why::nowhere(self.context, unit.name, &self.board.machines).await
            {
                say::warn(&reasons);
            }
            say::warn(&format!("Error waiting for units: {error}"));
            first_error.get_or_insert(error);
        }
        first_error.unwrap_or_default()
    }

    /// Waits until a machine has answered a start that was asked of it, and the unit is active there. A machine that goes
    /// away is not waited for.
    pub async fn until_restarted(&mut self, name: &str, machine: &str, launch: u64) -> Result<(), String> {
        let deadline = self.patience.in_all.map(|in_all| Instant::now() + in_all);
        let key = (name.to_owned(), machine.to_owned());
        let mut down = None;
        loop {
            if self.board.synced && !self.board.machines.contains_key(machine) {
                return Ok(());
            }
            // A newer one, of somebody else, answers this one too.
            let answered = self.board.launches.get(&key).is_some_and(|answered| *answered >= launch);
            let active = self.board.states.get(&key).filter(|_| answered).map(|state| state.active.as_str());
            match active {
                Some("active") => {
                    let place = machine_legend(machine, &self.board.machines);
                    say::out(&format!("Unit {name} launched on {place}\n"));
                    return Ok(());
                }
                Some("failed" | "inactive") => {
                    let since: &Instant = down.get_or_insert_with(Instant::now);
                    if since.elapsed() >= GRACE {
                        let place = machine_legend(machine, &self.board.machines);
                        return Err(format!("unit {name} is not active again on {place}"));
                    }
                }
                _ => down = None,
            }
            let next = down.map(|since| since + GRACE).into_iter().chain(deadline).min();
            match next {
                None => self.hear().await,
                Some(next) => {
                    let _ = tokio::time::timeout_at(next, self.hear()).await;
                }
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(format!("timed out waiting for unit {name} to report active state"));
            }
        }
    }

    /// Waits for the next news and takes them in. Cancel-safe: what was read is kept.
    async fn hear(&mut self) {
        match &mut self.source {
            Source::Closed => self.open().await,
            Source::Polled => self.poll().await,
            Source::Watch(stream) => match stream.lines().await {
                Ok(Some(lines)) => lines.iter().for_each(|line| self.board.take_in(line)),
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
            Ok(stream) => self.source = Source::Watch(Box::new(stream)),
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
