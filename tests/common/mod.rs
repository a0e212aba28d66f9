//! What the tests on devices share: every device there is, and repeatable randomness.

use alignatt::gpu::{Compute, adapters, open};

/// The CPU backend and every wgpu adapter. In CI (the variable CI is set) a missing adapter is a failure;
/// elsewhere what was not run is printed.
pub async fn devices() -> Vec<Compute> {
    let mut devices = vec![Compute::cpu()];
    for adapter in adapters().await {
        let (compute, _) = open(adapter.choice).await.expect("an adapter that passes the self-test");
        devices.push(compute);
    }
    if devices.len() == 1 {
        assert!(std::env::var_os("CI").is_none(), "CI needs a wgpu adapter (mesa-vulkan-drivers)");
        eprintln!("NOT RUN: no wgpu adapter here, so only the CPU backend was checked");
    }
    devices
}

/// A small repeatable generator.
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// 0..n
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// -1..1, hardly ever 0
    #[allow(dead_code)] // not every test draws values
    pub fn unit(&mut self) -> f32 {
        self.next() as f32 / (1u64 << 30) as f32 - 1.0
    }
}
