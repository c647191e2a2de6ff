//! What goes over the system's ssh, and through pipes: shells on machines where nobody is asked who he is, commands where a
//! fleetd of old is asked, and the far end of a tunnel.

use std::process::Stdio;

use tokio::process::Command;

use super::find::is_global;
use super::list::known_machines;
use super::{Context, Failed, exec};
use crate::api::fleet::model::MachineJson;
use crate::ctl::args::Parsed;
use crate::net::{Address, connect};
use crate::unit::name::from_argument;

/// How long the socket of `fd-forward` may take to accept.
const CONNECT_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);
/// Why there is no machine to connect to, where the cluster could be asked: none, or several.
const NOT_ONE: [&str; 2] = ["machine does not exist", "found more than one machine"];
/// What ssh itself ends with when it cannot connect.
const SSH_FAILED: u8 = 255;

/// ssh's options from the command line: user, time limit, host keys, port.
pub fn ssh_options(parsed: &Parsed) -> Result<Vec<String>, Failed> {
    let mut options = vec!["-l".to_owned(), parsed.value("ssh-username").unwrap_or("core").to_owned()];
    let mut option = |text: String| options.extend(["-o".to_owned(), text]);
    let seconds: f64 = parsed.number("ssh-timeout")?.unwrap_or(10.0);
    option(format!("ConnectTimeout={}", (seconds.clamp(1.0, 3600.0)).ceil()));
    if parsed.value("strict-host-key-checking").is_some() && !parsed.truth("strict-host-key-checking")? {
        option("StrictHostKeyChecking=no".to_owned());
        option("UserKnownHostsFile=/dev/null".to_owned());
    } else if let Some(file) = parsed.value("known-hosts-file") {
        option(format!("UserKnownHostsFile={file}"));
    }
    Ok(options)
}

/// ssh's options for a machine of the cluster: those of [`ssh_options`], the port, and the bastion.
fn machine_options(parsed: &Parsed) -> Result<Vec<String>, Failed> {
    let mut options = ssh_options(parsed)?;
    if let Some(port) = parsed.number::<u16>("ssh-port")? {
        options.extend(["-p".to_owned(), port.to_string()]);
    }
    if let Some(bastion) = parsed.value("tunnel").filter(|host| !host.is_empty()) {
        let user = parsed.value("ssh-username").unwrap_or("core");
        options.extend(["-J".to_owned(), format!("{user}@{bastion}")]);
    }
    Ok(options)
}

/// `ssh`
pub async fn ssh(context: &Context) -> Result<u8, Failed> {
    let parsed = &context.parsed;
    let proceed = |error: String| Failed::new(format!("Unable to proceed: {error}"));
    let mut command = context.words.as_slice();
    let machine = match (parsed.value("machine"), parsed.value("unit")) {
        (Some(_), Some(_)) => {
            return Err(Failed::new("Both machine and unit flags provided, please specify only one."));
        }
        (Some(id), None) => of_machine(context, id).await.map_err(proceed)?,
        (None, Some(unit)) => of_unit(context, unit).await.map_err(proceed)?,
        (None, None) => {
            let (first, rest) =
                command.split_first().ok_or_else(|| proceed("one machine or unit must be provided".to_owned()))?;
            command = rest;
            // A unit that is on no machine leads nowhere.
            let of_unit = of_unit(context, first).await.and_then(|machine| match machine.id.is_empty() {
                true => Err(NOT_ONE[0].to_owned()),
                false => Ok(machine),
            });
            match (of_machine(context, first).await, of_unit) {
                (Ok(_), Ok(_)) => {
                    return Err(proceed(format!(
                        "ambiguous argument, both machine and unit found for `{first}`.\nPlease use flag `--machine` or `--unit` to refine the search"
                    )));
                }
                (Ok(machine), Err(_)) | (Err(_), Ok(machine)) => machine,
                (Err(error), Err(_)) if !NOT_ONE.contains(&error.as_str()) => return Err(proceed(error)),
                (Err(_), Err(_)) => return Err(proceed("could not find matching unit or machine".to_owned())),
            }
        }
    };
    if !machine.id.is_empty()
        && let Some(code) = exec::on_machine(context, &machine.id, command).await?
    {
        return Ok(code);
    }
    if machine.primary_ip.is_empty() {
        return Err(Failed::new("Could not determine address of machine."));
    }
    let mut arguments = machine_options(parsed)?;
    if parsed.truth("forward-agent")? {
        arguments.push("-A".to_owned());
    }
    arguments.push(machine.primary_ip);
    if !command.is_empty() {
        arguments.extend(["--".to_owned(), command.join(" ")]);
    }
    exit_of("ssh", &arguments).await
}

