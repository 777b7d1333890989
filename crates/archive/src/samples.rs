//! Samples as a Parquet file.
//!
//! Guarantees: a row for each number, those of a series one after another, by time; its bits are those of the sample. A
//! staleness marker is a row without a value: `WHERE value IS NOT NULL` leaves it out, as averages and sums do by
//! themselves. Native histograms are left out and counted. Memory is bounded by one row group and one series.
//!
//! ```text
//! name       string                                  the metric's name, empty where a series has none
//! labels     map<string, string>                     all other labels, by name
//! timestamp  timestamp in milliseconds, UTC
//! value      double, null where the series ended
//! ```

use std::{io::Write, sync::Arc};

use mainstay_tsdb::{METRIC_NAME, SeriesSlice, is_stale};
use parquet::{
    basic::{Compression, ZstdLevel},
    data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type},
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::{WriterProperties, WriterPropertiesPtr},
        writer::{SerializedColumnWriter, SerializedFileWriter},
    },
    schema::{parser::parse_message_type, types::ColumnPath},
};

const SCHEMA: &str = "
message samples {
  REQUIRED BYTE_ARRAY name (STRING);
  REQUIRED GROUP labels (MAP) {
    REPEATED GROUP key_value {
      REQUIRED BYTE_ARRAY key (STRING);
      REQUIRED BYTE_ARRAY value (STRING);
    }
  }
  REQUIRED INT64 timestamp (TIMESTAMP(MILLIS,true));
  OPTIONAL DOUBLE value;
}";
/// Rows of a row group: enough to compress well, few enough to be held.
const GROUP_ROWS: usize = 1 << 20;
/// Values given to a column at once.
const BATCH_ROWS: usize = 4_096;
/// Effort of the compression: beyond it little is gained for much time.
const ZSTD_LEVEL: i32 = 3;
/// Says in the file how many histograms are not in it.
pub const LEFT_OUT: &str = "mainstay.histograms_left_out";

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows.
    pub rows: u64,
    /// Series.
    pub series: u64,
    /// Histograms that are not in the file.
    pub left_out: u64,
}

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
#[error("samples cannot be written as Parquet: {0}")]
pub struct SamplesError(#[from] ParquetError);

/// Rows of one series that wait for their row group.
struct Held {
    name: ByteArray,
    labels: Vec<(ByteArray, ByteArray)>,
    times: Vec<i64>,
    values: Vec<f64>,
}

/// See the module.
pub struct SampleFile<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    held: Vec<Held>,
    held_rows: usize,
    totals: Totals,
}

fn properties() -> Result<WriterPropertiesPtr, ParquetError> {
    let zstd = Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?);
    // Times hardly repeat: their differences are what is small.
    let time = || ColumnPath::from("timestamp");
    let properties = WriterProperties::builder()
        .set_created_by(format!("mainstay {}", env!("CARGO_PKG_VERSION")))
        .set_compression(zstd)
        .set_column_dictionary_enabled(time(), false)
        .set_column_encoding(time(), parquet::basic::Encoding::DELTA_BINARY_PACKED);
    Ok(Arc::new(properties.build()))
}

impl<W: Write + Send> SampleFile<W> {
    /// A file in `into` that holds nothing yet.
    pub fn new(into: W) -> Result<Self, SamplesError> {
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        Ok(Self {
            writer: SerializedFileWriter::new(into, schema, properties()?)?,
            held: Vec::new(),
            held_rows: 0,
            totals: Totals::default(),
        })
    }

