//! Shown text, which only grows.

use serde::{Deserialize, Serialize};

/// The shown translation of a segment. It can be read and extended; nothing can be taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Committed(String);

impl Committed {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends `delta`.
    pub fn extend(&mut self, delta: &str) {
        self.0.push_str(delta);
    }

    /// Grows to `candidate` and returns the text that was added. If `candidate` does not start with
    /// the shown text, nothing changes and the added text is empty.
    pub fn grow_to(&mut self, candidate: &str) -> String {
        let delta = candidate.strip_prefix(self.as_str()).unwrap_or_default().to_owned();
        self.extend(&delta);
        delta
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_or_stays() {
        let mut shown = Committed::default();
        assert_eq!(shown.grow_to("Das"), "Das");
        assert_eq!(shown.grow_to("Dies"), "");
        assert_eq!(shown.grow_to("Das ist"), " ist");
        assert_eq!(shown.grow_to("Da"), "");
        assert_eq!(shown.as_str(), "Das ist");
    }
}
