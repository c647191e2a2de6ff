package main

import (
	"fmt"
	"math/rand"
	"strings"
)

// fuzzData is what random templates are executed with.
const fuzzData = `{"a":1,"b":"two","c":[1,"x",null,true],"d":{"e":{"f":2.5},"g":[]},"h":"","i":false,"j":-3e7,"k":"<&'\"é>"}`

var (
	fuzzPaths = []string{".", "$", ".a", ".b", ".c", ".d", ".d.e", ".d.e.f", ".h", ".i", ".j", ".k", ".none", ".b.x", "$x", "$y", "$.d", "$x.Key", "nil"}
	fuzzConst = []string{"1", "0", "-7", "2.5", "1e3", "0x1f", "'a'", `"s"`, `""`, "`raw`", `"%d %v"`, "true", "false", "1_000", "07", `"\u00e9"`}
	fuzzNames = []string{"pair", "pairs", "none", "ints", "u8", "i64", "half", "flip", "up", "echo", "show", "opt", "len", "index", "slice",
		"print", "printf", "println", "html", "js", "urlquery", "not", "and", "or", "eq", "ne", "lt", "le", "gt", "ge", "add", "strs", "join", "null"}
)

// fuzzer makes templates of a grammar, some of them with a fault.
type fuzzer struct{ *rand.Rand }

func (f fuzzer) pick(of []string) string { return of[f.Intn(len(of))] }

// format is a call of printf with up to three verbs, not always with as many arguments.
func (f fuzzer) format(depth int) string {
	var out strings.Builder
	count := 1 + f.Intn(3)
	for n := 0; n < count; n++ {
		out.WriteString(f.pick([]string{"", "", "x ", "é", "%%"}) + "%")
		for f.Intn(3) == 0 {
			out.WriteString(f.pick([]string{"-", "+", "#", " ", "0"}))
		}
		out.WriteString(f.pick([]string{"", "", "", "1", "5", "12", "*", "[2]", "[1]*"}))
		out.WriteString(f.pick([]string{"", "", "", ".", ".0", ".2", ".7", ".*", ".[1]*"}))
		out.WriteString(f.pick([]string{"v", "v", "d", "s", "q", "x", "X", "o", "O", "b", "c", "U", "t", "T", "e", "E", "f", "F", "g", "G", "z", "!", ""}))
	}
	words := []string{"printf", fmt.Sprintf("%q", out.String())}
	for n := count + f.Intn(3) - f.Intn(2); n > 0; n-- {
		words = append(words, f.operand(depth))
	}
	return strings.Join(words, " ")
}

func (f fuzzer) operand(depth int) string {
	switch n := f.Intn(10); {
	case n < 4:
		return f.pick(fuzzPaths)
	case n < 8 || depth <= 0:
		return f.pick(fuzzConst)
	case n < 9:
		return "(" + f.pipeline(depth-1) + ")" + f.pick([]string{"", "", ".Key", ".e"})
	default:
		return f.pick(fuzzNames)
	}
}

func (f fuzzer) command(depth int) string {
	if f.Intn(3) == 0 {
		return f.operand(depth)
	}
	if f.Intn(6) == 0 {
		return f.format(depth)
	}
	words := []string{f.pick(fuzzNames)}
	for n := f.Intn(4); n > 0; n-- {
		words = append(words, f.operand(depth))
	}
	return strings.Join(words, " ")
}

func (f fuzzer) pipeline(depth int) string {
	commands := []string{f.command(depth)}
	for f.Intn(4) == 0 {
		commands = append(commands, f.command(depth))
	}
	return strings.Join(commands, f.pick([]string{" | ", "|"}))
}

func (f fuzzer) action(text string) string {
	left, right := f.pick([]string{"{{", "{{ ", "{{- "}), f.pick([]string{"}}", " }}", " -}}"})
	return left + text + right
}

func (f fuzzer) list(depth int) string {
	var out strings.Builder
	for n := 1 + f.Intn(3); n > 0; n-- {
		out.WriteString(f.pick([]string{"", " ", "text", "\n ", "a b\n"}))
		out.WriteString(f.node(depth))
	}
	return out.String()
}

func (f fuzzer) node(depth int) string {
	if depth <= 0 {
		return f.action(f.pipeline(1))
	}
	body := func() string {
		text := f.list(depth - 1)
		if f.Intn(3) == 0 {
			text += f.action("else") + f.list(depth-1)
		}
		return text + f.action("end")
	}
	switch f.Intn(9) {
	case 0:
		return f.action("if "+f.pipeline(1)) + body()
	case 1:
		return f.action("with "+f.pipeline(1)) + body()
	case 2:
		return f.action("range "+f.pick([]string{"", "$x := ", "$x, $y := "})+f.pipeline(1)) + body()
	case 3:
		return f.action("$x := " + f.pipeline(1))
	case 4:
		return f.action("$x := 1") + f.action("$x = "+f.pipeline(1)) + f.action("$x")
	case 5:
		return f.action(`define "t"`) + f.list(depth-1) + f.action("end") + f.action(`template "t" `+f.operand(1))
	case 6:
		return f.action("/* c */")
	default:
		return f.action(f.pipeline(2))
	}
}

// fuzzCases are random templates; the same seed makes the same ones. One in five has characters that were lost or doubled.
func fuzzCases(seed int64, count int) []Case {
	f := fuzzer{rand.New(rand.NewSource(seed))}
	cases := make([]Case, 0, count)
	for len(cases) < count {
		text := f.action("$x := .b") + f.action("$y := 3") + f.list(2)
		for n := f.Intn(5); n == 0; n = f.Intn(2) {
			at := f.Intn(len(text))
			text = text[:at] + f.pick([]string{"", text[at : at+1]}) + text[at+1:]
			if f.Intn(2) == 0 {
				text = fmt.Sprint(text[:at], text[min(at+1, len(text)):])
			}
		}
		cases = append(cases, Case{text, fuzzData})
	}
	return cases
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}
