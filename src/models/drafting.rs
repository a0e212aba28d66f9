//! Greedy drafts with a decoder. The unchanged beginning of the prompt is never computed twice.
//!
//! A *guess* is what an earlier draft suggests as the continuation. It is fed with the rest of the
//! prompt in one pass, and those of its tokens that the model would choose again are kept. Whatever
//! the guess, the ids are those of a fresh draft, up to ties: rows that are computed together go
//! through another kernel, and their logits may differ in the last bits.
//!
//! While a draft is written, the queries of the armed heads are captured, and their attention is
//! replayed on the keys in the cache. With lead 0, as published, a draft token's row is taken at
//! the position where that token is the input. So the newest token, which was chosen and not yet
//! fed, has no row. With lead 1 the row is taken at the position before, whose query chose the
//! token. (docs/method.md, sections 3.1 and 4.2)

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use burn::tensor::{Int, Tensor, Transaction};

use super::TextModel;
use crate::gpu::Compute;
use crate::nn::{ArmError, Cache, Capture, Head, MARGIN, RollBack, RunError, SourceSpan, Tap};
use crate::ops::qk_replay::MASSES;

/// The most tokens of a guess that are fed.
const GUESS: usize = 64;
// So a wrong guess can be rolled back, whatever the sliding layers have dropped.
const _: () = assert!(GUESS < MARGIN);

/// What to draft.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    /// Ids of the prompt; not empty.
    pub prompt: &'a [u32],
    /// The positions in `prompt` that hold the source.
    pub source: Range<usize>,
    /// What an earlier draft suggests as the continuation; may be empty or wrong.
    pub guess: &'a [u32],
    /// The most tokens to draft.
    pub budget: usize,
}

/// What was drafted so far, and what it cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// Ids after the prompt, without the end token.
    pub ids: Vec<u32>,
    /// Whether the model ended the turn, rather than the budget or the watcher.
    pub finished: bool,
    /// Attention of the armed heads; at most one row per token.
    pub attention: Attention,
    pub cost: Cost,
}

/// R rows of S heads on N source columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attention {
    /// [R, S, N]: probabilities.
    pub rows: Vec<f32>,
    /// `[R]`: the masses on the rest of the prompt and on the draft, mean over heads. What is
    /// missing to 1 is the mass on the source.
    pub rest: Vec<[f32; 2]>,
}

/// What a draft cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Prompt positions that were computed.
    pub prefilled: usize,
    /// Prompt positions that were in the cache.
    pub cached: usize,
    /// Tokens of the guess that were fed with the prompt.
    pub guessed: usize,
    /// Tokens of the guess that the model would choose again. These were not drafted one by one.
    pub confirmed: usize,
    /// Tokens fed one by one.
    pub stepped: usize,
    /// Times that the host waited for the device.
    pub readbacks: usize,
}

/// Called with the draft so far after each readback that does not end it; returns whether to
/// continue.
pub(crate) type Watch<'a> = &'a mut dyn FnMut(&Draft) -> ControlFlow<()>;

/// The heads whose attention is captured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Armed<'a> {
    pub heads: &'a [Head],
    /// How many positions before its own a token's row is taken: 0 where the token is the input, 1
    /// where the query chose it. Larger values count as 1.
    pub lead: usize,
}

struct Listening {
    capture: Capture,
    lead: usize,
}

/// Writes drafts for a sequence of prompts that share a beginning.
pub struct Translator {
    model: Arc<dyn TextModel>,
    eos: Vec<u32>,
    cache: Cache,
    /// The ids whose keys and values the cache holds.
    held: Vec<u32>,
    listening: Option<Listening>,
    /// Tokens queued between two readbacks.
    group_len: usize,
    compute: Compute,
}

