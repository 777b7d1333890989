//! One kept HTTP/1.1 connection, for whoever waits for each answer before it asks again.
//!
//! Guarantees: an answer is read whole or is an error; no wait is endless; no head and no body is longer than its
//! limit. Never follows a redirect and never opens a second connection: who counts answers must know them all.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Bytes of a head.
const HEAD_BYTES_MAX: u64 = 64 << 10;
/// Bytes of a body: a day of ten thousand series as JSON fits.
const BODY_BYTES_MAX: u64 = 4 << 30;

/// What was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The code.
    pub status: u16,
    /// The status line and the headers.
    pub head: String,
    /// The body, whatever it is.
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether it is one of 2xx.
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as a text, for a message.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(':'));
        headers
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

/// See the module.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
}

impl Connection {
    /// Connects; an answer that takes longer than `patience` is an error.
    pub fn open(host: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&host, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let stream = BufReader::with_capacity(64 << 10, stream);
        Ok(Self { stream, host })
    }

    /// `GET`.
    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.ask("GET", path, &[], &[])
    }

    /// `POST`.
    pub fn post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        self.ask("POST", path, headers, body)
    }

    fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.host);
        for (name, value) in headers {
            for part in [name, ": ", value, "\r\n"] {
                head.push_str(part);
            }
        }
        head.push_str("content-length: ");
        head.push_str(&body.len().to_string());
        head.push_str("\r\n\r\n");
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let mut answer = Answer::default();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            answer.head.push_str(&line);
            answer.head.push('\n');
            if answer.head.len() as u64 > HEAD_BYTES_MAX {
                return Err(broken("a head without an end"));
            }
        }
        let code = answer.head.split(' ').nth(1).and_then(|it| it.parse().ok());
        answer.status = code.ok_or_else(|| broken("no status"))?;
        if answer
            .header("transfer-encoding")
            .is_some_and(|it| it.contains("chunked"))
        {
            while self.chunk(&mut answer.body)? {}
        } else if answer.status != 204 {
            let length = answer.header("content-length").unwrap_or("0").parse();
            let length = length.map_err(|_| broken("a length that is none"))?;
            self.take(length, &mut answer.body)?;
        }
        Ok(answer)
    }

    /// A piece of a body in pieces; whether more follow.
    fn chunk(&mut self, body: &mut Vec<u8>) -> io::Result<bool> {
        let line = self.line()?;
        let length = line.split(';').next().unwrap_or_default();
        let length = u64::from_str_radix(length.trim(), 16);
        let length = length.map_err(|_| broken("a piece without a length"))?;
        self.take(length, body)?;
        self.line()?;
        Ok(length > 0)
    }

    fn take(&mut self, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
        if body.len() as u64 + length > BODY_BYTES_MAX {
            return Err(broken("a body over the limit"));
        }
        let read = (&mut self.stream).take(length).read_to_end(body)?;
        if (read as u64) < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        let read = (&mut self.stream)
            .take(HEAD_BYTES_MAX)
            .read_line(&mut line)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::TcpListener, thread};

    fn answered(with: &'static str) -> io::Result<Answer> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let server = thread::spawn(move || -> io::Result<()> {
            let mut reader = BufReader::new(listener.accept()?.0);
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                reader.read_line(&mut line)?;
            }
            reader.get_mut().write_all(with.as_bytes())
        });
        let answer = Connection::open(address, Duration::from_secs(10))?.get("/");
        server.join().unwrap()?;
        answer
    }

    #[test]
    fn a_body_is_read_whole_whether_it_has_a_length_or_comes_in_pieces() {
        let whole = answered("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwhat").unwrap();
        let pieces =
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nw\r\n3\r\nhat\r\n0\r\n\r\n";
        assert_eq!(answered(pieces).unwrap().body, whole.body);
        assert_eq!((whole.status, whole.text()), (200, "what".to_owned()));
    }

    #[test]
    fn an_answer_that_ends_early_is_an_error() {
        let cut = answered("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nwhat");
        assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
