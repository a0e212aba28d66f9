//! The models: one folder each, fields named as in the checkpoints. They know nothing of policy.

pub mod gemma4;
pub mod qwen3_asr;
