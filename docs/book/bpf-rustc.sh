#!/bin/sh
# Compiles one Rust file for BPF: docs/book/bpf-rustc.sh SOURCE OBJECT [rustc options]
# Run it at the root of a checkout in which `cargo build` has been run: that build leaves in target/bpf/compiler
# which rustc it found, where `core` for BPF lies, and where that rustc's libraries are (an empty line: nowhere unusual).
set -eu
{ read -r rustc && read -r sysroot && read -r libraries || [ -n "$sysroot" ]; } <target/bpf/compiler
source=$1 object=$2
shift 2
# RUSTC_BOOTSTRAP: a target that is described by a file is unstable. Emitting an object keeps rustc from linking.
RUSTC_BOOTSTRAP=1 LD_LIBRARY_PATH=${libraries:-} exec "$rustc" "$source" --emit obj="$object" \
    --target prog/target.json --sysroot "$sysroot" -Zunstable-options \
    --edition 2024 --crate-type bin \
    -C panic=abort -C opt-level=3 -C codegen-units=1 -C debuginfo=2 "$@"
