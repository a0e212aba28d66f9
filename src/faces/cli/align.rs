//! `alignatt align FILE --text T`: when each word is said.

use std::io::{self, Write};

use super::args::{AlignArgs, AlignFormat};
use super::engines;
use super::error::CliError;
use super::progress::LoadingBar;
use super::sound::open_file;
use crate::audio::decode::AudioFile;
use crate::audio::mel::prepare_clip;
use crate::cascade::event::Word;
use crate::cascade::{Align, SAMPLE_RATE};
use crate::text::Millis;
use crate::text::units::source_words;
use crate::text::word_times::{Timed, map_times};

/// The longest sound, which is the limit of the original for one pass.
const LONGEST_SECONDS: usize = 180;

pub(super) async fn align(args: AlignArgs) -> Result<(), CliError> {
    let words = source_words(&args.text);
    if !args.text.chars().any(char::is_alphanumeric) {
        return Err(CliError::Usage("--text contains no word; give the words that are said in the file".to_owned()));
    }
    let samples = read_samples(open_file(&args.file, args.track).map_err(CliError::of)?)?;
    let mut aligner = {
        let mut bar = LoadingBar::new();
        let mut report = |what: &str, done, total| bar.report(what, done, total);
        engines::load_aligner(args.aligner.as_deref(), &args.device, &mut report).await?
    };
    let aligned = aligner.align(&samples, &args.text, args.from).await?;
    let timed: Vec<Timed<'_>> =
        aligned.iter().map(|w| Timed { text: &w.text, start: w.start_ms, end: w.end_ms }).collect();
    let limit = Millis(samples.len() as u64 * 1000 / u64::from(SAMPLE_RATE));
    let times = map_times(&words, &timed, limit);
    let words = words.into_iter().zip(times);
    let words: Vec<Word> = words.map(|(text, (start_ms, end_ms))| Word { text, start_ms, end_ms }).collect();
    write(&words, args.format, &mut io::stdout().lock()).map_err(CliError::print_failed)
}

fn read_samples(mut file: AudioFile) -> Result<Vec<f32>, CliError> {
    let mut samples = Vec::new();
    while let Some(block) = file.next_block().map_err(CliError::of)? {
        samples.extend(block);
        if samples.len() > LONGEST_SECONDS * SAMPLE_RATE as usize {
            let message = format!(
                "the sound is longer than {LONGEST_SECONDS} s, the most that can be aligned at once; split it and its text"
            );
            return Err(CliError::Failed(message.into()));
        }
    }
    // Sound above full scale is scaled down, as the definition of the models' features demands.
    prepare_clip(&mut samples);
    if let Some(warning) = file.warning() {
        tracing::warn!("{warning}");
    }
    Ok(samples)
}

fn write(words: &[Word], format: AlignFormat, out: &mut dyn Write) -> io::Result<()> {
    for word in words {
        match format {
            AlignFormat::Text => {
                writeln!(out, "{:.3}\t{:.3}\t{}", word.start_ms.seconds(), word.end_ms.seconds(), word.text)?;
            }
            AlignFormat::Jsonl => {
                serde_json::to_writer(&mut *out, word).map_err(io::Error::from)?;
                out.write_all(b"\n")?;
            }
        }
    }
    out.flush()
}
