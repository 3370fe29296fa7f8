//! A repository of a registry (OCI distribution): documents and layers out of it, images into it.
//!
//! Trusted with nothing: what comes out is checked against a digest that is known before. A password
//! goes to the registry, and to where it hands out tokens, over TLS or to this machine only.

use std::fs::{self, File};
use std::path::Path;

use thiserror::Error;

use super::credentials;
use super::http::{Answer, Expected, Http, HttpError, Message, Reply};
use super::lock::LockedLayer;
use super::oci;
use super::recipe::{Reference, is_private};
use super::{CacheError, ImageError, Images};
use crate::cache::set_shared_mode;
use crate::container::{Image, Layer};
use crate::failure::{Diagnose, Exit};
use crate::shell::Shell;

/// A token has some kilobytes.
const TOKEN_LIMIT: u64 = 1 << 20;

/// What a registry is asked to allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To read.
    Pull,
    /// To read and write.
    Push,
}

/// Why an image can't be pushed.
#[derive(Debug, Error)]
#[error("could not push image `{image}` to `{repository}`")]
pub struct RegistryError {
    image: String,
    repository: Box<Reference>,
    source: HttpError,
}

impl Diagnose for RegistryError {
    fn exit(&self) -> Exit {
        Exit::Environment
    }

    fn hint(&self) -> Option<String> {
        let host = &self.repository.registry;
        Some(match self.source {
            HttpError::Status { status: 401 | 403, .. } => {
                format!("`docker login {host}` as a user who may push there")
            }
            _ => format!("does `{host}` answer here, over https?"),
        })
    }
}

/// Parses `REGISTRY/NAME`, without a tag or digest.
///
/// # Errors
/// If it is anything else.
pub fn repository(text: &str) -> Result<Reference, String> {
    let reference: Reference = text.parse()?;
    if reference.tag.is_some() || reference.digest.is_some() {
        return Err("a repository is `REGISTRY/NAME`, without tag or digest".into());
    }
    Ok(reference)
}

/// A repository, and who asks.
#[derive(Debug)]
pub struct Registry {
    repository: Reference,
    root: String,
    access: Access,
    anonymous: Http,
    http: Http,
}

/// What a push did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The tag it got, for people and so that the registry keeps it.
    pub tag: String,
    /// Blobs that the registry did not have.
    pub sent: usize,
    /// Blobs that it had.
    pub known: usize,
}

impl Registry {
    /// The repository of a reference.
    pub fn new(repository: &Reference, access: Access, http: &Http) -> Self {
        let host = &repository.registry;
        let plain = format!("http://{host}");
        let root = if is_private(&plain) { plain } else { format!("https://{host}") };
        let (anonymous, http) = (http.clone(), http.clone());
        Self { repository: repository.clone(), root, access, anonymous, http }
    }

