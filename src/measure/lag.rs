//! How far the translation of one segment lags behind the speech, in milliseconds.
//!
//! Let d_1 … d_n be the delays counted from the segment's start, S the segment's length, and R the
//! number of units in its reference. A translator that keeps pace would show unit i at (i - 1) S /
//! max(n, R). Both figures are the mean of how much later than that the units are shown:
//!
//! * LongYAAL takes the units shown before the recording's last segment ends. What comes later is
//!   due to the end of the recording, not to the policy (Polák et al. 2025, arXiv:2509.17349);
//! * LAAL takes the units up to the first one that is shown after its segment has ended (Papi et
//!   al. 2022).
//!
//! Delays may be sound heard (computation-unaware) or the clock of a listener (computation-aware).
//! OmniSTEval counts in the same way. The figure of a corpus is the mean over its segments.

use crate::text::time::Millis;

/// The units of one segment, with the times at which they were shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ShownSegment<'a> {
    /// When each unit was shown, counted from the start of the recording.
    pub delays: &'a [Millis],
    /// Where the segment begins in the recording.
    pub offset: Millis,
    /// How long the segment is.
    pub length: Millis,
    /// Where the recording's last segment ends.
    pub recording_end: Millis,
    /// How many units the reference has.
    pub reference_len: usize,
}

impl ShownSegment<'_> {
    /// LongYAAL in milliseconds. `None` if no unit was shown before the end of the recording, or if
    /// the segment has no length.
    pub(crate) fn long_yaal(&self) -> Option<f64> {
        let end = self.since_offset(self.recording_end);
        let late = self.lateness()?.take_while(|&(delay, _)| delay < end);
        mean(late.map(|(_, late)| late))
    }

    /// LAAL in milliseconds. `None` if no unit was shown, or if the segment has no length.
    pub(crate) fn laal(&self) -> Option<f64> {
        let length = self.length.0 as f64;
        let first = self.since_offset(*self.delays.first()?);
        if first > length {
            return self.lateness().map(|_| first);
        }
        let in_time = self.delays.iter().take_while(|&&d| self.since_offset(d) < length).count();
        mean(self.lateness()?.take(in_time + 1).map(|(_, late)| late))
    }

    /// For each unit, its delay since the segment's start, and how much later that is than keeping
    /// pace.
    fn lateness(&self) -> Option<impl Iterator<Item = (f64, f64)>> {
        if self.delays.is_empty() || self.length == Millis::ZERO {
            return None;
        }
        let step = self.length.0 as f64 / self.delays.len().max(self.reference_len) as f64;
        let delays = self.delays.iter().map(|&d| self.since_offset(d)).enumerate();
        Some(delays.map(move |(at, delay)| (delay, delay - at as f64 * step)))
    }

    /// The time since the segment's start. Negative for a unit that is shown before the segment
    /// that it was assigned to begins.
    fn since_offset(&self, time: Millis) -> f64 {
        time.0 as f64 - self.offset.0 as f64
    }
}

/// The mean, or `None` if there are no values.
pub(crate) fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.into_iter().fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(all: &[u64]) -> Vec<Millis> {
        all.iter().copied().map(Millis).collect()
    }

    fn shown(delays: &[Millis], offset: u64, length: u64, end: u64, reference_len: usize) -> ShownSegment<'_> {
        let (offset, length, recording_end) = (Millis(offset), Millis(length), Millis(end));
        ShownSegment { delays, offset, length, recording_end, reference_len }
    }

    #[test]
    fn in_step_is_the_first_delay() {
        // Four units over 4 s, each shown 1 s late: the lag is 1 s by either figure.
        let delays = ms(&[1000, 2000, 3000, 4000]);
        let segment = shown(&delays, 0, 4000, 60_000, 4);
        assert_eq!((segment.long_yaal(), segment.laal()), (Some(1000.0), Some(1000.0)));
        let later = ms(&[11_000, 12_000, 13_000, 14_000]);
        assert_eq!(shown(&later, 10_000, 4000, 60_000, 4).long_yaal(), Some(1000.0));
    }

    #[test]
    fn by_hand() {
        // The reference has 8 units, so a step is 500 ms: (1000-0) + (1000-500) + (3000-1000) +
        // (5000-1500), over 4.
        let delays = ms(&[1000, 1000, 3000, 5000]);
        let segment = shown(&delays, 0, 4000, 60_000, 8);
        assert_eq!(segment.long_yaal(), Some(1750.0));
        // LAAL counts the first unit that is shown after the segment's end, and none after it.
        assert_eq!(segment.laal(), Some(1750.0));
        let more = ms(&[1000, 1000, 3000, 5000, 9000]);
        assert_eq!(shown(&more, 0, 4000, 60_000, 8).laal(), Some(1750.0));
        // The sum above + (9000-2000), over 5.
        assert_eq!(shown(&more, 0, 4000, 60_000, 8).long_yaal(), Some(2800.0));
        // Units that are shown after the end of the recording are left out.
        assert_eq!(shown(&more, 0, 4000, 9000, 8).long_yaal(), Some(1750.0));
        assert_eq!(shown(&more, 0, 4000, 1000, 8).long_yaal(), None);
    }

    #[test]
    fn waiting_for_three_words() {
        // The example that LAAL was made for: wait-3 over eight words of 1 s each, with two words
        // more than the reference has. AL would reward the long output; here it makes the steps
        // shorter, 0.8 s each.
        let delays = ms(&[3000, 4000, 5000, 6000, 7000, 8000, 8000, 8000, 8000, 8000]);
        let segment = shown(&delays, 0, 8000, 60_000, 8);
        let late: f64 = (0..6).map(|i| 3000.0 + 200.0 * f64::from(i)).sum::<f64>() / 6.0;
        assert_eq!(segment.laal(), Some(late));
        let rest: f64 = (6..10).map(|i| 8000.0 - 800.0 * f64::from(i)).sum();
        assert_eq!(segment.long_yaal(), Some((6.0 * late + rest) / 10.0));
    }

    #[test]
    fn late_early_and_empty_segments() {
        let late = ms(&[9000, 9500]);
        assert_eq!(shown(&late, 0, 4000, 60_000, 2).laal(), Some(9000.0), "all of it after the segment");
        let early = ms(&[1500]);
        assert_eq!(shown(&early, 2000, 1000, 60_000, 1).long_yaal(), Some(-500.0));
        assert_eq!(shown(&[], 0, 1000, 60_000, 1).long_yaal(), None);
        assert_eq!(shown(&[], 0, 1000, 60_000, 1).laal(), None);
        assert_eq!(shown(&early, 0, 0, 60_000, 1).long_yaal(), None);
        assert_eq!(mean([]), None);
    }
}
