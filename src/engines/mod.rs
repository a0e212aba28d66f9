//! The cascade's three traits on real models, and how a model's files become engines.
//!
//! | file | what it is |
//! |---|---|
//! | `on_models` | Qwen3-ASR, its aligner and Gemma-4 as recogniser, aligner and translator |
//! | `load` | from files to engines that are ready to run |

pub mod load;
pub mod on_models;
