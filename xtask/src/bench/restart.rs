//! A kill with a million series in memory: how long until samples are taken again, and until all history is there.
//!
//! Guarantees: the same deliveries to each; a sample is taken when it is acknowledged, history is there when a query
//! counts every sample that was. What takes longer than [`PATIENCE`] is an error.

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, ensure};

use super::{
    budget::Said,
    ingest::{STEP_MS, Size, counted, send_rounds},
    payload::{PER_METRIC, delivery, names, send},
    peer::{Kind, Peer},
};

/// How long one may take to have all history.
const PATIENCE: Duration = Duration::from_mins(10);
const SIZE: Size = Size {
    name: "1m",
    hosts: 1_000,
    rounds: 4,
};

pub(super) fn measure(own: &Path) -> anyhow::Result<Vec<Said>> {
    let mut said = Vec::new();
    for kind in Kind::ALL {
        let Some(peer) = Peer::start(kind, own)? else {
            println!("{kind} is not installed");
            continue;
        };
        let (taken, whole) = one(peer, own).with_context(|| kind.word())?;
        println!(
            "{kind}: takes samples {taken:.2} s after its start, has all history after {whole:.2} s"
        );
        if kind == Kind::Mainstay {
            said.push(Said::Figure("restart_1m_takes_samples_s".to_owned(), taken));
            said.push(Said::Figure(
                "restart_1m_has_all_history_s".to_owned(),
                whole,
            ));
        }
    }
    for it in &said {
        println!("{it}");
    }
    Ok(said)
}

fn one(peer: Peer, own: &Path) -> anyhow::Result<(f64, f64)> {
    let now_ms = SystemTime::UNIX_EPOCH.elapsed()?.as_millis() as u64;
    let began_ms = now_ms - (SIZE.rounds + 1) * STEP_MS;
    send_rounds(&peer, &names(), &SIZE, (0..SIZE.rounds, began_ms))?;
    let began = Instant::now();
    let (peer, _) = peer.restart(own)?;
    let all = SIZE.hosts + 1;
    let one_more = delivery(&names(), SIZE.hosts..all, (0, now_ms))?;
    send(&mut peer.connection()?, &one_more)?;
    let taken = began.elapsed().as_secs_f64();
    let wanted = (SIZE.hosts as u64 * SIZE.rounds + 1) * PER_METRIC as u64;
    loop {
        let found = counted(&peer, now_ms)?;
        if found == wanted {
            return Ok((taken, began.elapsed().as_secs_f64()));
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "{wanted} samples of one metric were sent, {found} are there"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
