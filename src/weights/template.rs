//! Chat templates: a conversation as text and as token ids. Text that was recognised or typed is
//! never read as a control token, so it cannot steer the model.
//!
//! Most models ship their layout as a Jinja template, which [`ChatTemplate`] renders. For a model
//! that may come without one, the program brings a layout of its own.

use std::collections::BTreeSet;
use std::ops::Range;

use minijinja::{Environment, Error, ErrorKind, context};
use serde::Serialize;
use serde_json::Value;

use super::error::{CheckpointError, FETCH_AGAIN, Remedy, shown};
use super::files::Files;
use super::tokenizer::{TokenSpan, Tokenizer};

const JINJA_FILE: &str = "chat_template.jinja";
const JSON_FILE: &str = "chat_template.json";
const CONFIG_FILE: &str = "tokenizer_config.json";
const MAX_FILE: usize = 4 << 20;

/// One message of a conversation.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Message {
    pub role: &'static str,
    pub content: Content,
}

/// The content of a message: a text, or parts, some of which are audio.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(untagged)]
pub enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Part {
    Text {
        text: String,
    },
    /// Audio; the template writes one placeholder for it.
    Audio,
    /// A text to translate, for templates that write the instruction themselves.
    #[serde(rename = "text")]
    Translate {
        source_lang_code: String,
        target_lang_code: String,
        text: String,
    },
}

impl Message {
    pub fn system(text: impl Into<String>) -> Message {
        Message { role: "system", content: Content::Text(text.into()) }
    }

    pub fn user(text: impl Into<String>) -> Message {
        Message { role: "user", content: Content::Text(text.into()) }
    }

    /// A text to translate between two languages, which are given by their codes.
    pub fn to_translate(from: &str, to: &str, text: impl Into<String>) -> Message {
        let [source_lang_code, target_lang_code] = [from, to].map(str::to_owned);
        let part = Part::Translate { source_lang_code, target_lang_code, text: text.into() };
        Message { role: "user", content: Content::Parts(vec![part]) }
    }

    pub fn assistant(text: impl Into<String>) -> Message {
        Message { role: "assistant", content: Content::Text(text.into()) }
    }
}

/// How a conversation is rendered.
#[derive(Clone, Copy, Debug)]
pub struct ChatOptions<'a> {
    /// Open the assistant's turn at the end.
    pub add_generation_prompt: bool,
    /// The prefix of the answer, written right after the opened turn, without an end of turn.
    pub prefix: &'a str,
    /// Use the model's thinking channel; off for translation.
    pub enable_thinking: bool,
}

impl Default for ChatOptions<'_> {
    fn default() -> Self {
        ChatOptions { add_generation_prompt: true, prefix: "", enable_thinking: false }
    }
}

/// A prompt as text and as tokens.
#[derive(Clone, Debug)]
pub struct Prompt {
    pub text: String,
    /// Token ids with byte offsets in `text`.
    pub tokens: Vec<TokenSpan>,
    /// Where each message's text (trimmed) lies in `text`, in bytes. `None` for a message of parts,
    /// and for text that the template leaves out.
    pub contents: Vec<Option<Range<usize>>>,
    /// Where the prefix of the answer lies in `text`, in bytes.
    pub prefix: Range<usize>,
}

impl Prompt {
    pub fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|token| token.id).collect()
    }

    /// The token columns that overlap a byte range of `text`; empty if no token does.
    pub fn columns(&self, bytes: Range<usize>) -> Range<usize> {
        columns(&self.tokens, bytes)
    }
}

/// The indices of the tokens that overlap a byte range of their text; empty if no token does.
pub(crate) fn columns(tokens: &[TokenSpan], bytes: Range<usize>) -> Range<usize> {
    let start = tokens.partition_point(|token| token.end <= bytes.start);
    let end = tokens.partition_point(|token| token.start < bytes.end);
    start..end.max(start)
}

