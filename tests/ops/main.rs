//! Compares every op's WGSL with its definition in plain Burn, over random shapes, on every
//! adapter. The CPU's loops for capture and replay are compared with theirs, too.
//!
//! Expected results must not be all zero, memory that must not be read holds NaN, and inputs also
//! come as non-contiguous views.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/dice.rs"]
mod dice;
mod quantized;
mod replay;

use alignatt::internals::ops::{
    Act, Attend, Base, FirstRow, Kernel, attend, attend_all, conv_halve, gated, kv_store, layer_norm, pack_half,
    product, product_half, product_half_with, product_with, qk_capture, rms_norm, rope, unpack_half,
};
use burn::tensor::{Device, Int, Tensor, TensorData};
use common::devices;
use dice::Dice;

const SHAPES: usize = 24;

/// The values of one tensor, which can be put on either device.
#[derive(Clone)]
struct Values<const D: usize> {
    values: Vec<f32>,
    shape: [usize; D],
}

impl<const D: usize> Values<D> {
    fn random(dice: &mut Dice, shape: [usize; D]) -> Self {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| dice.unit()).collect();
        assert!(values.iter().any(|v| *v != 0.0), "the inputs must not be zero");
        Self { values, shape }
    }

    fn on(&self, device: &Device) -> Tensor<D> {
        Tensor::from_data(TensorData::new(self.values.clone(), self.shape), device)
    }

    /// The same tensor as a view: in memory, its last two dimensions are swapped.
    fn view_on(&self, device: &Device) -> Tensor<D> {
        let swapped = self.on(device).swap_dims(D - 2, D - 1);
        let len = swapped.shape().num_elements();
        let memory = swapped.clone().reshape([len]).reshape(swapped.shape().dims::<D>());
        memory.swap_dims(D - 2, D - 1)
    }
}

fn vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter().collect()
}

fn close(what: &str, got: Vec<f32>, want: Vec<f32>) {
    assert_eq!(got.len(), want.len(), "{what}");
    assert!(want.iter().any(|v| *v != 0.0), "{what}: the definition computes nothing");
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        assert!((g - w).abs() <= 2e-5 * w.abs().max(1.0), "{what}: value {i} is {g}, not {w}");
    }
}

/// Runs `check(dice, cpu, gpu, name)` for many shapes on every adapter.
fn on_adapters(seed: u64, check: impl Fn(&mut Dice, &Device, &Device, &str)) {
    on_adapters_once(seed, |dice, cpu, gpu, name| (0..SHAPES).for_each(|_| check(dice, cpu, gpu, name)));
}

/// Runs `check` once on every adapter, for checks that draw all their shapes themselves.
fn on_adapters_once(seed: u64, check: impl Fn(&mut Dice, &Device, &Device, &str)) {
    let cpu = Device::flex();
    for compute in pollster::block_on(devices()).iter().filter(|compute| compute.is_gpu()) {
        check(&mut Dice(seed), &cpu, &compute.device, &compute.name);
        compute.check().unwrap();
    }
}

const KERNELS: [Kernel; 2] = [Kernel::FewRows, Kernel::ManyRows];

/// A weight that can be stored as f32 or f16, with the same values.
struct Stored {
    halves: Vec<half::f16>,
    n: usize,
    k: usize,
}

impl Stored {
    fn random(dice: &mut Dice, n: usize, k: usize) -> Self {
        Self { halves: (0..n * k).map(|_| half::f16::from_f32(dice.unit())).collect(), n, k }
    }

    fn dense(&self) -> Values<2> {
        Values { values: self.halves.iter().map(|half| half.to_f32()).collect(), shape: [self.n, self.k] }
    }

    /// The weight as packed f16; k must be even.
    fn packed(&self, device: &Device) -> Tensor<2, Int> {
        Tensor::from_data(TensorData::new(pack_half(&self.halves), [self.n, self.k / 2]), device)
    }
}

/// `x` as a view with rows of NaN before and after it.
fn among_nans(x: &Values<2>, device: &Device) -> Tensor<2> {
    let [t, k] = x.shape;
    let mut values = vec![f32::NAN; (t + 40) * k];
    values[8 * k..][..t * k].copy_from_slice(&x.values);
    Tensor::<2>::from_data(TensorData::new(values, [t + 40, k]), device).narrow(0, 8, t)
}

