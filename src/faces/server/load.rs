//! How busy a device is: whether it has room for another session, and what is left out where it
//! falls behind.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::text::Millis;

/// How much a new step counts in a session's average.
const NEWEST: f64 = 0.2;
/// A device is behind when more than one step in twenty takes longer than this many chunks from the
/// arrival of its sound.
const BEHIND: f64 = 2.0;
/// How long it must be behind before more is left out.
const WORSE_AFTER: Duration = Duration::from_secs(10);
/// How long it must keep up before less is left out.
const BETTER_AFTER: Duration = Duration::from_secs(60);
/// The most steps that are looked back on.
const STEPS: usize = 4096;
/// The usual chunk. Lag is counted in chunks of at least this length: what is in time for a usual
/// session is no sign of a device that is behind.
const USUAL_CHUNK: Millis = Millis(850);
/// The chunk of a session where the device is behind.
const LONG_CHUNK: Millis = Millis(1_500);
/// One step a session counts in each of these, so that a session with many short steps counts as
/// much as any other.
const PERIOD: Duration = Duration::from_secs(1);

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

    /// What a step waits for, in a session whose own chunk is `chunk`.
    pub(super) fn chunk(self, chunk: Millis) -> Millis {
        if self >= Strain::LongChunks { chunk.max(LONG_CHUNK) } else { chunk }
    }

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
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    /// The measured share of each session; `None` before its first step.
    shares: BTreeMap<u64, Option<f64>>,
    /// The newest steps that count: when each ended, and its lag in chunks.
    lags: VecDeque<(Instant, f64)>,
    strain: Strain,
    /// When the strain changed last.
    changed: Option<Instant>,
    /// The last known median share. It prices the first session when none runs.
    usual: f64,
}

