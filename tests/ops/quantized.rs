//! Products with quantized weights, of every form, on every device including the CPU: against the
//! numbers that `Quants::unpack` gives, which is the definition.

use alignatt::internals::ops::{Kernel, Quantized, product};
use alignatt::internals::weights::quants::{Bits, Form, Quants, Scales};
use burn::tensor::{Device, Int, Tensor};

use crate::common::devices;
use crate::dice::Dice;
use crate::{KERNELS, Values, among_nans, close, poison, vec};

/// All forms that a checkpoint or a GGUF file can have.
const FORMS: [Form; 7] = [
    Form::Q8,
    Form::Q4,
    Form { bits: Bits::Four, scales: Scales::Floor },
    Form { bits: Bits::Eight, scales: Scales::Floor },
    Form { bits: Bits::Four, scales: Scales::Steps32 },
    Form { bits: Bits::Eight, scales: Scales::Steps32 },
    Form { bits: Bits::Eight, scales: Scales::Steps16 },
];

/// Any integers with scales of either sign, zeros and subnormal numbers among them. What pads a row
/// is NaN.
fn random(dice: &mut Dice, form: Form, n: usize, k: usize) -> Quants {
    let half = |dice: &mut Dice, most: f32| {
        let value = match dice.below(12) {
            0 => 0.0,
            1 => most * 1e-4,
            _ => dice.unit() * most,
        };
        u32::from(half::f16::from_f32(value).to_bits())
    };
    let word = |dice: &mut Dice| (dice.below(1 << 16) | dice.below(1 << 16) << 16) as u32;
    let quants = (0..n * form.quant_words(k)).map(|_| word(dice) as i32).collect();
    let most = match (form.bits, form.scales) {
        (Bits::Four, Scales::One | Scales::Floor) => 0.1,
        (Bits::Eight, Scales::One | Scales::Floor) => 0.01,
        _ => 2e-5,
    };
    let mut scales = Vec::new();
    for _ in 0..n {
        for at in 0..form.scale_words(k) {
            scales.push(match form.scales {
                Scales::One if 64 * at + 32 >= k => 0x7e00 << 16 | half(dice, most),
                Scales::One | Scales::Floor => half(dice, most) | half(dice, most) << 16,
                Scales::Steps32 | Scales::Steps16 if at % 5 == 0 => half(dice, most) | half(dice, most) << 16,
                _ => word(dice),
            } as i32);
        }
    }
    Quants::from_words(form, k, quants, scales)
}

fn check(name: &str, device: &Device, x: &Values<2>, w: &Quants, counts: impl Iterator<Item = usize>) {
    let (cpu, n, k) = (Device::flex(), w.rows(), w.k);
    let unpacked = Values { values: w.unpack(), shape: [n, k] };
    let want = vec(product(x.on(&cpu), unpacked.on(&cpu)));
    let on_device = Quantized::new(w.clone(), device);
    for t in counts {
        let rows = Values { values: x.values[..t * k].to_vec(), shape: [t, k] };
        for kernel in KERNELS {
            poison([t, n], device);
            let got = vec(on_device.product_with(kernel, among_nans(&rows, device)));
            close(&format!("{name}: {:?} {kernel:?} {t}x{k} by {n}", w.form), got, want[..t * n].to_vec());
        }
    }
}

fn everywhere(seed: u64, check: impl Fn(&mut Dice, &Device, &str)) {
    for compute in pollster::block_on(devices()) {
        check(&mut Dice(seed), &compute.device, &compute.name);
        compute.check().unwrap();
    }
}

/// Rows of one block, of odd and even numbers of blocks, of one and several super-blocks; few lanes
/// and many; every remainder of columns.
#[test]
fn quantized_products_of_every_row_count_equal_their_definition() {
    for (seed, (k, n)) in [(32, 5), (96, 6), (256, 7), (768, 8)].into_iter().enumerate() {
        everywhere(60 + seed as u64, |dice, device, name| {
            for form in FORMS.into_iter().filter(|form| k % form.unit() == 0) {
                let (x, w) = (Values::random(dice, [40, k]), random(dice, form, n, k));
                check(name, device, &x, &w, 1..=40);
            }
        });
    }
}

/// So large that the choice of kernel changes at more rows, that the CPU uses all cores and several
/// panels.
#[test]
fn quantized_products_of_a_large_weight_equal_their_definition() {
    everywhere(70, |dice, device, name| {
        for form in FORMS {
            let (k, n) = (512, 601);
            let (x, w) = (Values::random(dice, [70, k]), random(dice, form, n, k));
            check(name, device, &x, &w, [1, 4, 5, 16, 17, 70].into_iter());
            assert_eq!([16, 17].map(|t| Kernel::faster(t, k, n)), KERNELS);
        }
    });
}

/// More columns than one dimension of the grid can count.
#[test]
fn quantized_products_of_very_many_columns_equal_their_definition() {
    everywhere(71, |dice, device, name| {
        for form in [Form::Q8, Form::Q4] {
            let (x, w) = (Values::random(dice, [17, 32]), random(dice, form, 131_175, 32));
            check(name, device, &x, &w, [1, 17].into_iter());
        }
    });
}

#[test]
fn rows_of_a_quantized_table_are_exact() {
    everywhere(72, |dice, device, name| {
        for form in FORMS {
            let (n, k) = (40, if form.unit() == 32 { 96 } else { 512 });
            let w = random(dice, form, n, k);
            let all = w.unpack();
            let ids: Vec<i32> = (0..33).map(|_| dice.below(n) as i32).collect();
            let want: Vec<f32> = ids.iter().flat_map(|id| all[*id as usize * k..][..k].to_vec()).collect();
            let ids = Tensor::<1, Int>::from_ints(ids.as_slice(), device);
            let got = vec(Quantized::new(w, device).gather(ids));
            // A shader may fuse the multiplication with the addition of a floor.
            close(&format!("{name}: {form:?}"), got.clone(), want.clone());
            let has_floor = matches!(form.scales, Scales::Floor | Scales::Steps32);
            assert!(has_floor || got == want, "{name}: {form:?}");
        }
    });
}
