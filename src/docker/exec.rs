//! Commands that people run in a unit's container, by the engine's own `exec`.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::{ResizeExecOptions, StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use futures_util::{Stream, StreamExt as _};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::engine::{self, EngineError, Stage};
use super::shared::{Link, Shared};
use crate::base::BoxFuture;
use crate::base::limits::{SESSION_HANG_UP_MS, SESSION_PIECES_MAX};
use crate::fleet::executor::ExecutorError;
use crate::fleet::session::{Command, Input, Output, Session, SessionInput, SessionOutput, Size};

type Said = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;
type Stdin = Pin<Box<dyn AsyncWrite + Send>>;

/// Runs a command in the container of a unit.
///
/// # Errors
/// There is no such unit, its container does not run, or the engine refuses.
pub async fn open(shared: &Shared, name: &str, command: &Command) -> Result<Session, ExecutorError> {
    let refused = |reason: String| ExecutorError::Unsupported { unit: name.to_owned(), reason };
    let failed = |error: EngineError| ExecutorError::Failed {
        unit: name.to_owned(),
        doing: format!("running {}", command.name()),
        reason: error.to_string(),
    };
    let container = {
        let board = shared.board();
        let entry = board.units.get(name).ok_or_else(|| ExecutorError::NotLoaded { unit: name.to_owned() })?;
        entry.wish.borrow().container.name.clone()
    };
    let docker = match &*shared.link.borrow() {
        Link::Up(docker) => docker.clone(),
        Link::Away(reason) => return Err(failed(EngineError::Away(reason.clone()))),
    };
    match engine::look(&docker, &container).await.map_err(failed)? {
        Some(seen) if matches!(seen.stage, Stage::Running(_)) => {
            let running = begin(&docker, &seen.id, command).await.map_err(failed)?;
            let (to, inputs) = mpsc::channel(SESSION_PIECES_MAX);
            let (outputs, from) = mpsc::channel(SESSION_PIECES_MAX);
            tokio::spawn(running.attend(inputs, outputs));
            Ok(Session { input: Box::new(Inward(to)), output: Box::new(Outward(from)) })
        }
        _ => Err(refused("its container does not run".to_owned())),
    }
}

async fn begin(docker: &Docker, container: &str, command: &Command) -> Result<Running, EngineError> {
    let terminal = command.terminal.as_ref();
    let options = ExecConfig {
        attach_stdin: Some(command.stdin),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(terminal.is_some()),
        env: terminal.map(|terminal| vec![format!("TERM={}", terminal.kind)]),
        cmd: Some(command.words.clone()),
        console_size: terminal.map(|terminal| vec![terminal.size.height.into(), terminal.size.width.into()]),
        ..ExecConfig::default()
    };
    let id = docker.create_exec(container, options).await?.id;
    let options = StartExecOptions { detach: false, tty: terminal.is_some(), output_capacity: None };
    let StartExecResults::Attached { output, input } = docker.start_exec(&id, Some(options)).await? else {
        return Err(EngineError::Refused("the engine did not attach to it".to_owned()));
    };
    // Engines before Docker's API 1.42 know the size only once it is told them so.
    if let Some(terminal) = terminal {
        resize(docker, &id, terminal.size).await;
    }
    Ok(Running { docker: docker.clone(), id, said: output, stdin: command.stdin.then_some(input) })
}

/// A command in a container.
struct Running {
    docker: Docker,
    id: String,
    said: Said,
    stdin: Option<Stdin>,
}

async fn resize(docker: &Docker, id: &str, size: Size) {
    let size = ResizeExecOptions { height: size.height, width: size.width };
    if let Err(error) = docker.resize_exec(id, size).await {
        tracing::debug!(%error, "a terminal in a container keeps its size");
    }
}

impl Running {
    /// Stays with it to its end.
    async fn attend(self, inputs: mpsc::Receiver<Input>, outputs: mpsc::Sender<Output>) {
        let Self { docker, id, mut said, stdin } = self;
        let ended = tokio::select! {
            ended = listen(&mut said, &outputs) => ended,
            never = feed(&docker, &id, stdin, inputs) => match never {},
        };
        if ended {
            // Whoever has gone meanwhile needs no end.
            let _ = outputs.send(end(&docker, &id).await).await;
        } else {
            hang_up(&docker, &id, said).await;
        }
    }
}

/// Hands on what comes for a command. What it does not read any more is thrown away.
async fn feed(docker: &Docker, id: &str, mut stdin: Option<Stdin>, mut inputs: mpsc::Receiver<Input>) -> Infallible {
    while let Some(input) = inputs.recv().await {
        match (input, &mut stdin) {
            (Input::Bytes(bytes), Some(to)) => {
                let written = async {
                    to.write_all(&bytes).await?;
                    to.flush().await
                };
                if written.await.is_err() {
                    stdin = None;
                }
            }
            (Input::End, Some(to)) => {
                // A command that has closed its input already needs no end of it.
                let _ = to.shutdown().await;
                stdin = None;
            }
            (Input::Resize(size), _) => resize(docker, id, size).await,
            _ => {}
        }
    }
    std::future::pending().await
}

/// How a command ended.
async fn end(docker: &Docker, id: &str) -> Output {
    match docker.inspect_exec(id).await.map_err(EngineError::from) {
        Ok(found) => match found.exit_code.and_then(|code| i32::try_from(code).ok()) {
            Some(code) if found.running != Some(true) => Output::Ended(code),
            _ => Output::Lost("the engine has let go of it before it ended".to_owned()),
        },
        Err(error) => Output::Lost(error.to_string()),
    }
}

/// Ends a command whose client has gone. The engine has no call for that: it tells the process, which is one of this machine.
async fn hang_up(docker: &Docker, id: &str, mut said: Said) {
    let found = docker.inspect_exec(id).await;
    let pid = found.ok().filter(|found| found.running == Some(true)).and_then(|found| found.pid);
    let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) else { return };
    for signal in [Signal::HUP, Signal::KILL] {
        if let Err(error) = kill_process(pid, signal) {
            tracing::warn!(%error, "a command in a container whose client has gone is not ended");
            return;
        }
        let ended = async { while said.next().await.is_some() {} };
        if tokio::time::timeout(Duration::from_millis(SESSION_HANG_UP_MS), ended).await.is_ok() {
            return;
        }
    }
}

/// Hands on what a command says until it has ended; `false`: nobody listens any more.
async fn listen(said: &mut Said, outputs: &mpsc::Sender<Output>) -> bool {
    loop {
        let piece = tokio::select! {
            () = outputs.closed() => return false,
            piece = said.next() => piece,
        };
        let piece = match piece {
            Some(Ok(LogOutput::StdErr { message })) => Output::Stderr(message.to_vec()),
            Some(Ok(LogOutput::StdOut { message } | LogOutput::Console { message })) => {
                Output::Stdout(message.to_vec())
            }
            Some(Ok(LogOutput::StdIn { .. })) => continue,
            // How it ended tells what this means.
            Some(Err(_)) | None => return true,
        };
        if outputs.send(piece).await.is_err() {
            return false;
        }
    }
}

struct Inward(mpsc::Sender<Input>);

impl SessionInput for Inward {
    fn send(&mut self, input: Input) -> BoxFuture<'_, bool> {
        Box::pin(async move { self.0.send(input).await.is_ok() })
    }
}

struct Outward(mpsc::Receiver<Output>);

impl SessionOutput for Outward {
    fn next(&mut self) -> BoxFuture<'_, Option<Output>> {
        Box::pin(self.0.recv())
    }
}
