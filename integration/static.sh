#!/usr/bin/env bash
# Builds the binary without a dynamic linker, refuses one that has it, and makes it the same wherever it is built: folders of
# this machine are not in it.
#
#   integration/static.sh TARGET [CARGO'S ARGUMENTS…]     (--release where there are none)
set -euo pipefail
cd "$(dirname "$0")/.."
target=$1
shift
[ $# -gt 0 ] || set -- --release

command -v musl-gcc >/dev/null || apt-get install -y -q musl-tools
rustup target list --installed | grep -qx "$target" || rustup target add "$target"
# What panics and C's assertions say of files begins with these names in the place of folders.
here=$PWD home=${CARGO_HOME:-$HOME/.cargo} built=${CARGO_TARGET_DIR:-$PWD/target}
maps="--remap-path-prefix=$home=/cargo --remap-path-prefix=$here=/corenode --remap-path-prefix=$built=/corenode/target"
export RUSTFLAGS="${RUSTFLAGS:-} $maps"
export "CFLAGS_${target//-/_}=-ffile-prefix-map=$home=/cargo -ffile-prefix-map=$here=/corenode -ffile-prefix-map=$built=/corenode/target"
# What `node --version` says of where it comes from.
export CORENODE_COMMIT=${CORENODE_COMMIT:-$(git rev-parse --short=12 HEAD 2>/dev/null || true)}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
cargo build --locked --target "$target" --bin node "$@"
case " $* " in
  *" --release "*) profile=release ;;
  *) profile=debug ;;
esac
binary=$built/$target/$profile/node
# ldd ends with 1 for a static file, so its words are read and not its code.
verdict=$(ldd "$binary" 2>&1 || true)
case $verdict in
  *"statically linked"* | *"not a dynamic executable"*) ;;
  *) echo "$binary is not static: $verdict" >&2; exit 1 ;;
esac
# A folder of this machine in the binary would make it another one elsewhere.
for folder in "$home/" "$here/"; do
  if grep -qaF "$folder" "$binary"; then
    echo "$binary names $folder" >&2
    exit 1
  fi
done
echo "$binary: $verdict, $(stat -c %s "$binary") bytes, sha256 $(sha256sum "$binary" | cut -d ' ' -f 1)"