/// Fills memory of this shape with NaN and frees it, so that a result may be placed there.
fn poison(shape: [usize; 2], device: &Device) {
    drop(vec(Tensor::<2>::full(shape, f32::NAN, device)));
}

/// Compares each kernel with each storage against `x Wᵀ`, on the first `t` rows of `x` for every
/// `t` of `counts`.
fn check_products(
    name: &str,
    (cpu, gpu): (&Device, &Device),
    (x, w): (&Values<2>, &Stored),
    counts: impl Iterator<Item = usize>,
) {
    let (k, n) = (w.k, w.n);
    let want = vec(product(x.on(cpu), w.dense().on(cpu)));
    let (dense, packed) = (w.dense().on(gpu), k.is_multiple_of(2).then(|| w.packed(gpu)));
    for t in counts {
        let rows = Values { values: x.values[..t * k].to_vec(), shape: [t, k] };
        for kernel in KERNELS {
            let what = format!("{name}: {kernel:?} {t}x{k} by {n}");
            poison([t, n], gpu);
            let got = vec(product_with(kernel, among_nans(&rows, gpu), dense.clone()));
            close(&what, got, want[..t * n].to_vec());
            if let Some(packed) = &packed {
                poison([t, n], gpu);
                let got = vec(product_half_with(kernel, among_nans(&rows, gpu), packed.clone()));
                close(&format!("{what}, f16"), got, want[..t * n].to_vec());
            }
        }
    }
}

/// Row lengths for every step width (4, 2 and 1 elements), for few lanes and many, and column
/// counts with every remainder.
#[test]
fn products_of_every_row_count_equal_their_definition() {
    for (seed, (k, n)) in [(52, 7), (134, 9), (37, 6), (516, 8), (1, 1), (2, 131)].into_iter().enumerate() {
        on_adapters_once(20 + seed as u64, |dice, cpu, gpu, name| {
            let (x, w) = (Values::random(dice, [40, k]), Stored::random(dice, n, k));
            check_products(name, (cpu, gpu), (&x, &w), 1..=40);
        });
    }
}

/// More columns than one dimension of the grid can count.
#[test]
fn products_of_very_many_columns_equal_their_definition() {
    on_adapters_once(40, |dice, cpu, gpu, name| {
        let (x, w) = (Values::random(dice, [17, 4]), Stored::random(dice, 131_175, 4));
        check_products(name, (cpu, gpu), (&x, &w), [1, 2, 5, 16, 17].into_iter());
    });
}

/// A weight like those of released models: so large that the choice of kernel changes at more rows.
#[test]
fn products_of_a_large_weight_equal_their_definition() {
    on_adapters_once(41, |dice, cpu, gpu, name| {
        let (k, n) = (510, 601);
        let (x, w) = (Values::random(dice, [17, k]), Stored::random(dice, n, k));
        check_products(name, (cpu, gpu), (&x, &w), [1, 4, 5, 16, 17].into_iter());
        assert_eq!([16, 17].map(|t| Kernel::faster(t, k, n)), KERNELS);
    });
}

#[test]
fn product_equals_its_definition() {
    on_adapters(1, |dice, cpu, gpu, name| {
        let (t, k, n) = (1 + dice.below(90), 1 + dice.below(300), 1 + dice.below(90));
        let (x, w) = (Values::random(dice, [t, k]), Values::random(dice, [n, k]));
        let what = format!("{name}: product {t}x{k} by {n}");
        let want = vec(product(x.on(cpu), w.on(cpu)));
        close(&what, vec(product(x.on(gpu), w.on(gpu))), want.clone());
        close(&format!("{what}, views"), vec(product(x.view_on(gpu), w.view_on(gpu))), want);
    });
}

#[test]
fn product_of_halves_equals_its_definition() {
    on_adapters(2, |dice, cpu, gpu, name| {
        let (t, k, n) = (1 + dice.below(90), 2 + 2 * dice.below(150), 1 + dice.below(90));
        let (x, w) = (Values::random(dice, [t, k]), Stored::random(dice, n, k));
        let what = format!("{name}: product_half {t}x{k} by {n}");
        close(&what, vec(product_half(x.on(gpu), w.packed(gpu))), vec(product_half(x.on(cpu), w.packed(cpu))));
    });
}

