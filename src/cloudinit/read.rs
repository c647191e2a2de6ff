//! From YAML to a cloud-config: what is wrong is noted with its line and left out, the rest stands.

use super::config::{CloudConfig, DropIn, Setting, Unit, User, WriteFile};
use super::content;
use super::problem::Problem;
use super::sections::{self, Form, Section};
use super::yaml::{self, Entry, Node, Scalar, Value};
use crate::unit;

/// What `command` may be.
const VERBS: [&str; 7] =
    ["start", "stop", "restart", "reload", "try-restart", "reload-or-restart", "reload-or-try-restart"];
const REBOOT_STRATEGIES: [&str; 3] = ["etcd-lock", "reboot", "off"];
const MODE_DEFAULT: u32 = 0o644;
/// The longest name that Linux takes for a host.
const HOSTNAME_BYTES_MAX: usize = 64;

/// Reads a cloud-config. Where the text is no YAML it is empty, and the problem is the only one.
pub fn read(text: &str) -> (CloudConfig, Vec<Problem>) {
    let mut reader = Reader { problems: Vec::new() };
    let config = match yaml::parse(text) {
        Ok(root) => reader.cloud_config(&root),
        Err(problem) => {
            reader.problems.push(problem);
            CloudConfig::default()
        }
    };
    reader.problems.sort_by_key(|problem| problem.line);
    (config, reader.problems)
}

struct Reader {
    problems: Vec<Problem>,
}

/// The keys of one mapping.
struct Fields<'a>(&'a [Entry]);

impl<'a> Fields<'a> {
    /// The last of a name, as coreos-cloudinit takes it.
    fn get(&self, key: &str) -> Option<&'a Entry> {
        self.0.iter().rev().find(|entry| entry.key == key)
    }

    fn line(&self, key: &str) -> usize {
        self.get(key).map_or(1, |entry| entry.line)
    }
}

impl Reader {
    fn error(&mut self, line: usize, message: String) {
        self.problems.push(Problem::error(line, message));
    }

    fn wrong_type(&mut self, line: usize, key: &str, want: &str) {
        self.problems.push(Problem::warning(line, format!("incorrect type for {key:?} (want {want})")));
    }

