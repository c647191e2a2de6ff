//! What the bus tells unasked: changes of units, reloads, systemd coming and going. Parsed from messages, and nothing else.

use std::collections::HashMap;

use zbus::message::Type;
use zbus::names::{OwnedUniqueName, UniqueName};
use zbus::{MatchRule, Message, Variant};

use super::board::Seen;
use super::bus::{MANAGER, MANAGER_PATH, PROPERTIES, SERVICE, TIMER, UNIT, UNITS_PATH, unit_of};
use super::timer::{LAST_TRIGGER, moment};

const BUS: &str = "org.freedesktop.DBus";

/// A signal, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something of a unit changed, or (`dropped`) systemd has taken it out of memory.
    Unit { name: String, seen: Seen, dropped: bool },
    /// systemd reloads its configuration (`true`), or has done so.
    Reloading(bool),
    /// systemd has another name on the bus now, or none.
    Owner(Option<OwnedUniqueName>),
}

/// What the bus is asked to pass on.
pub fn rules() -> zbus::Result<Vec<MatchRule<'static>>> {
    let from_systemd = || MatchRule::builder().msg_type(Type::Signal).sender(SERVICE);
    let manager = |member: &'static str| from_systemd().path(MANAGER_PATH).interface(MANAGER).member(member);
    let units = || from_systemd().path_namespace(UNITS_PATH).interface(PROPERTIES).member("PropertiesChanged");
    let owner = MatchRule::builder().msg_type(Type::Signal).sender(BUS).interface(BUS).member("NameOwnerChanged");
    let units = [units().arg(0, UNIT), units().arg(0, TIMER)];
    let rules = [owner.arg(0, SERVICE), manager("Reloading"), manager("UnitRemoved")].into_iter().chain(units);
    rules.map(|rule| rule.build()).collect()
}

