//! Resource files: keys, their values, and where what is wrong stands.

#![allow(clippy::unwrap_used)]

use super::*;

fn one(text: &str) -> Resource {
    let mut resources = parse_resources("x.toml", text).unwrap();
    assert_eq!(resources.len(), 1);
    resources.remove(0)
}

fn mistakes(text: &str) -> String {
    let mistakes = parse_resources("x.toml", text).unwrap_err();
    // Columns have a test of their own.
    let told = |one: &Mistake| format!("{}:{}: {}", one.file, one.line, one.message);
    mistakes.iter().map(told).collect::<Vec<_>>().join("\n")
}

#[test]
fn reads_a_resource_as_it_is_found_in_the_wild() {
    let resource = one(concat!(
        "[template]\nkeys = [ \"app/server\" ]\nowner = \"nginx\"\nmode = \"0644\"\nsrc = \"nginx.conf.tmpl\"\n",
        "dest = \"/etc/nginx/sites-enabled/app.conf\"\ncheck_cmd = \"/usr/sbin/nginx -t -c /etc/nginx/nginx.conf\"\n",
        "reload_cmd = \"/usr/sbin/service nginx reload\"\nunknown = 1\n[other]\nsrc = 3\n"
    ));
    assert_eq!(resource.keys, ["app/server"]);
    assert_eq!(resource.user, Some(Identity::Name("nginx".into())));
    assert_eq!(resource.mode, Some(0o644));
    assert_eq!(resource.reload, Some(Reload::Command("/usr/sbin/service nginx reload".into())));
    assert_eq!(resource.warnings[0].to_string(), "x.toml:9:1: unknown key `unknown`; it is ignored, as confd does");
}

#[test]
fn numbers_win_over_names_and_case_does_not_matter() {
    let resource = one("[Template]\nSrc=\"a\"\nDEST=\"/b\"\nuid=7\nowner=\"x\"\ngid=-1\ngroup=\"g\"\nmode=\"644\"\n");
    assert_eq!(resource.user, Some(Identity::Id(7)));
    assert_eq!(resource.group, Some(Identity::Name("g".into())));
    assert_eq!(resource.mode, Some(0o644));
    assert_eq!(
        resource.warnings[0].to_string(),
        "x.toml:8:6: mode: `644` is read as octal, 0644; write \"0644\" (confd takes it as decimal)"
    );
}

#[test]
fn additions_are_read_and_checked() {
    let resource = one(concat!(
        "[template]\nsrc=\"a\"\ndest=\"/b\"\ncheck_cmd_timeout=\"1m30s\"\nreload_cmd_timeout=\"250ms\"\n",
        "prefix_mode=\"join\"\ncreate_dirs=true\npreserve_owner=true\n"
    ));
    let limits = (resource.check_limit, resource.reload_limit);
    assert_eq!(limits, (Some(Duration::from_secs(90)), Some(Duration::from_millis(250))));
    assert_eq!(resource.prefix_mode, PrefixMode::Join);
    assert!(resource.create_dirs && resource.preserve_owner);
    let plain = one("[template]\nsrc=\"a\"\ndest=\"/b\"\n");
    assert_eq!((plain.check_limit, plain.prefix_mode), (None, PrefixMode::Replace));
    assert!(!plain.create_dirs && !plain.preserve_owner);
    for (line, expected) in [
        ("check_cmd_timeout=\"0s\"", "x.toml:4: check_cmd_timeout: `0s` is no time above 0"),
        ("reload_cmd_timeout=\"soon\"", "x.toml:4: reload_cmd_timeout: `soon`"),
        ("reload_cmd_timeout=\"25h\"", "up to 24h"),
        ("reload_cmd_timeout=30", "must be a string in quotes, not an integer"),
        ("prefix_mode=\"both\"", "x.toml:4: prefix_mode: `both` is none of"),
        ("create_dirs=\"yes\"", "create_dirs: must be true or false, not a string"),
    ] {
        let found = mistakes(&format!("[template]\nsrc=\"a\"\ndest=\"/b\"\n{line}\n"));
        assert!(found.contains(expected), "{line}: {found}");
    }
}

#[test]
fn several_tables_are_several_resources() {
    let text = "[[template]]\nsrc=\"a\"\ndest=\"/a\"\n[[template]]\nsrc=\"b\"\ndest=\"/b\"\n";
    assert_eq!(parse_resources("x", text).unwrap().len(), 2);
}

#[test]
fn every_mistake_names_its_line_and_key() {
    let text =
        "[template]\nsrc = 3\ndest = \"/x\"\nkeys = [\"a\", 1]\nmode = \"rw\"\nuid = \"root\"\ngid = 4294967295\n";
    let found = mistakes(text);
    for expected in ["x.toml:2: src:", "x.toml:4: keys:", "x.toml:5: mode: `rw`", "x.toml:6: uid:", "x.toml:7: gid:"] {
        assert!(found.contains(expected), "{expected} in {found}");
    }
}

