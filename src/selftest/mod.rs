//! Whether a device computes correctly, and what a launch costs on it: our ops on known inputs,
//! before any model is loaded.

mod launch_cost;
mod self_test;

pub use launch_cost::{LaunchCost, launch_cost};
pub use self_test::{Comparison, compare, self_test};

use crate::gpu::{self, Compute, DeviceChoice, GpuError, RefusedDevices};

/// Opens the device for `choice` with the self-test as its test; see [`gpu::open`].
pub async fn open(choice: DeviceChoice) -> Result<(Compute, RefusedDevices), GpuError> {
    gpu::open(choice, self_test).await
}