    /// The keys of a mapping. Those that are not among `known` are told of.
    fn fields<'a>(&mut self, node: &'a Node, name: &str, known: &[&str]) -> Fields<'a> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Nothing => &[],
            Value::Scalar(_) | Value::List(_) => {
                self.wrong_type(node.line, name, "a mapping");
                &[]
            }
        };
        for (at, entry) in entries.iter().enumerate() {
            if !known.contains(&entry.key.as_str()) {
                let message = format!("unrecognized key {:?}{}", entry.key, hint(&entry.key, known));
                self.problems.push(Problem::warning(entry.line, message));
            } else if entries[..at].iter().any(|other| other.key == entry.key) {
                let message = format!("{:?} is there twice; the last one counts", entry.key);
                self.problems.push(Problem::warning(entry.line, message));
            }
        }
        Fields(entries)
    }

    fn scalar<'a>(&mut self, fields: &Fields<'a>, key: &str, want: &str) -> Option<&'a Scalar> {
        let entry = fields.get(key)?;
        match &entry.node.value {
            Value::Scalar(scalar) => Some(scalar),
            Value::Nothing => None,
            Value::List(_) | Value::Map(_) => {
                self.wrong_type(entry.line, key, want);
                None
            }
        }
    }

    /// A text; empty where there is none.
    fn text(&mut self, fields: &Fields<'_>, key: &str) -> String {
        self.scalar(fields, key, "a text").map(|scalar| scalar.text.clone()).unwrap_or_default()
    }

    fn truth(&mut self, fields: &Fields<'_>, key: &str) -> bool {
        let Some(scalar) = self.scalar(fields, key, "true or false") else { return false };
        scalar.truth().unwrap_or_else(|| {
            self.wrong_type(fields.line(key), key, "true or false");
            false
        })
    }

    fn list<'a>(&mut self, fields: &Fields<'a>, key: &str) -> &'a [Node] {
        match fields.get(key).map(|entry| &entry.node.value) {
            Some(Value::List(items)) => items,
            Some(Value::Scalar(_) | Value::Map(_)) => {
                self.wrong_type(fields.line(key), key, "a list");
                &[]
            }
            Some(Value::Nothing) | None => &[],
        }
    }

    /// A list of texts. A single text is taken for a list of one, though it is told of.
    fn texts(&mut self, fields: &Fields<'_>, key: &str) -> Vec<String> {
        let mut texts = Vec::new();
        if let Some(Value::Scalar(scalar)) = fields.get(key).map(|entry| &entry.node.value) {
            texts.push(scalar.text.trim().to_owned());
        }
        for item in self.list(fields, key) {
            match &item.value {
                Value::Scalar(scalar) => texts.push(scalar.text.trim().to_owned()),
                Value::Nothing => {}
                Value::List(_) | Value::Map(_) => self.wrong_type(item.line, key, "a list of texts"),
            }
        }
        texts.retain(|text| !text.is_empty());
        texts
    }

    fn cloud_config(&mut self, root: &Node) -> CloudConfig {
        const KNOWN: [&str; 6] =
            ["coreos", "ssh_authorized_keys", "write_files", "hostname", "users", "manage_etc_hosts"];
        let fields = self.fields(root, "cloud-config", &KNOWN);
        let mut config = CloudConfig {
            ssh_authorized_keys: self.texts(&fields, "ssh_authorized_keys"),
            hostname: self.hostname(&fields),
            manages_etc_hosts: self.manage_etc_hosts(&fields),
            ..CloudConfig::default()
        };
        config.users = self.list(&fields, "users").iter().filter_map(|node| self.user(node)).collect();
        config.write_files = self.list(&fields, "write_files").iter().filter_map(|node| self.file(node)).collect();
        if let Some(coreos) = fields.get("coreos") {
            self.coreos(&coreos.node, &mut config);
        }
        config
    }

    fn hostname(&mut self, fields: &Fields<'_>) -> Option<String> {
        let name = self.text(fields, "hostname");
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        if name.len() > HOSTNAME_BYTES_MAX || !name.chars().all(fits) || name.starts_with(['-', '.']) {
            let form = "write letters, digits, `-` and `.`, at most 64";
            self.error(fields.line("hostname"), format!("hostname: {name:?} is no name of a host; {form}"));
            return None;
        }
        Some(name).filter(|name| !name.is_empty())
    }

    fn manage_etc_hosts(&mut self, fields: &Fields<'_>) -> bool {
        match self.text(fields, "manage_etc_hosts").as_str() {
            "" => false,
            "localhost" => true,
            other => {
                let message = format!("manage_etc_hosts: invalid value {other:?}; it can be localhost only");
                self.error(fields.line("manage_etc_hosts"), message);
                false
            }
        }
    }

    fn user(&mut self, node: &Node) -> Option<User> {
        const KNOWN: [&str; 15] = [
            "name",
            "passwd",
            "ssh_authorized_keys",
            "coreos_ssh_import_github",
            "coreos_ssh_import_github_users",
            "coreos_ssh_import_url",
            "gecos",
            "homedir",
            "no_create_home",
            "primary_group",
            "groups",
            "no_user_group",
            "system",
            "no_log_init",
            "shell",
        ];
        let fields = self.fields(node, "users", &KNOWN);
        let mut import_github = self.texts(&fields, "coreos_ssh_import_github_users");
        let one = self.text(&fields, "coreos_ssh_import_github");
        import_github.splice(0..0, Some(one).filter(|name| !name.is_empty()));
        let user = User {
            name: self.text(&fields, "name"),
            passwd: self.text(&fields, "passwd"),
            ssh_authorized_keys: self.texts(&fields, "ssh_authorized_keys"),
            import_github,
            import_url: self.text(&fields, "coreos_ssh_import_url"),
            gecos: self.text(&fields, "gecos"),
            homedir: self.text(&fields, "homedir"),
            no_create_home: self.truth(&fields, "no_create_home"),
            primary_group: self.text(&fields, "primary_group"),
            groups: self.texts(&fields, "groups"),
            no_user_group: self.truth(&fields, "no_user_group"),
            system: self.truth(&fields, "system"),
            no_log_init: self.truth(&fields, "no_log_init"),
            shell: self.text(&fields, "shell"),
        };
        if user.name.is_empty() {
            self.problems.push(Problem::warning(node.line, "a user without a name is skipped"));
            return None;
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || "_.-$".contains(c);
        if user.name.starts_with('-') || !user.name.chars().all(fits) {
            self.error(fields.line("name"), format!("users: {:?} is no name of a user", user.name));
            return None;
        }
        if user.passwd.contains([':', '\n']) {
            let message = format!("users: the passwd of {} is no hash of a password; see crypt(5)", user.name);
            self.error(fields.line("passwd"), message);
            return None;
        }
        Some(user)
    }

    fn file(&mut self, node: &Node) -> Option<WriteFile> {
        let fields = self.fields(node, "write_files", &["path", "content", "owner", "permissions", "encoding"]);
        let (path, encoding) = (self.text(&fields, "path"), self.text(&fields, "encoding"));
        let owner = self.text(&fields, "owner");
        let permissions = self.text(&fields, "permissions");
        let content = self.text(&fields, "content");
        let mode = mode(&permissions);
        if mode.is_none() {
            let message = format!("{path}: invalid value {permissions:?} of \"permissions\"; write it as \"0644\"");
            self.error(fields.line("permissions"), message);
        }
        let content = content::decode(&content, &encoding).map_err(|reason| {
            let message = format!("{path}: content cannot be decoded as {encoding:?}: {reason}");
            self.error(fields.line(if fields.get("content").is_some() { "content" } else { "encoding" }), message);
        });
        let absolute = absolute(&path);
        match &absolute {
            Some(path) if path.starts_with("/usr/") => {
                let message = format!("{path}: /usr belongs to the system's packages; /usr/local is free in most");
                if !path.starts_with("/usr/local/") {
                    self.problems.push(Problem::warning(fields.line("path"), message));
                }
            }
            Some(_) => {}
            None => {
                let line = fields.get("path").map_or(node.line, |entry| entry.line);
                self.error(line, format!("write_files: {path:?} names no file"));
            }
        }
        Some(WriteFile { path: absolute?, content: content.ok()?, mode: mode?, owner })
    }

    fn coreos(&mut self, node: &Node, config: &mut CloudConfig) {
        let mut known: Vec<&str> = sections::SECTIONS.iter().map(|section| section.name).collect();
        known.push("units");
        if let Value::Map(entries) = &node.value
            && let Some(stray) = entries.iter().find(|entry| entry.key == "write_files")
        {
            self.problems.push(Problem::info(stray.line, "write_files doesn't belong under coreos"));
        }
        let fields = self.fields(node, "coreos", &known);
        config.units = self.list(&fields, "units").iter().filter_map(|node| self.unit(node)).collect();
        for section in sections::SECTIONS {
            if let Some(entry) = fields.get(section.name) {
                self.section(section, &entry.node, config);
            }
        }
    }

    fn section(&mut self, section: &'static Section, node: &Node, config: &mut CloudConfig) {
        let known: Vec<&str> = section.keys.iter().map(|(key, _)| *key).collect();
        let fields = self.fields(node, section.name, &known);
        for (key, form) in section.keys {
            let want = match form {
                Form::Text => "a text",
                Form::Whole => "a whole number",
                Form::Number => "a number",
                Form::Truth => "true or false",
            };
            let Some(scalar) = self.scalar(&fields, key, want) else { continue };
            let line = fields.line(key);
            let Some(value) = formed(scalar, *form) else {
                self.wrong_type(line, key, want);
                continue;
            };
            let value = if is_on_off(section.name, key) { on_off(scalar, value) } else { value };
            if value.is_empty() || (*form != Form::Text && matches!(value.as_str(), "0" | "false")) {
                continue;
            }
            match valid(section.name, key, &value) {
                Ok(()) => config.settings.push(Setting { section: section.name, key, value, line }),
                Err(want) => self.error(line, format!("{}: invalid value {value:?} of {key:?}; {want}", section.name)),
            }
        }
    }

    fn unit(&mut self, node: &Node) -> Option<Unit> {
        let fields =
            self.fields(node, "units", &["name", "mask", "enable", "runtime", "content", "command", "drop_ins"]);
        let mut unit = Unit {
            name: self.text(&fields, "name"),
            mask: self.truth(&fields, "mask"),
            enable: self.truth(&fields, "enable"),
            runtime: self.truth(&fields, "runtime"),
            content: self.text(&fields, "content"),
            command: self.text(&fields, "command"),
            drop_ins: Vec::new(),
            line: node.line,
        };
        if unit.name.is_empty() {
            self.problems.push(Problem::warning(node.line, "a unit without a name is skipped"));
            return None;
        }
        let is_network = is_network(&unit.name);
        if is_network && !is_file_name(&unit.name) {
            self.error(fields.line("name"), format!("units: {:?} is no name of a file", unit.name));
            return None;
        }
        if let (false, Err(reason)) = (is_network, unit::name::validate(&unit.name)) {
            self.error(fields.line("name"), format!("units: {:?}: {reason}", unit.name));
            return None;
        }
        if !unit.command.is_empty() && !VERBS.contains(&unit.command.as_str()) {
            let message = format!("{}: invalid value {:?} of \"command\"", unit.name, unit.command);
            self.error(fields.line("command"), format!("{message}; write {}", VERBS.join(", ")));
            unit.command.clear();
        }
        for node in self.list(&fields, "drop_ins") {
            let fields = self.fields(node, "drop_ins", &["name", "content"]);
            let drop_in = DropIn { name: self.text(&fields, "name"), content: self.text(&fields, "content") };
            if drop_in.name.is_empty() || drop_in.content.is_empty() {
                // As coreos-cloudinit has it: half of a drop-in is none.
                let message = format!("{}: a drop-in without name or content is skipped", unit.name);
                self.problems.push(Problem::warning(node.line, message));
            } else if !is_file_name(&drop_in.name) {
                let message = format!("{}: {:?} is no name of a drop-in", unit.name, drop_in.name);
                self.error(fields.line("name"), message);
            } else {
                unit.drop_ins.push(drop_in);
            }
        }
        Some(unit)
    }
}

