//! A cloud-config that has been read: only what can be carried out is in it.

/// All of it. What is not said is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloudConfig {
    /// For the user `core`.
    pub ssh_authorized_keys: Vec<String>,
    pub hostname: Option<String>,
    pub users: Vec<User>,
    pub write_files: Vec<WriteFile>,
    /// `manage_etc_hosts: localhost`.
    pub manages_etc_hosts: bool,
    pub units: Vec<Unit>,
    /// The keys of the sections, in the sections' own order; zeros, false and empty texts are as if they were not there.
    pub settings: Vec<Setting>,
}

impl CloudConfig {
    /// The keys of one section.
    pub fn section<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Setting> {
        self.settings.iter().filter(move |setting| setting.section == name)
    }

    /// One key of a section.
    pub fn get(&self, section: &str, key: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.section == section && setting.key == key)
    }

    /// The unit of a name.
    pub fn unit(&self, name: &str) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.name == name)
    }
}

/// One key of a section such as `etcd2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub section: &'static str,
    pub key: &'static str,
    pub value: String,
    pub line: usize,
}

/// One of `users`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    /// The password's hash, as crypt(5) has it; empty: none.
    pub passwd: String,
    pub ssh_authorized_keys: Vec<String>,
    /// Users of github.com whose keys are let in.
    pub import_github: Vec<String>,
    /// Where more keys are, as github.com's API lists them; empty: nowhere.
    pub import_url: String,
    pub gecos: String,
    pub homedir: String,
    pub no_create_home: bool,
    pub primary_group: String,
    pub groups: Vec<String>,
    pub no_user_group: bool,
    pub system: bool,
    pub no_log_init: bool,
    pub shell: String,
}

/// One of `write_files`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteFile {
    /// Absolute, without `.` and `..`.
    pub path: String,
    pub content: Vec<u8>,
    pub mode: u32,
    /// `user`, `user:group` or `:group`; empty: root.
    pub owner: String,
}

/// One of `units`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    pub name: String,
    pub mask: bool,
    pub enable: bool,
    pub runtime: bool,
    pub content: String,
    /// One of systemctl's verbs; empty: none.
    pub command: String,
    pub drop_ins: Vec<DropIn>,
    pub line: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropIn {
    pub name: String,
    pub content: String,
}