impl Translator {
    /// `eos`: the ids that end a turn. `group_len`: tokens queued between two readbacks. Without
    /// armed heads a draft has no attention.
    ///
    /// Errors: see [`TextModel::arm`].
    pub fn new(
        model: Arc<dyn TextModel>,
        eos: Vec<u32>,
        armed: Armed<'_>,
        group_len: usize,
        compute: Compute,
    ) -> Result<Self, ArmError> {
        let listening = match armed.heads {
            [] => None,
            heads => Some(Listening { capture: model.arm(heads, GUESS.max(group_len) + 1)?, lead: armed.lead.min(1) }),
        };
        Ok(Self { cache: model.cache(), model, eos, held: Vec::new(), listening, group_len, compute })
    }

    /// The most positions of a prompt with its draft.
    pub fn capacity(&self) -> usize {
        self.model.capacity()
    }

    /// Drafts at most `budget` ids after the prompt.
    ///
    /// Errors: [`RunError::TooLong`] if the prompt or the budget is empty, or if the prompt leaves
    /// no room for a draft; errors of the device. After an error nothing in the cache is trusted,
    /// and the next draft computes its whole prompt.
    pub async fn draft(&mut self, request: &Request<'_>, watch: Watch<'_>) -> Result<Draft, RunError> {
        let outcome = self.write(request, watch).await;
        if outcome.is_err() {
            self.held.truncate(self.cache.roll_back(0));
        }
        outcome
    }

    async fn write(&mut self, request: &Request<'_>, watch: Watch<'_>) -> Result<Draft, RunError> {
        let prompt_len = request.prompt.len();
        let budget = request.budget.min(self.model.capacity().saturating_sub(prompt_len));
        if prompt_len == 0 || budget == 0 {
            return Err(RunError::TooLong {
                what: "this prompt with its draft",
                needed: prompt_len + 1,
                capacity: self.model.capacity(),
            });
        }
        let guess = &request.guess[..request.guess.len().min(budget - 1).min(GUESS)];
        let mut draft = Draft::default();
        let chosen = self.prefill(request.prompt, guess, &mut draft.cost)?;
        if guess.is_empty() {
            let read = self.group(chosen, self.group_len.min(budget) - 1, request, &mut draft.cost).await?;
            self.held.extend(&read.ids[..read.ids.len() - 1]);
            draft.add(read, &self.eos);
        } else {
            let mut read = self.group(chosen, 0, request, &mut draft.cost).await?;
            let right = guess.iter().zip(&read.ids).take_while(|(guessed, id)| guessed == id).count();
            read.ids.truncate(right + 1);
            // The rows of rejected tokens say nothing about the tokens that replace them.
            read.attention.truncate(right + self.listening.as_ref().map_or(0, |listening| listening.lead));
            draft.cost.confirmed = right;
            let kept = self.cache.roll_back(prompt_len + right);
            self.held.truncate(kept);
            if kept < prompt_len + right {
                return Err(RollBack(prompt_len + right).into());
            }
            draft.add(read, &self.eos);
        }
        while !draft.finished && draft.ids.len() < budget && watch(&draft).is_continue() {
            let newest = &draft.ids[draft.ids.len() - 1..];
            if let Some(listening) = &mut self.listening {
                listening.capture.restart(prompt_len + draft.ids.len() - 1);
            }
            let group_len = self.group_len.min(budget - draft.ids.len());
            let first = self.step(self.ids(newest), &mut draft.cost)?;
            let read = self.group(first, group_len - 1, request, &mut draft.cost).await?;
            self.held.extend(newest);
            self.held.extend(&read.ids[..read.ids.len() - 1]);
            draft.add(read, &self.eos);
        }
        Ok(draft)
    }

    /// Feeds `guess`, and before it what the cache does not hold of `prompt` → the ids chosen after
    /// the prompt and after each guessed token, [1 + G].
    fn prefill(&mut self, prompt: &[u32], guess: &[u32], cost: &mut Cost) -> Result<Tensor<1, Int>, RunError> {
        // The last prompt position is always computed: its row chooses the first id.
        let common = self.held.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        let kept = self.cache.roll_back(common.min(prompt.len() - 1));
        self.held.truncate(kept);
        let fresh: Vec<u32> = prompt[kept..].iter().chain(guess).copied().collect();
        if let Some(Listening { capture, lead }) = &mut self.listening {
            capture.restart(prompt.len() - *lead);
        }
        let hidden = self.forward(self.ids(&fresh), 1 + guess.len())?;
        self.held.extend(&fresh);
        cost.prefilled += prompt.len() - kept;
        cost.cached += kept;
        cost.guessed += guess.len();
        Ok(self.model.choose(hidden))
    }

