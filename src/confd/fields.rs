//! Reads the tables of resource files key by key, and says where what is wrong stands: line and column.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::duration::read_duration;
use super::format::Format;
use super::mode::read_mode;
use super::resource::{Identity, JsonNumbers, Mistake, OnMissing, Reload, Rendering, Resource};
use super::select::PrefixMode;
use super::when::Debounce;
use crate::unit::value;

/// The most resources that one file may hold.
const RESOURCES_PER_FILE_MAX: usize = 1_000;

/// The longest time that a resource may give a command or a pause.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The most that `max_parallel` and `min_entries` may say.
const COUNT_MAX: usize = 1_000_000;

/// All keys of a resource.
const KEYS: &[&str] = &[
    "src",
    "dest",
    "keys",
    "prefix",
    "uid",
    "gid",
    "owner",
    "group",
    "mode",
    "check_cmd",
    "reload_cmd",
    "check_cmd_timeout",
    "reload_cmd_timeout",
    "prefix_mode",
    "create_dirs",
    "preserve_owner",
    "reload_unit",
    "reload_signal",
    "reload_group",
    "min_reload_interval",
    "debounce",
    "max_parallel",
    "for_each",
    "on_missing",
    "json_numbers",
    "min_entries",
    "output_format",
    "backup",
    "follow_symlinks",
];

/// A resource file's text, and the mistakes found so far.
pub(super) struct Source<'a> {
    file: &'a str,
    text: &'a str,
    mistakes: Vec<Mistake>,
}

impl<'a> Source<'a> {
    /// All resources of a file.
    ///
    /// # Errors
    /// All mistakes, in their order.
    pub fn read(file: &'a str, text: &'a str) -> Result<Vec<Resource>, Vec<Mistake>> {
        let mut source = Source { file, text, mistakes: Vec::new() };
        let resources = source.resources();
        source.mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        if source.mistakes.is_empty() { Ok(resources) } else { Err(source.mistakes) }
    }

    fn at(&self, offset: usize, message: String) -> Mistake {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let (line, column) = place(before);
        Mistake { file: self.file.to_owned(), line, column, message }
    }

    fn complain(&mut self, offset: usize, message: impl Into<String>) {
        let mistake = self.at(offset, message.into());
        self.mistakes.push(mistake);
    }

