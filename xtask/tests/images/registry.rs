//! Images through a real registry: pushed, pulled by digest, and what it gives checked.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use keyway_xtask::image::http::Http;
use keyway_xtask::image::registry::{self, Access};
use keyway_xtask::shell::Shell;
use serde_json::json;
use tempfile::TempDir;

use crate::debian::World;
use crate::errors::{Fails, STD, Writes, images, lock};
use crate::lifecycle::{digests, world};
use crate::server::Route;

/// A registry of its own on this machine; ends with the test.
struct Registry {
    process: Child,
    port: u16,
    folder: TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registry {
    /// None, and a word about it, where the program is not installed.
    fn start(more: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let config = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {}/data }} }}\n\
             http: {{ addr: \"127.0.0.1:{port}\" }}\n{}",
            folder.path().display(),
            more.replace("[FOLDER]", &folder.path().display().to_string()),
        );
        fs::write(folder.path().join("config.yml"), config).unwrap();
        // The user `u` with the password `p`.
        let users = Command::new("htpasswd").args(["-Bbn", "u", "p"]).output();
        if let Ok(users) = &users {
            fs::write(folder.path().join("users"), &users.stdout).unwrap();
        }
        let started = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let (Ok(process), Ok(_)) = (started, users) else {
            eprintln!("skipped: `docker-registry` or `htpasswd` is not installed");
            return None;
        };
        let registry = Self { process, port, folder };
        for _ in 0..600 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(registry);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the registry does not answer");
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn repository(&self) -> String {
        format!("{}/team/images", self.host())
    }

    /// The file that holds a blob.
    fn blob(&self, digest: &str) -> PathBuf {
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&digest[..2]).join(digest).join("data")
    }
}

/// Runs a command logged in as `docker` says, which is a folder.
fn run(world: &World, docker: &Path, arguments: &[&str]) -> Output {
    let mut command = world.command(arguments);
    command.env("DOCKER_CONFIG", docker).env_remove("KEYWAY_REGISTRY").output().unwrap()
}

#[track_caller]
fn succeed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn wipe(world: &World) {
    fs::remove_dir_all(world.path().join("cache")).unwrap();
}

#[test]
fn what_one_machine_pushes_another_pulls() {
    let Some(registry) = Registry::start("") else { return };
    let world = world();
    let locked = digests(&world.succeed(&["lock"]));
    let nobody = world.path().join("nobody");
    let pushed = succeed(&run(&world, &nobody, &["push", &registry.repository()]));
    assert!(pushed.contains("\"image\":\"base\",\"tag\":\"base-"), "{pushed}");
    assert!(pushed.contains("\"sent\":3,\"known\":0"), "{pushed}");
    assert!(pushed.contains("\"sent\":2,\"known\":2"), "what both stand on goes once: {pushed}");
    let again = succeed(&run(&world, &nobody, &["push", &registry.repository()]));
    assert_eq!(again.matches("\"sent\":0").count(), 2, "{again}");

    wipe(&world);
    let requests = world.server.log().len();
    let built = run(&world, &nobody, &["build", "--registry", &registry.repository()]);
    assert_eq!(digests(&succeed(&built)), locked);
    assert_eq!(world.server.log().len(), requests, "no mirror was asked");

    // What is there need not be made here to be pushed or exported.
    wipe(&world);
    let again = succeed(&run(&world, &nobody, &["push", &registry.repository()]));
    assert_eq!(again.matches("\"sent\":0").count(), 2, "{again}");
    wipe(&world);
    let archive = world.path().join("images.tar");
    let archive = archive.to_str().unwrap();
    let export = ["export", "--output", archive, "--registry", &registry.repository()];
    succeed(&run(&world, &nobody, &export));
    assert_eq!(world.server.log().len(), requests, "no mirror was asked");

    // The same by the environment.
    wipe(&world);
    let mut command = world.command(&["build"]);
    command.env("KEYWAY_REGISTRY", registry.repository()).env("DOCKER_CONFIG", &nobody);
    assert_eq!(digests(&succeed(&command.output().unwrap())), locked);
    assert_eq!(world.server.log().len(), requests);
}

