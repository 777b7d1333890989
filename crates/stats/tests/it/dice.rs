//! Random numbers with fixed seeds.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub(crate) struct Dice {
    rng: ChaCha8Rng,
    spare: Option<f64>,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            spare: None,
        }
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.rng.next_u64()
    }

    pub(crate) fn share(&mut self) -> f64 {
        self.rng.random::<f64>()
    }

    /// Standard normal (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * self.share()).sin_cos();
        self.spare = Some(radius * sine);
        radius * cosine
    }

    pub(crate) fn lognormal(&mut self) -> f64 {
        self.normal().exp()
    }

    /// Hits among up to 64 coins of one half.
    pub(crate) fn heads(&mut self, coins: u32) -> u64 {
        let mask = u64::MAX.checked_shr(64 - coins).unwrap_or(0);
        u64::from((self.bits() & mask).count_ones())
    }
}
