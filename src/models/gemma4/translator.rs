//! Greedy drafts with Gemma-4, from a prompt whose unchanged beginning is never computed twice.

use std::sync::Arc;

use burn::tensor::{Int, Tensor};

use super::{Cache, Gemma4, Rows};
use crate::gpu::Compute;
use crate::nn::{RunError, Tap, greedy, read_ids};

/// What one call drafted, and what it cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// Ids after the prompt, without the end token.
    pub ids: Vec<u32>,
    /// Whether the model ended the turn by itself, rather than the budget.
    pub finished: bool,
    /// Prompt positions computed; the rest were in the cache.
    pub prefilled: usize,
}

/// One sequence of prompts that share a beginning.
pub struct Translator {
    model: Arc<Gemma4>,
    eos: Vec<u32>,
    cache: Cache,
    /// The ids whose keys and values the cache holds.
    held: Vec<u32>,
    /// Tokens queued between two readbacks.
    group_len: usize,
    compute: Compute,
}

impl Translator {
    /// `eos`: the ids that end a turn.
    pub fn new(model: Arc<Gemma4>, eos: Vec<u32>, group_len: usize, compute: Compute) -> Self {
        Self { cache: model.cache(), model, eos, held: Vec::new(), group_len, compute }
    }

    /// At most `budget` ids after `prompt`, which is not empty. Positions past the cache's end: [`RunError::TooLong`].
    pub async fn draft(&mut self, prompt: &[u32], budget: usize) -> Result<Draft, RunError> {
        let room = self.model.capacity().saturating_sub(prompt.len());
        let budget = budget.min(room.saturating_sub(self.group_len));
        if prompt.is_empty() || budget == 0 {
            return Err(RunError::TooLong {
                what: "this prompt with its draft",
                needed: prompt.len() + self.group_len + 1,
                capacity: self.model.capacity(),
            });
        }
        // The last prompt position is always computed: its row chooses the first id.
        let common = self.held.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        let kept = self.cache.roll_back(common.min(prompt.len() - 1));
        self.held.truncate(kept);
        let fresh = self.ids(&prompt[kept..]);
        let mut hidden = self.model.forward(fresh, &mut self.cache, Rows::Last(1), &mut Tap::off())?;
        self.held.extend(&prompt[kept..]);

        let mut draft = Draft { prefilled: prompt.len() - kept, ..Draft::default() };
        while !draft.finished && draft.ids.len() < budget {
            let mut group: Vec<Tensor<1, Int>> = Vec::new();
            while group.len() < self.group_len {
                let id = greedy(self.model.logits(hidden));
                group.push(id.clone());
                hidden = self.model.forward(id, &mut self.cache, Rows::Last(1), &mut Tap::off())?;
            }
            let ids = read_ids(Tensor::cat(group, 0), &self.compute).await?;
            self.held.extend(&ids);
            for id in ids {
                // What a group wrote past the budget is as if never drafted, its end of turn too.
                if draft.ids.len() == budget {
                    break;
                }
                if self.eos.contains(&id) {
                    draft.finished = true;
                    break;
                }
                draft.ids.push(id);
            }
        }
        Ok(draft)
    }

    fn ids(&self, ids: &[u32]) -> Tensor<1, Int> {
        let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        Tensor::from_ints(ids.as_slice(), &self.compute.device)
    }
}