#[test]
fn a_blob_that_was_tampered_with_is_refused_and_assembled_instead() {
    let Some(registry) = Registry::start("") else { return };
    let world = world();
    let locked = digests(&world.succeed(&["lock"]));
    let nobody = world.path().join("nobody");
    succeed(&run(&world, &nobody, &["push", &registry.repository()]));
    let lock = world.lock("upper");
    let digest = lock.lines().find_map(|line| line.strip_prefix("diff_id = ")).unwrap();
    let blob = registry.blob(digest.trim_matches('"'));
    let mut bytes = fs::read(&blob).unwrap();
    bytes[0] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    wipe(&world);
    let built = run(&world, &nobody, &["build", "--registry", &registry.repository()]);
    assert_eq!(digests(&succeed(&built)), locked);
    let stderr = String::from_utf8_lossy(&built.stderr).into_owned();
    let expected = digest.trim_matches('"');
    assert!(
        stderr.contains(&format!(", expected {expected}; upper (packages) is assembled")),
        "{stderr}"
    );

    let scratch = world.path().join("cache/tmp/images");
    assert_eq!(fs::read_dir(scratch).unwrap().count(), 0);

    // One that the registry lost is assembled too.
    fs::remove_file(&blob).unwrap();
    wipe(&world);
    let built = run(&world, &nobody, &["build", "--registry", &registry.repository()]);
    assert_eq!(digests(&succeed(&built)), locked);
}

#[test]
fn a_registry_that_does_not_answer_costs_a_warning() {
    let world = world();
    let locked = digests(&world.succeed(&["lock"]));
    wipe(&world);
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let repository = format!("127.0.0.1:{port}/team/images");
    let nobody = world.path().join("nobody");
    let built = run(&world, &nobody, &["build", "base", "--registry", &repository]);
    assert_eq!(digests(&succeed(&built)), locked[..1]);
    let stderr = String::from_utf8_lossy(&built.stderr);
    assert_eq!(stderr.matches("is assembled instead").count(), 1, "{stderr}");
    let pushed = run(&world, &nobody, &["push", &repository]);
    assert_eq!(pushed.status.code(), Some(4));
    let stderr = String::from_utf8_lossy(&pushed.stderr).into_owned();
    assert!(stderr.starts_with("error: could not push image `base` to `127.0.0.1:"), "{stderr}");

    let pushed = run(&world, &nobody, &["push", "127.0.0.1:1/a:tag"]);
    assert_eq!(pushed.status.code(), Some(2));
}

#[test]
fn who_is_logged_in_is_admitted() {
    let users = "auth: { htpasswd: { realm: r, path: \"[FOLDER]/users\" } }\n";
    let Some(registry) = Registry::start(users) else { return };
    let world = world();
    let locked = digests(&world.succeed(&["lock"]));
    let docker = world.path().join("docker");
    fs::create_dir(&docker).unwrap();
    let (host, repository) = (registry.host(), registry.repository());
    let login = |config: &str| fs::write(docker.join("config.json"), config).unwrap();

    let refused = |hint: &str| {
        let output = run(&world, &docker, &["push", &repository]);
        assert_eq!(output.status.code(), Some(4));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains(hint), "{stderr}");
    };
    refused(&format!("hint: `docker login {host}`"));
    // `u:wrong`
    login(&format!("{{\"auths\":{{\"{host}\":{{\"auth\":\"dTp3cm9uZw==\"}}}}}}"));
    refused(&format!("hint: `docker login {host}`"));
    login("no json");
    refused("config.json` is not of the form");
    login(&format!("{{\"auths\":{{\"{host}\":{{\"auth\":\"a\\nb\"}}}}}}"));
    refused("is no base64");

    // `u:p`
    login(&format!("{{\"auths\":{{\"{host}\":{{\"auth\":\"dTpw\"}}}}}}"));
    succeed(&run(&world, &docker, &["push", &repository]));

    // Pulled as the user that a helper names.
    let helper = docker.join("docker-credential-test");
    fs::write(&helper, "#!/bin/sh\nread host\necho '{\"Username\":\"u\",\"Secret\":\"p\"}'\n")
        .unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    for config in [
        format!("{{\"credHelpers\":{{\"{host}\":\"test\"}}}}"),
        "{\"credsStore\":\"test\"}".to_owned(),
    ] {
        login(&config);
        wipe(&world);
        let requests = world.server.log().len();
        let mut command = world.command(&["build", "--registry", &repository]);
        let path = format!("{}:{}", docker.display(), std::env::var("PATH").unwrap());
        command.env("DOCKER_CONFIG", &docker).env("PATH", path);
        assert_eq!(digests(&succeed(&command.output().unwrap())), locked);
        assert_eq!(world.server.log().len(), requests, "no mirror was asked");
    }
    // A helper that is not there.
    login("{\"credsStore\":\"nowhere\"}");
    refused("could not run `docker-credential-nowhere get`");
}

