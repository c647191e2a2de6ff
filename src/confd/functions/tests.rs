//! The function library, case by case, through templates.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::confd::{Rendered, SourceTemplate};

/// A world with one variable, one file, one host.
struct World;

impl Outside for World {
    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "HOSTNAME" => Some("core-01".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn file_exists(&self, path: &str) -> bool {
        path == "/etc/hosts"
    }

    fn lookup_ip(&self, name: &str) -> Vec<String> {
        if name == "db" { vec!["fe80::1".into(), "10.0.0.2".into(), "10.0.0.1".into()] } else { Vec::new() }
    }

    fn lookup_srv(&self, service: &str, _proto: &str, _name: &str) -> Vec<SrvRecord> {
        let record = |target: &str| SrvRecord { target: target.into(), port: 80, priority: 1, weight: 2 };
        if service == "http" { vec![record("b."), record("a.")] } else { Vec::new() }
    }

    fn hostname(&self) -> Result<String, String> {
        Ok("core-01".into())
    }

    fn interface_addresses(&self, name: &str) -> Vec<IpAddr> {
        let found: &[&str] = if name == "eth0" { &["10.0.0.7", "10.0.0.8", "fe80::1"] } else { &[] };
        found.iter().map(|address| address.parse().unwrap()).collect()
    }

    fn template_file(&self, path: &str) -> Result<Vec<u8>, String> {
        Ok(match path {
            "part.tmpl" => b"<{{.}}{{getv \"/app/num\"}}>".to_vec(),
            "sub/loop" => b"{{include \"sub/loop\"}}".to_vec(),
            "broken" => b"{{if}}".to_vec(),
            "fails" => b"{{getv \"/none\"}}".to_vec(),
            path => match path.strip_prefix("deep").map(str::parse::<u32>) {
                Some(Ok(number)) => format!("{{{{include \"deep{}\"}}}}", number + 1).into_bytes(),
                _ => return Err(format!("open /etc/confd/templates/{path}: no such file or directory")),
            },
        })
    }

    fn now(&self) -> Zoned {
        "2015-01-23T13:34:56.093250283-08:00[-08:00]".parse().unwrap()
    }
}

fn keys() -> View {
    View::of([
        ("/app/upstream/app1", "10.0.1.10:8080"),
        ("/app/upstream/app2", "10.0.1.11:8080"),
        ("/app/upstream/app10", "3"),
        ("/app/json", r#"{"port":2592000,"tags":["a","b"],"n":{"x":null}}"#),
        ("/app/list", "[1,2.5]"),
        ("/app/empty", ""),
        ("/app/num", "42"),
        ("/top", "t"),
    ])
}

fn render(text: &str) -> Rendered {
    SourceTemplate::parse("t", text.as_bytes()).unwrap().render(&keys(), &World, Rendering::default(), None)
}

fn shown(text: &str) -> String {
    match render(text).result {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("ERROR {error}"),
    }
}

fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(shown(text), *expected, "{text}");
    }
}

