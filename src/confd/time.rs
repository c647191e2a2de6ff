//! `datetime`'s value: Go's `time.Time` with the methods that templates use.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Zoned};

use super::layout::{self, DAYS, MONTHS};
use crate::gotemplate::{IntKind, Object, Signature, Type, Value};

/// A moment; `local` is the zone that `Local` goes back to.
#[derive(Debug)]
struct Time {
    moment: Zoned,
    local: TimeZone,
}

/// A named integer that prints as a word: a month or a day of the week.
#[derive(Debug)]
struct Named {
    type_name: &'static str,
    number: i64,
    text: &'static str,
}

/// The value of `datetime` at a moment.
pub(super) fn datetime(moment: Zoned) -> Value {
    let local = moment.time_zone().clone();
    Value::Object(Arc::new(Time { moment, local }))
}

impl Time {
    fn moved(&self, moment: Zoned) -> Value {
        Value::Object(Arc::new(Time { moment, local: self.local.clone() }))
    }

    /// As Go has it: the parts are added one by one and what is too many days for a month runs into the next.
    fn add_date(&self, args: &[Value]) -> Result<Value, String> {
        let number = |at: usize| match args.get(at) {
            Some(Value::Int(number)) => *number,
            _ => 0,
        };
        let date = self.moment.date();
        let months = i64::from(date.month() - 1).saturating_add(number(1));
        let year = i64::from(date.year()).saturating_add(number(0)).saturating_add(months.div_euclid(12));
        let month = i8::try_from(months.rem_euclid(12) + 1).unwrap_or(1);
        let days = number(2).saturating_add(i64::from(date.day() - 1));
        let moved = (|| {
            let first = Date::new(i16::try_from(year).unwrap_or(i16::MAX), month, 1)?;
            let date = first.checked_add(Span::new().try_days(days)?)?;
            date.to_datetime(self.moment.time()).to_zoned(self.moment.time_zone().clone())
        })();
        moved.map(|moment| self.moved(moment)).map_err(|error: jiff::Error| error.to_string())
    }
}

impl Object for Time {
    fn type_name(&self) -> &'static str {
        "time.Time"
    }

    fn text(&self) -> Option<String> {
        Some(layout::format(&self.moment, "2006-01-02 15:04:05.999999999 -0700 MST"))
    }

    fn json(&self) -> Option<Value> {
        Some(layout::format(&self.moment, "2006-01-02T15:04:05.999999999Z07:00").into())
    }

    fn method(&self, name: &str) -> Option<Signature> {
        Some(match name {
            "Format" => Signature::fixed(&[Type::Str]),
            "AddDate" => Signature::fixed(&[Type::INT, Type::INT, Type::INT]),
            "Year" | "Month" | "Day" | "Hour" | "Minute" | "Second" | "Nanosecond" | "Weekday" | "YearDay" | "Unix"
            | "UnixMilli" | "UnixMicro" | "UnixNano" | "UTC" | "Local" | "String" | "IsZero" => Signature::fixed(&[]),
            _ => return None,
        })
    }

    fn call(&self, name: &str, args: &[Value]) -> Result<Value, String> {
        let moment = &self.moment;
        let int64 = |number: i64| Value::Integer(IntKind::Int64, number);
        let nanos = moment.timestamp().as_nanosecond();
        let wide = |number: i128| int64(i64::try_from(number).unwrap_or(i64::MAX));
        Ok(match (name, args) {
            ("Format", [Value::Str(layout)]) => layout::format(moment, &layout.to_lossy()).into(),
            ("AddDate", args) => self.add_date(args)?,
            ("Year", _) => Value::Int(moment.year().into()),
            ("Month", _) => month(moment.month()),
            ("Day", _) => Value::Int(moment.day().into()),
            ("Hour", _) => Value::Int(moment.hour().into()),
            ("Minute", _) => Value::Int(moment.minute().into()),
            ("Second", _) => Value::Int(moment.second().into()),
            ("Nanosecond", _) => Value::Int(moment.subsec_nanosecond().into()),
            ("Weekday", _) => weekday(moment.weekday().to_sunday_zero_offset()),
            ("YearDay", _) => Value::Int(moment.day_of_year().into()),
            ("Unix", _) => int64(moment.timestamp().as_second()),
            ("UnixMilli", _) => wide(nanos.div_euclid(1_000_000)),
            ("UnixMicro", _) => wide(nanos.div_euclid(1_000)),
            ("UnixNano", _) => wide(nanos),
            ("UTC", _) => self.moved(moment.with_time_zone(TimeZone::UTC)),
            ("Local", _) => self.moved(moment.with_time_zone(self.local.clone())),
            ("IsZero", _) => Value::Bool(false),
            _ => self.text().unwrap_or_default().into(),
        })
    }
}

fn month(number: i8) -> Value {
    let text = usize::try_from(number - 1).ok().and_then(|at| MONTHS.get(at)).copied().unwrap_or_default();
    Value::Object(Arc::new(Named { type_name: "time.Month", number: number.into(), text }))
}

fn weekday(number: i8) -> Value {
    let text = usize::try_from(number).ok().and_then(|at| DAYS.get(at)).copied().unwrap_or_default();
    Value::Object(Arc::new(Named { type_name: "time.Weekday", number: number.into(), text }))
}

impl Object for Named {
    fn type_name(&self) -> &'static str {
        self.type_name
    }

    fn text(&self) -> Option<String> {
        Some(self.text.to_owned())
    }

    fn method(&self, name: &str) -> Option<Signature> {
        (name == "String").then_some(Signature::fixed(&[]))
    }

    fn call(&self, _name: &str, _args: &[Value]) -> Result<Value, String> {
        Ok(self.text.into())
    }

    fn underlying(&self) -> Option<Value> {
        Some(Value::Int(self.number))
    }
}
