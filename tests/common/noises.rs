//! Sounds without speech, made by formulas: 16 kHz mono.

use std::f32::consts::TAU;

use super::dice::Dice;

/// What [`noise`] can make.
pub const NOISES: [&str; 6] = ["fan", "room", "applause", "music", "keys", "hum"];

const RATE: usize = 16_000;

/// The sound of one of [`NOISES`]. It is different in every second.
pub fn noise(name: &str, seconds: usize) -> Vec<f32> {
    let len = seconds * RATE;
    let mut dice = Dice(name.len() as u64);
    match name {
        "fan" => fan(len, &mut dice),
        "room" => fan(len, &mut dice).iter().map(|sample| 0.004 * sample + 3e-4 * dice.unit()).collect(),
        "applause" => applause(len, &mut dice),
        "music" => music(len, &mut dice),
        "keys" => keys(len, &mut dice),
        "hum" => {
            let hum = |t: f32| 0.2 * (50.0 * TAU * t).sin() + 0.07 * (150.0 * TAU * t).sin();
            (0..len).map(|at| hum((at % RATE) as f32 / RATE as f32) + 0.002 * dice.unit()).collect()
        }
        _ => panic!("there is no sound {name}"),
    }
}

/// Rushing air, and blades that come and go.
fn fan(len: usize, dice: &mut Dice) -> Vec<f32> {
    let (mut air, mut turn) = (0.0, 0.0);
    (0..len)
        .map(|at| {
            air += 0.12 * (dice.unit() - air);
            turn = (turn + 118.0 / RATE as f32) % 1.0;
            let swell = 1.0 + 0.3 * ((at % (3 * RATE)) as f32 / (3 * RATE) as f32 * TAU).sin();
            swell * (0.3 * air + 0.02 * (turn * TAU).sin() + 0.01 * (turn * 2.0 * TAU).sin()) + 0.01 * dice.unit()
        })
        .collect()
}

/// Adds a burst of noise that decays within `decay` samples to a third.
fn burst(sound: &mut [f32], at: usize, decay: f32, level: f32, dice: &mut Dice) {
    for (i, sample) in sound.iter_mut().skip(at).take(6 * decay as usize).enumerate() {
        *sample += level * (-(i as f32) / decay).exp() * dice.unit();
    }
}

/// Sixty claps a second, from near and far; every ten seconds they begin anew.
fn applause(len: usize, dice: &mut Dice) -> Vec<f32> {
    let mut sound = vec![0.0; len];
    for _ in 0..len * 60 / RATE {
        let at = dice.below(len);
        let swell = (at % (10 * RATE)) as f32 / (10 * RATE) as f32;
        let level = (1.0 - swell) * (0.02 + 0.1 * dice.unit().abs());
        burst(&mut sound, at, 40.0 + 80.0 * dice.unit().abs(), level, dice);
    }
    sound
}

/// Chords, a melody that is plucked, a bass and a drum, 120 beats a minute.
fn music(len: usize, dice: &mut Dice) -> Vec<f32> {
    let mut sound = vec![0.0; len];
    let beat = RATE / 2;
    let pitch = |half_tones: usize| 110.0 * 2f32.powf(half_tones as f32 / 12.0);
    let note = |sound: &mut [f32], at: usize, pitch: f32, long: usize, level: f32| {
        for (i, sample) in sound.iter_mut().skip(at).take(long).enumerate() {
            let t = i as f32 / RATE as f32;
            let envelope = (t * 50.0).min(1.0) * (-3.0 * t).exp();
            let wave: f32 = (1..=5).map(|h| (pitch * h as f32 * TAU * t).sin() / (h * h) as f32).sum();
            *sample += level * envelope * wave;
        }
    };
    for (number, at) in (0..len).step_by(beat).enumerate() {
        let root = [0, 5, 7, 9][number / 4 % 4];
        if number % 4 == 0 {
            [12, 16, 19].into_iter().for_each(|third| note(&mut sound, at, pitch(root + third), 4 * beat, 0.06));
        }
        note(&mut sound, at, pitch(root) / 2.0, beat, 0.15);
        let step = [0, 2, 4, 7, 9][dice.below(5)];
        note(&mut sound, at + dice.below(2) * beat / 2, pitch(24 + step), beat, 0.1);
        burst(&mut sound, at, 300.0, 0.08, dice);
    }
    sound
}

/// Somebody types: two clicks a key, pauses between.
fn keys(len: usize, dice: &mut Dice) -> Vec<f32> {
    let mut sound: Vec<f32> = (0..len).map(|_| 5e-4 * dice.unit()).collect();
    let mut at = 0;
    while at < len {
        burst(&mut sound, at, 30.0, 0.3, dice);
        burst(&mut sound, at + 1_200, 20.0, 0.15, dice);
        at += 1_600 + dice.below(2_400) + if dice.below(12) == 0 { 16_000 } else { 0 };
    }
    sound
}
