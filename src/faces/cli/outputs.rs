//! The outputs of a run: text, JSON lines or subtitles go to a file or standard output. A terminal
//! shows the live view, or else a progress bar.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::args::Format;
use super::error::CliError;
use super::inputs::Inputs;
use super::live::LiveView;
use super::progress::{SoundBar, hold_log, release_log};
use super::{terminal, trace};
use crate::cascade::{Event, EventKind};
use crate::faces::subtitles::{Kind, Side, Subtitles};
use crate::text::Millis;
use crate::text::units::join_words;

/// A file for results. It is checked to be writable before models load. It is created or emptied
/// only when there is something to write.
#[derive(Debug)]
pub(super) struct OutputFile {
    path: PathBuf,
    /// A pipe or a device. It is opened only once, because its reader would take a second opening
    /// for another writer.
    open: Option<File>,
}

impl OutputFile {
    /// Checks that `path` can be written and is not one of `inputs`.
    pub(super) fn new(path: &Path, inputs: &Inputs) -> Result<OutputFile, CliError> {
        inputs.protect(path, "--output")?;
        let open =
            OutputFile::check_writable(path).map_err(|e| CliError::write_failed(&path.display().to_string(), e))?;
        Ok(OutputFile { path: path.to_owned(), open })
    }

    fn check_writable(path: &Path) -> io::Result<Option<File>> {
        match OpenOptions::new().write(true).open(path) {
            Ok(file) => Ok((!file.metadata()?.is_file()).then_some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match File::create_new(path) {
                    Ok(_) => fs::remove_file(path)?,
                    // A link to a file that does not exist yet.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Creates or empties the file.
    pub(super) fn create(self) -> Result<File, CliError> {
        match self.open {
            Some(open) => Ok(open),
            None => File::create(&self.path).map_err(|e| CliError::write_failed(&self.path.display().to_string(), e)),
        }
    }

    /// Writes `text` as the whole content.
    pub(super) fn write(self, text: &str) -> Result<(), CliError> {
        let path = self.path.display().to_string();
        self.create()?.write_all(text.as_bytes()).map_err(|e| CliError::write_failed(&path, e))
    }
}

/// One format of the results.
trait ResultWriter {
    fn show(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()>;
    /// Called after the last event of the last stream.
    fn finish(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// What a run shows on the terminal.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// The live view may take the terminal.
    pub live: bool,
    /// The attention of each token goes to standard error. There is no live view then.
    pub trace: bool,
}

/// All outputs of a run. The first failed write is kept until [`Outputs::check`].
pub(super) struct Outputs {
    out: Box<dyn Write>,
    /// The file that `out` writes to; `None` means standard output.
    path: Option<String>,
    writer: Option<Box<dyn ResultWriter>>,
    live: Option<LiveView>,
    progress_bar: SoundBar,
    trace: bool,
    failed: Option<CliError>,
}

impl Outputs {
    /// Opens the outputs of a run that writes `format` to `output` or standard output. The live
    /// view takes the terminal where text would go to it, or where nothing else does.
    pub(super) fn open(
        format: Format,
        output: Option<OutputFile>,
        side: Side,
        length: Option<Millis>,
        view: View,
    ) -> Result<Outputs, CliError> {
        let at_terminal = io::stdout().is_terminal();
        let to_file = output.is_some();
        let path = output.as_ref().map(|output| output.path.display().to_string());
        let out: Box<dyn Write> = match output {
            Some(output) => Box::new(BufWriter::new(output.create()?)),
            None => Box::new(io::stdout()),
        };
        let has_live_view =
            at_terminal && view.live && !view.trace && !terminal::is_dumb() && (to_file || format == Format::Text);
        // With the live view on standard output, text is not written before the view has left the
        // terminal.
        let writer = (!has_live_view || to_file).then(|| writer_for(format, side));
        // A bar would break up the lines that go to the same terminal.
        let progress_bar = SoundBar::new(length, !at_terminal);
        let mut outputs = Outputs { out, path, writer, live: None, progress_bar, trace: view.trace, failed: None };
        if has_live_view {
            hold_log();
            match LiveView::open(side) {
                Ok(live) => outputs.live = Some(live),
                Err(error) => outputs.end_live_view(error),
            }
        }
        outputs.check().map(|()| outputs)
    }

    /// Outputs that write to `out` and nothing to the terminal.
    pub(super) fn quiet(out: Box<dyn Write>, path: String, format: Format, side: Side) -> Outputs {
        let progress_bar = SoundBar::new(None, false);
        let writer = Some(writer_for(format, side));
        Outputs { out, path: Some(path), writer, live: None, progress_bar, trace: false, failed: None }
    }

    pub(super) fn show(&mut self, event: &Event) {
        if self.failed.is_some() {
            return;
        }
        if let Some(writer) = &mut self.writer {
            let written = writer.show(event, &mut self.out).and_then(|()| self.out.flush());
            self.failed = written.err().map(|e| self.write_error(e));
        }
        if let Some(Err(error)) = self.live.as_mut().map(|live| live.show(event)) {
            self.end_live_view(error);
        }
        match &event.kind {
            EventKind::Progress(progress) => self.progress_bar.report(event.audio_ms, progress.rtf),
            EventKind::Warning(warning) => tracing::warn!("{}", warning.message),
            EventKind::Listen(listen) if self.trace => self.progress_bar.lines(&trace::lines(event.audio_ms, listen)),
            _ => {}
        }
    }

    /// Draws the live view again, because the size of the terminal may have changed.
    pub(super) fn tick(&mut self) {
        if let Some(Err(error)) = self.live.as_ref().map(LiveView::draw) {
            self.end_live_view(error);
        }
    }

    /// Ends the live view after a failed draw, because its terminal is gone. A file is still
    /// written.
    fn end_live_view(&mut self, error: io::Error) {
        self.live = None;
        if self.writer.is_some() {
            release_log();
            tracing::warn!("the live view has ended: {error}");
        } else {
            self.failed.get_or_insert(CliError::print_failed(error));
        }
    }

    fn write_error(&self, error: io::Error) -> CliError {
        match &self.path {
            Some(path) => CliError::write_failed(path, error),
            None => CliError::print_failed(error),
        }
    }

    /// Returns the first failure, if there was one.
    pub(super) fn check(&mut self) -> Result<(), CliError> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Completes the files, restores the terminal, and prints what the live view showed.
    pub(super) fn finish(mut self) -> Result<(), CliError> {
        self.check()?;
        if let Some(writer) = &mut self.writer {
            let written = writer.finish(&mut self.out).and_then(|()| self.out.flush());
            written.map_err(|e| self.write_error(e))?;
        }
        if let Some(Err(error)) = self.live.take().map(LiveView::close) {
            self.end_live_view(error);
        }
        self.check()
    }
}

fn writer_for(format: Format, side: Side) -> Box<dyn ResultWriter> {
    match format {
        Format::Text => Box::new(Lines { side }),
        Format::Jsonl => Box::new(JsonLines),
        Format::Srt => Box::new(Cues(Subtitles::new(Kind::Srt, side))),
        Format::Vtt => Box::new(Cues(Subtitles::new(Kind::Vtt, side))),
    }
}

/// The text of the results, one line per closed segment.
struct Lines {
    side: Side,
}

impl ResultWriter for Lines {
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

impl ResultWriter for JsonLines {
    fn show(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, event).map_err(io::Error::from)?;
        out.write_all(b"\n")
    }
}

struct Cues(Subtitles);

impl ResultWriter for Cues {
    fn show(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        self.0.event(event);
        out.write_all(self.0.take_text().as_bytes())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.0.finish();
        out.write_all(self.0.take_text().as_bytes())
    }
}
