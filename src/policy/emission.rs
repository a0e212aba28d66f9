//! Shown text, which only grows. Source: docs/method.md, section 6.2.

use serde::{Deserialize, Serialize};

/// The translation of one segment that has been shown. It can be read and extended; nothing can be
/// taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Committed(String);

impl Committed {
    /// The shown text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nothing has been shown.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends `delta`.
    pub fn extend(&mut self, delta: &str) {
        self.0.push_str(delta);
    }

    /// Extends the shown text to `candidate` and returns the text that was added. If `candidate`
    /// does not start with the shown text, nothing changes and the returned text is empty.
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
