//! Seeded randomness: one independent stream for each purpose.
//!
//! Guarantees: the same seed, name and purpose give the same draws, and drawing for one purpose
//! never shifts another. Never reads the clock or the system's entropy.
//! Example: `random::stream(7, "feed-1", Purpose::Service)`.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a stream is used for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// How long a worker holds a request.
    Service = 1,
    /// Whether a defect bites.
    Defect = 2,
    /// When the next user arrives.
    Arrival = 3,
    /// Which route the user asks for.
    Route = 4,
    /// Which user it is.
    User = 5,
}

/// The stream of `purpose` for the process called `name`.
pub(crate) fn stream(seed: u64, name: &str, purpose: Purpose) -> ChaCha8Rng {
    // FNV-1a, 64 bit: http://www.isthe.com/chongo/tech/comp/fnv/
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ hash);
    rng.set_stream(purpose as u64);
    rng
}

/// A draw from the exponential distribution with mean 1, by inversion.
pub(crate) fn exponential(rng: &mut ChaCha8Rng) -> f64 {
    -(1.0 - rng.random::<f64>()).ln()
}

/// A draw from the log-normal distribution with mean 1 and shape `sigma`, by Box and Muller's
/// transform; at most 10, so that one draw cannot hold a worker for good.
pub(crate) fn log_normal(rng: &mut ChaCha8Rng, sigma: f64) -> f64 {
    let radius = (2.0 * exponential(rng)).sqrt();
    let normal = radius * (std::f64::consts::TAU * rng.random::<f64>()).cos();
    (sigma * normal - sigma * sigma / 2.0).exp().min(10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_name_give_the_same_draws() {
        let draw = |seed, name| stream(seed, name, Purpose::Service).random::<u64>();
        assert_eq!(draw(1, "feed-1"), draw(1, "feed-1"));
        assert_ne!(draw(1, "feed-1"), draw(1, "feed-2"));
        assert_ne!(draw(1, "feed-1"), draw(2, "feed-1"));
    }

    #[test]
    fn service_times_and_gaps_have_mean_one() {
        let mut rng = stream(1, "mean", Purpose::Service);
        let draws = 20_000;
        let times: f64 = (0..draws).map(|_| log_normal(&mut rng, 0.35)).sum();
        let gaps: f64 = (0..draws).map(|_| exponential(&mut rng)).sum();
        assert!((times / f64::from(draws) - 1.0).abs() < 0.02, "{times}");
        assert!((gaps / f64::from(draws) - 1.0).abs() < 0.04, "{gaps}");
    }
}