/// The event that a message is. Only `systemd` and the bus itself are believed: anyone may send a signal to a name on the
/// bus. Units of no interest, by `wanted`, are left out before their bodies are read.
pub fn event(message: &Message, systemd: Option<&OwnedUniqueName>, wanted: impl Fn(&str) -> bool) -> Option<Event> {
    if message.message_type() != Type::Signal {
        return None;
    }
    let header = message.header();
    let (sender, member) = (header.sender()?, header.member()?);
    if sender.as_str() == BUS {
        return if member.as_str() == "NameOwnerChanged" { owner(message) } else { None };
    }
    if systemd.map(|name| name.as_str()) != Some(sender.as_str()) {
        return None;
    }
    match (header.interface()?.as_str(), member.as_str()) {
        (MANAGER, "Reloading") => message.body().deserialize().ok().map(Event::Reloading),
        (MANAGER, "UnitRemoved") => {
            let body = message.body();
            let (name, _): (String, zbus::ObjectPath<'_>) = body.deserialize().ok()?;
            wanted(&name).then(|| Event::Unit { name, seen: Seen::dropped(), dropped: true })
        }
        (PROPERTIES, "PropertiesChanged") => {
            let name = unit_of(header.path()?.as_str()).filter(|name| wanted(name))?;
            changed(message).map(|seen| Event::Unit { name, seen, dropped: false })
        }
        _ => None,
    }
}

fn owner(message: &Message) -> Option<Event> {
    let body = message.body();
    let (name, _, new): (String, String, String) = body.deserialize().ok()?;
    if name != SERVICE {
        return None;
    }
    let owner = UniqueName::try_from(new).ok();
    Some(Event::Owner(owner.map(OwnedUniqueName::from)))
}

fn changed(message: &Message) -> Option<Seen> {
    let body = message.body();
    let (interface, properties, _): (String, HashMap<String, Variant<'_>>, Vec<String>) = body.deserialize().ok()?;
    let text = |name: &str| match properties.get(name) {
        Some(Variant::Str(text)) => Some(text.as_str().to_owned()),
        _ => None,
    };
    let seen = match interface.as_str() {
        UNIT => Seen { load: text("LoadState"), active: text("ActiveState"), sub: text("SubState"), elapsed: None },
        TIMER => Seen { elapsed: properties.get(LAST_TRIGGER).and_then(moment), ..Seen::default() },
        _ => return None,
    };
    (seen != Seen::default()).then_some(seen)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::UnixMillis;
    use crate::systemd::bus::path_of;

    fn systemd() -> OwnedUniqueName {
        OwnedUniqueName::try_from(":1.1").unwrap()
    }

    fn states(sender: &str, unit: &str, interface: &str) -> Message {
        let state = HashMap::from([("ActiveState", Variant::from("active")), ("SubState", Variant::from("running"))]);
        let signal = Message::signal(path_of(unit), PROPERTIES, "PropertiesChanged");
        signal.sender(sender).build(&(interface, state, Vec::<String>::new())).unwrap()
    }

    fn parse(message: &Message) -> Option<Event> {
        event(message, Some(&systemd()), |name| name == "a@1.service")
    }

    #[test]
    fn changes_of_held_units_are_read() {
        let seen = Seen { active: Some("active".to_owned()), sub: Some("running".to_owned()), ..Seen::default() };
        let expected = Event::Unit { name: "a@1.service".to_owned(), seen, dropped: false };
        assert_eq!(parse(&states(":1.1", "a@1.service", UNIT)), Some(expected));
        assert_eq!(parse(&states(":1.1", "b.service", UNIT)), None);
        assert_eq!(parse(&states(":1.1", "a@1.service", "org.freedesktop.systemd1.Service")), None);
    }

    #[test]
    fn a_timer_that_has_elapsed_is_read() {
        let signal = |micros: u64| {
            let last =
                HashMap::from([("LastTriggerUSec", Variant::from(micros)), ("Result", Variant::from("success"))]);
            let signal = Message::signal(path_of("a@1.service"), PROPERTIES, "PropertiesChanged").sender(":1.1");
            parse(&signal.build(&(TIMER, last, Vec::<String>::new())).unwrap())
        };
        let seen = Seen { elapsed: Some(UnixMillis(1_700_000_000_123)), ..Seen::default() };
        let expected = Event::Unit { name: "a@1.service".to_owned(), seen, dropped: false };
        assert_eq!(signal(1_700_000_000_123_456), Some(expected));
        assert_eq!(signal(0), None, "it has not elapsed yet");
    }

    #[test]
    fn nobody_else_is_believed() {
        assert_eq!(parse(&states(":1.7", "a@1.service", UNIT)), None);
        assert_eq!(event(&states(":1.1", "a@1.service", UNIT), None, |_| true), None);
        let owner = |sender: &str| {
            let signal = Message::signal("/org/freedesktop/DBus", BUS, "NameOwnerChanged").sender(sender);
            signal.build(&(SERVICE, ":1.1", ":1.9")).unwrap()
        };
        assert_eq!(parse(&owner(":1.7")), None);
        let expected = OwnedUniqueName::try_from(":1.9").unwrap();
        assert_eq!(parse(&owner(BUS)), Some(Event::Owner(Some(expected))));
    }

    #[test]
    fn systemd_leaving_and_reloading_are_read() {
        let signal = Message::signal("/org/freedesktop/DBus", BUS, "NameOwnerChanged").sender(BUS);
        assert_eq!(parse(&signal.build(&(SERVICE, ":1.1", "")).unwrap()), Some(Event::Owner(None)));
        let signal = Message::signal(MANAGER_PATH, MANAGER, "Reloading").sender(":1.1");
        assert_eq!(parse(&signal.build(&true).unwrap()), Some(Event::Reloading(true)));
        let path = zbus::ObjectPath::try_from("/org/freedesktop/systemd1/unit/x").unwrap();
        let signal = Message::signal(MANAGER_PATH, MANAGER, "UnitRemoved").sender(":1.1");
        let removed = signal.build(&("a@1.service", path)).unwrap();
        let expected = Event::Unit { name: "a@1.service".to_owned(), seen: Seen::dropped(), dropped: true };
        assert_eq!(parse(&removed), Some(expected));
    }

    #[test]
    fn bodies_of_other_shapes_are_no_events() {
        let signal = Message::signal(path_of("a@1.service"), PROPERTIES, "PropertiesChanged").sender(":1.1");
        assert_eq!(parse(&signal.build(&7u32).unwrap()), None);
        let signal = Message::signal(MANAGER_PATH, MANAGER, "Reloading").sender(":1.1");
        assert_eq!(parse(&signal.build(&"yes").unwrap()), None);
    }

    #[test]
    fn the_rules_are_rules() {
        assert_eq!(rules().unwrap().len(), 5);
    }
}