#[test]
fn keys_are_looked_up() {
    check(&[
        (r#"{{getv "/app/num"}}"#, "42"),
        (r#"[{{getv "/app/empty" "x"}}]"#, "[]"),
        (r#"{{getv "/none" "dflt" "two"}}"#, "dflt"),
        (r#"[{{getv "/none" ""}}]"#, "[]"),
        (r#"{{get "/app/num"}} {{(get "/app/num").Value}}"#, "{/app/num 42} 42"),
        (r#"{{exists "/app/num"}} {{exists "/app"}} {{exists "/app/upstream"}}"#, "true false false"),
        (
            r#"{{range gets "/app/upstream/*"}}{{base .Key}}={{.Value}};{{end}}"#,
            "app1=10.0.1.10:8080;app10=3;app2=10.0.1.11:8080;",
        ),
        (r#"{{gets "/app/*/app1"}}"#, "[{/app/upstream/app1 10.0.1.10:8080}]"),
        (r#"{{range gets "/none/*"}}x{{else}}none{{end}}"#, "none"),
        (r#"{{getvs "/app/upstream/*"}}"#, "[10.0.1.10:8080 10.0.1.11:8080 3]"),
        (r#"{{ls "/app"}} {{lsdir "/app"}}"#, "[empty json list num upstream] [upstream]"),
        (r#"{{ls "/"}} {{lsdir "/"}}"#, "[app top] [app]"),
        (r#"{{range $i, $e := ls "/app/upstream"}}{{if $i}},{{end}}{{$e}}{{end}}"#, "app1,app10,app2"),
    ]);
}

#[test]
fn mistakes_have_gos_words_and_a_place() {
    check(&[
        (
            "a\n  {{getv \"/none\"}}",
            r#"ERROR template: t:2:4: executing "t" at <getv "/none">: error calling getv: key does not exist: /none"#,
        ),
        (
            r#"{{get "/app"}}"#,
            r#"ERROR template: t:1:2: executing "t" at <get "/app">: error calling get: key does not exist: /app"#,
        ),
        (
            r#"{{gets "["}}"#,
            r#"ERROR template: t:1:2: executing "t" at <gets "[">: error calling gets: syntax error in pattern"#,
        ),
        (
            r"{{div 1 0}}",
            r#"ERROR template: t:1:2: executing "t" at <div 1 0>: error calling div: runtime error: integer divide by zero"#,
        ),
    ]);
    let error = shown(r#"{{atoi (getv "/app/json")}}"#);
    assert!(error.contains("strconv.Atoi") && !error.contains("2592000"), "{error}");
    assert!(shown(r#"{{cgetv "/x"}}"#).contains("PGP"));
    assert!(shown(r#"{{json (getv "/app/list")}}"#).contains("cannot unmarshal array"));
    assert!(shown(r#"{{map "a"}}"#).ends_with("invalid map call"));
    assert!(shown(r#"{{map 1 2}}"#).ends_with("map keys must be strings"));
    assert!(shown(r#"{{seq 1 99999999999}}"#).ends_with("more than 1000000 numbers"));
    assert!(shown(r#"{{add 1.5 2}}"#).starts_with("ERROR"));
}

#[test]
fn texts_are_gos() {
    check(&[
        (r#"{{split "a,b,c" ","}} {{len (split "" ",")}} {{split "aé" ""}}"#, "[a b c] 1 [a é]"),
        (
            r#"{{join (split "a,b" ",") "-"}} {{join (getvs "/app/upstream/*") "|"}}"#,
            "a-b 10.0.1.10:8080|10.0.1.11:8080|3",
        ),
        (r#"{{toUpper "straße é"}} {{toLower "ÀİB"}}"#, "STRAßE É àib"),
        (r#"{{contains "abc" "b"}} {{contains "abc" "x"}} {{contains "" ""}}"#, "true false true"),
        (
            r#"{{replace "a-b-c" "-" "_" 1}} {{replace "a-b-c" "-" "_" -1}} {{replace "abc" "" "." -1}} {{replace "abc" "" "." 2}}"#,
            "a_b-c a_b_c .a.b.c. .a.bc",
        ),
        (r#"{{trimSuffix "x.conf" ".conf"}} {{trimSuffix "x" "y"}}"#, "x x"),
        (r#"{{base "/a/b"}} {{dir "/a/b"}} {{base ""}} {{dir "a"}} {{dir "/a//b/"}}"#, "b /a . . /a/b"),
        (r#"{{base64Encode "hi"}} {{base64Decode "aGk="}}"#, "aGk= hi"),
    ]);
    assert_eq!(render(r#"{{base64Decode "/w=="}}"#).result.unwrap(), [0xff]);
}

#[test]
fn numbers_lists_and_json() {
    check(&[
        ("{{add 1 2}} {{sub 1 2}} {{mul 3 4}} {{div -7 2}} {{mod -7 2}}", "3 -1 12 -3 -1"),
        ("{{add 9223372036854775807 1}}", "-9223372036854775808"),
        ("{{seq 1 3}} {{seq 3 1}} {{seq -1 0}}", "[1 2 3] [] [-1 0]"),
        (r#"{{add (atoi "-4") 1}} {{parseBool "T"}} {{parseBool "0"}}"#, "-3 true false"),
        (
            r#"{{$j := json (getv "/app/json")}}{{$j.port}} {{index $j.tags 1}} {{$j.n}} {{$j.none}}"#,
            "2.592e+06 b map[x:<nil>] <no value>",
        ),
        (r#"{{range jsonArray (getv "/app/list")}}{{.}} {{end}}"#, "1 2.5 "),
        (r#"{{$m := map "k" 1 "l" "x"}}{{$m.k}}{{index $m "l"}}"#, "1x"),
        (r#"{{reverse (split "a,b,c" ",")}} {{reverse (ls "/app/upstream")}}"#, "[c b a] [app2 app10 app1]"),
        (r#"{{range reverse (gets "/app/upstream/*")}}{{base .Key}} {{end}}"#, "app1 app10 app2 "),
        (r#"{{range reverse (sortKVByLength (gets "/app/upstream/*"))}}{{base .Key}} {{end}}"#, "app10 app2 app1 "),
        (r#"{{sortByLength (split "ccc,a,bb,d" ",")}}"#, "[a d bb ccc]"),
    ]);
}

#[test]
fn the_world_outside_answers() {
    check(&[
        (r#"{{getenv "HOSTNAME"}} {{getenv "NONE" "d"}} {{getenv "EMPTY" "e"}} [{{getenv "NONE"}}]"#, "core-01 d e []"),
        (r#"{{fileExists "/etc/hosts"}} {{fileExists "/none"}}"#, "true false"),
        (
            r#"{{lookupIP "db"}} {{lookupIPV4 "db"}} {{lookupIPV6 "db"}} {{lookupIP "x"}}"#,
            "[10.0.0.1 10.0.0.2 fe80::1] [10.0.0.1 10.0.0.2] [fe80::1] []",
        ),
        (
            r#"{{range lookupSRV "http" "tcp" "x"}}{{.Target}}{{.Port}} {{end}}{{len (lookupSRV "x" "y" "z")}}"#,
            "a.80 b.80 0",
        ),
        ("{{datetime}}", "2015-01-23 13:34:56.093250283 -0800 -08"),
        (
            r#"{{datetime.Format "Jan 2, 2006 at 3:04pm"}} {{datetime.Year}} {{datetime.Month}}"#,
            "Jan 23, 2015 at 1:34pm 2015 January",
        ),
        (
            r#"{{datetime.UTC.Format "15:04 MST"}} {{datetime.Unix}} {{datetime.Weekday}} {{datetime.YearDay}}"#,
            "21:34 UTC 1422048896 Friday 23",
        ),
        (r#"{{(datetime.AddDate 0 1 -3).Format "2006-01-02"}} {{printf "%d" datetime.Month}}"#, "2015-02-20 1"),
        (
            r#"{{(datetime.AddDate 0 1 8).Format "2006-01-02"}} {{(datetime.AddDate 0 -1 8).Format "2006-01-02"}}"#,
            "2015-03-03 2014-12-31",
        ),
    ]);
}

#[test]
fn what_was_looked_up_is_known_even_after_a_failure() {
    let reads = render(r#"{{ls "/app"}}{{gets "/x/*"}}{{getv "/none"}}{{getv "/later"}}"#).reads;
    let expected = [Read::Key("/none".into()), Read::Pattern("/x/*".into()), Read::Folder("/app".into())];
    assert_eq!(reads.iter().cloned().collect::<Vec<_>>(), expected);
}

#[test]
fn files_are_included() {
    check(&[
        (r#"{{include "part.tmpl"}} {{include "/sub/../part.tmpl" "x"}}"#, "<<no value>42> <x42>"),
        (
            r#"{{include "part.tmpl" | toUpper}}{{range seq 1 3}}{{include "part.tmpl" .}}{{end}}"#,
            "<<NO VALUE>42><142><242><342>",
        ),
    ]);
    for (text, expected) in [
        (r#"{{include "../x"}}"#, r#"error calling include: include path "../x" is outside template directory"#),
        (r#"{{include "."}}"#, r#"include path "." is outside template directory"#),
        (r#"{{include "sub/loop"}}"#, "include cycle detected: sub/loop is already being processed"),
        (r#"{{include "deep0"}}"#, "maximum include depth (10) exceeded"),
        (r#"{{include "none"}}"#, "include none: open /etc/confd/templates/none: no such file or directory"),
        (r#"{{include "broken"}}"#, "parse include broken: template: broken:1: missing value for if"),
        (
            r#"{{include "fails"}}"#,
            r#"execute include fails: template: fails:1:2: executing "fails" at <getv "/none">: error calling getv: key does not exist: /none"#,
        ),
    ] {
        let found = shown(text);
        assert!(found.starts_with("ERROR ") && found.ends_with(expected), "{text}: {found}");
    }
    let reads = render(r#"{{include "part.tmpl"}}"#).reads;
    assert!(reads.touched_by("/app/num"), "what an included file looks up counts");
}

#[test]
fn this_machine_is_known() {
    check(&[
        (r#"{{hostname}} {{lookupIfaceIPV4 "eth0"}} {{lookupIfaceIPV6 "eth0"}}"#, "core-01 10.0.0.7 fe80::1"),
        (r#"[{{lookupIfaceIPV4 "none"}}{{lookupIfaceIPV6 "none"}}]"#, "[]"),
    ]);
}

/// What the live fork's functions answer in Go. Made with Go 1.19, but for two cases that newer ones answer otherwise: `\b`
/// and `\f` in JSON (1.22), and groups named `(?<n>…)` (1.22).
#[test]
fn the_forks_functions_are_exact() {
    let vectors = include_str!("fork_vectors.json");
    let cases: Vec<(String, String)> = serde_json::from_str(vectors).unwrap();
    assert!(cases.len() > 200);
    let mut wrong = Vec::new();
    for (text, expected) in cases {
        let found = shown(&text);
        if found != expected {
            wrong.push(format!("{text}\n  found    {found}\n  expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}