#[test]
fn unpack_half_is_exact_on_every_bit_pattern() {
    // All finite f16 values, including signed zeros and subnormals.
    let halves: Vec<_> = (0..=u16::MAX).map(half::f16::from_bits).filter(|v| v.is_finite()).collect();
    let want: Vec<f32> = halves.iter().map(|v| v.to_f32()).collect();
    for compute in pollster::block_on(devices()) {
        let words = pack_half(&halves);
        let data = TensorData::new(words.clone(), [31, words.len() / 31]);
        let got = vec(unpack_half(Tensor::<2, Int>::from_data(data, &compute.device)));
        let wrong = got.iter().zip(&want).position(|(g, w)| g != w);
        assert_eq!(wrong.map(|at| (got[at], want[at])), None, "{}", compute.name);
    }
}

#[test]
fn rms_norm_equals_its_definition() {
    on_adapters(3, |dice, cpu, gpu, name| {
        let (r, h) = (1 + dice.below(40), 1 + dice.below(300));
        let (x, w) = (Values::random(dice, [r, h]), Values::random(dice, [h]));
        let (plain, weight) = (x.on(cpu), w.on(cpu));
        let scale = (plain.clone().square().mean_dim(1) + 1e-6).sqrt().recip();
        let want = vec(plain * scale * weight.unsqueeze());
        close(&format!("cpu: rms_norm {r}x{h}"), vec(rms_norm(x.view_on(cpu), w.on(cpu), 1e-6)), want.clone());
        close(&format!("{name}: rms_norm {r}x{h}"), vec(rms_norm(x.on(gpu), w.on(gpu), 1e-6)), want.clone());
        close(&format!("{name}: rms_norm {r}x{h}, view"), vec(rms_norm(x.view_on(gpu), w.on(gpu), 1e-6)), want);
    });
}

#[test]
fn layer_norm_equals_its_definition() {
    on_adapters(10, |dice, cpu, gpu, name| {
        let (r, h) = (1 + dice.below(40), 1 + dice.below(300));
        let mut x = Values::random(dice, [r, h]);
        x.values.iter_mut().for_each(|v| *v += 3.0); // a mean that must not enter the variance
        let (w, b) = (Values::random(dice, [h]), Values::random(dice, [h]));
        let want = vec(layer_norm(x.on(cpu), w.on(cpu), b.on(cpu), 1e-5));
        let what = format!("{name}: layer_norm {r}x{h}");
        close(&what, vec(layer_norm(x.on(gpu), w.on(gpu), b.on(gpu), 1e-5)), want.clone());
        close(&format!("{what}, view"), vec(layer_norm(x.view_on(gpu), w.on(gpu), b.on(gpu), 1e-5)), want);
    });
}

/// More rows than one dimension of the grid can count.
#[test]
fn norms_of_very_many_rows_equal_their_definition() {
    on_adapters_once(42, |dice, cpu, gpu, name| {
        for r in [65_535, 65_536, 131_111] {
            let (x, w, b) = (Values::random(dice, [r, 3]), Values::random(dice, [3]), Values::random(dice, [3]));
            poison([r, 3], gpu);
            let got = vec(rms_norm(x.on(gpu), w.on(gpu), 1e-6));
            close(&format!("{name}: rms_norm of {r} rows"), got, vec(rms_norm(x.on(cpu), w.on(cpu), 1e-6)));
            poison([r, 3], gpu);
            let got = vec(layer_norm(x.on(gpu), w.on(gpu), b.on(gpu), 1e-2));
            let want = vec(layer_norm(x.on(cpu), w.on(cpu), b.on(cpu), 1e-2));
            close(&format!("{name}: layer_norm of {r} rows"), got, want);
        }
    });
}

