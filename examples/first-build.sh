#!/bin/sh
# The first build: a frontend becomes an image, the image builds another, and that one is shown.
#
# Needs a Rust toolchain and a C compiler; no network once the crates are there, no root, no
# container tool. Everything it makes lies in target/first-build.
set -eu
cd "$(dirname "$0")/.."

echo "== compiling kiln, kilnd, frontends and examples: some minutes, the first time" >&2
cargo build --workspace --bins
bin=${CARGO_TARGET_DIR:-target}/debug
out=${CARGO_TARGET_DIR:-target}/first-build
mkdir -p "$out"
kiln() { "$bin/kiln" --root "$out/state" "$@"; }

echo "== the frontend, packed into an image of kiln's own store"
frontend=$(kiln frontend pack "$bin/kiln-frontend-mockerfile" --name localhost/mockerfile --output type=store)
echo "$frontend"

echo "== examples/first-build, built by that image"
kiln build --frontend=gateway.v0 --opt "source=$frontend" \
  --local context=examples/first-build --local dockerfile=examples/first-build \
  --output "type=oci,dest=$out/hello.tar"

echo "== what is in $out/hello.tar"
tar -tvf "$out/hello.tar"

# The digests of the blobs that a document names, of one kind by media type.
blobs() { tr -d ' \n' | sed 's/{/\n{/g' | sed -n "s,.*\"mediaType\":\"[^\"]*$1[^\"]*\".*\"digest\":\"sha256:\([0-9a-f]*\)\".*,\1,p"; }
blob() { tar -xOf "$out/hello.tar" "blobs/sha256/$1"; }

manifest=$(tar -xOf "$out/hello.tar" index.json | blobs manifest)
echo "== its config"
blob "$(blob "$manifest" | blobs config)"
echo
for layer in $(blob "$manifest" | blobs layer); do
  echo "== layer $layer"
  blob "$layer" | tar -tzvf -
done
