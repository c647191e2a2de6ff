#!/bin/sh
# Prepares this machine for integration/hosts: packages, a Docker engine, the image that a host boots from.
#
#   integration/hosts/provision.sh        (as root, on Debian)
#
# Progress goes to stderr; the last and only line on stdout is the image's name, which lab.rs boots.
# Safe to run again, and by several runs at once: what is there already is used as it is.
#
#   CORENODE_CACHE   where the engine keeps its data and images are built (default /var/cache/corenode-test)
set -eu

CACHE=${CORENODE_CACHE:-/var/cache/corenode-test}
APT_LIMIT_SECS=600
ENGINE_LIMIT_SECS=60
BOOTSTRAP_LIMIT_SECS=900
LOCK_LIMIT_SECS=1800

# The recipe: a change of any of these lines, or of build_root below, is a new image.
SUITE=bookworm
HOST_PACKAGES=systemd,systemd-sysv,dbus,iproute2,iptables,procps,curl,ca-certificates,docker.io,nginx-light

say() { echo "provision: $* ($(($(date +%s) - started)) s)" >&2; }
die() { echo "provision: $*" >&2; exit 1; }

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# Installs what is missing of the packages that building, running and testing hosts need.
install_packages() {
    missing=
    command -v dockerd >/dev/null || missing=" docker.io"
    for package in iptables debootstrap debian-archive-keyring busybox-static etcd-client etcd-server podman libfaketime strace; do
        installed $package || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    say "installing:$missing"
    log=$CACHE/apt.log
    export DEBIAN_FRONTEND=noninteractive
    # A source of other packages that does not answer is no reason to give up: the install decides.
    timeout $APT_LIMIT_SECS apt-get update -q >"$log" 2>&1 9>&- || true
    # shellcheck disable=SC2086  # a list of words
    timeout $APT_LIMIT_SECS apt-get install -q -y --no-install-recommends \
        -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 $missing >>"$log" 2>&1 9>&- ||
        { tail -n 20 "$log" >&2; die "apt-get could not install:$missing; the whole log is $log"; }
}

engine_answers() { timeout 10 docker info >/dev/null 2>&1; }

# Whether process $1 runs the program $2. A process that has ended and that nobody has reaped yet does not.
runs() { grep -q "^[0-9]* ($2) [^ZX]" "/proc/$1/stat" 2>/dev/null; }

# Removes the file $1 unless the process that it names runs $2: after a crash an engine takes whatever has that
# number by then for another engine, and refuses to start.
drop_stale() {
    if [ -s "$1" ] && ! runs "$(cat "$1")" "$2"; then
        rm -f "$1"
    fi
}

# Starts an engine by hand where none answers, as on a machine without an init; it is left running for the next run.
start_engine() {
    engine_answers && return 0
    log=$CACHE/dockerd.log
    pidfile=$CACHE/dockerd.pid
    engine=none
    : >"$log"
    waited=0
    until engine_answers; do
        drop_stale "$pidfile" dockerd
        drop_stale /var/run/docker/containerd/containerd.pid containerd
        if [ ! -s "$pidfile" ] && ! runs $engine dockerd && ! runs $engine setsid; then
            # The engine outlives this script, so it must not keep open what this script inherited or locked.
            setsid dockerd --data-root "$CACHE/docker" --pidfile "$pidfile" \
                </dev/null >>"$log" 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
            engine=$!
        fi
        if [ $waited -ge $((ENGINE_LIMIT_SECS * 5)) ]; then
            tail -n 20 "$log" >&2
            die "no Docker engine answers after $ENGINE_LIMIT_SECS s; its log is $log"
        fi
        sleep 0.2
        waited=$((waited + 1))
    done
    say "engine is up, data in $CACHE/docker"
}