/// A session's place. Dropping it frees the place.
pub(super) struct Cost {
    id: u64,
    /// `None`: the work has no deadline, so it costs only time that is left over.
    load: Option<Arc<Load>>,
    average: Option<f64>,
    /// The newest period in which a step of the session counted.
    counted: Option<u128>,
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
        Load { most_sessions, most_share, began: Instant::now(), state: Mutex::default() }
    }

    /// A place for a session with deadlines, if there is one.
    pub(super) fn admit(self: &Arc<Load>) -> Result<Cost, Full> {
        self.admit_at(Instant::now())
    }

    fn admit_at(self: &Arc<Load>, now: Instant) -> Result<Cost, Full> {
        let mut state = self.state();
        state.judge(now);
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
        Ok(Cost { id, load: Some(self.clone()), average: None, counted: None, failures: 0 })
    }

    /// The place of work without deadlines.
    pub(super) fn batch() -> Cost {
        Cost { id: 0, load: None, average: None, counted: None, failures: 0 }
    }

    /// Sessions that have a place, and how many there can be.
    pub(super) fn slots(&self) -> (usize, usize) {
        (self.state().shares.len(), self.most_sessions)
    }

    /// What is left out at `now`.
    pub(super) fn strain(&self, now: Instant) -> Strain {
        let mut state = self.state();
        state.judge(now);
        state.strain
    }

    /// Counts the lag of a step with a deadline, from the arrival of its oldest sound to `now`, its
    /// end. `chunk` is what the step waited for.
    pub(super) fn lagged(&self, cost: &mut Cost, lag: Duration, chunk: Millis, now: Instant) {
        let period = now.saturating_duration_since(self.began).as_nanos() / PERIOD.as_nanos();
        let counts = cost.counted.replace(period) != Some(period);
        let mut state = self.state();
        if counts {
            state.lags.push_back((now, lag.as_secs_f64() / chunk.max(USUAL_CHUNK).seconds()));
        }
        state.judge(now);
    }

    /// Counts a step of `spent` for a chunk of sound.
    pub(super) fn step(&self, cost: &mut Cost, spent: Duration, chunk: Millis) {
        let share = spent.as_secs_f64() / chunk.seconds().max(0.001);
        let average = cost.average.map_or(share, |average| average + NEWEST * (share - average));
        cost.average = Some(average);
        if cost.load.is_some() {
            let mut state = self.state();
            state.shares.insert(cost.id, Some(average));
            state.usual = state.median();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Changes the strain by one where the newest steps say so, or where there were none for a
    /// while.
    fn judge(&mut self, now: Instant) {
        let age = |at: Instant| now.saturating_duration_since(at);
        while self.lags.front().is_some_and(|(at, _)| age(*at) > BETTER_AFTER) || self.lags.len() > STEPS {
            self.lags.pop_front();
        }
        let steady = self.changed.or(self.lags.front().map(|(at, _)| *at)).map_or(Duration::ZERO, age);
        let behind = |span: Duration| {
            let newest = self.lags.iter().filter(|(at, _)| age(*at) <= span);
            let (steps, late) =
                newest.fold((0, 0), |(steps, late), (_, lag)| (steps + 1, late + usize::from(*lag > BEHIND)));
            // Of few steps, the worst one does not decide.
            late > 1 && late * 20 > steps
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
        let Some(load) = &self.load else { return };
        let mut state = load.state();
        state.shares.remove(&self.id);
        if state.shares.is_empty() {
            // Nothing is left that could be late.
            *state = State { next: state.next, usual: state.usual, ..State::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_device_that_falls_behind_leaves_out_more_and_comes_back() {
        let load = Arc::new(Load::new(9, 0.7));
        let began = Instant::now();
        let mut session = load.admit_at(began).unwrap();
        let mut seen = vec![(0, Strain::None)];
        let mut play = |from: u64, to: u64, lag: f64| {
            for second in from..to {
                let now = began + Duration::from_secs(second);
                load.lagged(&mut session, seconds(lag), Millis(1_000), now);
                if load.strain(now) != seen.last().unwrap().1 {
                    seen.push((second, load.strain(now)));
                }
            }
        };
        play(0, 20, 0.5);
        play(20, 70, 2.5);
        assert!(matches!(load.admit_at(began + seconds(70.0)).map(drop), Err(Full::Behind)));
        play(70, 400, 0.4);
        let strains: Vec<Strain> = seen.iter().map(|(_, strain)| *strain).collect();
        use Strain::{Closed, FinalOnly, LongChunks, None};
        assert_eq!(strains, [None, LongChunks, FinalOnly, Closed, FinalOnly, LongChunks, None], "{seen:?}");
        let gaps: Vec<u64> = seen.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(gaps[1..3].iter().all(|gap| *gap >= 10) && gaps[3..].iter().all(|gap| *gap >= 60), "{seen:?}");
    }

    #[test]
    fn one_slow_step_is_not_a_strain() {
        let load = Arc::new(Load::new(9, 0.7));
        let began = Instant::now();
        let mut session = load.admit_at(began).unwrap();
        for second in 0..120u64 {
            let lag = if second % 40 == 20 { 9.0 } else { 0.6 };
            let now = began + Duration::from_secs(second);
            load.lagged(&mut session, seconds(lag), Millis(1_000), now);
            assert_eq!(load.strain(now), Strain::None, "after {second} s");
        }
    }

    /// A step that waits for a long chunk because of the strain is not late because of that.
    #[test]
    fn long_chunks_are_no_strain() {
        let load = Arc::new(Load::new(9, 0.7));
        let began = Instant::now();
        let mut session = load.admit_at(began).unwrap();
        let mut now = began;
        let mut step = |late: f64, now: Instant| {
            let chunk = load.strain(now).chunk(Millis(500));
            load.lagged(&mut session, seconds(chunk.seconds() + late), chunk, now);
            load.strain(now)
        };
        while step(3.0, now) == Strain::None {
            now += seconds(1.0);
        }
        assert!(now - began < seconds(15.0));
        let calm = now;
        loop {
            now += seconds(1.5);
            match step(0.26, now) {
                Strain::None => break,
                strain => assert_eq!(strain, Strain::LongChunks, "after {:?}", now - calm),
            }
        }
        assert!(now - calm < seconds(63.0), "{:?}", now - calm);
    }

    /// Chunks of 100 ms are short for a step of 110 ms, and the device is not behind for that.
    #[test]
    fn short_chunks_are_no_strain() {
        let load = Arc::new(Load::new(9, 0.7));
        let began = Instant::now();
        let mut session = load.admit_at(began).unwrap();
        for at in 0..1_000u32 {
            let now = began + at * seconds(0.1);
            load.lagged(&mut session, seconds(0.25), Millis(100), now);
            assert_eq!(load.strain(now), Strain::None, "after {:?}", now - began);
        }
    }

    /// One session of thirty is less than one in twenty, however many steps it makes.
    #[test]
    fn a_session_with_many_steps_counts_once() {
        let load = Arc::new(Load::new(99, 0.7));
        let began = Instant::now();
        let mut hasty = load.admit_at(began).unwrap();
        let mut others: Vec<Cost> = (0..29).map(|_| load.admit_at(began).unwrap()).collect();
        for tick in 0..2_000usize {
            let now = began + seconds(tick as f64 * 0.05);
            if tick % 2 == 0 {
                load.lagged(&mut hasty, seconds(5.0), Millis(100), now);
            }
            for other in others.iter_mut().skip(tick % 17).step_by(17) {
                load.lagged(other, seconds(1.0), Millis(850), now);
            }
            assert_eq!(load.strain(now), Strain::None, "after {:?}", now - began);
        }
    }

    /// A device that is asked for nothing in time is not behind: its strain ends with time, and
    /// with the last session.
    #[test]
    fn an_overload_ends() {
        let load = Arc::new(Load::new(9, 0.7));
        let began = Instant::now();
        let mut late = load.admit_at(began).unwrap();
        let text = load.admit_at(began).unwrap();
        let mut now = began;
        while load.strain(now) != Strain::Closed {
            now += seconds(1.0);
            load.lagged(&mut late, seconds(9.0), Millis(850), now);
        }
        drop(late);
        assert_eq!(load.admit_at(now + seconds(50.0)).map(drop), Err(Full::Behind));
        assert!(load.admit_at(now + seconds(61.0)).is_ok());
        assert_eq!(load.strain(now + seconds(61.0)), Strain::FinalOnly);
        assert_eq!(load.strain(now + seconds(122.0)), Strain::LongChunks);
        drop(text);
        assert_eq!(load.strain(now + seconds(123.0)), Strain::None);
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
