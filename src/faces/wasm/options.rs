//! The options of a translation, parsed and checked.

use serde::Deserialize;
use wasm_bindgen::prelude::*;

use super::errors::{error, refused};
use crate::cascade::Settings;
use crate::engines::load::Direction;
use crate::nn::Quant;
use crate::policy::PolicyKind;
use crate::policy::heads::HeadSet;
use crate::text::{Context, Language, Millis};

/// The options of `Engines::load`, as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    from: String,
    /// Absent where nothing is translated.
    to: Option<String>,
    policy: Option<String>,
    #[serde(default)]
    context: String,
    /// Each `term` or `term = translation`.
    #[serde(default)]
    terms: Vec<String>,
    #[serde(default)]
    history: usize,
    /// Heads for this direction: the text of a heads file.
    heads: Option<String>,
    /// Sound of one step, in milliseconds. Absent: the policy's own chunk.
    chunk_ms: Option<u32>,
    /// How weights are kept.
    quant: Option<String>,
}

/// Options that are valid. Without a direction nothing is translated.
pub(super) struct Parsed {
    pub settings: Settings,
    pub direction: Option<Direction>,
    pub context: Context,
    pub quant: Quant,
}

/// Parses and checks options.
pub(super) fn parsed(options: &str) -> Result<Parsed, JsValue> {
    let options: Options = serde_json::from_str(options).map_err(refused)?;
    let from = options.from.parse::<Language>().map_err(refused)?;
    let to = options.to.map(|code| code.parse::<Language>()).transpose().map_err(refused)?;
    let policy = options.policy.map(|name| name.parse::<PolicyKind>()).transpose().map_err(refused)?;
    let policy = policy.unwrap_or_default();
    let heads = options.heads.map(|text| HeadSet::parse(&text, "heads")).transpose().map_err(refused)?;
    let plain = Settings::new(from, to).with_policy(policy);
    let settings = Settings { history: options.history, ..plain };
    let settings = options.chunk_ms.map_or(settings, |ms| settings.chunked(Millis(u64::from(ms))));
    settings.check().map_err(refused)?;
    let direction = to.map(|to| Direction { heads, ..Direction::new(from, to, policy) });
    let terms = options.terms.iter().map(|term| term.replace(['\n', '\r'], " ")).collect::<Vec<_>>().join("\n");
    let context = Context::new(&options.context, &terms)
        .map_err(|wrong| error("bad-option", &format!("the list of terms is malformed: {wrong}")))?;
    let quant = options.quant.map(|text| text.parse::<Quant>()).transpose().map_err(refused)?.unwrap_or_default();
    Ok(Parsed { settings, direction, context, quant })
}

/// Throws the error that `Engines::load` would throw for these options, before any model is loaded.
#[wasm_bindgen]
pub fn check_options(options: &str) -> Result<(), JsValue> {
    parsed(options).map(drop)
}
