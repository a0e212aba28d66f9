//! Which word translates which: a statistical aligner for calibration pairs without alignments.
//!
//! Each direction has a hidden Markov model (Vogel et al. 1996): a target word is emitted by a
//! source word or by none, and the probability of a jump to another source word depends only on the
//! length of the jump. In the first rounds all jumps are equally likely, which is IBM Model 1.
//!
//! So that a hundred pairs are enough, three things are known beforehand: a word tends to stand
//! where its translation stands (as in fast_align), words that are spelled alike (names, numbers,
//! cognates) tend to translate each other, and a word has few translations (a sparse prior). The
//! alignment is decided by the mean of the posteriors of both directions. docs/measurements.md,
//! "Word alignment", has the error on alignments that people made.

use std::collections::HashMap;

use crate::text::units::trim_punctuation;

/// A tokenized sentence pair: source words, target units.
pub(crate) type Words = (Vec<String>, Vec<String>);

/// Rounds of expectation maximisation: first with equal jumps, then with learnt jumps.
const ROUNDS: (usize, usize) = (5, 5);
/// The probability that a target word translates no source word.
const NO_SOURCE: f64 = 0.1;
/// How fast the probability falls with the distance from the diagonal. The distance is in parts of
/// the sentence. With twice as much, a language of the reverse order is never learnt.
const DIAGONAL: f64 = 2.0;
/// How much more likely a word of the same spelling is before anything is learnt.
const LIKENESS: f64 = 10.0;
/// Longer jumps count as jumps of this length.
const LONGEST_JUMP: usize = 8;
/// The prior count of every word pair, and that of every jump.
const PRIOR: (f64, f64) = (0.0001, 0.5);
/// Two words are linked if the mean of both directions' posteriors is above this.
const LINK: f64 = 0.45;
/// Longer sentences are neither learnt from nor aligned: their time grows with the cube of their
/// length.
const LONGEST_SENTENCE: usize = 200;

/// The links `(source word, target unit)` of every pair, sorted. Case and outer punctuation are
/// ignored, and bare punctuation is never linked. A pair with an empty side or a sentence that is
/// too long has no links. `progress(done, all)` is called after every round.
pub(crate) fn align(pairs: &[Words], mut progress: impl FnMut(usize, usize)) -> Vec<Vec<(usize, usize)>> {
    let mut ids = [Ids::new(), Ids::new()];
    let numbered: Vec<[Side; 2]> =
        pairs.iter().map(|(source, target)| [Side::new(source, &mut ids[0]), Side::new(target, &mut ids[1])]).collect();
    let usable = |pair: &[Side; 2]| pair.iter().all(|side| (1..=LONGEST_SENTENCE).contains(&side.ids.len()));
    let rounds = ROUNDS.0 + ROUNDS.1;
    let spellings = ids.each_ref().map(spellings);
    let [forward, backward] = [(0, 1), (1, 0)].map(|(from, to)| {
        let mut model = Model::new(&spellings[from], &spellings[to]);
        for round in 0..rounds {
            let mut counts = Counts::default();
            for pair in numbered.iter().filter(|pair| usable(pair)) {
                model.posteriors(&pair[from].ids, &pair[to].ids, Some(&mut counts));
            }
            model.learn(counts, round >= ROUNDS.0);
            progress(from * rounds + round + 1, 2 * rounds);
        }
        model
    });
    let links = |pair: &[Side; 2]| {
        let [source, target] = pair;
        if !usable(pair) {
            return Vec::new();
        }
        let there = forward.posteriors(&source.ids, &target.ids, None);
        let back = backward.posteriors(&target.ids, &source.ids, None);
        let mut found = Vec::new();
        for (i, &word) in source.places.iter().enumerate() {
            for (j, &unit) in target.places.iter().enumerate() {
                if (there[j][i] + back[i][j]) / 2.0 > LINK {
                    found.push((word, unit));
                }
            }
        }
        found
    };
    numbered.iter().map(links).collect()
}

type Ids = HashMap<String, u32>;