async fn of_machine(context: &Context, prefix: &str) -> Result<MachineJson, String> {
    let machines = context.client.machines().await.map_err(|error| error.to_string())?;
    let mut matching = machines.into_iter().filter(|machine| machine.id.starts_with(prefix));
    match (matching.next(), matching.next()) {
        (Some(machine), None) => Ok(machine),
        (Some(_), Some(_)) => Err(NOT_ONE[1].to_owned()),
        (None, _) => Err(NOT_ONE[0].to_owned()),
    }
}

async fn of_unit(context: &Context, word: &str) -> Result<MachineJson, String> {
    let unit = context.client.unit(&from_argument(word)).await.map_err(|error| error.to_string())?;
    let unit = unit.ok_or("unit does not exist")?;
    if is_global(&unit) {
        return Err("global units unsupported".to_owned());
    }
    let mut machines = known_machines(context).await;
    let unknown = MachineJson { id: unit.machine_id.clone(), ..MachineJson::default() };
    Ok(machines.remove(&unit.machine_id).unwrap_or(unknown))
}

/// Runs a command on a machine: here if it is this one, else by ssh.
pub async fn on_machine(context: &Context, machine: &str, command: &[&str]) -> Result<u8, Failed> {
    let local = std::fs::read_to_string("/etc/machine-id").is_ok_and(|id| !machine.is_empty() && id.trim() == machine);
    if let (true, [program, arguments @ ..]) = (local, command) {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        return exit_of(program, &arguments).await;
    }
    let machines = known_machines(context).await;
    let address = machines.get(machine).map(|machine| machine.primary_ip.clone()).unwrap_or_default();
    if address.is_empty() {
        return Err(Failed::new(format!(
            "Error getting machine IP: machine {machine:?} has none, or is not in the cluster"
        )));
    }
    let quoted = shlex::try_join(command.iter().copied())
        .map_err(|error| Failed::new(format!("cannot pass {command:?} on: {error}")))?;
    let mut arguments = machine_options(&context.parsed)?;
    arguments.extend([address, "--".to_owned(), quoted]);
    exit_of("ssh", &arguments).await
}

/// Runs a program to its end, on our own standard streams.
async fn exit_of(program: &str, arguments: &[String]) -> Result<u8, Failed> {
    let status = Command::new(program).args(arguments).status().await;
    let status = status.map_err(|error| Failed::new(format!("Error running {program}: {error}")))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(SSH_FAILED))
}

/// `fd-forward`: standard input and output to a unix socket, until one side ends.
pub async fn fd_forward(words: &[String]) -> Result<u8, Failed> {
    let [path] = words else {
        return Err(Failed::new("Provide a single argument"));
    };
    let address = Address::Unix(path.into());
    let connection = connect(&address, CONNECT_WITHIN).await;
    let connection = connection.map_err(|error| Failed::new(format!("Failed dialing remote address: {error}")))?;
    let (mut from, mut to) = tokio::io::split(connection);
    let (mut stdin, mut stdout) = (tokio::io::stdin(), tokio::io::stdout());
    let inward = async {
        tokio::io::copy(&mut stdin, &mut to).await?;
        tokio::io::AsyncWriteExt::shutdown(&mut to).await?;
        // What the socket still has to say is waited for.
        std::future::pending::<std::io::Result<u64>>().await
    };
    let copied = tokio::select! {
        copied = tokio::io::copy(&mut from, &mut stdout) => copied,
        copied = inward => copied,
    };
    copied.map_err(|error| Failed::new(format!("{path}: {error}")))?;
    Ok(0)
}

/// Runs a program without input and output of its own; says what it printed if it failed.
pub async fn quietly(program: &str, arguments: &[String]) -> Result<(), String> {
    // What ssh asks (passwords, host keys) it asks on the terminal.
    let run = Command::new(program).args(arguments).stdout(Stdio::null()).stdin(Stdio::inherit()).status().await;
    match run {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program}: {status}")),
        Err(error) => Err(format!("{program}: {error}")),
    }
}
