//! Which backend of a version takes a request.
//!
//! **Guarantees.** Two candidates are drawn in proportion to their shares and the less loaded one
//! (requests under way over share) wins; equal loads go to the first drawn, so that shares hold at
//! low traffic too. (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.)
//! **Never** picks one with a share of zero.
//!
//! ```
//! use mainstay_traffic::{Candidate, pick};
//! let busy = Candidate { in_flight: 9, share: 1.0 };
//! let out = Candidate { in_flight: 0, share: 0.0 };
//! assert_eq!(pick(&[busy, out], 42), Some(0));
//! ```

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A backend that may take a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Requests under way.
    pub in_flight: u32,
    /// Relative share; 1.0 is full, 0.0 none.
    pub share: f64,
}

/// The index of the candidate that takes the request; `random` is any evenly spread number.
pub fn pick(candidates: &[Candidate], random: u64) -> Option<usize> {
    let total: f64 = candidates.iter().map(|c| c.share.max(0.0)).sum();
    if total.is_nan() || total <= 0.0 {
        return None;
    }
    let draw = |bits: u64| {
        let mut rest = (f64::from(bits as u32) / (f64::from(u32::MAX) + 1.0)) * total;
        let mut last = None;
        for (index, candidate) in candidates.iter().enumerate() {
            if candidate.share > 0.0 {
                last = Some(index);
                if rest < candidate.share {
                    break;
                }
                rest -= candidate.share;
            }
        }
        last
    };
    let (first, second) = (draw(random)?, draw(random >> 32)?);
    let load = |i: usize| f64::from(candidates[i].in_flight) / candidates[i].share;
    Some(if load(second) < load(first) {
        second
    } else {
        first
    })
}

/// Draws that are tried before all candidates are looked at. Each fails with the share of the drawn
/// one over the greatest, so that sixteen fail only where almost nobody has a share.
const DRAWS: u64 = 16;

/// As [`pick`], over `count` candidates whose shares are at most `most`, without looking at all of them:
/// a candidate is drawn evenly and kept with the probability of its share over `most`.
pub(crate) fn pick_by(
    count: usize,
    most: f64,
    candidate: impl Fn(usize) -> Candidate,
    random: u64,
) -> Option<usize> {
    let mut salt = 0;
    let mut draw = || {
        while salt < DRAWS {
            salt += 1;
            let bits = xxh3_64_with_seed(&random.to_le_bytes(), salt);
            let index = (((bits & u64::from(u32::MAX)) * count as u64) >> 32) as usize;
            let chance = f64::from((bits >> 32) as u32) / (f64::from(u32::MAX) + 1.0);
            if chance * most < candidate(index).share {
                return Some(index);
            }
        }
        None
    };
    if count > 0
        && most > 0.0
        && let (Some(first), Some(second)) = (draw(), draw())
    {
        let load = |i: usize| {
            let Candidate { in_flight, share } = candidate(i);
            f64::from(in_flight) / share
        };
        return Some(if load(second) < load(first) {
            second
        } else {
            first
        });
    }
    let all: Vec<Candidate> = (0..count).map(candidate).collect();
    pick(&all, random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xxhash_rust::xxh3::xxh3_64;

    fn counts(candidates: &[Candidate]) -> Vec<u32> {
        let mut counts = vec![0; candidates.len()];
        for i in 0..10_000_u64 {
            counts[pick(candidates, xxh3_64(&i.to_le_bytes())).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn a_tenth_of_a_share_gets_about_an_eleventh_of_idle_traffic() {
        let idle = |share| Candidate {
            in_flight: 0,
            share,
        };
        let counts = counts(&[idle(1.0), idle(0.1)]);
        assert!((700..1_150).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn the_less_loaded_of_two_wins_three_times_of_four() {
        let at = |in_flight| Candidate {
            in_flight,
            share: 1.0,
        };
        let counts = counts(&[at(5), at(1)]);
        assert!((7_200..7_800).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn drawing_without_looking_at_all_keeps_the_shares() {
        let shares = [1.0, 0.5, 0.0, 0.25, 0.25];
        let mut counts = [0_u32; 5];
        for i in 0..20_000_u64 {
            let candidate = |i: usize| Candidate {
                in_flight: 0,
                share: shares[i],
            };
            let picked = pick_by(5, 1.0, candidate, xxh3_64(&i.to_le_bytes())).unwrap();
            counts[picked] += 1;
        }
        assert_eq!(counts[2], 0);
        for (count, share) in counts.iter().zip(shares) {
            let expected = share / 2.0 * 20_000.0;
            assert!((f64::from(*count) - expected).abs() < 300.0, "{counts:?}");
        }
        let nobody = |_| Candidate {
            in_flight: 0,
            share: 0.0,
        };
        assert_eq!(pick_by(3, 0.0, nobody, 1), None);
        assert_eq!(pick_by(3, 1.0, nobody, 1), None);
        assert_eq!(pick_by(0, 1.0, nobody, 1), None);
    }

    #[test]
    fn nobody_is_picked_where_nobody_has_a_share() {
        assert_eq!(pick(&[], 1), None);
        assert_eq!(
            pick(
                &[Candidate {
                    in_flight: 0,
                    share: 0.0
                }],
                1
            ),
            None
        );
    }
}
