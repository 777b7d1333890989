//! A server that answers what it was told to, and remembers what it was asked.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use serde_json::Value;

#[derive(Default)]
struct Told {
    /// By method and path, without parameters.
    answers: BTreeMap<String, (u16, Value)>,
    asked: Vec<(String, Value)>,
}

/// See the module. Ends with the handle.
pub(crate) struct Fake {
    address: SocketAddr,
    told: Arc<Mutex<Told>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    pub(crate) fn start() -> Self {
        let mut fake = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            told: Arc::default(),
            stop: Arc::default(),
            thread: None,
        };
        fake.come();
        fake
    }

    /// Listens where it listened before.
    pub(crate) fn come(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        self.address = listener.local_addr().unwrap();
        self.stop.store(false, Ordering::SeqCst);
        let (told, stop) = (self.told.clone(), self.stop.clone());
        self.thread = Some(std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                // A client that went away has asked nothing.
                let _ = attend(&stream.unwrap(), &told);
            }
        }));
    }

    /// Connections are refused from here on.
    pub(crate) fn go(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener; an error means that it is gone already.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers `request`, such as `GET /api/v1/views/status`, with 200.
    pub(crate) fn says(&self, request: &str, answer: Value) {
        self.answers(request, 200, answer);
    }

    pub(crate) fn answers(&self, request: &str, status: u16, answer: Value) {
        let mut told = self.told.lock().unwrap();
        told.answers.insert(request.to_owned(), (status, answer));
    }

    /// Bodies of the requests that were made, with their parameters.
    pub(crate) fn asked(&self, method: &str) -> Vec<(String, Value)> {
        let told = self.told.lock().unwrap();
        let all = told.asked.iter();
        all.filter(|(request, _)| request.starts_with(method))
            .cloned()
            .collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.go();
    }
}

fn attend(mut stream: &TcpStream, told: &Mutex<Told>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        if header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let request = first.rsplit_once(' ').map_or("", |(request, _)| request);
    let path = request.split('?').next().unwrap_or_default();
    let (status, answer) = {
        let mut told = told.lock().unwrap();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        told.asked.push((request.to_owned(), body));
        told.answers.get(path).cloned().unwrap_or_else(|| {
            let problem = serde_json::json!({"code": "no-such-route", "title": path, "remedy": ""});
            (404, problem)
        })
    };
    let answer = answer.to_string();
    write!(
        stream,
        "HTTP/1.1 {status} told\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{answer}",
        answer.len()
    )
}
