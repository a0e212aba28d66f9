//! The adapters of this machine, and what each reports about itself.

use super::{Api, DeviceChoice};

/// One adapter as its driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterReport {
    /// How a user names it: `vulkan:0`.
    pub choice: DeviceChoice,
    /// The adapter's name.
    pub name: String,
    /// Name and version of its driver.
    pub driver: String,
    /// Discrete, integrated, virtual or software.
    pub kind: wgpu::DeviceType,
    /// The largest single storage binding, in bytes.
    pub max_binding: u64,
    /// The largest single buffer, in bytes.
    pub max_buffer: u64,
    /// The most invocations of a workgroup.
    pub max_invocations: u32,
    /// The most bytes of shared memory of a workgroup.
    pub max_shared: u32,
    /// Those of `shader-f16`, `subgroups 8..8` and `timestamps` that it has.
    pub features: Vec<String>,
}

impl AdapterReport {
    /// Whether it is a software rasteriser. `auto` skips these, since the CPU backend is faster.
    pub fn is_software(&self) -> bool {
        self.kind == wgpu::DeviceType::Cpu
    }
}

/// An adapter together with the instance that keeps it alive.
pub(super) struct FoundAdapter {
    pub report: AdapterReport,
    pub instance: wgpu::Instance,
    pub adapter: wgpu::Adapter,
}

/// Every adapter of every API of this platform, best first: discrete, integrated, virtual, other,
/// software. Within a kind the order is that of [`Api::AVAILABLE`]. `auto` tries them in this
/// order.
pub async fn adapters() -> Vec<AdapterReport> {
    find().await.into_iter().map(|found| found.report).collect()
}

pub(super) async fn find() -> Vec<FoundAdapter> {
    let mut all = Vec::new();
    for api in Api::AVAILABLE {
        all.extend(of_api(*api).await);
    }
    all.sort_by_key(|found| rank(found.report.kind));
    all
}

pub(super) async fn of_api(api: Api) -> Vec<FoundAdapter> {
    let backends = wgpu::Backends::from(api.wgpu());
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapters = instance.enumerate_adapters(backends).await;
    adapters
        .into_iter()
        .enumerate()
        .map(|(index, adapter)| FoundAdapter {
            report: describe(DeviceChoice::Gpu { api, index }, &adapter),
            instance: instance.clone(),
            adapter,
        })
        .collect()
}

fn rank(kind: wgpu::DeviceType) -> u8 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

fn describe(choice: DeviceChoice, adapter: &wgpu::Adapter) -> AdapterReport {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let has = adapter.features();
    let mut features = Vec::new();
    if has.contains(wgpu::Features::SHADER_F16) {
        features.push("shader-f16".to_owned());
    }
    if has.contains(wgpu::Features::SUBGROUP) {
        features.push(format!("subgroups {}..{}", info.subgroup_min_size, info.subgroup_max_size));
    }
    if has.contains(wgpu::Features::TIMESTAMP_QUERY) {
        features.push("timestamps".to_owned());
    }
    AdapterReport {
        choice,
        name: info.name,
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        kind: info.device_type,
        max_binding: limits.max_storage_buffer_binding_size,
        max_buffer: limits.max_buffer_size,
        max_invocations: limits.max_compute_invocations_per_workgroup,
        max_shared: limits.max_compute_workgroup_storage_size,
        features,
    }
}
