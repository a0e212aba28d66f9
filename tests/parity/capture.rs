//! Replays of captured queries give the reference's attention probabilities, also past the window
//! and after the sliding caches have moved. Captures side by side do not disturb each other. Drafts
//! are bit-identical with and without a capture.

use alignatt::internals::models::ModelConfig;
use alignatt::internals::nn::{
    ArmError, Cache, Capture, Head, MARGIN, PIECE, Precision, SourceSpan, Storage, Tap, greedy,
};
use alignatt::{Compute, Files};
use burn::tensor::{Device, Int, Tensor};

use crate::common::long;
use crate::dice::Dice;
use crate::golden::{Golden, by_name, heads_first};
use crate::text::Text;

const TOLERANCE: f32 = 1e-3;

struct Bench {
    text: Text,
    golden: Golden,
    device: Device,
}

impl Bench {
    async fn open(files: &Files, config: &ModelConfig, compute: &Compute) -> Self {
        let text = Text::open(files, config, compute, Storage::plain(Precision::F32), 1024).await;
        Self { text, golden: Golden::open(files, &compute.name), device: compute.device.clone() }
    }

    /// One pass over `ids`; returns the last `n` rows.
    fn pass(&self, ids: &[u32], cache: &mut Cache, n: usize, tap: &mut Tap) -> Tensor<2> {
        let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        let ids = Tensor::<1, Int>::from_ints(ids.as_slice(), &self.device);
        self.text.model.forward(ids, cache, n, tap).unwrap()
    }

    /// The heads for which the reference recorded probabilities, latest layer first.
    fn recorded(&self) -> Vec<Head> {
        let pairs = self.golden.ints("selected_heads");
        let mut heads: Vec<Head> =
            pairs.chunks_exact(2).map(|pair| Head { layer: pair[0] as usize, head: pair[1] as usize }).collect();
        heads.sort();
        heads.reverse();
        heads
    }

    /// Every head of the model.
    fn every_head(&self) -> Vec<Head> {
        let heads = |layer| (0..self.text.heads).map(move |head| Head { layer, head });
        (0..self.text.layers.len()).flat_map(heads).collect()
    }

    /// Compares the replay of `capture` with `probs[i][row][column]`, the probabilities of its i-th
    /// head at all positions.
    async fn check(&self, what: &str, capture: &Capture, cache: &Cache, span: &SourceSpan, probs: &[Vec<f32>]) {
        let replay = self.text.model.replay(capture, cache, span).unwrap();
        let (heads, columns) = (capture.heads().len(), span.source.len());
        assert_eq!(replay.rows.dims(), [capture.len(), heads, columns], "{what}");
        assert_eq!(replay.mass.dims(), [capture.len(), heads, 2], "{what}");
        let width = (probs[0].len() as f64).sqrt() as usize;
        let (mut rows, mut mass) = (Vec::new(), Vec::new());
        for position in capture.from()..capture.from() + capture.len() {
            for probs in probs {
                let row = &probs[position * width..][..=position];
                let sum = |columns: &[f32]| columns.iter().sum::<f32>();
                rows.extend_from_slice(&row[span.source.clone()]);
                mass.extend([
                    sum(&row[..span.source.start]) + sum(&row[span.source.end..span.prompt_len]),
                    sum(&row[span.prompt_len..]),
                ]);
            }
        }
        let (got, got_rows) = (values(replay.mass).await, values(replay.rows).await);
        for (masses, row) in got.chunks_exact(2).zip(got_rows.chunks_exact(columns)) {
            let total: f32 = masses.iter().chain(row).sum();
            assert!((total - 1.0).abs() < 1e-5, "{}: {what}: {total}", self.golden.label());
        }
        self.golden.close_to(&format!("{what}: masses"), &got, &mass, TOLERANCE);
        self.golden.close_to(&format!("{what}: rows"), &got_rows, &rows, TOLERANCE);
    }
}

async fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data_async().await.unwrap().iter().collect()
}

