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

/// The units of one segment, with the times at which they were shown, in milliseconds since the
/// segment's start.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ShownSegment<'a> {
    /// When each unit was shown. Negative for a unit that is shown before the segment that it was
    /// assigned to begins.
    pub delays: &'a [f64],
    /// How long the segment is.
    pub length: f64,
    /// Where the recording's last segment ends. The segment's own end where nothing after it
    /// counts.
    pub recording_end: f64,
    /// How many units the reference has.
    pub reference_len: usize,
}

impl ShownSegment<'_> {
    /// LongYAAL in milliseconds. `None` if no unit was shown before the end of the recording, or if
    /// the segment has no length.
    pub(crate) fn long_yaal(&self) -> Option<f64> {
        let late = self.lateness()?.take_while(|&(delay, _)| delay < self.recording_end);
        mean(late.map(|(_, late)| late))
    }

    /// LAAL in milliseconds. `None` if no unit was shown, or if the segment has no length.
    pub(crate) fn laal(&self) -> Option<f64> {
        let first = *self.delays.first()?;
        if first > self.length {
            return self.lateness().map(|_| first);
        }
        let in_time = self.delays.iter().take_while(|&&delay| delay < self.length).count();
        mean(self.lateness()?.take(in_time + 1).map(|(_, late)| late))
    }

    /// For each unit, its delay, and how much later that is than keeping pace.
    fn lateness(&self) -> Option<impl Iterator<Item = (f64, f64)>> {
        if self.delays.is_empty() || self.length <= 0.0 {
            return None;
        }
        let pace = self.delays.len().max(self.reference_len) as f64 / self.length;
        Some(self.delays.iter().enumerate().map(move |(at, &delay)| (delay, delay - at as f64 / pace)))
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

    fn shown(delays: &[f64], length: f64, end: f64, reference_len: usize) -> ShownSegment<'_> {
        ShownSegment { delays, length, recording_end: end, reference_len }
    }

    #[test]
    fn in_step_is_the_first_delay() {
        // Four units over 4 s, each shown 1 s late: the lag is 1 s by either figure.
        let delays = [1000.0, 2000.0, 3000.0, 4000.0];
        let segment = shown(&delays, 4000.0, 60_000.0, 4);
        assert_eq!((segment.long_yaal(), segment.laal()), (Some(1000.0), Some(1000.0)));
    }

    #[test]
    fn by_hand() {
        // The reference has 8 units, so a step is 500 ms: (1000-0) + (1000-500) + (3000-1000) +
        // (5000-1500), over 4.
        let delays = [1000.0, 1000.0, 3000.0, 5000.0];
        let segment = shown(&delays, 4000.0, 60_000.0, 8);
        assert_eq!(segment.long_yaal(), Some(1750.0));
        // LAAL counts the first unit that is shown after the segment's end, and none after it.
        assert_eq!(segment.laal(), Some(1750.0));
        let more = [1000.0, 1000.0, 3000.0, 5000.0, 9000.0];
        assert_eq!(shown(&more, 4000.0, 60_000.0, 8).laal(), Some(1750.0));
        // The sum above + (9000-2000), over 5.
        assert_eq!(shown(&more, 4000.0, 60_000.0, 8).long_yaal(), Some(2800.0));
        // Units that are shown after the end of the recording are left out.
        assert_eq!(shown(&more, 4000.0, 9000.0, 8).long_yaal(), Some(1750.0));
        assert_eq!(shown(&more, 4000.0, 1000.0, 8).long_yaal(), None);
    }

    #[test]
    fn waiting_for_three_words() {
        // The example that LAAL was made for: wait-3 over eight words of 1 s each, with two words
        // more than the reference has. AL would reward the long output; here it makes the steps
        // shorter, 0.8 s each.
        let delays = [3000.0, 4000.0, 5000.0, 6000.0, 7000.0, 8000.0, 8000.0, 8000.0, 8000.0, 8000.0];
        let segment = shown(&delays, 8000.0, 60_000.0, 8);
        let late: f64 = (0..6).map(|i| 3000.0 + 200.0 * f64::from(i)).sum::<f64>() / 6.0;
        assert_eq!(segment.laal(), Some(late));
        let rest: f64 = (6..10).map(|i| 8000.0 - 800.0 * f64::from(i)).sum();
        assert_eq!(segment.long_yaal(), Some((6.0 * late + rest) / 10.0));
    }

    #[test]
    fn late_early_and_empty_segments() {
        let late = [9000.0, 9500.0];
        assert_eq!(shown(&late, 4000.0, 60_000.0, 2).laal(), Some(9000.0), "all of it after the segment");
        let early = [-500.0];
        assert_eq!(shown(&early, 1000.0, 58_000.0, 1).long_yaal(), Some(-500.0));
        assert_eq!(shown(&[], 1000.0, 60_000.0, 1).long_yaal(), None);
        assert_eq!(shown(&[], 1000.0, 60_000.0, 1).laal(), None);
        assert_eq!(shown(&early, 0.0, 60_000.0, 1).long_yaal(), None);
        assert_eq!(mean([]), None);
    }
}
