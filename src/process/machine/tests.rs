//! The life of a service as tables: what happens to it, what it does, where it is then.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// A machine with the processes that its actions would make.
struct World {
    machine: Machine,
    rules: Rules,
    now: Moment,
    next_pid: u32,
    /// What is alive, and as which command.
    alive: Vec<(u32, Phase)>,
    log: Vec<String>,
    /// Commands that cannot be executed.
    broken: Vec<Phase>,
    found: Option<u32>,
}

fn rules() -> Rules {
    Rules { start: vec![false], ..Rules::of_systemd() }
}

impl World {
    fn new(rules: Rules) -> Self {
        Self {
            machine: Machine::new(rules.clone()),
            rules,
            now: 0,
            next_pid: 100,
            alive: Vec::new(),
            log: Vec::new(),
            broken: Vec::new(),
            found: None,
        }
    }

    fn event(&mut self, event: Event) -> &mut Self {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.machine.step(event, self.now) {
                events.extend(self.act(action));
            }
        }
        self
    }

    fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Begin => Some(Event::Begun(Box::new(self.rules.clone()))),
            Action::Spawn { phase, index } => {
                self.log.push(format!("{phase:?}{index}"));
                if self.broken.contains(&phase) {
                    return Some(Event::SpawnFailed(203));
                }
                self.next_pid += 1;
                self.alive.push((self.next_pid, phase));
                Some(Event::Spawned(self.next_pid))
            }
            Action::Signal { number, pids, group } => {
                let all = if group { "all".to_owned() } else { format!("{}", pids.len()) };
                self.log.push(format!("kill-{number}-{all}"));
                None
            }
            Action::FindMain => Some(Event::MainFound(self.found)),
            Action::Say(_) => None,
        }
    }

    /// The newest process of a phase ends.
    fn ends(&mut self, phase: Phase, how: Ended) -> &mut Self {
        let at = self.alive.iter().rposition(|(_, p)| *p == phase).unwrap();
        let (pid, _) = self.alive.remove(at);
        let empty = self.alive.is_empty();
        self.event(Event::Reaped { ended: vec![(pid, how)], empty })
    }

    fn exits(&mut self, phase: Phase, code: i32) -> &mut Self {
        self.ends(phase, Ended::Code(code))
    }

    fn after(&mut self, ms: u64) -> &mut Self {
        self.now += ms;
        self.event(Event::Deadline)
    }

    #[track_caller]
    fn is(&mut self, sub: &str, result: &str, log: &[&str]) -> &mut Self {
        let now = (self.machine.state().sub(), self.machine.result().name());
        assert_eq!(now, (sub, result), "after {:?}", self.log);
        assert_eq!(self.log, log);
        self.log.clear();
        self
    }
}

const TERM: Ended = Ended::Signal { number: 15, dumped: false };
const KILL: Ended = Ended::Signal { number: 9, dumped: false };

#[test]
fn a_simple_service_runs_through_all_its_commands() {
    let mut world = World::new(Rules {
        start_pre: vec![true, false],
        start_post: vec![false],
        stop: vec![false, false],
        stop_post: vec![false],
        ..rules()
    });
    world
        .event(Event::Start)
        .is("start-pre", "success", &["StartPre0"])
        .exits(Phase::StartPre, 1)
        .is("start-pre", "success", &["StartPre1"])
        .exits(Phase::StartPre, 0)
        .is("start-post", "success", &["Start0", "StartPost0"])
        .exits(Phase::StartPost, 0)
        .is("running", "success", &[])
        .event(Event::Start)
        .is("running", "success", &[])
        .event(Event::Stop)
        .is("stop", "success", &["Stop0"])
        .exits(Phase::Stop, 0)
        .is("stop", "success", &["Stop1"])
        .exits(Phase::Stop, 0)
        .is("stop-sigterm", "success", &["kill-15-all"])
        .ends(Phase::Start, TERM)
        .is("stop-post", "success", &["StopPost0"])
        .exits(Phase::StopPost, 0)
        .is("dead", "success", &[]);
}

