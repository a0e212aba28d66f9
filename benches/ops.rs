//! Compares our ops with the same computation in Burn's ops, at the shapes of Gemma-4-E4B and
//! Qwen3-ASR-0.6B, and prints the ratios.
//!
//! `cargo bench --bench ops`; `ALIGNATT_DEVICE` chooses the device (default: the first adapter,
//! even if it is a software one).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use alignatt::internals::audio::MelStream;
use alignatt::internals::ops::{
    Act, Attend, Base, FirstRow, QkReplay, Span, attend, attend_all, conv_halve, gated, kv_store, layer_norm,
    pack_half, product, product_half, qk_capture, qk_replay, rms_norm,
};
use alignatt::{Compute, DeviceChoice, SAMPLE_RATE, adapters, open_device};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData, activation, module::conv2d, ops::ConvOptions};

fn device() -> Compute {
    let choice = match std::env::var("ALIGNATT_DEVICE") {
        Ok(choice) => choice.parse::<DeviceChoice>().expect("ALIGNATT_DEVICE"),
        Err(_) => pollster::block_on(adapters()).first().map_or(DeviceChoice::Cpu, |adapter| adapter.choice),
    };
    pollster::block_on(open_device(choice)).expect("a device").0
}

/// Waits for everything queued before `tensor` by reading it.
fn finish<const D: usize>(tensor: Tensor<D>) {
    let _ = tensor.sum().into_data();
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), device)
}

/// Launches of one kind between two readbacks.
const QUEUED: usize = 32;
/// How long a case runs before it is timed (its shaders are compiled then), and how long it is
/// timed.
const WARM_UP: Duration = Duration::from_millis(500);
const TIMED: Duration = Duration::from_secs(2);
/// Batches per case. The smallest of their means is reported.
const BATCHES: u32 = 10;
/// Rows of a draft.
const DRAFT: usize = 20;

/// Seconds that one call of `run` takes: the smallest mean of ten batches of equal length.
fn best_mean(run: &mut dyn FnMut()) -> f64 {
    let begun = Instant::now();
    let mut calls = 0u32;
    while calls == 0 || begun.elapsed() < WARM_UP {
        run();
        calls += 1;
    }
    let a_call = begun.elapsed() / calls;
    let rounds = (TIMED / BATCHES).div_duration_f64(a_call).ceil().max(1.0) as u32;
    let mut best = f64::MAX;
    for _ in 0..BATCHES {
        let begun = Instant::now();
        (0..rounds).for_each(|_| run());
        best = best.min(begun.elapsed().as_secs_f64() / f64::from(rounds));
    }
    best
}

/// One layer's sizes.
struct Shape {
    h: usize,
    ffn: usize,
    heads: usize,
    kv: usize,
    d: usize,
    window: Option<usize>,
}

