package main

import "fmt"

// each adds a case that prints every value of a list.
func each(cases *[]Case, format, list string) {
	*cases = append(*cases, Case{fmt.Sprintf("{{range %s}}{{printf %s .}}|{{end}}", list, quote(format)), ""})
}

// printfCases tries every verb with many flags on every value of printfArgs, and mistakes in format strings.
func printfCases() []Case {
	var cases []Case
	add := func(format, args string) {
		cases = append(cases, Case{fmt.Sprintf("{{printf %s %s}}", quote(format), args), ""})
	}
	prefixes := []string{
		"+", "-", " ", "0", "-8", "08", "+08", "-08", " 08", "12", "#12", "+#", "# ", ".0", ".1", "8.3", "-8.3", "08.3", "#.3", "+.2", ".",
		"20.10", "#020.5", "030", "-+12.4",
	}
	kinds := []struct{ verbs, args string }{
		{"vdboOxXcqU", "integers"}, {"vbeEfFgGxX", "floats"}, {"vsqxX", "strings"}, {"vTt", "bools"},
	}
	for _, kind := range kinds {
		for _, verb := range kind.verbs {
			for _, prefix := range prefixes {
				each(&cases, "%"+prefix+string(verb), kind.args)
			}
		}
	}
	for _, verb := range "vTtbcdoOqxXUeEfFgGs" {
		for _, prefix := range []string{"", "#", "+6.2"} {
			each(&cases, "%"+prefix+string(verb), "args")
		}
	}
	for _, arg := range []string{`"a"`, "1", "nil", "pair"} {
		add("%p", arg)
	}
	for _, format := range []string{"%z", "%!", "%w", "%é", "%+v", "%#v", "%#+v", "%+#q", "%+ d", "%-+5z"} {
		each(&cases, format, "args")
	}
	for _, c := range [][2]string{
		{"", ""}, {"plain", ""}, {"100%%", ""}, {"%", ""}, {"%d", ""}, {"%d %d", "1"}, {"%d", "1 2"}, {"x", `1 "a" nil 2.5`},
		{"%!", ""}, {"%!", "1"}, {"%5%", ""}, {"%-5%|", "1"}, {"%[1]d %[1]v", "7"}, {"%[2]d %[1]d", "1 2"}, {"%[3]d", "1 2"},
		{"%[0]d", "1"}, {"%[x]d", "1"}, {"%[1d", "1"}, {"%[]d", "1"}, {"%[", "1"}, {"%[1]", "1"}, {"%[1", "1"}, {"%[-1]d", "1"},
		{"%[2]*[1]d", "1 5"}, {"%*d|", "5 42"}, {"%-*d|", "5 42"}, {"%*d|", "-5 42"}, {"%0*d|", "-5 42"}, {"%*d", `"a" 1`},
		{"%*d", "1"}, {"%.*f", "2 3.14159"}, {"%.*f", "-2 3.14159"}, {"%.*f", `"x" 3.14159`}, {"%*.*f|", "10 2 3.14159"},
		{"%[3]*.[2]*[1]f|", "12.0 2 6"}, {"%[1]*d", "3"}, {"%.[2]*[1]f", "1.5 3"}, {"%[2]d %d", "1 2 3"}, {"%[1]d %d %d", "1 2"},
		{"%[1]2d", "1"}, {"%[1].2f", "1.5"}, {"%.[1]2f", "1.5"}, {"%*d", "2000000 1"}, {"%20000000d", "1"}, {"%.20000000d", "1"}, {"%99999999999[1]d", "1"},
		{"%.3s|%.10s|%5.1s|", `"héllo" "ab" "xyz"`}, {"%x %X % x %#x %# X", `"hi" "hi" "hi" "hi" "hi"`}, {"%c%c%c", "72 105 0x4E16"},
		{"%q %q %+q %#q", `'x' "a" 'é' "raw"`}, {"%U %#U", "0x1F600 0x1F600"}, {"%t %v", "true false"}, {"%08.3f|%-8d|%+d", "3.14159 5 5"},
		{"%6.2f%%", "99.5"}, {"%s", "1"}, {"%d", `"a"`}, {"%s", "(strs)"}, {"%s %s", `(list "a" 1) (dict "a" 1)`}, {"%v", "u16"},
		{"%#v", "u16"}, {"%#x", "u16"}, {"%d", "clock.Month"}, {"%v %s %q", "clock clock clock"}, {"%x", "clock"}, {"%z", "month"},
		{"%s", "raw"}, {"%q", "raw"}, {"%x", "raw"}, {"%.2s", "raw"}, {"%é", "1"}, {"%-", "1"}, {"%.", "1"}, {"%4.", "1"}, {"%[1]*.", "4"}, {"% ", "1"}, {"%+-#0 ", "1"},
		{"%3c|%-3c|%03c", "65 65 65"}, {"%c", "-1"}, {"%c", "0xD800"}, {"%q", "0x110000"}, {"%U", "-1"}, {"%T %T %T", "nil 1 pairs"},
		{"%10T|%-10T|", "1 true"}, {"%v %v", "null .x"}, {"%d", "null"}, {"%t", "1"}, {"%o %O %#o", "8 8 8"}, {"%b %#b", "5 5"},
		{"\xff%d\xfe", "1"}, {"%s", `"\xff"`}, {"%\xff", "1"}, {"%6.3v|", "3.14159"}, {"%.3v|", `"abcdef"`}, {"%5v|", "true"}, {"%05v|", `"ab"`},
		{"%v", "(list (list 1 2) (dict))"}, {"%+v", "pair"}, {"%#v", "pair"}, {"%#v", "(list 1 nil (strs `a`))"}, {"%5d", "ints"}, {"%03d", "ints"},
		{"%x", `(strs "ab" "c")`}, {"%q", `(strs "a b" "c")`}, {"%6v|", `(strs "a" "b")`}, {"%d", "(dict `a` 1)"}, {"%v %d", "month month"},
		{"%e %E %g %G", "1234.5678 1234.5678 1e100 1e-100"}, {"%.0f %.0f %.0f", "0.5 1.5 2.5"}, {"%.0e", "15000.0"}, {"%.3g|%.10g", "1234567.0 1234567.0"},
		{"%#g|%#.3g|%#e|%#.0f", "1.0 1.0 1.0 1.0"}, {"%.30f", "0.1"}, {"%.40g", "0.1"}, {"%.400f", "1e-300"}, {"%x %X %.3x", "1.5 1.5 3.14159"},
		{"%f %g %e", "1.7976931348623157e308 1.7976931348623157e308 5e-324"}, {"%b", "1.5"}, {"%+.3e|% .3f", "1.5 1.5"},
	} {
		add(c[0], c[1])
	}
	return cases
}