/// Whether a name is networkd's or udev's, and not systemd's.
pub fn is_network(name: &str) -> bool {
    [".network", ".netdev", ".link"].iter().any(|suffix| name.ends_with(suffix))
}

fn is_file_name(name: &str) -> bool {
    !name.starts_with('.') && !name.contains(['/', '\0', '\n'])
}

/// The known word that a mistyped one is near to.
fn hint(key: &str, known: &[&str]) -> String {
    let distance = |known: &&&str| strsim::damerau_levenshtein(key, known);
    match known.iter().min_by_key(distance) {
        Some(near) if strsim::damerau_levenshtein(key, near) <= near.len() / 3 => format!("; did you mean {near:?}?"),
        _ => String::new(),
    }
}

/// A value in the form that its key asks for, as Go prints it.
fn formed(scalar: &Scalar, form: Form) -> Option<String> {
    let text = scalar.text.trim();
    match form {
        Form::Text => Some(scalar.text.clone()),
        Form::Truth => scalar.truth().map(|truth| truth.to_string()),
        Form::Whole => text.parse::<i64>().ok().map(|number| number.to_string()),
        Form::Number => text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number.to_string()),
    }
}

/// Keys whose `on` and `off` a YAML writer may have made true and false of.
fn is_on_off(section: &str, key: &str) -> bool {
    matches!((section, key), ("update", "reboot_strategy") | ("etcd" | "etcd2", "proxy"))
}

