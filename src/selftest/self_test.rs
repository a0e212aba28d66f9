//! The self-test of a device: our ops, and the Burn ops that the models use, are compared with the
//! CPU backend on inputs that are not zero. So a driver that miscompiles one of them is found
//! before a model is loaded.

use burn::tensor::{Device, Int, Tensor, TensorData, activation};

use crate::ops::{
    attend::{Attend, Base, attend, attend_all},
    conv_halve::conv_halve,
    gated::{Act, gated},
    kv_store::kv_store,
    layer_norm::layer_norm,
    product::{Kernel, pack_half, product, product_half, product_half_with, product_with, unpack_half},
    qk_capture::{FirstRow, qk_capture},
    qk_replay::{QkReplay, Span, qk_replay},
    quantized::Quantized,
    rms_norm::rms_norm,
    rope::rope,
};
use crate::weights::quants::{BLOCK, Bits, Form, Quants, SUPER_WORDS, Scales};

/// The largest difference that is accepted, for results of the order of one.
const TOLERANCE: f32 = 2e-4;

/// One operation on the device, compared with the CPU backend.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Comparison {
    pub name: &'static str,
    /// The largest difference between two values; NaN if one of them is NaN.
    pub worst: f32,
    /// What else is wrong: the numbers of values differ, or all values of the CPU are zero.
    pub problem: Option<String>,
}

impl Comparison {
    fn fault(&self) -> Option<String> {
        if let Some(problem) = &self.problem {
            return Some(format!("{}: {problem}", self.name));
        }
        let off = self.worst > TOLERANCE || self.worst.is_nan();
        off.then(|| format!("{} is off by {}", self.name, self.worst))
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn passed(&self) -> bool {
        self.fault().is_none()
    }
}

/// Fails with the name of the first operation that computes wrong values, and the largest
/// difference.
pub(crate) async fn self_test(device: &Device) -> Result<(), String> {
    match compare(device).await?.iter().find_map(Comparison::fault) {
        Some(wrong) => Err(wrong),
        None => Ok(()),
    }
}

/// Runs every operation on `device` and on the CPU. Fails only if the device gives no answer at
/// all.
pub(crate) async fn compare(device: &Device) -> Result<Vec<Comparison>, String> {
    let mut all = Vec::new();
    for ((name, want), (_, got)) in results(&Device::flex()).into_iter().zip(results(device)) {
        let (want, got) = (read(want).await?, read(got).await?);
        let problem = match want.iter().all(|value| *value == 0.0) {
            true => Some("the test itself computes nothing".to_owned()),
            false => (got.len() != want.len()).then(|| format!("{} values instead of {}", got.len(), want.len())),
        };
        let worst = got.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0.0, larger);
        all.push(Comparison { name, worst, problem });
    }
    Ok(all)
}

/// The larger value, or NaN if there is one. `f32::max` would drop a NaN.
fn larger(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
}

async fn read(tensor: Tensor<1>) -> Result<Vec<f32>, String> {
    let data = tensor.into_data_async().await.map_err(|error| error.to_string())?;
    Ok(data.iter::<f32>().collect())
}