pub async fn replays_the_reference(files: &Files, config: &ModelConfig, compute: &Compute) {
    let bench = Bench::open(files, config, compute).await;
    let (model, golden, layers) = (&bench.text.model, &bench.golden, &bench.text.layers);
    let (all, prompt) = (golden.ids("all_ids"), golden.ids("input_ids").len());
    let heads = bench.recorded();
    // Every kind of layer that the model has: sliding or full, with its own keys or an owner's.
    let kind = |layer: usize| (layers[layer].window.is_some(), layers[layer].kv_source == layer);
    for layer in 0..layers.len() {
        let recorded = heads.iter().any(|head| kind(head.layer) == kind(layer));
        assert!(recorded, "{}: no head is of the kind of layer {layer}", golden.label());
    }
    let probs: Vec<Vec<f32>> =
        heads.iter().map(|head| golden.floats(&format!("probs.{}.{}", head.layer, head.head)).1.to_vec()).collect();
    let spans = [
        SourceSpan { source: 0..prompt, prompt_len: prompt },
        SourceSpan { source: prompt / 4..prompt - 5, prompt_len: prompt },
        SourceSpan { source: prompt - 3..prompt, prompt_len: prompt },
    ];
    let check = async |what: &str, capture: &Capture, cache: &Cache| {
        for span in &spans {
            bench.check(&format!("{what}, {span:?}"), capture, cache, span, &probs).await;
        }
    };

    // Token by token; the pass over the prompt is not captured.
    let (mut capture, mut cache) = (model.arm(&heads, 40).unwrap(), model.cache());
    assert_eq!(capture.heads(), heads);
    capture.restart(prompt);
    bench.pass(&all[..prompt], &mut cache, 1, &mut Tap::capturing(&mut capture));
    assert!(capture.is_empty() && model.replay(&capture, &cache, &spans[0]).is_none());
    for id in &all[prompt..] {
        bench.pass(&[*id], &mut cache, 1, &mut Tap::capturing(&mut capture));
    }
    assert_eq!((capture.from(), capture.len()), (prompt, all.len() - prompt));
    check("token by token", &capture, &cache).await;

    // A part is rolled back, other tokens are captured in its place, and these are rolled back,
    // too.
    let kept = 7;
    assert_eq!(cache.roll_back(prompt + kept), prompt + kept);
    bench.pass(&all[3..12], &mut cache, 9, &mut Tap::capturing(&mut capture));
    assert_eq!((cache.roll_back(prompt + kept), capture.len()), (prompt + kept, kept + 9));
    bench.pass(&all[prompt + kept..], &mut cache, all.len() - prompt - kept, &mut Tap::capturing(&mut capture));
    check("after a detour", &capture, &cache).await;

    // The same capture again, on another cache, with prompt and draft in one pass, as a guess is
    // checked.
    let mut cache = model.cache();
    capture.restart(prompt);
    bench.pass(&all, &mut cache, all.len() - prompt + 1, &mut Tap::capturing(&mut capture));
    check("in one pass", &capture, &cache).await;
    assert!(model.replay(&capture, &cache, &SourceSpan { source: 4..4, prompt_len: prompt }).is_none());

    // A pass with more rows than the capture has room for is refused before anything changes.
    let end = cache.end();
    let ids = Tensor::from_ints([5i32; 20], &bench.device);
    assert!(model.forward(ids, &mut cache, 20, &mut Tap::capturing(&mut capture)).is_err());
    assert_eq!((cache.end(), capture.len()), (end, all.len() - prompt));
    check("after a refusal", &capture, &cache).await;

    let (layers, all_heads) = (layers.len(), bench.text.heads);
    let head = heads[0];
    for outside in [Head { layer: layers, head: 0 }, Head { layer: 0, head: all_heads }] {
        let error = model.arm(&[head, outside], 4).unwrap_err();
        assert_eq!(error, ArmError::OutOfRange { head: outside, layers, heads: all_heads });
    }
    assert_eq!(model.arm(&[head, heads[1], head], 4).unwrap_err(), ArmError::Twice(head));
    for rows in [0, MARGIN + 1] {
        assert_eq!(model.arm(&heads, rows).unwrap_err(), ArmError::Rows { rows, most: MARGIN });
    }
}

