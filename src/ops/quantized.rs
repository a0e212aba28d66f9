//! Products with quantized weights, whose integers are scaled while they are read.
//!
//! x      [T, K]                 f32
//! quants [N, K·bits/32] Int     small integers in words      (src/weights/quants.rs)
//! scales [N, S] Int             what turns them into numbers
//! →      [T, N]                 f32, accumulated in f32
//!
//! Activations stay f32. Programs that round them to 8 bits lose the exact answers: llama.cpp's CPU
//! code writes the same 32 tokens as f32 for 17 of 24 prompts of Gemma-3-270M
//! (docs/quantization.md).
//!
//! For many rows, wgpu has the kernel of [`super::product`] with another way to read a weight; for
//! few rows one that reads whole blocks. The CPU has its own, in `quantized_cpu`.

use burn::backend::{
    Backend, Flex, backend_extension,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use burn_wgpu::{CubeBackend, CubeTensor, into_contiguous};

use super::launch::{Shader, grid_2d, launch};
use super::product::{Kernel, RowFormat, many_rows, unpack};
use super::quantized_cpu;
use crate::weights::quants::{BLOCK, Bits, Form, Quants, SUPER_BLOCK, SUPER_WORDS, Scales};

/// A quantized matrix `[N, K]` on the device.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// [N, K·bits/32]
    pub quants: Tensor<2, Int>,
    /// [N, S]
    pub scales: Tensor<2, Int>,
    pub form: Form,
    /// Numbers of a row.
    pub k: usize,
}

impl Quantized {
    /// Puts rows on the device.
    pub fn new(rows: Quants, device: &Device) -> Self {
        let (n, form, k) = (rows.rows(), rows.form, rows.k);
        let put = |words: Vec<i32>| {
            let shape = [n, words.len() / n.max(1)];
            Tensor::from_data(TensorData::new(words, shape), device)
        };
        Self { quants: put(rows.quants), scales: put(rows.scales), form, k }
    }

    /// `x [T, K]` → `x Wᵀ [T, N]`.
    pub fn product(&self, x: Tensor<2>) -> Tensor<2> {
        let kernel = Kernel::faster(x.dims()[0], self.k, self.quants.dims()[0]);
        self.product_with(kernel, x)
    }

    /// [`Quantized::product`] with a given kernel, so that tests can compare each with the
    /// definition.
    #[doc(hidden)]
    pub fn product_with(&self, kernel: Kernel, x: Tensor<2>) -> Tensor<2> {
        debug_assert_eq!(x.dims()[1], self.k, "product_quantized: x {:?}, w {:?}", x.dims(), self.quants.dims());
        Tensor::from_dispatch(<burn::backend::Dispatch as QuantizedBackend>::product_quantized(
            x.into_dispatch(),
            self.quants.clone().into_dispatch(),
            self.scales.clone().into_dispatch(),
            self.form,
            kernel,
        ))
    }

    /// The rows of `ids [T]`, which must be in range → `[T, K]` f32.
    pub fn gather(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        let (quants, scales) = (self.quants.clone().select(0, ids.clone()), self.scales.clone().select(0, ids));
        Tensor::from_dispatch(<burn::backend::Dispatch as QuantizedBackend>::unpack_quantized(
            quants.into_dispatch(),
            scales.into_dispatch(),
            self.form,
            self.k,
        ))
    }
}

#[backend_extension(Cube, Flex)]
pub(crate) trait QuantizedBackend: Backend {
    fn product_quantized(
        x: FloatTensor<Self>,
        quants: IntTensor<Self>,
        scales: IntTensor<Self>,
        form: Form,
        kernel: Kernel,
    ) -> FloatTensor<Self>;
    fn unpack_quantized(quants: IntTensor<Self>, scales: IntTensor<Self>, form: Form, k: usize) -> FloatTensor<Self>;
}

impl QuantizedBackend for Flex {
    fn product_quantized(
        x: FloatTensor<Self>,
        quants: IntTensor<Self>,
        scales: IntTensor<Self>,
        form: Form,
        _kernel: Kernel,
    ) -> FloatTensor<Self> {
        let (x, quants, scales) = (x.to_contiguous(), quants.to_contiguous(), scales.to_contiguous());
        let (t, k) = (x.layout().shape()[0], x.layout().shape()[1]);
        let w = matrix(&quants, &scales, form, k);
        let y = quantized_cpu::product(super::values(&x), &w);
        let n = w.n;
        FloatTensor::<Self>::from_data(TensorData::new(y, [t, n]))
    }