# The mirror that this machine's apt uses for the suite.
mirror() {
    # shellcheck disable=SC2016  # apt-get expands these
    found=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk -v suite=$SUITE '$1 == suite && $2 == "main" { print $3; exit }')
    echo "${found:-http://deb.debian.org/debian/}"
}

# Makes the file system of a host in directory $1.
build_root() {
    root=$1
    proxy=
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    if [ -n "$proxy" ] && [ "$proxy" != DIRECT ]; then
        export http_proxy="$proxy"
    fi
    # In a mount namespace of its own, so that nothing stays mounted below the root, however this ends.
    timeout $BOOTSTRAP_LIMIT_SECS unshare --mount debootstrap --variant=minbase \
        --include=$HOST_PACKAGES $SUITE "$root" "$(mirror)" >"$CACHE/debootstrap.log" 2>&1 ||
        { tail -n 20 "$CACHE/debootstrap.log" >&2; die "debootstrap failed; the whole log is $CACHE/debootstrap.log"; }

    # Podman has alternatives among what it depends on, which debootstrap takes all of.
    timeout $BOOTSTRAP_LIMIT_SECS chroot "$root" sh -ec 'export DEBIAN_FRONTEND=noninteractive
        apt-get update -q; apt-get install -q -y --no-install-recommends podman' >"$CACHE/podman.log" 2>&1 ||
        { tail -n 20 "$CACHE/podman.log" >&2; die "podman cannot be installed; the whole log is $CACHE/podman.log"; }

    # Every host makes its own id at its first boot, and keeps it.
    : >"$root/etc/machine-id"
    rm -f "$root/var/lib/dbus/machine-id"
    # The journal survives a loss of power, and no line of it is dropped.
    mkdir -p "$root/var/log/journal" "$root/etc/systemd/journald.conf.d"
    printf '[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\nSyncIntervalSec=1s\nSystemMaxUse=200M\n' \
        >"$root/etc/systemd/journald.conf.d/hosts.conf"
    # Up on every boot: the Docker engine. What a test wants besides, it starts itself.
    chroot "$root" systemctl --quiet enable docker.service containerd.service
    chroot "$root" systemctl --quiet disable nginx.service podman.service podman.socket podman-restart.service \
        podman-auto-update.service podman-auto-update.timer
    # What makes no sense in a container, or wakes up in the middle of a test.
    chroot "$root" systemctl --quiet mask getty.target console-getty.service apt-daily.timer apt-daily-upgrade.timer \
        dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-timesyncd.service
    # Weight, and what this machine's apt said about where packages come from.
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log "$root"/var/log/apt \
        "$root"/usr/share/doc "$root"/usr/share/man "$root"/usr/share/locale \
        "$root/etc/apt/sources.list" "$root/etc/resolv.conf" "$root/etc/hostname"
}

build_image() {
    docker image inspect "$IMAGE" >/dev/null 2>&1 && return 0
    rm -rf --one-file-system "$CACHE"/build.*
    build=$CACHE/build.$$
    trap 'rm -rf --one-file-system "$build"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    mkdir "$build"
    say "building $IMAGE, which takes about a minute"
    build_root "$build/root"
    tar -C "$build/root" -c . | docker import - "$IMAGE" >/dev/null || die "the engine refused the image $IMAGE"
    say "image is built"
}

started=$(date +%s)
[ "$(id -u)" = 0 ] || die "needs root: it installs packages and runs a Docker engine"
command -v apt-get >/dev/null || die "needs apt-get: hosts are made of Debian packages"
mkdir -p "$CACHE"
exec 9>"$CACHE/lock"
flock -w $LOCK_LIMIT_SECS 9 || die "another run holds $CACHE/lock since more than $LOCK_LIMIT_SECS s"
IMAGE=corenode-test-host:$(sed -n '/^SUITE=/,/^HOST_PACKAGES=/p; /^build_root()/,/^}/p' "$0" | sha256sum | cut -c 1-12)
install_packages
start_engine
build_image
say "ready"
echo "$IMAGE"
