//! All that a node serves, by its own word: the routes that it logs at the level `debug`, and the methods of the gRPC services among them.
//! So a route or a method that is new cannot escape a test that goes through all of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub const METHODS: [&str; 7] = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"];

/// What is answered before the router is asked: discovery, and what there is not.
pub const BESIDE_THE_ROUTER: [&str; 3] = ["/new?size=3", "/0123456789abcdef0123456789abcdef", "/nothing"];

pub struct Served {
    /// Paths, with `x` for what may be anything.
    pub http: Vec<String>,
    /// gRPC methods as paths.
    pub grpc: Vec<String>,
}

impl Served {
    /// Out of a node's log at the level `debug`.
    pub fn by(log: &str) -> Self {
        let line = log.lines().find(|line| line.contains("what the doors serve")).expect("a log at the level debug");
        let routes: BTreeSet<&str> =
            line.split("RouteId(").filter_map(route).filter(|path| !path.contains("__private")).collect();
        assert!(routes.len() > 60, "{routes:?}");
        let (services, paths): (Vec<&str>, Vec<&str>) = routes.into_iter().partition(|path| is_service(path));
        let known = grpc_methods();
        let of = |service: &str| {
            let prefix = service.trim_end_matches("{*rest}");
            let methods: Vec<String> = known.iter().filter(|method| method.starts_with(prefix)).cloned().collect();
            match methods.is_empty() {
                true if prefix.starts_with("/grpc.reflection.") => vec![format!("{prefix}ServerReflectionInfo")],
                true => panic!("no .proto file has {service}"),
                false => methods,
            }
        };
        Self { http: paths.into_iter().map(filled).collect(), grpc: services.into_iter().flat_map(of).collect() }
    }
}

/// The path in `12): "/path", `.
fn route(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("): \"")?;
    Some(rest.split_once('"')?.0)
}

/// `/package.Service/{*rest}`.
fn is_service(path: &str) -> bool {
    let service = path[1..].strip_suffix("/{*rest}");
    service.is_some_and(|service| service.contains('.') && !service.contains('/'))
}

/// A path with something for each of its parameters.
fn filled(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// Every gRPC method of the .proto files, as a path.
fn grpc_methods() -> Vec<String> {
    let mut methods = Vec::new();
    for entry in walk(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/wire/proto"))) {
        let text = std::fs::read_to_string(entry).unwrap();
        let after =
            |line: &str, word: &str| Some(line.trim().strip_prefix(word)?.split([' ', '(', ';']).next()?.to_owned());
        let package = text.lines().find_map(|line| after(line, "package ")).unwrap_or_default();
        let mut service = String::new();
        for line in text.lines() {
            if let Some(name) = after(line, "service ") {
                service = name;
            } else if let Some(method) = after(line, "rpc ") {
                methods.push(format!("/{package}.{service}/{method}"));
            }
        }
    }
    assert!(methods.len() > 30, "{methods:?}");
    methods
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