#[test]
fn a_standard_library_that_is_pulled_needs_no_source() {
    let Some(registry) = Registry::start("") else { return };
    let world = World::new();
    world.recipe("a", STD);
    let image = lock(&world, &Writes(&[("lib/libstd-1.rlib", "std")])).unwrap();
    let repository = registry::repository(&registry.repository()).unwrap();
    registry::Registry::new(&repository, Access::Push, &Http::new()).push(&image).unwrap();
    wipe(&world);
    let requests = world.server.log().len();
    let images = images(&world).with_registry(Some(repository));
    images.ensure_all(&["a".into()], 2, &Fails, &Shell::silent()).unwrap();
    assert_eq!(world.server.log().len(), requests, "neither packages nor source were asked for");
}

/// What `openssl` makes of `input`.
fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let run = duct::cmd("openssl", arguments).stdin_bytes(input).stdout_capture().stderr_null();
    run.run().unwrap().stdout
}

fn base64(bytes: &[u8]) -> String {
    String::from_utf8(openssl(&["base64", "-A"], bytes)).unwrap()
}

/// A token that allows `actions` in the repository, signed by the key whose certificate the registry
/// knows.
fn token(folder: &Path, actions: &[&str]) -> String {
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let url_safe = |bytes: &[u8]| {
        base64(bytes).replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned()
    };
    let der = openssl(&["x509", "-in", &file("cert.pem"), "-outform", "DER"], b"");
    let head = json!({ "typ": "JWT", "alg": "RS256", "x5c": [base64(&der)] });
    let access = json!([{ "type": "repository", "name": "team/images", "actions": actions }]);
    let claims = json!({
        "iss": "issuer", "sub": "u", "aud": "registry", "jti": "1",
        "exp": 4_000_000_000_u64, "nbf": 0, "iat": 0, "access": access,
    });
    let text = [head, claims].map(|part| url_safe(part.to_string().as_bytes())).join(".");
    let signature = openssl(&["dgst", "-sha256", "-sign", &file("key.pem")], text.as_bytes());
    json!({ "token": format!("{text}.{}", url_safe(&signature)) }).to_string()
}

#[test]
fn a_token_is_fetched_with_the_users_password() {
    let world = world();
    let keys = tempfile::tempdir().unwrap();
    let file = |name: &str| keys.path().join(name).to_str().unwrap().to_owned();
    let (key, certificate) = (file("key.pem"), file("cert.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=issuer"])
        .args(["-days", "2", "-keyout", &key, "-out", &certificate])
        .output();
    if made.is_err() {
        eprintln!("skipped: `openssl` is not installed");
        return;
    }
    let auth = format!(
        "auth: {{ token: {{ realm: \"{}\", service: registry, issuer: issuer, rootcertbundle: \"{certificate}\" }} }}\n",
        world.server.url("token"),
    );
    let Some(registry) = Registry::start(&auth) else { return };
    let locked = digests(&world.succeed(&["lock"]));
    for actions in ["pull", "pull,push"] {
        let path = format!("token?service=registry&scope=repository:team/images:{actions}");
        let actions: Vec<&str> = actions.split(',').collect();
        world.server.put(&path, Route::Private(token(keys.path(), &actions).into()));
    }
    let docker = world.path().join("docker");
    fs::create_dir(&docker).unwrap();
    let (host, repository) = (registry.host(), registry.repository());
    let refused = run(&world, &docker, &["push", &repository]);
    assert_eq!(refused.status.code(), Some(4));
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(stderr.contains(&format!("hint: `docker login {host}`")), "{stderr}");

    let login = format!("{{\"auths\":{{\"{host}\":{{\"auth\":\"dTpw\"}}}}}}");
    fs::write(docker.join("config.json"), login).unwrap();
    succeed(&run(&world, &docker, &["push", &repository]));
    wipe(&world);
    let requests = world.server.log();
    let built = run(&world, &docker, &["build", "--registry", &repository]);
    assert_eq!(digests(&succeed(&built)), locked);
    let since = world.server.log().split_off(requests.len());
    assert!(since.iter().all(|path| path.starts_with("token?")), "only tokens: {since:?}");
}
