//! The three lists: machines, units as machines see them, and units as submitted.

use std::collections::BTreeMap;

use super::find::text_of;
use super::{Context, Failed, say};
use crate::api::fleet::model::{MachineJson, UnitJson, UnitStateJson};
use crate::base::MachineId;
use crate::fleet::table;
use crate::unit::Requirements;

/// Characters of a hash where `--full` is not given.
const SHORT_HASH: usize = 7;

/// Machines by id, for legends.
pub type Machines = BTreeMap<String, MachineJson>;

/// What a column prints of a row.
type Column<T> = fn(&T, &Legend<'_>) -> String;

/// How machines and hashes are printed.
struct Legend<'a> {
    machines: &'a Machines,
    full: bool,
}

const MACHINES: &[(&str, Column<MachineJson>)] = &[
    ("machine", |machine, legend| legend.id(&machine.id)),
    ("ip", |machine, _| or_dash(&machine.primary_ip)),
    ("metadata", |machine, _| {
        let pairs: Vec<String> = machine.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
        or_dash(&pairs.join(","))
    }),
];

const UNITS: &[(&str, Column<UnitStateJson>)] = &[
    ("unit", |state, _| state.name.clone()),
    ("load", |state, _| state.load.clone()),
    ("active", |state, _| state.active.clone()),
    ("sub", |state, _| state.sub.clone()),
    ("machine", |state, legend| legend.machine(&state.machine_id)),
    ("hash", |state, legend| or_dash(legend.hash(&state.hash))),
];

/// A unit and what follows from its text.
struct File {
    unit: UnitJson,
    global: bool,
    hash: String,
    description: String,
}

const FILES: &[(&str, Column<File>)] = &[
    ("unit", |file, _| file.unit.name.clone()),
    ("global", |file, _| file.global.to_string()),
    ("dstate", |file, _| or_dash(&file.unit.desired_state)),
    ("target", target),
    ("tmachine", target),
    ("state", |file, _| if file.global { "-".to_owned() } else { or_dash(&file.unit.current_state) }),
    ("hash", |file, legend| legend.hash(&file.hash).to_owned()),
    ("desc", |file, _| or_dash(&file.description)),
];

fn target(file: &File, legend: &Legend<'_>) -> String {
    if file.global { "global".to_owned() } else { legend.machine(&file.unit.machine_id) }
}

/// `list-machines`
pub async fn machines(context: &Context) -> Result<u8, Failed> {
    let columns = columns(context, MACHINES, "machine,ip,metadata")?;
    let machines = context.client.machines().await.map_err(|error| {
        Failed::new(format!(
            "Error retrieving list of active machines from fleet API ({error})\n\
             Possible issues:\n  etcd is unhealthy and/or lost quorum\n  connection cannot be established to any etcd servers"
        ))
    })?;
    print(context, &columns, &machines, &Machines::new())
}

/// `list-units`
pub async fn units(context: &Context) -> Result<u8, Failed> {
    let columns = columns(context, UNITS, "unit,machine,active,sub")?;
    let failed = |error| Failed::new(format!("Error retrieving list of units from repository: {error}"));
    let mut states = context.client.states().await.map_err(failed)?;
    states.sort_by(|a, b| (&a.name, &a.machine_id).cmp(&(&b.name, &b.machine_id)));
    let machines = legends(context, &columns).await;
    print(context, &columns, &states, &machines)
}

/// `list-unit-files`
pub async fn unit_files(context: &Context) -> Result<u8, Failed> {
    let columns = columns(context, FILES, "unit,hash,dstate,state,target")?;
    if columns.iter().any(|(name, _)| *name == "tmachine") {
        say::warn("WARNING: The \"tmachine\" field is deprecated. Use \"target\" instead");
    }
    let failed = |error| Failed::new(format!("Error retrieving list of units from repository: {error}"));
    let mut units = context.client.units().await.map_err(failed)?;
    units.sort_by(|a, b| a.name.cmp(&b.name));
    let machines = legends(context, &columns).await;
    let files: Vec<File> = units.into_iter().map(File::of).collect();
    print(context, &columns, &files, &machines)
}

impl File {
    fn of(unit: UnitJson) -> Self {
        let text = text_of(&unit);
        let global = Requirements::of(&text, &unit.name).global;
        Self { global, hash: text.hash(), description: text.description(), unit }
    }
}

impl Legend<'_> {
    fn id(&self, id: &str) -> String {
        if self.full { id.to_owned() } else { MachineId(id.to_owned()).short() }
    }

    fn machine(&self, id: &str) -> String {
        if id.is_empty() { "-".to_owned() } else { with_ip(self.id(id), id, self.machines) }
    }

    fn hash<'h>(&self, hash: &'h str) -> &'h str {
        if self.full { hash } else { hash.get(..SHORT_HASH).unwrap_or(hash) }
    }
}

/// A machine in messages: the short id, and the address if it is known.
pub fn machine_legend(id: &str, machines: &Machines) -> String {
    with_ip(MachineId(id.to_owned()).short(), id, machines)
}

fn with_ip(shown: String, id: &str, machines: &Machines) -> String {
    match machines.get(id).filter(|machine| !machine.primary_ip.is_empty()) {
        Some(machine) => format!("{shown}/{}", machine.primary_ip),
        None => shown,
    }
}

/// The machines by id; none where they cannot be read: then ids are shown without addresses.
pub async fn known_machines(context: &Context) -> Machines {
    let machines = context.client.machines().await.unwrap_or_default();
    machines.into_iter().map(|machine| (machine.id.clone(), machine)).collect()
}

