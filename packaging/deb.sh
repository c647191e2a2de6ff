#!/usr/bin/env bash
# Packs a built binary as two Debian packages: corenode, and corenode-tools with the names of the old tools.
#
#   packaging/deb.sh BINARY FOLDER
#
# Man pages and completions are written by the binary itself, so it must run here. The same binary and commit give the same
# bytes. CORENODE_DEB_LEVEL is how hard xz works (6).
set -euo pipefail
umask 022
binary=$(realpath "$1")
out=$2
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
maintainer=$(sed -n 's/^Maintainer: //p' packaging/corenode.control)
arch=$(dpkg --print-architecture)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

"$binary" manual "$work/manual"
main=$work/corenode tools=$work/corenode-tools

put() { install -D -m "${3:-644}" "$1" "$2"; }

# Man pages and completions of one program; the second word is how its man pages begin.
document() {
    root=$1 name=$2
    for page in "$work/manual/man/$name".* "$work/manual/man/$name"-*; do
        [ -e "$page" ] || continue
        put "$page" "$root/usr/share/man/man${page##*.}/${page##*/}"
    done
    put "$work/manual/completions/bash/$name" "$root/usr/share/bash-completion/completions/$name"
    put "$work/manual/completions/zsh/_$name" "$root/usr/share/zsh/vendor-completions/_$name"
    put "$work/manual/completions/fish/$name.fish" "$root/usr/share/fish/vendor_completions.d/$name.fish"
}

# Debian's nodejs has /usr/bin/node, and it stays what it is: the binary lies in a folder of its own, under its own name.
put "$binary" "$main/usr/lib/corenode/node" 755
mkdir -p "$main/usr/bin" "$tools/usr/bin"
ln -s ../lib/corenode/node "$main/usr/bin/corenode"
for unit in config/usr/lib/systemd/system/*.service; do
    put "$unit" "$main/usr/lib/systemd/system/${unit##*/}"
    sed -i 's|/usr/bin/node |/usr/lib/corenode/node |' "$main/usr/lib/systemd/system/${unit##*/}"
done
put config/etc/node/node.toml "$main/etc/node/node.toml"
document "$main" corenode
put "$work/manual/man/node.toml.5" "$main/usr/share/man/man5/node.toml.5"
mkdir -p "$main/usr/share/doc/corenode"
cp -r config/usr/share/doc/node/examples "$main/usr/share/doc/corenode/examples"
put README.md "$main/usr/share/doc/corenode/README.md"
ln -s corenode "$main/usr/share/doc/node"

for name in fleetctl etcdctl confd; do
    ln -s ../lib/corenode/node "$tools/usr/bin/$name"
    document "$tools" "$name"
done

for root in "$main" "$tools"; do
    package=${root##*/}
    doc=$root/usr/share/doc/$package
    mkdir -p "$doc" "$root/DEBIAN"
    printf '%s (%s) unstable; urgency=medium\n\n  * What has changed is in CHANGELOG.md.\n\n -- %s  %s\n' "$package" "$version" \
        "$maintainer" "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")" >"$doc/changelog"
    put CHANGELOG.md "$doc/CHANGELOG.md"
    cat >"$doc/copyright" <<'TEXT'
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: corenode

Files: *
Copyright: 2026 the authors of corenode
License: Apache-2.0
 On Debian systems the text of the licence is in /usr/share/common-licenses/Apache-2.0.
TEXT
    find "$root/usr/share/man" -type f -exec gzip -9n {} +
    gzip -9n "$doc/changelog"
    size=$(du -sk --apparent-size "$root/usr" | cut -f 1)
    sed "s/@VERSION@/$version/; s/@ARCH@/$arch/; s/@SIZE@/$size/" "packaging/$package.control" >"$root/DEBIAN/control"
done
echo /etc/node/node.toml >"$main/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    put "packaging/corenode.$script" "$main/DEBIAN/$script" 755
done

for root in "$main" "$tools"; do
    (cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums)
    find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group -Zxz -z"${CORENODE_DEB_LEVEL:-6}" --build "$root" "$out" >/dev/null
done
echo "$out/corenode_${version}_$arch.deb"
echo "$out/corenode-tools_${version}_all.deb"
