//! Who has to be started or stopped with whom, and in which order: wishes and states in, orders out. No I/O.
//!
//! The rules are systemd's (systemd.unit): `Requires=`, `BindsTo=` and `Wants=` pull in; `After=` and `Before=` order what is
//! going on at the same time; a stop takes along what requires the unit, or is bound to it, or is part of it; `BindsTo=` also
//! follows a unit that goes down by itself. Names that are not loaded here are taken as met.

use std::collections::{BTreeMap, BTreeSet};

use super::spec::Needs;

/// A state as far as ordering cares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// systemd's `ActiveState`.
    pub active: String,
    pub sub: String,
    /// Counts the unit's starts: a state of a later run is an answer to a start.
    pub run: u64,
}

impl Seen {
    fn down(&self) -> bool {
        matches!(self.active.as_str(), "inactive" | "failed" | "")
    }

    fn up(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading")
    }

    fn restarting(&self) -> bool {
        self.sub == "auto-restart"
    }

    fn moving(&self) -> bool {
        !self.down() && !self.up()
    }
}

/// What is to be told to a unit's shim, or said in its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    Start(String),
    Stop(String),
    Say(String, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    /// Waits for others.
    Start,
    /// Ordered; the run before it.
    Starting {
        run: u64,
    },
    Stop,
    /// Ordered; then, with `again`, started anew.
    Stopping {
        again: bool,
    },
    /// Stop as soon as the order allows, then start.
    Restart,
}

impl Job {
    fn starts(self) -> bool {
        matches!(self, Self::Start | Self::Starting { .. })
    }

    fn stops(self) -> bool {
        !self.starts()
    }
}

#[derive(Clone, Debug, Default)]
struct Unit {
    needs: Needs,
    seen: Seen,
    job: Option<Job>,
}

/// The units of this machine and what is going on with them.
#[derive(Clone, Debug, Default)]
pub struct Jobs {
    units: BTreeMap<String, Unit>,
    orders: Vec<Order>,
}

impl Jobs {
    /// A unit is there, or has a new text.
    pub fn know(&mut self, name: &str, needs: Needs, seen: Seen) {
        let unit = self.units.entry(name.to_owned()).or_default();
        unit.needs = needs;
        unit.seen = seen;
    }

    /// A unit is there no more; who waited for it waits no longer.
    pub fn forget(&mut self, name: &str) -> Vec<Order> {
        self.units.remove(name);
        self.settle()
    }

    /// Whether something is still to be done for a unit.
    pub fn busy(&self, name: &str) -> bool {
        self.units.get(name).is_some_and(|unit| unit.job.is_some())
    }

    /// Names that a unit requires and that are not loaded here.
    pub fn unknown(&self, name: &str) -> Vec<String> {
        let Some(unit) = self.units.get(name) else {
            return Vec::new();
        };
        let needs = &unit.needs;
        [&needs.requires, &needs.binds_to, &needs.requisite]
            .into_iter()
            .flatten()
            .filter(|other| !self.units.contains_key(*other))
            .cloned()
            .collect()
    }

    /// Somebody wants a unit started, and with it all that it needs.
    pub fn start(&mut self, name: &str) -> Vec<Order> {
        for name in self.pulled_in(name) {
            for rival in self.rivals(&name) {
                self.add_stop(&rival);
            }
            self.add_start(&name);
        }
        self.settle()
    }

    /// Somebody wants a unit restarted, or started where it is down; what leans on it goes down and comes back with it. One that
    /// is to be stopped is left to that.
    pub fn restart(&mut self, name: &str) -> Vec<Order> {
        let Some(unit) = self.units.get_mut(name) else {
            return Vec::new();
        };
        match unit.job {
            Some(Job::Start | Job::Restart | Job::Stop | Job::Stopping { .. }) => return Vec::new(),
            None if unit.seen.down() => return self.start(name),
            // Whether it has read its configuration already nobody knows.
            Some(Job::Starting { .. }) | None => unit.job = Some(Job::Restart),
        }
        self.restart_dependents(name);
        self.settle()
    }

    /// Somebody wants a unit stopped, and with it all that cannot be without it.
    pub fn stop(&mut self, name: &str) -> Vec<Order> {
        self.add_stop(name);
        self.settle()
    }

    /// A unit's state has changed.
    pub fn observe(&mut self, name: &str, seen: Seen) -> Vec<Order> {
        let Some(unit) = self.units.get_mut(name) else {
            return Vec::new();
        };
        let before = std::mem::replace(&mut unit.seen, seen.clone());
        self.finish_job(name, &seen);
        if seen.down() && !before.down() {
            for bound in self.dependents(name, |needs| vec![&needs.binds_to]) {
                self.add_stop(&bound);
            }
        }
        if seen.restarting() && !before.restarting() {
            self.restart_dependents(name);
        }
        self.settle()
    }

