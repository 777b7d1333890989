//! Answers of remote read: one packed message of samples, or frames of chunks.

use mainstay_tsdb::{Labels, SeriesSlice, Tsdb};

use super::{AnswerError, FRAME_BYTES, Request, SAMPLES_MAX, batches::Batches, xor};
use crate::{
    Ekg, native,
    wire::put::{self, Put},
};

impl Ekg {
    /// Answers a request piece by piece; `take` says whether to go on. The pieces of an answer that is not streamed
    /// are one, packed with snappy.
    pub fn remote_read(
        &self,
        request: &Request,
        take: &mut dyn FnMut(Vec<u8>) -> bool,
    ) -> Result<(), AnswerError> {
        if request.streamed {
            return streamed(&self.tsdb, request, take);
        }
        let message = whole(&self.tsdb, request)?;
        let packed = snap::raw::Encoder::new().compress_vec(&message);
        // Only what is longer than 4 GiB cannot be packed.
        let packed = packed.map_err(|_| AnswerError::TooMuch)?;
        taken(take(packed))
    }
}

fn taken(goes_on: bool) -> Result<(), AnswerError> {
    if goes_on {
        return Ok(());
    }
    Err(AnswerError::Interrupted)
}

/// `prometheus.ReadResponse`.
fn whole(tsdb: &Tsdb, request: &Request) -> Result<Vec<u8>, AnswerError> {
    let mut response = Put::default();
    let mut samples = 0;
    for query in &request.queries {
        let mut result = Put::default();
        let mut batches = Batches::new(tsdb, query)?;
        while let Some(batch) = batches.next()? {
            for series in batch {
                samples += weight(&series);
                if samples > SAMPLES_MAX {
                    return Err(AnswerError::TooMuch);
                }
                result.message(1, &time_series(&series));
            }
        }
        response.message(1, &result);
    }
    Ok(response.into_bytes())
}

fn time_series(series: &SeriesSlice) -> Put {
    let mut message = Put::default();
    put_labels(&mut message, &series.labels);
    let mut sample = Put::default();
    for (at_ms, value) in series.timestamps.iter().zip(series.values.iter()) {
        sample.clear();
        sample.double(1, *value);
        sample.signed(2, *at_ms);
        message.message(2, &sample);
    }
    for sample in &series.histograms {
        message.message(4, &native::message(sample.at_ms, &sample.histogram));
    }
    message
}

/// How many samples it has, a histogram as many as take its place in memory.
pub(super) fn weight(series: &SeriesSlice) -> usize {
    let histograms = series.histograms.iter();
    let histograms = histograms.map(|it| 1 + it.histogram.bytes() / size_of::<(i64, f64)>());
    series.timestamps.len() + histograms.sum::<usize>()
}

fn put_labels(message: &mut Put, labels: &Labels) {
    for (name, value) in labels {
        let mut label = Put::default();
        label.text(1, name);
        label.text(2, value);
        message.message(1, &label);
    }
}

/// Frames of `prometheus.ChunkedReadResponse`, whose chunks are of numbers: histograms are in the other answer.
fn streamed(
    tsdb: &Tsdb,
    request: &Request,
    take: &mut dyn FnMut(Vec<u8>) -> bool,
) -> Result<(), AnswerError> {
    for (index, query) in request.queries.iter().enumerate() {
        let mut batches = Batches::new(tsdb, query)?;
        while let Some(batch) = batches.next()? {
            let only_histograms =
                |it: &SeriesSlice| it.timestamps.is_empty() && !it.histograms.is_empty();
            for series in batch.into_iter().filter(|it| !only_histograms(it)) {
                for frame in Frames::new(&series, index) {
                    taken(take(frame))?;
                }
            }
        }
    }
    Ok(())
}

/// The frames of one series: each begins with its labels, and the last chunk of a frame is the one that fills it.
struct Frames<'a> {
    series: &'a SeriesSlice,
    index: usize,
    at: usize,
    done: bool,
}

impl<'a> Frames<'a> {
    fn new(series: &'a SeriesSlice, index: usize) -> Self {
        Self {
            series,
            index,
            at: 0,
            done: false,
        }
    }

    fn chunk(&mut self) -> Option<Put> {
        let (times, values) = (&self.series.timestamps, &self.series.values);
        let end = (self.at + xor::SAMPLES_MAX).min(times.len());
        let (times, values) = (times.get(self.at..end)?, values.get(self.at..end)?);
        let (first, last) = (times.first()?, times.last()?);
        self.at = end;
        let mut chunk = Put::default();
        chunk.signed(1, *first);
        chunk.signed(2, *last);
        chunk.unsigned(3, 1);
        chunk.bytes(4, &xor::chunk(times, values));
        Some(chunk)
    }
}

impl Iterator for Frames<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.done {
            return None;
        }
        let mut series = Put::default();
        put_labels(&mut series, &self.series.labels);
        while series.len() < FRAME_BYTES
            && let Some(chunk) = self.chunk()
        {
            series.message(2, &chunk);
        }
        self.done = self.at >= self.series.timestamps.len();
        let mut response = Put::default();
        response.message(1, &series);
        response.unsigned(2, self.index as u64);
        Some(framed(response.as_bytes()))
    }
}

/// A message with its length and its checksum before it.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(message.len() + 14);
    put::varint(&mut frame, message.len() as u64);
    frame.extend_from_slice(&crc32c::crc32c(message).to_be_bytes());
    frame.extend_from_slice(message);
    frame
}