/// Drafts far past the window, during which the sliding caches move to their front.
pub async fn replays_past_the_window(files: &Files, config: &ModelConfig, compute: &Compute) {
    let bench = Bench::open(files, config, compute).await;
    let (model, text) = (&bench.text.model, &bench.text);
    let plain = bench.golden.ids("all_ids");
    // As many rows as a sliding layer's cache has, less half a draft. A model without such layers
    // has no window; then this is a long draft.
    let window = text.layers.iter().find_map(|layer| layer.window).unwrap_or(0);
    let (prompt, draft) = (2 * (window + MARGIN) + PIECE - 20, 40);
    let all: Vec<u32> = plain.iter().cycle().take(prompt + draft).copied().collect();
    let heads = bench.recorded();

    let mut tap = Tap::on();
    bench.pass(&all, &mut model.cache(), all.len(), &mut tap);
    let kept = by_name(tap.read().await.unwrap());
    let probs: Vec<Vec<f32>> = heads
        .iter()
        .map(|Head { layer, head }| {
            let at = &text.layers[*layer];
            let q = heads_first(&kept[&format!("q_post_rope.{layer}")], text.heads, at.dim);
            let k = heads_first(&kept[&format!("k_post_rope.{}", at.kv_source)], at.kv_heads, at.dim);
            text.probabilities(*layer, *head, &q, &k)
        })
        .collect();

    let (mut capture, mut cache) = (model.arm(&heads, draft).unwrap(), model.cache());
    capture.restart(prompt);
    bench.pass(&all[..prompt], &mut cache, 1, &mut Tap::capturing(&mut capture));
    for id in &all[prompt..] {
        bench.pass(&[*id], &mut cache, 1, &mut Tap::capturing(&mut capture));
    }
    // The source begins before the positions that the sliding caches still hold, and ends within
    // them.
    let span = SourceSpan { source: 100..prompt - 2, prompt_len: prompt };
    bench.check("past the window", &capture, &cache, &span, &probs).await;
    let span = SourceSpan { source: 3..50, prompt_len: prompt };
    bench.check("past the window, a source before it", &capture, &cache, &span, &probs).await;

    // The draft within one long pass, across two pieces.
    let (prompt, len) = (PIECE - 16, PIECE + 14);
    let mut cache = model.cache();
    capture.restart(prompt);
    bench.pass(&all[..len], &mut cache, len - prompt, &mut Tap::capturing(&mut capture));
    let span = SourceSpan { source: 20..prompt - 3, prompt_len: prompt };
    bench.check("across two pieces", &capture, &cache, &span, &probs).await;
}

/// Two drafts with different heads, computed alternately step by step, give the same as each alone.
pub async fn side_by_side(files: &Files, config: &ModelConfig, compute: &Compute) {
    let bench = Bench::open(files, config, compute).await;
    let model = &bench.text.model;
    let all = bench.golden.ids("all_ids");
    let backwards: Vec<u32> = all.iter().rev().copied().collect();
    let (one, other): (Vec<Head>, Vec<Head>) = bench.every_head().into_iter().partition(|head| head.head % 3 == 0);
    let runs = [(&all, one, 70), (&backwards, other, 83)];
    let span = |prompt_len| SourceSpan { source: 5..prompt_len - 4, prompt_len };
    let start = |run: &(&Vec<u32>, Vec<Head>, usize)| {
        let (ids, heads, prompt) = run;
        let (mut capture, mut cache) = (model.arm(heads, 16).unwrap(), model.cache());
        capture.restart(*prompt);
        bench.pass(&ids[..*prompt], &mut cache, 1, &mut Tap::capturing(&mut capture));
        (capture, cache)
    };
    let step = |run: &(&Vec<u32>, Vec<Head>, usize), state: &mut (Capture, Cache), at: usize| {
        bench.pass(&[run.0[run.2 + at]], &mut state.1, 1, &mut Tap::capturing(&mut state.0));
    };
    let result = async |run: &(&Vec<u32>, Vec<Head>, usize), state: &(Capture, Cache)| {
        let replay = model.replay(&state.0, &state.1, &span(run.2)).unwrap();
        (values(replay.rows).await, values(replay.mass).await)
    };

    let mut alone = Vec::new();
    for run in &runs {
        let mut state = start(run);
        (0..16).for_each(|at| step(run, &mut state, at));
        alone.push(result(run, &state).await);
    }
    let mut states: Vec<_> = runs.iter().map(start).collect();
    for at in 0..16 {
        for (run, state) in runs.iter().zip(&mut states) {
            step(run, state, at);
        }
    }
    for ((run, state), alone) in runs.iter().zip(&states).zip(&alone) {
        assert!(result(run, state).await == *alone, "{}: disturbed", bench.golden.label());
    }
}

