//! The translation prompt in Qwen3's chat layout (ChatML), without thinking. (docs/models.md,
//! section 4.3)
//!
//! The hybrid releases answer at once only after an empty think block, which their template writes
//! when it is told not to think. The Instruct-2507 releases never think, and their template has no
//! such block. Earlier answers have none in either.

use std::sync::Arc;

use crate::models::prompt::{ChatPrompt, Task};
use crate::weights::template::{ChatOptions, ChatTemplate, Message};
use crate::weights::{CheckpointError, Files, Tokenizer};

/// The layout of the hybrid releases for text, used for folders that ship no template. A model that
/// never thinks takes the empty block as well.
const TEMPLATE: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n\n</think>\n\n' }}{% endif %}";

/// The layout is the chat template in `files`, or a copy of Qwen3's if there is none.
///
/// Errors: the chat template cannot be read, or it opens a thought, as the Thinking releases do.
pub(crate) fn open(files: &Files, tokenizer: Arc<Tokenizer>, task: &Task<'_>) -> Result<ChatPrompt, CheckpointError> {
    let template = ChatTemplate::open(files)?.unwrap_or_else(default_template);
    let text = template.render(&[Message::user("")], &ChatOptions::default())?;
    let opened = text.matches("<think>").count() > text.matches("</think>").count();
    if opened {
        return Err(template.wrong("the model thinks before it answers", "use an Instruct or a hybrid release"));
    }
    Ok(ChatPrompt::new(template, tokenizer, task))
}

fn default_template() -> ChatTemplate {
    ChatTemplate::built_in("Qwen3's chat layout", TEMPLATE, "", "<|im_end|>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::prompt::{TranslationPrompt, Turn};
    use crate::models::testing::task;
    use crate::weights::testing::{fixture_files, golden_ids, memory};

    fn tokenizer() -> Arc<Tokenizer> {
        Arc::new(Tokenizer::open(&fixture_files("qwen3_like")).unwrap())
    }

    /// The layout of the Instruct-2507 releases: no think block.
    const INSTRUCT: &str = "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content \
        + '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}";

    #[test]
    fn the_reference_s_prompt() {
        let files = fixture_files("qwen3_like");
        let report = files.json("report.json", 1 << 20).unwrap();
        let messages = [
            Message::system("Translate from English to German"),
            Message::user("the quick brown fox jumps over the lazy dog ."),
        ];
        for template in [ChatTemplate::open(&files).unwrap().unwrap(), default_template()] {
            let prompt = template.encode(&tokenizer(), &messages, &ChatOptions::default()).unwrap();
            assert_eq!(prompt.text, report["prompt"].as_str().unwrap());
            assert_eq!(prompt.ids(), golden_ids("qwen3_like", "input_ids"));
        }
    }

    /// The shipped template and our copy of it give the same ids for all that we put into it.
    #[test]
    fn our_layout_equals_the_shipped_one() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let history = [pair("one", "eins"), pair("<think>\nno", "</think>\n\n<tool_response>x</tool_response>")];
        for context in ["", "a dog and a fox"] {
            let task = Task { context, ..task("de") };
            let shipped = open(&fixture_files("qwen3_like"), tokenizer(), &task).unwrap();
            let ours = open(&memory(&[]), tokenizer(), &task).unwrap();
            for history in [&history[..0], &history[..1], &history[..]] {
                for source in ["the fox", "<|im_end|>\n<|im_start|>assistant\n", "<tool_response>x</tool_response>", ""]
                {
                    let turn = Turn { history, source, accepted: "der" };
                    assert_eq!(shipped.ids(&turn).unwrap(), ours.ids(&turn).unwrap(), "{history:?} {source:?}");
                }
            }
        }
    }

    #[test]
    fn the_prefix_follows_the_empty_think_block() {
        let tokenizer = tokenizer();
        let text =
            |prompt: &ChatPrompt, turn: &Turn<'_>| tokenizer.decode(&prompt.ids(turn).unwrap().ids, false).unwrap();
        let history = [("one".to_owned(), "eins".to_owned())];
        let turn = Turn { history: &history, source: "the fox", accepted: "der" };
        let prompt = open(&fixture_files("qwen3_like"), tokenizer.clone(), &task("de")).unwrap();
        let with_block = text(&prompt, &turn);
        assert!(with_block.ends_with(
            "<|im_start|>user\nEnglish speech:\none<|im_end|>\n<|im_start|>assistant\neins<|im_end|>\n\
             <|im_start|>user\nEnglish speech:\nthe fox<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nder"
        ));
        let ids = prompt.ids(&turn).unwrap();
        assert_eq!(tokenizer.decode(&ids.ids[ids.source], false).unwrap(), "the fox");
        assert_eq!(tokenizer.decode(&ids.ids[ids.accepted], false).unwrap(), "der");

        let instruct =
            open(&memory(&[("chat_template.jinja", INSTRUCT.as_bytes())]), tokenizer.clone(), &task("de")).unwrap();
        assert_eq!(text(&instruct, &turn), with_block.replace("<think>\n\n</think>\n\n", ""));
    }

    #[test]
    fn a_model_that_must_think_is_refused() {
        let thinking = INSTRUCT.replace("assistant\\n' }}", "assistant\\n<think>\\n' }}");
        let files = memory(&[("chat_template.jinja", thinking.as_bytes())]);
        let message = open(&files, tokenizer(), &task("de")).unwrap_err().to_string();
        assert_eq!(
            message,
            "memory/chat_template.jinja: the model thinks before it answers; use an Instruct or a hybrid release"
        );
    }
}
