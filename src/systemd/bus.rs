//! The connection to the system bus, names of units as object paths, and errors in words.

use std::num::NonZeroUsize;
use std::time::Duration;

use zbus::connection::Builder;
use zbus::{Connection, Message, OwnedVariant};
use zbus_systemd::systemd1::ManagerProxy;

use crate::base::limits::{SYSTEMD_CALL_MS_MAX, SYSTEMD_CONNECT_MS_MAX, SYSTEMD_QUEUE_MESSAGES_MAX};
use crate::fleet::executor::ExecutorError;

/// systemd's name on the bus.
pub const SERVICE: &str = "org.freedesktop.systemd1";
/// Its manager object, and below it the units.
pub const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
pub const UNITS_PATH: &str = "/org/freedesktop/systemd1/unit";
pub const MANAGER: &str = "org.freedesktop.systemd1.Manager";
pub const UNIT: &str = "org.freedesktop.systemd1.Unit";
pub const SERVICE_UNIT: &str = "org.freedesktop.systemd1.Service";
pub const TIMER: &str = "org.freedesktop.systemd1.Timer";
pub const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Connects to the system bus. Calls over the connection end after [`SYSTEMD_CALL_MS_MAX`].
///
/// # Errors
/// Why there is no connection, in words.
pub async fn connect() -> Result<Connection, String> {
    let queue = NonZeroUsize::new(SYSTEMD_QUEUE_MESSAGES_MAX).unwrap_or(NonZeroUsize::MIN);
    let connecting = Builder::system().max_queued(queue).method_timeout(call_bound()).build();
    let bound = Duration::from_millis(SYSTEMD_CONNECT_MS_MAX);
    match tokio::time::timeout(bound, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(format!("the system bus: {}", reason(&error))),
        Err(_) => Err(format!("the system bus: no answer within {bound:?}")),
    }
}

/// How long one call may take: systemd answers nobody while it reloads its configuration.
pub fn call_bound() -> Duration {
    Duration::from_millis(SYSTEMD_CALL_MS_MAX)
}

/// systemd's manager over `connection`.
pub async fn manager(connection: &Connection) -> zbus::Result<ManagerProxy<'static>> {
    let builder = ManagerProxy::builder(connection).cache_properties(zbus::proxy::CacheProperties::No);
    builder.build().await
}

/// The states of `names` as `ListUnitsByNames` tells them; the message itself says where in the stream it stands.
/// Names must be valid ones of units that are not templates: a single wrong one fails the whole call.
pub async fn list_units(connection: &Connection, names: &[String]) -> zbus::Result<Message> {
    connection.call_method(Some(SERVICE), MANAGER_PATH, Some(MANAGER), "ListUnitsByNames", &(names,)).await
}

/// One property of a unit. `interface` is the unit's own or that of its type.
pub async fn property(connection: &Connection, unit: &str, interface: &str, name: &str) -> zbus::Result<OwnedVariant> {
    let body = &(interface, name);
    let reply = connection.call_method(Some(SERVICE), path_of(unit), Some(PROPERTIES), "Get", body).await?;
    reply.body().deserialize::<OwnedVariant>()
}

/// The object path of a unit: what is neither a letter nor a digit, and a digit in front, stands as `_` and two hex digits.
pub fn path_of(unit: &str) -> String {
    let mut path = format!("{UNITS_PATH}/");
    for (index, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

/// The unit that an object path belongs to; `None` for any other object.
pub fn unit_of(path: &str) -> Option<String> {
    let label = path.strip_prefix(UNITS_PATH)?.strip_prefix('/')?.as_bytes();
    let mut name = Vec::with_capacity(label.len());
    let mut at = 0;
    while at < label.len() {
        if label[at] == b'_' {
            let digits = std::str::from_utf8(label.get(at + 1..at + 3)?).ok()?;
            name.push(u8::from_str_radix(digits, 16).ok()?);
            at += 3;
        } else {
            name.push(label[at]);
            at += 1;
        }
    }
    String::from_utf8(name).ok()
}

/// What went wrong, for people: systemd's own words where there are some.
pub fn reason(error: &zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(_, Some(text), _) => text.clone(),
        zbus::Error::MethodError(name, None, _) => name.to_string(),
        zbus::Error::InputOutput(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// The error of a call about `unit`.
pub fn failed(unit: &str, doing: &str, error: &zbus::Error) -> ExecutorError {
    if let zbus::Error::InputOutput(io) = error
        && io.kind() == std::io::ErrorKind::TimedOut
    {
        return ExecutorError::TimedOut { doing: format!("{unit}: {doing}"), waited: call_bound() };
    }
    ExecutorError::Failed { unit: unit.to_owned(), doing: doing.to_owned(), reason: reason(error) }
}

/// Whether systemd says that it knows no such unit, or that there is no such unit file.
pub fn is_missing(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::MethodError(name, ..) => {
            let name = name.as_str();
            name.ends_with(".NoSuchUnit") || name.ends_with(".NoSuchUnitFile") || name.ends_with(".ENOENT")
        }
        zbus::Error::FDO(error) => matches!(**error, zbus::fdo::Error::FileNotFound(_)),
        _ => false,
    }
}

/// Whether systemd says that this connection has subscribed already.
pub fn is_subscribed(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::MethodError(name, ..) if name.as_str().ends_with(".AlreadySubscribed"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_of_units() {
        let cases = [
            ("dbus.service", "dbus_2eservice"),
            ("web@1.service", "web_401_2eservice"),
            ("9p-a_b.mount", "_39p_2da_5fb_2emount"),
        ];
        for (unit, label) in cases {
            assert_eq!(path_of(unit), format!("{UNITS_PATH}/{label}"));
            assert_eq!(unit_of(&path_of(unit)).unwrap(), unit);
        }
    }

    #[test]
    fn paths_of_other_objects_are_no_units() {
        let paths = ["/", "/org/freedesktop/systemd1", "/org/freedesktop/systemd1/job/7"];
        let broken = [
            "/org/freedesktop/systemd1/unit/a_",
            "/org/freedesktop/systemd1/unit/a_2",
            "/org/freedesktop/systemd1/unit/a_zz",
        ];
        for path in paths.iter().chain(&broken) {
            assert_eq!(unit_of(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back_from_its_path(name in "[A-Za-z0-9:_.@\\\\-]{1,60}") {
            let path = path_of(&name);
            prop_assert!(path.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'/'));
            prop_assert_eq!(unit_of(&path), Some(name));
        }
    }
}
