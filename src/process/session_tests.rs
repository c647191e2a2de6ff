//! Commands as people run them: streams, exit codes, terminals, and clients that go away.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::fleet::session::Terminal;

fn sh(script: &str) -> Command {
    Command { words: ["sh", "-c", script].map(str::to_owned).to_vec(), ..Command::default() }
}

/// What a command prints to both streams, and how it ends.
async fn heard(session: &mut Session) -> (String, String, Output) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match tokio::time::timeout(Duration::from_secs(60), session.output.next()).await.unwrap().unwrap() {
            Output::Stdout(bytes) => out.extend(bytes),
            Output::Stderr(bytes) => err.extend(bytes),
            last => return (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), last),
        }
    }
}

#[tokio::test]
async fn streams_and_exit_codes_are_passed_on() {
    let own = std::process::id();
    let mut session = beside(own, &sh("pwd; echo wrong >&2; exit 3")).unwrap();
    let (out, err, end) = heard(&mut session).await;
    assert_eq!(out.trim(), std::env::current_dir().unwrap().to_string_lossy());
    assert_eq!((err.as_str(), end), ("wrong\n", Output::Ended(3)));
    assert_eq!(heard(&mut beside(own, &sh("kill -9 $$")).unwrap()).await.2, Output::Ended(137));

    let mut session = beside(own, &Command { stdin: true, ..sh("cat; echo end") }).unwrap();
    assert!(session.input.send(Input::Bytes(b"in ".to_vec())).await && session.input.send(Input::End).await);
    assert_eq!(heard(&mut session).await.0, "in end\n");
    // A child that goes on holding the streams is not waited for.
    assert_eq!(heard(&mut beside(own, &sh("sleep 60 & echo $!")).unwrap()).await.2, Output::Ended(0));

    let missing = Command { words: vec!["/no/such/program".to_owned()], ..Command::default() };
    assert!(beside(own, &missing).err().unwrap().starts_with("/no/such/program: "));
    assert!(beside(own, &Command::default()).is_err());
    let mut session = on_machine(&Command { words: vec!["exit 4; echo".into(), "x".into()], ..Command::default() });
    assert_eq!(heard(session.as_mut().unwrap()).await.2, Output::Ended(4));
}

#[tokio::test]
async fn a_terminal_has_a_size_and_a_kind() {
    let size = |width, height| Size { width, height };
    let terminal = Terminal { kind: "vt100".to_owned(), size: size(91, 33) };
    let command = Command {
        terminal: Some(terminal),
        stdin: true,
        ..sh("test -t 2 && echo $TERM; stty size; read x; stty size; cat")
    };
    let mut session = beside(std::process::id(), &command).unwrap();
    let mut seen = String::new();
    while !seen.contains("33 91") {
        let Some(Output::Stdout(bytes)) = session.output.next().await else { panic!("{seen}") };
        seen += &String::from_utf8(bytes).unwrap();
    }
    session.input.send(Input::Resize(size(70, 20))).await;
    session.input.send(Input::Bytes(b"x\n".to_vec())).await;
    session.input.send(Input::End).await;
    let (out, _, end) = heard(&mut session).await;
    assert_eq!(end, Output::Ended(0));
    seen += &out;
    assert!(seen.contains("vt100") && seen.contains("20 70"), "{seen}");
}

#[tokio::test]
async fn a_command_ends_when_nobody_listens_any_more() {
    for script in ["echo $$; sleep 1000", "trap '' HUP; echo $$; while :; do sleep 1; done"] {
        let mut session = beside(std::process::id(), &sh(script)).unwrap();
        let Some(Output::Stdout(pid)) = session.output.next().await else { panic!("no pid") };
        let pid: u32 = String::from_utf8(pid).unwrap().trim().parse().unwrap();
        assert!(processes::alive(pid));
        drop(session);
        let gone = async {
            while processes::alive(pid) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap();
    }
}
