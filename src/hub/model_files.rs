//! Which files belong to a model. The one list, `models/files.json`, is also the source of the list
//! in the browser's package.

use std::sync::LazyLock;

use serde::Deserialize;

/// The list itself.
#[derive(Debug, Deserialize)]
pub(crate) struct ModelFileNames {
    /// The file that must exist.
    pub config: String,
    /// Small files that a model may have.
    small: Vec<String>,
}

pub(crate) static MODEL_FILES: LazyLock<ModelFileNames> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../models/files.json")).expect("a file of our own"));

impl ModelFileNames {
    /// Whether a model may need this small file. A listing may contain heads of any direction,
    /// `heads.FROM-TO.json`.
    pub(super) fn is_small(&self, name: &str) -> bool {
        let direction = name.strip_prefix("heads.").and_then(|rest| rest.strip_suffix(".json"));
        let is_heads = direction.is_some_and(|direction| {
            !direction.is_empty() && direction.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        });
        is_heads || self.small.iter().any(|small| small == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::safetensors::{INDEX_FILE, SINGLE_FILE};

    #[test]
    fn the_list() {
        let list: serde_json::Value = serde_json::from_str(include_str!("../../models/files.json")).unwrap();
        assert_eq!((&list["single"], &list["index"]), (&SINGLE_FILE.into(), &INDEX_FILE.into()));
        for name in ["config.json", "merges.txt", "heads.en-de.json", "heads.cs-en.json"] {
            assert!(MODEL_FILES.is_small(name), "{name}");
        }
        for name in
            ["README.md", "heads.json", "heads..json", "heads.en-de.json.bak", "heads.../x.json", "a/config.json"]
        {
            assert!(!MODEL_FILES.is_small(name), "{name}");
        }
    }
}