#[test]
fn nonsense_is_refused_with_its_place() {
    let cases = [
        ("", "x.toml:1: there is no table `[template]`"),
        ("[template]\ndest=\"/x\"\n", "x.toml:1: empty src template"),
        ("[template]\nsrc=\"\"\ndest=\"/x\"\n", "empty src template"),
        ("[template]\nsrc=\"x\"\n", "dest: is missing"),
        ("[template]\nsrc=\"x\"\ndest=\"/x\"\nmode = 644\n", "x.toml:4: mode: must be a string"),
        ("[template]\nsrc = \"x\ndest = 1\n", "x.toml:2: "),
        ("template = 1\n", "`template` is a table, not an integer"),
        ("[template]\nsrc=\"x\"\ndest=\"/x\"\nkeys=\"/a\"\n", "x.toml:4: keys: must be a list"),
    ];
    for (text, expected) in cases {
        let found = mistakes(text);
        assert!(found.contains(expected), "{text:?}: {found}");
    }
}

#[test]
fn places_have_columns() {
    let text = "[template]\nsrc = \"é\"; dest = 1\n";
    let found = parse_resources("x.toml", text).unwrap_err();
    assert_eq!(found[0].line, 2, "{found:?}");
    let found = parse_resources("x.toml", "[template]\nsrc = \"a\"\ndest = \"/d\"\n  mode = \"rw\"\n").unwrap_err();
    assert_eq!((found[0].line, found[0].column), (4, 10));
}

#[test]
fn keys_of_our_own_are_read() {
    let resource = one(concat!(
        "[template]\nsrc=\"a\"\ndest=\"/s/{{.name}}\"\nfor_each=\"/sites\"\nreload_unit=\"nginx.service\"\nreload_signal=\"HUP\"\n",
        "min_reload_interval=\"30s\"\ndebounce={min=\"2s\", max=\"10s\"}\nmax_parallel=2\non_missing=\"wait\"\njson_numbers=\"exact\"\n",
        "min_entries=1\noutput_format=\"yaml\"\nbackup=true\n"
    ));
    assert_eq!(resource.for_each.as_deref(), Some("/sites"));
    assert_eq!(resource.reload, Some(Reload::Unit { unit: "nginx.service".into(), signal: Some(1) }));
    assert_eq!(resource.min_reload_interval, Some(Duration::from_secs(30)));
    assert_eq!(resource.debounce, Some(Debounce { quiet: Duration::from_secs(2), max: Duration::from_secs(10) }));
    assert_eq!((resource.max_parallel, resource.min_entries), (Some(2), 1));
    assert_eq!((resource.rendering.on_missing, resource.output_format), (OnMissing::Wait, Some(Format::Yaml)));
    assert!(resource.backup && resource.rendering.json_numbers == JsonNumbers::Exact);
    assert_eq!(
        one("[template]\nsrc=\"a\"\ndest=\"/b\"\ndebounce=\"1s\"\n").debounce,
        Some(Debounce::of(Duration::from_secs(1)))
    );
}

#[test]
fn what_is_wrong_with_keys_of_our_own_is_said() {
    for (lines, expected) in [
        ("on_missing=\"ignore\"", "x.toml:4: on_missing: `ignore` is none of \"error\", \"empty\", \"wait\""),
        ("output_format=\"ini\"", "output_format: `ini` is none of \"json\""),
        ("min_entries=-1", "min_entries: must be a whole number from 0"),
        ("max_parallel=0", "max_parallel: must be a whole number from 1"),
        ("max_parallel=\"2\"", "max_parallel: must be a whole number from 1"),
        ("debounce={max=\"2s\"}", "debounce: has no `min`"),
        ("debounce={min=\"3s\", max=\"2s\"}", "debounce: max is 2s, less than min, 3s"),
        ("debounce=2", "debounce: must be a string in quotes, not an integer"),
        ("backup=\"yes\"", "backup: must be true or false"),
        ("reload_unit=\"nginx\"", "reload_unit: `nginx` is no unit"),
        ("reload_unit=\"a.service\"\nreload_signal=\"HAP\"", "x.toml:5: reload_signal: `HAP` is no signal"),
        ("reload_cmd=\"x\"\nreload_signal=\"HUP\"", "x.toml:5: reload_signal: there is no reload_unit"),
        ("reload_cmd=\"x\"\nreload_unit=\"a.service\"", "x.toml:5: reload_unit: there is a reload_cmd too"),
        ("for_each=\"/sites\"", "x.toml:3: dest: is one file for all that for_each lists"),
        ("reload_group=\"g\"\nmax_parallel=1", "x.toml:5: max_parallel: is for resources"),
        ("min_reload_interval=\"1s\"", "min_reload_interval: there is no reload_cmd"),
        ("min_entires=1", "x.toml:4: unknown key `min_entires`; did you mean `min_entries`?"),
    ] {
        let found = mistakes(&format!("[template]\nsrc=\"a\"\ndest=\"/b\"\n{lines}\n"));
        assert!(found.contains(expected), "{lines}: {found}");
    }
}