#[test]
fn a_reload_leaves_the_service_running_whatever_comes_of_it() {
    let mut world = World::new(Rules { reload: vec![true, false], runtime_max_ms: Some(200_000), ..rules() });
    let reloads = |world: &World| (world.machine.reloads().ended, world.machine.reloads().last_failed);
    world.event(Event::Reload).is("dead", "success", &[]);
    assert_eq!(reloads(&world), (1, true));
    world.event(Event::Start).is("running", "success", &["Start0"]);
    world
        .event(Event::Reload)
        .is("reload", "success", &["Reload0"])
        .event(Event::Reload)
        .exits(Phase::Reload, 1)
        .is("reload", "success", &["Reload1"])
        .exits(Phase::Reload, 0)
        .is("running", "success", &[]);
    assert_eq!(reloads(&world), (2, false));
    world.event(Event::Reload).exits(Phase::Reload, 0).exits(Phase::Reload, 7);
    world.is("running", "success", &["Reload0", "Reload1"]);
    assert_eq!(reloads(&world), (3, true));
    world.event(Event::Reload).after(90_000).is("running", "success", &["Reload0", "kill-9-1"]);
    assert_eq!(reloads(&world), (4, true));
    world.exits(Phase::Reload, 1).is("running", "success", &[]);
    assert_eq!(world.machine.deadline(), Some(200_000), "RuntimeMaxSec= goes on");
    world.event(Event::Reload).event(Event::Stop);
    world.is("stop-sigterm", "success", &["Reload0", "kill-9-1", "kill-15-all"]);
    assert_eq!(reloads(&world), (5, true));
    // Its main process ends meanwhile: that counts when the reload is over.
    let mut world = World::new(Rules { reload: vec![false], ..rules() });
    world.event(Event::Start).event(Event::Reload).exits(Phase::Start, 3);
    world.is("reload", "exit-code", &["Start0", "Reload0"]).exits(Phase::Reload, 0).is("failed", "exit-code", &[]);
}

#[test]
fn how_a_main_process_ends_decides() {
    let dumped = Ended::Signal { number: 11, dumped: true };
    let success = ExitSet { codes: vec![143], signals: vec![9] };
    // kind, what counts as success, whether it was told to stop, its end → state, result
    let cases = [
        (Kind::Simple, ExitSet::default(), true, TERM, "dead", "success"),
        (Kind::Simple, ExitSet::default(), true, Ended::Code(0), "dead", "success"),
        (Kind::Simple, ExitSet::default(), true, Ended::Code(143), "failed", "exit-code"),
        (Kind::Simple, success.clone(), true, Ended::Code(143), "dead", "success"),
        (Kind::Simple, ExitSet::default(), true, KILL, "failed", "signal"),
        (Kind::Simple, success, true, KILL, "dead", "success"),
        (Kind::Simple, ExitSet::default(), false, Ended::Code(0), "dead", "success"),
        (Kind::Simple, ExitSet::default(), false, Ended::Code(1), "failed", "exit-code"),
        (Kind::Simple, ExitSet::default(), false, TERM, "dead", "success"),
        (Kind::Simple, ExitSet::default(), false, dumped, "failed", "core-dump"),
        (Kind::Oneshot, ExitSet::default(), false, Ended::Code(0), "dead", "success"),
        (Kind::Oneshot, ExitSet::default(), false, TERM, "failed", "signal"),
        (Kind::Oneshot, ExitSet::default(), true, TERM, "failed", "signal"),
        (Kind::Notify, ExitSet::default(), false, Ended::Code(0), "failed", "protocol"),
        (Kind::Notify, ExitSet::default(), false, Ended::Code(2), "failed", "exit-code"),
    ];
    for (kind, success, told, end, sub, result) in cases {
        let mut world = World::new(Rules { kind, success, ..rules() });
        world.event(Event::Start);
        if told {
            world.event(Event::Stop);
        }
        world.ends(Phase::Start, end);
        let now = (world.machine.state().sub(), world.machine.result().name());
        assert_eq!(now, (sub, result), "{kind:?} told to stop: {told}, {end:?}");
    }
}

#[test]
fn a_failing_command_ends_the_start() {
    for phase in [Phase::StartPre, Phase::StartPost] {
        let mut world = World::new(Rules {
            start_pre: vec![false],
            start_post: vec![false],
            stop: vec![false],
            stop_post: vec![false],
            ..rules()
        });
        world.event(Event::Start);
        if phase == Phase::StartPost {
            world.exits(Phase::StartPre, 0);
        }
        world.exits(phase, 1);
        if phase == Phase::StartPost {
            world.ends(Phase::Start, TERM);
        }
        assert!(!world.log.contains(&"Stop0".to_owned()), "ExecStop= is for what has started");
        world.log.clear();
        world.exits(Phase::StopPost, 0).is("failed", "exit-code", &[]);
    }
    let mut world = World::new(Rules { stop_post: vec![true], ..rules() });
    world.broken = vec![Phase::Start, Phase::StopPost];
    world.event(Event::Start).is("failed", "exit-code", &["Start0", "StopPost0"]);
}

