//! Does a device compute right, and what does a launch cost on it? Known answers through our own ops,
//! before any model is loaded.

mod launch_cost;
mod self_test;

pub use launch_cost::{LaunchCost, launch_cost};
pub use self_test::{Compared, compare, self_test};

use crate::gpu::{self, Compute, DeviceChoice, GpuError, Passed};

/// The device for `choice`, after it has passed the self-test; see [`gpu::open`].
pub async fn open(choice: DeviceChoice) -> Result<(Compute, Passed), GpuError> {
    gpu::open(choice, self_test).await
}
