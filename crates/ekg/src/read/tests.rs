use mainstay_tsdb::{Head, HeadLimits, Labels, stale_marker};

use super::*;
use crate::{Ekg, wire::put::Put};

/// 3,000 series of `up` with 200 samples each, one of which ends in a staleness marker, and one of `down`.
fn ekg() -> Ekg {
    let mut head = Head::new(HeadLimits::default());
    let mut add = |name: &str, host: usize, at_ms, value| {
        let host = format!("h{host:04}");
        let labels = [("__name__", name), ("host", host.as_str())];
        let labels = Labels::from_pairs(labels).unwrap();
        head.append(&labels, at_ms, value).unwrap();
    };
    for at in 1..=200 {
        for host in 0..3_000 {
            add("up", host, at * 1_000, host as f64);
        }
    }
    add("up", 7, 201_000, stale_marker());
    add("down", 1, 5_000, -0.0);
    Ekg::over(head.tsdb())
}

fn asked(name: &str, window: (i64, i64), types: &[u32], hints: &Put) -> Request {
    let mut matcher = Put::default();
    matcher.text(2, "__name__");
    matcher.unsigned(1, 2);
    matcher.text(3, name);
    let mut query = Put::default();
    query.signed(1, window.0);
    query.signed(2, window.1);
    query.message(3, &matcher);
    query.message(4, hints);
    let mut request = Put::default();
    request.message(1, &query);
    request.packed(2, types);
    let packed = snap::raw::Encoder::new().compress_vec(request.as_bytes());
    Request::decode(&packed.unwrap()).unwrap()
}

/// Labels and the number of samples or chunks of each series in a message that holds such as field 1.
fn series_of(mut message: Reader<'_>) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    while let Some(field) = message.field().unwrap() {
        if field.number != 1 {
            continue;
        }
        let mut series = field.message().unwrap();
        let (mut labels, mut pieces) = (String::new(), 0);
        while let Some(field) = series.field().unwrap() {
            if field.number == 2 {
                pieces += 1;
                continue;
            }
            let mut label = field.message().unwrap();
            while let Some(field) = label.field().unwrap() {
                labels.push_str(field.text().unwrap());
                labels.push(' ');
            }
        }
        found.push((labels, pieces));
    }
    found
}

fn frames(ekg: &Ekg, request: &Request) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut take = |frame: Vec<u8>| {
        // The message follows its length and four bytes of checksum.
        let length = frame.iter().take_while(|it| **it >= 0x80).count() + 1;
        let (sum, message) = frame[length..].split_first_chunk::<4>().unwrap();
        assert_eq!(u32::from_be_bytes(*sum), crc32c::crc32c(message));
        found.extend(series_of(Reader::new(message)));
        true
    };
    ekg.remote_read(request, &mut take).unwrap();
    found
}

#[test]
fn frames_hold_every_series_in_order_and_its_samples_in_chunks_of_120() {
    let ekg = ekg();
    let found = frames(
        &ekg,
        &asked("up|down", (0, 300_000), &[1, 0], &Put::default()),
    );
    assert_eq!(found.len(), 3_001);
    assert_eq!(found[0], ("__name__ down host h0001 ".to_owned(), 1));
    assert!(found.is_sorted());
    assert!(found[1..].iter().all(|(_, chunks)| *chunks == 2));
}

#[test]
fn samples_come_in_one_message_and_as_hints_say() {
    let ekg = ekg();
    let answer = |request: &Request| {
        let mut message = Vec::new();
        let mut take = |packed: Vec<u8>| {
            message = snap::raw::Decoder::new().decompress_vec(&packed).unwrap();
            true
        };
        ekg.remote_read(request, &mut take).unwrap();
        let mut response = Reader::new(&message);
        series_of(response.field().unwrap().unwrap().message().unwrap())
    };
    let request = asked("up", (10_000, 19_000), &[0], &Put::default());
    assert!(!request.is_streamed());
    let found = answer(&request);
    assert_eq!(found.len(), 3_000);
    assert_eq!(found[0].1, 10);

    let mut hints = Put::default();
    hints.signed(3, 15_000);
    hints.signed(4, 30_000);
    assert_eq!(answer(&asked("up", (10_000, 19_000), &[], &hints))[0].1, 5);
    hints.text(2, "series");
    let labels = answer(&asked("up", (10_000, 19_000), &[], &hints));
    assert_eq!((labels.len(), labels[0].1), (3_000, 0));
}

#[test]
fn who_takes_no_more_ends_the_answer_and_what_is_no_request_is_refused() {
    let ekg = ekg();
    let request = asked("up", (0, 300_000), &[1], &Put::default());
    let mut frames = 0;
    let mut take = |_: Vec<u8>| {
        frames += 1;
        frames < 3
    };
    let ended = ekg.remote_read(&request, &mut take);
    assert_eq!(ended, Err(AnswerError::Interrupted));
    assert_eq!(frames, 3);

    let mut request = Put::default();
    request.packed(2, &[7]);
    let packed = snap::raw::Encoder::new().compress_vec(request.as_bytes());
    let refused = Request::decode(&packed.unwrap()).unwrap_err();
    assert!(
        refused.to_string().contains("STREAMED_XOR_CHUNKS"),
        "{refused}"
    );
    assert!(Request::decode(b"\xff\xff\xff\xff\xff\xff").is_err());
}
