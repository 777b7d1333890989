//! Deliveries in remote write 1.0, as a sender makes them.

use std::io;

/// Headers of a delivery.
pub const WRITE_HEADERS: [(&str, &str); 3] = [
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];

/// A `prometheus.WriteRequest` in the making.
#[derive(Clone, Debug, Default)]
pub struct WriteRequest {
    message: Vec<u8>,
    series: Vec<u8>,
    inner: Vec<u8>,
}

impl WriteRequest {
    /// Adds a series with its samples, times in milliseconds since the epoch.
    pub fn series(&mut self, labels: &[(&str, &str)], samples: &[(u64, f64)]) {
        self.series.clear();
        for (name, value) in labels {
            self.inner.clear();
            put_bytes(&mut self.inner, 1, name.as_bytes());
            put_bytes(&mut self.inner, 2, value.as_bytes());
            put_bytes(&mut self.series, 1, &self.inner);
        }
        for (at_ms, value) in samples {
            self.inner.clear();
            self.inner.push(1 << 3 | 1);
            self.inner.extend(value.to_le_bytes());
            self.inner.push(2 << 3);
            put_varint(&mut self.inner, *at_ms);
            put_bytes(&mut self.series, 2, &self.inner);
        }
        put_bytes(&mut self.message, 1, &self.series);
    }

    /// The message as it stands before it is packed.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The body of a request; only a message of more than 4 GiB has none.
    pub fn packed(&self) -> io::Result<Vec<u8>> {
        Ok(snap::raw::Encoder::new().compress_vec(&self.message)?)
    }
}

/// A field of bytes in protobuf.
fn put_bytes(to: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    to.push(field << 3 | 2);
    put_varint(to, bytes.len() as u64);
    to.extend(bytes);
}

fn put_varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}