    /// Where something of the repository lies.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/v2/{}/{path}", self.root, self.repository.name)
    }

    /// A client that identifies itself as the registry wanted, once it was asked for anything.
    pub(super) fn http(&self) -> &Http {
        &self.http
    }

    /// A document below the repository's name.
    pub(super) fn document(
        &mut self,
        path: &str,
        accept: &str,
        limit: u64,
    ) -> Result<Vec<u8>, HttpError> {
        let url = self.url(path);
        let mut answer = self.http.ask(&url, accept, limit)?;
        if let Answer::Challenge(challenge) = &answer {
            self.identify(challenge)?;
            answer = self.http.ask(&url, accept, limit)?;
        }
        match answer {
            Answer::Document(bytes) => Ok(bytes),
            Answer::Challenge(_) => Err(HttpError::Status { url, status: 401 }),
        }
    }

    /// Downloads a layer into the store, if the registry has it.
    fn pull(
        &mut self,
        layer: &LockedLayer,
        scratch: &Path,
        store: &Path,
    ) -> Result<Option<Layer>, HttpError> {
        let url = self.url(&format!("blobs/{}", layer.diff_id.prefixed()));
        if self.expect(&url, &Message::Head, &[200, 404])?.status == 404 {
            return Ok(None);
        }
        let part = scratch.join(format!("pull-{}", layer.diff_id));
        let expected = Expected { size: layer.size, sha256: layer.diff_id };
        let got = self.http.download(&url, expected, &part, &mut |_| ());
        got.inspect_err(|_| drop(fs::remove_file(&part)))?;
        let file = store.join(format!("{}.tar", layer.diff_id));
        let placed = File::open(&part)
            .and_then(|open| set_shared_mode(&open))
            .and_then(|()| fs::rename(&part, &file));
        placed.map_err(|source| HttpError::Disk {
            path: file.to_string_lossy().into_owned(),
            source,
        })?;
        Ok(Some(Layer { diff_id: layer.diff_id, size: layer.size, file }))
    }

    /// Sends what the registry lacks of an image, its manifest last.
    ///
    /// # Errors
    /// If the registry does not take it.
    pub fn push(&mut self, image: &Image) -> Result<Pushed, RegistryError> {
        self.send_image(image).map_err(|source| RegistryError {
            image: image.name.clone(),
            repository: Box::new(self.repository.clone()),
            source,
        })
    }

    fn send_image(&mut self, image: &Image) -> Result<Pushed, HttpError> {
        let tag = format!("{}-{}", image.name.replace('/', "-"), image.config.short());
        let mut pushed = Pushed { tag, ..Pushed::default() };
        let kind = "application/octet-stream";
        let layers =
            image.layers.iter().map(|layer| (layer.diff_id, Message::PutFile(&layer.file)));
        let config = (image.config, Message::Put { kind, bytes: &image.config_json });
        for (digest, message) in layers.chain([config]) {
            let digest = digest.prefixed();
            let url = self.url(&format!("blobs/{digest}"));
            if self.expect(&url, &Message::Head, &[200, 404])?.status == 200 {
                pushed.known += 1;
                continue;
            }
            let url = self.url("blobs/uploads/");
            let begun = self.expect(&url, &Message::Post, &[202])?;
            let place = self.place(&url, &begun)?;
            let mark = if place.contains('?') { '&' } else { '?' };
            self.expect(&format!("{place}{mark}digest={digest}"), &message, &[201])?;
            pushed.sent += 1;
        }
        let url = self.url(&format!("manifests/{}", pushed.tag));
        let manifest = Message::Put { kind: oci::MANIFEST, bytes: &image.manifest_json };
        self.expect(&url, &manifest, &[201])?;
        Ok(pushed)
    }

    /// Where an upload goes on.
    fn place(&self, url: &str, reply: &Reply) -> Result<String, HttpError> {
        let location = reply.location.as_deref().unwrap_or_default();
        if location.starts_with('/') {
            return Ok(format!("{}{location}", self.root));
        }
        if is_private(location) {
            return Ok(location.to_owned());
        }
        let (url, location) = (url.to_owned(), location.to_owned());
        Err(HttpError::Elsewhere { url, location })
    }

    /// Sends a message, once more if the registry wants to know who asks; the answer must have one of
    /// these statuses.
    fn expect(
        &mut self,
        url: &str,
        message: &Message<'_>,
        statuses: &[u16],
    ) -> Result<Reply, HttpError> {
        // What lies elsewhere is not told who asks.
        let ours = url.starts_with(&format!("{}/", self.root));
        let http = if ours { &self.http } else { &self.anonymous };
        let mut reply = http.send(url, message)?;
        if let Some(challenge) = reply.challenge.take().filter(|_| ours) {
            self.identify(&challenge)?;
            reply = self.http.send(url, message)?;
        }
        if statuses.contains(&reply.status) {
            return Ok(reply);
        }
        Err(HttpError::Status { url: url.to_owned(), status: reply.status })
    }

    /// Does what a challenge asks for, as far as this user can.
    fn identify(&mut self, challenge: &str) -> Result<(), HttpError> {
        let problem = |problem| HttpError::Identity { url: self.root.clone(), problem };
        let basic = credentials::basic(&self.repository.registry).map_err(problem)?;
        let scheme = challenge.split(' ').next().unwrap_or_default();
        if scheme.eq_ignore_ascii_case("basic") {
            if let Some(basic) = basic {
                self.http = self.anonymous.authorized(basic);
            }
            return Ok(());
        }
        if let Some(token) = self.token(challenge, basic)? {
            self.http = self.anonymous.authorized(format!("Bearer {token}"));
        }
        Ok(())
    }

    fn token(&self, challenge: &str, basic: Option<String>) -> Result<Option<String>, HttpError> {
        let field = |name: &str| {
            let rest = challenge.split_once(&format!("{name}=\""))?.1;
            rest.split('"').next().map(str::to_owned)
        };
        let Some(realm) = field("realm").filter(|realm| is_private(realm)) else {
            return Ok(None);
        };
        let service = field("service").unwrap_or_default();
        let actions = match self.access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let name = &self.repository.name;
        let url = format!("{realm}?service={service}&scope=repository:{name}:{actions}");
        let http =
            basic.map_or_else(|| self.anonymous.clone(), |basic| self.anonymous.authorized(basic));
        let bytes = http.get(&url, TOKEN_LIMIT)?;
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let token = json["token"].as_str().or(json["access_token"].as_str());
        let problem = || format!("`{realm}` answers without a token");
        let none = || HttpError::Identity { url: self.root.clone(), problem: problem() };
        token.map(|token| Some(token.to_owned())).ok_or_else(none)
    }
}

impl Images {
    /// A layer from the registry, if there is one and it has it. Whatever is wrong with it is told, and
    /// the layer can be assembled; a registry that does not answer is asked no more.
    pub(super) fn pull(
        &self,
        registry: &mut Option<Registry>,
        (image, layer): (&str, &LockedLayer),
        shell: &Shell,
    ) -> Result<Option<Layer>, ImageError> {
        let Some(asked) = registry else { return Ok(None) };
        let (scratch, store) = (self.scratch()?, self.cache.dir("layers")?);
        let what = format!("{image} ({})", layer.content);
        match asked.pull(layer, &scratch, &store) {
            Ok(Some(found)) => {
                shell.status("Pulled", format_args!("{what} from {}", asked.repository));
                Ok(Some(found))
            }
            Ok(None) => {
                shell.detail("Assembling", format_args!("{what}: not in {}", asked.repository));
                Ok(None)
            }
            Err(HttpError::Disk { path, source }) => {
                Err(CacheError::io("write", Path::new(&path))(source).into())
            }
            Err(error) => {
                shell.warn(format_args!("{error}; {what} is assembled instead"));
                if matches!(error, HttpError::Transport { .. } | HttpError::Identity { .. }) {
                    *registry = None;
                }
                Ok(None)
            }
        }
    }
}