    fn unpack_quantized(quants: IntTensor<Self>, scales: IntTensor<Self>, form: Form, k: usize) -> FloatTensor<Self> {
        let (quants, scales) = (quants.to_contiguous(), scales.to_contiguous());
        let w = matrix(&quants, &scales, form, k);
        FloatTensor::<Self>::from_data(TensorData::new(quantized_cpu::unpack(&w), [w.n, k]))
    }
}

/// Borrows a matrix of the CPU backend, whose tensors are contiguous.
fn matrix<'a>(
    quants: &'a IntTensor<Flex>,
    scales: &'a IntTensor<Flex>,
    form: Form,
    k: usize,
) -> quantized_cpu::Matrix<'a> {
    let n = quants.layout().shape()[0];
    let [quants, scales] = [quants, scales].map(|words| words.as_slice().expect("a contiguous tensor of i32"));
    quantized_cpu::Matrix { quants, scales, form, n, k }
}

impl QuantizedBackend for CubeBackend {
    fn product_quantized(
        x: FloatTensor<Self>,
        quants: IntTensor<Self>,
        scales: IntTensor<Self>,
        form: Form,
        kernel: Kernel,
    ) -> FloatTensor<Self> {
        let (quants, scales) = (into_contiguous(quants), into_contiguous(scales));
        let (t, k, n) = (x.meta.shape()[0], x.meta.shape()[1], quants.meta.shape()[0]);
        match kernel {
            Kernel::FewRows => few_rows(into_contiguous(x), &quants, &scales, form, [t, k, n]),
            Kernel::ManyRows => many_rows(x, &[quants, scales], n, &row_format(form, k)),
        }
    }

    fn unpack_quantized(quants: IntTensor<Self>, scales: IntTensor<Self>, form: Form, k: usize) -> FloatTensor<Self> {
        let (quants, scales) = (into_contiguous(quants), into_contiguous(scales));
        let n = quants.meta.shape()[0];
        unpack(&[quants, scales], [n, k], &row_format(form, k))
    }
}

/// A few rows of x, block by block.
fn few_rows(x: CubeTensor, quants: &CubeTensor, scales: &CubeTensor, form: Form, [t, k, n]: [usize; 3]) -> CubeTensor {
    const LANES: usize = 64; // of a workgroup, as in the shader
    const COLUMNS: usize = 4; // of a team, as in the shader
    let blocks = k / BLOCK;
    // As many lanes a team as leave none of them without a block, so that none waits.
    let lanes = 1 << blocks.trailing_zeros().min(4);
    let rows = if t == 1 { 1 } else { 4 };
    let shader = Shader {
        name: "matvec_quants",
        text: include_str!("../../shaders/matvec_quants.wgsl"),
        constants: vec![
            ("blocks", blocks.to_string()),
            ("n", n.to_string()),
            ("rows", rows.to_string()),
            ("lanes", lanes.to_string()),
            ("scale_words", form.scale_words(k).to_string()),
            ("has_floor", adds_floors(form).to_string()),
            ("integers", read_block(form.bits).to_owned()),
            ("factors", read_factors(form)),
            ("scaled", combine(form).to_owned()),
        ],
    };
    let [gx, gy] = grid_2d(n.div_ceil(LANES / lanes * COLUMNS));
    launch(shader, LANES as u32, [gx, gy, t as u32], &[&x, quants, scales], [t, n].into(), DType::F32)
}

/// WGSL that reads the integers of block `at`, without their offset.
fn read_block(bits: Bits) -> &'static str {
    match bits {
        Bits::Eight => {
            "let low = quants[2u * at];\n\
             let high = quants[2u * at + 1u];\n\
             return Block(signed(low.x), signed(low.y), signed(low.z), signed(low.w),\n\
             signed(high.x), signed(high.y), signed(high.z), signed(high.w));"
        }
        Bits::Four => {
            "let both = quants[at];\n\
             let high = both >> vec4<u32>(4u);\n\
             return Block(nibbles(both.x), nibbles(both.y), nibbles(both.z), nibbles(both.w),\n\
             nibbles(high.x), nibbles(high.y), nibbles(high.z), nibbles(high.w));"
        }
    }
}

