// Renders a template over keys with Go's text/template and confd's gets and base, and prints how long one render takes.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path"
	"sort"
	"strings"
	"text/template"
	"time"
)

type KVPair struct{ Key, Value string }

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	keys := map[string]string{}
	file, err := os.Open(os.Args[2])
	if err != nil {
		panic(err)
	}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), "=")
		keys[key] = value
	}
	gets := func(pattern string) ([]KVPair, error) {
		var found []KVPair
		for key, value := range keys {
			if matched, err := path.Match(pattern, key); err != nil {
				return nil, err
			} else if matched {
				found = append(found, KVPair{key, value})
			}
		}
		sort.Slice(found, func(a, b int) bool { return found[a].Key < found[b].Key })
		return found, nil
	}
	functions := template.FuncMap{"gets": gets, "base": path.Base}
	parsed, err := template.New("nginx").Funcs(functions).Parse(string(text))
	if err != nil {
		panic(err)
	}
	var out bytes.Buffer
	var best time.Duration
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		out.Reset()
		began := time.Now()
		if err := parsed.Execute(&out, nil); err != nil {
			panic(err)
		}
		if took := time.Since(began); best == 0 || took < best {
			best = took
		}
	}
	fmt.Println(best.Nanoseconds(), out.Len())
}
