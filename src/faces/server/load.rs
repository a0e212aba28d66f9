//! How busy a device is: whether it has room for another session, and what is left out where it
//! falls behind.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::text::Millis;

/// How much a new step counts in a session's average.
const NEWEST: f64 = 0.2;
/// A device is behind when one step in twenty takes longer than this many chunks from the arrival
/// of its sound.
const BEHIND: f64 = 2.0;
/// How long it must be behind before more is left out.
const WORSE_AFTER: Duration = Duration::from_secs(10);
/// How long it must keep up before less is left out.
const BETTER_AFTER: Duration = Duration::from_secs(60);
/// The most steps that are looked back on.
const STEPS: usize = 1024;

/// What a device that falls behind leaves out. Sound and committed text are never dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strain {
    #[default]
    None,
    /// Chunks are longer, so that there are fewer steps.
    LongChunks,
    /// As before, and segments are translated only when they close.
    FinalOnly,
    /// As before, and no new session is admitted.
    Closed,
}

impl Strain {
    const ALL: [Strain; 4] = [Strain::None, Strain::LongChunks, Strain::FinalOnly, Strain::Closed];

    fn worse(self) -> Strain {
        Strain::ALL[(self as usize + 1).min(3)]
    }

    fn better(self) -> Strain {
        Strain::ALL[(self as usize).saturating_sub(1)]
    }
}

/// The sessions of a device and what they cost.
pub(super) struct Load {
    most_sessions: usize,
    /// The share of the device's time that sessions may take together.
    most_share: f64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    /// The measured share of each session; `None` before its first step.
    shares: BTreeMap<u64, Option<f64>>,
    /// The newest steps: when each ended, and its lag in chunks.
    lags: VecDeque<(Instant, f64)>,
    strain: Strain,
    /// When the strain changed last.
    changed: Option<Instant>,
    /// The median of the last time when there were any, so that a first session has a price, too.
    usual: f64,
}

/// A session's place. Dropping it frees the place.
pub(super) struct Cost {
    id: u64,
    /// `None`: the work has no deadline, so it costs only time that is left over.
    load: Option<Arc<Load>>,
    average: Option<f64>,
    /// Failures of the session's end.
    pub failures: u32,
}

/// Why a session is refused.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub(super) enum Full {
    #[error("the server is at capacity ({0} sessions)")]
    Sessions(usize),
    #[error("the device is behind, and takes no new session")]
    Behind,
    #[error("the device is busy: {taken:.0} % of its time is taken, and a session takes about {wanted:.0} %")]
    Busy { taken: f64, wanted: f64 },
}

impl Load {
    pub(super) fn new(most_sessions: usize, most_share: f64) -> Load {
        Load { most_sessions, most_share, state: Mutex::default() }
    }

    /// A place for a session with deadlines, if there is one.
    pub(super) fn admit(self: &Arc<Load>) -> Result<Cost, Full> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.shares.len() >= self.most_sessions {
            return Err(Full::Sessions(self.most_sessions));
        }
        if state.strain == Strain::Closed && !state.shares.is_empty() {
            return Err(Full::Behind);
        }
        let usual = state.median();
        let taken: f64 = state.shares.values().map(|share| share.unwrap_or(usual)).sum();
        if !state.shares.is_empty() && taken + usual > self.most_share {
            return Err(Full::Busy { taken: taken * 100.0, wanted: usual * 100.0 });
        }
        state.next += 1;
        let id = state.next;
        state.shares.insert(id, None);
        Ok(Cost { id, load: Some(self.clone()), average: None, failures: 0 })
    }

    /// The place of work without deadlines.
    pub(super) fn batch() -> Cost {
        Cost { id: 0, load: None, average: None, failures: 0 }
    }

    /// Sessions that have a place, and how many there can be.
    pub(super) fn slots(&self) -> (usize, usize) {
        (self.state.lock().unwrap_or_else(PoisonError::into_inner).shares.len(), self.most_sessions)
    }

    /// What is left out now.
    pub(super) fn strain(&self) -> Strain {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).strain
    }

    /// Counts the lag of a step with a deadline, from the arrival of its oldest sound to `now`, its
    /// end.
    pub(super) fn lagged(&self, lag: Duration, chunk: Millis, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.lags.push_back((now, lag.as_secs_f64() / chunk.seconds().max(0.001)));
        while state.lags.len() > STEPS {
            state.lags.pop_front();
        }
        state.judge(now);
    }

    /// Counts a step of `spent` for a chunk of sound.
    pub(super) fn step(&self, cost: &mut Cost, spent: Duration, chunk: Millis) {
        let share = spent.as_secs_f64() / chunk.seconds().max(0.001);
        let average = cost.average.map_or(share, |average| average + NEWEST * (share - average));
        cost.average = Some(average);
        if cost.load.is_some() {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.shares.insert(cost.id, Some(average));
            state.usual = state.median();
        }
    }
}

