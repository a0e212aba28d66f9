//! Drafting gives the ids of drafting afresh, whatever is in the cache, whatever was guessed and
//! wherever the caller broke off. The attention of the armed heads is the same up to rounding.

use std::ops::ControlFlow;

use alignatt::internals::models::ModelConfig;
use alignatt::internals::models::drafting::{Armed, Cost, Draft, Request, Translator};
use alignatt::internals::nn::{Head, Precision, Storage};
use alignatt::{Compute, Files};

use super::common::long;
use super::dice::Dice;
use super::text::Text;

/// How often the source grows on each device and fixture; less often on a GPU, where each launch is
/// expensive.
fn growths(compute: &Compute) -> usize {
    match (compute.is_gpu(), long()) {
        (false, true) => 1000,
        (false, false) => 200,
        (true, true) => 60,
        (true, false) => 24,
    }
}

const BUDGET: usize = 10;
/// Attention may differ by rounding, because rows are computed together or one by one.
const ROUNDING: f32 = 2e-3;

pub async fn check(files: &Files, config: &ModelConfig, compute: &Compute) {
    let Text { model, vocab, layers, .. } =
        Text::open(files, config, compute, Storage::plain(Precision::F32), 512).await;
    let last = layers.len() - 1;
    let heads = [Head { layer: last, head: 0 }, Head { layer: 0, head: 1 }, Head { layer: 1, head: 0 }];
    for lead in [0, 1] {
        let armed = Armed { heads: &heads, lead };
        let translator = |group| Translator::new(model.clone(), vec![7], armed, group, compute.clone()).unwrap();
        // `afresh` gets no guess, and its groups have another length.
        let (mut ours, mut afresh) = (translator(4), translator(1));
        grow(&mut ours, &mut afresh, vocab, growths(compute) / 2, &compute.name).await;
    }
}

async fn grow(ours: &mut Translator, afresh: &mut Translator, vocab: usize, growths: usize, device: &str) {
    let mut dice = Dice(growths as u64);
    let mut total = Cost::default();
    let mut prompt: Vec<u32> = Vec::new();
    for growth in 0..growths {
        // A source that grows by some tokens, before a tail that stays the same; now and then
        // another source.
        if growth % 12 == 0 {
            prompt = (0..8 + dice.below(12)).map(|_| dice.below(vocab) as u32).collect();
        }
        let at = prompt.len() - dice.below(3).min(prompt.len());
        let more: Vec<u32> = (0..1 + dice.below(4)).map(|_| dice.below(vocab) as u32).collect();
        prompt.splice(at..at, more);
        let source = 2..prompt.len() - 1;
        let request = Request { prompt: &prompt, source: source.clone(), guess: &[], budget: BUDGET };
        let want = afresh.draft(&request, &mut |_| ControlFlow::Continue(())).await.unwrap();

        // A guess that is right up to a random place and wrong from there on.
        let mut guess = want.ids.clone();
        let right = dice.below(guess.len() + 2).min(guess.len());
        if let Some(id) = guess.get_mut(right) {
            *id = (*id + 1) % vocab as u32;
        }
        let request = Request { guess: &guess, ..request };
        if dice.below(3) == 0 {
            // A draft that is broken off must be a beginning of the same ids.
            let most = 1 + dice.below(BUDGET);
            let stop = &mut |draft: &Draft| match draft.ids.len() >= most {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            };
            let broken = ours.draft(&request, stop).await.unwrap();
            assert!(want.ids.starts_with(&broken.ids), "broken off at {most} on {device}");
            assert!(!broken.finished || broken.ids == want.ids && want.finished, "growth {growth} on {device}");
        }
        let got = ours.draft(&request, &mut |_| ControlFlow::Continue(())).await.unwrap();
        assert_eq!((&got.ids, got.finished), (&want.ids, want.finished), "growth {growth} on {device}");
        // The last token of the budget is never tried as a guess: it has to be chosen anyway.
        let tried = guess.len().min(BUDGET - 1);
        assert_eq!((got.cost.guessed, got.cost.confirmed), (tried, right.min(tried)), "growth {growth} on {device}");
        close(&got, &want, source.len());
        total.confirmed += got.cost.confirmed;
        total.stepped += got.cost.stepped;
        total.cached += got.cost.cached;
        total.prefilled += got.cost.prefilled;
        total.readbacks += got.cost.readbacks;
    }
    eprintln!("{growths} growths on {device}: {total:?}");
    assert!(total.confirmed > growths && total.cached > growths, "nothing was saved: {total:?}");
}

fn close(got: &Draft, want: &Draft, columns: usize) {
    // Where rows belong to inputs, a token that was never an input has no row; there the drafts may
    // differ by their last row.
    let rows = got.attention.rest.len().min(want.attention.rest.len());
    assert!(rows + 1 >= want.ids.len(), "{rows} rows for {} tokens", want.ids.len());
    let values = rows * 3 * columns;
    assert!(got.attention.rows.len() >= values && want.attention.rows.len() >= values);
    let far = |(a, b): (&f32, &f32)| (a - b).abs() > ROUNDING;
    let at = got.attention.rows[..values].iter().zip(&want.attention.rows).position(far);
    let row = at.map(|at| at / (3 * columns));
    assert_eq!(row, None, "attention differs in a row of {rows}, {:?}", got.cost);
    assert!(!got.attention.rest[..rows].as_flattened().iter().zip(want.attention.rest.as_flattened()).any(far));
}
