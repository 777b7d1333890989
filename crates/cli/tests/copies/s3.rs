//! A store that speaks S3, somebody else's, and a way to it that can be held up.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::server::{asked, until};

pub(crate) const BUCKET: &str = "copies";
/// What the store wants to see; it does not look at the signature.
const SIGNED: (&str, &str) = (
    "authorization",
    "AWS4-HMAC-SHA256 Credential=alice/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x",
);
/// Saves an object.
const SAVE: &str = "
import sys, urllib.request as web
asked = web.Request(sys.argv[1], headers={'authorization': sys.argv[2]})
open(sys.argv[3], 'wb').write(web.urlopen(asked).read())
";

/// A Python that has all of these modules, if there is one.
pub(crate) fn python(modules: &str) -> Option<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    let named = std::env::var("MAINSTAY_PYTHON").ok();
    let known = [
        format!("{home}/.cache/mainstay/python/bin/python"),
        "python3".to_owned(),
    ];
    let has = |python: &String| {
        let import = format!("import {modules}");
        let tried = Command::new(python).args(["-c", &import]).output();
        tried.is_ok_and(|it| it.status.success())
    };
    let found = named.into_iter().chain(known).find(has);
    if found.is_none() {
        // Where nothing may be skipped, that is a failure.
        let said = format!("skipped: no Python here has {modules}");
        assert!(std::env::var_os("MAINSTAY_SKIPPED").is_none(), "{said}");
        println!("{said}");
    }
    found
}

/// The store, with a bucket.
pub(crate) struct S3 {
    process: Child,
    pub(crate) url: String,
    address: String,
}

impl S3 {
    pub(crate) fn start(python: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let process = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p"])
            .arg(address.port().to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("http://{address}");
        let store = Self {
            process,
            url,
            address: address.to_string(),
        };
        let bucket = format!("{}/{BUCKET}", store.url);
        until("the store has a bucket", || {
            let url = bucket.clone();
            asked(move |client| client.put(url).header(SIGNED.0, SIGNED.1))
                .is_some_and(|it| it.0 == 200)
        });
        store
    }

    /// Names of objects below `prefix`.
    pub(crate) fn objects(&self, prefix: &str) -> Vec<String> {
        let url = format!("{}/{BUCKET}?list-type=2&prefix={prefix}", self.url);
        let (_, text) = asked(move |client| client.get(url).header(SIGNED.0, SIGNED.1)).unwrap();
        let keys = text.split("<Key>").skip(1);
        let key = |it: &str| it.split("</Key>").next().unwrap_or_default().to_owned();
        keys.map(key).collect()
    }

    pub(crate) fn remove(&self, object: &str) {
        let url = format!("{}/{BUCKET}/{object}", self.url);
        let removed = asked(move |client| client.delete(url).header(SIGNED.0, SIGNED.1));
        assert_eq!(removed.unwrap().0, 204);
    }

    pub(crate) fn put(&self, object: &str, bytes: Vec<u8>) {
        let url = format!("{}/{BUCKET}/{object}", self.url);
        let request = move |client: &reqwest::Client| {
            let request = client.put(url).header(SIGNED.0, SIGNED.1);
            request.body(bytes)
        };
        assert_eq!(asked(request).unwrap().0, 200);
    }

    /// Saves an object as a file.
    pub(crate) fn save(&self, python: &str, object: &str, file: &Path) {
        let url = format!("{}/{BUCKET}/{}", self.url, object.replace('=', "%3D"));
        let mut command = Command::new(python);
        command.args(["-c", SAVE, &url, SIGNED.1]).arg(file);
        assert!(command.status().unwrap().success());
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether uploads of parts are held up, in the middle of their bytes.
#[derive(Default)]
struct Gate {
    closed: Mutex<bool>,
    opens: Condvar,
    waits: AtomicBool,
}

/// A way to the store.
pub(crate) struct Way {
    gate: Arc<Gate>,
    pub(crate) url: String,
}

impl Way {
    /// One on which uploads of parts stop half way until it is opened.
    pub(crate) fn closed(to: &S3) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let gate = Arc::new(Gate::default());
        *gate.closed.lock().unwrap() = true;
        let (address, own) = (to.address.clone(), Arc::clone(&gate));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(store) = TcpStream::connect(&address) else {
                    continue;
                };
                let gate = Arc::clone(&own);
                let (from, to) = (client.try_clone().unwrap(), store.try_clone().unwrap());
                thread::spawn(move || pass(from, to, Some(&gate)));
                thread::spawn(move || pass(store, client, None));
            }
        });
        Self { gate, url }
    }

    /// Whether an upload stands still on it.
    pub(crate) fn is_holding(&self) -> bool {
        self.gate.waits.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) {
        *self.gate.closed.lock().unwrap() = false;
        self.gate.opens.notify_all();
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, gate: Option<&Gate>) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let mut piece = &bytes[..count];
        let uploads = piece.starts_with(b"PUT ") && piece.windows(7).any(|it| it == b"/parts/");
        if let Some(gate) = gate.filter(|_| uploads) {
            let (half, rest) = piece.split_at(count / 2);
            piece = rest;
            if to.write_all(half).is_err() {
                break;
            }
            let closed = gate.closed.lock().unwrap();
            gate.waits.store(*closed, Ordering::SeqCst);
            drop(gate.opens.wait_while(closed, |closed| *closed).unwrap());
        }
        if to.write_all(piece).is_err() {
            break;
        }
    }
    // An error means that it is closed already.
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
