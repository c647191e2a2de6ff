//! The JSON of the etcd APIs: protobuf's mapping for the v3 gateway, and Go's way of escaping for all of it.

use std::fmt::Display;
use std::io;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::ser::{CharEscape, Formatter};

use super::{authpb, etcdserverpb, grpc, mvccpb};

/// Whether a field has its zero value and is left out.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// 64-bit numbers: strings out, strings or numbers in.
pub mod number {
    use super::*;

    /// Writes the number in quotes.
    pub fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    /// Reads a number, quoted or not.
    pub fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr + TryFrom<i64> + TryFrom<u64>,
        D: Deserializer<'de>,
    {
        from.deserialize_any(NumberVisitor(PhantomData))
    }

    struct NumberVisitor<T>(PhantomData<T>);

    impl<T: FromStr + TryFrom<i64> + TryFrom<u64>> Visitor<'_> for NumberVisitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a whole number of 64 bits, as a number or a string")
        }

        fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<T, E> {
            T::try_from(v).map_err(|_| E::invalid_value(Unexpected::Signed(v), &self))
        }

        fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<T, E> {
            T::try_from(v).map_err(|_| E::invalid_value(Unexpected::Unsigned(v), &self))
        }

        fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<T, E> {
            v.parse().map_err(|_| E::invalid_value(Unexpected::Str(v), &self))
        }
    }
}

/// Bytes as standard base64; the URL alphabet and missing padding are understood.
pub mod base64 {
    use ::base64::Engine;
    use ::base64::alphabet::{STANDARD, URL_SAFE};
    use ::base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    use bytes::Bytes;

    use super::*;

    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const OUT: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
    const URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

    /// Bytes to text.
    pub fn encode(bytes: &[u8]) -> String {
        OUT.encode(bytes)
    }

    /// Text to bytes; `None` if it is not base64.
    pub fn decode(text: &str) -> Option<Bytes> {
        let decoded = OUT.decode(text).or_else(|_| URL.decode(text));
        decoded.ok().map(Bytes::from)
    }

    /// Writes the bytes as text.
    pub fn serialize<S: Serializer>(value: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&encode(value))
    }

    /// Reads the bytes from text.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(from)?;
        decode(&text).ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &"bytes in base64"))
    }
}

/// Lists of bytes.
pub mod base64_list {
    use bytes::Bytes;

    use super::*;

    /// Writes each as base64.
    pub fn serialize<S: Serializer>(value: &[Bytes], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(value.iter().map(|bytes| base64::encode(bytes)))
    }

    /// Reads each from base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Bytes>, D::Error> {
        #[derive(Deserialize)]
        struct One(#[serde(with = "base64")] Bytes);
        let list = Vec::<One>::deserialize(from)?;
        Ok(list.into_iter().map(|One(bytes)| bytes).collect())
    }
}

/// A protobuf enum whose values have names.
pub trait ProtoEnum: TryFrom<i32> + Into<i32> {
    /// The name in the `.proto` file.
    fn name(&self) -> &'static str;
    /// The value of that name.
    fn of_name(name: &str) -> Option<Self>;
}

macro_rules! proto_enums {
    ($($name:path),+ $(,)?) => {$(
        impl ProtoEnum for $name {
            fn name(&self) -> &'static str {
                self.as_str_name()
            }
            fn of_name(name: &str) -> Option<Self> {
                Self::from_str_name(name)
            }
        }
    )+};
}

proto_enums!(
    authpb::permission::Type,
    mvccpb::event::EventType,
    etcdserverpb::AlarmType,
    etcdserverpb::alarm_request::AlarmAction,
    etcdserverpb::compare::CompareResult,
    etcdserverpb::compare::CompareTarget,
    etcdserverpb::downgrade_request::DowngradeAction,
    etcdserverpb::range_request::SortOrder,
    etcdserverpb::range_request::SortTarget,
    etcdserverpb::watch_create_request::FilterType,
    grpc::health::v1::health_check_response::ServingStatus,
);

/// Enums: names out, names or numbers in. A number without a name stays a number.
pub struct Named<E>(PhantomData<E>);

impl<E: ProtoEnum> Named<E> {
    /// Writes the value's name.
    pub fn serialize<S: Serializer>(value: &i32, to: S) -> Result<S::Ok, S::Error> {
        match E::try_from(*value) {
            Ok(known) => to.serialize_str(known.name()),
            Err(_) => to.serialize_i32(*value),
        }
    }

    /// Reads a name or a number.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
        NamedValue::<E>::deserialize(from).map(|value| value.0)
    }
}

/// Lists of enums.
pub struct NamedList<E>(PhantomData<E>);

impl<E: ProtoEnum> NamedList<E> {
    /// Writes each value's name.
    pub fn serialize<S: Serializer>(value: &[i32], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(value.iter().map(|v| NamedValue::<E>(*v, PhantomData)))
    }

    /// Reads names and numbers.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<i32>, D::Error> {
        let list = Vec::<NamedValue<E>>::deserialize(from)?;
        Ok(list.into_iter().map(|value| value.0).collect())
    }
}

struct NamedValue<E>(i32, PhantomData<E>);

impl<E: ProtoEnum> Serialize for NamedValue<E> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Named::<E>::serialize(&self.0, to)
    }
}

impl<'de, E: ProtoEnum> Deserialize<'de> for NamedValue<E> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(i32),
            Name(String),
        }
        let number = match Either::deserialize(from)? {
            Either::Number(number) => number,
            Either::Name(name) => E::of_name(&name)
                .map(Into::into)
                .ok_or_else(|| D::Error::custom(format_args!("{name:?} is no value of this enum")))?,
        };
        Ok(Self(number, PhantomData))
    }
}

/// Writes JSON as Go's `encoding/json` does: `<`, `>`, `&` and the line separators escaped, a newline at the end.
///
/// # Errors
/// Those of the value's own `Serialize`.
pub fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(256);
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, GoFormatter))?;
    out.push(b'\n');
    Ok(out)
}

struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, to: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain = 0;
        for (at, c) in fragment.char_indices() {
            if matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') {
                to.write_all(&fragment.as_bytes()[plain..at])?;
                write!(to, "\\u{:04x}", c as u32)?;
                plain = at + c.len_utf8();
            }
        }
        to.write_all(&fragment.as_bytes()[plain..])
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, to: &mut W, escape: CharEscape) -> io::Result<()> {
        let code = match escape {
            CharEscape::Backspace => 8,
            CharEscape::FormFeed => 12,
            CharEscape::AsciiControl(byte) => byte,
            CharEscape::Quote => return to.write_all(b"\\\""),
            CharEscape::ReverseSolidus => return to.write_all(b"\\\\"),
            CharEscape::Solidus => return to.write_all(b"/"),
            CharEscape::LineFeed => return to.write_all(b"\\n"),
            CharEscape::CarriageReturn => return to.write_all(b"\\r"),
            CharEscape::Tab => return to.write_all(b"\\t"),
        };
        write!(to, "\\u{code:04x}")
    }
}
