//! What there is in etcdctl's API 2: commands and flags in the words of the original, whose help is read off them.

use super::line::{Command, Kind, Opt};

use Kind::{Many, Span, Text, Truth, Whole};

const fn opt(names: &'static [&'static str], kind: Kind, shown: &'static str, help: &'static str) -> Opt {
    Opt { names, kind, shown, help }
}

const fn command(name: &'static str, usage: &'static str, arguments: &'static str, options: &'static [Opt]) -> Command {
    Command { name, usage, arguments, description: "", options, commands: &[] }
}

const fn parent(name: &'static str, usage: &'static str, commands: &'static [Command]) -> Command {
    Command { name, usage, arguments: "", description: "", options: &[], commands }
}

pub const HELP: Opt = opt(&["help", "h"], Truth, "--help, -h", "show help");

/// The program's own flags.
pub const GLOBAL: &[Opt] = &[
    opt(&["debug"], Truth, "--debug", "output cURL commands which can be used to reproduce the request"),
    opt(&["no-sync"], Truth, "--no-sync", "don't synchronize cluster information before sending request"),
    opt(
        &["output", "o"],
        Text,
        "--output simple, -o simple",
        "output response in the given format (simple, `extended` or `json`) (default: \"simple\")",
    ),
    opt(
        &["discovery-srv", "D"],
        Text,
        "--discovery-srv value, -D value",
        "domain name to query for SRV records describing cluster endpoints",
    ),
    opt(
        &["insecure-discovery"],
        Truth,
        "--insecure-discovery",
        "accept insecure SRV records describing cluster endpoints",
    ),
    opt(&["peers", "C"], Text, "--peers value, -C value", "DEPRECATED - \"--endpoints\" should be used instead"),
    opt(&["endpoint"], Text, "--endpoint value", "DEPRECATED - \"--endpoints\" should be used instead"),
    opt(
        &["endpoints"],
        Text,
        "--endpoints value",
        "a comma-delimited list of machine addresses in the cluster (default: \"http://127.0.0.1:2379,http://127.0.0.1:4001\")",
    ),
    opt(&["cert-file"], Text, "--cert-file value", "identify HTTPS client using this SSL certificate file"),
    opt(&["key-file"], Text, "--key-file value", "identify HTTPS client using this SSL key file"),
    opt(&["ca-file"], Text, "--ca-file value", "verify certificates of HTTPS-enabled servers using this CA bundle"),
    opt(
        &["username", "u"],
        Text,
        "--username value, -u value",
        "provide username[:password] and prompt if password is not supplied.",
    ),
    opt(&["timeout"], Span, "--timeout value", "connection timeout per request (default: 2s)"),
    opt(
        &["total-timeout"],
        Span,
        "--total-timeout value",
        "timeout for the command execution (except watch) (default: 5s)",
    ),
    HELP,
    opt(&["version", "v"], Truth, "--version, -v", "print the version"),
];

/// Flags of API 3 that are taken here too, and not shown.
pub const OF_V3: &[Opt] =
    &[opt(&["user"], Text, "", ""), opt(&["password"], Text, "", ""), opt(&["command-timeout"], Span, "", "")];

const TTL: Opt = opt(&["ttl"], Whole, "--ttl value", "key time-to-live in seconds (default: 0)");
const SORT: Opt = opt(&["sort"], Truth, "--sort", "returns result in sorted order");
const QUORUM: Opt = opt(&["quorum", "q"], Truth, "--quorum, -q", "require quorum for get request");
const AFTER: Opt = opt(&["after-index"], Whole, "--after-index value", "watch after the given index (default: 0)");
const ROLES: &[Opt] = &[opt(&["roles"], Many, "--roles value", "List of roles to grant or revoke")];

const fn recursive(help: &'static str) -> Opt {
    opt(&["recursive", "r"], Truth, "--recursive, -r", help)
}

const SET: Command = Command {
    description: "Set sets the value of a key.

   When <value> begins with '-', <value> is interpreted as a flag.
   Insert '--' for workaround:

   $ set -- <key> <value>",
    ..command(
        "set",
        "set the value of a key",
        "<key> <value>",
        &[
            TTL,
            opt(&["swap-with-value"], Text, "--swap-with-value value", "previous value"),
            opt(&["swap-with-index"], Whole, "--swap-with-index value", "previous index (default: 0)"),
        ],
    )
};

const MEMBER: &[Command] = &[
    command("list", "enumerate existing cluster members", " ", &[]),
    command("add", "add a new member to the etcd cluster", "<name> <peerURL>", &[]),
    command("remove", "remove an existing member from the etcd cluster", "<memberID>", &[]),
    command("update", "update an existing member in the etcd cluster", "<memberID> <peerURLs>", &[]),
];

