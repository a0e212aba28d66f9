//! The device room: which adapters there are, which one a run uses, whether it computes right, and
//! what became of it. Knows nothing of models.

mod adapters;
mod choice;
mod open;
mod vulkan;

pub use adapters::{AdapterReport, adapters};
pub use choice::{Api, DeviceChoice, ParseDeviceError};
pub use open::{Complaint, Compute, Health, Passed, open};

/// What can go wrong between asking for a device and having one that computes.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    #[error(
        "no {api} adapter {index} here ({found} found); run `alignatt devices` to see what there is, or use --device cpu"
    )]
    NoAdapter { api: Api, index: usize, found: usize },
    #[error("{adapter}: the driver refused a device: {reason}; update the graphics driver or use --device cpu")]
    Refused { adapter: String, reason: String },
    #[error(
        "{adapter}: fails the numeric self-test ({what}); its results can't be trusted, so use another device or --device cpu"
    )]
    SelfTest { adapter: String, what: String },
    #[error("{adapter}: out of memory: {reason}; use a smaller model or --device cpu")]
    OutOfMemory { adapter: String, reason: String },
    #[error("{adapter}: failed while computing: {reason}; try again, or use --device cpu if it comes back")]
    Failed { adapter: String, reason: String },
    #[error("{adapter}: {reason}; start again, with a smaller model where memory ran out, or use --device cpu")]
    Lost { adapter: String, reason: String },
}
