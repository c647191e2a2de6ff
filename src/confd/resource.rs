//! Resource files: `[template]` tables of TOML, each with its place in the file in every complaint.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::duration::read_duration;
use super::mode::read_mode;
use super::select::PrefixMode;

/// The most resources that one file may hold.
const RESOURCES_PER_FILE_MAX: usize = 1_000;

/// The longest time that a resource may give a command.
const COMMAND_LIMIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A user or group: by number, or by a name that is looked up when it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    Id(u32),
    Name(String),
}

/// One table `[template]`: what to render to where. Field names are those of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// The template's path below `templates/`.
    pub src: String,
    /// The file to keep.
    pub dest: String,
    /// As written; see `Selection` for what they come to.
    pub keys: Vec<String>,
    pub prefix: String,
    /// From `uid` or, without it, `owner`. `None`: whoever runs us.
    pub user: Option<Identity>,
    /// From `gid` or, without it, `group`. `None`: the group of whoever runs us.
    pub group: Option<Identity>,
    /// Permission bits; `None`: those of the present file, else 0644.
    pub mode: Option<u32>,
    pub check_cmd: Option<String>,
    pub reload_cmd: Option<String>,
    /// How long `check_cmd` may take, from `check_cmd_timeout`; `None`: the default.
    pub check_limit: Option<Duration>,
    /// How long `reload_cmd` may take, from `reload_cmd_timeout`; `None`: the default.
    pub reload_limit: Option<Duration>,
    /// What a global prefix does to `prefix`.
    pub prefix_mode: PrefixMode,
    /// Whether folders that are missing above `dest` are made.
    pub create_dirs: bool,
    /// Whether a file that is there keeps its user and group, where the resource names none.
    pub preserve_owner: bool,
    /// What was understood in spite of how it is written.
    pub warnings: Vec<Mistake>,
}

/// Something wrong in a resource file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct Mistake {
    pub file: String,
    /// From 1.
    pub line: usize,
    pub message: String,
}

/// Reads a resource file: one table `[template]`, or several `[[template]]`. Unknown keys and other tables are ignored,
/// as confd does; names of keys match in any case.
///
/// # Errors
/// All mistakes of the file, in their order.
pub fn parse_resources(file: &str, text: &str) -> Result<Vec<Resource>, Vec<Mistake>> {
    let mut source = Source { file, text, mistakes: Vec::new() };
    let resources = source.resources();
    match source.mistakes.is_empty() {
        true => Ok(resources),
        false => Err(source.mistakes),
    }
}

struct Source<'a> {
    file: &'a str,
    text: &'a str,
    mistakes: Vec<Mistake>,
}

