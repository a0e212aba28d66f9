//! Helpers for the tests on devices, such as the list of all devices that are present.

use alignatt::{Compute, adapters, open_device};

/// Whether the long tests run in full: `./test --long` sets the variable LONG.
#[allow(dead_code)] // not every test has something to leave out
pub fn long() -> bool {
    std::env::var_os("LONG").is_some()
}

/// The CPU backend and every wgpu adapter. In CI (the variable CI is set) a missing adapter is a
/// failure; elsewhere the tests that were not run are printed.
pub async fn devices() -> Vec<Compute> {
    let mut devices = vec![Compute::cpu()];
    for adapter in adapters().await {
        let (compute, _) = open_device(adapter.choice).await.expect("an adapter that passes the self-test");
        devices.push(compute);
    }
    if devices.len() == 1 {
        assert!(std::env::var_os("CI").is_none(), "CI needs a wgpu adapter (mesa-vulkan-drivers)");
        eprintln!("NOT RUN: no wgpu adapter here, so only the CPU backend was checked");
    }
    devices
}
