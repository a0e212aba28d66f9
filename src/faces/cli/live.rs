//! The live view in the terminal: the source above, the translation below. Committed text is bright
//! and tentative text dim. A status line shows lag, real-time factor, tokens per second and device.
//!
//! The view uses the alternate screen and draws all of it at every event and several times a
//! second, so a resize needs no special handling. The terminal is restored on normal exit, on
//! Ctrl-C and on a panic. After that the captions are printed once more, so that they stay.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, size,
};
use crossterm::{execute, queue};
use unicode_width::UnicodeWidthChar;

use super::progress::clock_time;
use crate::cascade::event::{Progress, SegmentId};
use crate::cascade::{Event, EventKind};
use crate::faces::subtitles::Side;
use crate::text::Millis;
use crate::text::units::{is_cjk, join_words, seam_between};

/// Number of warnings that are kept.
const MAX_NOTES: usize = 3;
/// Number of segments that are kept for the screen and for printing at the end.
const MAX_ROWS: usize = 500;

static HAS_TERMINAL: AtomicBool = AtomicBool::new(false);
static PANIC_HOOK: Once = Once::new();

/// Restores the terminal if the live view has it. Safe to call at any time, from any thread.
pub(super) fn restore_terminal() {
    if HAS_TERMINAL.swap(false, Ordering::SeqCst) {
        // If this fails, nothing more can be done.
        let _ =
            execute!(io::stdout(), EndSynchronizedUpdate, SetAttribute(Attribute::Reset), LeaveAlternateScreen, Show);
    }
}

/// The captions of one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    source: Caption,
    target: Caption,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Caption {
    committed: String,
    tentative: String,
}

/// The live view's state.
pub(super) struct LiveView {
    side: Side,
    rows: VecDeque<Row>,
    /// Number of rows that were dropped at the front.
    dropped: usize,
    /// Number of rows before the current stream, including the dropped ones.
    before: usize,
    heard: Millis,
    progress: Progress,
    device: String,
    /// Warnings, each once, on one line of the screen.
    notes: Vec<String>,
}

