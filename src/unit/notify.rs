//! What a unit says of itself: the messages of systemd's sd_notify(3).

/// One thing said in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    Ready,
    Stopping,
    MainPid(u32),
    Status(String),
    ExtendTimeoutMs(u64),
}

/// What a message says; what is not known in it is passed over.
pub fn parse(message: &str) -> Vec<Note> {
    let one = |line: &str| {
        let (name, value) = line.split_once('=')?;
        match (name, value) {
            ("READY", "1") => Some(Note::Ready),
            ("STOPPING", "1") => Some(Note::Stopping),
            ("MAINPID", pid) => pid.parse().ok().filter(|pid| *pid > 1).map(Note::MainPid),
            ("STATUS", text) => Some(Note::Status(text.to_owned())),
            ("EXTEND_TIMEOUT_USEC", us) => us.parse().ok().map(|us: u64| Note::ExtendTimeoutMs(us / 1000)),
            _ => None,
        }
    };
    let mut notes: Vec<Note> = message.lines().filter_map(one).collect();
    // Who becomes the main process must be known before that it is ready.
    notes.sort_by_key(|note| !matches!(note, Note::MainPid(_)));
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_messages() {
        assert_eq!(
            parse("READY=1\nSTATUS=a=b\nMAINPID=42\nFDSTORE=1\nnonsense\nMAINPID=x\nREADY=0\n"),
            [Note::MainPid(42), Note::Ready, Note::Status("a=b".to_owned())]
        );
        assert_eq!(parse("STOPPING=1\nEXTEND_TIMEOUT_USEC=2000000"), [Note::Stopping, Note::ExtendTimeoutMs(2000)]);
        assert!(parse("").is_empty());
    }
}
