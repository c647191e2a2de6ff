//! Commands with an end, without one, and with others in the background.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::{Duration, Instant};

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_command_has_its_output_and_its_end() {
    assert_eq!(run("echo out; echo err >&2", LIMIT).await.unwrap(), b"out\nerr\n");
    let failed = run("echo no; exit 3", LIMIT).await.unwrap_err();
    assert_eq!((failed.to_string().as_str(), failed.output()), ("exit status 3", b"no\n".as_slice()));
    assert_eq!(run("kill -9 $$", LIMIT).await.unwrap_err().to_string(), "signal 9");
    assert_eq!(run("head -c 1000000 /dev/zero", LIMIT).await.unwrap().len(), 64 << 10);
    // Its output closed, it still runs on; its end counts.
    assert_eq!(run("exec >&- 2>&-; sleep 0.1; exit 4", LIMIT).await.unwrap_err().to_string(), "exit status 4");
}

#[tokio::test]
async fn what_runs_on_in_the_background_is_not_waited_for() {
    let started = Instant::now();
    assert!(!run("sleep 30 & echo $!", LIMIT).await.unwrap().is_empty());
    // Nor does its chatter hide the end.
    run("(while echo y; do :; done) & exit 0", LIMIT).await.unwrap();
    assert!(started.elapsed() < LIMIT);
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let line = format!("sleep 600 & echo $! > {}.part; mv {0}.part {0}; echo begun; wait", pid_file.display());
    let failed = run(&line, Duration::from_millis(1_000)).await.unwrap_err();
    assert!(matches!(&failed, CommandError::TimedOut { .. }), "{failed:?}");
    assert_eq!(failed.output(), b"begun\n");
    let pid = fs::read_to_string(&pid_file).unwrap();
    let gone = || fs::read_to_string(format!("/proc/{}/stat", pid.trim())).map_or(true, |stat| stat.contains(") Z "));
    let deadline = Instant::now() + LIMIT;
    while !gone() {
        assert!(Instant::now() < deadline, "process {pid} lives on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