#[test]
fn conditions_skip_or_fail() {
    for (code, sub, result) in [
        (0, "running", "success"),
        (1, "dead", "exec-condition"),
        (254, "dead", "exec-condition"),
        (255, "failed", "exit-code"),
    ] {
        let mut world = World::new(Rules { condition: vec![false], restart: Restart::OnFailure, ..rules() });
        world.event(Event::Start).exits(Phase::Condition, code);
        if code == 255 {
            assert_eq!(world.machine.state().sub(), "auto-restart");
            world.event(Event::Stop);
            continue;
        }
        let now = (world.machine.state().sub(), world.machine.result().name());
        assert_eq!(now, (sub, result), "{code}");
    }
}

#[test]
fn oneshot_services() {
    let oneshot = |remain| Rules {
        kind: Kind::Oneshot,
        start: vec![false, true, false],
        stop: vec![false],
        remain_after_exit: remain,
        timeout_start_ms: None,
        ..rules()
    };
    let mut world = World::new(oneshot(true));
    world
        .event(Event::Start)
        .exits(Phase::Start, 0)
        .exits(Phase::Start, 7)
        .is("start", "success", &["Start0", "Start1", "Start2"])
        .exits(Phase::Start, 0)
        .is("exited", "success", &[])
        .event(Event::Stop)
        .is("stop", "success", &["Stop0"])
        .exits(Phase::Stop, 0)
        .is("dead", "success", &[]);
    let mut world = World::new(oneshot(false));
    world.event(Event::Start).exits(Phase::Start, 1).is("failed", "exit-code", &["Start0"]);
    let mut world = World::new(Rules { start: Vec::new(), ..oneshot(true) });
    world.event(Event::Start).is("exited", "success", &[]);
}

#[test]
fn forking_services() {
    let forking = |has_pid_file| Rules { kind: Kind::Forking, has_pid_file, ..rules() };
    // The parent leaves a child behind, which is found at once.
    let mut world = World::new(forking(false));
    world.event(Event::Start).is("start", "success", &["Start0"]);
    world.alive.push((777, Phase::Condition));
    world.found = Some(777);
    world.exits(Phase::Start, 0).is("running", "success", &[]);
    assert_eq!(world.machine.main_pid(), Some(777));
    world.ends(Phase::Condition, Ended::Code(4)).is("failed", "exit-code", &[]);
    // Several children: the unit runs as long as any of them.
    let mut world = World::new(forking(false));
    world.event(Event::Start);
    world.alive.extend([(777, Phase::Condition), (778, Phase::Condition)]);
    world.exits(Phase::Start, 0).is("running", "success", &["Start0"]);
    world.exits(Phase::Condition, 0).is("running", "success", &[]);
    world.exits(Phase::Condition, 0).is("dead", "success", &[]);
    // The PID file comes later, or never.
    for comes in [true, false] {
        let mut world = World::new(forking(true));
        world.event(Event::Start);
        world.alive.push((777, Phase::Condition));
        world.exits(Phase::Start, 0).is("start", "success", &["Start0"]);
        if comes {
            world.event(Event::MainFound(Some(777))).is("running", "success", &[]);
        } else {
            world.exits(Phase::Condition, 0).is("failed", "protocol", &[]);
        }
    }
    let mut world = World::new(forking(true));
    world.event(Event::Start).exits(Phase::Start, 1).is("failed", "exit-code", &["Start0"]);
}

#[test]
fn notify_services() {
    let mut world = World::new(Rules { kind: Kind::Notify, timeout_start_ms: Some(1000), ..rules() });
    world
        .event(Event::Start)
        .is("start", "success", &["Start0"])
        .after(900)
        .event(Event::ExtendTimeout(500))
        .after(100)
        .is("start", "success", &[])
        .event(Event::Ready)
        .is("running", "success", &[])
        .event(Event::Ready)
        .event(Event::Stopping)
        .is("stop-sigterm", "success", &[])
        .exits(Phase::Start, 0)
        .is("dead", "success", &[]);
    let mut world = World::new(Rules { kind: Kind::Notify, timeout_start_ms: Some(1000), ..rules() });
    world
        .event(Event::Start)
        .after(1000)
        .is("stop-sigterm", "timeout", &["Start0", "kill-15-all"])
        .ends(Phase::Start, TERM)
        .is("failed", "timeout", &[]);
}

