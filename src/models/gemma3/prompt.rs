//! The translation prompts of Gemma-3 models. (docs/models.md, section 3.5)
//!
//! Which one a model gets follows from its files:
//!
//! | the model has | layout |
//! |---|---|
//! | a chat template | [`ChatPrompt`]; the template puts the system text into the first user turn |
//! | a chat template that reads language codes | [`CodesPrompt`], TranslateGemma's |
//! | no chat template | [`LinesPrompt`] with examples, for base models |
//! | the name of TranslateGemma | [`CodesPrompt`], with a copy of its template if it has none |
//! | the name of MiLMMT-46 | [`LinesPrompt`] as that model was trained |
//!
//! Converted files of TranslateGemma have another chat template, or none. The name of a model is
//! that of its folder or file.
//!
//! The tokenizer's own post-processor would put `<bos>` in front of a text, and a template may
//! write it, too. A prompt begins with exactly one.

use std::sync::Arc;

use crate::models::prompt::{ChatPrompt, LanguageName, PromptIds, Task, TranslationPrompt, Turn};
use crate::weights::error::WRONG_MODEL;
use crate::weights::template::{ChatOptions, ChatTemplate, Message};
use crate::weights::{CheckpointError, Files, TokenSpan, Tokenizer};

const BOS: &str = "<bos>";
/// A field of a message's part, read by the templates that write the instruction themselves.
const LANGUAGE_CODE: &str = "source_lang_code";
/// Parts of the names of models.
const TRANSLATE_GEMMA: &str = "translategemma";
const MILMMT: &str = "milmmt-46";

/// The prompt of a Gemma-3 model.
///
/// Errors: the chat template cannot be read; the layout has no place for a context, or does not
/// know a language.
pub(crate) fn open(
    files: &Files,
    tokenizer: Arc<Tokenizer>,
    task: &Task<'_>,
) -> Result<Box<dyn TranslationPrompt>, CheckpointError> {
    let bos = tokenizer.require(BOS)?;
    let name = name_of(files.label()).to_lowercase();
    if name.contains(MILMMT) {
        return Ok(Box::new(LinesPrompt::instructed(tokenizer, bos, task)));
    }
    Ok(match ChatTemplate::open(files)? {
        Some(template) if template.mentions(LANGUAGE_CODE) => {
            Box::new(CodesPrompt::new(template, tokenizer, bos, task)?)
        }
        _ if name.contains(TRANSLATE_GEMMA) => Box::new(CodesPrompt::new(translate_gemma(task), tokenizer, bos, task)?),
        Some(template) => Box::new(ChatPrompt::new(template, tokenizer, task).led_by(bos)),
        None => Box::new(LinesPrompt::with_examples(files.label(), tokenizer, bos, task)?),
    })
}

/// The name of a model at `label`: its folder in the Hub's cache, which stands above its revision,
/// or else the last part.
fn name_of(label: &str) -> &str {
    let mut parts = label.split(['/', '\\']).rev().filter(|part| !part.is_empty());
    let last = parts.clone().next().unwrap_or_default();
    parts.find(|part| part.starts_with("models--")).unwrap_or(last)
}

/// TranslateGemma's layout for one direction.
fn translate_gemma(task: &Task<'_>) -> ChatTemplate {
    let Task { source, target, .. } = task;
    let (from, to) = (source.english, target.english);
    let instruction = format!(
        "You are a professional {from} ({}) to {to} ({}) translator. Your goal is to accurately convey the meaning and \
         nuances of the original {from} text while adhering to {to} grammar, vocabulary, and cultural sensitivities.\n\
         Produce only the {to} translation, without any additional explanations or commentary. Please translate the \
         following {from} text into {to}:\n\n\n",
        source.code, target.code
    );
    let layout = format!(
        "{{{{ bos_token }}}}{{% for m in messages %}}{{% if m.role == 'user' %}}\
         {{{{ '<start_of_turn>user\n{instruction}' + m.content[0].text | trim }}}}{{% else %}}\
         {{{{ '<start_of_turn>model\n' + m.content | trim }}}}{{% endif %}}{{{{ '<end_of_turn>\n' }}}}{{% endfor %}}\
         {{% if add_generation_prompt %}}{{{{ '<start_of_turn>model\n' }}}}{{% endif %}}"
    );
    ChatTemplate::built_in("TranslateGemma's layout", &layout, BOS, "<end_of_turn>")
}

