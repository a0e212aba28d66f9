//! Implements the cascade's three traits on real models, and loads engines from a model's files.
//!
//! | file | what it is |
//! |---|---|
//! | `on_models` | Qwen3-ASR, its aligner and text models as recogniser, aligner and translator |
//! | `load` | loads engines from model files |
//! | `resident` | models that are loaded once for many streams (native only) |
//! | `quantize` | writes a model with quantized weights (native only) |
//! | `demo` | the files of the demo pack (native only) |

#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod demo;
pub(crate) mod load;
pub(crate) mod on_models;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod quantize;
#[cfg(all(feature = "server", not(target_arch = "wasm32")))]
pub(crate) mod resident;