#[test]
fn kill_modes() {
    // mode → signals while stopping, after the main process has gone and a child has stayed
    let cases = [
        (KillMode::ControlGroup, vec!["kill-15-all"], vec!["kill-15-all"], "final-sigterm"),
        (KillMode::Mixed, vec!["kill-15-1"], vec!["kill-9-all"], "final-sigkill"),
        (KillMode::Process, vec!["kill-15-1"], vec![], "dead"),
    ];
    for (kill_mode, first, then, sub) in cases {
        let mut world = World::new(Rules { kill_mode, ..rules() });
        world.event(Event::Start).is("running", "success", &["Start0"]);
        world.alive.push((777, Phase::Condition));
        world.event(Event::Stop).is("stop-sigterm", "success", &first);
        world.ends(Phase::Start, TERM).is(sub, "success", &then);
        if sub != "dead" {
            world.ends(Phase::Condition, TERM).is("dead", "success", &[]);
        }
    }
    let mut world = World::new(Rules { kill_mode: KillMode::None, stop: vec![false], ..rules() });
    world.event(Event::Start).event(Event::Stop).exits(Phase::Stop, 0);
    world.is("dead", "success", &["Start0", "Stop0"]);
    assert!(world.machine.group_alive(), "nothing was killed");
}

#[test]
fn the_deaf_are_killed() {
    let mut world = World::new(Rules { send_sighup: true, ..rules() });
    world
        .event(Event::Start)
        .event(Event::Stop)
        .is("stop-sigterm", "success", &["Start0", "kill-15-all", "kill-1-all"])
        .after(90_000)
        .is("stop-sigkill", "timeout", &["kill-9-all"])
        .ends(Phase::Start, KILL)
        .is("failed", "timeout", &[]);
    let mut world = World::new(Rules { send_sigkill: false, ..rules() });
    world
        .event(Event::Start)
        .event(Event::Stop)
        .after(90_000)
        .is("final-sigterm", "timeout", &["Start0", "kill-15-all", "kill-15-all"])
        .after(90_000)
        .is("failed", "timeout", &[]);
    // Whoever is forked while the others are being killed is killed too.
    let mut world = World::new(rules());
    world.event(Event::Start).event(Event::Stop).after(90_000);
    world.log.clear();
    world.alive.insert(0, (777, Phase::Condition));
    world.alive.insert(0, (778, Phase::Condition));
    world.ends(Phase::Condition, KILL).is("stop-sigkill", "timeout", &["kill-9-all"]);
}

#[test]
fn restarts() {
    use Restart::{Always, No, OnAbnormal, OnAbort, OnFailure, OnSuccess};
    let ends = [Ended::Code(0), Ended::Code(1), KILL];
    let cases = [
        (No, [false, false, false]),
        (Always, [true, true, true]),
        (OnSuccess, [true, false, false]),
        (OnFailure, [false, true, true]),
        (OnAbnormal, [false, false, true]),
        (OnAbort, [false, false, true]),
    ];
    for (restart, wanted) in cases {
        for (end, wanted) in ends.into_iter().zip(wanted) {
            let mut world = World::new(Rules { restart, ..rules() });
            world.event(Event::Start).ends(Phase::Start, end);
            let restarts = world.machine.state() == State::AutoRestart;
            assert_eq!(restarts, wanted, "{restart:?} after {end:?}");
            if restarts {
                world.log.clear();
                world.after(99).is("auto-restart", world_result(end), &[]);
                world.after(1).is("running", "success", &["Start0"]);
                assert_eq!(world.machine.restarts(), 1);
                world.event(Event::Stop).ends(Phase::Start, TERM);
                assert_eq!(world.machine.state(), State::Dead, "stopped for good");
            }
        }
    }
    let prevent = ExitSet { codes: vec![1], signals: vec![] };
    let mut world = World::new(Rules { restart: Always, restart_prevent: prevent.clone(), ..rules() });
    world.event(Event::Start).exits(Phase::Start, 1).is("failed", "exit-code", &["Start0"]);
    let mut world = World::new(Rules { restart_force: prevent, ..rules() });
    world.event(Event::Start).exits(Phase::Start, 1).is("auto-restart", "exit-code", &["Start0"]);
    world.event(Event::Stop).is("dead", "success", &[]);
}

fn world_result(end: Ended) -> &'static str {
    match end {
        Ended::Code(0) => "success",
        Ended::Code(_) => "exit-code",
        Ended::Signal { .. } => "signal",
    }
}

#[test]
fn too_many_starts_are_refused_until_time_has_passed() {
    let mut world = World::new(Rules { restart: Restart::Always, ..rules() });
    world.event(Event::Start);
    for _ in 0..4 {
        world.exits(Phase::Start, 1).after(100);
    }
    world.exits(Phase::Start, 1).after(100);
    world.log.clear();
    world.is("failed", "start-limit-hit", &[]);
    world.event(Event::Start).is("failed", "start-limit-hit", &[]);
    world.now += 10_000;
    world.event(Event::Start).is("running", "success", &["Start0"]);
}