    fn resources(&mut self) -> Vec<Resource> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            self.complain(error.span().map_or(0, |span| span.start), error.message());
        }
        if !self.mistakes.is_empty() {
            return Vec::new();
        }
        let Some(found) = lookup(table.get_ref(), "template") else {
            self.complain(0, "there is no table `[template]` in it");
            return Vec::new();
        };
        match found.get_ref() {
            DeValue::Table(one) => vec![self.resource(one, found.span().start)],
            DeValue::Array(several) if several.len() <= RESOURCES_PER_FILE_MAX => {
                let tables: Vec<_> = several.iter().collect();
                tables.into_iter().filter_map(|one| self.element(one)).collect()
            }
            DeValue::Array(several) => {
                let count = several.len();
                self.complain(
                    found.span().start,
                    format!("{count} tables `[[template]]`; the most is {RESOURCES_PER_FILE_MAX}"),
                );
                Vec::new()
            }
            other => {
                self.complain(found.span().start, format!("`template` is a table, not {}", kind(other)));
                Vec::new()
            }
        }
    }

    fn element(&mut self, one: &Spanned<DeValue<'_>>) -> Option<Resource> {
        match one.get_ref() {
            DeValue::Table(table) => Some(self.resource(table, one.span().start)),
            other => {
                self.complain(one.span().start, format!("`template` is a table, not {}", kind(other)));
                None
            }
        }
    }

    fn resource(&mut self, table: &DeTable<'_>, start: usize) -> Resource {
        let mut resource = Resource {
            src: self.required(table, "src", start),
            dest: self.required(table, "dest", start),
            keys: self.strings(table, "keys"),
            prefix: self.string(table, "prefix").unwrap_or_default(),
            user: self.identity(table, "uid", "owner"),
            group: self.identity(table, "gid", "group"),
            check_cmd: self.string(table, "check_cmd").filter(|command| !command.is_empty()),
            check_limit: self.duration(table, "check_cmd_timeout"),
            reload: self.reload(table),
            reload_limit: self.duration(table, "reload_cmd_timeout"),
            reload_group: self.string(table, "reload_group").filter(|name| !name.is_empty()),
            min_reload_interval: self.duration(table, "min_reload_interval"),
            debounce: self.debounce(table),
            max_parallel: self.count(table, "max_parallel", 1),
            for_each: self.string(table, "for_each").filter(|folder| !folder.is_empty()),
            rendering: self.rendering(table),
            min_entries: self.count(table, "min_entries", 0).unwrap_or(0),
            output_format: self.one_of(table, "output_format", Format::NAMES),
            backup: self.truth(table, "backup"),
            follow_symlinks: self.truth(table, "follow_symlinks"),
            prefix_mode: self.one_of(
                table,
                "prefix_mode",
                &[("replace", PrefixMode::Replace), ("join", PrefixMode::Join)],
            ),
            create_dirs: self.truth(table, "create_dirs"),
            preserve_owner: self.truth(table, "preserve_owner"),
            ..Resource::default()
        };
        if !resource.dest.is_empty() && !resource.dest.starts_with('/') {
            let offset = lookup(table, "dest").map_or(start, |value| value.span().start);
            let message =
                format!("dest: `{}` is relative to wherever confd is started; write an absolute path", resource.dest);
            resource.warnings.push(self.at(offset, message));
        }
        self.mode(table, &mut resource);
        self.contradictions(table, &resource);
        self.unknown(table, &mut resource);
        resource
    }

    fn rendering(&mut self, table: &DeTable<'_>) -> Rendering {
        let missing = [("error", OnMissing::Error), ("empty", OnMissing::Empty), ("wait", OnMissing::Wait)];
        let numbers = [("float", JsonNumbers::Float), ("exact", JsonNumbers::Exact)];
        Rendering {
            on_missing: self.one_of(table, "on_missing", &missing),
            json_numbers: self.one_of(table, "json_numbers", &numbers),
        }
    }

    fn reload(&mut self, table: &DeTable<'_>) -> Option<Reload> {
        let command = self.string(table, "reload_cmd").filter(|command| !command.is_empty());
        let unit = self.string(table, "reload_unit").filter(|unit| !unit.is_empty());
        if let Some(unit) = &unit
            && !(unit.contains('.') && unit.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'))
        {
            self.complain(
                offset_of(table, "reload_unit"),
                format!("reload_unit: `{unit}` is no unit; write it as \"nginx.service\""),
            );
        }
        let signal = self.signal(table, unit.is_some());
        match (command, unit) {
            (Some(_), Some(_)) => {
                let message = "reload_unit: there is a reload_cmd too; keep one of them";
                self.complain(offset_of(table, "reload_unit"), message);
                None
            }
            (Some(command), None) => Some(Reload::Command(command)),
            (None, unit) => unit.map(|unit| Reload::Unit { unit, signal }),
        }
    }

    fn signal(&mut self, table: &DeTable<'_>, unit: bool) -> Option<i32> {
        let text = self.string(table, "reload_signal").filter(|text| !text.is_empty())?;
        let offset = offset_of(table, "reload_signal");
        let Ok(number) = value::signal(&text) else {
            self.complain(offset, format!("reload_signal: `{text}` is no signal; write it as \"HUP\""));
            return None;
        };
        if !unit {
            self.complain(offset, "reload_signal: there is no reload_unit whose main process gets it".to_owned());
        }
        Some(number)
    }

    /// Keys that cannot be had together.
    fn contradictions(&mut self, table: &DeTable<'_>, resource: &Resource) {
        let mut wrong = |key: &str, message: &str| self.complain(offset_of(table, key), format!("{key}: {message}"));
        if resource.for_each.is_some() && !resource.dest.contains("{{") {
            wrong("dest", "is one file for all that for_each lists; write {{.name}} in it");
        }
        if resource.for_each.is_some() && resource.follow_symlinks {
            wrong("follow_symlinks", "is for resources with one file, not with for_each");
        }
        if resource.reload_group.is_some() && resource.max_parallel.is_some() {
            wrong("max_parallel", "is for resources that are reloaded by themselves, not in a reload_group");
        }
        if resource.min_reload_interval.is_some() && resource.reload.is_none() && resource.reload_group.is_none() {
            wrong("min_reload_interval", "there is no reload_cmd and no reload_unit to put off");
        }
    }

    fn unknown(&mut self, table: &DeTable<'_>, resource: &mut Resource) {
        for (name, _) in table.iter() {
            let written = name.get_ref().as_ref();
            let lower = written.to_ascii_lowercase();
            if KEYS.contains(&lower.as_str()) {
                continue;
            }
            let near = KEYS.iter().min_by_key(|key| strsim::damerau_levenshtein(key, &lower));
            match near.filter(|key| strsim::damerau_levenshtein(key, &lower) <= 2 && lower.len() > 4) {
                Some(key) => {
                    self.complain(name.span().start, format!("unknown key `{written}`; did you mean `{key}`?"));
                }
                None => {
                    let message = format!("unknown key `{written}`; it is ignored, as confd does");
                    resource.warnings.push(self.at(name.span().start, message));
                }
            }
        }
    }

    fn mode(&mut self, table: &DeTable<'_>, resource: &mut Resource) {
        let Some(text) = self.string(table, "mode").filter(|text| !text.is_empty()) else { return };
        let offset = lookup(table, "mode").map_or(0, |value| value.span().start);
        match read_mode(&text) {
            Some(mode) => {
                resource.mode = Some(mode.bits);
                if mode.bare {
                    let message = format!(
                        "mode: `{text}` is read as octal, 0{text}; write \"0{text}\" (confd takes it as decimal)"
                    );
                    resource.warnings.push(self.at(offset, message));
                }
            }
            None => self.complain(offset, format!("mode: `{text}` is no file mode; write it in octal, as \"0644\"")),
        }
    }

    fn required(&mut self, table: &DeTable<'_>, key: &str, start: usize) -> String {
        let present = lookup(table, key).is_some();
        match self.string(table, key) {
            Some(text) if !text.is_empty() => text,
            // confd's own words for the template; operators search for them.
            _ if key == "src" && (!present || self.mistakes.is_empty()) => {
                self.complain(start, "empty src template");
                String::new()
            }
            None if present => String::new(),
            _ => {
                self.complain(start, format!("{key}: is missing or empty; it names the file to write"));
                String::new()
            }
        }
    }

    fn string(&mut self, table: &DeTable<'_>, key: &str) -> Option<String> {
        let value = lookup(table, key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            other => {
                self.complain(value.span().start, format!("{key}: must be a string in quotes, not {}", kind(other)));
                None
            }
        }
    }

    fn truth(&mut self, table: &DeTable<'_>, key: &str) -> bool {
        let Some(value) = lookup(table, key) else { return false };
        let DeValue::Boolean(truth) = value.get_ref() else {
            self.complain(value.span().start, format!("{key}: must be true or false, not {}", kind(value.get_ref())));
            return false;
        };
        *truth
    }

    fn duration(&mut self, table: &DeTable<'_>, key: &str) -> Option<Duration> {
        let text = self.string(table, key).filter(|text| !text.is_empty())?;
        self.duration_of(key, &text, offset_of(table, key))
    }

    fn duration_of(&mut self, key: &str, text: &str, offset: usize) -> Option<Duration> {
        let duration = read_duration(text).filter(|duration| !duration.is_zero() && *duration <= DURATION_MAX);
        if duration.is_none() {
            let message = format!("{key}: `{text}` is no time above 0 and up to 24h; write it as \"30s\" or \"1m30s\"");
            self.complain(offset, message);
        }
        duration
    }

    /// `"2s"`, or `{ min = "2s", max = "10s" }`.
    fn debounce(&mut self, table: &DeTable<'_>) -> Option<Debounce> {
        let value = lookup(table, "debounce")?;
        let DeValue::Table(bounds) = value.get_ref() else {
            return self.duration(table, "debounce").map(Debounce::of);
        };
        let Some(quiet) = self.duration(bounds, "min") else {
            if lookup(bounds, "min").is_none() {
                self.complain(value.span().start, "debounce: has no `min`; write { min = \"2s\", max = \"10s\" }");
            }
            return None;
        };
        let max = self.duration(bounds, "max").unwrap_or(Debounce::of(quiet).max);
        if max < quiet {
            self.complain(offset_of(bounds, "max"), format!("debounce: max is {max:?}, less than min, {quiet:?}"));
        }
        Some(Debounce { quiet, max })
    }

    fn count(&mut self, table: &DeTable<'_>, key: &str, least: usize) -> Option<usize> {
        let value = lookup(table, key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => usize::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok(),
            _ => None,
        };
        let fits = number.filter(|number| (least..=COUNT_MAX).contains(number));
        if fits.is_none() {
            self.complain(value.span().start, format!("{key}: must be a whole number from {least} to {COUNT_MAX}"));
        }
        fits
    }

    /// The choice of that name; the first one, or whatever is the default, where the key is not there.
    fn one_of<T: Clone + Default>(&mut self, table: &DeTable<'_>, key: &str, choices: &[(&str, T)]) -> T {
        let Some(text) = self.string(table, key).filter(|text| !text.is_empty()) else { return T::default() };
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
            return choice.clone();
        }
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        self.complain(offset_of(table, key), format!("{key}: `{text}` is none of {}", names.join(", ")));
        T::default()
    }

    fn strings(&mut self, table: &DeTable<'_>, key: &str) -> Vec<String> {
        let Some(value) = lookup(table, key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            let message = format!("{key}: must be a list, as [\"/app/server\"], not {}", kind(value.get_ref()));
            self.complain(value.span().start, message);
            return Vec::new();
        };
        let mut strings = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) => strings.push(text.clone().into_owned()),
                other => {
                    self.complain(item.span().start, format!("{key}: its items must be strings, not {}", kind(other)))
                }
            }
        }
        strings
    }

    /// A number wins over a name; -1 is confd's way to say "unset".
    fn identity(&mut self, table: &DeTable<'_>, number: &str, name: &str) -> Option<Identity> {
        let named = self.string(table, name).filter(|text| !text.is_empty()).map(Identity::Name);
        let Some(value) = lookup(table, number) else { return named };
        let DeValue::Integer(integer) = value.get_ref() else {
            self.complain(value.span().start, format!("{number}: must be a number, not {}", kind(value.get_ref())));
            return None;
        };
        match i64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()) {
            Ok(-1) => named,
            Ok(id) if u32::try_from(id).is_ok_and(|id| id != u32::MAX) => u32::try_from(id).ok().map(Identity::Id),
            _ => {
                self.complain(value.span().start, format!("{number}: must lie between 0 and {}", u32::MAX - 1));
                None
            }
        }
    }
}

/// A key by its exact name, else by one that differs in case only.
fn lookup<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<&'t Spanned<DeValue<'i>>> {
    let named = |exact: bool| {
        let matches = move |name: &str| if exact { name == key } else { name.eq_ignore_ascii_case(key) };
        table.iter().find(|(name, _)| matches(name.get_ref())).map(|(_, value)| value)
    };
    named(true).or_else(|| named(false))
}

/// Where a key's value stands.
fn offset_of(table: &DeTable<'_>, key: &str) -> usize {
    lookup(table, key).map_or(0, |value| value.span().start)
}

/// The line and column, both from 1, at which the text behind `before` begins.
pub(super) fn place(before: &str) -> (usize, usize) {
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

fn kind(value: &DeValue<'_>) -> String {
    let name = value.type_str();
    if name.starts_with(['a', 'i']) { format!("an {name}") } else { format!("a {name}") }
}
