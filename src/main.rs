//! The roof: argv[0] and the first argument choose a face; the face's answer is the exit code.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use corenode::app;

// musl's own allocator is several times slower across threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HELP: &str = "\
node turns a set of Linux machines into one: store, scheduler, executor and templates in one process.

  node init                                  make this machine the first of a cluster; prints a token
  node join TOKEN                            make it one more of that cluster
  node run [--config FILE] [--KEY VALUE …]   run this machine's node
  node dev [--nodes 3] [--env FILE]          a cluster on loopback to try things on; Ctrl-C removes it
  node config check [--config FILE] [--KEY VALUE …]
                                             the effective settings, and where each comes from
  node etcd …                                the store alone, with etcd's flags; a link named etcd works too
  node fleetd …                              agent and engine around an etcd that is there already; a link named
                                             fleetd works too
  node cloudinit --from-file FILE            make of this machine what a CoreOS cloud-config says
  node ctl …                                 ask and steer the cluster
  node fleetctl …, node etcdctl …, node confd …
                                             the tools of old; links of those names to this file work too
  node --version                             the version and what is compiled in

Try it:
  $ node dev --env /tmp/cluster.env &
  $ . /tmp/cluster.env
  $ node etcdctl put greeting hello
  $ node fleetctl list-machines
";

fn main() -> ExitCode {
    abort_on_panic();
    let arguments: Vec<String> = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let called = arguments.first().map(|path| Path::new(path).file_name().unwrap_or_default().to_string_lossy());
    let rest = arguments.get(1..).unwrap_or_default();
    let code = match called.as_deref() {
        #[cfg(feature = "api")]
        Some("etcd") => app::etcd(rest),
        #[cfg(all(feature = "scheduler", feature = "api"))]
        Some("fleetd") => app::fleetd(rest),
        #[cfg(feature = "cloudinit")]
        Some("coreos-cloudinit") => app::cloudinit(rest),
        Some(face @ ("fleetctl" | "etcdctl" | "confd")) => tool(face, rest),
        _ => first_argument(rest),
    };
    ExitCode::from(code)
}

fn first_argument(arguments: &[String]) -> u8 {
    let (first, rest) = match arguments.split_first() {
        Some((first, rest)) => (first.as_str(), rest),
        None => ("help", arguments),
    };
    match first {
        "run" => app::run(rest),
        "config" => app::config(rest),
        #[cfg(feature = "api")]
        "init" => app::init(rest),
        #[cfg(feature = "api")]
        "join" => app::join(rest),
        #[cfg(feature = "api")]
        "etcd" => app::etcd(rest),
        #[cfg(all(feature = "scheduler", feature = "api"))]
        "fleetd" => app::fleetd(rest),
        #[cfg(feature = "cloudinit")]
        "cloudinit" => app::cloudinit(rest),
        #[cfg(feature = "scheduler")]
        corenode::process::SHIM_ARGUMENT => corenode::process::shim_main(rest),
        #[cfg(feature = "systemd")]
        corenode::systemd::GUARD_ARGUMENT => corenode::systemd::guard_main(rest),
        #[cfg(feature = "api")]
        app::TRIAL_ARGUMENT => app::trial_main(rest),
        "help" | "--help" | "-h" => say(HELP),
        "version" | "--version" | "-V" => say(&version(rest)),
        other => tool(other, rest),
    }
}

#[cfg(feature = "api")]
fn tool(face: &str, arguments: &[String]) -> u8 {
    corenode::ctl::run(face, arguments).unwrap_or_else(|| unknown(face))
}

#[cfg(not(feature = "api"))]
fn tool(face: &str, _arguments: &[String]) -> u8 {
    unknown(face)
}

fn unknown(face: &str) -> u8 {
    eprintln!(
        "node: `{face}` is not something this binary does; `node help` lists what is, `node --version` what is compiled in"
    );
    2
}

fn say(text: &str) -> u8 {
    print!("{text}");
    0
}

/// For people, or with `--json` for `node ctl upgrade`.
fn version(arguments: &[String]) -> String {
    let (version, features) = (env!("CARGO_PKG_VERSION"), corenode::FEATURES);
    let (commit, format) = (corenode::COMMIT, corenode::DATA_FORMAT);
    if arguments.first().is_some_and(|argument| argument == "--json") {
        let commit = commit.unwrap_or_default();
        let json = serde_json::json!({"version": version, "commit": commit, "format": format, "features": features});
        return format!("{json}\n");
    }
    let commit = commit.filter(|commit| !commit.is_empty()).map(|commit| format!(" ({commit})")).unwrap_or_default();
    format!("node {version}{commit}\nfeatures: {}\ndata format: {format}\n", features.join(" "))
}

/// A node that lost a thread is worse than one that is started again: say where, and end.
fn abort_on_panic() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if corenode::disk::panic_is_expected() {
            return;
        }
        if let Some(cause) = panic.payload_as_str().and_then(|text| text.strip_prefix(PRINT_FAILED)) {
            std::process::exit(nobody_reads(cause));
        }
        default(panic);
        eprintln!("node {} stops here; whoever supervises it starts it again", env!("CARGO_PKG_VERSION"));
        std::process::abort();
    }));
}

/// How the standard library begins to tell that `print!` or `eprint!` could not write.
const PRINT_FAILED: &str = "failed printing to ";
/// What a shell shows for a tool whose reader has gone (SIGPIPE).
const EXIT_READER_GONE: i32 = 141;
/// EPIPE, as the standard library words it.
const READER_GONE: &str = "(os error 32)";

/// Output that cannot be written is no fault of this program: without a word where the reader has gone, as in `… | head`.
fn nobody_reads(cause: &str) -> i32 {
    if cause.ends_with(READER_GONE) {
        return EXIT_READER_GONE;
    }
    // Where this cannot be written either, the exit code says it.
    let _ = writeln!(std::io::stderr(), "node: cannot write to {cause}");
    1
}
