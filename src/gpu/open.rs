//! Opens the device that a run asks for. Nearly everything that the adapter offers is requested,
//! the caller's test is run on the device, and a device that fails is refused by name.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::tensor::{Device, Tensor};
use burn_wgpu::WgpuSetup;

use super::{AdapterReport, Api, DeviceChoice, GpuError, adapters, vulkan};

/// A device that has passed the self-test, and what is known about it.
#[derive(Clone, Debug)]
pub struct Compute {
    /// Burn's handle: every tensor of a run lives here.
    pub device: Device,
    /// Its name for people: `vulkan:0 NVIDIA L4`, `cpu`.
    pub name: String,
    /// None on the CPU backend.
    pub adapter: Option<AdapterReport>,
    /// The adapter's own memory in bytes, where it is known: on Vulkan.
    pub memory: Option<u64>,
    /// The errors that the device has reported.
    pub health: Health,
}

/// Errors that the device reported outside of any call.
///
/// An error belongs to the work that was in flight when the device reported it. Code that reads a
/// result back then calls [`Compute::check`], which takes what was reported since the last check,
/// so a later user does not see it again. This holds while the users of one device take turns: each
/// of them ends its turn with a readback and a check. A lost device is different: it stays lost,
/// and every check says so.
///
/// After an error the results since the last good check cannot be trusted. The caller drops them,
/// including cached keys and values, before it continues.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The first error since the last [`Health::take`].
    pending: Option<DeviceProblem>,
    /// Why the device was lost.
    lost: Option<String>,
}

/// An error that a device reported outside of any call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceProblem {
    /// An allocation failed. Other work may still fit.
    OutOfMemory(String),
    /// The device refused its work or failed internally. Other work may still succeed.
    Failed(String),
    /// The device is lost and does not come back.
    Lost(String),
}

/// The devices that `auto` refused, each with the reason; to be shown to the user.
pub(crate) type RefusedDevices = Vec<String>;

impl Health {
    /// Takes the first error that was reported since the last call. A lost device is reported by
    /// every call.
    pub fn take(&self) -> Option<DeviceProblem> {
        let mut state = self.state();
        let pending = state.pending.take();
        state.lost.clone().map(DeviceProblem::Lost).or(pending)
    }

    fn record(&self, problem: DeviceProblem) {
        let mut state = self.state();
        match problem {
            DeviceProblem::Lost(reason) => drop(state.lost.get_or_insert(reason)),
            other => drop(state.pending.get_or_insert(other)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records here every error that `device` reports outside of a call. Burn's own handler panics
    /// on a validation error.
    fn watch(&self, device: &wgpu::Device) {
        let health = self.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            health.record(match error {
                wgpu::Error::OutOfMemory { .. } => DeviceProblem::OutOfMemory(error.to_string()),
                other => DeviceProblem::Failed(other.to_string()),
            });
        }));
        let health = self.clone();
        device.set_device_lost_callback(move |reason, message| {
            let what = format!("the device was lost ({reason:?}) {message}");
            health.record(DeviceProblem::Lost(what.trim_end().to_owned()));
        });
    }
}

impl Compute {
    /// Burn's CPU backend: the fallback, and the backend on which the definitions of the ops run.
    pub fn cpu() -> Self {
        Self { device: Device::flex(), name: "cpu".to_owned(), adapter: None, memory: None, health: Health::default() }
    }

    /// Whether this is an adapter rather than the CPU backend.
    pub fn is_gpu(&self) -> bool {
        self.adapter.is_some()
    }

    /// Tokens to queue between two readbacks. A readback costs a GPU the time of several tokens,
    /// and the CPU nothing.
    pub fn group_len(&self) -> usize {
        if self.is_gpu() { 8 } else { 1 }
    }

    /// The largest tensor that this device binds in one piece, in bytes; `u64::MAX` on the CPU,
    /// which has no such limit.
    pub fn max_binding(&self) -> u64 {
        self.adapter.as_ref().map_or(u64::MAX, |adapter| adapter.max_binding.min(adapter.max_buffer))
    }

    /// Waits for all queued work, then checks.
    pub async fn wait_idle(&self) -> Result<(), GpuError> {
        let one = Tensor::<1>::ones([1], &self.device);
        let read = one.into_data_async().await;
        // An error that the device itself reported is closer to the cause.
        self.check()?;
        read.map_err(|error| GpuError::Lost { adapter: self.name.clone(), reason: error.to_string() })?;
        Ok(())
    }

    /// Fails if the device has reported an error since the last check, or is lost. It is called
    /// after a readback.
    pub fn check(&self) -> Result<(), GpuError> {
        let adapter = self.name.clone();
        match self.health.take() {
            Some(DeviceProblem::OutOfMemory(reason)) => Err(GpuError::OutOfMemory { adapter, reason }),
            Some(DeviceProblem::Failed(reason)) => Err(GpuError::Failed { adapter, reason }),
            Some(DeviceProblem::Lost(reason)) => Err(GpuError::Lost { adapter, reason }),
            None => Ok(()),
        }
    }
}