    /// Feeds one id [1] → the id chosen after it, [1].
    fn step(&mut self, id: Tensor<1, Int>, cost: &mut Cost) -> Result<Tensor<1, Int>, RunError> {
        cost.stepped += 1;
        let hidden = self.forward(id, 1)?;
        Ok(self.model.choose(hidden))
    }

    /// Queues `more` tokens after the last of `chosen`, then reads everything back together.
    async fn group(
        &mut self,
        chosen: Tensor<1, Int>,
        more: usize,
        request: &Request<'_>,
        cost: &mut Cost,
    ) -> Result<Read, RunError> {
        let mut queued = vec![chosen];
        for _ in 0..more {
            let last = queued[queued.len() - 1].clone();
            queued.push(self.step(last, cost)?);
        }
        cost.readbacks += 1;
        self.read(Tensor::cat(queued, 0), request).await
    }

    /// Reads back `ids`, and the attention of the armed heads since the capture was restarted, in
    /// one readback.
    async fn read(&self, ids: Tensor<1, Int>, request: &Request<'_>) -> Result<Read, RunError> {
        let mut transaction = Transaction::default().register(ids);
        let span = SourceSpan { source: request.source.clone(), prompt_len: request.prompt.len() };
        let replay = self.listening.as_ref().and_then(|heard| self.model.replay(&heard.capture, &self.cache, &span));
        if let Some(replay) = replay {
            transaction = transaction.register(replay.rows).register(replay.mass);
        }
        let mut data = transaction.execute_async().await?.into_iter();
        self.compute.check()?;
        let ids = data.next().iter().flat_map(|ids| ids.iter::<i64>()).map(|id| id as u32).collect();
        let mut floats = || -> Vec<f32> { data.next().iter().flat_map(|values| values.iter::<f32>()).collect() };
        let (rows, mass) = (floats(), floats());
        let heads_len = self.listening.as_ref().map_or(1, |heard| heard.capture.heads().len());
        let rest = mass.chunks_exact(MASSES * heads_len).map(|row| {
            let mean = |at: usize| row.iter().skip(at).step_by(MASSES).sum::<f32>() / heads_len as f32;
            [mean(0), mean(1)]
        });
        Ok(Read { ids, attention: Attention { rows, rest: rest.collect() } })
    }

    /// Feeds `ids [T]` → the last `rows` rows, normed, [rows, H].
    fn forward(&mut self, ids: Tensor<1, Int>, rows: usize) -> Result<Tensor<2>, RunError> {
        let mut tap = match &mut self.listening {
            Some(listening) => Tap::capturing(&mut listening.capture),
            None => Tap::off(),
        };
        self.model.forward(ids, &mut self.cache, rows, &mut tap)
    }

    fn ids(&self, ids: &[u32]) -> Tensor<1, Int> {
        let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        Tensor::from_ints(ids.as_slice(), &self.compute.device)
    }
}

impl Attention {
    /// Keeps the first `rows` rows.
    fn truncate(&mut self, rows: usize) {
        let row_len = self.rows.len() / self.rest.len().max(1);
        self.rest.truncate(rows);
        self.rows.truncate(self.rest.len() * row_len);
    }
}

/// What came back from the device.
struct Read {
    ids: Vec<u32>,
    attention: Attention,
}

impl Draft {
    /// Appends the ids up to the end token, with their rows. Tokens after the end token are
    /// dropped.
    fn add(&mut self, read: Read, eos: &[u32]) {
        let end = read.ids.iter().position(|id| eos.contains(id));
        self.finished = end.is_some();
        self.ids.extend(&read.ids[..end.unwrap_or(read.ids.len())]);
        self.attention.rows.extend(read.attention.rows);
        self.attention.rest.extend(read.attention.rest);
        self.attention.truncate(self.ids.len());
    }
}
