//! Opening the device a run asked for: everything the adapter offers is asked for, the numeric
//! self-test is run, and a device that fails is refused by name.

use std::sync::{Arc, Mutex};

use burn::tensor::{Device, Tensor};
use burn_wgpu::WgpuSetup;

use super::{AdapterReport, Api, DeviceChoice, GpuError, adapters, self_test};

/// A device that has passed the self-test, with what is known of it.
#[derive(Clone, Debug)]
pub struct Compute {
    /// Burn's handle: every tensor of a run lives here.
    pub device: Device,
    /// `vulkan:0 NVIDIA L4`, `cpu`: for people.
    pub name: String,
    /// None on the CPU backend.
    pub adapter: Option<AdapterReport>,
    pub health: Health,
}

/// The first error the device reported outside any call of ours.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Option<Complaint>>>);

/// What a device reported on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complaint {
    OutOfMemory(String),
    /// It is gone, or refused what it was given.
    Lost(String),
}

/// Devices that `auto` had to refuse, and why; to be shown to the user.
pub type Passed = Vec<String>;

impl Health {
    /// What the device reported, if anything.
    pub fn complaint(&self) -> Option<Complaint> {
        self.0.lock().map(|held| held.clone()).unwrap_or_else(|held| held.into_inner().clone())
    }

    fn record(&self, what: Complaint) {
        let mut held = self.0.lock().unwrap_or_else(|held| held.into_inner());
        held.get_or_insert(what);
    }
}

impl Compute {
    /// Burn's CPU backend: the fallback and the oracle.
    pub fn cpu() -> Self {
        Self { device: Device::flex(), name: "cpu".to_owned(), adapter: None, health: Health::default() }
    }

    pub fn is_gpu(&self) -> bool {
        self.adapter.is_some()
    }

    /// Tokens to queue between two readbacks: one costs a GPU the time of several tokens, and the CPU nothing.
    pub fn group_len(&self) -> usize {
        if self.is_gpu() { 8 } else { 1 }
    }

    /// The largest tensor this device binds in one piece, bytes. The CPU has no such limit.
    pub fn max_binding(&self) -> u64 {
        self.adapter.as_ref().map_or(u64::MAX, |adapter| adapter.max_binding.min(adapter.max_buffer))
    }

    /// Waits for everything queued, then checks.
    pub async fn settle(&self) -> Result<(), GpuError> {
        let one = Tensor::<1>::ones([1], &self.device);
        let read = one.into_data_async().await;
        // What the device itself says is nearer to the cause.
        self.check()?;
        read.map_err(|error| GpuError::Lost { adapter: self.name.clone(), reason: error.to_string() })?;
        Ok(())
    }

    /// Err when the device has reported an error that no call returned.
    pub fn check(&self) -> Result<(), GpuError> {
        let adapter = self.name.clone();
        match self.health.complaint() {
            Some(Complaint::OutOfMemory(reason)) => Err(GpuError::OutOfMemory { adapter, reason }),
            Some(Complaint::Lost(reason)) => Err(GpuError::Lost { adapter, reason }),
            None => Ok(()),
        }
    }
}

/// The device for `choice`, self-tested. `auto` skips software rasterisers, and devices that fail (the
/// second value says which and why), and ends at the CPU, so it cannot fail.
pub async fn open(choice: DeviceChoice) -> Result<(Compute, Passed), GpuError> {
    match choice {
        DeviceChoice::Cpu => Ok((Compute::cpu(), Vec::new())),
        DeviceChoice::Gpu { api, index } => Ok((open_one(api, index).await?, Vec::new())),
        DeviceChoice::Auto => Ok(open_best().await),
    }
}

async fn open_one(api: Api, index: usize) -> Result<Compute, GpuError> {
    let mut found = adapters::of(api).await;
    if index >= found.len() {
        return Err(GpuError::NoAdapter { api, index, found: found.len() });
    }
    bring_up(found.swap_remove(index)).await
}

async fn open_best() -> (Compute, Passed) {
    let mut passed = Vec::new();
    for found in adapters::find().await {
        if found.report.is_software() {
            tracing::info!(
                "{} is a software adapter, slower than the CPU backend; only naming {} would use it",
                found.report.name,
                found.report.choice
            );
            continue;
        }
        match bring_up(found).await {
            Ok(compute) => return (compute, passed),
            Err(error) => passed.push(error.to_string()),
        }
    }
    (Compute::cpu(), passed)
}

async fn bring_up(found: adapters::Found) -> Result<Compute, GpuError> {
    let name = format!("{} {}", found.report.choice, found.report.name);
    let (device, queue) = found
        .adapter
        .request_device(&wgpu::DeviceDescriptor {
            label: Some("alignatt"),
            // Burn reads what the adapter has, not what the device was given: hold back only what
            // needs unsafe code or would slow every buffer down.
            required_features: found
                .adapter
                .features()
                .difference(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS)
                .difference(wgpu::Features::all_experimental_mask()),
            required_limits: found.adapter.limits(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        })
        .await
        .map_err(|error| GpuError::Refused { adapter: name.clone(), reason: error.to_string() })?;
    let setup = WgpuSetup {
        instance: found.instance,
        backend: found.adapter.get_info().backend,
        adapter: found.adapter,
        device: device.clone(),
        queue,
    };
    let burn_device = Device::wgpu_options()
        .setup(setup)
        .init()
        .map_err(|error| GpuError::Refused { adapter: name.clone(), reason: error.to_string() })?;
    let health = Health::default();
    // Burn's own handler panics on a validation error; ours keeps it for `Compute::check`.
    let watch = health.clone();
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
        watch.record(match error {
            wgpu::Error::OutOfMemory { .. } => Complaint::OutOfMemory(error.to_string()),
            other => Complaint::Lost(other.to_string()),
        });
    }));
    let watch = health.clone();
    device.set_device_lost_callback(move |reason, message| {
        watch.record(Complaint::Lost(format!("the device was lost ({reason:?}) {message}").trim_end().to_owned()));
    });

    let compute = Compute { device: burn_device, name: name.clone(), adapter: Some(found.report), health };
    self_test(&compute.device).await.map_err(|what| GpuError::SelfTest { adapter: name, what })?;
    compute.check()?;
    Ok(compute)
}