/// A conversation whose template writes the instruction from language codes; a user turn is the
/// source alone.
#[derive(Clone, Debug)]
struct CodesPrompt {
    template: ChatTemplate,
    tokenizer: Arc<Tokenizer>,
    bos: u32,
    codes: [String; 2],
    /// The bytes between the end of the source and the answer.
    tail: usize,
}

impl CodesPrompt {
    fn new(
        template: ChatTemplate,
        tokenizer: Arc<Tokenizer>,
        bos: u32,
        task: &Task<'_>,
    ) -> Result<Self, CheckpointError> {
        if !task.context.trim().is_empty() {
            return Err(template.wrong("has no place for a context", "leave the context out"));
        }
        let codes = [task.source.code, task.target.code].map(str::to_owned);
        // The instruction may contain the words of the source, so the source is found by what
        // follows it, which is the same for every source.
        let probe = "\u{F2000}";
        let text = match template.render(&[said(&codes, probe)], &ChatOptions::default()) {
            Err(CheckpointError::Template { what, .. }) => {
                let (from, to) = (task.source.english, task.target.english);
                let what = format!("cannot ask for a translation from {from} into {to}: {what}");
                return Err(template.wrong(&what, "use a model that knows both languages"));
            }
            text => text?,
        };
        let Some(at) = text.rfind(probe) else {
            return Err(template.wrong("leaves out the text to translate", WRONG_MODEL));
        };
        Ok(Self { template, tokenizer, bos, codes, tail: text.len() - at - probe.len() })
    }
}

fn said(codes: &[String; 2], source: &str) -> Message {
    let [from, to] = codes;
    Message::to_translate(from, to, source)
}

impl TranslationPrompt for CodesPrompt {
    fn ids(&self, turn: &Turn<'_>) -> Result<PromptIds, CheckpointError> {
        let mut messages = Vec::new();
        for (source, translation) in turn.history {
            messages.extend([said(&self.codes, source), Message::assistant(translation)]);
        }
        let source = turn.source.trim();
        messages.push(said(&self.codes, source));
        let options = ChatOptions { prefix: turn.accepted, ..ChatOptions::default() };
        let prompt = self.template.encode(&self.tokenizer, &messages, &options)?;
        let end = prompt.prefix.start.saturating_sub(self.tail);
        let at = end.saturating_sub(source.len())..end;
        if prompt.text.get(at.clone()) != Some(source) {
            return Err(self.template.wrong("changes the text to translate", WRONG_MODEL));
        }
        Ok(PromptIds::new(&prompt.tokens, at, prompt.prefix).led_by(self.bos))
    }

    fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
}

/// Two lines a pair, for models that continue a text:
///
/// ```text
/// Translate English to German.
///
/// English: The weather is nice today.
/// German: Das Wetter ist heute schön.
/// …
/// English: ⟨source⟩
/// German: ⟨prefix⟩ …
/// ```
///
/// The history is further pairs. A translation ends with its line.
#[derive(Clone, Debug)]
struct LinesPrompt {
    tokenizer: Arc<Tokenizer>,
    bos: u32,
    /// The text before the history.
    beginning: String,
    /// The English names of the languages.
    source: String,
    target: String,
    /// The tokens that contain a line break.
    ends: Vec<u32>,
    has_examples: bool,
}

/// What base models see before the source, in each language: everyday sentences, the same in all.
const EXAMPLES: [(&str, [&str; 3]); 4] = [
    (
        "en",
        ["The weather is nice today.", "I have two brothers and one sister.", "She went to the market to buy bread."],
    ),
    (
        "de",
        [
            "Das Wetter ist heute schön.",
            "Ich habe zwei Brüder und eine Schwester.",
            "Sie ging zum Markt, um Brot zu kaufen.",
        ],
    ),
    ("it", ["Oggi il tempo è bello.", "Ho due fratelli e una sorella.", "È andata al mercato a comprare il pane."]),
    ("zh", ["今天天气很好。", "我有两个兄弟和一个姐姐。", "她去市场买面包。"]),
];