impl Source<'_> {
    fn at(&self, offset: usize, message: String) -> Mistake {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        Mistake { file: self.file.to_owned(), line, message }
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
            reload_cmd: self.string(table, "reload_cmd").filter(|command| !command.is_empty()),
            check_limit: self.limit(table, "check_cmd_timeout"),
            reload_limit: self.limit(table, "reload_cmd_timeout"),
            prefix_mode: self.prefix_mode(table),
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
        resource
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

    fn limit(&mut self, table: &DeTable<'_>, key: &str) -> Option<Duration> {
        let text = self.string(table, key).filter(|text| !text.is_empty())?;
        let limit = read_duration(&text).filter(|limit| !limit.is_zero() && *limit <= COMMAND_LIMIT_MAX);
        if limit.is_none() {
            let offset = lookup(table, key).map_or(0, |value| value.span().start);
            self.complain(
                offset,
                format!("{key}: `{text}` is no time above 0 and up to 24h; write it as \"30s\" or \"1m30s\""),
            );
        }
        limit
    }

    fn prefix_mode(&mut self, table: &DeTable<'_>) -> PrefixMode {
        match self.string(table, "prefix_mode").as_deref() {
            None | Some("" | "replace") => PrefixMode::Replace,
            Some("join") => PrefixMode::Join,
            Some(other) => {
                let offset = lookup(table, "prefix_mode").map_or(0, |value| value.span().start);
                self.complain(offset, format!("prefix_mode: `{other}` is neither \"replace\" nor \"join\""));
                PrefixMode::Replace
            }
        }
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

fn kind(value: &DeValue<'_>) -> String {
    let name = value.type_str();
    if name.starts_with(['a', 'i']) { format!("an {name}") } else { format!("a {name}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn one(text: &str) -> Resource {
        let mut resources = parse_resources("x.toml", text).unwrap();
        assert_eq!(resources.len(), 1);
        resources.remove(0)
    }

    fn mistakes(text: &str) -> String {
        let mistakes = parse_resources("x.toml", text).unwrap_err();
        mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn reads_a_resource_as_it_is_found_in_the_wild() {
        let resource = one(concat!(
            "[template]\nkeys = [ \"app/server\" ]\nowner = \"nginx\"\nmode = \"0644\"\nsrc = \"nginx.conf.tmpl\"\n",
            "dest = \"/etc/nginx/sites-enabled/app.conf\"\ncheck_cmd = \"/usr/sbin/nginx -t -c /etc/nginx/nginx.conf\"\n",
            "reload_cmd = \"/usr/sbin/service nginx reload\"\nunknown = 1\n[other]\nsrc = 3\n"
        ));
        assert_eq!(resource.keys, ["app/server"]);
        assert_eq!(resource.user, Some(Identity::Name("nginx".into())));
        assert_eq!(resource.mode, Some(0o644));
        assert_eq!(resource.reload_cmd.as_deref(), Some("/usr/sbin/service nginx reload"));
        assert_eq!(resource.warnings, []);
    }

    #[test]
    fn numbers_win_over_names_and_case_does_not_matter() {
        let resource =
            one("[Template]\nSrc=\"a\"\nDEST=\"/b\"\nuid=7\nowner=\"x\"\ngid=-1\ngroup=\"g\"\nmode=\"644\"\n");
        assert_eq!(resource.user, Some(Identity::Id(7)));
        assert_eq!(resource.group, Some(Identity::Name("g".into())));
        assert_eq!(resource.mode, Some(0o644));
        assert_eq!(
            resource.warnings[0].to_string(),
            "x.toml:8: mode: `644` is read as octal, 0644; write \"0644\" (confd takes it as decimal)"
        );
    }

    #[test]
    fn additions_are_read_and_checked() {
        let resource = one(concat!(
            "[template]\nsrc=\"a\"\ndest=\"/b\"\ncheck_cmd_timeout=\"1m30s\"\nreload_cmd_timeout=\"250ms\"\n",
            "prefix_mode=\"join\"\ncreate_dirs=true\npreserve_owner=true\n"
        ));
        let limits = (resource.check_limit, resource.reload_limit);
        assert_eq!(limits, (Some(Duration::from_secs(90)), Some(Duration::from_millis(250))));
        assert_eq!(resource.prefix_mode, PrefixMode::Join);
        assert!(resource.create_dirs && resource.preserve_owner);
        let plain = one("[template]\nsrc=\"a\"\ndest=\"/b\"\n");
        assert_eq!((plain.check_limit, plain.prefix_mode), (None, PrefixMode::Replace));
        assert!(!plain.create_dirs && !plain.preserve_owner);
        for (line, expected) in [
            ("check_cmd_timeout=\"0s\"", "x.toml:4: check_cmd_timeout: `0s` is no time above 0"),
            ("reload_cmd_timeout=\"soon\"", "x.toml:4: reload_cmd_timeout: `soon`"),
            ("reload_cmd_timeout=\"25h\"", "up to 24h"),
            ("reload_cmd_timeout=30", "must be a string in quotes, not an integer"),
            ("prefix_mode=\"both\"", "x.toml:4: prefix_mode: `both` is neither"),
            ("create_dirs=\"yes\"", "create_dirs: must be true or false, not a string"),
        ] {
            let found = mistakes(&format!("[template]\nsrc=\"a\"\ndest=\"/b\"\n{line}\n"));
            assert!(found.contains(expected), "{line}: {found}");
        }
    }

    #[test]
    fn several_tables_are_several_resources() {
        let text = "[[template]]\nsrc=\"a\"\ndest=\"/a\"\n[[template]]\nsrc=\"b\"\ndest=\"/b\"\n";
        assert_eq!(parse_resources("x", text).unwrap().len(), 2);
    }

    #[test]
    fn every_mistake_names_its_line_and_key() {
        let text =
            "[template]\nsrc = 3\ndest = \"/x\"\nkeys = [\"a\", 1]\nmode = \"rw\"\nuid = \"root\"\ngid = 4294967295\n";
        let found = mistakes(text);
        for expected in
            ["x.toml:2: src:", "x.toml:4: keys:", "x.toml:5: mode: `rw`", "x.toml:6: uid:", "x.toml:7: gid:"]
        {
            assert!(found.contains(expected), "{expected} in {found}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        let cases = [
            ("", "x.toml:1: there is no table `[template]`"),
            ("[template]\ndest=\"/x\"\n", "x.toml:1: empty src template"),
            ("[template]\nsrc=\"\"\ndest=\"/x\"\n", "empty src template"),
            ("[template]\nsrc=\"x\"\n", "dest: is missing"),
            ("[template]\nsrc=\"x\"\ndest=\"/x\"\nmode = 644\n", "x.toml:4: mode: must be a string"),
            ("[template]\nsrc = \"x\ndest = 1\n", "x.toml:2: "),
            ("template = 1\n", "`template` is a table, not an integer"),
            ("[template]\nsrc=\"x\"\ndest=\"/x\"\nkeys=\"/a\"\n", "x.toml:4: keys: must be a list"),
        ];
        for (text, expected) in cases {
            let found = mistakes(text);
            assert!(found.contains(expected), "{text:?}: {found}");
        }
    }
}
