//! Passwords from a terminal, which does not show them, or from a pipe.

use std::io::{BufRead as _, IsTerminal as _, Write as _, stdin};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::Failed;

/// Shows again what is typed, whatever happens meanwhile.
struct Quiet(Option<Termios>);

impl Quiet {
    fn begin() -> Self {
        let before = tcgetattr(stdin()).ok();
        if let Some(before) = &before {
            let mut silent = before.clone();
            silent.local_modes.remove(LocalModes::ECHO);
            // Where it does not work, the password is shown and read all the same.
            let _ = tcsetattr(stdin(), OptionalActions::Flush, &silent);
        }
        Self(before)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(stdin(), OptionalActions::Flush, before);
        }
    }
}

/// One line of standard input; asked for with `prompt` where somebody is there to read that.
pub fn ask(prompt: &str) -> Result<String, Failed> {
    let somebody = stdin().is_terminal();
    let failed = |error: std::io::Error| Failed::usage(format!("reading a password: {error}"));
    let mut line = String::new();
    if somebody {
        eprint!("{prompt}");
        std::io::stderr().flush().map_err(failed)?;
        let _quiet = Quiet::begin();
        stdin().lock().read_line(&mut line).map_err(failed)?;
        eprintln!();
    } else {
        stdin().lock().read_line(&mut line).map_err(failed)?;
    }
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}
