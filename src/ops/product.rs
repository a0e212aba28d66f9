//! Products with weights: `y = x Wᵀ`, for the one row of a decoding step and for all rows of a
//! prompt.
//!
//! x  [T, K]                                              f32
//! W  [N, K]   as the checkpoint stores it                f32, or f16 packed in pairs
//! →  [T, N]                                              f32, accumulated in f32
//!
//! Packed: W is Int [N, K/2], with element 2i in the low half of a word. WGSL's `unpack2x16float`
//! reads it on every adapter, so half-precision weights need no `shader-f16`.
//!
//! There are two kernels, and [`Kernel::faster`] chooses one. With few rows the lanes of a
//! workgroup share each weight row (`matvec.wgsl`); with many rows each lane computes a tile
//! (`matmat.wgsl`). Burn's own product without autotune takes more than twice as long for one row,
//! and up to ten times as long for many rows on software adapters (docs/measurements.md). It would
//! also need packed weights to be unpacked first.

use burn::backend::{
    Backend, Flex, backend_extension,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{DType, Int, Tensor};
use burn_wgpu::{CubeBackend, CubeTensor, into_contiguous};

use super::launch::{Shader, grid_2d, launch};

/// The most rows for which the kernel for few rows is chosen.
const FEW_ROWS: usize = 16;
/// The same for a weight of at most [`SMALL_WEIGHT`] elements.
const SMALL_WEIGHT_ROWS: usize = 4;
/// The most elements of a small weight. Every matrix of the released models is larger.
const SMALL_WEIGHT: usize = 1 << 18;

/// The two kernels on wgpu. Both compute the same product for any number of rows; they differ in
/// speed and in the order of summation. The CPU has only one way and ignores the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// `matvec.wgsl`
    FewRows,
    /// `matmat.wgsl`
    ManyRows,
}

impl Kernel {
    /// The faster kernel for `x [t, k]` and a weight `[n, k]`.
    pub fn faster(t: usize, k: usize, n: usize) -> Kernel {
        // For a small weight, most of the time goes to lanes that wait at the barrier. Tiles have
        // no barrier.
        let most = if n * k <= SMALL_WEIGHT { SMALL_WEIGHT_ROWS } else { FEW_ROWS };
        if t <= most { Kernel::FewRows } else { Kernel::ManyRows }
    }
}

#[backend_extension(Cube, Flex)]
pub(crate) trait ProductBackend: Backend {
    fn product(x: FloatTensor<Self>, w: FloatTensor<Self>, kernel: Kernel) -> FloatTensor<Self>;
    fn product_half(x: FloatTensor<Self>, w: IntTensor<Self>, kernel: Kernel) -> FloatTensor<Self>;
    fn unpack_half(w: IntTensor<Self>) -> FloatTensor<Self>;
}

/// `x [T, K]`, `w [N, K]` → `[T, N]`.
pub fn product(x: Tensor<2>, w: Tensor<2>) -> Tensor<2> {
    let kernel = Kernel::faster(x.dims()[0], x.dims()[1], w.dims()[0]);
    product_with(kernel, x, w)
}

/// [`product`] with a given kernel, so that tests and the self-test can compare each kernel with
/// the definition.
#[doc(hidden)]
pub fn product_with(kernel: Kernel, x: Tensor<2>, w: Tensor<2>) -> Tensor<2> {
    debug_assert_eq!(x.dims()[1], w.dims()[1], "product: x {:?}, w {:?}", x.dims(), w.dims());
    let (x, w) = (x.into_dispatch(), w.into_dispatch());
    Tensor::from_dispatch(<burn::backend::Dispatch as ProductBackend>::product(x, w, kernel))
}

/// `x [T, K]`, `w [N, K/2]` packed → `[T, N]`.
pub fn product_half(x: Tensor<2>, w: Tensor<2, Int>) -> Tensor<2> {
    let kernel = Kernel::faster(x.dims()[0], x.dims()[1], w.dims()[0]);
    product_half_with(kernel, x, w)
}

/// [`product_half`] with a given kernel; see [`product_with`].
#[doc(hidden)]
pub fn product_half_with(kernel: Kernel, x: Tensor<2>, w: Tensor<2, Int>) -> Tensor<2> {
    debug_assert_eq!(x.dims()[1], 2 * w.dims()[1], "product_half: x {:?}, w {:?}", x.dims(), w.dims());
    let (x, w) = (x.into_dispatch(), w.into_dispatch());
    Tensor::from_dispatch(<burn::backend::Dispatch as ProductBackend>::product_half(x, w, kernel))
}

/// `w [N, K/2]` packed → `[N, K]` f32.
pub fn unpack_half(w: Tensor<2, Int>) -> Tensor<2> {
    Tensor::from_dispatch(<burn::backend::Dispatch as ProductBackend>::unpack_half(w.into_dispatch()))
}

