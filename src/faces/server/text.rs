//! A text on the device's thread: its stream, how far its time has come, and what does not fit into
//! the stream yet.

use std::collections::VecDeque;

use tokio::sync::OwnedSemaphorePermit;

use crate::cascade::{CascadeError, Event, TextStream, Translate};
use crate::text::Millis;

/// Text is pushed while fewer words wait in the stream. More of them would only grow there, out of
/// the backlog's sight.
const FEW: usize = 1_000;

/// A text that is translated step by step.
pub(super) struct Text<T> {
    pub stream: TextStream<T>,
    /// How far the time of the text has come.
    now: Millis,
    /// What has come and is not pushed yet, oldest first. Each has its share of the session's
    /// backlog until it is pushed, so a client that is too fast is not read from, and no word is
    /// lost.
    held: VecDeque<Held>,
}

struct Held {
    text: String,
    start: Millis,
    end: Millis,
    _permit: OwnedSemaphorePermit,
}

impl<T: Translate> Text<T> {
    pub(super) fn new(stream: TextStream<T>) -> Text<T> {
        Text { stream, now: Millis::ZERO, held: VecDeque::new() }
    }

    /// Takes in text that is said or written from `start` to `end`.
    pub(super) fn hold(&mut self, text: String, start: Millis, end: Millis, permit: OwnedSemaphorePermit) {
        self.held.push_back(Held { text, start, end, _permit: permit });
    }

    /// Whether a step has work to do.
    pub(super) fn ready(&self) -> bool {
        !self.held.is_empty() || self.stream.ready()
    }

    /// Pushes what fits, and translates as much as one step may hold.
    pub(super) async fn step(&mut self, emit: &mut dyn FnMut(Event)) -> Result<(), CascadeError> {
        while self.stream.waiting() < FEW
            && let Some(oldest) = self.held.front()
        {
            if self.stream.push(&oldest.text, oldest.start, oldest.end).is_err() {
                break; // it fits when those that wait are translated
            }
            self.now = self.now.max(oldest.end);
            self.held.pop_front();
        }
        self.stream.step(self.now, emit).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::cascade::Settings;
    use crate::cascade::fakes::{SharedLog, closed, start_of, ticking, translator_for};
    use crate::text::Language;

    /// Messages with more words than a stream keeps, one of them alone, are translated to the last
    /// word and in order. What is not pushed keeps its share of the backlog.
    #[test]
    fn a_text_that_comes_too_fast_is_not_lost() {
        let settings = Settings::new(Language::ENGLISH, Some(Language::GERMAN));
        let log = SharedLog::default();
        let translator = translator_for(Language::GERMAN, &settings, &log);
        let mut text = Text::new(TextStream::new(settings, translator, ticking()).unwrap());
        let backlog = Arc::new(Semaphore::new(4));
        let mut events = Vec::new();
        let mut emit = |event: Event| events.push(event);
        text.stream.start(start_of(&settings), &mut emit);
        let messages = ["Yes. ".repeat(9_000), "No. ".repeat(2_000), "So. ".repeat(12_000), "End.".to_owned()];
        for message in &messages {
            let permit = backlog.clone().try_acquire_owned().unwrap();
            text.hold(message.clone(), Millis(0), Millis(1), permit);
        }
        let mut steps = 0;
        while text.ready() {
            pollster::block_on(text.step(&mut emit)).unwrap();
            if steps == 0 {
                assert_eq!(backlog.available_permits(), 1, "only the first message was pushed");
            }
            steps += 1;
        }
        assert_eq!(backlog.available_permits(), 4);
        text.stream.end(&mut emit);
        let said: Vec<String> = closed(&events).into_iter().map(|(source, _)| source).collect();
        assert_eq!(said.join(" "), messages.concat());
        assert!(steps > 1_000, "{steps} steps");
    }
}