/// Logits and ids are bit-identical, whatever is captured.
pub async fn bit_identity(files: &Files, config: &ModelConfig, compute: &Compute) {
    let bench = Bench::open(files, config, compute).await;
    let (model, golden) = (&bench.text.model, &bench.golden);
    let (all, prompt) = (golden.ids("all_ids"), golden.ids("input_ids"));
    let mut dice = Dice(12);
    let every = bench.every_head();
    let mut some = |n: usize| {
        let mut left = every.clone();
        (0..n).map(|_| left.remove(dice.below(left.len()))).collect::<Vec<_>>()
    };
    let mut sets = vec![some(4), every.clone()];
    // On a GPU, where each launch is expensive, the numbers in between are left out.
    if long() || !compute.is_gpu() {
        sets.extend([Vec::new(), some(1), some(8)]);
    }
    // A prompt, a prompt followed by a guess, and a prompt with a guess that ends after the end of
    // a piece.
    let long: Vec<u32> = all.iter().cycle().take(300).copied().collect();
    for (ids, held) in [(&prompt[..], 0), (&all[..prompt.len() + 5], 5), (&long[..], 60)] {
        let prompt_len = ids.len() - held;
        let draft = async |mut capture: Option<Capture>| {
            let mut cache = model.cache();
            if let Some(capture) = &mut capture {
                capture.restart(prompt_len);
            }
            let mut pass = |ids: Tensor<1, Int>, n| {
                let mut tap = capture.as_mut().map_or(Tap::off(), Tap::capturing);
                model.logits(model.forward(ids, &mut cache, n, &mut tap).unwrap())
            };
            let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
            let mut logits = vec![pass(Tensor::from_ints(ids.as_slice(), &bench.device), held + 1)];
            let mut drafted = Vec::new();
            for _ in 0..24 {
                let last = logits.last().unwrap().clone();
                let id = greedy(last.clone().narrow(0, last.dims()[0] - 1, 1));
                drafted.push(id.clone());
                logits.push(pass(id, 1));
            }
            assert!(capture.is_none_or(|capture| capture.len() == held + 24));
            let bits: Vec<u32> = values(Tensor::cat(logits, 0)).await.into_iter().map(f32::to_bits).collect();
            let ids: Vec<i64> = Tensor::cat(drafted, 0).into_data_async().await.unwrap().iter().collect();
            (bits, ids)
        };
        let (bits, drafted) = draft(None).await;
        if held == 0 {
            assert_eq!(drafted, golden.ints("greedy_ids"), "{}", golden.label());
        }
        for heads in &sets {
            let (with, also) = draft(Some(model.arm(heads, held + 24).unwrap())).await;
            let differing = with.iter().zip(&bits).filter(|(a, b)| a != b).count();
            assert_eq!((with.len(), differing), (bits.len(), 0), "{} with {} heads", golden.label(), heads.len());
            assert_eq!(also, drafted, "{} with {} heads", golden.label(), heads.len());
        }
    }
}