async fn legends<T>(context: &Context, columns: &[(&str, Column<T>)]) -> Machines {
    if columns.iter().any(|(name, _)| matches!(*name, "machine" | "target" | "tmachine")) {
        known_machines(context).await
    } else {
        Machines::new()
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn columns<T>(
    context: &Context,
    known: &'static [(&'static str, Column<T>)],
    default: &'static str,
) -> Result<Vec<(&'static str, Column<T>)>, Failed> {
    let asked = context.parsed.value("fields").unwrap_or(default);
    if asked.is_empty() {
        return Err(Failed::new("Must define output format"));
    }
    let column = |name: &str| {
        let found = known.iter().find(|(known, _)| *known == name);
        found.copied().ok_or_else(|| Failed::new(format!("Invalid key in output format: {name:?}")))
    };
    asked.split(',').map(column).collect()
}

fn print<T>(context: &Context, columns: &[(&str, Column<T>)], rows: &[T], machines: &Machines) -> Result<u8, Failed> {
    let legend = Legend { machines, full: context.parsed.truth("full")? };
    let header = !context.parsed.truth("no-legend")?;
    say::out(&render(columns, rows, &legend, header));
    Ok(0)
}

fn render<T>(columns: &[(&str, Column<T>)], rows: &[T], legend: &Legend<'_>, header: bool) -> String {
    let mut lines: Vec<Vec<String>> = Vec::new();
    if header {
        lines.push(columns.iter().map(|(name, _)| name.to_uppercase()).collect());
    }
    lines.extend(rows.iter().map(|row| columns.iter().map(|(_, column)| column(row, legend)).collect()));
    table::format(&lines)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::unit::UnitText;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn pick<T>(known: &'static [(&'static str, Column<T>)], names: &str) -> Vec<(&'static str, Column<T>)> {
        names.split(',').map(|name| *known.iter().find(|(known, _)| *known == name).unwrap()).collect()
    }

    fn machine() -> MachineJson {
        let metadata = [("region".to_owned(), "r1".to_owned()), ("node".to_owned(), "n1".to_owned())];
        MachineJson { id: ID.into(), primary_ip: "127.0.1.1".into(), metadata: metadata.into() }
    }

    #[test]
    fn lists_are_set_as_fleetctl_sets_them() {
        let machines = Machines::from([(ID.to_owned(), machine())]);
        let short = Legend { machines: &machines, full: false };
        let full = Legend { machines: &machines, full: true };
        let nobody = Machines::new();
        let unknown = Legend { machines: &nobody, full: false };

        let columns = pick(MACHINES, "machine,ip,metadata");
        let list = render(&columns, &[machine()], &short, true);
        assert_eq!(list, "MACHINE\t\tIP\t\tMETADATA\n01234567...\t127.0.1.1\tnode=n1,region=r1\n");
        let bare = MachineJson { id: ID.into(), ..MachineJson::default() };
        assert_eq!(render(&columns, &[bare], &full, false), format!("{ID}\t-\t-\n"));

        let state = UnitStateJson {
            name: "hello.service".into(),
            machine_id: ID.into(),
            active: "active".into(),
            sub: "running".into(),
            load: "loaded".into(),
            hash: "3750b3e9f3962a56c7582929426e9abb012754cf".into(),
            ..UnitStateJson::default()
        };
        let columns = pick(UNITS, "unit,machine,active,sub");
        let states = [state];
        assert_eq!(
            render(&columns, &states, &short, true),
            "UNIT\t\tMACHINE\t\t\tACTIVE\tSUB\nhello.service\t01234567.../127.0.1.1\tactive\trunning\n"
        );
        assert_eq!(render(&columns, &states, &unknown, false), "hello.service\t01234567...\tactive\trunning\n");
        assert_eq!(
            render(&columns, &states, &full, true),
            format!("UNIT\t\tMACHINE\t\t\t\t\t\tACTIVE\tSUB\nhello.service\t{ID}/127.0.1.1\tactive\trunning\n")
        );
        assert_eq!(render(&pick(UNITS, "hash,load"), &states, &short, false), "3750b3e\tloaded\n");
        assert_eq!(render(&columns, &[], &short, true), "UNIT\tMACHINE\tACTIVE\tSUB\n");
        assert_eq!(render(&columns, &[], &short, false), "");
    }

    #[test]
    fn unit_files_show_what_follows_from_their_text() {
        let text = "[Unit]\nDescription=Says hello\n\n[Service]\nExecStart=/bin/true\n";
        let file = |text: &str, current: &str, machine: &str| {
            let options = UnitText::parse(text).unwrap();
            File::of(UnitJson {
                name: "a.service".into(),
                desired_state: "launched".into(),
                current_state: current.into(),
                machine_id: machine.into(),
                options: options.options().iter().map(Into::into).collect(),
            })
        };
        let nobody = Machines::new();
        let legend = Legend { machines: &nobody, full: false };
        let columns = pick(FILES, "unit,dstate,state,target,global,desc");
        let rows = [file(text, "inactive", ""), file(text, "launched", ID), file("[X-Fleet]\nGlobal=yes\n", "", "")];
        assert_eq!(
            render(&columns, &rows, &legend, false),
            "a.service\tlaunched\tinactive\t-\t\tfalse\tSays hello\n\
             a.service\tlaunched\tlaunched\t01234567...\tfalse\tSays hello\n\
             a.service\tlaunched\t-\t\tglobal\t\ttrue\t-\n"
        );
        let hash = UnitText::parse(text).unwrap().hash();
        assert_eq!(render(&pick(FILES, "hash"), &rows[..1], &legend, true), format!("HASH\n{}\n", &hash[..7]));
    }
}