/// WGSL that reads the factors of block `block` of a row, whose scales begin at `words`.
fn read_factors(form: Form) -> String {
    let (in_super, super_words) = (SUPER_BLOCK / BLOCK, SUPER_WORDS);
    match form.scales {
        Scales::One => format!(
            "let scale = unpack2x16float(scales[words + block / 2u] >> ((block & 1u) * 16u)).x;\n\
             return vec2<f32>(scale, scale * -{}.0);",
            form.offset()
        ),
        Scales::Floor => "return unpack2x16float(scales[words + block]);".into(),
        Scales::Steps32 => format!(
            "let at = words + (block / {in_super}u) * {super_words}u;\n\
             let group = block % {in_super}u;\n\
             let step = scales[at + 1u + group / 2u] >> ((group & 1u) * 16u);\n\
             let d = unpack2x16float(scales[at]);\n\
             return vec2<f32>(d.x * f32(step & 255u), -(d.y * f32((step >> 8u) & 255u)));"
        ),
        Scales::Steps16 => format!(
            "let at = words + (block / {in_super}u) * {super_words}u;\n\
             let group = block % {in_super}u;\n\
             let steps = scales[at + 1u + group / 2u] >> ((group & 1u) * 16u);\n\
             let signed = vec2<i32>(bitcast<i32>(steps << 24u), bitcast<i32>(steps << 16u)) >> vec2<u32>(24u);\n\
             return unpack2x16float(scales[at]).x * vec2<f32>(signed);"
        ),
    }
}

/// WGSL that scales the sums of the halves of a block, `low` and `high`.
fn combine(form: Form) -> &'static str {
    match (form.scales, adds_floors(form)) {
        (Scales::Steps16, _) => "factor.x * low + factor.y * high",
        (_, true) => "factor.x * (low + high) + factor.y * total",
        (_, false) => "factor.x * (low + high)",
    }
}

/// Whether a number is its scaled integer and something more. The offset of Q4 is taken as such a
/// floor, too: it then comes off once a block.
pub(super) fn adds_floors(form: Form) -> bool {
    form.has_floor() || form.offset() != 0
}

/// How a matrix with rows of `k` is read in steps of 4 numbers.
fn row_format(form: Form, k: usize) -> RowFormat {
    let integers = match form.bits {
        Bits::Eight => "vec4<f32>(vec4<i32>(w[i] << 24u, w[i] << 16u, w[i] << 8u, w[i]) >> vec4<u32>(24u))".into(),
        Bits::Four => {
            let offset = if form.offset() == 0 { String::new() } else { format!(" - {}.0", form.offset()) };
            format!("vec4<f32>((vec4<u32>(u32(four)) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u)){offset}")
        }
    };
    // The word that holds the step, shifted so that its nibbles are the low ones.
    let four = match form.bits {
        Bits::Eight => "",
        Bits::Four => "let four = w[(i >> 3u) * 4u + (i & 3u)] >> (i & 4u);",
    };
    let (block, steps) = (BLOCK / 4, k / 4);
    let scaled = match form.scales {
        Scales::One if (k / BLOCK).is_multiple_of(2) => {
            format!("unpack2x16float(u32(scales[i / {}u]) >> (((i / {block}u) & 1u) * 16u)).x * q", 2 * block)
        }
        // The last word of a row holds one scale only.
        Scales::One => {
            let words = form.scale_words(k);
            format!(
                "unpack2x16float(u32(scales[(i / {steps}u) * {words}u + (i % {steps}u) / {}u]) \
                 >> ((((i % {steps}u) / {block}u) & 1u) * 16u)).x * q",
                2 * block
            )
        }
        Scales::Floor => {
            format!("unpack2x16float(u32(scales[i / {block}u])).x * q + unpack2x16float(u32(scales[i / {block}u])).y")
        }
        Scales::Steps32 => "(d.x * f32(step & 255u)) * q - d.y * f32((step >> 8u) & 255u)".into(),
        Scales::Steps16 => "(d.x * f32(step)) * q".into(),
    };
    let super_steps = SUPER_BLOCK / 4;
    let steps_of = match form.scales {
        Scales::One | Scales::Floor => String::new(),
        Scales::Steps32 => format!(
            "let at = (i / {super_steps}u) * {SUPER_WORDS}u;\n\
             let d = unpack2x16float(u32(scales[at]));\n\
             let group = (i / {block}u) & 7u;\n\
             let step = u32(scales[at + 1u + group / 2u]) >> ((group & 1u) * 16u);"
        ),
        Scales::Steps16 => format!(
            "let at = (i / {super_steps}u) * {SUPER_WORDS}u;\n\
             let d = unpack2x16float(u32(scales[at]));\n\
             let group = (i / 4u) & 15u;\n\
             let step = (scales[at + 1u + group / 4u] << (24u - (group & 3u) * 8u)) >> 24u;"
        ),
    };
    let weight = format!(
        "@group(0) @binding(0) var<storage, read_write> w: array<i32>;\n\
         @group(0) @binding(1) var<storage, read_write> scales: array<i32>;\n\
         fn weight(i: u32) -> vec4<f32> {{\n\
         {four}\n\
         let q = {integers};\n\
         {steps_of}\n\
         return {scaled};\n\
         }}"
    );
    RowFormat { wide: 4, weight }
}