/// Packs two f16 per word, as [`product_half`] reads them. `halves` has an even length.
pub fn pack_half(halves: &[half::f16]) -> Vec<i32> {
    halves
        .chunks_exact(2)
        .map(|pair| (u32::from(pair[0].to_bits()) | u32::from(pair[1].to_bits()) << 16) as i32)
        .collect()
}

impl ProductBackend for Flex {
    fn product(x: FloatTensor<Self>, w: FloatTensor<Self>, _kernel: Kernel) -> FloatTensor<Self> {
        let (x, w) = (Tensor::<2>::from_primitive::<Flex>(x), Tensor::<2>::from_primitive::<Flex>(w));
        super::primitive(x.matmul(w.transpose()))
    }

    fn product_half(x: FloatTensor<Self>, w: IntTensor<Self>, kernel: Kernel) -> FloatTensor<Self> {
        Self::product(x, Self::unpack_half(w), kernel)
    }

    /// Decodes sign, exponent and mantissa with integer arithmetic. This is the definition of the
    /// format.
    fn unpack_half(w: IntTensor<Self>) -> FloatTensor<Self> {
        let w = Tensor::<2, Int>::from_primitive::<Flex>(w);
        let [n, pairs] = w.dims();
        let low = w.clone().bitwise_and_scalar(0xffff);
        let high = w.bitwise_right_shift_scalar(16).bitwise_and_scalar(0xffff);
        let bits = Tensor::stack::<3>(vec![low, high], 2).reshape([n, 2 * pairs]);
        let field =
            |shift: i32, mask: i32| bits.clone().bitwise_right_shift_scalar(shift).bitwise_and_scalar(mask).float();
        let (sign, exponent, mantissa) = (field(15, 1), field(10, 31), field(0, 1023));
        let two = Tensor::<2>::full([n, 2 * pairs], 2.0, &bits.device());
        let subnormal = exponent.clone().equal_scalar(0);
        let normal = two.powf(exponent - 25.0) * (mantissa.clone() + 1024.0);
        let magnitude = normal.mask_where(subnormal, mantissa * (-24f32).exp2());
        super::primitive(magnitude * (sign * -2.0 + 1.0))
    }
}

impl ProductBackend for CubeBackend {
    fn product(x: FloatTensor<Self>, w: FloatTensor<Self>, kernel: Kernel) -> FloatTensor<Self> {
        let format = match x.meta.shape()[1] {
            k if k % 4 == 0 => RowFormat::array(4, "vec4<f32>", "w[i]"),
            k if k % 2 == 0 => RowFormat::array(2, "vec2<f32>", "w[i]"),
            _ => RowFormat::array(1, "f32", "w[i]"),
        };
        let n = w.meta.shape()[0];
        run(x, &[into_contiguous(w)], n, &format, kernel)
    }

    fn product_half(x: FloatTensor<Self>, w: IntTensor<Self>, kernel: Kernel) -> FloatTensor<Self> {
        let format = match x.meta.shape()[1] {
            k if k % 4 == 0 => RowFormat::halves(4),
            _ => RowFormat::halves(2),
        };
        let n = w.meta.shape()[0];
        run(x, &[into_contiguous(w)], n, &format, kernel)
    }

    fn unpack_half(w: IntTensor<Self>) -> FloatTensor<Self> {
        let [n, pairs] = [w.meta.shape()[0], w.meta.shape()[1]];
        unpack(&[into_contiguous(w)], [n, 2 * pairs], &RowFormat::halves(2))
    }
}

/// How the kernels read a weight.
pub(super) struct RowFormat {
    /// Elements of a step: 1, 2 or 4.
    pub wide: usize,
    /// WGSL: the buffers of the weight, from binding 0 on, and `fn weight(i: u32)`, which gives
    /// step i of all rows together.
    pub weight: String,
}

impl RowFormat {
    /// One array of `element`, of which `load` makes a step.
    fn array(wide: usize, element: &str, load: &str) -> Self {
        let weight = format!(
            "@group(0) @binding(0) var<storage, read_write> w: array<{element}>;\n\
             fn weight(i: u32) -> {} {{ return {load}; }}",
            step_type(wide)
        );
        Self { wide, weight }
    }

    /// Packed f16, 2 or 4 of them a step.
    fn halves(wide: usize) -> Self {
        match wide {
            2 => Self::array(2, "u32", "unpack2x16float(w[i])"),
            _ => Self::array(4, "vec2<u32>", "vec4<f32>(unpack2x16float(w[i].x), unpack2x16float(w[i].y))"),
        }
    }

