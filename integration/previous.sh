#!/usr/bin/env bash
# Builds an earlier commit, for a test in which nodes of two versions meet, and prints where its program is: the newest one before
# this whose sources differ and whose nodes can be upgraded. CORENODE_PREVIOUS=FILE names a program in its place.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -n "${CORENODE_PREVIOUS:-}" ]; then
    echo "$CORENODE_PREVIOUS"
    exit 0
fi
commit=
for candidate in $(git rev-list --max-count=200 HEAD); do
    if git cat-file -e "$candidate:src/app/program/mod.rs" 2>/dev/null && ! git diff --quiet "$candidate" -- src Cargo.toml Cargo.lock; then
        commit=$candidate
        break
    fi
done
if [ -z "$commit" ]; then
    commit=$(git rev-parse HEAD)
    echo "no earlier commit's nodes can be upgraded: it is this commit's, built once more and with a name of its own" >&2
fi
built=${CARGO_TARGET_DIR:-$PWD/target}
place=$built/previous
program=$place/node-$commit
if [ ! -x "$program" ]; then
    echo "building $commit" >&2
    rm -rf "$place"
    mkdir -p "$place/tree" "$place/target/debug/deps"
    # Files get the time of now, by which cargo knows that they are new.
    git archive "$commit" | tar -x -m -C "$place/tree"
    # What other crates have become already is taken as it is.
    if [ -d "$built/debug/.fingerprint" ]; then
        cp -a "$built/debug/.fingerprint" "$built/debug/build" "$place/target/debug/"
        find "$built/debug/deps" -maxdepth 1 \( -name '*.rlib' -o -name '*.rmeta' -o -name '*.so' -o -name '*.d' \) ! -name '*corenode*' \
            -exec cp -a -t "$place/target/debug/deps" {} +
    fi
    (cd "$place/tree" && CORENODE_COMMIT=${commit:0:12} CARGO_INCREMENTAL=0 CARGO_TARGET_DIR="$place/target" \
        cargo build --quiet --locked --bin node) >&2
    strip -o "$program" "$place/target/debug/node"
    rm -rf "$place/tree" "$place/target"
fi
echo "$program"
