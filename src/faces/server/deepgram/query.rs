//! What the query of `/v1/listen` asks for.

use crate::audio::wav::{PcmSpec, SampleKind};
use crate::faces::server::feed::Form;
use crate::faces::server::reply::Problem;
use crate::text::{Language, Millis};

/// After this much silence speech ends where the client says nothing: about where captions close in
/// any case. Deepgram's 10 ms would part sentences at each breath.
const USUAL_ENDPOINT: Millis = Millis(2_000);

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub form: Form,
    pub model: String,
    pub from: Option<Language>,
    pub to: Option<Language>,
    pub interim: bool,
    /// After how much silence speech has ended; `None`: results do not say.
    pub endpoint: Option<Millis>,
    /// After how long without a word an utterance has ended.
    pub utterance_end: Option<Millis>,
    pub vad_events: bool,
    /// Options that have no meaning here.
    pub ignored: usize,
}

impl Asked {
    pub(super) fn of(pairs: &[(String, String)]) -> Result<Asked, Problem> {
        let mut asked = Asked {
            form: Form::Container,
            model: "general".to_owned(),
            from: None,
            to: None,
            interim: false,
            endpoint: Some(USUAL_ENDPOINT),
            utterance_end: None,
            vad_events: false,
            ignored: 0,
        };
        let (mut kind, mut rate) = (None, None);
        for (name, value) in pairs {
            match name.as_str() {
                "encoding" => kind = kind_of(value)?,
                "sample_rate" => rate = Some(value),
                "channels" if value == "1" => {}
                "channels" => return Err(Problem::bad("channels", "the sound has one channel")),
                "multichannel" if is_true("multichannel", value)? => {
                    return Err(Problem::bad("multichannel", "the sound has one channel"));
                }
                "multichannel" => {}
                "model" => asked.model = value.chars().filter(|c| !c.is_control()).take(100).collect(),
                "language" => asked.from = Some(language("language", value)?),
                "translate" => asked.to = Some(language("translate", value)?),
                "interim_results" => asked.interim = is_true("interim_results", value)?,
                "endpointing" => asked.endpoint = endpoint(value)?,
                "utterance_end_ms" => {
                    asked.utterance_end = Some(Millis(number("utterance_end_ms", value, 1_000..=5_000)?));
                }
                "vad_events" => asked.vad_events = is_true("vad_events", value)?,
                "callback" => return Err(Problem::bad("callback", "results are not sent elsewhere")),
                // Of the server itself.
                "token" => {}
                _ => asked.ignored += 1,
            }
        }
        if asked.utterance_end.is_some() && !asked.interim {
            return Err(Problem::bad("utterance_end_ms", "utterance_end_ms needs interim_results=true"));
        }
        if let Some(kind) = kind {
            let rate = rate.ok_or_else(|| Problem::bad("sample_rate", "this encoding needs a sample_rate"))?;
            let rate = number("sample_rate", rate, 8_000..=48_000)?;
            let rate = u32::try_from(rate).unwrap_or(u32::MAX);
            asked.form = Form::Raw(PcmSpec { rate, channels: 1, kind });
        }
        Ok(asked)
    }

    /// After how much silence the open segment is closed.
    pub(super) fn silence(&self) -> Option<Millis> {
        match (self.endpoint, self.utterance_end) {
            (Some(endpoint), Some(utterance_end)) => Some(endpoint.min(utterance_end)),
            (endpoint, utterance_end) => endpoint.or(utterance_end),
        }
    }
}

/// The kind of raw samples; `None`: files, which say themselves what they hold and at which rate.
fn kind_of(encoding: &str) -> Result<Option<SampleKind>, Problem> {
    Ok(match encoding {
        "linear16" => Some(SampleKind::S16),
        "linear32" => Some(SampleKind::F32),
        "mulaw" => Some(SampleKind::MuLaw),
        "alaw" => Some(SampleKind::ALaw),
        "flac" | "ogg-opus" => None,
        _ => {
            let what = "the encoding is linear16, linear32, mulaw, alaw, flac or ogg-opus; other files, such as \
                        WebM, need none";
            return Err(Problem::bad("encoding", what));
        }
    })
}

/// A language, without the region: `en-US` is `en`.
fn language(param: &'static str, value: &str) -> Result<Language, Problem> {
    let code = value.split(['-', '_']).next().unwrap_or_default();
    code.parse::<Language>().map_err(|error| Problem::bad(param, error.to_string()))
}

fn is_true(param: &'static str, value: &str) -> Result<bool, Problem> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Problem::bad(param, format!("{param} is `true` or `false`"))),
    }
}

fn number(param: &'static str, value: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, Problem> {
    let number = value.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| Problem::bad(param, format!("{param} is from {} to {}", range.start(), range.end())))
}

fn endpoint(value: &str) -> Result<Option<Millis>, Problem> {
    match value.to_ascii_lowercase().as_str() {
        "false" => Ok(None),
        "true" => Ok(Some(USUAL_ENDPOINT)),
        value => number("endpointing", value, 0..=60_000).map(|ms| (ms > 0).then_some(Millis(ms))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &[(&str, &str)]) -> Result<Asked, Problem> {
        let pairs: Vec<_> = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Asked::of(&pairs)
    }

    #[test]
    fn queries_are_checked() {
        let usual = asked(&[]).unwrap();
        assert_eq!((usual.form, usual.interim, usual.silence()), (Form::Container, false, Some(USUAL_ENDPOINT)));
        let asked_for = asked(&[
            ("model", "nova-3"),
            ("language", "en-US"),
            ("translate", "de"),
            ("encoding", "linear16"),
            ("sample_rate", "48000"),
            ("channels", "1"),
            ("interim_results", "True"),
            ("endpointing", "300"),
            ("utterance_end_ms", "1000"),
            ("vad_events", "true"),
            ("punctuate", "true"),
            ("smart_format", "true"),
        ])
        .unwrap();
        let pcm = PcmSpec { rate: 48_000, channels: 1, kind: SampleKind::S16 };
        assert_eq!(asked_for.form, Form::Raw(pcm));
        assert_eq!((asked_for.from, asked_for.to), (Some(Language::ENGLISH), Some(Language::GERMAN)));
        assert_eq!((asked_for.silence(), asked_for.ignored), (Some(Millis(300)), 2));
        for encoding in ["flac", "ogg-opus"] {
            let file = asked(&[("sample_rate", "96000"), ("encoding", encoding)]).unwrap();
            assert_eq!(file.form, Form::Container, "{encoding}");
        }
        assert_eq!(asked(&[("endpointing", "false")]).unwrap().silence(), None);
        assert_eq!(asked(&[("endpointing", "true")]).unwrap().endpoint, Some(USUAL_ENDPOINT));
        for (query, param) in [
            (&[("encoding", "linear16")][..], "sample_rate"),
            (&[("encoding", "opus")], "encoding"),
            (&[("encoding", "linear16"), ("sample_rate", "4000000000")], "sample_rate"),
            (&[("channels", "2")], "channels"),
            (&[("multichannel", "true")], "multichannel"),
            (&[("language", "multi")], "language"),
            (&[("translate", "klingon")], "translate"),
            (&[("interim_results", "perhaps")], "interim_results"),
            (&[("endpointing", "soon")], "endpointing"),
            (&[("utterance_end_ms", "1000")], "utterance_end_ms"),
            (&[("utterance_end_ms", "10"), ("interim_results", "true")], "utterance_end_ms"),
            (&[("callback", "http://127.0.0.1/")], "callback"),
        ] {
            assert_eq!(asked(query).unwrap_err().param, Some(param), "{query:?}");
        }
    }
}
