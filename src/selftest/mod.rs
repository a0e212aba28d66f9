//! Whether a device computes correctly, and what a launch costs on it: our ops on known inputs,
//! before any model is loaded.

#[cfg(target_arch = "wasm32")]
mod launch_cost;
mod self_test;

#[cfg(target_arch = "wasm32")]
pub(crate) use launch_cost::launch_cost;
#[cfg(target_arch = "wasm32")]
pub(crate) use self_test::compare;
pub(crate) use self_test::self_test;

use crate::gpu::{self, Compute, DeviceChoice, GpuError, RefusedDevices};

/// Opens the device for `choice`, which must pass the self-test. `Auto` takes the best adapter that
/// passes, or else the CPU; the second value says which adapters it refused.
///
/// Errors: there is no such adapter, its driver refuses a device, or it fails the self-test.
pub async fn open(choice: DeviceChoice) -> Result<(Compute, RefusedDevices), GpuError> {
    gpu::open(choice, self_test).await
}
