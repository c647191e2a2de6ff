#!/bin/sh
# Has vagrant read the Vagrantfile, alone and with the samples as they are. Installs vagrant on a Debian machine where it can.
set -eu
cd "$(dirname "$0")"
if ! command -v vagrant >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -q && apt-get install -q -y --no-install-recommends vagrant; } >/dev/null || true
fi
if ! command -v vagrant >/dev/null; then
    echo "vagrant is not installed, and cannot be: its files are not looked at" >&2
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export VAGRANT_HOME="$work/home" VAGRANT_CHECKPOINT_DISABLE=1
mkdir -p "$work/plain" "$work/full"
cp -r ../config "$work/config"
cp Vagrantfile provision.sh "$work/plain"
cp Vagrantfile provision.sh "$work/full"
sed 's/^#\$/$/' config.rb.sample >"$work/full/config.rb"
sed -i '/^\$shared_folders/d' "$work/full/config.rb"
cp user-data.sample "$work/full/user-data"
for which in plain full; do
    echo "vagrant validate, $which:"
    (cd "$work/$which" && vagrant validate --ignore-provider)
done
