// Command gotemplate runs the template cases of this folder through Go's own text/template and writes what happened as
// JSON lines, one per case, to standard output: the vectors src/gotemplate is compared with.
//
//	go run . > vectors.jsonl
//
// Random templates, as many as one likes, for CORENODE_GOTEMPLATE_VECTORS of the test of the vectors:
//
//	go run . -fuzz 20000 -seed 7 > random.jsonl
//
// Go 1.19 is enough. Cases whose result changed in later versions are not here but in the unit tests.
package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"text/template"
	"unicode/utf8"
)

// Case is a template and the JSON text of its data (empty: nil).
type Case struct {
	Template string
	Data     string
}

// Vector is a case with its result; the Hex fields stand for texts that are not valid UTF-8.
type Vector struct {
	Template    string `json:"template,omitempty"`
	TemplateHex string `json:"template_hex,omitempty"`
	Data        string `json:"data,omitempty"`
	Output      string `json:"output,omitempty"`
	OutputHex   string `json:"output_hex,omitempty"`
	ParseError  string `json:"parse_error,omitempty"`
	ExecError   string `json:"exec_error,omitempty"`
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	fuzz := flag.Int("fuzz", 0, "write the results of so many random templates instead")
	seed := flag.Int64("seed", 1, "which random templates")
	flag.Parse()
	cases := append(languageCases(), printfCases()...)
	if *fuzz > 0 {
		cases = fuzzCases(*seed, *fuzz)
	}
	for _, c := range cases {
		if err := encoder.Encode(run(c)); err != nil {
			panic(err)
		}
	}
}

func run(c Case) Vector {
	v := Vector{Data: c.Data}
	v.Template, v.TemplateHex = split(c.Template)
	var data interface{}
	if c.Data != "" {
		if err := json.Unmarshal([]byte(c.Data), &data); err != nil {
			panic(fmt.Sprintf("data of %q: %v", c.Template, err))
		}
	}
	t, err := template.New("case").Funcs(functions).Parse(c.Template)
	if err != nil {
		v.ParseError = err.Error()
		return v
	}
	var buffer bytes.Buffer
	if err := t.Execute(&buffer, data); err != nil {
		v.ExecError = err.Error()
		return v
	}
	v.Output, v.OutputHex = split(buffer.String())
	return v
}

// split returns the text, or its hexadecimal form when it is not valid UTF-8.
func split(text string) (plain, coded string) {
	if utf8.ValidString(text) {
		return text, ""
	}
	return "", hex.EncodeToString([]byte(text))
}
