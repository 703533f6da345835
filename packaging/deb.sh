#!/bin/sh
# Makes the Debian package of kiln and kilnd, and one with their debug information.
#
#   packaging/deb.sh [PROGRAMS [OUTPUT]]
#
# PROGRAMS is a directory with kiln and kilnd; without one they are built. The packages go to OUTPUT,
# target/packages unless given. Besides Rust it needs dpkg-deb, and objcopy and strip of binutils.
#
#   COMPRESSION=zstd    how packages are compressed: xz (usual), zstd, gzip or none
#   DEBUG_PACKAGE=no    makes no package with debug information, and takes the programs as they are
#   SOURCE_DATE_EPOCH   the time of everything in the packages
set -eu

cd "$(dirname "$0")/.."
programs=${1-}
output=${2-target/packages}
compression=${COMPRESSION-xz}

if [ -z "$programs" ]; then
    echo "building kiln and kilnd for release, which takes a while" >&2
    cargo build --profile dist --locked -p kiln-cli -p kiln-daemon
    programs=${CARGO_TARGET_DIR-target}/dist
fi
mkdir -p "$output"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

version=$("$programs/kiln" --version)
version=${version#kiln }
architecture=$(dpkg --print-architecture)
root=$work/kiln
symbols=$work/kiln-dbgsym

# The programs, and beside them what a debugger reads.
for program in kiln kilnd; do
    install -D -m 755 "$programs/$program" "$root/usr/bin/$program"
    if [ "${DEBUG_PACKAGE-yes}" != no ]; then
        debug=usr/lib/debug/usr/bin/$program.debug
        install -d "$symbols/${debug%/*}"
        objcopy --only-keep-debug --compress-debug-sections=zlib "$programs/$program" "$symbols/$debug"
        chmod 644 "$symbols/$debug"
        strip "$root/usr/bin/$program"
        objcopy --add-gnu-debuglink="$symbols/$debug" "$root/usr/bin/$program"
    fi
done

# Pages of the manual and completions are the program's own.
"$programs/kiln" manual "$work/pages"
for page in "$work"/pages/*; do
    gzip -9 -n "$page"
    install -D -m 644 "$page.gz" "$root/usr/share/man/man${page##*.}/${page##*/}.gz"
done
for program in kiln kilnd; do
    for shell in bash zsh fish; do
        case $shell in
            bash) file=bash-completion/completions/$program ;;
            zsh) file=zsh/vendor-completions/_$program ;;
            fish) file=fish/vendor_completions.d/$program.fish ;;
        esac
        "$programs/kiln" completion $shell $program > "$work/completion"
        install -D -m 644 "$work/completion" "$root/usr/share/$file"
    done
done

# The service, its configuration, and what is to be read.
for unit in kilnd.service kilnd.socket; do
    install -D -m 644 "packaging/$unit" "$root/usr/lib/systemd/system/$unit"
done
install -D -m 644 schemas/kilnd.json "$root/usr/share/kiln/kilnd.json"
sed '1s|:schema .*|:schema /usr/share/kiln/kilnd.json|' gateway/daemon/kilnd.example.toml > "$work/kilnd.example.toml"
install -D -m 644 "$work/kilnd.example.toml" "$root/usr/share/doc/kiln/kilnd.example.toml"
# What is installed changes nothing: examples of mirrors are nobody's mirrors.
sed 's|^[^#]|# &|' "$work/kilnd.example.toml" > "$work/kilnd.toml"
install -D -m 644 "$work/kilnd.toml" "$root/etc/kiln/kilnd.toml"
for file in README.md SECURITY.md; do
    install -D -m 644 "$file" "$root/usr/share/doc/kiln/$file"
done
install -D -m 644 LICENSE "$root/usr/share/doc/kiln/copyright"
gzip -9 -n -c CHANGELOG.md > "$work/changelog.gz"
install -D -m 644 "$work/changelog.gz" "$root/usr/share/doc/kiln/changelog.gz"

# The newest version of the C library that the programs ask for.
libc=$(grep -aoh 'GLIBC_2\.[0-9]*' "$programs/kiln" "$programs/kilnd" | sed 's/GLIBC_//' | sort -uV | tail -n 1)

# control NAME SECTION DEPENDS, then further fields on standard input.
control() {
    directory=$work/$1
    mkdir -p "$directory/DEBIAN"
    (cd "$directory" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | LC_ALL=C sort | xargs md5sum) \
        > "$directory/DEBIAN/md5sums"
    {
        echo "Package: $1"
        echo "Version: $version"
        echo "Architecture: $architecture"
        echo "Maintainer: Kiln <kiln@example.invalid>"
        echo "Installed-Size: $(du -sk --exclude=DEBIAN "$directory" | cut -f1)"
        echo "Section: $2"
        echo "Priority: optional"
        echo "Depends: $3"
        cat
    } > "$directory/DEBIAN/control"
}

control kiln devel "libc6 (>= $libc), libgcc-s1, passwd" << 'EOF'
Recommends: ca-certificates, git, uidmap
Suggests: passt | slirp4netns, qemu-user-static
Description: build engine for build languages, compatible with BuildKit
 Kiln builds images, archives and directories from Dockerfiles and from any
 other language that is written for it or for BuildKit: rootless, without a
 daemon (kiln), or as a daemon that BuildKit's clients talk to (kilnd).
EOF
echo /etc/kiln/kilnd.toml > "$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    install -m 755 "packaging/debian/$script" "$root/DEBIAN/$script"
done

# pack NAME
pack() {
    find "$work/$1" -newermt "@${SOURCE_DATE_EPOCH-9999999999}" -exec \
        touch --no-dereference --date="@${SOURCE_DATE_EPOCH-0}" {} +
    dpkg-deb --root-owner-group -Z"$compression" --build "$work/$1" "$output/$1_${version}_$architecture.deb"
}

pack kiln
if [ "${DEBUG_PACKAGE-yes}" != no ]; then
    control kiln-dbgsym debug "kiln (= $version)" << 'EOF'
Description: debug information for kiln and kilnd
EOF
    pack kiln-dbgsym
fi
