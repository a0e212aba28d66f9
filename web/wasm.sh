#!/usr/bin/env bash
# Builds the browser's module from this repository's Rust: web/wasm/alignatt_bg.wasm and its JavaScript side.
#
#   web/wasm.sh
#
# Needs the target wasm32-unknown-unknown (`rustup target add wasm32-unknown-unknown`), or Debian's toolchain
# (packages rustc-web, cargo-web, rust-web-src, lld-22), which then builds the standard library too.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
bindgen=0.2.130 # the version of the crate, exactly

flags=(build --lib --quiet --locked --profile web --target wasm32-unknown-unknown)
if [ -d "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown" ]; then
  CARGO_TARGET_DIR="$target/wasm" cargo "${flags[@]}"
elif [ -x /usr/bin/wasm-ld-22 ] && [ -d /usr/src/rustc-web-* -o -d /usr/lib/rustlib/src ]; then
  # An older or newer compiler than rust-toolchain's, but the one there is.
  env -u RUSTUP_TOOLCHAIN PATH="/usr/bin:$PATH" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$target/wasm" \
    /usr/bin/cargo "${flags[@]}" -Zbuild-std=std,panic_abort
else
  echo "web/wasm.sh: no WebAssembly target: run \`rustup target add wasm32-unknown-unknown\`" >&2
  exit 1
fi

if ! "$target/tools/bin/wasm-bindgen" --version 2>/dev/null | grep -qF "$bindgen"; then
  cargo install --quiet wasm-bindgen-cli --version "$bindgen" --root "$target/tools"
fi
"$target/tools/bin/wasm-bindgen" --target web --remove-name-section --remove-producers-section \
  --out-name alignatt --out-dir web/wasm "$target/wasm/wasm32-unknown-unknown/web/alignatt.wasm"
