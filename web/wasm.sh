#!/usr/bin/env bash
# Builds the browser's module from this repository's Rust: web/wasm/alignatt_bg.wasm and its
# JavaScript bindings.
#
#   web/wasm.sh               the module as it is published
#   web/wasm.sh web-test      for tests: builds in half the time, but is slower and larger
#
# Needs the target wasm32-unknown-unknown (`rustup target add wasm32-unknown-unknown`) or Debian's
# toolchain (packages rustc-web, cargo-web, rust-web-src, lld-22). With Debian's toolchain, the
# standard library is built too.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:-web}
target=${CARGO_TARGET_DIR:-$PWD/target}
flags=(rustc --lib --crate-type cdylib --quiet --locked --profile "$profile" --target wasm32-unknown-unknown --target-dir "$target/wasm")

if [ -d "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown" ]; then
  cargo "${flags[@]}"
elif command -v wasm-ld-22 >/dev/null && [ -d /usr/lib/rustlib/src/rust ]; then
  PATH="/usr/bin:$PATH" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-22 \
    /usr/bin/cargo "${flags[@]}" -Zbuild-std=std,panic_abort
else
  echo "web/wasm.sh: the WebAssembly target is missing; run: rustup target add wasm32-unknown-unknown" >&2
  exit 3 # so that tests can tell it from a failure
fi

cargo run --quiet --locked --manifest-path tools/bindgen/Cargo.toml --target-dir "$target/tools" -- \
  "$target/wasm/wasm32-unknown-unknown/$profile/alignatt.wasm" web/wasm
