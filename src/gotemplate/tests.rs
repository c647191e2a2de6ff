//! Unit tests of the engine: budgets, nesting limits, and what changed between Go versions.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn run_with(text: &str, data: &Value, budget: &Budget) -> Result<String, String> {
    let template = Template::parse("t", text, &|_| false).map_err(|error| error.to_string())?;
    let output = template.execute(data, &mut NoFunctions, budget).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

fn run(text: &str) -> Result<String, String> {
    let nodes = List::any(vec![1.into(), "b".into()]);
    let data = Map::any([("name", "web".into()), ("list", Value::List(nodes))]);
    run_with(text, &Value::Map(data), &Budget::default())
}

#[test]
fn newer_go_behaviour() {
    // `else with`, `range` over integers, assignment in `range`, and texts that Go 1.19 words differently.
    let cases = [
        ("{{with .none}}a{{else with .name}}{{.}}{{end}}", Ok("web")),
        ("{{with .none}}a{{else with .nil}}b{{else}}{{.name}}{{end}}", Ok("web")),
        ("{{with $x := .none}}{{else with $y := 2}}{{$x}}{{$y}}{{end}}", Ok("<no value>2")),
        ("{{with 1}}{{else if 1}}{{end}}", Err("template: t:1: unexpected <if> in input")),
        ("{{if 1}}{{else with 1}}{{end}}", Err("template: t:1: unexpected <with> in input")),
        ("{{range 3}}{{.}},{{end}}", Ok("0,1,2,")),
        ("{{range $i := 3}}{{$i}}{{end}}", Ok("012")),
        ("{{range 0}}x{{else}}none{{end}}", Ok("none")),
        ("{{range -1}}x{{else}}none{{end}}", Ok("none")),
        (
            "{{range $i, $v := 3}}{{end}}",
            Err("template: t:1:18: executing \"t\" at <3>: can't use 3 to iterate over more than one variable"),
        ),
        ("{{$x := 0}}{{range $x = .list}}{{$x}},{{end}}{{$x}}", Ok("1,b,b")),
        ("{{$i := 0}}{{$v := 0}}{{range $i, $v = .list}}{{end}}{{$i}}{{$v}}", Ok("1b")),
        ("{{$x := 9}}{{range $x = .list}}{{$y := 1}}{{end}}{{$x}}", Ok("b")),
        ("{{1)}}", Err("template: t:1: unexpected right paren")),
        ("{{slice .name 1}} {{range .list}}{{$n := 1}}{{slice $.name $n}} {{end}}", Ok("eb eb eb ")),
        (
            "{{range .list}}{{slice $.name .}}{{end}}",
            Err(
                "template: t:1:17: executing \"t\" at <slice $.name .>: error calling slice: cannot index slice/array with type interface {}",
            ),
        ),
        (
            "{{slice .name .name}}",
            Err(
                "template: t:1:2: executing \"t\" at <slice .name .name>: error calling slice: cannot index slice/array with type interface {}",
            ),
        ),
        (
            "{{call .name}}",
            Err(
                "template: t:1:2: executing \"t\" at <call .name>: error calling call: non-function .name of type string",
            ),
        ),
        (
            "{{call 1 2}}",
            Err("template: t:1:2: executing \"t\" at <call 1 2>: error calling call: non-function 1 of type int"),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(run(text), expected.map(str::to_owned).map_err(str::to_owned), "{text}");
    }
}

#[test]
fn complex_numbers_are_refused() {
    for text in ["{{1i}}", "{{1+2i}}", "{{-1.5i}}"] {
        let error = run(text).unwrap_err();
        assert!(error.starts_with("template: t:1: illegal number syntax: "), "{error}");
    }
}

#[test]
fn a_user_function_hides_a_builtin_and_a_keyword() {
    struct Own;
    impl Functions for Own {
        fn signature(&self, name: &str) -> Option<Signature> {
            ["len", "break"].contains(&name).then_some(Signature::fixed(&[]))
        }
        fn call(&mut self, name: &str, _args: &[Value]) -> Result<Value, String> {
            Ok(format!("own {name}").into())
        }
    }
    let template = Template::parse("t", "{{len}} {{break}}", &|name| Own.signature(name).is_some()).unwrap();
    let output = template.execute(&Value::Nil, &mut Own, &Budget::default()).unwrap();
    assert_eq!(output, b"own len own break");
}

#[test]
fn a_function_missing_when_executing_is_an_error() {
    let template = Template::parse("t", "{{gone}}", &|_| true).unwrap();
    let error = template.execute(&Value::Nil, &mut NoFunctions, &Budget::default()).unwrap_err();
    assert_eq!(error.to_string(), "template: t:1:2: executing \"t\" at <gone>: \"gone\" is not a defined function");
}

#[test]
fn the_budget_ends_what_would_not_end() {
    let small = Budget { template_depth: 50, steps: 10_000, output_bytes: 1000 };
    let cases = [
        ("{{define \"r\"}}{{template \"r\"}}{{end}}{{template \"r\"}}", "exceeded maximum template depth (50)"),
        ("{{range 1000000000}}{{end}}", "the template takes more than 10000 steps"),
        ("{{range 1000000000}}xxxxxxxxxx{{end}}", "the output is longer than 1000 bytes"),
        ("{{printf \"%1000000d\" 1}}", "the text is longer than 1000 bytes"),
        ("{{printf \"%.999999f\" 1.0}}", "the text is longer than 1000 bytes"),
        ("{{$x := \"aaaaaaaa\"}}{{range 60}}{{$x = print $x $x}}{{end}}", "the text is longer than 1000 bytes"),
        ("{{$x := \"&\"}}{{range 60}}{{$x = html $x $x}}{{end}}", "the text is longer than 1000 bytes"),
    ];
    for (text, expected) in cases {
        let template = Template::parse("t", text, &|_| false).unwrap();
        let error = template.execute(&Value::Nil, &mut NoFunctions, &small).unwrap_err();
        assert!(matches!(&error, ExecError::Exhausted(_)), "{text}: {error}");
        let error = error.to_string();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(error.starts_with("template: t:1"), "{error}");
    }
}

#[test]
fn open_blocks_are_bounded() {
    let ifs = format!("{}{{{{template \"r\"}}}}{}", "{{if true}}".repeat(90), "{{end}}".repeat(90));
    let text = format!("{{{{define \"r\"}}}}{ifs}{{{{end}}}}{{{{template \"r\"}}}}");
    let error = run(&text).unwrap_err();
    assert!(error.contains("more than 400000 blocks and templates are open at once"), "{error}");
}

#[test]
fn deep_template_recursion_needs_no_stack() {
    let text = "{{define \"r\"}}{{if .}}{{with .}}{{template \"r\" (slice . 1)}}{{end}}{{else}}end{{end}}{{end}}{{template \"r\" .}}";
    let data = Value::string("x".repeat(9_000));
    assert_eq!(run_with(text, &data, &Budget::default()).unwrap(), "end");
}

#[test]
fn nesting_in_the_text_is_limited() {
    let parens = |depth: usize| format!("{{{{{}1{}}}}}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(run(&parens(MAX_PAREN_DEPTH)).unwrap(), "1");
    let error = run(&parens(MAX_PAREN_DEPTH + 1)).unwrap_err();
    assert_eq!(error, "template: t:1: parentheses nested more than 100 deep");
    assert!(run(&"{{(".repeat(100_000)).is_err());

    let blocks = |depth: usize| format!("{}x{}", "{{if 1}}".repeat(depth), "{{end}}".repeat(depth));
    assert_eq!(run(&blocks(MAX_BLOCK_DEPTH)).unwrap(), "x");
    let error = run(&blocks(MAX_BLOCK_DEPTH + 1)).unwrap_err();
    assert_eq!(error, "template: t:1: blocks nested more than 100 deep");

    let both = format!(
        "{}{}{}",
        "{{with 1}}".repeat(MAX_BLOCK_DEPTH),
        parens(MAX_PAREN_DEPTH),
        "{{end}}".repeat(MAX_BLOCK_DEPTH)
    );
    assert_eq!(run(&both).unwrap(), "1");
}

#[test]
fn long_else_if_chains_are_not_nesting() {
    let chain = "{{else if false}}b".repeat(5_000);
    assert_eq!(run(&format!("{{{{if false}}}}a{chain}{{{{else}}}}z{{{{end}}}}")).unwrap(), "z");
}

#[test]
fn values_nested_too_deeply_are_refused() {
    struct Wrap;
    impl Functions for Wrap {
        fn signature(&self, name: &str) -> Option<Signature> {
            (name == "wrap").then_some(Signature::fixed(&[Type::Any]))
        }
        fn call(&mut self, _name: &str, args: &[Value]) -> Result<Value, String> {
            Ok(Value::List(List::any(vec![args[0].clone(), args[0].clone()])))
        }
    }
    let text = "{{$x := 1}}{{range 100000}}{{$x = wrap $x}}{{end}}";
    let template = Template::parse("t", text, &|name| name == "wrap").unwrap();
    let error = template.execute(&Value::Nil, &mut Wrap, &Budget::default()).unwrap_err();
    assert!(matches!(&error, ExecError::Exhausted(_)), "{error}");
    assert!(error.to_string().contains("nested more than 256 levels deep"), "{error}");

    // Shared parts make the text of a value exponentially longer than the value.
    let text = "{{$x := 1}}{{range 200}}{{$x = wrap $x}}{{end}}{{$x}}";
    let template = Template::parse("t", text, &|name| name == "wrap").unwrap();
    let budget = Budget { output_bytes: 100_000, ..Budget::default() };
    let error = template.execute(&Value::Nil, &mut Wrap, &budget).unwrap_err();
    assert!(error.to_string().contains("the text is longer than"), "{error}");
}

#[test]
fn huge_widths_and_precisions_print() {
    for verb in ["d", "x", "U", "f", "e", "g", "s", "q", "c", "v", "t", "X"] {
        for flags in ["", "0", "#", "-", "+"] {
            for number in ["900000", ".900000", "900000.900000"] {
                let format = format!("%{flags}{number}{verb}");
                for arg in [Value::Int(1), Value::Float(0.1), "x".into(), true.into()] {
                    assert!(sprintf(format.as_bytes(), &[arg], 4_000_000).is_ok(), "{format}");
                }
            }
        }
    }
    let stars = [Value::Int(i64::MIN), Value::Int(i64::MIN), Value::Int(1)];
    assert_eq!(sprintf(b"%*.*d", &stars, 100).unwrap(), b"%!(BADWIDTH)%!(BADPREC)1");
}

#[test]
fn output_is_bytes() {
    let template = Template::parse("t", b"\xff{{.}}\xfe", &|_| false).unwrap();
    let output = template.execute(&Value::string(b"\x80\x00".as_slice()), &mut NoFunctions, &Budget::default());
    assert_eq!(output.unwrap(), b"\xff\x80\x00\xfe");
}

#[test]
fn format_value_stops_at_its_limit() {
    assert_eq!(format_value(&1.5.into(), 3).unwrap(), b"1.5");
    assert_eq!(format_value(&"abcd".into(), 3), Err(TooLong { limit: 3 }));
    assert_eq!(sprintf(b"%5d", &[1.into()], 4), Err(TooLong { limit: 4 }));
}

/// Pieces that make texts which get past the lexer often enough.
fn fragments() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "{{",
        "}}",
        "{{- ",
        " -}}",
        "if ",
        "else ",
        "end",
        "range ",
        "with ",
        "define ",
        "template ",
        "block ",
        "break",
        "continue",
        "\"a\"",
        "`r`",
        "'c'",
        "1",
        "-2.5",
        "0x1p3",
        "$x",
        "$",
        ":= ",
        "= ",
        ", ",
        ".",
        ".a",
        ".b.c",
        "(",
        ")",
        "|",
        " ",
        "\n",
        "nil",
        "true",
        "printf ",
        "\"%v %[2]*.[1]*d\"",
        "index ",
        "slice ",
        "len ",
        "eq ",
        "and ",
        "not ",
        "html ",
        "/*",
        "*/",
        "é",
        "\u{0}",
        "{{end}}",
        "{{else}}",
        "{{range .list}}",
        "{{if .a}}",
        "{{$x := 1}}",
    ]);
    prop::collection::vec(pieces, 0..30).prop_map(|pieces| pieces.concat())
}

