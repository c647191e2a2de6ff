//! Units that need each other: wishes and states as tables, orders as expected.

use super::*;

/// A small machine: `name: Key=a,b; …` a line.
struct Room {
    jobs: Jobs,
    seen: BTreeMap<String, Seen>,
}

impl Room {
    fn new(units: &str) -> Self {
        let mut room = Self { jobs: Jobs::default(), seen: BTreeMap::new() };
        for line in units.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, rest) = line.split_once(':').unwrap_or((line, ""));
            let mut needs = Needs::default();
            for (key, value) in rest.split(';').filter_map(|part| part.trim().split_once('=')) {
                let names = value.split(',').map(str::to_owned).collect();
                match key {
                    "Requires" => needs.requires = names,
                    "Requisite" => needs.requisite = names,
                    "BindsTo" => needs.binds_to = names,
                    "Wants" => needs.wants = names,
                    "PartOf" => needs.part_of = names,
                    "Conflicts" => needs.conflicts = names,
                    "After" => needs.after = names,
                    "Before" => needs.before = names,
                    other => panic!("{other}"),
                }
            }
            let seen = Seen { active: "inactive".to_owned(), sub: "dead".to_owned(), run: 0 };
            room.jobs.know(name, needs, seen.clone());
            room.seen.insert(name.to_owned(), seen);
        }
        room
    }

    fn start(&mut self, name: &str) -> String {
        shown(self.jobs.start(name))
    }

    fn restart(&mut self, name: &str) -> String {
        shown(self.jobs.restart(name))
    }

    fn stop(&mut self, name: &str) -> String {
        shown(self.jobs.stop(name))
    }

    /// `name` is now `active` (with `+`: of a new run).
    fn is(&mut self, name: &str, state: &str) -> String {
        let seen = self.seen.entry(name.to_owned()).or_default();
        let state = match state.strip_prefix('+') {
            Some(state) => {
                seen.run += 1;
                state
            }
            None => state,
        };
        let (active, sub) = match state {
            "auto-restart" => ("activating", "auto-restart"),
            other => (other, other),
        };
        seen.active = active.to_owned();
        seen.sub = sub.to_owned();
        shown(self.jobs.observe(name, seen.clone()))
    }

    /// Brings units up, whatever it takes.
    fn up(&mut self, names: &[&str]) {
        for name in names {
            self.start(name);
        }
        for _ in names {
            for name in names {
                if self.seen[*name].active != "active" {
                    self.is(name, "+active");
                }
            }
        }
    }
}

fn shown(orders: Vec<Order>) -> String {
    let one = |order| match order {
        Order::Start(name) => format!("start {name}"),
        Order::Stop(name) => format!("stop {name}"),
        Order::Say(name, _) => format!("say {name}"),
    };
    orders.into_iter().map(one).collect::<Vec<_>>().join(", ")
}

#[test]
fn pulls_in_what_is_needed_in_order() {
    let mut room = Room::new(
        "web: Requires=db; Wants=cache; After=db,cache
         db: After=disk; Requires=disk
         disk
         cache
         other",
    );
    assert_eq!(room.start("web"), "start cache, start disk");
    assert_eq!(room.start("web"), "");
    assert_eq!(room.is("cache", "+failed"), "", "only wanted");
    assert_eq!(room.is("disk", "+activating"), "");
    assert_eq!(room.is("disk", "active"), "start db");
    assert_eq!(room.is("db", "+active"), "start web");
    assert_eq!(room.is("web", "+active"), "");
    assert_eq!(room.start("web"), "start cache", "the wanted one is tried again");
}

#[test]
fn a_failed_need_is_told_to_whoever_waits() {
    let mut room = Room::new(
        "a: Requires=b; After=b
         b: BindsTo=c; After=c
         c
         d: Wants=c; After=c",
    );
    room.start("a");
    room.start("d");
    assert_eq!(room.is("c", "+activating"), "");
    assert_eq!(room.is("c", "failed"), "say b, say a, start d");
    assert!(!room.jobs.busy("a"));
    let mut room = Room::new(
        "a: Requisite=b; After=b
         b",
    );
    assert_eq!(room.start("a"), "say a");
    room.up(&["b"]);
    assert_eq!(room.start("a"), "start a");
}

#[test]
fn main_and_sidekick_need_each_other() {
    let text = "main: Requires=side
                side: BindsTo=main; After=main";
    for first in ["main", "side"] {
        let mut room = Room::new(text);
        assert_eq!(room.start(first), "start main");
        assert_eq!(room.is("main", "+activating"), "");
        assert_eq!(room.start("side"), "");
        assert_eq!(room.is("main", "active"), "start side");
        room.is("side", "+active");
        // An ordered stop takes the other along, sidekick first.
        assert_eq!(room.stop("main"), "stop side");
        assert_eq!(room.is("side", "deactivating"), "");
        assert_eq!(room.is("side", "inactive"), "stop main");
        assert_eq!(room.is("main", "inactive"), "");
    }
    let mut room = Room::new(text);
    room.up(&["main", "side"]);
    assert_eq!(room.is("main", "failed"), "stop side", "it went down by itself");
    assert_eq!(room.is("side", "inactive"), "");
    assert_eq!(room.start("main"), "start main");
    assert_eq!(room.is("main", "+failed"), "say side");
}

