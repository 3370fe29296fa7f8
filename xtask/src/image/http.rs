//! Getting bytes over HTTP: small documents whole, large files in pieces that survive a broken line.
//!
//! Trusts the machine's certificates and proxies. Trusts no content: who asks knows the digest, or
//! checks a signature.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use keyway_manifest::text::Show as _;
use keyway_manifest::{Digest, Hasher};
use thiserror::Error;
use ureq::http::StatusCode;
use ureq::tls::{RootCerts, TlsConfig};

/// A transfer that brings nothing for this long is broken off.
const STALL: Duration = Duration::from_secs(20);
/// How often a transfer that makes progress is taken up again.
const RESUMPTIONS: u32 = 20;

/// An HTTP client.
#[derive(Debug, Clone)]
pub struct Http {
    agent: ureq::Agent,
    /// Sent with every request; not where a server sends the client on to.
    authorization: Option<String>,
}

/// What a server that may ask who wants to know answers.
#[derive(Debug)]
pub(super) enum Answer {
    /// The document.
    Document(Vec<u8>),
    /// How to identify oneself.
    Challenge(String),
}

/// What is sent to a server that takes files.
#[derive(Debug, Clone, Copy)]
pub(super) enum Message<'a> {
    /// Whether it has a file.
    Head,
    /// The wish to send one.
    Post,
    /// A small one, with its media type.
    Put {
        /// The media type.
        kind: &'a str,
        /// The content.
        bytes: &'a [u8],
    },
    /// A large one.
    PutFile(&'a Path),
}

/// What it answers, without the content.
#[derive(Debug)]
pub(super) struct Reply {
    /// The status code.
    pub(super) status: u16,
    /// Where to go on.
    pub(super) location: Option<String>,
    /// How to identify oneself, where the status is 401.
    pub(super) challenge: Option<String>,
}