fn tiny() -> Budget {
    Budget { template_depth: 20, steps: 2_000, output_bytes: 10_000 }
}

proptest! {
    #[test]
    fn never_panics_on_any_bytes(text in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(template) = Template::parse("t", &text, &|_| true) {
            let _ = template.execute(&Value::Nil, &mut NoFunctions, &tiny());
        }
    }

    #[test]
    fn never_panics_on_template_like_text(text in fragments(), data in any::<i64>()) {
        let list = Value::List(List::any(vec![data.into(), "s".into(), Value::Nil]));
        let data = Value::Map(Map::any([("a", data.into()), ("list", list)]));
        let _ = run_with(&text, &data, &tiny());
    }

    #[test]
    fn never_panics_on_any_action(inner in "[ -~]{0,40}") {
        let _ = run_with(&format!("{{{{{inner}}}}}"), &Value::Nil, &tiny());
    }

    #[test]
    fn never_panics_on_any_format(format in "(%[-+# 0]*[0-9\\[\\]*.]{0,6}[a-zA-Z%]?|.){0,6}", int in any::<i64>(), float in any::<f64>(), text in any::<String>()) {
        let args = [int.into(), float.into(), text.into(), Value::Nil];
        let _ = sprintf(format.as_bytes(), &args, 2_000);
    }

    #[test]
    fn floats_read_back_the_same(float in any::<f64>()) {
        let text = String::from_utf8(format_value(&float.into(), 100).unwrap()).unwrap();
        if float.is_finite() {
            prop_assert_eq!(text.parse::<f64>().unwrap(), float);
            let hex = String::from_utf8(sprintf(b"%x", &[float.into()], 100).unwrap()).unwrap();
            prop_assert_eq!(super::float::parse_float(&hex), Some(float));
        }
    }

    #[test]
    fn quoting_reads_back_the_same(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
        let quoted = super::text::quote(&bytes);
        prop_assert_eq!(super::text::unquote(quoted.as_bytes()).unwrap(), bytes);
    }

    #[test]
    fn text_without_actions_is_itself(text in "[^{]{0,100}") {
        prop_assert_eq!(run(&text).unwrap(), text);
    }
}
