//! Converts the samples of one coding to 16 kHz mono.

use super::format::{PcmSpec, SampleKind};
use super::{MIN_REST, SILENT};
use crate::audio::downmix::Downmix;
use crate::audio::error::AudioError;
use crate::audio::float_scale::FloatScale;
use crate::audio::resample::{RATES, Resampler};

/// A header that declares more channels than this is wrong.
const MAX_CHANNELS: u16 = 64;

/// Converts samples of one coding to 16 kHz mono.
pub(super) struct Converter {
    pub(super) spec: PcmSpec,
    /// Only for floating-point samples.
    scale: Option<FloatScale>,
    downmix: Downmix,
    resampler: Resampler,
    pub(super) frames: u64,
    /// If sound followed the declared samples: the number of frames before it, and its peak so far.
    pub(super) undeclared: Option<(u64, f32)>,
    values: Vec<f32>,
    scaled: Vec<f32>,
    mono: Vec<f32>,
}

impl Converter {
    pub(super) fn new(spec: PcmSpec, name: &str) -> Result<Self, AudioError> {
        let rate_error = || AudioError::Rate { name: name.into(), rate: spec.rate };
        if !RATES.contains(&spec.rate) {
            return Err(rate_error());
        }
        if spec.channels == 0 || spec.channels > MAX_CHANNELS {
            return Err(AudioError::Broken {
                name: name.into(),
                what: format!("its header declares {} channels", spec.channels),
            });
        }
        let channels = usize::from(spec.channels);
        let float = matches!(spec.kind, SampleKind::F32 | SampleKind::F64);
        Ok(Converter {
            spec,
            scale: float.then(|| FloatScale::new(spec.rate, channels)),
            downmix: Downmix::new(spec.rate, channels),
            resampler: Resampler::new(spec.rate).map_err(|_| rate_error())?,
            frames: 0,
            undeclared: None,
            values: Vec::new(),
            scaled: Vec::new(),
            mono: Vec::new(),
        })
    }

    /// Takes whole frames of bytes: → floats of usual scale → mono → 16 kHz.
    pub(super) fn take(&mut self, bytes: &[u8], out: &mut Vec<f32>) {
        let kind = self.spec.kind;
        self.values.clear();
        self.values.extend(bytes.chunks_exact(kind.bytes()).map(|b| kind.value(b)));
        self.frames += (bytes.len() / self.spec.frame_len()) as u64;
        if let Some((_, peak)) = &mut self.undeclared {
            *peak = self.values.iter().fold(*peak, |peak, x| peak.max(x.abs()));
        }
        self.mono.clear();
        match &mut self.scale {
            Some(scale) => {
                self.scaled.clear();
                scale.push(&self.values, &mut self.scaled);
                self.downmix.push(&self.scaled, &mut self.mono);
            }
            None => self.downmix.push(&self.values, &mut self.mono),
        }
        self.resampler.push(&self.mono, out);
    }

    /// Appends the sound that the filters still hold.
    pub(super) fn finish(&mut self, out: &mut Vec<f32>) {
        self.mono.clear();
        if let Some(scale) = &mut self.scale {
            self.scaled.clear();
            scale.finish(&mut self.scaled);
            self.downmix.push(&self.scaled, &mut self.mono);
        }
        self.downmix.finish(&mut self.mono);
        self.resampler.push(&self.mono, out);
        self.resampler.finish(out);
    }

    /// Faults in the samples of this coding.
    pub(super) fn warnings(&self, name: &str) -> Vec<String> {
        let seconds = |frames: u64| frames as f64 / f64::from(self.spec.rate);
        let undeclared =
            self.undeclared.filter(|(from, peak)| seconds(self.frames - from) >= MIN_REST && *peak > SILENT);
        let all = [
            undeclared.map(|(from, _)| {
                let (declared, read) = (seconds(from), seconds(self.frames));
                format!("its header declares {declared:.2} seconds, but sound follows, and {read:.2} seconds were read")
            }),
            self.scale.as_ref().and_then(FloatScale::warning),
        ];
        all.into_iter().flatten().chain(self.downmix.warnings()).map(|warning| format!("{name}: {warning}")).collect()
    }
}
