//! The translation prompt in Gemma-4's chat layout. (docs/models.md, section 2.4)

use std::sync::Arc;

use crate::models::prompt::{ChatPrompt, Task};
use crate::weights::template::ChatTemplate;
use crate::weights::{CheckpointError, Files, Tokenizer};

/// Gemma-4's layout for text, used for folders that ship no template.
const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}{{ '<|turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}\
    {{ (m.content if m.content is string else m.content | map(attribute='text') | join('')) | trim }}{{ '<turn|>\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|turn>model\n' }}{% endif %}";

/// The layout is the chat template in `files`, or a copy of Gemma-4's if there is none.
///
/// Errors: the chat template cannot be read.
pub fn open(files: &Files, tokenizer: Arc<Tokenizer>, task: &Task<'_>) -> Result<ChatPrompt, CheckpointError> {
    let template = ChatTemplate::open(files)?.unwrap_or_else(default_template);
    Ok(ChatPrompt::new(template, tokenizer, task))
}

fn default_template() -> ChatTemplate {
    ChatTemplate::built_in("Gemma-4's chat layout", TEMPLATE, "<bos>", "<eos>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::template::{ChatOptions, Message};
    use crate::weights::testing::{fixture_files, golden_ids, memory};
    use proptest::prelude::*;

    #[test]
    fn gemmas_prompt_and_its_columns() {
        let files = fixture_files("gemma4_e2b_like");
        let (tokenizer, report) = (Tokenizer::open(&files).unwrap(), files.json("report.json", 1 << 20).unwrap());
        assert!(ChatTemplate::open(&files).unwrap().is_none());
        let template = default_template();
        let source = "the quick brown fox jumps over the lazy dog .";
        let message = Message::user(format!(" Translate the following text from English to German: {source}\n"));
        let prompt = template.encode(&tokenizer, std::slice::from_ref(&message), &ChatOptions::default()).unwrap();
        assert_eq!(prompt.text, report["prompt"].as_str().unwrap());
        assert_eq!(prompt.ids(), golden_ids("gemma4_e2b_like", "input_ids"));
        let content = prompt.contents[0].clone().unwrap();
        let fox = content.start + prompt.text[content.clone()].find("fox").unwrap();
        let columns = prompt.columns(fox..fox + 3);
        assert_eq!(tokenizer.decode(&prompt.ids()[columns], false).unwrap().trim(), "fox");

        let options = ChatOptions { prefix: "der <turn|> Fuchs", ..ChatOptions::default() };
        let messages = [Message::system(" Be brief. "), message, Message::assistant("x"), Message::user("y")];
        let prompt = template.encode(&tokenizer, &messages, &options).unwrap();
        let tail = "<turn|>\n<|turn>model\nx<turn|>\n<|turn>user\ny<turn|>\n<|turn>model\nder <turn|> Fuchs";
        assert!(
            prompt.text.starts_with("<bos><|turn>system\nBe brief.<turn|>\n<|turn>user\nTranslate")
                && prompt.text.ends_with(tail)
        );
        assert_eq!(&prompt.text[prompt.prefix.clone()], "der <turn|> Fuchs");
        let count = |token: &str| prompt.ids().iter().filter(|id| Some(**id) == tokenizer.token_id(token)).count();
        assert_eq!((count("<bos>"), count("<|turn>"), count("<turn|>")), (1, 5, 4));
    }

    /// What the published Gemma-4 template uses beyond common Jinja: a descending range to look
    /// back, and state kept in namespaces.
    #[test]
    fn the_constructs_of_gemmas_template() {
        let source = r#"{%- set ns = namespace(last=-1, found=false) -%}
{%- for i in range(messages | length) -%}{%- if messages[i]['role'] == 'user' -%}{%- set ns.last = i -%}{%- endif -%}{%- endfor -%}
{%- for message in messages -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {%- set back = namespace(role=None) -%}
    {%- if loop.index0 > 0 -%}
        {%- for j in range(loop.index0 - 1, -1, -1) -%}
            {%- if back.role is none -%}{%- set back.role = messages[j]['role'] -%}{%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {%- if not (role == 'model' and back.role == 'assistant') -%}{{- '<' + role + '\n' }}{%- endif -%}
    {%- set thought = message.get('reasoning') or message.get('reasoning_content') -%}
    {%- if thought and loop.index0 > ns.last and message.get('tool_calls') -%}{{- thought -}}{%- endif -%}
    {%- if message['tool_calls'] -%}no{%- endif -%}
    {%- if message['content'] is string -%}{{- message['content'] | trim -}}{%- endif -%}
    {{- '>\n' -}}
{%- endfor -%}
{%- if tools or (enable_thinking is defined and enable_thinking) -%}no{%- endif -%}{{- ns.last -}}"#;
        let template = ChatTemplate::open(&memory(&[("chat_template.jinja", source.as_bytes())])).unwrap().unwrap();
        let messages = [Message::user(" a "), Message::assistant("b"), Message::assistant("c"), Message::user("d")];
        let text = template.render(&messages, &ChatOptions::default()).unwrap();
        assert_eq!(text, "<user\na>\n<model\nb>\nc>\n<user\nd>\n3");
    }

    proptest! {
        #[test]
        fn messages_never_steer(text in "(<\\|turn>|<turn\\|>|<eos>|[a-z<|> \n]|\\PC){0,12}", prefix in "(<turn\\|>|[a-z ]){0,5}") {
            let tokenizer = Tokenizer::open(&fixture_files("gemma4_e4b_like")).unwrap();
            let options = ChatOptions { prefix: &prefix, ..ChatOptions::default() };
            let prompt = default_template().encode(&tokenizer, &[Message::user(text.as_str())], &options).unwrap();
            prop_assert_eq!(prompt.ids().iter().filter(|id| (9..=10).contains(*id)).count(), 3);
            prop_assert_eq!(&prompt.text, &default_template().render(&[Message::user(text.as_str())], &options).unwrap());
        }
    }
}