impl LiveView {
    /// Switches the terminal to the live view.
    pub(super) fn open(side: Side) -> io::Result<LiveView> {
        PANIC_HOOK.call_once(|| {
            let former = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore_terminal();
                former(panic);
            }));
        });
        HAS_TERMINAL.store(true, Ordering::SeqCst);
        execute!(io::stdout(), EnterAlternateScreen, Hide, Clear(ClearType::All))?;
        Ok(LiveView::new(side))
    }

    fn new(side: Side) -> LiveView {
        LiveView {
            side,
            rows: VecDeque::new(),
            dropped: 0,
            before: 0,
            heard: Millis::ZERO,
            progress: Progress::default(),
            device: String::new(),
            notes: Vec::new(),
        }
    }

    /// Takes an event and draws the screen.
    pub(super) fn show(&mut self, event: &Event) -> io::Result<()> {
        self.take(event);
        self.draw()
    }

    fn take(&mut self, event: &Event) {
        self.heard = event.audio_ms;
        match &event.kind {
            EventKind::Start(start) => {
                self.device.clone_from(&start.device);
                self.before = self.dropped + self.rows.len();
            }
            EventKind::Source(source) => {
                let committed = join_words(source.committed.iter().map(|w| w.text.as_str()));
                let seam = seam_between(&committed, &source.tentative);
                if let Some(row) = self.row(source.segment) {
                    row.source = Caption { committed, tentative: format!("{seam}{}", source.tentative) };
                }
            }
            EventKind::Target(target) => {
                if let Some(row) = self.row(target.segment) {
                    let committed = target.committed.as_str().to_owned();
                    row.target = Caption { committed, tentative: target.tentative.clone() };
                }
            }
            EventKind::Progress(progress) => self.progress = *progress,
            EventKind::Warning(warning) if self.notes.contains(&warning.message) => {}
            EventKind::Warning(warning) => {
                self.notes.truncate(MAX_NOTES - 1);
                self.notes.insert(0, warning.message.clone());
            }
            EventKind::Listen(_) | EventKind::End(_) => {}
        }
    }

    fn row(&mut self, segment: SegmentId) -> Option<&mut Row> {
        let row = self.before + segment.0 as usize;
        while self.dropped + self.rows.len() <= row {
            self.rows.push_back(Row::default());
        }
        while self.rows.len() > MAX_ROWS {
            self.rows.pop_front();
            self.dropped += 1;
        }
        self.rows.get_mut(row.checked_sub(self.dropped)?)
    }

    /// Draws the whole screen.
    pub(super) fn draw(&self) -> io::Result<()> {
        let (columns, lines) = size()?;
        let mut out = io::stdout().lock();
        queue!(out, BeginSynchronizedUpdate)?;
        self.draw_on(&mut out, usize::from(columns), usize::from(lines))?;
        queue!(out, EndSynchronizedUpdate)?;
        out.flush()
    }

    fn draw_on(&self, out: &mut impl Write, columns: usize, lines: usize) -> io::Result<()> {
        let screen = self.screen(columns, lines);
        for (at, line) in screen.iter().enumerate() {
            queue!(out, MoveTo(0, u16::try_from(at).unwrap_or(u16::MAX)))?;
            for (look, text) in line {
                queue!(out, SetAttribute(Attribute::Reset), SetAttribute(look.attribute()), Print(text))?;
            }
            queue!(out, SetAttribute(Attribute::Reset), Clear(ClearType::UntilNewLine))?;
        }
        Ok(())
    }

    /// The lines of the screen: exactly `lines` lines, none wider than `columns`.
    fn screen(&self, columns: usize, lines: usize) -> Vec<Line> {
        let columns = columns.max(4);
        if lines == 0 {
            return Vec::new();
        }
        let has_notes = !self.notes.is_empty() && lines > 5;
        let free = lines - 1 - usize::from(has_notes);
        let mut screen = match self.side {
            Side::Source => self.pane(|row| &row.source, columns, free),
            Side::Target if free < 3 => self.pane(|row| &row.target, columns, free),
            Side::Target => {
                let above = (free - 1) / 2;
                let mut panes = self.pane(|row| &row.source, columns, above);
                panes.push(vec![(Look::Dim, "─".repeat(columns))]);
                panes.extend(self.pane(|row| &row.target, columns, free - 1 - above));
                panes
            }
        };
        if has_notes {
            screen.push(vec![(Look::Dim, fit(&format!(" {}", self.notes.join("  ·  ")), columns))]);
        }
        screen.push(vec![(Look::Reverse, fit(&self.status(), columns))]);
        screen
    }

    /// The last `lines` lines of one side. Each segment starts a new line.
    fn pane(&self, side: impl Fn(&Row) -> &Caption, columns: usize, lines: usize) -> Vec<Line> {
        let mut pane: VecDeque<Line> = VecDeque::new();
        for row in self.rows.iter().rev() {
            if pane.len() >= lines {
                break;
            }
            for line in wrap(side(row), columns).into_iter().rev() {
                pane.push_front(line);
            }
        }
        let surplus = pane.len().saturating_sub(lines);
        pane.drain(..surplus);
        pane.resize(lines, Vec::new());
        pane.into()
    }

    fn status(&self) -> String {
        let p = &self.progress;
        format!(
            " {}  lag {:.1} s  {:.2}x real time  {:.0} tokens/s  {}",
            clock_time(self.heard),
            p.lag_ms.seconds(),
            p.rtf,
            p.tokens_per_second,
            self.device
        )
    }

    /// Restores the terminal and prints the captions, so that they stay.
    pub(super) fn close(self) -> io::Result<()> {
        restore_terminal();
        let mut out = io::stdout().lock();
        if self.dropped > 0 {
            writeln!(out, "… the last {MAX_ROWS} lines; --output FILE keeps all")?;
        }
        for row in &self.rows {
            if self.side == Side::Target && !row.source.committed.is_empty() {
                queue!(
                    out,
                    SetAttribute(Attribute::Dim),
                    Print(&row.source.committed),
                    SetAttribute(Attribute::Reset)
                )?;
                writeln!(out)?;
            }
            let result = if self.side == Side::Target { &row.target } else { &row.source };
            if !result.committed.is_empty() {
                writeln!(out, "{}", result.committed)?;
            }
        }
        out.flush()
    }
}