/// The words by their ids.
fn spellings(ids: &Ids) -> Vec<Vec<char>> {
    let mut words = vec![Vec::new(); ids.len()];
    ids.iter().for_each(|(word, &id)| words[id as usize] = word.chars().collect());
    words
}

/// How much alike two words are spelled, from 0 to 1. A single letter is like no other word.
fn likeness(one: &[char], other: &[char]) -> f64 {
    let longest = one.len().max(other.len());
    let same = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let counts = match same == longest {
        true => longest > 1 || one.iter().all(|c| c.is_numeric()),
        false => same >= 4 && 2 * same >= longest,
    };
    if counts { same as f64 / longest as f64 } else { 0.0 }
}

/// The words of one sentence that can be linked: their ids, and their indices in the sentence.
struct Side {
    ids: Vec<u32>,
    places: Vec<usize>,
}

impl Side {
    fn new(words: &[String], known: &mut Ids) -> Side {
        let mut side = Side { ids: Vec::new(), places: Vec::new() };
        for (place, word) in words.iter().enumerate() {
            let word = trim_punctuation(word).to_lowercase();
            if !word.is_empty() {
                let next = known.len() as u32;
                side.ids.push(*known.entry(word).or_insert(next));
                side.places.push(place);
            }
        }
        side
    }
}

/// The id of the source word that emits target words which translate nothing.
const NONE: u32 = u32::MAX;
const JUMPS: usize = 2 * LONGEST_JUMP + 1;

#[derive(Default)]
struct Counts {
    words: HashMap<(u32, u32), f64>,
    /// Sums of `words` over targets, added in the order of the data so that every run gives the
    /// same result.
    sources: HashMap<u32, f64>,
    jumps: [f64; JUMPS],
}

impl Counts {
    fn add(&mut self, source: u32, target: u32, p: f64) {
        *self.words.entry((source, target)).or_default() += p;
        *self.sources.entry(source).or_default() += p;
    }
}

struct Model<'a> {
    source: &'a [Vec<char>],
    target: &'a [Vec<char>],
    /// P(target | source). Empty before the first round, in which all words are equally likely.
    words: HashMap<(u32, u32), f64>,
    jumps: [f64; JUMPS],
}

fn jump_at(from: isize, to: usize) -> usize {
    let longest = LONGEST_JUMP as isize;
    ((to as isize - from).clamp(-longest, longest) + longest) as usize
}