/// Opens the device for `choice` and runs `test` on it, which returns what is wrong with the
/// device.
///
/// `auto` skips software rasterisers, and devices that fail. It ends at the CPU, so it cannot fail.
/// The second value names the devices that failed, with the reasons. Any other choice fails if
/// there is no such adapter, if the driver refuses a device, or if the device does not pass `test`.
pub(crate) async fn open(
    choice: DeviceChoice,
    test: impl AsyncFn(&Device) -> Result<(), String>,
) -> Result<(Compute, RefusedDevices), GpuError> {
    match choice {
        DeviceChoice::Cpu => Ok((Compute::cpu(), Vec::new())),
        DeviceChoice::Gpu { api, index } => Ok((open_one(api, index, &test).await?, Vec::new())),
        DeviceChoice::Auto => Ok(open_best(&test).await),
    }
}

async fn open_one(
    api: Api,
    index: usize,
    test: &impl AsyncFn(&Device) -> Result<(), String>,
) -> Result<Compute, GpuError> {
    let mut found = adapters::of_api(api).await;
    if index >= found.len() {
        return Err(GpuError::NoAdapter { api, index, found: found.len() });
    }
    open_adapter(found.swap_remove(index), test).await
}

async fn open_best(test: &impl AsyncFn(&Device) -> Result<(), String>) -> (Compute, RefusedDevices) {
    let mut refused = Vec::new();
    for found in adapters::find().await {
        if found.report.is_software() {
            tracing::info!(
                "{} is a software adapter, which is slower than the CPU; auto does not use it, but {} does",
                found.report.name,
                found.report.choice
            );
            continue;
        }
        match open_adapter(found, test).await {
            Ok(compute) => return (compute, refused),
            Err(error) => refused.push(error.to_string()),
        }
    }
    (Compute::cpu(), refused)
}

async fn open_adapter(
    found: adapters::FoundAdapter,
    test: &impl AsyncFn(&Device) -> Result<(), String>,
) -> Result<Compute, GpuError> {
    let name = format!("{} {}", found.report.choice, found.report.name);
    let (device, queue) = found
        .adapter
        .request_device(&wgpu::DeviceDescriptor {
            label: Some("alignatt"),
            // Burn looks at the features of the adapter, not at those of the device. So all are
            // requested, except those that need unsafe code or would slow down every buffer.
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
    vulkan::check(&device).map_err(|reason| GpuError::Refused { adapter: name.clone(), reason })?;
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
    health.watch(&device);
    let memory = vulkan::memory(&device);
    let compute = Compute { device: burn_device, name: name.clone(), adapter: Some(found.report), memory, health };
    test(&compute.device).await.map_err(|what| GpuError::SelfTest { adapter: name, what })?;
    compute.check()?;
    Ok(compute)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compute(health: &Health) -> Compute {
        Compute { health: health.clone(), ..Compute::cpu() }
    }

    #[test]
    fn an_error_is_reported_once() {
        let health = Health::default();
        let (one, other) = (compute(&health), compute(&health));
        assert!(one.check().is_ok());
        health.record(DeviceProblem::OutOfMemory("no room".to_owned()));
        health.record(DeviceProblem::Failed("what follows from it".to_owned()));
        assert!(matches!(one.check(), Err(GpuError::OutOfMemory { reason, .. }) if reason == "no room"));
        assert!(one.check().is_ok() && other.check().is_ok());
        health.record(DeviceProblem::Failed("a bad launch".to_owned()));
        assert!(matches!(other.check(), Err(GpuError::Failed { reason, .. }) if reason == "a bad launch"));
        assert!(one.check().is_ok() && health.take().is_none());
    }

    #[test]
    fn a_lost_device_stays_lost_for_all() {
        let health = Health::default();
        health.record(DeviceProblem::OutOfMemory("no room".to_owned()));
        health.record(DeviceProblem::Lost("unplugged".to_owned()));
        health.record(DeviceProblem::Lost("a second reason".to_owned()));
        for compute in [compute(&health), compute(&health), compute(&health)] {
            assert!(matches!(compute.check(), Err(GpuError::Lost { reason, .. }) if reason == "unplugged"));
            assert!(pollster::block_on(compute.wait_idle()).is_err());
        }
    }

    /// On every adapter: an error that the device itself reports, and the loss of the device.
    #[test]
    fn errors_of_a_device_are_recorded() {
        pollster::block_on(async {
            for found in adapters::find().await {
                let (device, _queue) = found.adapter.request_device(&Default::default()).await.unwrap();
                let health = Health::default();
                health.watch(&device);
                let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE;
                let wrong = wgpu::BufferDescriptor { label: None, size: 4, usage, mapped_at_creation: false };
                drop(device.create_buffer(&wrong));
                let compute = compute(&health);
                let error = compute.check();
                assert!(matches!(error, Err(GpuError::Failed { .. })), "{}: {error:?}", found.report.name);
                assert!(compute.check().is_ok(), "{}", found.report.name);
                device.destroy();
                device.poll(wgpu::PollType::wait_indefinitely()).ok();
                for _ in 0..2 {
                    assert!(matches!(compute.check(), Err(GpuError::Lost { .. })), "{}", found.report.name);
                }
            }
        });
    }
}