fn on_off(scalar: &Scalar, value: String) -> String {
    match scalar.truth() {
        Some(true) => "on".to_owned(),
        Some(false) => "off".to_owned(),
        None => value,
    }
}

/// Checks the keys that take certain values only.
///
/// # Errors
/// What they take.
fn valid(section: &str, key: &str, value: &str) -> Result<(), String> {
    let check = |fits: bool, want: &str| if fits { Ok(()) } else { Err(want.to_owned()) };
    match (section, key) {
        _ if value.contains(['\n', '\0']) => Err("write one line".to_owned()),
        ("update", "reboot_strategy") => {
            check(REBOOT_STRATEGIES.contains(&value), &format!("write {}", REBOOT_STRATEGIES.join(", ")))
        }
        ("etcd2", "proxy") => check(["on", "off", "readonly"].contains(&value), "write on, off or readonly"),
        ("locksmith", "window_start") => check(is_window_start(value), "write it as `Thu 04:00` or `04:00`"),
        ("locksmith", "window_length") => check(is_window_length(value), "write it as `1h30m`"),
        _ => Ok(()),
    }
}

/// `H:M`, perhaps with a day of the week before it.
fn is_window_start(text: &str) -> bool {
    let clock = match text.split_once(' ') {
        Some((day, clock)) => {
            let days = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
            days.contains(&day.to_lowercase().as_str()).then_some(clock)
        }
        None => Some(text),
    };
    let number = |text: &str, below: u64| {
        text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u64>().is_ok_and(|number| number < below)
    };
    clock.and_then(|clock| clock.split_once(':')).is_some_and(|(hour, minute)| number(hour, 24) && number(minute, 60))
}

/// A Go duration.
fn is_window_length(text: &str) -> bool {
    let bare = text.strip_prefix(['-', '+']).unwrap_or(text);
    matches!(unit::value::time_span(bare), Ok(unit::value::TimeSpan::Finite(_)))
        && bare.ends_with(|c: char| c.is_ascii_lowercase())
}

/// `644`, `0644` or `4755`, in octal.
fn mode(text: &str) -> Option<u32> {
    if text.is_empty() {
        return Some(MODE_DEFAULT);
    }
    let digits = match text.len() {
        5 => text.strip_prefix('0')?,
        _ => text,
    };
    let octal = (3..=4).contains(&digits.len()) && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten()
}

/// A path from the root on, without `.` and `..`; `None` where it names no file.
fn absolute(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let named = !parts.is_empty() && !path.ends_with('/') && !path.contains('\0');
    named.then(|| format!("/{}", parts.join("/")))
}