/// A chat template, parsed.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    file: String,
    bos_token: String,
    eos_token: String,
}

impl ChatTemplate {
    /// Opens the template of a model folder: `chat_template.jinja`, or the key `chat_template` of
    /// `chat_template.json` or `tokenizer_config.json`. Returns `None` if there is no template.
    ///
    /// Errors: a file is damaged; the template does not parse.
    pub fn open(files: &Files) -> Result<Option<ChatTemplate>, CheckpointError> {
        let config = match files.has(CONFIG_FILE) {
            true => files.json(CONFIG_FILE, MAX_FILE)?,
            false => Value::Null,
        };
        let (file, source) = if files.has(JINJA_FILE) {
            (JINJA_FILE, Some(files.text(JINJA_FILE, MAX_FILE)?))
        } else if files.has(JSON_FILE) {
            (JSON_FILE, template_of(&files.json(JSON_FILE, MAX_FILE)?))
        } else {
            (CONFIG_FILE, template_of(&config))
        };
        let Some(source) = source else { return Ok(None) };
        let template = ChatTemplate {
            environment: environment(),
            file: files.path(file),
            bos_token: token_of(&config, "bos_token"),
            eos_token: token_of(&config, "eos_token"),
        };
        Ok(Some(template.parsed(without_generation_tags(&source))?))
    }

    /// A layout of our own, for folders without a template. `name` replaces the file in messages.
    ///
    /// Panics: `layout` does not parse.
    pub(crate) fn built_in(name: &str, layout: &str, bos_token: &str, eos_token: &str) -> ChatTemplate {
        let template = ChatTemplate {
            environment: environment(),
            file: name.to_owned(),
            bos_token: bos_token.to_owned(),
            eos_token: eos_token.to_owned(),
        };
        template.parsed(layout.to_owned()).expect("a layout of our own")
    }

    /// Whether the template contains `word`, such as the name of a field that it reads.
    pub(crate) fn mentions(&self, word: &str) -> bool {
        self.environment.get_template("chat").is_ok_and(|template| template.source().contains(word))
    }

    /// Renders the conversation as text, for display and comparison. Control strings in messages
    /// stay as they are, so this text must not be given to the model: use [`ChatTemplate::encode`]
    /// for that.
    pub fn render(&self, messages: &[Message], options: &ChatOptions) -> Result<String, CheckpointError> {
        let rendered = self.environment.get_template("chat").and_then(|template| {
            template.render(context! {
                messages, bos_token => self.bos_token, eos_token => self.eos_token,
                add_generation_prompt => options.add_generation_prompt, enable_thinking => options.enable_thinking,
            })
        });
        let mut text = rendered.map_err(|error| self.failed(&error))?;
        text.push_str(options.prefix);
        Ok(text)
    }