#[test]
fn rope_equals_its_definition() {
    on_adapters(4, |dice, cpu, gpu, name| {
        let (t, n, half) = (1 + dice.below(20), 1 + dice.below(9), 1 + dice.below(140));
        let x = Values::random(dice, [t, n, 2 * half]);
        let (cos, sin) = (Values::random(dice, [t, half]), Values::random(dice, [t, half]));
        let want = {
            let (a, b) = (x.on(cpu).narrow(2, 0, half), x.on(cpu).narrow(2, half, half));
            let (cos, sin) = (cos.on(cpu).unsqueeze_dim::<3>(1), sin.on(cpu).unsqueeze_dim::<3>(1));
            let low = a.clone() * cos.clone() - b.clone() * sin.clone();
            vec(Tensor::cat(vec![low, b * cos + a * sin], 2))
        };
        close("cpu: rope", vec(rope(x.view_on(cpu), cos.on(cpu), sin.on(cpu))), want.clone());
        let what = format!("{name}: rope {t}x{n}x{}", 2 * half);
        close(&what, vec(rope(x.on(gpu), cos.on(gpu), sin.on(gpu))), want.clone());
        close(&format!("{what}, view"), vec(rope(x.view_on(gpu), cos.on(gpu), sin.on(gpu))), want);
    });
}

#[test]
fn gated_equals_its_definition() {
    on_adapters(5, |dice, cpu, gpu, name| {
        let (t, i) = (1 + dice.below(20), 1 + dice.below(300));
        let (mut gate, up) = (Values::random(dice, [t, i]), Values::random(dice, [t, i]));
        gate.values.iter_mut().for_each(|v| *v *= 40.0); // far into both saturations
        for act in [Act::Silu, Act::GeluTanh] {
            let want = vec(gated(gate.on(cpu), up.on(cpu), act));
            let what = format!("{name}: {act:?} {t}x{i}");
            close(&what, vec(gated(gate.on(gpu), up.on(gpu), act)), want.clone());
            close(&format!("{what}, views"), vec(gated(gate.view_on(gpu), up.view_on(gpu), act)), want);
        }
    });
}

#[test]
fn conv_halve_equals_its_definition() {
    on_adapters(11, |dice, cpu, gpu, name| {
        let (n, c, o) = (1 + dice.below(3), 1 + dice.below(9), 1 + dice.below(70));
        let (height, width) = (1 + dice.below(40), 1 + dice.below(40));
        let x = Values::random(dice, [n, c, height, width]);
        let (w, b) = (Values::random(dice, [o, c, 3, 3]), Values::random(dice, [o]));
        let want = vec(conv_halve(x.on(cpu), w.on(cpu), b.on(cpu)));
        let what = format!("{name}: conv_halve {n}x{c}x{height}x{width} to {o}");
        close(&what, vec(conv_halve(x.on(gpu), w.on(gpu), b.on(gpu))), want.clone());
        close(&format!("{what}, view"), vec(conv_halve(x.view_on(gpu), w.on(gpu), b.on(gpu))), want);
    });
}

#[test]
fn attend_equals_its_definition_and_reads_nothing_else() {
    on_adapters(6, |dice, cpu, gpu, name| {
        let (kv, group) = (1 + dice.below(3), 1 + dice.below(4));
        let d = [1 + dice.below(140), 256, 512][dice.below(3)];
        let (t, before, after) = (1 + dice.below(30), dice.below(200), dice.below(9));
        let window = [None, Some(1 + dice.below(40)), Some(1 + dice.below(300))][dice.below(3)];
        let rows = before + t + after;
        let q = Values::random(dice, [t, kv * group, d]);
        let (mut k, mut v) = (Values::random(dice, [rows, kv, d]), Values::random(dice, [rows, kv, d]));
        // Rows that no query may see: those after the last one, and those before the window.
        let hidden = window.map_or(0, |window| (before + 1).saturating_sub(window));
        for cache in [&mut k, &mut v] {
            cache.values[..hidden * kv * d].fill(f32::NAN);
            cache.values[(before + t) * kv * d..].fill(f32::NAN);
        }
        let run = |device: &Device| {
            let base = Base { row: before, on_device: Tensor::from_ints([before as i32], device) };
            vec(attend(
                q.on(device),
                k.on(device),
                v.on(device),
                &base,
                Attend { scale: 1.0 / (d as f32).sqrt(), window },
            ))
        };
        let what = format!("{name}: attend {t}x{}x{d} on {kv} heads after {before}, window {window:?}", kv * group);
        close(&what, run(gpu), run(cpu));
    });
}

