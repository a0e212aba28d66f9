//! The device: which adapters there are, which one a run uses, whether it computes correctly, and
//! which errors it has reported. This room knows nothing about models.

mod adapters;
mod choice;
mod open;
mod vulkan;

pub use adapters::{AdapterReport, adapters};
#[cfg(target_arch = "wasm32")]
pub(crate) use choice::ParseDeviceError;
pub use choice::{Api, DeviceChoice};
pub use open::Compute;
#[cfg(target_arch = "wasm32")]
pub(crate) use open::DeviceProblem;
pub(crate) use open::{RefusedDevices, open};

/// What can go wrong while a device is opened and while it computes. The face adds the remedy.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say what the fields are
pub enum GpuError {
    #[error("there is no {api} adapter {index}; {found} were found")]
    NoAdapter { api: Api, index: usize, found: usize },
    #[error("{adapter}: the driver did not open a device: {reason}")]
    Refused { adapter: String, reason: String },
    #[error("{adapter}: the device fails the numeric self-test ({what}), so its results cannot be trusted")]
    SelfTest { adapter: String, what: String },
    #[error("{adapter}: the device is out of memory: {reason}")]
    OutOfMemory { adapter: String, reason: String },
    #[error("{adapter}: the device failed while computing: {reason}")]
    Failed { adapter: String, reason: String },
    #[error("{adapter}: {reason}")]
    Lost { adapter: String, reason: String },
}