/// Why one address did not give what was asked of it.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The server has no such file.
    #[error("`{url}` answered {status}")]
    Status {
        /// The address.
        url: String,
        /// The status code.
        status: u16,
    },
    /// The connection failed.
    #[error("could not get `{url}`: {source}")]
    Transport {
        /// The address.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// It broke off, again and again.
    #[error("`{url}` broke off after {received} bytes: {source}")]
    Broken {
        /// The address.
        url: String,
        /// How many bytes were there by then.
        received: u64,
        /// Why.
        source: io::Error,
    },
    /// It is larger than it may be.
    #[error("`{url}` is larger than {limit} bytes")]
    TooLarge {
        /// The address.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// It has another content than it should.
    #[error("`{url}` has sha256 {found}, expected {expected}")]
    Content {
        /// The address.
        url: String,
        /// The digest it should have.
        expected: Digest,
        /// The digest it has.
        found: Digest,
    },
    /// Nobody knows how to identify this user.
    #[error("could not log in to `{url}`: {problem}")]
    Identity {
        /// The address.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// An upload is to go where it would not be safe.
    #[error("`{url}` sends the upload on to `{location}`, which is no address over https")]
    Elsewhere {
        /// The address.
        url: String,
        /// Where it is to go.
        location: String,
    },
    /// The disk failed.
    #[error("could not write `{path}`: {source}", path = .path.shown())]
    Disk {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// What a file must be.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Digest,
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl Http {
    /// A client with the machine's certificates and the environment's proxies.
    pub fn new() -> Self {
        Self::with_patience(STALL)
    }

    /// The same, which breaks off what brings nothing for this long.
    pub fn with_patience(stall: Duration) -> Self {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .user_agent(concat!("keyway/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(stall))
            .timeout_connect(Some(stall))
            .timeout_recv_response(Some(stall))
            .timeout_per_read(Some(stall))
            .build();
        Self { agent: config.into(), authorization: None }
    }

    /// The same client, which identifies itself.
    pub(super) fn authorized(&self, authorization: String) -> Self {
        Self { agent: self.agent.clone(), authorization: Some(authorization) }
    }

    /// A document of one of several kinds, or what it takes to get it.
    ///
    /// # Errors
    /// Those of [`Http::get`].
    pub(super) fn ask(&self, url: &str, accept: &str, limit: u64) -> Result<Answer, HttpError> {
        let mut request = self.agent.get(url).header("Accept", accept);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let request = request.config().http_status_as_error(false).build();
        let mut response = request.call().map_err(|error| refused(url, error))?;
        let status = response.status();
        let challenge = response.headers().get("www-authenticate");
        if let (StatusCode::UNAUTHORIZED, Some(challenge)) = (status, challenge) {
            return Ok(Answer::Challenge(challenge.to_str().unwrap_or_default().to_owned()));
        }
        if !status.is_success() {
            return Err(HttpError::Status { url: url.to_owned(), status: status.as_u16() });
        }
        let mut bytes = Vec::new();
        let read = response.body_mut().as_reader().take(limit + 1).read_to_end(&mut bytes);
        let received = bytes.len() as u64;
        match read {
            Ok(_) if received > limit => Err(HttpError::TooLarge { url: url.to_owned(), limit }),
            Ok(_) => Ok(Answer::Document(bytes)),
            Err(source) => Err(HttpError::Broken { url: url.to_owned(), received, source }),
        }
    }

    /// Sends something; any status is an answer.
    pub(super) fn send(&self, url: &str, message: &Message<'_>) -> Result<Reply, HttpError> {
        let authorization = self.authorization.iter();
        let agent = &self.agent;
        let with_body = |request: ureq::RequestBuilder<_>| {
            let request = authorization.clone().fold(request, |r, a| r.header("Authorization", a));
            request.config().http_status_as_error(false).build()
        };
        let answer = match message {
            Message::Head => {
                let head = authorization
                    .clone()
                    .fold(agent.head(url), |r, a| r.header("Authorization", a));
                head.config().http_status_as_error(false).build().call()
            }
            Message::Post => with_body(agent.post(url)).send_empty(),
            Message::Put { kind, bytes } => {
                with_body(agent.put(url)).header("Content-Type", *kind).send(*bytes)
            }
            Message::PutFile(path) => {
                let file = File::open(path).map_err(|source| HttpError::Disk {
                    path: path.to_string_lossy().into_owned(),
                    source,
                })?;
                let kind = "application/octet-stream";
                with_body(agent.put(url)).header("Content-Type", kind).send(&file)
            }
        };
        let response = answer.map_err(|error| refused(url, error))?;
        let status = response.status().as_u16();
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let challenge = header("www-authenticate").filter(|_| status == 401);
        Ok(Reply { status, location: header("location"), challenge })
    }

    /// A document of at most `limit` bytes.
    ///
    /// # Errors
    /// If the server does not give it, or it is larger.
    pub fn get(&self, url: &str, limit: u64) -> Result<Vec<u8>, HttpError> {
        let mut response = self.request(url, 0)?;
        let mut bytes = Vec::new();
        let read = response.body_mut().as_reader().take(limit + 1).read_to_end(&mut bytes);
        match read {
            Ok(_) if bytes.len() as u64 > limit => {
                Err(HttpError::TooLarge { url: url.to_owned(), limit })
            }
            Ok(_) => Ok(bytes),
            Err(source) => {
                Err(HttpError::Broken { url: url.to_owned(), received: bytes.len() as u64, source })
            }
        }
    }

    /// The size of a file, if the server tells.
    ///
    /// # Errors
    /// If it has no such file.
    pub fn size(&self, url: &str) -> Result<Option<u64>, HttpError> {
        let response = self.agent.head(url).call().map_err(|error| refused(url, error))?;
        let length = response.headers().get("content-length");
        Ok(length.and_then(|length| length.to_str().ok()?.parse().ok()))
    }

    /// Saves a file of which neither size nor digest is known yet, of at most `limit` bytes.
    ///
    /// # Errors
    /// If the server does not give it whole, or it is larger.
    pub fn save(&self, url: &str, limit: u64, to: &Path) -> Result<Expected, HttpError> {
        let disk = |source| HttpError::Disk { path: to.to_string_lossy().into_owned(), source };
        let mut response = self.request(url, 0)?;
        let mut from = response.body_mut().as_reader();
        let mut file = File::create(to).map_err(disk)?;
        let (mut size, mut hasher) = (0, Hasher::new());
        let mut buffer = vec![0; 64 << 10];
        loop {
            let n = from.read(&mut buffer).map_err(|source| HttpError::Broken {
                url: url.to_owned(),
                received: size,
                source,
            })?;
            if n == 0 {
                break;
            }
            size += n as u64;
            if size > limit {
                return Err(HttpError::TooLarge { url: url.to_owned(), limit });
            }
            hasher.update(&buffer[..n]);
            file.write_all(&buffer[..n]).map_err(disk)?;
        }
        file.sync_all().map_err(disk)?;
        Ok(Expected { size, sha256: hasher.finish() })
    }

    /// Downloads a file to `part`, going on from what is there already; `progress` is told of the
    /// bytes that arrive. The content is checked while it passes.
    ///
    /// # Errors
    /// If the server does not give it whole, or it is not what is expected; of wrong content nothing
    /// is kept.
    pub fn download(
        &self,
        url: &str,
        expected: Expected,
        part: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), HttpError> {
        let disk = |source| HttpError::Disk { path: part.to_string_lossy().into_owned(), source };
        let mut transfer = Transfer::open(part, expected).map_err(disk)?;
        progress(transfer.received);
        let mut resumptions = 0;
        let taken_up = transfer.received > 0;
        while transfer.received < expected.size {
            let before = transfer.received;
            let mut response = self.request(url, transfer.received)?;
            if response.status() != StatusCode::PARTIAL_CONTENT {
                transfer.restart().map_err(disk)?;
            }
            match transfer.copy(response.body_mut().as_reader(), progress) {
                Ok(()) => {}
                Err(Copy::Disk(source)) => return Err(disk(source)),
                Err(Copy::Line(_)) if transfer.received > before && resumptions < RESUMPTIONS => {}
                Err(Copy::Line(source)) => {
                    let (url, received) = (url.to_owned(), transfer.received);
                    return Err(HttpError::Broken { url, received, source });
                }
                Err(Copy::TooMuch) => {
                    transfer.restart().map_err(disk)?;
                    let (url, limit) = (url.to_owned(), expected.size);
                    return Err(HttpError::TooLarge { url, limit });
                }
            }
            resumptions += 1;
        }
        let found = transfer.hasher.clone().finish();
        if found != expected.sha256 {
            transfer.restart().map_err(disk)?;
            if taken_up {
                // What lay there may have been the wrong part; the server gets a chance of its own.
                return self.download(url, expected, part, progress);
            }
            let (url, expected) = (url.to_owned(), expected.sha256);
            return Err(HttpError::Content { url, expected, found });
        }
        transfer.file.sync_all().map_err(disk)
    }

    fn request(&self, url: &str, from: u64) -> Result<ureq::http::Response<ureq::Body>, HttpError> {
        let mut request = self.agent.get(url);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        request.call().map_err(|error| refused(url, error))
    }
}

fn refused(url: &str, error: ureq::Error) -> HttpError {
    match error {
        ureq::Error::StatusCode(status) => HttpError::Status { url: url.to_owned(), status },
        source => HttpError::Transport { url: url.to_owned(), source: Box::new(source) },
    }
}

/// A file that is being received.
struct Transfer {
    file: File,
    expected: Expected,
    received: u64,
    hasher: Hasher,
}

/// Where a copy failed.
enum Copy {
    Line(io::Error),
    Disk(io::Error),
    TooMuch,
}

impl Transfer {
    /// Takes up what `part` holds; more than the file can have is thrown away.
    fn open(part: &Path, expected: Expected) -> io::Result<Self> {
        let file =
            File::options().create(true).truncate(false).read(true).write(true).open(part)?;
        let mut transfer = Self { file, expected, received: 0, hasher: Hasher::new() };
        if transfer.file.metadata()?.len() <= expected.size {
            transfer.received = io::copy(&mut transfer.file, &mut transfer.hasher)?;
        } else {
            transfer.restart()?;
        }
        Ok(transfer)
    }

    fn restart(&mut self) -> io::Result<()> {
        use std::io::Seek as _;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.received = 0;
        self.hasher = Hasher::new();
        Ok(())
    }

    fn copy(&mut self, mut from: impl Read, progress: &mut dyn FnMut(u64)) -> Result<(), Copy> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let n = match from.read(&mut buffer) {
                Ok(0) if self.received < self.expected.size => {
                    return Err(Copy::Line(io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(error) => return Err(Copy::Line(error)),
            };
            if self.received + n as u64 > self.expected.size {
                return Err(Copy::TooMuch);
            }
            self.file.write_all(&buffer[..n]).map_err(Copy::Disk)?;
            self.hasher.update(&buffer[..n]);
            self.received += n as u64;
            progress(self.received);
        }
    }
}