impl LinesPrompt {
    /// The layout for base models. `model` names the model in messages.
    ///
    /// Errors: there are no examples in one of the languages.
    fn with_examples(
        model: &str,
        tokenizer: Arc<Tokenizer>,
        bos: u32,
        task: &Task<'_>,
    ) -> Result<Self, CheckpointError> {
        let examples = |language: LanguageName<'_>| {
            let known = EXAMPLES.iter().find(|(code, _)| *code == language.code);
            known.map(|(_, examples)| examples).ok_or_else(|| CheckpointError::Template {
                file: model.to_owned(),
                what: format!("has no chat template, and there are no examples in {} to show it", language.english),
                remedy: "use a model that follows instructions".into(),
            })
        };
        let (sources, targets) = (examples(task.source)?, examples(task.target)?);
        let instruction = format!("Translate {} to {}.\n\n", task.source.english, task.target.english);
        let mut prompt = Self::new(tokenizer, bos, task, &instruction);
        for (source, target) in sources.iter().zip(targets) {
            prompt.beginning += &prompt.pair(source, target);
        }
        prompt.has_examples = true;
        Ok(prompt)
    }

    /// The layout that MiLMMT-46 was trained with.
    fn instructed(tokenizer: Arc<Tokenizer>, bos: u32, task: &Task<'_>) -> Self {
        let instruction = format!("Translate this from {} to {}:\n", task.source.english, task.target.english);
        Self::new(tokenizer, bos, task, &instruction)
    }

    fn new(tokenizer: Arc<Tokenizer>, bos: u32, task: &Task<'_>, instruction: &str) -> Self {
        let context = match task.context.trim() {
            "" => String::new(),
            context => format!("{context}\n\n"),
        };
        Self {
            bos,
            beginning: context + instruction,
            source: task.source.english.to_owned(),
            target: task.target.english.to_owned(),
            ends: tokenizer.ids_with(b'\n'),
            has_examples: false,
            tokenizer,
        }
    }

    fn pair(&self, source: &str, target: &str) -> String {
        format!("{}: {}\n{}: {}\n", self.source, one_line(source), self.target, one_line(target))
    }
}

impl TranslationPrompt for LinesPrompt {
    fn ids(&self, turn: &Turn<'_>) -> Result<PromptIds, CheckpointError> {
        let mut text = self.beginning.clone();
        for (source, translation) in turn.history {
            text += &self.pair(source.trim(), translation.trim());
        }
        text += &format!("{}: ", self.source);
        let source = text.len();
        text += &one_line(turn.source.trim());
        let source = source..text.len();
        text += &format!("\n{}:", self.target);
        if !turn.accepted.is_empty() {
            text.push(' ');
        }
        let accepted = text.len();
        text += &one_line(turn.accepted);
        let accepted = accepted..text.len();
        let mut tokens = vec![TokenSpan { id: self.bos, start: 0, end: 0 }];
        tokens.extend(self.tokenizer.encode_plain_with_offsets(&text)?);
        Ok(PromptIds::new(&tokens, source, accepted))
    }

    fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    fn ends(&self) -> &[u32] {
        &self.ends
    }

    fn has_examples(&self) -> bool {
        self.has_examples
    }
}