impl State {
    /// Changes the strain by one where the newest steps say so.
    fn judge(&mut self, now: Instant) {
        let since = self.changed.or(self.lags.front().map(|(at, _)| *at)).unwrap_or(now);
        let steady = now.duration_since(since);
        let behind = |span: Duration| {
            let mut lags: Vec<f64> =
                self.lags.iter().filter(|(at, _)| now.duration_since(*at) <= span).map(|(_, lag)| *lag).collect();
            lags.sort_by(f64::total_cmp);
            // Of few steps, the worst one does not decide.
            let most = lags.len().saturating_sub(1) * 19 / 20;
            lags.get(most).is_some_and(|lag| *lag > BEHIND)
        };
        let next = if steady >= WORSE_AFTER && behind(WORSE_AFTER) {
            self.strain.worse()
        } else if steady >= BETTER_AFTER && !behind(BETTER_AFTER) {
            self.strain.better()
        } else {
            return;
        };
        if next != self.strain {
            (self.strain, self.changed) = (next, Some(now));
        }
    }

    /// The median share of the sessions that are measured, or that of before.
    fn median(&self) -> f64 {
        let mut shares: Vec<f64> = self.shares.values().flatten().copied().collect();
        shares.sort_by(f64::total_cmp);
        shares.get(shares.len() / 2).copied().unwrap_or(self.usual)
    }
}

impl Drop for Cost {
    fn drop(&mut self) {
        if let Some(load) = &self.load {
            load.state.lock().unwrap_or_else(PoisonError::into_inner).shares.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_falls_behind_leaves_out_more_and_comes_back() {
        let load = Arc::new(Load::new(9, 0.7));
        let _session = load.admit().unwrap();
        let began = Instant::now();
        let mut seen = vec![(0, Strain::None)];
        let mut play = |from: u64, to: u64, lag: f64| {
            for second in from..to {
                load.lagged(Duration::from_secs_f64(lag), Millis(1_000), began + Duration::from_secs(second));
                if load.strain() != seen.last().unwrap().1 {
                    seen.push((second, load.strain()));
                }
            }
        };
        play(0, 20, 0.5);
        play(20, 70, 2.5);
        assert!(matches!(load.admit().map(drop), Err(Full::Behind)));
        let mut play = |from: u64, to: u64| {
            for second in from..to {
                load.lagged(Duration::from_millis(400), Millis(1_000), began + Duration::from_secs(second));
                if load.strain() != seen.last().unwrap().1 {
                    seen.push((second, load.strain()));
                }
            }
        };
        play(70, 400);
        let strains: Vec<Strain> = seen.iter().map(|(_, strain)| *strain).collect();
        use Strain::{Closed, FinalOnly, LongChunks, None};
        assert_eq!(strains, [None, LongChunks, FinalOnly, Closed, FinalOnly, LongChunks, None], "{seen:?}");
        let gaps: Vec<u64> = seen.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(gaps[1..3].iter().all(|gap| *gap >= 10) && gaps[3..].iter().all(|gap| *gap >= 60), "{seen:?}");
    }

    #[test]
    fn one_slow_step_is_not_a_strain() {
        let load = Load::new(9, 0.7);
        let began = Instant::now();
        for second in 0..120u64 {
            let lag = if second % 40 == 20 { 9.0 } else { 0.6 };
            load.lagged(Duration::from_secs_f64(lag), Millis(1_000), began + Duration::from_secs(second));
            assert_eq!(load.strain(), Strain::None, "after {second} s");
        }
    }

    #[test]
    fn sessions_are_refused_by_number_and_by_cost() {
        let load = Arc::new(Load::new(3, 0.7));
        let mut places: Vec<Cost> = (0..3).map(|_| load.admit().unwrap()).collect();
        assert_eq!(load.admit().map(drop), Err(Full::Sessions(3)));
        places.pop();
        for place in &mut places {
            load.step(place, Duration::from_millis(300), Millis(1_000));
        }
        let full = load.admit().map(drop).unwrap_err();
        assert!(matches!(full, Full::Busy { .. }), "{full}");
        assert_eq!(full.to_string(), "the device is busy: 60 % of its time is taken, and a session takes about 30 %");
        places.pop();
        assert_eq!(load.slots(), (1, 3));
        assert!(load.admit().is_ok());
        places.clear();
        let mut first = load.admit().unwrap();
        load.step(&mut first, Duration::from_secs(9), Millis(1_000));
        assert!(load.admit().is_err());
        drop(first);
        assert!(load.admit().is_ok(), "a device that is free takes a session whatever it costs");
    }
}
