package main

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"text/template"
)

// KVPair is a struct with exported fields, as template functions return them.
type KVPair struct {
	Key   string
	Value string
}

// KVPairs is a named slice type.
type KVPairs []KVPair

// Month is a named integer that prints as text.
type Month int

func (m Month) String() string { return [...]string{"", "January", "February", "March"}[m] }

// Clock is a value with methods.
type Clock struct{ hour int }

func (c Clock) String() string      { return fmt.Sprintf("%02d:00", c.hour) }
func (c Clock) Hour() int           { return c.hour }
func (c Clock) Unix() int64         { return int64(c.hour) * 3600 }
func (c Clock) Month() Month        { return 2 }
func (c Clock) Add(hours int) Clock { return Clock{c.hour + hours} }
func (c Clock) Format(layout string) string {
	return strings.ReplaceAll(layout, "15", fmt.Sprint(c.hour))
}
func (c Clock) Join(sep string, p ...string) string { return strings.Join(p, sep) }
func (c Clock) Fail() (string, error)               { return "", errors.New("clock stopped") }

var functions = template.FuncMap{
	"pair":   func() KVPair { return KVPair{"/a", "1"} },
	"pairs":  func() KVPairs { return KVPairs{{"/a", "1"}, {"/b", "two"}} },
	"none":   func() KVPairs { return KVPairs{} },
	"strs":   func(s ...string) []string { return append([]string{}, s...) },
	"ints":   func() []int { return []int{1, 2, 3} },
	"u8":     func() uint8 { return 200 },
	"u16":    func() uint16 { return 8080 },
	"u64":    func() uint64 { return math.MaxUint64 },
	"i64":    func() int64 { return -5 },
	"min":    func() int { return math.MinInt64 },
	"add":    func(a, b int) int { return a + b },
	"half":   func(f float64) float64 { return f / 2 },
	"flip":   func(b bool) bool { return !b },
	"up":     strings.ToUpper,
	"fail":   func(m string) (string, error) { return "", errors.New(m) },
	"null":   func() interface{} { return nil },
	"echo":   func(v interface{}) interface{} { return v },
	"show":   func(v interface{}) string { return fmt.Sprintf("%T %v", v, v) },
	"opt":    func(k string, d ...string) string { return k + "/" + strings.Join(d, ",") },
	"join":   func(l []string, sep string) string { return strings.Join(l, sep) },
	"npairs": func(l []KVPair) int { return len(l) },
	"keys":   func(m map[string]interface{}) int { return len(m) },
	"unsig":  func(u uint16) uint16 { return u },
	"take":   func(p KVPair) string { return p.Key },
	"dict": func(kv ...interface{}) (map[string]interface{}, error) {
		m := map[string]interface{}{}
		if len(kv)%2 != 0 {
			return nil, errors.New("odd number of arguments")
		}
		for i := 0; i < len(kv); i += 2 {
			k, ok := kv[i].(string)
			if !ok {
				return nil, errors.New("keys must be strings")
			}
			m[k] = kv[i+1]
		}
		return m, nil
	},
	"list":     func(v ...interface{}) []interface{} { return append([]interface{}{}, v...) },
	"strmap":   func() map[string]string { return map[string]string{"b": "2", "a": "1"} },
	"raw":      func() string { return "a\xffb\xe4\xb8" },
	"nan":      func() float64 { return math.NaN() },
	"inf":      func() float64 { return math.Inf(1) },
	"neginf":   func() float64 { return math.Inf(-1) },
	"clock":    func() Clock { return Clock{7} },
	"month":    func() Month { return 1 },
	"integers": integers,
	"floats":   floats,
	"strings":  texts,
	"bools":    func() []interface{} { return []interface{}{true, false, nil} },
	"args":     mixed,
}

func integers() []interface{} {
	return []interface{}{0, 1, -42, 65, 0x1F600, math.MinInt64, int64(7), uint8(200), uint64(math.MaxUint64)}
}

func floats() []interface{} {
	return []interface{}{
		0.0, math.Copysign(0, -1), 1.0, -2.5, 3.14159265358979, 100.0, 123456789.0, 1e6, 1e21, 1e-7, 0.1, math.NaN(), math.Inf(1),
		math.Inf(-1),
	}
}

func texts() []interface{} {
	return []interface{}{"", "héllo", "a\"b`c\n\t\\\x00\u200b\x7f", "日本語", "x\xffy", "back`tick"}
}

// mixed are the values every verb is tried on.
func mixed() []interface{} {
	return []interface{}{
		1, uint8(200), -2.5, "a b", "x\xffy", true, nil,
		[]string{"a", "b c"}, []int{1, -2}, []interface{}{1, "a", nil, 2.5, []interface{}{}},
		map[string]interface{}{"k": "v", "a": []interface{}{1, nil}}, map[string]string{},
		KVPair{"/k", "v"}, KVPairs{{"/k", "v"}}, Month(1), []Month{2},
	}
}
