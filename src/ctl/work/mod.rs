//! `node ctl` about what units do: containers started from a command line, what units print on all machines, commands in them.

mod exec;
mod follow;
mod lines;
mod logs;
mod run;

use super::args::{Flag, Parsed};
use super::fleetctl::client::Client;
use super::node_ctl;

/// The commands.
pub const COMMANDS: [&str; 3] = ["run", "logs", "exec"];

/// Runs one of [`COMMANDS`]: 0 where it did what was asked, 2 for a command line that cannot be understood; `exec` ends as the command
/// that it ran did.
///
/// # Errors
/// Where the node does not answer, or refuses.
pub fn run(command: &str, arguments: &[String]) -> anyhow::Result<u8> {
    let (own, words) = split(arguments, command);
    let (flags, help): (&'static [Flag], _) = match command {
        "run" => (run::FLAGS, run::HELP),
        "logs" => (logs::FLAGS, logs::HELP),
        _ => (exec::FLAGS, exec::HELP),
    };
    let parsed = match node_ctl::understood(&own, &[node_ctl::FLAGS, flags], help) {
        Ok(parsed) => parsed,
        Err(code) => return Ok(code),
    };
    let runtime = node_ctl::runtime()?;
    let code = runtime.block_on(async {
        match command {
            "run" => run::run(&parsed, &words).await,
            "logs" => logs::run(&parsed).await,
            _ => exec::run(&parsed, &words).await,
        }
    });
    // A read of standard input that nobody waits for any more must not keep the process.
    runtime.shutdown_background();
    code
}

/// Who is asked, and as whom.
async fn client(parsed: &Parsed) -> anyhow::Result<Client> {
    let contact = node_ctl::contact(parsed).await?;
    Ok(Client::with(node_ctl::addresses(parsed)?, contact.authorization()))
}

/// What is for this program, and the command that it is to run elsewhere: behind `--`, or behind the first word after the verb.
/// Of `logs` all words are its own.
fn split(arguments: &[String], command: &str) -> (Vec<String>, Vec<String>) {
    let own_words = if command == "logs" { usize::MAX } else { 2 };
    let takes_value = |word: &str| {
        let name = word.trim_start_matches('-');
        let mut all = node_ctl::FLAGS.iter().chain(exec::FLAGS).chain(run::FLAGS);
        word.starts_with('-') && all.any(|flag| flag.value && flag.names.contains(&name))
    };
    let (mut at, mut words) = (0, 0);
    while let Some(word) = arguments.get(at) {
        if word == "--" || words == own_words && !word.starts_with('-') {
            let rest = &arguments[at..];
            return (arguments[..at].to_vec(), rest.strip_prefix(&["--".to_owned()]).unwrap_or(rest).to_vec());
        }
        words += usize::from(!word.starts_with('-'));
        at += if takes_value(word) { 2 } else { 1 };
    }
    (arguments.to_vec(), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_run_is_told_from_flags() {
        let cases = [
            ("exec web -- ls -l", "exec web", "ls -l"),
            ("exec -it web sh -c x", "exec -it web", "sh -c x"),
            ("exec --machine m web -- -x -- y", "exec --machine m web", "-x -- y"),
            ("--endpoint run exec -i web", "--endpoint run exec -i web", ""),
            ("run --name a nginx nginx -g x", "run --name a nginx", "nginx -g x"),
            ("run nginx --name a", "run nginx --name a", ""),
            ("run -e A=1 nginx", "run -e A=1 nginx", ""),
        ];
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (line, own, command) in cases {
            let verb = if line.contains("exec") { "exec" } else { "run" };
            assert_eq!(split(&words(line), verb), (words(own), words(command)), "{line}");
        }
        assert_eq!(split(&words("logs a b c"), "logs").0.len(), 4);
    }
}
