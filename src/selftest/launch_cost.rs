//! Measures what a launch costs through Burn, and what a bare dispatch costs. If a browser's module
//! runs its static constructors at every call, this shows at once: the ratio is some hundreds.

use burn::tensor::{Device, Tensor};

use crate::ops::gated::{Act, gated};

/// Time to enqueue one small launch, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LaunchCost {
    /// One of our ops through Burn's runtime.
    pub launch: f64,
    /// One dispatch of wgpu, in one pass with one bind group.
    pub bare: f64,
}

/// The means of `count` launches and of `count` dispatches. `now` returns the time in microseconds.
/// Fails if the device gives no answer, or if no second device can be opened.
pub(crate) async fn launch_cost(device: &Device, count: u32, now: &dyn Fn() -> f64) -> Result<LaunchCost, String> {
    let x = Tensor::<2>::ones([1, 64], device);
    let y = gated(x.clone(), x.clone(), Act::Silu);
    y.into_data_async().await.map_err(|error| error.to_string())?;
    let begin = now();
    let mut last = x.clone();
    for _ in 0..count {
        last = gated(last, x.clone(), Act::Silu);
    }
    let launched = now() - begin;
    last.into_data_async().await.map_err(|error| error.to_string())?;
    let count = f64::from(count.max(1));
    Ok(LaunchCost { launch: launched / count, bare: bare(count as u32, now).await? / count })
}

/// The microseconds that it takes to record and submit `count` dispatches.
async fn bare(count: u32, now: &dyn Fn() -> f64) -> Result<f64, String> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = instance.request_adapter(&Default::default()).await.map_err(|error| error.to_string())?;
    let (device, queue) = adapter.request_device(&Default::default()).await.map_err(|error| error.to_string())?;
    let shader = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(
            "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
             @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) { x[id.x] += 1.0; }"
                .into(),
        ),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &shader,
        entry_point: Some("main"),
        compilation_options: Default::default(),
        cache: None,
    });
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 256,
        usage: wgpu::BufferUsages::STORAGE,
        mapped_at_creation: false,
    });
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
    });
    let begin = now();
    let mut encoder = device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        for _ in 0..count {
            pass.dispatch_workgroups(1, 1, 1);
        }
    }
    queue.submit([encoder.finish()]);
    Ok(now() - begin)
}