#[test]
fn attend_all_equals_its_definition() {
    on_adapters(9, |dice, cpu, gpu, name| {
        let (kv, group) = (1 + dice.below(3), 1 + dice.below(4));
        let (t, d) = (1 + dice.below(140), [1 + dice.below(140), 512][dice.below(2)]);
        let q = Values::random(dice, [t, kv * group, d]);
        let (k, v) = (Values::random(dice, [t, kv, d]), Values::random(dice, [t, kv, d]));
        let run = |device: &Device, [q, k, v]: [Tensor<3>; 3]| {
            let origin = Base { row: 0, on_device: Tensor::from_ints([0], device) };
            vec(attend_all(q, k, v, &origin, 2.0 / (d as f32).sqrt()))
        };
        let want = run(cpu, [q.on(cpu), k.on(cpu), v.on(cpu)]);
        let what = format!("{name}: attend_all {t}x{}x{d} on {kv} heads", kv * group);
        close(&what, run(gpu, [q.on(gpu), k.on(gpu), v.on(gpu)]), want.clone());
        close(&format!("{what}, views"), run(gpu, [q.view_on(gpu), k.view_on(gpu), v.view_on(gpu)]), want);
    });
}

#[test]
fn kv_store_writes_its_rows_and_no_other() {
    on_adapters(7, |dice, cpu, gpu, name| {
        let (kv, d, t) = (1 + dice.below(3), 1 + dice.below(140), 1 + dice.below(20));
        let (before, after) = (dice.below(50), dice.below(9));
        let cache = Values::random(dice, [before + t + after, kv, d]);
        let fresh = Values::random(dice, [t, kv, d]);
        let run = |device: &Device, fresh: Tensor<3>| {
            let base = Base { row: before, on_device: Tensor::from_ints([before as i32], device) };
            vec(kv_store(cache.on(device), fresh, &base))
        };
        let want = run(cpu, fresh.on(cpu));
        close(&format!("{name}: kv_store {t} at {before}"), run(gpu, fresh.on(gpu)), want.clone());
        close(&format!("{name}: kv_store {t} at {before}, view"), run(gpu, fresh.view_on(gpu)), want);
    });
}

/// Some numbers of `0..all` in random order: at least one, none twice.
fn some_of(dice: &mut Dice, all: usize) -> Vec<i32> {
    let mut left: Vec<i32> = (0..all as i32).collect();
    (0..1 + dice.below(all)).map(|_| left.remove(dice.below(left.len()))).collect()
}

#[test]
fn qk_capture_writes_its_rows_and_no_other() {
    on_adapters(8, |dice, cpu, gpu, name| {
        let (all, t) = (1 + dice.below(8), 1 + dice.below(20));
        let d = [1 + dice.below(140), 256, 512][dice.below(3)];
        let heads = some_of(dice, all);
        // With a negative `row`, the first rows of the pass are not captured; with a positive one,
        // that many rows before the pass must stay as they are, as must the rows after it.
        let row = dice.below(t + 10) as isize - (t as isize - 1);
        let (armed, rows) = (heads.len(), (row + t as isize) as usize + dice.below(9));
        let q = Values::random(dice, [t, all, d]);
        let mut kept = vec![f32::NAN; rows * armed * d];
        let before = kept.clone();
        for (i, value) in kept.iter_mut().enumerate() {
            let (at, head, column) = (i / (armed * d), heads[i / d % armed] as usize, i % d);
            let from = at as isize - row;
            if at as isize >= row && from < t as isize {
                *value = q.values[(from as usize * all + head) * d + column];
            }
        }
        let want: Vec<u32> = kept.iter().map(|v| v.to_bits()).collect();
        for device in [cpu, gpu] {
            for q in [q.on(device), q.view_on(device)] {
                let memory = Tensor::from_data(TensorData::new(before.clone(), [rows, armed, d]), device);
                let first = FirstRow { row, on_device: Tensor::from_ints([row as i32], device) };
                let got = qk_capture(memory, q, Tensor::from_ints(heads.as_slice(), device), &first);
                let got: Vec<u32> = vec(got).into_iter().map(f32::to_bits).collect();
                assert!(got == want, "{name}: qk_capture of {heads:?} of {all}, {t}x{d} at {row} of {rows}");
            }
        }
    });
}
