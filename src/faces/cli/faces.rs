//! Where events are shown: text or JSON lines or subtitles to a file or standard output, the live view on a
//! terminal, a progress bar otherwise.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use super::args::Format;
use super::error::CliError;
use super::live::LiveView;
use super::progress::{Hearing, hold_log};
use super::trace;
use crate::cascade::{Event, EventKind};
use crate::faces::subtitles::{Kind, Side, Subtitles};
use crate::text::Millis;
use crate::text::units::join_words;

/// A file for results, opened before models load and emptied only once there is something to write.
#[derive(Debug)]
pub struct Output {
    file: File,
    place: String,
}

impl Output {
    /// Opens or creates `path`, which may not be one of `inputs`.
    pub fn open(path: &Path, inputs: &[String]) -> Result<Output, CliError> {
        let place = path.display().to_string();
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|e| CliError::write(&place, e))?;
        let itself = path.canonicalize().ok();
        if inputs.iter().any(|input| itself.is_some() && Path::new(input).canonicalize().ok() == itself) {
            return Err(CliError::Usage(format!("--output {place} is also a FILE to be read; give another name")));
        }
        Ok(Output { file, place })
    }

    fn emptied(&self) -> Result<File, CliError> {
        let empty = || {
            if self.file.metadata()?.is_file() {
                self.file.set_len(0)?;
            }
            self.file.try_clone()
        };
        empty().map_err(|e| CliError::write(&self.place, e))
    }
}

/// One place for results.
trait Face {
    fn show(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()>;
    /// After the last event of the last stream.
    fn finish(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// All faces of a run. The first write that fails is kept until [`Faces::check`].
pub struct Faces {
    out: Box<dyn Write>,
    place: String,
    face: Option<Box<dyn Face>>,
    live: Option<LiveView>,
    hearing: Hearing,
    trace: bool,
    failed: Option<CliError>,
}

impl Faces {
    /// Faces for a run that writes `format` to `output` or standard output. The live view takes the
    /// terminal where text would go to it, or where nothing else does.
    /// `trace`: where the model listens goes to standard error, a line a token, and there is no live view.
    pub fn open(
        format: Format,
        output: Option<Output>,
        side: Side,
        length: Option<Millis>,
        trace: bool,
    ) -> Result<Faces, CliError> {
        let terminal = io::stdout().is_terminal();
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let to_file = output.is_some();
        let (out, place): (Box<dyn Write>, String) = match output {
            Some(output) => (Box::new(BufWriter::new(output.emptied()?)), output.place),
            None => (Box::new(io::stdout()), "standard output".to_owned()),
        };
        let watched = terminal && !trace && !dumb && (to_file || format == Format::Text);
        let live = match watched {
            true => Some(LiveView::open(side).map_err(|e| CliError::write("the terminal", e))?),
            false => None,
        };
        if watched {
            hold_log();
        }
        // With the live view on standard output, text waits until it has left the terminal.
        let face = (!watched || to_file).then(|| face_for(format, side));
        // A bar would tear the lines that go to the same terminal.
        let hearing = Hearing::new(length, !terminal);
        Ok(Faces { out, place, face, live, hearing, trace, failed: None })
    }

    /// Faces that write to `out` and nothing to the terminal.
    pub fn quiet(out: Box<dyn Write>, place: String, format: Format, side: Side) -> Faces {
        let hearing = Hearing::new(None, false);
        Faces { out, place, face: Some(face_for(format, side)), live: None, hearing, trace: false, failed: None }
    }

    pub fn show(&mut self, event: &Event) {
        if self.failed.is_some() {
            return;
        }
        if let Some(face) = &mut self.face {
            let written = face.show(event, &mut self.out).and_then(|()| self.out.flush());
            self.failed = written.err().map(|e| CliError::write(&self.place, e));
        }
        if let Some(live) = &mut self.live {
            let drawn = live.show(event);
            self.failed = self.failed.take().or(drawn.err().map(|e| CliError::write("the terminal", e)));
        }
        match &event.kind {
            EventKind::Progress(progress) => self.hearing.report(event.audio_ms, progress.rtf),
            EventKind::Warning(warning) => tracing::warn!("{}", warning.message),
            EventKind::Listen(listen) if self.trace => self.hearing.lines(&trace::lines(event.audio_ms, listen)),
            _ => {}
        }
    }

    /// Draws the live view anew: the terminal may have another size.
    pub fn tick(&mut self) {
        if let Some(live) = &mut self.live {
            let drawn = live.draw();
            self.failed = self.failed.take().or(drawn.err().map(|e| CliError::write("the terminal", e)));
        }
    }

    /// The first failure, if there was one.
    pub fn check(&mut self) -> Result<(), CliError> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Completes the files and gives the terminal back; what the live view showed is printed.
    pub fn finish(mut self) -> Result<(), CliError> {
        self.check()?;
        if let Some(face) = &mut self.face {
            let written = face.finish(&mut self.out).and_then(|()| self.out.flush());
            written.map_err(|e| CliError::write(&self.place, e))?;
        }
        if let Some(live) = self.live.take() {
            live.close().map_err(|e| CliError::write("the terminal", e))?;
        }
        Ok(())
    }
}

fn face_for(format: Format, side: Side) -> Box<dyn Face> {
    match format {
        Format::Text => Box::new(Lines { side }),
        Format::Jsonl => Box::new(JsonLines),
        Format::Srt => Box::new(Cues(Subtitles::new(Kind::Srt, side))),
        Format::Vtt => Box::new(Cues(Subtitles::new(Kind::Vtt, side))),
    }
}

/// The result's text, a line a closed segment.
struct Lines {
    side: Side,
}

impl Face for Lines {
    fn show(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        match (&event.kind, self.side) {
            (EventKind::Source(source), Side::Source) if source.closed && !source.committed.is_empty() => {
                writeln!(out, "{}", join_words(source.committed.iter().map(|w| w.text.as_str())))
            }
            (EventKind::Target(target), Side::Target) if target.closed && !target.committed.is_empty() => {
                writeln!(out, "{}", target.committed.as_str())
            }
            _ => Ok(()),
        }
    }
}

/// Every event, one JSON object a line.
struct JsonLines;

impl Face for JsonLines {
    fn show(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, event).map_err(io::Error::from)?;
        out.write_all(b"\n")
    }
}

struct Cues(Subtitles);

impl Face for Cues {
    fn show(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        self.0.event(event);
        out.write_all(self.0.take_text().as_bytes())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.0.finish();
        out.write_all(self.0.take_text().as_bytes())
    }
}
