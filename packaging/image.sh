#!/usr/bin/env bash
# Makes a container image of a static binary and nothing else: corenode:VERSION, which runs the store and its doors.
#
#   packaging/image.sh BINARY
#
# Where no Docker engine answers it says so and makes nothing.
set -euo pipefail
binary=$(realpath "$1")
cd "$(dirname "$0")/.."
if ! timeout 10 docker info >/dev/null 2>&1; then
    echo "no Docker engine answers here: the image is not made" >&2
    exit 0
fi
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
install -D -m 755 "$binary" "$work/usr/bin/node"
mkdir -p "$work"/{etc/node,run/node,var/lib/node} && install -d -m 1777 "$work/tmp"
for name in etcd fleetctl etcdctl confd; do
    ln -s node "$work/usr/bin/$name"
done
# Units are no matter of a container: it has no init. Its data are a volume's.
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@${SOURCE_DATE_EPOCH:-0}" -c . |
    docker import --change 'ENTRYPOINT ["/usr/bin/node"]' --change 'CMD ["run"]' --change 'ENV PATH=/usr/bin' \
        --change 'ENV NODE_FLEET_ENABLED=false' --change 'VOLUME /var/lib/node' --change 'EXPOSE 2379 2380' \
        - "corenode:$version" >/dev/null
echo "corenode:$version"