fn main() {
    let compute = device();
    let device = &compute.device;
    println!("device: {}", compute.name);
    let means: RefCell<BTreeMap<String, f64>> = RefCell::new(BTreeMap::new());
    let case = |name: &str, run: &mut dyn FnMut()| {
        let best = best_mean(run);
        println!("{name:<44} {:>10.1} us", best * 1e6);
        means.borrow_mut().insert(name.to_owned(), best);
    };

    let pairs = [("1x2560x10240", 1, 2560, 10240), ("8x1024x3072", 8, 1024, 3072), ("128x1024x3072", 128, 1024, 3072)];
    for (shape, t, k, n) in pairs {
        let (x, w) = (random([t, k], device), random([n, k], device));
        let halves: Vec<_> = (0..n * k).map(|i| half::f16::from_f32((i % 97) as f32 / 97.0)).collect();
        let words = Tensor::<2, Int>::from_data(TensorData::new(pack_half(&halves), [n, k / 2]), device);
        case(&format!("product f32 {shape}"), &mut || finish(product(x.clone(), w.clone())));
        case(&format!("product f16 {shape}"), &mut || finish(product_half(x.clone(), words.clone())));
        case(&format!("Burn's product {shape}"), &mut || finish(x.clone().matmul(w.clone().transpose())));
    }
    let (x, w) = (random([8, 2560], device), random([2560], device));
    case("rms_norm 8x2560", &mut || finish(rms_norm(x.clone(), w.clone(), 1e-6)));
    case("rms_norm in Burn ops 8x2560", &mut || {
        let scale = (x.clone().square().mean_dim(1) + 1e-6).sqrt().recip();
        finish(x.clone() * scale * w.clone().unsqueeze());
    });
    let (q, k, v) = (random([1, 8, 256], device), random([1024, 2, 256], device), random([1024, 2, 256], device));
    let base = Base { row: 700, on_device: Tensor::from_ints([700], device) };
    let op = Attend { scale: 1.0, window: Some(512) };
    case("attend 1x8x256 on 512", &mut || finish(attend(q.clone(), k.clone(), v.clone(), &base, op)));
    case("attend in Burn ops 1x8x256 on 512", &mut || {
        let seen = |cache: &Tensor<3>| cache.clone().narrow(0, 189, 512);
        let queries = q.clone().reshape([2, 4, 256]);
        let probs = activation::softmax(queries.matmul(seen(&k).permute([1, 2, 0])), 2);
        finish(probs.matmul(seen(&v).permute([1, 0, 2])));
    });

    let (q, k, v) = (random([104, 14, 64], device), random([104, 14, 64], device), random([104, 14, 64], device));
    let origin = Base { row: 0, on_device: Tensor::from_ints([0], device) };
    case("attend_all 104x14x64", &mut || finish(attend_all(q.clone(), k.clone(), v.clone(), &origin, 0.125)));
    case("attend_all in Burn ops 104x14x64", &mut || {
        let heads = |x: &Tensor<3>| x.clone().swap_dims(0, 1);
        let probs = activation::softmax(heads(&q).matmul(heads(&k).transpose()) * 0.125, 2);
        finish(probs.matmul(heads(&v)).swap_dims(0, 1).reshape([104, 896]));
    });
    let (x, w, b) = (random([104, 896], device), random([896], device), random([896], device));
    case("layer_norm 104x896", &mut || finish(layer_norm(x.clone(), w.clone(), b.clone(), 1e-5)));
    case("layer_norm in Burn ops 104x896", &mut || {
        let centred = x.clone() - x.clone().mean_dim(1);
        let scale = (centred.clone().square().mean_dim(1) + 1e-5).sqrt().recip();
        finish(centred * scale * w.clone().unsqueeze() + b.clone().unsqueeze());
    });
    let (x, w, b) = (random([1, 480, 64, 50], device), random([480, 480, 3, 3], device), random([480], device));
    case("conv_halve 480x64x50 to 480", &mut || finish(conv_halve(x.clone(), w.clone(), b.clone())));
    case("conv_halve in Burn ops 480x64x50 to 480", &mut || {
        let halve = ConvOptions::new([2, 2], [1, 1], [1, 1], 1);
        finish(activation::gelu(conv2d(x.clone(), w.clone(), Some(b.clone()), halve)));
    });

    // Capture of one token and replay of a draft, compared with one token's pass through a layer.
    // Many launches share one readback.
    let layers = [
        ("demo pack", Shape { h: 160, ffn: 384, heads: 4, kv: 2, d: 32, window: Some(512) }),
        ("E4B, sliding", Shape { h: 2560, ffn: 10240, heads: 8, kv: 2, d: 256, window: Some(512) }),
        ("E4B, full", Shape { h: 2560, ffn: 10240, heads: 8, kv: 2, d: 512, window: None }),
    ];
    for (name, shape) in &layers {
        let Shape { h, ffn, heads, kv, d, window } = *shape;
        let base = Base { row: 700, on_device: Tensor::from_ints([700], device) };
        let attention = Attend { scale: 1.0, window };
        let weights = |n: usize, k: usize| random([n, k], device);
        let (wq, wkv, wo) = (weights(heads * d, h), weights(kv * d, h), weights(h, heads * d));
        let (up, down) = (weights(ffn, h), weights(h, ffn));
        let (x, norm) = (random([1, h], device), random([h], device));
        let (mut k, v) = (random([1024, kv, d], device), random([1024, kv, d], device));
        case(&format!("{name}: a layer's ops, {QUEUED} times"), &mut || {
            let mut x = x.clone();
            for _ in 0..QUEUED {
                let y = rms_norm(x, norm.clone(), 1e-6);
                let q = product(y.clone(), wq.clone()).reshape([1, heads, d]);
                let new = product(y, wkv.clone()).reshape([1, kv, d]);
                k.inplace(|k| kv_store(k, new, &base));
                let y = attend(q, k.clone(), v.clone(), &base, attention).reshape([1, heads * d]);
                let y = rms_norm(product(y, wo.clone()), norm.clone(), 1e-6);
                let y = gated(product(y.clone(), up.clone()), product(y, up.clone()), Act::GeluTanh);
                x = product(y, down.clone());
            }
            finish(x);
        });
        for armed in [1, 2] {
            let which = Tensor::<1, Int>::from_ints(&[0, 3][..armed], device);
            let first = FirstRow { row: 5, on_device: Tensor::from_ints([5], device) };
            let (q, mut kept) = (random([1, heads, d], device), random([160, armed, d], device));
            case(&format!("{name}: qk_capture of {armed}, {QUEUED} times"), &mut || {
                for _ in 0..QUEUED {
                    kept.inplace(|kept| qk_capture(kept, q.clone(), which.clone(), &first));
                }
                finish(kept.clone());
            });
            let span = Span { first: 700, rows: DRAFT, source: 600, columns: 60, draft: 700 };
            let op = QkReplay { attend: attention, group: heads / kv };
            case(&format!("{name}: qk_replay of {armed}, {QUEUED} times"), &mut || {
                let replay = || qk_replay(kept.clone(), k.clone(), which.clone(), span, op);
                for _ in 1..QUEUED {
                    replay();
                }
                finish(replay());
            });
        }
    }

    let second: Vec<f32> = (0..SAMPLE_RATE).map(|i| 0.3 * (i as f32 * 0.37).sin()).collect();
    let mut mel = MelStream::new();
    case("mel of a second", &mut || {
        mel.restart();
        second.chunks(1_600).for_each(|chunk| mel.push(chunk));
        mel.features();
    });

    let means = means.borrow();
    println!("\n{:<44} {:>10.4}", "mel / its sound's length", means["mel of a second"]);
    println!("\n{:<44} {:>10}", "ours / Burn's", "ratio");
    for (shape, ..) in pairs {
        for storage in ["f32", "f16"] {
            let ratio = means[&format!("product {storage} {shape}")] / means[&format!("Burn's product {shape}")];
            println!("{:<44} {ratio:>10.3}", format!("product {storage} {shape}"));
        }
    }
    let ops = [
        ["rms_norm", "8x2560"],
        ["attend", "1x8x256 on 512"],
        ["attend_all", "104x14x64"],
        ["layer_norm", "104x896"],
        ["conv_halve", "480x64x50 to 480"],
    ];
    for [op, shape] in ops {
        let ratio = means[&format!("{op} {shape}")] / means[&format!("{op} in Burn ops {shape}")];
        println!("{:<44} {ratio:>10.3}", format!("{op} {shape}"));
    }
    println!("\n{:<44} {:>10}", "of a draft's token through that layer", "%");
    for (name, _) in &layers {
        for armed in [1, 2] {
            let of = |what: &str| means[&format!("{name}: {what}, {QUEUED} times")];
            // One replay serves a whole draft.
            let added = of(&format!("qk_capture of {armed}")) + of(&format!("qk_replay of {armed}")) / DRAFT as f64;
            println!("{:<44} {:>10.2}", format!("{name}: {armed} heads"), 100.0 * added / of("a layer's ops"));
        }
    }
}