    /// Does what was missed while nobody looked: a unit that is bound to one that is down goes down too.
    pub fn catch_up(&mut self) -> Vec<Order> {
        let down = |name: &String| self.units.get(name).is_some_and(|unit| unit.seen.down());
        let bereft = |(_, unit): &(&String, &Unit)| !unit.seen.down() && unit.needs.binds_to.iter().any(down);
        let all: Vec<String> = self.units.iter().filter(bereft).map(|(name, _)| name.clone()).collect();
        for name in all {
            self.add_stop(&name);
        }
        self.settle()
    }

    // ---- who belongs to a wish

    /// The unit and, transitively, what it requires, binds to or wants, of what is loaded here.
    fn pulled_in(&self, name: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut next = vec![name.to_owned()];
        while let Some(name) = next.pop() {
            let Some(unit) = self.units.get(&name) else {
                continue;
            };
            let needs = &unit.needs;
            if found.insert(name) {
                next.extend(needs.requires.iter().chain(&needs.binds_to).chain(&needs.wants).cloned());
            }
        }
        found
    }

    fn dependents<'a>(&'a self, name: &str, lists: impl Fn(&'a Needs) -> Vec<&'a Vec<String>>) -> Vec<String> {
        self.units
            .iter()
            .filter(|(_, unit)| lists(&unit.needs).into_iter().flatten().any(|other| other == name))
            .map(|(other, _)| other.clone())
            .collect()
    }

    /// Units that may not run together with this one and do, or are about to.
    fn rivals(&self, name: &str) -> Vec<String> {
        let mine = self.units.get(name).map(|unit| &unit.needs.conflicts);
        self.units
            .iter()
            .filter(|(other, unit)| {
                let conflict = mine.is_some_and(|mine| mine.contains(other))
                    || unit.needs.conflicts.iter().any(|theirs| theirs == name);
                let there = !unit.seen.down() || unit.job.is_some_and(Job::starts);
                conflict && there && *other != name
            })
            .map(|(other, _)| other.clone())
            .collect()
    }

    // ---- jobs

    fn add_start(&mut self, name: &str) {
        let Some(unit) = self.units.get_mut(name) else {
            return;
        };
        let running = unit.seen.up() || unit.seen.moving() && unit.seen.active == "activating";
        match unit.job {
            Some(Job::Start | Job::Starting { .. } | Job::Restart) => {}
            Some(Job::Stopping { .. }) => unit.job = Some(Job::Stopping { again: true }),
            // The stop was not ordered yet: what runs may go on.
            Some(Job::Stop) | None if running && !unit.seen.restarting() => unit.job = None,
            Some(Job::Stop) | None => unit.job = Some(Job::Start),
        }
    }

    /// Stops a unit and all that requires it, is bound to it or is part of it.
    fn add_stop(&mut self, name: &str) {
        let mut done = BTreeSet::new();
        let mut next = vec![name.to_owned()];
        while let Some(name) = next.pop() {
            if !done.insert(name.clone()) {
                continue;
            }
            let Some(unit) = self.units.get_mut(&name) else {
                continue;
            };
            unit.job = match unit.job {
                Some(Job::Stopping { .. }) => Some(Job::Stopping { again: false }),
                Some(Job::Starting { .. }) => Some(Job::Stop),
                _ if unit.seen.down() => None,
                _ => Some(Job::Stop),
            };
            next.extend(self.dependents(&name, |needs| vec![&needs.requires, &needs.binds_to, &needs.part_of]));
        }
    }

    /// A unit restarts by itself: what leans on it goes down and comes back with it.
    fn restart_dependents(&mut self, name: &str) {
        for other in self.dependents(name, |needs| vec![&needs.binds_to, &needs.requires, &needs.part_of]) {
            if let Some(unit) = self.units.get_mut(&other)
                && other != name
                && unit.seen.up()
                && unit.job.is_none()
            {
                unit.job = Some(Job::Restart);
            }
        }
    }

    fn finish_job(&mut self, name: &str, seen: &Seen) {
        let Some(unit) = self.units.get_mut(name) else {
            return;
        };
        match unit.job {
            Some(Job::Starting { run }) if seen.run > run && !seen.moving() => {
                unit.job = None;
                if seen.active == "failed" {
                    self.fail_dependents(name);
                }
            }
            Some(Job::Stopping { again }) if seen.down() => {
                unit.job = again.then_some(Job::Start);
            }
            _ => {}
        }
    }

    /// A start has failed: who waits to be started and cannot be without it is not started.
    fn fail_dependents(&mut self, name: &str) {
        let mut next = vec![name.to_owned()];
        while let Some(failed) = next.pop() {
            for other in self.dependents(&failed, |needs| vec![&needs.requires, &needs.binds_to, &needs.requisite]) {
                let waits = |unit: &Unit| unit.job == Some(Job::Start);
                if self.units.get(&other).is_some_and(waits) {
                    self.cancel(&other, format!("Not started: {failed}, which it needs, has failed"));
                    next.push(other);
                }
            }
        }
    }