impl<'a> Model<'a> {
    fn new(source: &'a [Vec<char>], target: &'a [Vec<char>]) -> Model<'a> {
        Model { source, target, words: HashMap::new(), jumps: [1.0; JUMPS] }
    }

    fn word(&self, source: u32, target: u32) -> f64 {
        if self.words.is_empty() {
            let spelling = self.source.get(source as usize); // there is none for `NONE`
            spelling.map_or(1.0, |word| 1.0 + LIKENESS * likeness(word, &self.target[target as usize]))
        } else {
            self.words.get(&(source, target)).copied().unwrap_or(0.0).max(1e-12)
        }
    }

    /// `[j][i]`: the probability that source word `i` emitted target word `j` (forward-backward
    /// algorithm). A target word that translates nothing does not change the source position. Adds
    /// the expected counts to `counts`.
    fn posteriors(&self, source: &[u32], target: &[u32], counts: Option<&mut Counts>) -> Vec<Vec<f64>> {
        let n = source.len();
        // `[1 + from][to]`; row 0 is the start of the sentence.
        let moves: Vec<Vec<f64>> = (-1..n as isize)
            .map(|from| {
                let row: Vec<f64> = (0..n).map(|to| self.jumps[jump_at(from, to)]).collect();
                let sum: f64 = row.iter().sum();
                row.iter().map(|p| p / sum * (1.0 - NO_SOURCE)).collect()
            })
            .collect();
        let emitted: Vec<Vec<f64>> = (target.iter().zip(near_diagonal(n, target.len())))
            .map(|(&t, near)| source.iter().zip(near).map(|(&s, near)| near * self.word(s, t)).collect())
            .collect();
        let unlinked: Vec<f64> = target.iter().map(|&t| NO_SOURCE * self.word(NONE, t)).collect();

        // Forward pass. The state is 1 + source position, and 0 before the first jump. `moved` is
        // the share that arrived by a jump.
        let mut reach: Vec<Vec<f64>> = Vec::with_capacity(target.len() + 1);
        let mut moved: Vec<Vec<f64>> = Vec::with_capacity(target.len());
        let mut scales = Vec::with_capacity(target.len());
        reach.push((0..=n).map(|state| f64::from(u8::from(state == 0))).collect());
        for j in 0..target.len() {
            let before = &reach[j];
            let mut jumped = vec![0.0; n];
            for (row, &p) in moves.iter().zip(before).filter(|(_, p)| **p > 0.0) {
                jumped.iter_mut().zip(row).for_each(|(sum, step)| *sum += p * step);
            }
            jumped.iter_mut().zip(&emitted[j]).for_each(|(sum, p)| *sum *= p);
            let mut now: Vec<f64> = before.iter().map(|p| p * unlinked[j]).collect();
            now.iter_mut().skip(1).zip(&jumped).for_each(|(sum, p)| *sum += p);
            let scale = 1.0 / now.iter().sum::<f64>().max(f64::MIN_POSITIVE);
            now.iter_mut().chain(&mut jumped).for_each(|p| *p *= scale);
            reach.push(now);
            moved.push(jumped);
            scales.push(scale);
        }

        // Backward pass, which also adds up the counts.
        let mut ahead = vec![1.0; n + 1];
        let mut unused = Counts::default();
        let counting = counts.is_some();
        let counts = counts.unwrap_or(&mut unused);
        for j in (0..target.len()).rev() {
            moved[j].iter_mut().zip(&ahead[1..]).for_each(|(p, a)| *p *= a);
            let landing: Vec<f64> = emitted[j].iter().zip(&ahead[1..]).map(|(p, a)| p * a * scales[j]).collect();
            if counting {
                for (&s, &p) in source.iter().zip(&moved[j]) {
                    counts.add(s, target[j], p);
                }
                let none = (1.0 - moved[j].iter().sum::<f64>()).max(0.0);
                counts.add(NONE, target[j], none);
                for (state, row) in moves.iter().enumerate() {
                    for to in 0..n {
                        let at = jump_at(state as isize - 1, to);
                        counts.jumps[at] += reach[j][state] * row[to] * landing[to];
                    }
                }
            }
            ahead = (moves.iter().zip(&ahead))
                .map(|(row, a)| row.iter().zip(&landing).map(|(m, l)| m * l).sum::<f64>() + unlinked[j] * scales[j] * a)
                .collect();
        }
        moved
    }

    /// Learns from the expected counts of one round; jumps only if `jumps` is true. Word
    /// probabilities are the exponential of the mean logarithm under a Dirichlet distribution,
    /// which drops rare chance pairs.
    fn learn(&mut self, counts: Counts, jumps: bool) {
        let prior_sum = PRIOR.0 * self.target.len() as f64;
        let all: HashMap<u32, f64> = counts.sources.iter().map(|(&s, p)| (s, digamma(p + prior_sum))).collect();
        self.words = counts.words;
        for ((s, _), p) in &mut self.words {
            *p = (digamma(*p + PRIOR.0) - all.get(s).copied().unwrap_or(0.0)).exp();
        }
        if jumps {
            let sum: f64 = counts.jumps.iter().sum::<f64>() + PRIOR.1 * JUMPS as f64;
            self.jumps = counts.jumps.map(|p| (p + PRIOR.1) / sum);
        }
    }
}

/// `[target][source]`: how likely two places belong together. The mean of each row is 1.
fn near_diagonal(source_len: usize, target_len: usize) -> Vec<Vec<f64>> {
    let place = |at: usize, len: usize| (at as f64 + 0.5) / len as f64;
    let row = |j: usize| {
        let far = |i: usize| (place(i, source_len) - place(j, target_len)).abs();
        let near: Vec<f64> = (0..source_len).map(|i| (-DIAGONAL * far(i)).exp()).collect();
        let mean = near.iter().sum::<f64>() / source_len as f64;
        near.iter().map(|p| p / mean).collect()
    };
    (0..target_len).map(row).collect()
}

