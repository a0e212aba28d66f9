//! Whether the sound of a session comes as it is spoken, or faster. Only sound that is spoken now
//! can be late. Times count from the beginning of this run of the session, sound from its first
//! sample.

use std::time::Duration;

/// Sound that is this far ahead of the time in which it is spoken is not spoken now.
const AHEAD: Duration = Duration::from_secs(3);
/// The same for a client that comes back after a restart: it sends up to a minute of sound again.
const AHEAD_RESUMED: Duration = Duration::from_secs(63);
/// Sound that comes at the pace of speech for this long is spoken now, whatever came before it.
const STEADY: Duration = Duration::from_secs(5);
/// How much more than that may come meanwhile, because networks are uneven.
const UNEVEN: Duration = Duration::from_secs(1);
/// A client with more waiting sound may be one that the backlog of a minute holds back. Its pace
/// is then that of the device.
const HELD_BACK: Duration = Duration::from_secs(30);

/// How the sound of a session comes.
pub(super) struct Pace {
    /// How much of the sound was spoken before the session began.
    before: Duration,
    /// How far ahead sound may be that is spoken now.
    allowed: Duration,
    ahead: bool,
    /// Since when the pace is measured, and how much had come then.
    since: (Duration, Duration),
}

impl Pace {
    pub(super) fn new(resumed: bool) -> Pace {
        Pace {
            before: Duration::ZERO,
            allowed: if resumed { AHEAD_RESUMED } else { AHEAD },
            ahead: false,
            since: (Duration::ZERO, Duration::ZERO),
        }
    }

    /// Whether the sound came faster than it is spoken. Then nobody is speaking now, and no step is
    /// late.
    pub(super) fn is_ahead(&self) -> bool {
        self.ahead
    }

    /// When the first `sound` of the session has been spoken.
    pub(super) fn spoken(&self, sound: Duration) -> Duration {
        sound.saturating_sub(self.before)
    }

    /// Takes note of how much sound has come until `now`, and how much of it is held.
    pub(super) fn look(&mut self, came: Duration, held: Duration, now: Duration) {
        let (time, new) = (now.saturating_sub(self.since.0), came.saturating_sub(self.since.1));
        if time >= STEADY {
            // A file that was sent as a whole has no pace any more.
            let is_speech = time / 2 <= new && new <= time + UNEVEN;
            if is_speech && held < HELD_BACK {
                (self.before, self.allowed, self.ahead) = (came.saturating_sub(now), AHEAD, false);
            }
            self.since = (now, came);
        }
        self.ahead |= self.spoken(came) > now + self.allowed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(850);

    /// What a session looked like after each step.
    struct Seen {
        ahead: Vec<bool>,
        pace: Pace,
        came: Duration,
        now: Duration,
    }

    /// Plays `steps` steps. `came` says how much sound has come at a time, where so much was
    /// processed before; a step processes what `processes` says of the sound that is held.
    fn play(
        resumed: bool,
        steps: u32,
        came: impl Fn(Duration, Duration) -> Duration,
        processes: impl Fn(Duration) -> Duration,
    ) -> Seen {
        let mut seen = Seen { ahead: Vec::new(), pace: Pace::new(resumed), came: Duration::ZERO, now: Duration::ZERO };
        let mut processed = Duration::ZERO;
        for at in 0..steps {
            seen.now = STEP * at;
            seen.came = came(seen.now, processed);
            seen.pace.look(seen.came, seen.came - processed, seen.now);
            seen.ahead.push(seen.pace.is_ahead());
            processed += processes(seen.came - processed);
        }
        seen
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A live client becomes live again after a burst, also where the device has no time to make up
    /// for it, and its sound is due when it comes.
    #[test]
    fn a_burst_at_the_beginning_is_forgotten() {
        for (resumed, burst) in [(false, 4), (false, 25), (true, 20), (true, 70)] {
            for hurry in [1, 4] {
                // 70 s are longer than what may be held: a device without time never gets there.
                if hurry == 1 && burst > 30 {
                    continue;
                }
                let seen = play(resumed, 120, |now, _| seconds(burst) + now, |held| held.min(STEP * hurry));
                assert_eq!(seen.ahead[0], burst > if resumed { 63 } else { 3 }, "{burst} s");
                assert!(!seen.ahead[60..].contains(&true), "{burst} s, {hurry}: {:?}", seen.ahead);
                assert!(seen.pace.spoken(seen.came).abs_diff(seen.now) < seconds(1), "{burst} s, {hurry}");
            }
        }
    }

    /// A file that is sent as fast as the backlog allows is never spoken now, however slow the
    /// device is, and also not when all of it has been sent.
    #[test]
    fn a_file_stays_ahead() {
        for pace in [0.5, 0.9, 1.0, 1.1, 3.0, 20.0] {
            let file = seconds(900);
            let seen = play(
                false,
                2_000,
                |_, processed| (processed + seconds(60)).min(file),
                |held| held.min(STEP.mul_f64(pace)),
            );
            assert!(!seen.ahead.contains(&false), "{pace}");
            assert_eq!(seen.came, file);
        }
    }

    /// A live client is never ahead, though its network stops for a while and its clock is a little
    /// fast.
    #[test]
    fn a_live_client_is_live() {
        let stops = |now: Duration, _| {
            let now = now.mul_f64(1.001);
            if (30..32).contains(&(now.as_secs() % 60)) { seconds(now.as_secs() / 60 * 60 + 30) } else { now }
        };
        let seen = play(false, 10_000, stops, |held| held);
        assert!(!seen.ahead.contains(&true));
    }

    /// A file that follows live sound is ahead again.
    #[test]
    fn a_client_may_begin_to_run_ahead() {
        let came = |now: Duration, _| if now < seconds(60) { now } else { now * 2 };
        let seen = play(false, 120, came, |held| held);
        assert!(!seen.ahead[..60].contains(&true) && seen.ahead[119]);
    }
}