/// `text` with blanks for line breaks, as long as before.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::models::testing::task;
    use crate::weights::testing::{fixture_files, golden_ids, memory, own};

    /// A template that behaves as TranslateGemma's: it writes the instruction itself, takes only
    /// user and model turns, and only languages that it knows.
    const CODES: &str = r#"{{- bos_token -}}
{%- set languages = {"en": "English", "de": "German", "it": "Italian", "zh": "Chinese"} -%}
{%- if messages[0]['role'] != 'user' -%}{{ raise_exception("A conversation begins with a user turn") }}{%- endif -%}
{%- for message in messages -%}
    {%- if message['role'] == 'assistant' -%}
        {{- '<start_of_turn>model\n' + message['content'] | trim + '<end_of_turn>\n' -}}
    {%- elif message['content'] is string or message['content'] | length != 1 -%}
        {{ raise_exception("A user turn is a list of one object") }}
    {%- else -%}
        {%- set part = message['content'][0] -%}
        {%- set from = part['source_lang_code'] | replace('_', '-') -%}
        {%- set to = part['target_lang_code'] | replace('_', '-') -%}
        {%- if from not in languages or to not in languages -%}
            {{ raise_exception("Unknown language " + from + " or " + to) }}
        {%- endif -%}
        {{- '<start_of_turn>user\nYou are a professional ' + languages[from] + ' (' + from + ') to ' + languages[to] + ' (' + to + ') translator. Your goal is to accurately convey the meaning and nuances of the original ' + languages[from] + ' text while adhering to ' + languages[to] + ' grammar, vocabulary, and cultural sensitivities.\nProduce only the ' + languages[to] + ' translation, without any additional explanations or commentary. Please translate the following ' + languages[from] + ' text into ' + languages[to] + ':\n\n\n' + part['text'] | trim + '<end_of_turn>\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\n' -}}{%- endif -%}"#;

    /// The published tokenizer, cut to what some texts need.
    fn tokenizer() -> Arc<Tokenizer> {
        let json = std::fs::read(own("tokenizers/gemma3.json")).unwrap();
        Arc::new(Tokenizer::from_json("gemma3", &json).unwrap())
    }

    fn published_template() -> String {
        std::fs::read_to_string(crate::weights::testing::fixture("gemma3_like").join("chat_template.jinja")).unwrap()
    }

    fn files(template: Option<&str>) -> Files {
        let mut files = vec![("tokenizer_config.json", &br#"{"bos_token": "<bos>"}"#[..])];
        files.extend(template.map(|template| ("chat_template.jinja", template.as_bytes())));
        memory(&files)
    }

    /// A model that is only a name.
    fn named(label: &str) -> Files {
        Files::remote(label, Vec::new(), Vec::new())
    }

    fn milmmt() -> Files {
        named("hub/models--xiaomi-research--MiLMMT-46-4B-v0.1/snapshots/1")
    }

    /// The prompts of the three layouts, with the published tokenizer.
    fn layouts(task: &Task<'_>) -> Vec<Box<dyn TranslationPrompt>> {
        let chat = published_template();
        [None, Some(chat.as_str()), Some(CODES)]
            .map(|template| open(&files(template), tokenizer(), task).unwrap())
            .into_iter()
            .collect()
    }

    fn golden() -> Vec<Value> {
        let golden = std::fs::read_to_string(own("prompts.json")).unwrap();
        let golden: Value = serde_json::from_str(&golden).unwrap();
        golden["gemma3"].as_array().unwrap().clone()
    }

    fn ids(value: &Value) -> Vec<u32> {
        value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
    }

    fn text(prompt: &dyn TranslationPrompt, ids: &PromptIds) -> String {
        prompt.tokenizer().decode(&ids.ids, false).unwrap()
    }

    #[test]
    fn examples_for_base_models_give_the_golden_ids() {
        let mut compared = 0;
        for case in golden() {
            let Some(code) = case["kind"].as_str().unwrap().strip_prefix("en-") else { continue };
            let prompt = open(&files(None), tokenizer(), &task(code)).unwrap();
            let source = case["source"].as_str().unwrap();
            let bare = prompt.ids(&Turn { source, ..Turn::default() }).unwrap();
            assert_eq!(bare.ids, ids(&case["ids"]), "{source}");
            let columns = ids(&case["columns"]);
            assert_eq!(bare.source, columns[0] as usize..columns[1] as usize, "{source}");
            assert!(bare.accepted.is_empty());
            // The answer of the reference, as a prefix: the same ids as if they had been drafted.
            let accepted = case["answer"].as_str().unwrap().trim();
            let more = prompt.ids(&Turn { source, accepted, ..Turn::default() }).unwrap();
            assert_eq!(more.ids, [ids(&case["ids"]), ids(&case["answer_ids"])].concat(), "{source}");
            // The blank before it may be a token of its own.
            assert!(more.accepted.start - bare.ids.len() <= 1 && more.accepted.end == more.ids.len());
            let spelled = prompt.tokenizer().decode(&more.ids[more.accepted], false).unwrap();
            assert_eq!(spelled.strip_prefix(' ').unwrap_or(&spelled), accepted);
            compared += 1;
        }
        assert_eq!(compared, 6);
    }

    #[test]
    fn the_other_layouts_give_the_golden_ids() {
        let mut compared = 0;
        for case in golden() {
            let Some((kind, code)) = case["kind"].as_str().unwrap().split_once(' ') else { continue };
            let all = match kind {
                "instruct" => vec![files(Some(&published_template()))],
                "translate" => vec![files(Some(CODES)), named("x/translategemma-4b-it.Q8_0.gguf")],
                "lines" => vec![milmmt()],
                other => panic!("{other}"),
            };
            for files in all {
                let prompt = open(&files, tokenizer(), &task(code)).unwrap();
                let got = prompt.ids(&Turn { source: case["source"].as_str().unwrap(), ..Turn::default() }).unwrap();
                assert_eq!(got.ids, ids(&case["ids"]), "{kind} {code}");
                let columns = ids(&case["columns"]);
                assert_eq!(got.source, columns[0] as usize..columns[1] as usize, "{kind} {code}");
                compared += 1;
            }
        }
        assert_eq!(compared, 12);
    }

    #[test]
    fn a_line_ends_a_translation_of_a_base_model() {
        let prompt = open(&files(None), tokenizer(), &task("de")).unwrap();
        let tokenizer = prompt.tokenizer();
        let breaks = tokenizer.encode_plain("\n").unwrap();
        assert_eq!(breaks, [107]);
        assert!([breaks[0], 108, tokenizer.token_id("<0x0A>").unwrap()].iter().all(|id| prompt.ends().contains(id)));
        assert!(prompt.ends().iter().all(|id| tokenizer.token_bytes(*id).contains(&b'\n')));
        let chat = open(&files(Some(&published_template())), self::tokenizer(), &task("de")).unwrap();
        assert!(chat.ends().is_empty());
    }

    #[test]
    fn history_and_context_of_a_base_model() {
        let task = Task { context: " A talk. ", ..task("de") };
        let prompt = open(&files(None), tokenizer(), &task).unwrap();
        let history = [("The sun\nis warm.".to_owned(), "Die Sonne ist warm.".to_owned())];
        let ids = prompt.ids(&Turn { history: &history, source: "It\nrains.", accepted: "Es\nregnet" }).unwrap();
        let text = text(&*prompt, &ids);
        assert!(text.starts_with("<bos>A talk.\n\nTranslate English to German.\n\nEnglish: The weather"), "{text}");
        let end =
            "kaufen.\nEnglish: The sun is warm.\nGerman: Die Sonne ist warm.\nEnglish: It rains.\nGerman: Es regnet";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn the_layout_follows_from_the_files() {
        let turn = Turn { source: "Good morning!", accepted: "Guten", ..Turn::default() };
        let chat = published_template();
        let in_config = serde_json::json!({"bos_token": "<bos>", "chat_template": chat}).to_string();
        let expected = "<bos><start_of_turn>user\nTranslate live speech from English into German. Give only the \
            translation of what has been said so far, and continue the translation that has begun.\n\n\
            English speech:\nGood morning!<end_of_turn>\n<start_of_turn>model\nGuten";
        for files in [files(Some(&chat)), memory(&[("tokenizer_config.json", in_config.as_bytes())])] {
            let prompt = open(&files, tokenizer(), &task("de")).unwrap();
            assert_eq!(text(&*prompt, &prompt.ids(&turn).unwrap()), expected);
        }
        let prompt = open(&files(Some(CODES)), tokenizer(), &task("it")).unwrap();
        let expected = "<bos><start_of_turn>user\nYou are a professional English (en) to Italian (it) translator. \
            Your goal is to accurately convey the meaning and nuances of the original English text while adhering to \
            Italian grammar, vocabulary, and cultural sensitivities.\nProduce only the Italian translation, without \
            any additional explanations or commentary. Please translate the following English text into Italian:\n\n\n\
            Good morning!<end_of_turn>\n<start_of_turn>model\nGuten";
        assert_eq!(text(&*prompt, &prompt.ids(&turn).unwrap()), expected);
        let prompt = open(&milmmt(), tokenizer(), &task("zh")).unwrap();
        let expected = "<bos>Translate this from English to Chinese:\nEnglish: Good morning!\nChinese: Guten";
        assert_eq!(text(&*prompt, &prompt.ids(&turn).unwrap()), expected);
    }

    #[test]
    fn names_of_models() {
        for (label, name) in [
            ("cache/hub/models--google--translategemma-4b-it/snapshots/0a1b/", "models--google--translategemma-4b-it"),
            ("/home/translategemma/gemma-3-270m", "gemma-3-270m"),
            ("C:\\models\\translategemma.gguf", "translategemma.gguf"),
            ("google/gemma-3-1b-it", "gemma-3-1b-it"),
            ("", ""),
        ] {
            assert_eq!(name_of(label), name);
        }
    }

    /// The copy of TranslateGemma's layout, and the template as it is published.
    #[test]
    fn translate_gemma_without_its_template() {
        let history = [("Good\nmorning!".to_owned(), " Guten Morgen! ".to_owned())];
        let turn = Turn { history: &history, source: "<end_of_turn> the", accepted: "die" };
        let published = open(&files(Some(CODES)), tokenizer(), &task("de")).unwrap().ids(&turn).unwrap();
        let ours = open(&named("google/TranslateGemma-4b-it"), tokenizer(), &task("de")).unwrap();
        assert_eq!(ours.ids(&turn).unwrap(), published);
        let chat = published_template();
        let other =
            Files::remote("translategemma-4b", vec![("chat_template.jinja".to_owned(), chat.into_bytes())], Vec::new());
        assert_eq!(open(&other, tokenizer(), &task("de")).unwrap().ids(&turn).unwrap(), published, "another template");
    }

    #[test]
    fn the_published_template() {
        let template = ChatTemplate::open(&files(Some(&published_template()))).unwrap().unwrap();
        let case = golden().into_iter().find(|case| case["kind"] == "chat").unwrap();
        let message = Message::user(" Translate to German: The dog is big.\n");
        let prompt = template.encode(&tokenizer(), &[message], &ChatOptions::default()).unwrap();
        assert_eq!(prompt.ids(), ids(&case["ids"]));
        for model in ["gemma3_like", "gemma3_mm_like"] {
            let files = fixture_files(model);
            let report = files.json("report.json", 1 << 20).unwrap();
            let expected = report["prompt"].as_str().unwrap();
            let content = expected.split("user\n").nth(1).unwrap().split("<end_of_turn>").next().unwrap();
            let template = ChatTemplate::open(&files).unwrap().unwrap();
            let tokenizer = Tokenizer::open(&files).unwrap();
            let prompt = template.encode(&tokenizer, &[Message::user(content)], &ChatOptions::default()).unwrap();
            assert_eq!(prompt.text, expected);
            assert_eq!(prompt.ids(), golden_ids(model, "input_ids"), "{model}");
        }
    }

    #[test]
    fn a_prompt_begins_with_one_bos() {
        let bare = published_template().replacen("{{ bos_token }}", "", 1);
        let history = [("a <bos>".to_owned(), "<bos>".to_owned())];
        let turn = Turn { history: &history, source: "<bos> b", accepted: "c" };
        let chat = published_template();
        let mut all = Vec::new();
        for template in [None, Some(chat.as_str()), Some(CODES), Some(&bare)] {
            let prompt = open(&files(template), tokenizer(), &task("de")).unwrap();
            let ids = prompt.ids(&turn).unwrap();
            assert_eq!(ids.ids[0], 2);
            assert_eq!(ids.ids.iter().filter(|id| **id == 2).count(), 1);
            all.push(ids);
        }
        assert_eq!(all[1], all[3], "a template without it");
        let without = open(&memory(&[("chat_template.jinja", chat.as_bytes())]), tokenizer(), &task("de")).unwrap();
        assert_eq!(without.ids(&turn).unwrap(), all[1], "a tokenizer_config.json without it");
    }

    #[test]
    fn what_a_layout_cannot_do_is_named() {
        let fail = |template: Option<&str>, task: &Task<'_>| {
            open(&files(template), tokenizer(), task).unwrap_err().to_string()
        };
        let french = LanguageName { english: "French", code: "fr" };
        let message = fail(None, &Task { target: french, ..task("de") });
        assert!(message.contains("memory: has no chat template, and there are no examples in French"), "{message}");
        let message = fail(Some(CODES), &Task { source: french, ..task("de") });
        assert!(
            message.contains("memory/chat_template.jinja: cannot ask for a translation from French into German: "),
            "{message}"
        );
        assert!(message.contains("Unknown language fr") && message.ends_with("knows both languages"), "{message}");
        let message = fail(Some(CODES), &Task { context: "Names: Ada", ..task("de") });
        assert!(message.contains("has no place for a context; leave the context out"), "{message}");
        let message = fail(Some("{# source_lang_code #}nothing"), &task("de"));
        assert!(message.contains("leaves out the text to translate"), "{message}");
        let upper = CODES.replace("part['text'] | trim", "part['text'] | trim | upper");
        let prompt = open(&files(Some(&upper)), tokenizer(), &task("de")).unwrap();
        let message = prompt.ids(&Turn { source: "abc", ..Turn::default() }).unwrap_err().to_string();
        assert!(message.contains("changes the text to translate"), "{message}");
    }

    /// Checks that the columns are those of the source and of the prefix.
    fn check(prompt: &dyn TranslationPrompt, turn: &Turn<'_>) -> PromptIds {
        let ids = prompt.ids(turn).unwrap();
        for (text, at, columns) in
            [(turn.source.trim(), &ids.source, &ids.columns), (turn.accepted, &ids.accepted, &ids.accepted_columns)]
        {
            assert_eq!(at.len(), columns.len(), "{text:?}");
            let mut covered = 0;
            for bytes in columns {
                assert!(text.is_char_boundary(bytes.start) && text.is_char_boundary(bytes.end), "{text:?}: {bytes:?}");
                assert!(bytes.start <= covered && bytes.end >= covered, "{text:?}: {bytes:?} after {covered}");
                covered = bytes.end;
            }
            assert_eq!(covered, text.len(), "{text:?}");
            let spelled = prompt.tokenizer().decode(&ids.ids[at.clone()], false).unwrap();
            assert_eq!(spelled.strip_prefix(' ').unwrap_or(&spelled), one_line_if(prompt, text), "{text:?}");
            assert!(!ids.ids[at.clone()].iter().any(|id| prompt.tokenizer().is_special(*id)), "{text:?}");
        }
        assert!(ids.source.end <= ids.accepted.start && ids.accepted.end == ids.ids.len());
        ids
    }

    /// Only layouts of lines end with a line break, and change those of a text.
    fn one_line_if(prompt: &dyn TranslationPrompt, text: &str) -> String {
        if prompt.ends().is_empty() { text.to_owned() } else { one_line(text) }
    }

    #[test]
    fn a_source_that_occurs_elsewhere_and_one_that_grows() {
        let history = [("The weather is nice today.".to_owned(), "English".to_owned())];
        for prompt in layouts(&task("de")) {
            for source in ["English", "model", "The weather is nice today. The cat drinks milk.", "user", "the", "."] {
                let whole = check(&*prompt, &Turn { history: &history, source, accepted: source });
                for (end, _) in source.match_indices(' ') {
                    let part = check(&*prompt, &Turn { history: &history, source: &source[..end], accepted: "" });
                    let same = part.ids.iter().zip(&whole.ids).take_while(|(a, b)| a == b).count();
                    assert_eq!(part.source.start, whole.source.start);
                    assert!(same + 1 >= part.source.end, "{:?} of {source:?}: {same}", &source[..end]);
                }
            }
            let empty = prompt.ids(&Turn { source: " ", ..Turn::default() }).unwrap();
            assert!(empty.source.is_empty() && empty.columns.is_empty() && empty.accepted.is_empty());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn columns_of_any_text(
            source in "(English: |\nGerman:|<end_of_turn>|<start_of_turn>|<bos>|model|weather|[a-z]{1,4}|[ .,'\"\n\r])([a-z .\n]|today|German){0,10}",
            other in "([a-z ]|user|English:){0,8}",
        ) {
            for prompt in layouts(&task("de")) {
                let history = [(other.clone(), source.clone()), (source.clone(), other.clone())];
                check(&*prompt, &Turn { history: &history, source: &source, accepted: other.trim() });
            }
        }
    }
}