    /// Adds a series, which comes after those before.
    pub fn push(&mut self, series: &SeriesSlice) -> Result<(), SamplesError> {
        self.totals.left_out += series.histograms.len() as u64;
        if series.timestamps.is_empty() {
            return Ok(());
        }
        self.totals.series += 1;
        let bytes = |text: &str| ByteArray::from(text.as_bytes().to_vec());
        let name = bytes(series.labels.metric_name().unwrap_or_default());
        let labels: Vec<_> = { series.labels.iter() }
            .filter(|(name, _)| *name != METRIC_NAME)
            .map(|(name, value)| (bytes(name), bytes(value)))
            .collect();
        let mut times = series.timestamps.as_slice();
        let mut values = series.values.as_slice();
        while !times.is_empty() {
            let room = (GROUP_ROWS - self.held_rows).min(times.len());
            let (now, later) = times.split_at(room);
            let (values_now, values_later) = values.split_at(room.min(values.len()));
            self.held.push(Held {
                name: name.clone(),
                labels: labels.clone(),
                times: now.to_vec(),
                values: values_now.to_vec(),
            });
            self.held_rows += room;
            (times, values) = (later, values_later);
            if self.held_rows >= GROUP_ROWS {
                self.end_group()?;
            }
        }
        Ok(())
    }

    /// Ends the file.
    pub fn finish(mut self) -> Result<(W, Totals), SamplesError> {
        self.end_group()?;
        let left_out = self.totals.left_out.to_string();
        self.writer
            .append_key_value_metadata(KeyValue::new(LEFT_OUT.to_owned(), left_out));
        Ok((self.writer.into_inner()?, self.totals))
    }

    fn end_group(&mut self) -> Result<(), SamplesError> {
        if self.held_rows == 0 {
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        self.totals.rows += self.held_rows as u64;
        self.held_rows = 0;
        let mut group = self.writer.next_row_group()?;
        let mut at = 0;
        while let Some(mut column) = group.next_column()? {
            match at {
                0 => names(&held, &mut column)?,
                1 => labels(&held, &mut column, |it| &it.0)?,
                2 => labels(&held, &mut column, |it| &it.1)?,
                3 => times(&held, &mut column)?,
                _ => values(&held, &mut column)?,
            }
            column.close()?;
            at += 1;
        }
        group.close()?;
        Ok(())
    }
}

fn names(held: &[Held], column: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
    for series in held {
        let mut left = series.times.len();
        while left > 0 {
            let batch = vec![series.name.clone(); left.min(BATCH_ROWS)];
            left -= batch.len();
            column
                .typed::<ByteArrayType>()
                .write_batch(&batch, None, None)?;
        }
    }
    Ok(())
}

fn labels(
    held: &[Held],
    column: &mut SerializedColumnWriter<'_>,
    half: fn(&(ByteArray, ByteArray)) -> &ByteArray,
) -> Result<(), ParquetError> {
    for series in held {
        let count = series.labels.len();
        // Of a row the first label begins the map; a map without any is one entry that is not there.
        let row: Vec<ByteArray> = series.labels.iter().map(half).cloned().collect();
        let defined = vec![i16::from(count > 0); count.max(1)];
        let repeated: Vec<i16> = (0..count.max(1)).map(|at| i16::from(at > 0)).collect();
        let mut left = series.times.len();
        while left > 0 {
            let rows = left.min((BATCH_ROWS / count.max(1)).max(1));
            left -= rows;
            let values: Vec<ByteArray> = row.iter().cycle().take(rows * count).cloned().collect();
            column.typed::<ByteArrayType>().write_batch(
                &values,
                Some(&defined.repeat(rows)),
                Some(&repeated.repeat(rows)),
            )?;
        }
    }
    Ok(())
}

fn times(held: &[Held], column: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
    for series in held {
        column
            .typed::<Int64Type>()
            .write_batch(&series.times, None, None)?;
    }
    Ok(())
}

fn values(held: &[Held], column: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
    for series in held {
        let is_there = |it: &f64| !is_stale(*it);
        let defined: Vec<i16> = { series.values.iter() }
            .map(|it| i16::from(is_there(it)))
            .collect();
        let values: Vec<f64> = series.values.iter().copied().filter(is_there).collect();
        column
            .typed::<DoubleType>()
            .write_batch(&values, Some(&defined), None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