#[test]
fn what_leans_on_a_restarting_unit_restarts_with_it() {
    let mut room = Room::new(
        "main
         side: BindsTo=main; After=main
         part: PartOf=main
         loose: Wants=main; After=main",
    );
    room.up(&["main", "side", "part", "loose"]);
    assert_eq!(room.is("main", "deactivating"), "");
    assert_eq!(room.is("main", "auto-restart"), "stop part, stop side");
    assert_eq!(room.is("part", "inactive"), "start part");
    assert_eq!(room.is("side", "inactive"), "", "waits for main");
    assert_eq!(room.is("main", "+active"), "start side");
    room.is("side", "+active");
    assert_eq!(room.is("main", "auto-restart"), "stop side");
    assert_eq!(room.is("side", "inactive"), "");
    assert_eq!(room.is("main", "+failed"), "", "side stays down");
    assert!(!room.jobs.busy("side"));
}

#[test]
fn stops_spread_to_what_cannot_be_without() {
    let mut room = Room::new(
        "a
         b: Requires=a; After=a
         c: PartOf=b
         d: Wants=a; After=a",
    );
    room.up(&["a", "b", "c", "d"]);
    assert_eq!(room.stop("a"), "stop b, stop c");
    assert_eq!(room.is("c", "inactive"), "");
    assert_eq!(room.is("b", "failed"), "stop a");
    assert_eq!(room.is("a", "inactive"), "");
    assert_eq!(room.stop("a"), "", "is down");
    room.up(&["a", "b"]);
    assert_eq!(room.is("a", "failed"), "", "Requires= alone does not follow a failure");
}

#[test]
fn rivals_make_room() {
    for text in ["a: Conflicts=b\nb", "a\nb: Conflicts=a"] {
        let mut room = Room::new(text);
        room.up(&["a"]);
        assert_eq!(room.start("b"), "stop a");
        assert_eq!(room.is("a", "deactivating"), "");
        assert_eq!(room.is("a", "inactive"), "start b");
    }
}

#[test]
fn wishes_change() {
    let mut room = Room::new("a\nb: After=a");
    room.start("a");
    assert_eq!(room.start("b"), "");
    assert_eq!(room.stop("b"), "", "it only waited");
    assert_eq!(room.is("a", "+active"), "");
    assert_eq!(room.stop("a"), "stop a");
    assert_eq!(room.start("a"), "");
    assert_eq!(room.is("a", "deactivating"), "");
    assert_eq!(room.is("a", "inactive"), "start a");
    assert_eq!(room.stop("a"), "stop a", "the start was ordered already");
    assert_eq!(room.is("a", "+active"), "");
    assert_eq!(room.is("a", "inactive"), "");
    assert!(!room.jobs.busy("a"));
}

#[test]
fn a_restart_takes_along_what_leans_on_it() {
    let mut room = Room::new("main\nside: Requires=main; After=main\nfree");
    room.up(&["main", "side", "free"]);
    assert_eq!(room.restart("main"), "stop side");
    assert_eq!(room.is("side", "inactive"), "stop main");
    assert_eq!(room.restart("main"), "", "it is under way");
    assert_eq!(room.is("main", "inactive"), "start main");
    assert_eq!(room.is("main", "+active"), "start side");
    assert_eq!(room.is("side", "+active"), "");
    assert_eq!(room.stop("free"), "stop free");
    assert_eq!(room.restart("free"), "", "who wants it stopped has the last word");
    assert_eq!(room.is("free", "inactive"), "");
    assert_eq!(room.restart("free"), "start free", "where it is down it is started");
    assert_eq!(room.restart("stranger"), "");
}

#[test]
fn what_was_missed_is_caught_up() {
    let mut room = Room::new(
        "main
         side: BindsTo=main; After=main
         other: Requires=main
         free: BindsTo=stranger",
    );
    room.up(&["main", "side", "other", "free"]);
    assert_eq!(shown(room.jobs.catch_up()), "");
    let down = Seen { active: "failed".to_owned(), sub: "failed".to_owned(), run: 1 };
    room.jobs.know("main", Needs::default(), down);
    assert_eq!(shown(room.jobs.catch_up()), "stop side");
}

#[test]
fn circles_and_strangers_do_not_hang() {
    let mut room = Room::new(
        "a: After=b; Requires=b
         b: After=c; Requires=c
         c: After=a; Requires=a,stranger; Wants=nobody",
    );
    let all = room.start("a");
    assert_eq!(all.matches("start").count(), 3, "{all}");
    assert_eq!(room.jobs.unknown("c"), ["stranger"]);
    let mut room = Room::new("self: After=self; Requires=self; BindsTo=self");
    room.jobs.start("self");
    assert_eq!(room.is("self", "+active"), "");
    // A unit that is forgotten keeps nobody waiting.
    let mut room = Room::new("a: After=b; Wants=b\nb");
    assert_eq!(room.start("a"), "start b");
    assert_eq!(shown(room.jobs.forget("b")), "start a");
}
