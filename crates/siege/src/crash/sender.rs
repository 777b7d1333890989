//! A sender whose every sample is known in advance.
//!
//! Guarantees: the value of a sample follows from its series and its number; a number is sent until it is
//! acknowledged, and only then the next.

use std::{
    io,
    net::SocketAddr,
    thread::{JoinHandle, sleep, spawn},
    time::Duration,
};

use super::PATIENCE;
use crate::{Connection, WRITE_HEADERS, WriteRequest};

/// The metric of all samples.
pub(super) const METRIC: &str = "crash_value";
/// Time between two samples of a series.
const STEP_MS: u64 = 5_000;
/// How long ago the first sample was taken, by its time: within what is kept, and far from now.
pub(super) const AGO: Duration = Duration::from_hours(20 * 24);
/// When one that was told to come again does.
const AGAIN: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) number: usize,
    pub(super) series: usize,
    began_ms: u64,
    /// Deliveries that were acknowledged: the numbers below this.
    pub(super) acknowledged: u64,
    sending: Option<JoinHandle<(u64, Option<String>)>>,
}

impl Sender {
    pub(super) fn new(number: usize, series: usize, now: Duration) -> Self {
        let began = now.saturating_sub(AGO);
        Self {
            number,
            series,
            began_ms: u64::try_from(began.as_millis()).unwrap_or(0),
            acknowledged: 0,
            sending: None,
        }
    }

    pub(super) fn samples(&self) -> u64 {
        self.acknowledged * self.series as u64
    }

    /// The time of a sample.
    pub(super) fn at_ms(&self, number: u64) -> u64 {
        self.began_ms + number * STEP_MS
    }

    /// The value of a sample: constants, counters, decimals and numbers with all their digits.
    pub(super) fn value(&self, series: usize, number: u64) -> f64 {
        let seed = (self.number * 1_000 + series) as u64;
        let mixed = mix(seed << 32 | number);
        match series % 4 {
            0 => (number * (seed + 1)) as f64,
            1 => seed as f64,
            2 => (mixed % 100_000) as f64 / 100.0,
            _ => (mixed >> 11) as f64 / (1_u64 << 53) as f64,
        }
    }

    /// Sends to a server until it is gone.
    pub(super) fn begin(&mut self, address: SocketAddr) {
        let own = Self {
            sending: None,
            ..*self
        };
        self.sending = Some(spawn(move || own.send(address)));
    }

    /// Waits until nothing is sent any more; says what was refused.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        let Some(sending) = self.sending.take() else {
            return Ok(());
        };
        let (acknowledged, refused) = sending
            .join()
            .map_err(|_| format!("sender {} died", self.number))?;
        self.acknowledged = acknowledged;
        refused.map_or(Ok(()), Err)
    }

    /// How many are acknowledged once nobody answers any more, and what was refused for good.
    fn send(self, address: SocketAddr) -> (u64, Option<String>) {
        let mut next = self.acknowledged;
        let Ok(mut connection) = Connection::open(address, PATIENCE) else {
            return (next, None);
        };
        while let Ok(answer) = self
            .delivery(next)
            .and_then(|body| connection.post("/api/v1/write", &WRITE_HEADERS, &body))
        {
            match answer.status {
                200 | 204 => next += 1,
                429 | 503 => sleep(AGAIN),
                other => {
                    let (number, text) = (self.number, answer.text());
                    let what = format!("sender {number} is answered {other} for {next}: {text}");
                    return (next, Some(what));
                }
            }
        }
        (next, None)
    }

    fn delivery(&self, number: u64) -> io::Result<Vec<u8>> {
        let mut request = WriteRequest::default();
        let sender = self.number.to_string();
        for series in 0..self.series {
            let name = series.to_string();
            let labels = [("__name__", METRIC), ("sender", &sender), ("series", &name)];
            let sample = (self.at_ms(number), self.value(series, number));
            request.series(&labels, &[sample]);
        }
        request.packed()
    }
}

/// The finalizer of SplitMix64: <https://prng.di.unimi.it/splitmix64.c>.
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
