//! Launches one WGSL shader on Burn's wgpu runtime.
//!
//! A shader's text holds placeholders in double braces for constants that are known when weights
//! are loaded (sizes, storage formats). Each set of values is compiled once. What changes from call
//! to call is read from a small tensor or from the grid, because in the browser a new parameter
//! buffer for each launch costs more than the launch itself.

use burn::tensor::{DType, Shape};
use burn_wgpu::{CubeDim, CubeTensor, KernelSource, SourceKernel, SourceTemplate};
use cubecl::{
    prelude::{CubeCount, KernelId},
    server::KernelArguments,
};

/// One shader with the values of its constants.
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

/// Runs `shader` over `grid` workgroups on `inputs` (contiguous, bound in order) → a new tensor,
/// which is bound last.
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

/// Like [`launch`], but writes into the buffer of `output`, even if other tensors share it.
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

/// Lays out `count` workgroups in two dimensions, within the 65,535 per dimension that WebGPU
/// allows. The shader finds the length of a grid row in `num_workgroups.x`.
pub(super) fn grid_2d(count: usize) -> [u32; 2] {
    const MAX: usize = 32_768;
    let x = count.clamp(1, MAX);
    [x as u32, count.div_ceil(x).max(1) as u32]
}

/// A grid with one workgroup per row, `row = group.y * groups.x + group.x`, and the row count as an
/// expression for the shader.
///
/// Up to 65,535 rows the grid itself is the count. More rows are folded into a second dimension,
/// which leaves unused groups at the end, so the count becomes a constant of the shader.
pub(super) fn row_grid(rows: usize) -> ([u32; 3], String) {
    const MAX: usize = 65_535;
    if rows <= MAX {
        return ([rows as u32, 1, 1], "groups.x".to_owned());
    }
    ([MAX as u32, rows.div_ceil(MAX) as u32, 1], format!("{rows}u"))
}

/// The number of lanes that share a row of `len` elements. Short rows get fewer: a lane with little
/// to do costs as much as the others, and they wait for it.
pub(super) fn row_lanes(len: usize) -> u32 {
    if len <= 256 { 16 } else { 64 }
}
