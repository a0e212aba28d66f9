//! Repairs the forced aligner's times, which are read one by one and may run backwards.
//!
//! The longest non-decreasing subsequence is taken as correct. Of the other times, runs of one or
//! two take the value of the nearer correct neighbour (the left one if both are equally near);
//! longer runs are spread evenly between their neighbours. (docs/models.md, section 1.8)

/// Times in ms as the model gives them → as many times, which never run backwards.
///
/// Quadratic, like the reference: a piece of 180 s has about 1,500 times.
pub fn repair(times: &[i64]) -> Vec<i64> {
    let right = longest_rise(times);
    let mut out = times.to_vec();
    let mut at = 0;
    while at < times.len() {
        if right[at] {
            at += 1;
            continue;
        }
        let end = (at..times.len()).find(|&i| right[i]).unwrap_or(times.len());
        let left = at.checked_sub(1).map(|i| out[i]);
        let after = times.get(end).copied();
        mend(&mut out[at..end], left, after);
        at = end;
    }
    out
}

/// Fills a run of wrong times from the correct times on both sides, or from one if there is only
/// one.
fn mend(run: &mut [i64], left: Option<i64>, right: Option<i64>) {
    let len = run.len();
    for (i, time) in run.iter_mut().enumerate() {
        *time = match (left, right) {
            (Some(l), Some(r)) if len > 2 => {
                let step = (r - l) as f64 / (len + 1) as f64;
                (l as f64 + step * (i + 1) as f64) as i64
            }
            (Some(l), Some(r)) => match i < len - i {
                true => l,
                false => r,
            },
            (Some(l), None) => l,
            (None, Some(r)) => r,
            (None, None) => *time,
        };
    }
}

/// Which times belong to the longest non-decreasing subsequence. Among several it is the one that
/// ends first, with the earliest predecessors.
fn longest_rise(times: &[i64]) -> Vec<bool> {
    let mut length = vec![1usize; times.len()];
    let mut parent: Vec<Option<usize>> = vec![None; times.len()];
    for i in 1..times.len() {
        for j in 0..i {
            if times[j] <= times[i] && length[j] + 1 > length[i] {
                length[i] = length[j] + 1;
                parent[i] = Some(j);
            }
        }
    }
    let longest = length.iter().copied().max().unwrap_or(0);
    let mut next = length.iter().position(|&n| n == longest);
    let mut member = vec![false; times.len()];
    while let Some(i) = next {
        member[i] = true;
        next = parent[i];
    }
    member
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::testing::golden_text;
    use proptest::prelude::*;

    #[test]
    fn equals_the_reference() {
        let golden = golden_text();
        let cases = golden["fix_timestamps"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let list =
                |key: &str| -> Vec<i64> { case[key].as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect() };
            assert_eq!(repair(&list("input")), list("output"), "{:?}", list("input"));
        }
    }

    proptest! {
        #[test]
        fn never_runs_backwards_and_leaves_good_times_alone(mut times in proptest::collection::vec(0i64..25_000, 0..40)) {
            let repaired = repair(&times);
            prop_assert_eq!(repaired.len(), times.len());
            prop_assert!(repaired.windows(2).all(|w| w[0] <= w[1]), "{:?}", repaired);
            prop_assert_eq!(&repair(&repaired), &repaired);
            times.sort();
            prop_assert_eq!(&repair(&times), &times);
        }
    }
}