impl Drop for LiveView {
    fn drop(&mut self) {
        restore_terminal();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Bright,
    Dim,
    Reverse,
}

impl Look {
    fn attribute(self) -> Attribute {
        match self {
            Look::Bright => Attribute::Bold,
            Look::Dim => Attribute::Dim,
            Look::Reverse => Attribute::Reverse,
        }
    }
}

/// A line, as runs of text with one look each.
type Line = Vec<(Look, String)>;

/// Splits a caption into lines of at most `columns` columns, at blanks and beside CJK characters,
/// or anywhere where there are none.
fn wrap(caption: &Caption, columns: usize) -> Vec<Line> {
    let bright = caption.committed.chars().map(|c| (Look::Bright, c));
    let cells: Vec<(Look, char)> = bright.chain(caption.tentative.chars().map(|c| (Look::Dim, c))).collect();
    let mut lines = Vec::new();
    let mut from = 0;
    while from < cells.len() {
        let mut width = 0;
        let mut end = from;
        let mut breakable = None;
        while end < cells.len() {
            let c = cells[end].1;
            let wide = c.width().unwrap_or(0);
            if width + wide > columns {
                break;
            }
            width += wide;
            end += 1;
            let next = cells.get(end).map(|cell| cell.1);
            if c == ' '
                || is_cjk(c) && next.is_none_or(|n| is_cjk(n) || n.is_alphanumeric())
                || next.is_some_and(is_cjk)
            {
                breakable = Some(end);
            }
        }
        if end < cells.len() {
            end = breakable.unwrap_or(end).max(from + 1);
        }
        lines.push(runs(&cells[from..end]));
        from = end;
    }
    lines
}

fn runs(cells: &[(Look, char)]) -> Line {
    let mut line: Line = Vec::new();
    for &(look, c) in cells {
        match line.last_mut() {
            Some((last, text)) if *last == look => text.push(c),
            _ => line.push((look, c.to_string())),
        }
    }
    line
}

/// Cuts or fills `text` to `columns` columns.
fn fit(text: &str, columns: usize) -> String {
    let mut fitted = String::new();
    let mut width = 0;
    for c in text.chars().filter(|c| !c.is_control()) {
        let wide = c.width().unwrap_or(0);
        if width + wide > columns {
            break;
        }
        width += wide;
        fitted.push(c);
    }
    fitted.push_str(&" ".repeat(columns - width));
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cascade::event::{Source, Target, Word};
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthStr;

    fn plain(line: &Line) -> String {
        line.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn committed_is_bright_and_tentative_dim() {
        let caption = Caption { committed: "Das ist".to_owned(), tentative: " ein Satz".to_owned() };
        let lines = wrap(&caption, 12);
        assert_eq!(
            lines,
            [
                vec![(Look::Bright, "Das ist".to_owned()), (Look::Dim, " ein ".to_owned())],
                vec![(Look::Dim, "Satz".to_owned())]
            ]
        );
        let chinese =
            Caption { committed: "我们看到了很多鸟".to_owned(), tentative: "飞走了。".to_owned() };
        assert!(wrap(&chinese, 7).iter().all(|l| plain(l).width() <= 7));
    }

    #[test]
    fn events_fill_the_panes() {
        let mut view = LiveView::new(Side::Target);
        let word = Word { text: "Hi".to_owned(), start_ms: Millis(0), end_ms: Millis(9) };
        let (audio_ms, wall_ms, segment) = (Millis(61_000), Millis(2), SegmentId(0));
        let source = Source { segment, committed: vec![word], tentative: "all".to_owned(), closed: false };
        view.take(&Event { audio_ms, wall_ms, kind: EventKind::Source(source) });
        let target = Target {
            segment,
            delta: String::new(),
            committed: Default::default(),
            tentative: "Hallo".to_owned(),
            closed: false,
        };
        view.take(&Event { audio_ms, wall_ms, kind: EventKind::Target(target) });
        let screen: Vec<String> = view.screen(30, 6).iter().map(plain).collect();
        assert_eq!(screen[..5], ["Hi all", "", &"─".repeat(30), "Hallo", ""]);
        assert!(screen[5].starts_with(" 01:01  lag 0.0 s"));
        let mut drawn = Vec::new();
        assert!(view.draw_on(&mut drawn, 30, 6).is_ok());
        assert!(String::from_utf8_lossy(&drawn).contains("Hallo"));
    }

    #[test]
    fn the_captions_of_several_sounds_stay() {
        let mut view = LiveView::new(Side::Target);
        let start = EventKind::Start(crate::cascade::fakes::start_of(&crate::cascade::Settings::new(
            crate::text::Language::ENGLISH,
            None,
        )));
        for _ in 0..2 {
            view.take(&Event { audio_ms: Millis(0), wall_ms: Millis(0), kind: start.clone() });
            assert!(view.row(SegmentId(1)).is_some());
        }
        assert_eq!((view.rows.len(), view.before, view.dropped), (4, 2, 0));
        for segment in 0..MAX_ROWS as u32 {
            assert!(view.row(SegmentId(segment)).is_some());
        }
        assert_eq!((view.rows.len(), view.dropped), (MAX_ROWS, 2));
        assert!(view.row(SegmentId(0)).is_some());
    }

    proptest! {
        #[test]
        fn no_size_breaks_the_screen(
            committed in "[a-z 你好。é]{0,200}", tentative in "[a-z 你好]{0,60}",
            columns in 0usize..90, lines in 0usize..20, source_only in any::<bool>(),
            note in prop::option::of("[a-z你]{0,99}"),
        ) {
            let mut view = LiveView::new(if source_only { Side::Source } else { Side::Target });
            for segment in 0..3 {
                if let Some(row) = view.row(SegmentId(segment)) {
                    row.source = Caption { committed: committed.clone(), tentative: tentative.clone() };
                    row.target = row.source.clone();
                }
            }
            view.notes.extend(note);
            let screen = view.screen(columns, lines);
            prop_assert_eq!(screen.len(), lines);
            for line in &screen {
                prop_assert!(plain(line).width() <= columns.max(4));
            }
            let whole: String = wrap(&view.rows[0].source, columns.max(4)).iter().map(plain).collect();
            prop_assert_eq!(whole, committed + &tentative);
        }
    }
}
