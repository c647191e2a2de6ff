//! The words that a service is spoken of in: its kinds, states and ends, and the rules that its text gives it.

pub use crate::unit::service::{Ended, ExitSet, Restart};

/// The commands of a unit, in the groups in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    Condition,
    StartPre,
    Start,
    StartPost,
    Reload,
    Stop,
    StopPost,
}

/// `Type=`: when a unit counts as started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Simple,
    Exec,
    Oneshot,
    Notify,
    Forking,
}

/// `KillMode=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KillMode {
    #[default]
    ControlGroup,
    Mixed,
    Process,
    None,
}

/// Why a unit is down, or about to be: systemd's `Result=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    #[default]
    Success,
    ExitCode,
    Signal,
    CoreDump,
    Timeout,
    Protocol,
    StartLimitHit,
    ExecCondition,
}

impl Outcome {
    /// As systemd spells it in `Result=` and `$SERVICE_RESULT`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ExitCode => "exit-code",
            Self::Signal => "signal",
            Self::CoreDump => "core-dump",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::StartLimitHit => "start-limit-hit",
            Self::ExecCondition => "exec-condition",
        }
    }
}

/// Where a service is; the names are systemd's sub states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Dead,
    Condition,
    StartPre,
    Start,
    StartPost,
    Running,
    Exited,
    Reload,
    Stop,
    StopSigterm,
    StopSigkill,
    StopPost,
    FinalSigterm,
    FinalSigkill,
    Failed,
    AutoRestart,
}

impl State {
    /// systemd's `ActiveState`.
    pub fn active(self) -> &'static str {
        match self {
            Self::Dead => "inactive",
            Self::Failed => "failed",
            Self::Condition | Self::StartPre | Self::Start | Self::StartPost | Self::AutoRestart => "activating",
            Self::Running | Self::Exited => "active",
            Self::Reload => "reloading",
            _ => "deactivating",
        }
    }

    /// systemd's `SubState`.
    pub fn sub(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Condition => "condition",
            Self::StartPre => "start-pre",
            Self::Start => "start",
            Self::StartPost => "start-post",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Reload => "reload",
            Self::Stop => "stop",
            Self::StopSigterm => "stop-sigterm",
            Self::StopSigkill => "stop-sigkill",
            Self::StopPost => "stop-post",
            Self::FinalSigterm => "final-sigterm",
            Self::FinalSigkill => "final-sigkill",
            Self::Failed => "failed",
            Self::AutoRestart => "auto-restart",
        }
    }

    /// Down, and nothing is going on.
    pub fn settled(self) -> bool {
        matches!(self, Self::Dead | Self::Failed)
    }
}

/// What the machine has to know of a unit file. The vectors hold one entry a command: whether its failure is ignored (`-`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub kind: Kind,
    pub remain_after_exit: bool,
    pub condition: Vec<bool>,
    pub start_pre: Vec<bool>,
    pub start: Vec<bool>,
    pub start_post: Vec<bool>,
    pub reload: Vec<bool>,
    pub stop: Vec<bool>,
    pub stop_post: Vec<bool>,
    pub restart: Restart,
    pub restart_ms: u64,
    pub start_limit_interval_ms: u64,
    pub start_limit_burst: u32,
    /// `None`: no limit.
    pub timeout_start_ms: Option<u64>,
    pub timeout_stop_ms: Option<u64>,
    pub runtime_max_ms: Option<u64>,
    pub kill_mode: KillMode,
    pub kill_signal: i32,
    pub final_kill_signal: i32,
    pub send_sigkill: bool,
    pub send_sighup: bool,
    pub success: ExitSet,
    pub restart_prevent: ExitSet,
    pub restart_force: ExitSet,
    pub has_pid_file: bool,
}

impl Rules {
    /// What systemd does where a unit file says nothing.
    pub fn of_systemd() -> Self {
        Self {
            restart_ms: 100,
            start_limit_interval_ms: 10_000,
            start_limit_burst: 5,
            timeout_start_ms: Some(90_000),
            timeout_stop_ms: Some(90_000),
            kill_signal: 15,
            final_kill_signal: 9,
            send_sigkill: true,
            ..Self::default()
        }
    }

    pub fn commands(&self, phase: Phase) -> &[bool] {
        match phase {
            Phase::Condition => &self.condition,
            Phase::StartPre => &self.start_pre,
            Phase::Start => &self.start,
            Phase::StartPost => &self.start_post,
            Phase::Reload => &self.reload,
            Phase::Stop => &self.stop,
            Phase::StopPost => &self.stop_post,
        }
    }
}
