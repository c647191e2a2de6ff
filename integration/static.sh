#!/usr/bin/env bash
# Builds the release binary without a dynamic linker and refuses one that has it.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$1

command -v musl-gcc >/dev/null || apt-get install -y -q musl-tools
rustup target list --installed | grep -qx "$target" || rustup target add "$target"
cargo build --release --locked --target "$target" --bin node
binary=target/$target/release/node
# ldd ends with 1 for a static file, so its words are read and not its code.
verdict=$(ldd "$binary" 2>&1 || true)
case $verdict in
  *"statically linked"* | *"not a dynamic executable"*) ;;
  *) echo "$binary is not static: $verdict" >&2; exit 1 ;;
esac
echo "$binary: $verdict, $(stat -c %s "$binary") bytes"
