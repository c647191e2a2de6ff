//! The committed protobuf code is what the committed `.proto` files say.
//!
//! `CORENODE_GENERATE=1 cargo test --test wire` rewrites the code; without it a difference fails.

use std::collections::BTreeSet;
use std::path::Path;

const PROTOS: [&str; 11] = [
    "auth.proto",
    "authservice.proto",
    "cluster.proto",
    "election.proto",
    "health.proto",
    "kv.proto",
    "lease.proto",
    "lock.proto",
    "maintenance.proto",
    "mvcc.proto",
    "watch.proto",
];
const PACKAGES: [&str; 6] = ["authpb", "etcdserverpb", "grpc.health.v1", "mvccpb", "v3electionpb", "v3lockpb"];
const DESCRIPTORS: &str = "descriptors.bin";
const HEADER: &str =
    "//! Written by `CORENODE_GENERATE=1 cargo test --test wire` from `src/wire/proto`; not edited by hand.\n\n";

/// Field types and the label `repeated`, as `descriptor.proto` numbers them.
const TYPE_INT64: i32 = 3;
const TYPE_UINT64: i32 = 4;
const TYPE_BYTES: i32 = 12;
const TYPE_ENUM: i32 = 14;
const LABEL_REPEATED: i32 = 3;

#[test]
fn committed_code_matches_the_protos() {
    let wire = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wire");
    let scratch = tempfile::tempdir().expect("a temporary folder");
    generate(&wire.join("proto"), scratch.path());
    let rewrite = std::env::var_os("CORENODE_GENERATE").is_some();
    let mut fresh =
        vec![(DESCRIPTORS.to_owned(), std::fs::read(scratch.path().join(DESCRIPTORS)).expect("descriptors"))];
    for package in PACKAGES {
        let name = format!("{package}.rs");
        let body = std::fs::read_to_string(scratch.path().join(&name)).expect("generated code");
        fresh.push((name, format!("{HEADER}{body}").into_bytes()));
    }
    for (name, fresh) in fresh {
        let committed = wire.join("generated").join(&name);
        if rewrite {
            std::fs::write(&committed, &fresh).expect("rewrite the generated code");
        }
        let found = std::fs::read(&committed).unwrap_or_default();
        assert!(
            found == fresh,
            "{} is not what the protos say; run: CORENODE_GENERATE=1 cargo test --test wire",
            committed.display()
        );
    }
}

/// Code, and the messages and services as gRPC's reflection tells them.
fn generate(protos: &Path, out: &Path) {
    let mut set = protox::compile(PROTOS.map(|name| protos.join(name)), [protos]).expect("the protos compile");
    for file in &mut set.file {
        // Comments and places are for people who have the files.
        file.source_code_info = None;
    }
    std::fs::write(out.join(DESCRIPTORS), prost::Message::encode_to_vec(&set)).expect("write the descriptors");
    let mut builder = tonic_prost_build::configure()
        .out_dir(out)
        .bytes(".")
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .message_attribute(".", "#[derive(serde::Serialize, serde::Deserialize)]")
        .message_attribute(".", "#[serde(default)]");
    let mut seen = BTreeSet::new();
    for file in &set.file {
        for message in &file.message_type {
            let path = format!(".{}.{}", file.package(), message.name());
            for oneof in &message.oneof_decl {
                let name = oneof.name();
                // Without a leading dot a path matches as a suffix, so that the variants below it are left alone.
                let field = format!("{}.{name}", message.name());
                builder = builder
                    .field_attribute(field, "#[serde(flatten)]")
                    .enum_attribute(format!("{path}.{name}"), "#[derive(serde::Serialize, serde::Deserialize)]");
            }
            for field in &message.field {
                let (full, optional) = match field.oneof_index {
                    Some(i) => {
                        let oneof = message.oneof_decl[i as usize].name();
                        (format!("{path}.{oneof}.{}", field.name()), false)
                    }
                    None => (format!("{path}.{}", field.name()), true),
                };
                assert!(seen.insert(full.clone()), "{full} twice");
                let attribute = json_attribute(
                    field.name(),
                    field.json_name(),
                    field.r#type.unwrap_or_default(),
                    field.label == Some(LABEL_REPEATED),
                    field.type_name(),
                    optional,
                );
                builder = builder.field_attribute(full, attribute);
            }
        }
    }
    builder.compile_fds(set).expect("code is generated");
}

/// How a field looks in the JSON gateway: its proto name (lowerCamel understood), 64-bit numbers as strings, bytes
/// as base64, enums by name, zero values left out.
fn json_attribute(name: &str, camel: &str, kind: i32, repeated: bool, type_name: &str, optional: bool) -> String {
    let mut parts = vec![format!("rename = {name:?}")];
    if !camel.is_empty() && camel != name {
        parts.push(format!("alias = {camel:?}"));
    }
    let json = "crate::wire::json";
    match (kind, repeated) {
        (TYPE_INT64 | TYPE_UINT64, false) => parts.push(format!("with = \"{json}::number\"")),
        (TYPE_BYTES, false) => parts.push(format!("with = \"{json}::base64\"")),
        (TYPE_BYTES, true) => parts.push(format!("with = \"{json}::base64_list\"")),
        (TYPE_ENUM, false) => parts.push(format!("with = \"{json}::Named::<{}>\"", rust_type(type_name))),
        (TYPE_ENUM, true) => parts.push(format!("with = \"{json}::NamedList::<{}>\"", rust_type(type_name))),
        _ => {}
    }
    if optional {
        parts.push(format!("skip_serializing_if = \"{json}::is_default\""));
    }
    format!("#[serde({})]", parts.join(", "))
}

/// `.etcdserverpb.RangeRequest.SortOrder` → `crate::wire::etcdserverpb::range_request::SortOrder`.
fn rust_type(proto: &str) -> String {
    let parts: Vec<&str> = proto.trim_start_matches('.').split('.').collect();
    let (last, outer) = parts.split_last().expect("a type has a name");
    let outer: Vec<String> = outer.iter().map(|part| snake(part)).collect();
    format!("crate::wire::{}::{last}", outer.join("::"))
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
