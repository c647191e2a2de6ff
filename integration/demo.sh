#!/usr/bin/env bash
# The main job, once: three nodes on loopback run a service and the sidekick that registers it, a config file follows the
# registrations, a machine is lost, the unit moves and the file changes. Each step shows the command and what came back.
set -euo pipefail

node=$(readlink -f "$1")
work=$(mktemp -d)
dev=
cleanup() {
  if [ -n "$dev" ]; then
    kill "$dev" 2>/dev/null || true
    wait "$dev" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap cleanup EXIT

fail() {
  echo "demo: $*" >&2
  exit 1
}

# wait_for WHAT SECONDS CONDITION…: until the condition holds, at most so long.
wait_for() {
  local what=$1 deadline=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || fail "waited in vain for $what"
    kill -0 "$dev" 2>/dev/null || fail "the cluster ended while waiting for $what"
    sleep 0.1
  done
}

show() {
  printf '\n$ %s\n' "$*"
  "$@"
}

# The binary under the names that scripts of old call.
mkdir -p "$work/bin" "$work/confd/conf.d" "$work/confd/templates" "$work/units"
for name in node etcdctl fleetctl confd; do ln -s "$node" "$work/bin/$name"; done
PATH=$work/bin:$PATH

cat >"$work/units/web@.service" <<UNIT
[Unit]
Description=A small service, instance %i

[Service]
ExecStart=/bin/sh -c 'echo web %i is up; exec sleep infinity'

[X-Fleet]
Conflicts=web@*.service
MachineMetadata=node=dev-1
MachineMetadata=node=dev-2
UNIT

cat >"$work/units/web-register@.service" <<UNIT
[Unit]
Description=Registers web@%i while it runs
BindsTo=web@%i.service
After=web@%i.service

[Service]
EnvironmentFile=$work/cluster.env.plain
ExecStart=/bin/sh -c 'while true; do $work/bin/etcdctl set /services/web/%i "127.0.0.1:808%i on %m" --ttl 5; sleep 2; done'
ExecStop=-$work/bin/etcdctl rm /services/web/%i

[X-Fleet]
MachineOf=web@%i.service
UNIT

cat >"$work/confd/conf.d/upstreams.toml" <<RESOURCE
[template]
src = "upstreams.conf.tmpl"
dest = "$work/upstreams.conf"
keys = ["/services/web"]
check_cmd = "grep -q upstream {{.src}}"
reload_cmd = "echo reloaded >> $work/reloads"
RESOURCE

cat >"$work/confd/templates/upstreams.conf.tmpl" <<'TEMPLATE'
upstream web {
{{range gets "/services/web/*"}}  server {{.Value}}; # {{base .Key}}
{{end}}}
TEMPLATE

printf '\n$ node dev --nodes 3 --env cluster.env --confdir confd &\n'
node dev --nodes 3 --env "$work/cluster.env" --confdir "$work/confd" &
dev=$!
wait_for "the cluster to serve" 60 test -e "$work/cluster.env"
. "$work/cluster.env"
sed 's/^export //' "$work/cluster.env" >"$work/cluster.env.plain"

show fleetctl list-machines
show etcdctl endpoint status
show fleetctl submit "$work/units/web@.service" "$work/units/web-register@.service"
show fleetctl list-unit-files
show fleetctl start web@1.service web-register@1.service
show fleetctl list-units

has_line() { grep -q "server 127.0.0.1:8081 on" "$work/upstreams.conf"; }
wait_for "the config file to name web@1" 20 has_line
show etcdctl get /services/web/1
show cat "$work/upstreams.conf"
show fleetctl journal web@1.service

machine=$(fleetctl list-units --full --no-legend --fields unit,machine | awk '$1 == "web@1.service" {split($2, m, "/"); print m[1]}')
metadata=$(fleetctl list-machines --full --no-legend --fields machine,metadata | awk -v m="$machine" '$1 == m {print $2}')
lost=${metadata#node=}
printf '\nweb@1 runs on %s. That machine is lost now.\n' "$lost"
show node dev lose "$lost" --env "$work/cluster.env"

# Another node is asked, as the one that was lost may be the one that fleetctl was pointed at.
IFS=, read -ra endpoints <<<"$ETCDCTL_ENDPOINTS"
export FLEETCTL_ENDPOINT=${endpoints[2]} ETCDCTL_ENDPOINTS=${endpoints[2]}
moved() {
  local at
  at=$(fleetctl list-units --full --no-legend --fields unit,machine,active |
    awk '$1 == "web@1.service" && $3 == "active" {split($2, m, "/"); print m[1]}')
  [ -n "$at" ] && [ "$at" != "$machine" ]
}
wait_for "web@1 to run elsewhere" 30 moved
file_changed() { has_line && ! grep -q "$machine" "$work/upstreams.conf"; }
wait_for "the config file to follow" 30 file_changed
show fleetctl list-machines
show fleetctl list-units
show cat "$work/upstreams.conf"

show fleetctl destroy web-register@1.service web@1.service
emptied() { ! grep -q server "$work/upstreams.conf"; }
wait_for "the config file to be empty again" 30 emptied
show cat "$work/upstreams.conf"

kill "$dev"
wait "$dev" || fail "the cluster did not end cleanly"
dev=
if pgrep -f "$work" >/dev/null 2>&1; then fail "something is still running: $(pgrep -af "$work")"; fi
printf '\nThe cluster is gone again. That was the main job.\n'