fn results(device: &Device) -> Vec<(&'static str, Tensor<1>)> {
    let x = matrix(device, 3, 52, 1);
    let w = matrix(device, 7, 52, 2);
    let halves: Vec<_> = values(7 * 52, 2).into_iter().map(half::f16::from_f32).collect();
    let packed = Tensor::<2, Int>::from_data(TensorData::new(pack_half(&halves), [7, 26]), device);
    let vector = |seed| matrix(device, 1, 52, seed).reshape([52]);
    let heads = |seed| Tensor::<3>::from_data(TensorData::new(values(3 * 4 * 8, seed), [3, 4, 8]), device);
    let cache = |seed| Tensor::<3>::from_data(TensorData::new(values(90 * 2 * 8, seed), [90, 2, 8]), device);
    let base = Base { row: 70, on_device: Tensor::from_ints([70], device) };
    let origin = Base { row: 0, on_device: Tensor::from_ints([0], device) };
    let window = |window| attend(heads(3), cache(4), cache(5), &base, Attend { scale: 1.0, window });
    let one = attend(heads(8).narrow(0, 2, 1), cache(4), cache(5), &base, Attend { scale: 1.0, window: None });
    let assigned = cache(6).slice_assign([5..8, 0..2, 0..8], heads(7).narrow(1, 0, 2));
    let picked = w.clone().select(0, Tensor::<1, Int>::from_ints([6, 0, 3], device));
    let stored = kv_store(cache(14), heads(15).narrow(1, 0, 2), &base);
    let armed = || Tensor::<1, Int>::from_ints([3, 0], device);
    let first = FirstRow { row: -1, on_device: Tensor::from_ints([-1], device) };
    let captured = qk_capture(Tensor::zeros([4, 2, 8], device), heads(22), armed(), &first);
    let span = Span { first: 70, rows: 2, source: 40, columns: 25, draft: 69 };
    let op = QkReplay { attend: Attend { scale: 1.0, window: Some(9) }, group: 2 };
    let replayed = qk_replay(captured.clone(), cache(23), armed(), span, op);
    let wide = |seed, rows: usize, n: usize| {
        Tensor::<3>::from_data(TensorData::new(values(rows * n * 512, seed), [rows, n, 512]), device)
    };
    let base_wide = Base { row: 4, on_device: Tensor::from_ints([4], device) };
    let full = attend(wide(16, 2, 4), wide(17, 6, 2), wide(18, 6, 2), &base_wide, Attend { scale: 0.1, window: None });
    let image = Tensor::<4>::from_data(TensorData::new(values(2 * 3 * 16 * 10, 19), [2, 3, 16, 10]), device);
    let kernel = Tensor::<4>::from_data(TensorData::new(values(5 * 3 * 9, 20), [5, 3, 3, 3]), device);
    let halved = conv_halve(image, kernel, matrix(device, 1, 5, 27).reshape([5]));
    // Nine rows, for which `Kernel::faster` chooses the few-rows kernel in a large model, but not
    // at the size of the weights here. The widest product has more columns than one dimension of a
    // grid takes.
    let nine = || matrix(device, 9, 52, 28);
    let few = product_with(Kernel::FewRows, nine(), w.clone());
    let few_half = product_half_with(Kernel::FewRows, nine(), packed.clone());
    let widest = product_with(Kernel::FewRows, matrix(device, 2, 4, 29), matrix(device, 131_175, 4, 30));
    let joined = Tensor::cat(vec![x.clone(), matrix(device, 2, 52, 21)], 0);
    let best = matrix(device, 5, 300, 10).argmax(1).float();
    let mut all = vec![
        ("product", flat(product(x.clone(), w.clone()))),
        ("product of f16", flat(product_half(x.clone(), packed.clone()))),
        ("product of f16 and one row", flat(product_half(x.clone().narrow(0, 1, 1), packed.clone()))),
        ("product of some rows", flat(few / 4.0)),
        ("product of f16 and some rows", flat(few_half / 4.0)),
        ("product of very many columns", flat(widest)),
        ("product of many rows", flat(product(matrix(device, 41, 52, 24), w.clone()) / 6.0)),
        ("product of f16 and many rows", flat(product_half(matrix(device, 41, 52, 25), packed.clone()) / 6.0)),
        ("rms_norm", flat(rms_norm(x.clone(), vector(11), 1e-6))),
        ("layer_norm", flat(layer_norm(x.clone(), vector(11), vector(26), 1e-5) / 2.0)),
        ("rope", flat(rope(heads(3), matrix(device, 3, 4, 12), matrix(device, 3, 4, 13)))),
        ("gated silu", flat(gated(x.clone() * 3.0, x.clone(), Act::Silu))),
        ("gated gelu", flat(gated(x.clone() * 90.0, x.clone(), Act::GeluTanh) / 90.0)),
        ("attention", flat(window(None))),
        ("attention of one row", flat(one)),
        ("windowed attention", flat(window(Some(9)))),
        (
            "attention both ways",
            flat(attend_all(heads(3), heads(4).narrow(1, 0, 2), heads(5).narrow(1, 0, 2), &origin, 1.0)),
        ),
        ("query capture", flat(captured)),
        ("attention replay", flat(replayed)),
        ("attention of wide heads", flat(full)),
        ("kv_store", flat(stored)),
        ("unpack_half", flat(unpack_half(packed))),
        ("conv_halve", flat(halved / 4.0)),
        ("gelu", flat(activation::gelu(x * 4.0) / 4.0)),
        ("cat", flat(joined)),
        ("slice_assign", flat(assigned)),
        ("select", flat(picked)),
        ("argmax", flat(best)),
    ];
    for (form, [one, some, many, rows]) in QUANTIZED {
        let w = quantized(device, form);
        let x = |rows| matrix(device, rows, w.k, 31);
        all.push((one, flat(w.product_with(Kernel::FewRows, x(1)))));
        all.push((some, flat(w.product_with(Kernel::FewRows, x(3)))));
        all.push((many, flat(w.product_with(Kernel::ManyRows, x(5)))));
        all.push((rows, flat(w.gather(Tensor::from_ints([6, 0, 3], device)))));
    }
    all
}

