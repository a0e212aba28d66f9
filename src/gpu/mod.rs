//! The device: which adapters there are, which one a run uses, whether it computes correctly, and
//! which errors it has reported. This room knows nothing about models.

mod adapters;
mod choice;
mod open;
mod vulkan;

pub use adapters::{AdapterReport, adapters};
pub use choice::{Api, DeviceChoice, ParseDeviceError};
pub use open::{Complaint, Compute, Health, Passed, open};

/// What can go wrong while a device is opened and while it computes. The face adds the remedy.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    #[error("no {api} adapter {index} here ({found} found)")]
    NoAdapter { api: Api, index: usize, found: usize },
    #[error("{adapter}: the driver refused a device: {reason}")]
    Refused { adapter: String, reason: String },
    #[error("{adapter}: fails the numeric self-test ({what}); its results can't be trusted")]
    SelfTest { adapter: String, what: String },
    #[error("{adapter}: out of memory: {reason}")]
    OutOfMemory { adapter: String, reason: String },
    #[error("{adapter}: failed while computing: {reason}")]
    Failed { adapter: String, reason: String },
    #[error("{adapter}: {reason}")]
    Lost { adapter: String, reason: String },
}
