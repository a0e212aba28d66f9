//! Launching one WGSL shader on Burn's wgpu runtime.
//!
//! A shader's text holds placeholders in double braces for constants that are known when weights are
//! loaded (sizes, storage kinds): each set of values is compiled once. What changes from call to call
//! is read from a small tensor or from the grid, since a fresh parameter buffer a launch costs more in
//! the browser than the launch itself.

use burn::tensor::{DType, Shape};
use burn_wgpu::{CubeDim, CubeTensor, KernelSource, SourceKernel, SourceTemplate};
use cubecl::{
    prelude::{CubeCount, KernelId},
    server::KernelArguments,
};

/// One shader with its constants filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shader {
    pub name: &'static str,
    pub text: &'static str,
    pub constants: Vec<(&'static str, String)>,
}

impl KernelSource for Shader {
    fn source(&self) -> SourceTemplate {
        let template = SourceTemplate::new(self.text);
        self.constants.iter().fold(template, |template, (name, value)| template.register(*name, value.as_str()))
    }

    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info((self.name, self.constants.clone()))
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

/// Runs `shader` over `grid` workgroups on `inputs` (contiguous, bound in order) → a new tensor, bound last.
pub(super) fn launch(
    shader: Shader,
    workgroup: u32,
    grid: [u32; 3],
    inputs: &[&CubeTensor],
    shape: Shape,
    dtype: DType,
) -> CubeTensor {
    let (client, device) = (inputs[0].client.clone(), inputs[0].device.clone());
    let buffer = client.empty(shape.num_elements() * dtype.size());
    launch_in_place(shader, workgroup, grid, inputs, CubeTensor::new_contiguous(client, device, shape, buffer, dtype))
}

/// The same with an output that exists already and is written where it lies, whoever else holds it.
pub(super) fn launch_in_place(
    shader: Shader,
    workgroup: u32,
    grid: [u32; 3],
    inputs: &[&CubeTensor],
    output: CubeTensor,
) -> CubeTensor {
    let tensors = inputs.iter().copied().chain([&output]);
    let buffers = tensors.map(|tensor| tensor.handle.clone().binding()).collect();
    output.client.launch(
        Box::new(SourceKernel::new(shader, CubeDim::new_1d(workgroup))),
        CubeCount::Static(grid[0], grid[1], grid[2]),
        KernelArguments::new().with_buffers(buffers),
    );
    output
}

/// `count` workgroups as a grid of two dimensions, none above the 65,535 that WebGPU allows.
/// The shader gets the row length back as `num_workgroups.x`.
pub(super) fn grid_2d(count: usize) -> [u32; 2] {
    const MAX: usize = 32_768;
    let x = count.clamp(1, MAX);
    [x as u32, count.div_ceil(x).max(1) as u32]
}

/// One workgroup a row, and the row count as the shader reads it: `row = group.y * groups.x + group.x`.
///
/// Up to 65,535 rows the grid itself is the count. More rows are folded into a second dimension,
/// which leaves spare groups at the end, so the count becomes a constant of the shader.
pub(super) fn row_grid(rows: usize) -> ([u32; 3], String) {
    const MAX: usize = 65_535;
    if rows <= MAX {
        return ([rows as u32, 1, 1], "groups.x".to_owned());
    }
    ([MAX as u32, rows.div_ceil(MAX) as u32, 1], format!("{rows}u"))
}

/// Lanes that share a row of `len` elements: each that has little to do costs as much as the others, and is waited for.
pub(super) fn row_lanes(len: usize) -> u32 {
    if len <= 256 { 16 } else { 64 }
}