    /// The shader constants that both kernels need for a weight `[n, k]` in `buffers` buffers, and
    /// `more` that only one of them needs.
    fn constants<const M: usize>(
        &self,
        [k, n, buffers]: [usize; 3],
        more: [(&'static str, String); M],
    ) -> Vec<(&'static str, String)> {
        let both = [
            ("x_type", step_type(self.wide).into()),
            ("weight", self.weight.clone()),
            ("input", buffers.to_string()),
            ("output", (buffers + 1).to_string()),
            ("product", if self.wide == 1 { "a * b" } else { "dot(a, b)" }.into()),
            ("steps", (k / self.wide).to_string()),
            ("n", n.to_string()),
        ];
        both.into_iter().chain(more).collect()
    }
}

/// The WGSL type of a step.
fn step_type(wide: usize) -> &'static str {
    match wide {
        1 => "f32",
        2 => "vec2<f32>",
        _ => "vec4<f32>",
    }
}

/// `x [T, K]` and a weight of `n` rows in the contiguous buffers `w` → `[T, N]`.
fn run(x: CubeTensor, w: &[CubeTensor], n: usize, format: &RowFormat, kernel: Kernel) -> CubeTensor {
    match kernel {
        Kernel::FewRows => few_rows(x, w, n, format),
        Kernel::ManyRows => many_rows(x, w, n, format),
    }
}

fn few_rows(x: CubeTensor, w: &[CubeTensor], n: usize, format: &RowFormat) -> CubeTensor {
    const COLUMNS: usize = 4; // per workgroup, as in the shader
    let x = into_contiguous(x);
    let (t, k) = (x.meta.shape()[0], x.meta.shape()[1]);
    let rows: usize = if t == 1 { 1 } else { 4 };
    // Idle lanes cost as much as the others, so a short row gets fewer. At least one lane per row
    // is needed to add up the results.
    let lanes = if k / format.wide >= 128 { 64 } else { 16 };
    let more = [("rows", rows.to_string()), ("lanes", lanes.to_string())];
    let shader = Shader {
        name: "matvec",
        text: include_str!("../../shaders/matvec.wgsl"),
        constants: format.constants([k, n, w.len()], more),
    };
    let [gx, gy] = grid_2d(n.div_ceil(COLUMNS));
    let inputs: Vec<&CubeTensor> = w.iter().chain([&x]).collect();
    // The grid's z is the row count, so the shader learns it without a parameter. The groups past
    // the last row return at once.
    launch(shader, lanes, [gx, gy, t as u32], &inputs, [t, n].into(), DType::F32)
}

/// The same for many rows, with any way to read a weight.
pub(super) fn many_rows(x: CubeTensor, w: &[CubeTensor], n: usize, format: &RowFormat) -> CubeTensor {
    const TILE: usize = 32; // columns per workgroup, as in the shader
    let x = into_contiguous(x);
    let (t, k) = (x.meta.shape()[0], x.meta.shape()[1]);
    let shader = Shader {
        name: "matmat",
        text: include_str!("../../shaders/matmat.wgsl"),
        constants: format.constants([k, n, w.len()], []),
    };
    let inputs: Vec<&CubeTensor> = w.iter().chain([&x]).collect();
    // The grid's y is the row count, as z is above.
    let grid = [n.div_ceil(TILE) as u32, t as u32, 1];
    launch(shader, 64, grid, &inputs, [t, n].into(), DType::F32)
}

/// A weight `[n, k]` in the contiguous buffers `w` → the same as f32.
pub(super) fn unpack(w: &[CubeTensor], [n, k]: [usize; 2], format: &RowFormat) -> CubeTensor {
    let steps = n * k / format.wide;
    let shader = Shader {
        name: "unpack",
        text: include_str!("../../shaders/unpack.wgsl"),
        constants: vec![
            ("x_type", step_type(format.wide).into()),
            ("weight", format.weight.clone()),
            ("output", w.len().to_string()),
            ("len", steps.to_string()),
        ],
    };
    let [gx, gy] = grid_2d(steps.div_ceil(64));
    let inputs: Vec<&CubeTensor> = w.iter().collect();
    launch(shader, 64, [gx, gy, 1], &inputs, [n, k].into(), DType::F32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_chosen_by_rows_and_by_size() {
        let (small, large) = ((512, 512), (513, 512));
        for ((k, n), most) in [(small, SMALL_WEIGHT_ROWS), (large, FEW_ROWS)] {
            let chosen: Vec<Kernel> = (1..=FEW_ROWS + 1).map(|t| Kernel::faster(t, k, n)).collect();
            let (few, many) = chosen.split_at(most);
            assert!(few.iter().all(|kernel| *kernel == Kernel::FewRows), "{k} x {n}: {chosen:?}");
            assert!(many.iter().all(|kernel| *kernel == Kernel::ManyRows), "{k} x {n}: {chosen:?}");
        }
    }
}
