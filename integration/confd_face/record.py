#!/usr/bin/env python3
"""Records what confd 0.16 does in each case of the table: exit code, log lines, files.

    integration/confd_face/record.py path/to/confd > integration/confd_face/cases.jsonl

`@` stands for the folder that a case plays in. Debug lines are left out: they name Go's own values.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

CASES = [
 ("a new file", {"conf.d/x.toml":'[template]\nsrc="x.tmpl"\ndest="@/x"\nkeys=["/app"]\n',"templates/x.tmpl":'port {{getv "/app/port"}}\n'},"-onetime -backend env",{"APP_PORT":"80"}),
 ("in sync", {"conf.d/x.toml":'[template]\nsrc="x.tmpl"\ndest="@/x"\nmode="0644"\nkeys=["/app"]\n',"templates/x.tmpl":'80',"x":"80"},"-onetime -backend env -log-level debug",{"APP_PORT":"80"}),
 ("changed", {"conf.d/x.toml":'[template]\nsrc="x.tmpl"\ndest="@/x"\nkeys=["/app"]\ncheck_cmd="grep -q new {{.src}}"\nreload_cmd="echo hi"\n',"templates/x.tmpl":'new',"x":"old"},"-onetime -backend env -log-level debug",{}),
 ("mode", {"conf.d/x.toml":'[template]\nsrc="x.tmpl"\ndest="@/x"\nmode="0600"\n',"templates/x.tmpl":'80',"x":"80"},"-onetime -backend env",{}),
 ("noop", {"conf.d/x.toml":'[template]\nsrc="x.tmpl"\ndest="@/x"\n',"templates/x.tmpl":'new',"x":"old"},"-onetime -noop -backend env",{}),
 ("check fails", {"conf.d/x.toml":'[template]\nsrc="x.tmpl"\ndest="@/x"\ncheck_cmd="echo no; exit 3"\nreload_cmd="echo reloaded > @/r"\n',"templates/x.tmpl":'new',"x":"old"},"-onetime -backend env",{}),
 ("reload fails", {"conf.d/x.toml":'[template]\nsrc="x.tmpl"\ndest="@/x"\nreload_cmd="echo no; exit 3"\n',"templates/x.tmpl":'new',"x":"old"},"-onetime -backend env",{}),
 ("sync only", {"conf.d/x.toml":'[template]\nsrc="x.tmpl"\ndest="@/x"\ncheck_cmd="exit 3"\nreload_cmd="exit 3"\n',"templates/x.tmpl":'new',"x":"old"},"-onetime -sync-only -backend env",{}),
 ("missing key", {"conf.d/x.toml":'[template]\nsrc="x.tmpl"\ndest="@/x"\nkeys=["/app"]\n',"templates/x.tmpl":'a\n{{getv "/app/none"}}',"x":"old"},"-onetime -backend env",{}),
 ("missing template", {"conf.d/x.toml":'[template]\nsrc="x.tmpl"\ndest="@/x"\n'},"-onetime -backend env",{}),
 ("bad template", {"conf.d/x.toml":'[template]\nsrc="x.tmpl"\ndest="@/x"\n',"templates/x.tmpl":'a\n{{if}}'},"-onetime -backend env",{}),
 ("empty src", {"conf.d/x.toml":'[template]\ndest="@/x"\n'},"-onetime -backend env",{}),
 ("broken toml", {"conf.d/x.toml":'[template\n',"conf.d/y.toml":'[template]\nsrc="y.tmpl"\ndest="@/y"\n',"templates/y.tmpl":"y"},"-onetime -backend env",{}),
 ("no templates", {"conf.d/.keep":''},"-onetime -backend env",{}),
 ("no conf.d", {"templates/x":''},"-onetime -backend env",{}),
 ("no confdir", {},"-onetime -backend env -confdir /nonexistent",{}),
 ("two, one fails", {"conf.d/a.toml":'[template]\nsrc="none.tmpl"\ndest="@/a"\n',"conf.d/b.toml":'[template]\nsrc="b.tmpl"\ndest="@/b"\n',"templates/b.tmpl":"b"},"-onetime -backend env",{}),
 ("unknown flag", {},"-onetime -nope",{}),
 ("bad backend", {},"-onetime -backend nope",{}),
 ("bad level", {},"-onetime -backend env -log-level loud",{}),
 ("version", {},"-version",{}),
 ("prefix", {"conf.d/x.toml":'[template]\nsrc="x.tmpl"\ndest="@/x"\nprefix="/own"\nkeys=["/port"]\n',"templates/x.tmpl":'{{getv "/port"}}'},"-onetime -backend env -prefix /app",{"APP_PORT":"80","OWN_PORT":"81"}),
 ("own prefix", {"conf.d/x.toml":'[template]\nsrc="x.tmpl"\ndest="@/x"\nprefix="/own"\nkeys=["/port"]\n',"templates/x.tmpl":'{{getv "/port"}}'},"-onetime -backend env",{"APP_PORT":"80","OWN_PORT":"81"}),
 ("file yaml", {"conf.d/x.toml":'[template]\nsrc="x.tmpl"\ndest="@/x"\nkeys=["/app"]\n',"templates/x.tmpl":'{{range gets "/app/*"}}{{.Key}}={{.Value}}\n{{end}}{{range gets "/app/list/*"}}{{.Value}} {{end}}',"k.yaml":"app:\n  a: 1\n  b: yes\n  c: 1.50\n  d: text\n  e: 0x10\n  f: 1e3\n  g: ~\n  h: 010\n  i: 2001-01-01\n  j: \"010\"\n  list: [x, y]\nother: no\n"},"-onetime -backend file -file @/k.yaml",{}),
 ("file json", {"conf.d/x.toml":'[template]\nsrc="x.tmpl"\ndest="@/x"\nkeys=["/app"]\n',"templates/x.tmpl":'{{range gets "/app/*"}}{{.Key}}={{.Value}}\n{{end}}',"k.json":'{"app": {"a": 1, "b": true, "c": null, "d": "x", "e": 1.5e10}}'},"-onetime -backend file -file @/k.json",{}),
 ("file missing", {"conf.d/x.toml":'[template]\nsrc="x.tmpl"\ndest="@/x"\nkeys=["/app"]\n',"templates/x.tmpl":'x'},"-onetime -backend file -file @/none.yaml",{}),
 ("keep stage", {"conf.d/x.toml":'[template]\nsrc="x.tmpl"\ndest="@/x"\n',"templates/x.tmpl":'new',"x":"old"},"-onetime -noop -keep-stage-file -backend env",{}),
 ("config file", {"conf.d/x.toml":'[template]\nsrc="x.tmpl"\ndest="@/x"\n',"templates/x.tmpl":'new',"confd.toml":'backend = "env"\nlog-level = "error"\nunknown = 3\n'},"-onetime -config-file @/confd.toml",{}),
 ("bad config file", {"confd.toml":'interval = "x"\n'},"-onetime -config-file @/confd.toml",{}),
 ("empty keys", {"conf.d/x.toml":'[template]\nsrc="x.tmpl"\ndest="@/x"\nkeys=[]\n',"templates/x.tmpl":'{{range gets "/*"}}{{.Key}}{{end}}end'},"-onetime -backend env",{"A":"1"}),
 ("dest dir missing", {"conf.d/x.toml":'[template]\nsrc="x.tmpl"\ndest="@/none/x"\n',"templates/x.tmpl":'x'},"-onetime -backend env",{}),
]


def record(binary, folder, case):
    name, files, args, env = case
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for path, text in files.items():
        path = os.path.join(folder, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text.replace("@", folder))
        os.chmod(path, 0o644)
    words = args.split()
    if "-confdir" not in words:
        words += ["-confdir", "@"]
    if "-config-file" not in words:
        words += ["-config-file", "/nonexistent"]
    argv = [binary] + [word.replace("@", folder) for word in words]
    ended = subprocess.run(argv, capture_output=True, text=True, env={"PATH": os.environ["PATH"], **env}, timeout=20)
    lines = re.sub(r"^\S+ \S+ \S*\[\d+\]: ", "", ended.stderr, flags=re.M).replace(folder, "@")
    lines = [re.sub(r"/\.(\w+?)\d{5,}", r"/.\1N", line) for line in lines.splitlines()]
    if ended.returncode == 2:
        lines = lines[:1]
    outs = {}
    for out in ["x", "y", "a", "b", "r"]:
        if os.path.isfile(os.path.join(folder, out)):
            with open(os.path.join(folder, out)) as file:
                outs[out] = file.read()
    return {
        "name": name,
        "files": files,
        "args": words,
        "env": env,
        "exit": ended.returncode,
        "lines": [line for line in lines if not line.startswith("DEBUG")],
        "outs": outs,
    }


with tempfile.TemporaryDirectory() as base:
    for case in CASES:
        print(json.dumps(record(sys.argv[1], os.path.join(base, "w"), case)))