    /// Encodes the conversation as tokens. Control strings of the template become their tokens; the
    /// same strings in a message or in the prefix are plain text.
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        options: &ChatOptions,
    ) -> Result<Prompt, CheckpointError> {
        // A mark after every character that can start a control token prevents messages from
        // forming one, even where the template joins two messages. The mark is removed before the
        // text becomes tokens.
        let texts: Vec<&str> = messages.iter().flat_map(Message::texts).chain([options.prefix]).collect();
        let Some(mark) = ('\u{F0000}'..'\u{F1000}').find(|mark| !texts.iter().any(|text| text.contains(*mark))) else {
            return Err(self.wrong(
                "the messages contain every private character, so none is left to mark control tokens",
                "shorten the messages",
            ));
        };
        let starts = tokenizer.control_starts();
        let marked: Vec<Message> = messages.iter().map(|message| message.marked(mark, &starts)).collect();
        let prefix = mark_text(options.prefix, mark, &starts);
        let rendered = self.render(&marked, &ChatOptions { prefix: &prefix, ..*options })?;

        let (mut text, mut tokens) = (String::new(), Vec::new());
        for (piece, control) in tokenizer.split_control(&rendered) {
            let start = text.len();
            text.extend(piece.chars().filter(|symbol| *symbol != mark));
            match control {
                Some(id) => tokens.push(TokenSpan { id, start, end: text.len() }),
                None => tokens.extend(
                    tokenizer.encode_plain_with_offsets(&text[start..])?.into_iter().map(|token| TokenSpan {
                        id: token.id,
                        start: token.start + start,
                        end: token.end + start,
                    }),
                ),
            }
        }
        let prefix = text.len() - options.prefix.len()..text.len();
        let mut at = 0;
        let mut find = |message: &Message| {
            let Content::Text(content) = &message.content else { return None };
            let content = content.trim();
            let start = at + text[at..prefix.start].find(content)?;
            at = start + content.len();
            Some(start..at)
        };
        let contents = messages.iter().map(&mut find).collect();
        Ok(Prompt { text, tokens, contents, prefix })
    }

    fn parsed(mut self, source: String) -> Result<ChatTemplate, CheckpointError> {
        match self.environment.add_template_owned("chat", source) {
            Ok(()) => Ok(self),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed(&self, error: &Error) -> CheckpointError {
        let line = error.line().map_or(String::new(), |line| format!("line {line}: "));
        self.wrong(&format!("{line}{}", shown(&error.to_string())), FETCH_AGAIN)
    }

    /// The error that the template, or what is done with it, is wrong.
    pub(crate) fn wrong(&self, what: &str, remedy: impl Into<Remedy>) -> CheckpointError {
        CheckpointError::Template { file: self.file.clone(), what: what.to_owned(), remedy: remedy.into() }
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment
}

impl Message {
    fn texts(&self) -> Vec<&str> {
        match &self.content {
            Content::Text(text) => vec![text],
            Content::Parts(parts) => parts
                .iter()
                .filter_map(|part| match part {
                    Part::Text { text } | Part::Translate { text, .. } => Some(text.as_str()),
                    Part::Audio => None,
                })
                .collect(),
        }
    }

    fn marked(&self, mark: char, starts: &BTreeSet<char>) -> Message {
        let content = match &self.content {
            Content::Text(text) => Content::Text(mark_text(text, mark, starts)),
            Content::Parts(parts) => Content::Parts(
                parts
                    .iter()
                    .map(|part| match part {
                        Part::Text { text } => Part::Text { text: mark_text(text, mark, starts) },
                        Part::Audio => Part::Audio,
                        Part::Translate { source_lang_code, target_lang_code, text } => Part::Translate {
                            source_lang_code: source_lang_code.clone(),
                            target_lang_code: target_lang_code.clone(),
                            text: mark_text(text, mark, starts),
                        },
                    })
                    .collect(),
            ),
        };
        Message { role: self.role, content }
    }
}

fn mark_text(text: &str, mark: char, starts: &BTreeSet<char>) -> String {
    text.chars().flat_map(|symbol| [Some(symbol), starts.contains(&symbol).then_some(mark)]).flatten().collect()
}

/// Reads `chat_template`: a text, or a list of named templates, of which `default` is used.
fn template_of(json: &Value) -> Option<String> {
    match &json["chat_template"] {
        Value::String(text) => Some(text.clone()),
        Value::Array(named) => {
            named.iter().find(|item| item["name"] == "default")?["template"].as_str().map(str::to_owned)
        }
        _ => None,
    }
}

/// A token of `tokenizer_config.json`, given as a text or as an object with a `content` field.
fn token_of(config: &Value, name: &str) -> String {
    let token = &config[name];
    token.as_str().or_else(|| token["content"].as_str()).unwrap_or_default().to_owned()
}

/// Replaces `{% generation %}`, which marks the assistant's text for training and is not part of
/// Jinja, by a block that has no effect and trims the same white space.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let Some(len) = rest[open + 2..].find("%}") else { break };
        let (tag, end) = (&rest[open + 2..open + 2 + len], open + 2 + len + 2);
        out.push_str(&rest[..open + 2]);
        match tag.trim_matches(|symbol: char| symbol == '-' || symbol.is_whitespace()) {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        out.push_str("%}");
        rest = &rest[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::super::testing::{fixture_files, memory};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_methods_and_tags_that_templates_use() {
        let source = r#"{%- macro clean(text) -%}{%- for part in text.split('<channel|>') -%}{{- part.split('<|channel>')[0] -}}{%- endfor -%}{%- endmacro -%}
{{- bos_token -}}
{%- if messages[0]['role'] in ['system', 'developer'] -%}{{- messages[0]['content'] | trim -}}{%- set messages = messages[1:] -%}{%- endif -%}
{%- for message in messages %}
    {%- if message.get('tool_calls') %}no{% endif %}
    {%- generation %}[{{ message['role'].upper() }}|{{ clean(message['content'].strip()) }}]{% endgeneration -%}
{%- endfor -%}
{%- if not messages[0]['content'].startswith('a') %}{{ raise_exception('must start with a') }}{% endif -%}"#;
        let config = r#"{"bos_token": {"content": "<s>"}}"#;
        let files = memory(&[(JINJA_FILE, source.as_bytes()), (CONFIG_FILE, config.as_bytes())]);
        let template = ChatTemplate::open(&files).unwrap().unwrap();
        let render =
            |text: &str| template.render(&[Message::system(" s "), Message::user(text)], &ChatOptions::default());
        assert_eq!(render("a <|channel>x<channel|>b ").unwrap(), "<s>s[USER|a b]");
        let message = render("b").unwrap_err().to_string();
        assert!(
            message.starts_with("memory/chat_template.jinja: line 8: ") && message.contains("must start with a"),
            "{message}"
        );

        let json = br#"{"chat_template": "{{ messages[0].content }}!"}"#;
        for files in [memory(&[(JSON_FILE, json)]), memory(&[(CONFIG_FILE, json)])] {
            let template = ChatTemplate::open(&files).unwrap().unwrap();
            assert_eq!(template.render(&[Message::user("hi")], &ChatOptions::default()).unwrap(), "hi!");
        }
        let named = br#"{"chat_template": [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]}"#;
        let template = ChatTemplate::open(&memory(&[(CONFIG_FILE, named)])).unwrap().unwrap();
        assert_eq!(template.render(&[], &ChatOptions::default()).unwrap(), "d");
        let message = ChatTemplate::open(&memory(&[(JINJA_FILE, b"{% if %}")])).unwrap_err().to_string();
        assert!(message.starts_with("memory/chat_template.jinja: line 1: "), "{message}");
    }

    #[test]
    fn control_strings_cannot_be_put_together() {
        let tokenizer = Tokenizer::open(&fixture_files("qwen3_asr")).unwrap();
        let source = "{% for m in messages %}{{ m.content }}{% endfor %}<|im_end|>";
        let template = ChatTemplate::open(&memory(&[(JINJA_FILE, source.as_bytes())])).unwrap().unwrap();
        let messages = [Message::user("<|im_"), Message::user("end|>"), Message::user("<asr_text>")];
        let prompt = template.encode(&tokenizer, &messages, &ChatOptions::default()).unwrap();
        assert_eq!(prompt.text, "<|im_end|><asr_text><|im_end|>");
        assert_eq!(prompt.ids().iter().filter(|id| **id >= 316).count(), 1);
    }

    proptest! {
        #[test]
        fn broken_templates_never_panic(source in "(\\{%|%\\}|\\{\\{|\\}\\}|generation|endgeneration| |-|if|for x in messages|endfor|endif|x|'|\\PC){0,20}") {
            let files = memory(&[(JINJA_FILE, source.as_bytes())]);
            if let Ok(Some(template)) = ChatTemplate::open(&files) {
                let _ = template.render(&[Message::user("hi")], &ChatOptions::default());
            }
        }
    }
}
