#!/usr/bin/env bash
# Builds the browser's module from this repository's Rust: web/wasm/alignatt_bg.wasm and its JavaScript side.
#
#   web/wasm.sh
#
# Needs the target wasm32-unknown-unknown (`rustup target add wasm32-unknown-unknown`) or Debian's toolchain (packages
# rustc-web, cargo-web, rust-web-src, lld-22), with which the standard library is built too.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
bindgen=0.2.130 # that of Cargo.toml, exactly
flags=(build --lib --quiet --locked --profile web --target wasm32-unknown-unknown --target-dir "$target/wasm")

if [ -d "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown" ]; then
  cargo "${flags[@]}"
elif command -v wasm-ld-22 >/dev/null && [ -d /usr/lib/rustlib/src/rust ]; then
  PATH="/usr/bin:$PATH" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-22 \
    /usr/bin/cargo "${flags[@]}" -Zbuild-std=std,panic_abort
else
  echo "web/wasm.sh: there is no WebAssembly target; run: rustup target add wasm32-unknown-unknown" >&2
  exit 3 # so that tests can tell it from a failure
fi

tool=$target/tools/bin/wasm-bindgen
if [ "$("$tool" --version 2>/dev/null)" != "wasm-bindgen $bindgen" ]; then
  cargo install --quiet wasm-bindgen-cli --version "$bindgen" --root "$target/tools" --target-dir "$target/tools/build"
fi
"$tool" --target web --remove-name-section --remove-producers-section --out-name alignatt --out-dir web/wasm \
  "$target/wasm/wasm32-unknown-unknown/web/alignatt.wasm"
