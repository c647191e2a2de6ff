//! `node ctl exec`: a command in a unit, wherever it runs.

use anyhow::Context as _;

use super::client;
use crate::ctl::args::{Flag, Parsed};
use crate::ctl::fleetctl::client::escape;
use crate::ctl::{node_ctl, terminal};
use crate::fleet::session::Command;
use crate::unit::container;
use crate::unit::name::from_argument;

pub const HELP: &str = "\
node ctl exec: run a command in a unit, wherever it is.

  $ node ctl exec web@1.container -- ls -l /srv        its output, and its exit code
  $ node ctl exec -it web@1.container -- sh            a shell, on a terminal
  $ node ctl exec -i web@1 -- sh -c 'cat > /tmp/x' < x

In a container it runs as the container's engine has it, beside a service as the service's main process does: as its
user, in its directory and namespaces, with its environment. The unit has to run. While users are asked for, this
takes the role fleet-exec; until then only a unix socket of the unit's own machine will do.

  -i                passes standard input on
  -t                gives it a terminal
  --machine ID      of a unit that is on several machines
  --endpoint URL    as for the other commands
";

pub const FLAGS: &[Flag] = &[
    Flag { names: &["interactive", "i"], value: false, variable: None, help: "pass standard input on" },
    Flag { names: &["tty", "t"], value: false, variable: None, help: "give it a terminal" },
    Flag { names: &["it", "ti"], value: false, variable: None, help: "both" },
    Flag { names: &["machine"], value: true, variable: None, help: "the machine, by its id" },
];

/// Runs a command; its exit code, 126 where it cannot be run, 255 where nothing is known of its end.
pub async fn run(parsed: &Parsed, words: &[String]) -> anyhow::Result<u8> {
    let ([_, unit], false) = (parsed.words.as_slice(), words.is_empty()) else {
        return Ok(node_ctl::misunderstood("`exec` takes a unit, `--` and a command"));
    };
    let both = parsed.truth("it")?;
    let terminal = match both || parsed.truth("tty")? {
        true => Some(terminal::own().context("-t: standard input and output have to be a terminal")?),
        false => None,
    };
    let command = Command { words: words.to_vec(), stdin: both || parsed.truth("interactive")?, terminal };
    let client = client(parsed).await?;
    let machine = parsed.value("machine").map(|id| format!("?machine={id}")).unwrap_or_default();
    let path = |name: &str| format!("exec/{}{machine}", escape(name));
    let name = from_argument(unit);
    let ended = match client.session(&path(&name), &command).await {
        // A bare name may be a container's, too.
        Err(error) if error.is_missing() && name != *unit => {
            let container = format!("{unit}.{}", container::SUFFIX);
            client
                .session(&path(&container), &command)
                .await
                .map_err(|other| if other.is_missing() { error } else { other })
        }
        ended => ended,
    };
    ended.map_err(|error| anyhow::anyhow!("exec {unit}: {}", error.told()))
}
