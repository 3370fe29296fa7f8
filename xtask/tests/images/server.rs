//! A small web server: files by path, some of which break.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a path answers.
#[derive(Clone)]
pub(crate) enum Route {
    /// The bytes, or the part asked for.
    Whole(Vec<u8>),
    /// The bytes, but never more than this many in one answer; the rest on the next request.
    Pieces(Vec<u8>, usize),
    /// The bytes, cut after this many, ranges ignored.
    Cut(Vec<u8>, usize),
    /// The bytes for whoever brings the token `sesame`; others are told where there is one.
    Guarded(Vec<u8>, String),
    /// The beginning of the bytes, then silence with the line open.
    Stall(Vec<u8>, usize),
    /// The beginning of the bytes, then the line is reset.
    Reset(Vec<u8>, usize),
    /// The bytes for the user `u` with the password `p`.
    Private(Vec<u8>),
    /// A status and nothing else.
    Status(u16),
}

/// A server on a port of its own; it ends with the process.
#[derive(Clone)]
pub(crate) struct Server {
    port: u16,
    routes: Arc<Mutex<BTreeMap<String, Route>>>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self { port, routes: Arc::default(), log: Arc::default() };
        let serving = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = serving.clone();
                std::thread::spawn(move || drop(server.answer(stream)));
            }
        });
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    pub(crate) fn put(&self, path: &str, route: Route) {
        self.routes.lock().unwrap().insert(path.to_owned(), route);
    }

    pub(crate) fn remove(&self, path: &str) {
        self.routes.lock().unwrap().remove(path);
    }

    /// Paths that were asked for so far, with where the range began.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        // Byte by byte, so that what is not read stays with the kernel: see `Route::Reset`.
        let mut reader = BufReader::with_capacity(1, stream.try_clone()?);
        let mut request = String::new();
        reader.read_line(&mut request)?;
        let path = request.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
        if let Some(Route::Reset(bytes, at)) = self.routes.lock().unwrap().get(&path) {
            self.log.lock().unwrap().push(format!("{path} 0"));
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
            stream.write_all(&[head.as_bytes(), &bytes[..*at]].concat())?;
            // The rest of the request was not read: a line that is closed then is reset. The client
            // gets the time to read what it was sent, which a reset throws away.
            std::thread::sleep(Duration::from_millis(100));
            return Ok(());
        }
        let (mut from, mut authorization) = (0, String::new());
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let lower = line.to_ascii_lowercase();
            if let Some(range) = lower.trim().strip_prefix("range: bytes=") {
                from = range.trim_end_matches('-').parse().unwrap_or(0);
            }
            if lower.starts_with("authorization: ") {
                authorization = line["authorization: ".len()..].trim().to_owned();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        self.log.lock().unwrap().push(format!("{path} {from}"));
        let route = self.routes.lock().unwrap().get(&path).cloned();
        let mut head = |status: &str, length: usize| {
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            )
        };
        match route {
            None => head("404 Not Found", 0),
            Some(Route::Status(status)) => head(&format!("{status} X"), 0),
            Some(Route::Stall(bytes, at)) => {
                head("200 OK", bytes.len())?;
                stream.write_all(&bytes[..at])?;
                std::thread::sleep(Duration::from_secs(60));
                Ok(())
            }
            Some(Route::Reset(..)) => unreachable!("answered above"),
            Some(Route::Cut(bytes, at)) => {
                head("200 OK", bytes.len())?;
                stream.write_all(&bytes[..at])
            }
            Some(Route::Private(_)) if authorization != "Basic dTpw" => head("401 X", 0),
            Some(Route::Guarded(_, challenge)) if authorization != "Bearer sesame" => {
                write!(
                    stream,
                    "HTTP/1.1 401 X\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\n\
                     Connection: close\r\n\r\n"
                )
            }
            Some(Route::Whole(bytes) | Route::Guarded(bytes, _) | Route::Private(bytes)) => {
                head(if from > 0 { "206 Partial Content" } else { "200 OK" }, bytes.len() - from)?;
                stream.write_all(&bytes[from..])
            }
            Some(Route::Pieces(bytes, most)) => {
                head(if from > 0 { "206 Partial Content" } else { "200 OK" }, bytes.len() - from)?;
                stream.write_all(&bytes[from..bytes.len().min(from + most)])
            }
        }
    }
}