#[test]
fn a_start_while_stopping_follows_the_stop() {
    let mut world = World::new(Rules { restart: Restart::Always, ..rules() });
    world
        .event(Event::Start)
        .event(Event::Stop)
        .event(Event::Start)
        .is("stop-sigterm", "success", &["Start0", "kill-15-all"])
        .ends(Phase::Start, TERM)
        .is("running", "success", &["Start0"])
        .event(Event::Stop)
        .event(Event::Start)
        .event(Event::Stop)
        .ends(Phase::Start, TERM)
        .is("dead", "success", &["kill-15-all"]);
    assert_eq!(world.machine.runs(), 2);
}

#[test]
fn time_outs_of_stopping() {
    let mut world = World::new(Rules {
        stop: vec![false],
        stop_post: vec![false],
        timeout_stop_ms: Some(1000),
        runtime_max_ms: Some(5000),
        ..rules()
    });
    world
        .event(Event::Start)
        .event(Event::Stop)
        .after(1000)
        .is("stop-sigterm", "timeout", &["Start0", "Stop0", "kill-15-all"])
        .ends(Phase::Stop, TERM)
        .ends(Phase::Start, TERM)
        .is("stop-post", "timeout", &["StopPost0"])
        .after(1000)
        .is("final-sigterm", "timeout", &["kill-15-all"])
        .after(1000)
        .is("final-sigkill", "timeout", &["kill-9-all"])
        .ends(Phase::StopPost, KILL)
        .is("failed", "timeout", &[]);
    world.event(Event::Start).after(5000).is("stop-sigterm", "timeout", &["Start0", "kill-15-all"]);
}

fn any_event() -> impl Strategy<Value = u8> {
    0..12_u8
}

proptest! {
    /// Whatever happens in whatever order: a machine never hangs (in every state that is not at rest something is awaited:
    /// a process or a moment), and a stop always ends.
    #[test]
    fn never_hangs(
        kind in 0..5_usize,
        mode in 0..4_usize,
        lists in proptest::collection::vec(0..3_usize, 6),
        restart in any::<bool>(),
        script in proptest::collection::vec(any_event(), 0..60),
    ) {
        let many = |n: usize| (0..n).map(|i| i % 2 == 1).collect::<Vec<_>>();
        let kinds = [Kind::Simple, Kind::Exec, Kind::Oneshot, Kind::Notify, Kind::Forking];
        let modes = [KillMode::ControlGroup, KillMode::Mixed, KillMode::Process, KillMode::None];
        let start = if kinds[kind] == Kind::Oneshot { many(lists[2]) } else { vec![false] };
        let mut world = World::new(Rules {
            kind: kinds[kind],
            kill_mode: modes[mode],
            condition: many(lists[0]),
            start_pre: many(lists[1]),
            start,
            start_post: many(lists[3]),
            reload: many(lists[4]),
            stop: many(lists[4]),
            stop_post: many(lists[5]),
            restart: if restart { Restart::Always } else { Restart::No },
            ..rules()
        });
        for step in script {
            play(&mut world, step);
            let state = world.machine.state();
            let awaited = world.machine.deadline().is_some() || world.machine.group_alive();
            prop_assert!(state.settled() || state == State::Exited || awaited, "{state:?}");
        }
        world.event(Event::Stop);
        for _ in 0..100 {
            if world.machine.state().settled() {
                break;
            }
            world.after(90_000);
        }
        prop_assert!(world.machine.state().settled(), "{:?}", world.machine.state());
    }
}

fn play(world: &mut World, step: u8) {
    let last = world.alive.last().map(|(_, phase)| *phase);
    match (step, last) {
        (0, _) => {
            world.event(Event::Start);
        }
        (1, _) => {
            world.event(Event::Stop);
        }
        (2, _) => {
            world.event(Event::Ready);
        }
        (3, _) => {
            world.event(Event::Stopping);
        }
        (4, _) => {
            world.after(50);
        }
        (5, _) => {
            world.after(90_000);
        }
        (10, _) => {
            world.event(Event::Reload);
        }
        (6, _) => world.alive.push((world.next_pid + 1000, Phase::Condition)),
        (7, Some(phase)) => {
            world.ends(phase, KILL);
        }
        (8, Some(phase)) => {
            world.exits(phase, 1);
        }
        (_, Some(phase)) => {
            world.exits(phase, 0);
        }
        _ => {}
    }
}