/// The digamma function: d ln Γ(x) / dx for x > 0.
fn digamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 6.0 {
        sum -= 1.0 / x;
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    sum + x.ln() - 0.5 / x - square * (1.0 / 12.0 - square * (1.0 / 120.0 - square / 252.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    /// Every sentence of the sample talks with its gold links.
    fn samples(language: &str) -> (Vec<Words>, Vec<Vec<(usize, usize)>>) {
        let talks = [
            include_str!("../../samples/talk-a.json"),
            include_str!("../../samples/talk-b.json"),
            include_str!("../../samples/talk-c.json"),
        ];
        let mut found = (Vec::new(), Vec::new());
        for talk in talks {
            let talk: serde_json::Value = serde_json::from_str(talk).unwrap();
            for sentence in talk["sentences"].as_array().unwrap() {
                let target = sentence[language].as_str().unwrap();
                let units = if language == "zh" { target.chars().map(String::from).collect() } else { words(target) };
                found.0.push((words(sentence["en"].as_str().unwrap()), units));
                found.1.push(serde_json::from_value(sentence["alignments"][language].clone()).unwrap());
            }
        }
        found
    }

    fn f1(found: &[Vec<(usize, usize)>], gold: &[Vec<(usize, usize)>]) -> f64 {
        let right: usize = found.iter().zip(gold).map(|(f, g)| f.iter().filter(|link| g.contains(link)).count()).sum();
        let all: usize = found.iter().chain(gold).map(Vec::len).sum();
        2.0 * right as f64 / all as f64
    }

    /// With 400 pairs of the same grammar, F1 is 0.91 for German, 0.85 for Italian and 0.87 for
    /// Chinese. These are 39 pairs.
    #[test]
    fn a_few_dozen_sentences_are_aligned_usefully() {
        for (language, least) in [("de", 0.58), ("it", 0.5), ("zh", 0.47)] {
            let (pairs, gold) = samples(language);
            let found = align(&pairs, |_, _| {});
            let f1 = f1(&found, &gold);
            assert!(f1 > least, "{language}: {f1}");
        }
    }

    #[test]
    fn order_is_learnt_and_marks_are_not_linked() {
        // Every three of five words, with a translation in the reverse order.
        let five = ["a", "B", "c", "d.", "e"];
        let threes = (0..125).map(|n| [n / 25, n / 5 % 5, n % 5]).filter(|[i, j, k]| i != j && j != k && i != k);
        let pairs: Vec<Words> = (threes.map(|three| three.map(|at| five[at]).to_vec()))
            .map(|source| {
                let target = source.iter().rev().map(|word| format!("{}-x", word.to_uppercase())).collect();
                (source.into_iter().map(str::to_owned).collect(), target)
            })
            .collect();
        for ((source, _), links) in pairs.iter().zip(align(&pairs, |_, _| {})) {
            let last = source.len() - 1;
            assert_eq!(links, (0..=last).map(|i| (i, last - i)).collect::<Vec<_>>(), "{source:?}");
        }
        let marks = vec![(words("a - b"), words("A B ?")), (words("b"), words("B")), (words("a"), words("A"))];
        assert_eq!(align(&marks, |_, _| {})[0], [(0, 0), (2, 1)]);
    }

    #[test]
    fn any_input_is_answered_and_progress_ends() {
        let long: Vec<String> = vec!["x".to_owned(); LONGEST_SENTENCE + 1];
        let pairs = vec![(vec![], vec![]), (words("a"), vec![]), (words(". ,"), words("!")), (long.clone(), long)];
        let mut last = (0, 0);
        let links = align(&pairs, |done, all| last = (done, all));
        assert_eq!(links, vec![Vec::new(); 4]);
        assert_eq!(last.0, last.1);
        assert!(align(&[], |_, _| {}).is_empty());
    }
}
