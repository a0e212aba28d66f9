//! A device that has passed its self-test.

use wasm_bindgen::prelude::*;
use web_time::Instant;

use super::errors::{error, thrown};
use crate::gpu::{Compute, DeviceChoice, DeviceProblem};
use crate::selftest::{compare, launch_cost};

/// A device that has passed its self-test.
#[wasm_bindgen]
pub struct Device {
    pub(super) compute: Compute,
    refused: Vec<String>,
}

#[wasm_bindgen]
impl Device {
    /// Opens a device. `choice` is `auto`, `webgpu` or `cpu`.
    pub async fn open(choice: String) -> Result<Device, JsValue> {
        let choice = choice.parse::<DeviceChoice>().map_err(thrown)?;
        let (compute, refused) = crate::selftest::open(choice).await.map_err(thrown)?;
        Ok(Device { compute, refused })
    }

    #[wasm_bindgen(getter)]
    pub fn name(&self) -> String {
        self.compute.name.clone()
    }

    /// What the adapter reports about itself, as JSON; `null` for the CPU.
    #[wasm_bindgen(getter)]
    pub fn report(&self) -> String {
        let report = self.compute.adapter.as_ref().map(|adapter| {
            serde_json::json!({
                "name": adapter.name,
                "driver": adapter.driver,
                "software": adapter.is_software(),
                "max_binding": adapter.max_binding,
                "max_buffer": adapter.max_buffer,
                "max_invocations": adapter.max_invocations,
                "max_shared": adapter.max_shared,
                "features": adapter.features,
            })
        });
        report.unwrap_or_default().to_string()
    }

    /// The devices that `auto` refused, with the reasons.
    #[wasm_bindgen(getter)]
    pub fn warnings(&self) -> Vec<String> {
        self.refused.clone()
    }

    /// Memory that Burn has reserved on the device, in bytes.
    pub fn memory_bytes(&self) -> f64 {
        self.compute.device.memory_pool_usage().map_or(0.0, |usage| usage.bytes_reserved as f64)
    }

    /// An error that the device reported on its own and that no call has thrown yet. Each is
    /// returned once.
    pub fn complaint(&self) -> Option<String> {
        self.compute.health.take().map(|problem| match problem {
            DeviceProblem::OutOfMemory(what) | DeviceProblem::Failed(what) | DeviceProblem::Lost(what) => what,
        })
    }

    /// Compares every op with the CPU. Returns a JSON array of `{op, worst, passed}`.
    pub async fn self_test(&self) -> Result<String, JsValue> {
        let device = self.compute.device.clone();
        let all = compare(&device).await.map_err(|what| error("device-lost", &what))?;
        let line = all.iter().map(|op| serde_json::json!({"op": op.name, "worst": op.worst, "passed": op.passed()}));
        Ok(serde_json::Value::Array(line.collect()).to_string())
    }

    /// Microseconds to enqueue one small launch, through Burn and directly, as JSON:
    /// `{"launch": …, "bare": …}`.
    pub async fn launch_cost(&self, count: u32) -> Result<String, JsValue> {
        let device = self.compute.device.clone();
        let began = Instant::now();
        let now = || began.elapsed().as_secs_f64() * 1e6;
        let cost = launch_cost(&device, count, &now).await.map_err(|what| error("internal", &what))?;
        Ok(serde_json::json!({"launch": cost.launch, "bare": cost.bare}).to_string())
    }
}