const USER: &[Command] = &[
    command("add", "add a new user for the etcd cluster", "<user>", &[]),
    command("get", "get details for a user", "<user>", &[]),
    command("list", "list all current users", "<user>", &[]),
    command("remove", "remove a user for the etcd cluster", "<user>", &[]),
    command("grant", "grant roles to an etcd user", "<user>", ROLES),
    command("revoke", "revoke roles for an etcd user", "<user>", ROLES),
    command("passwd", "change password for a user", "<user>", &[]),
];

const ROLE: &[Command] = &[
    command("add", "add a new role for the etcd cluster", "<role> ", &[]),
    command("get", "get details for a role", "<role>", &[]),
    command("list", "list all roles", " ", &[]),
    command("remove", "remove a role from the etcd cluster", "<role>", &[]),
    command(
        "grant",
        "grant path matches to an etcd role",
        "<role>",
        &[
            opt(&["path"], Text, "--path value", "Path granted for the role to access"),
            opt(&["read"], Truth, "--read", "Grant read-only access"),
            opt(&["write"], Truth, "--write", "Grant write-only access"),
            opt(&["readwrite", "rw"], Truth, "--readwrite, --rw", "Grant read-write access"),
        ],
    ),
    command(
        "revoke",
        "revoke path matches for an etcd role",
        "<role>",
        &[
            opt(&["path"], Text, "--path value", "Path revoked for the role to access"),
            opt(&["read"], Truth, "--read", "Revoke read access"),
            opt(&["write"], Truth, "--write", "Revoke write access"),
            opt(&["readwrite", "rw"], Truth, "--readwrite, --rw", "Revoke read-write access"),
        ],
    ),
];

/// All commands.
pub const COMMANDS: &[Command] = &[
    command(
        "backup",
        "backup an etcd directory",
        " ",
        &[
            opt(&["data-dir"], Text, "--data-dir value", "Path to the etcd data dir"),
            opt(&["wal-dir"], Text, "--wal-dir value", "Path to the etcd wal dir"),
            opt(&["backup-dir"], Text, "--backup-dir value", "Path to the backup dir"),
            opt(&["backup-wal-dir"], Text, "--backup-wal-dir value", "Path to the backup wal dir"),
            opt(&["with-v3"], Truth, "--with-v3", "Backup v3 backend data"),
        ],
    ),
    command(
        "cluster-health",
        "check the health of the etcd cluster",
        " ",
        &[opt(&["forever", "f"], Truth, "--forever, -f", "forever check the health every 10 second until CTRL+C")],
    ),
    command(
        "mk",
        "make a new key with a given value",
        "<key> <value>",
        &[opt(&["in-order"], Truth, "--in-order", "create in-order key under directory <key>"), TTL],
    ),
    command("mkdir", "make a new directory", "<key>", &[TTL]),
    command(
        "rm",
        "remove a key or a directory",
        "<key>",
        &[
            opt(&["dir"], Truth, "--dir", "removes the key if it is an empty directory or a key-value pair"),
            recursive("removes the key and all child keys(if it is a directory)"),
            opt(&["with-value"], Text, "--with-value value", "previous value"),
            opt(&["with-index"], Whole, "--with-index value", "previous index (default: 0)"),
        ],
    ),
    command("rmdir", "removes the key if it is an empty directory or a key-value pair", "<key>", &[]),
    command("get", "retrieve the value of a key", "<key>", &[SORT, QUORUM]),
    command(
        "ls",
        "retrieve a directory",
        "[key]",
        &[
            SORT,
            recursive("returns all key names recursively for the given path"),
            opt(&["p"], Truth, "-p", "append slash (/) to directories"),
            QUORUM,
        ],
    ),
    SET,
    command("setdir", "create a new directory or update an existing directory TTL", "<key>", &[TTL]),
    command("update", "update an existing key with a given value", "<key> <value>", &[TTL]),
    command("updatedir", "update an existing directory", "<key> <value>", &[TTL]),
    command(
        "watch",
        "watch a key for changes",
        "<key>",
        &[
            opt(&["forever", "f"], Truth, "--forever, -f", "forever watch a key until CTRL+C"),
            AFTER,
            recursive("returns all values for key and child keys"),
        ],
    ),
    command(
        "exec-watch",
        "watch a key for changes and exec an executable",
        "<key> <command> [args...]",
        &[AFTER, recursive("watch all values for key and child keys")],
    ),
    parent("member", "member add, remove and list subcommands", MEMBER),
    parent("user", "user add, grant and revoke subcommands", USER),
    parent("role", "role add, grant and revoke subcommands", ROLE),
    parent(
        "auth",
        "overall auth controls",
        &[
            command("enable", "enable auth access controls", " ", &[]),
            command("disable", "disable auth access controls", " ", &[]),
        ],
    ),
];

/// The command of a name.
pub fn find(commands: &'static [Command], name: &str) -> Option<&'static Command> {
    commands.iter().find(|command| command.name == name)
}