/// Forms that have all ways to read integers and scales between them, and the names of one row,
/// some rows, many rows and a look-up.
const QUANTIZED: [(Form, [&str; 4]); 5] = [
    (Form::Q8, ["q8, one row", "q8, some rows", "q8, many rows", "rows of q8"]),
    (Form::Q4, ["q4, one row", "q4, some rows", "q4, many rows", "rows of q4"]),
    (
        Form { bits: Bits::Four, scales: Scales::Floor },
        ["floors, one row", "floors, some rows", "floors, many rows", "rows with floors"],
    ),
    (
        Form { bits: Bits::Four, scales: Scales::Steps32 },
        [
            "steps of blocks, one row",
            "steps of blocks, some rows",
            "steps of blocks, many rows",
            "rows of steps of blocks",
        ],
    ),
    (
        Form { bits: Bits::Eight, scales: Scales::Steps16 },
        [
            "steps of halves, one row",
            "steps of halves, some rows",
            "steps of halves, many rows",
            "rows of steps of halves",
        ],
    ),
];

/// Seven rows: in a form with single blocks an odd number of them.
fn quantized(device: &Device, form: Form) -> Quantized {
    let (n, k) = (7, if form.unit() == BLOCK { 3 * BLOCK } else { form.unit() });
    let bits = |len, seed| values(len, seed).into_iter().map(|value| (value.to_bits() << 7).cast_signed());
    let both = |scale: f32| i32::from(half::f16::from_f32(scale).to_bits()) * 0x1_0001;
    let scales = bits(n * form.scale_words(k), 33).enumerate().map(|(at, bits)| match form.scales {
        Scales::One | Scales::Floor => both(2e-3),
        _ if at % SUPER_WORDS == 0 => both(2e-4),
        _ => bits & 0x0f0f_0f0f,
    });
    let rows = Quants::from_words(form, k, bits(n * form.quant_words(k), 32).collect(), scales.collect());
    Quantized::new(rows, device)
}

fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let len = tensor.shape().num_elements();
    tensor.reshape([len])
}

fn matrix(device: &Device, rows: usize, columns: usize, seed: u32) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values(rows * columns, seed), [rows, columns]), device)
}

/// Reproducible values in -1..1, none of them zero.
fn values(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 8) as f32 / 8_388_608.0 - 1.0 + 1e-4
        })
        .collect()
}