    fn cancel(&mut self, name: &str, why: String) {
        if let Some(unit) = self.units.get_mut(name) {
            unit.job = None;
        }
        self.orders.push(Order::Say(name.to_owned(), why));
    }

    // ---- order

    /// Orders everything that waits for nobody, until nothing more comes of it.
    fn settle(&mut self) -> Vec<Order> {
        loop {
            let ready: Vec<String> = self
                .units
                .iter()
                .filter(|(_, unit)| matches!(unit.job, Some(Job::Start | Job::Stop | Job::Restart)))
                .map(|(name, _)| name.clone())
                .filter(|name| !self.waits(name))
                .collect();
            if ready.is_empty() {
                return std::mem::take(&mut self.orders);
            }
            for name in ready {
                self.release(&name);
            }
        }
    }

    fn release(&mut self, name: &str) {
        let Some(unit) = self.units.get(name) else {
            return;
        };
        if unit.job == Some(Job::Start)
            && let Some(why) = self.lacks(&unit.needs)
        {
            self.cancel(name, why);
            return;
        }
        let Some(unit) = self.units.get_mut(name) else {
            return;
        };
        let own = name.to_owned();
        match unit.job {
            Some(Job::Start) => {
                let run = unit.seen.run;
                unit.job = Some(Job::Starting { run });
                self.orders.push(Order::Start(own));
            }
            Some(Job::Stop) => {
                unit.job = Some(Job::Stopping { again: false });
                self.orders.push(Order::Stop(own));
            }
            Some(Job::Restart) => {
                unit.job = Some(Job::Stopping { again: true });
                self.orders.push(Order::Stop(own));
            }
            _ => {}
        }
    }

    /// What must be up by now and is not.
    fn lacks(&self, needs: &Needs) -> Option<String> {
        let down = |name: &&String| self.units.get(*name).is_some_and(|unit| !unit.seen.up());
        let ordered = needs.binds_to.iter().filter(|name| needs.after.contains(name));
        let missing = needs.requisite.iter().chain(ordered).find(down)?;
        Some(format!("Not started: {missing}, which it needs, is not active"))
    }

    /// Whether a job of this unit has to wait for another unit, circles of waiting aside.
    fn waits(&self, name: &str) -> bool {
        self.waits_for(name).into_iter().any(|other| !self.leads_to(&other, name))
    }

    fn leads_to(&self, from: &str, to: &str) -> bool {
        let mut done = BTreeSet::new();
        let mut next = vec![from.to_owned()];
        while let Some(name) = next.pop() {
            if name == to {
                return true;
            }
            if done.insert(name.clone()) {
                next.extend(self.waits_for(&name));
            }
        }
        false
    }

    fn waits_for(&self, name: &str) -> Vec<String> {
        let Some(unit) = self.units.get(name) else {
            return Vec::new();
        };
        let blocks = |other: &&String| match unit.job {
            Some(Job::Start) => self.start_waits(name, unit, other),
            Some(Job::Stop | Job::Restart) => self.stop_waits(name, other),
            _ => false,
        };
        self.units.keys().filter(|other| *other != name).filter(blocks).cloned().collect()
    }

    fn start_waits(&self, name: &str, unit: &Unit, other: &str) -> bool {
        let Some(peer) = self.units.get(other) else {
            return false;
        };
        let going = peer.job.is_some_and(Job::stops) || peer.seen.active == "deactivating";
        let conflict =
            unit.needs.conflicts.iter().any(|n| n == other) || peer.needs.conflicts.iter().any(|n| n == name);
        if conflict && going {
            return true;
        }
        if !self.ordered(other, name) {
            return false;
        }
        let leans = [&unit.needs.requires, &unit.needs.binds_to].into_iter().flatten().any(|needed| needed == other);
        peer.job.is_some() || peer.seen.moving() && (leans || !peer.seen.restarting())
    }

    /// What is started after this unit is stopped before it.
    fn stop_waits(&self, name: &str, other: &str) -> bool {
        let stopping = self
            .units
            .get(other)
            .is_some_and(|peer| peer.job.is_some_and(Job::stops) || peer.seen.active == "deactivating");
        stopping && self.ordered(name, other)
    }

    /// Whether `first` is ordered before `second`.
    fn ordered(&self, first: &str, second: &str) -> bool {
        let lists = |name: &str, list: fn(&Needs) -> &Vec<String>, other: &str| {
            self.units.get(name).is_some_and(|unit| list(&unit.needs).iter().any(|n| n == other))
        };
        lists(second, |needs| &needs.after, first) || lists(first, |needs| &needs.before, second)
    }
}

#[cfg(test)]
#[path = "jobs_tests.rs"]
mod tests;
