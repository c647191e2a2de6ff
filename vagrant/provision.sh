#!/bin/sh
# Makes a Debian machine a node. Vagrant runs it on each machine; the hosts of integration/hosts are laid out by it too.
#
#   vagrant/provision.sh --root FOLDER BINARY      lays a node out below FOLDER: binary, links, configuration, units
#   vagrant/provision.sh BINARY [USER-DATA]        does it on this machine, and has it do what the user-data says at every boot
#
# Safe to run again: what is there already is replaced.
set -eu

config=$(cd "$(dirname "$0")/.." && pwd)/config
die() { echo "provision: $*" >&2; exit 1; }

lay_out() {
    root=$1 binary=$2
    [ -x "$binary" ] || die "$binary is no binary; \`make static\` builds one"
    mkdir -p "$root/usr/bin" "$root/etc/node/node.toml.d" "$root/usr/lib/systemd/system"
    # Beside its place first: a node that runs keeps the file that it was started from.
    cp "$binary" "$root/usr/bin/node.new"
    chmod 755 "$root/usr/bin/node.new"
    mv "$root/usr/bin/node.new" "$root/usr/bin/node"
    for name in fleetctl etcdctl confd; do
        ln -sf node "$root/usr/bin/$name"
    done
    cp "$config/etc/node/node.toml" "$root/etc/node/node.toml"
    cp "$config"/usr/lib/systemd/system/*.service "$root/usr/lib/systemd/system/"
}

if [ "$1" = --root ]; then
    lay_out "$2" "$3"
    exit 0
fi

[ "$(id -u)" = 0 ] || die "it needs root"
if ! command -v dockerd >/dev/null || ! command -v curl >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get install -q -y --no-install-recommends docker.io curl ca-certificates
fi
lay_out "" "$1"
systemctl daemon-reload
if [ -n "${2:-}" ]; then
    install -D -m 600 "$2" /var/lib/node-cloudinit/user-data
    systemctl enable node-cloudinit.service
    systemctl restart node-cloudinit.service
else
    systemctl enable node.service
    systemctl restart node.service
fi
