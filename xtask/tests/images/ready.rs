//! Images that others made: by digest from a registry served here, and from a Dockerfile.

use std::fs;
use std::path::Path;

use keyway_manifest::Digest;
use keyway_xtask::image::{Lock, dockerfile};
use serde_json::{Value, json};
use snapbox::str;

use crate::debian::World;
use crate::fixture::{Item, file, tar};
use crate::rust_dist::{RUSTC, gzip, shell};
use crate::server::Route;

/// An image in a registry: its layers, and what its documents say.
struct Remote {
    layers: Vec<Vec<u8>>,
    config: Value,
    manifest: Value,
}

impl Remote {
    fn new(layers: &[Vec<u8>]) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(|tar| Digest::of(tar).prefixed()).collect();
        let layers: Vec<Vec<u8>> = layers.iter().map(|tar| gzip(tar)).collect();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "created": "2026-11-21T09:15:44.5Z",
            "config": { "Env": ["PATH=/usr/bin:/bin", "TEAM=ours"], "Entrypoint": ["/bin/x"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        Self { layers, config, manifest: Value::Null }
    }

    /// Serves it as `team/tools`; gives the digest of its manifest.
    fn serve(&mut self, world: &World) -> Digest {
        let blob = |bytes: &[u8]| {
            let digest = Digest::of(bytes).prefixed();
            let path = format!("v2/team/tools/blobs/{digest}");
            world.server.put(&path, Route::Whole(bytes.to_vec()));
            json!({ "digest": digest, "size": bytes.len(), "mediaType": "x" })
        };
        let layers: Vec<Value> = self.layers.iter().map(|layer| blob(layer)).collect();
        let config = blob(self.config.to_string().as_bytes());
        self.manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
        put_manifest(world, self.manifest.to_string().as_bytes())
    }
}

fn put_manifest(world: &World, bytes: &[u8]) -> Digest {
    let digest = Digest::of(bytes);
    for name in [digest.prefixed(), "1".into()] {
        let path = format!("v2/team/tools/manifests/{name}");
        world.server.put(&path, Route::Whole(bytes.to_vec()));
    }
    digest
}

fn reference(world: &World, end: &str) -> String {
    let server = world.server.url("");
    let host = server.trim_start_matches("http://").trim_end_matches('/');
    format!("reference = \"{host}/team/tools{end}\"\n")
}

fn by_digest(world: &World, digest: Digest) -> String {
    reference(world, &format!("@{}", digest.prefixed()))
}

const LINUX: &str = "x86_64-unknown-linux-gnu";

/// A shell, a compiler that says what it is, and a standard library where rustup would put it.
fn tools() -> Vec<Vec<u8>> {
    let rustc = Item { mode: 0o755, ..file("usr/bin/rustc", RUSTC) };
    let library = file(&format!("opt/rust/lib/rustlib/{LINUX}/lib/libstd-1.rlib"), "std");
    vec![tar(&shell()), tar(&[rustc, library])]
}

#[test]
fn a_reference_is_pulled_and_pinned() {
    let world = World::new();
    let mut remote = Remote::new(&tools());
    let digest = remote.serve(&world);
    world.recipe("a", &by_digest(&world, digest));
    let locked = world.succeed(&["lock", "a"]);
    let lock = Lock::read(&world.recipes(), "a").unwrap();
    assert_eq!(lock.layers.len(), 2);
    assert_eq!(lock.layers[1].diff_id, Digest::of(&tools()[1]));
    assert_eq!(lock.epoch, 1_795_252_544);
    assert!(lock.is_rebuildable());
    let env = &lock.ready.as_ref().unwrap().env;
    assert_eq!(env["TEAM"], "ours");

    fs::remove_dir_all(world.path().join("cache")).unwrap();
    assert_eq!(world.succeed(&["build", "a"]), locked);
    // What is here is not asked for.
    let requests = world.server.log().len();
    assert_eq!(world.succeed(&["build", "a"]), locked);
    assert_eq!(world.server.log().len(), requests);

    // An index of several platforms leads to the same image.
    let other = json!({ "digest": Digest::of("x").prefixed(), "platform": { "os": "linux", "architecture": "arm64" } });
    let ours = json!({ "digest": digest.prefixed(), "platform": { "os": "linux", "architecture": "amd64" } });
    let index = put_manifest(&world, json!({ "manifests": [other, ours] }).to_string().as_bytes());
    world.recipe("a", &by_digest(&world, index));
    assert_eq!(world.succeed(&["lock", "a"]), locked);

    // Others stand on it, with its environment.
    world.recipe("b", "from = \"a\"\npackages = [\"lib\"]\n");
    world.succeed(&["lock", "b"]);
    assert_eq!(Lock::read(&world.recipes(), "b").unwrap().layers.len(), 1);
}

#[test]
fn a_registry_that_wants_a_token_gets_one() {
    let world = World::new();
    let mut remote = Remote::new(&[tar(&[file("a", "b")])]);
    let digest = remote.serve(&world);
    let realm = world.server.url("token");
    let challenge = format!("Bearer realm=\"{realm}\",service=\"registry\",scope=\"x\"");
    let guard = |path: &str, bytes: Vec<u8>| {
        world.server.put(path, Route::Guarded(bytes, challenge.clone()));
    };
    let config = remote.config.to_string().into_bytes();
    guard(
        &format!("v2/team/tools/manifests/{}", digest.prefixed()),
        remote.manifest.to_string().into(),
    );
    for blob in [config, remote.layers[0].clone()] {
        guard(&format!("v2/team/tools/blobs/{}", Digest::of(&blob).prefixed()), blob);
    }
    world.recipe("a", &by_digest(&world, digest));
    let stderr = world.fail(&["lock", "a"], 4);
    assert!(stderr.contains("/token?service=registry"), "nobody gives one: {stderr}");
    let token = "token?service=registry&scope=repository:team/tools:pull";
    world.server.put(token, Route::Whole(br#"{"token":"wrong"}"#.to_vec()));
    assert!(world.fail(&["lock", "a"], 4).contains("answered 401"));
    world.server.put(token, Route::Whole(br#"{"token":"sesame"}"#.to_vec()));
    let locked = world.succeed(&["lock", "a"]);
    fs::remove_dir_all(world.path().join("cache")).unwrap();
    assert_eq!(world.succeed(&["build", "a"]), locked);
}

#[cfg(target_os = "linux")]
#[test]
fn a_reference_builds_in_the_sandbox() {
    if !crate::fixture::has_sandbox() {
        return;
    }
    let world = World::new();
    let digest = Remote::new(&tools()).serve(&world);
    let toolchain = format!(
        "[[toolchain]]\ntarget = \"{LINUX}\"\ncrt = \"x\"\n\
         linker = {{ name = \"ld\", command = [\"/bin/ld\", \"--version\"] }}\n"
    );
    world.recipe("a", &format!("{}{toolchain}", by_digest(&world, digest)));
    world.succeed(&["lock", "a", "--engine", "sandbox"]);
    let lock = Lock::read(&world.recipes(), "a").unwrap();
    let record = &lock.toolchain(&LINUX.parse().unwrap()).unwrap().record;
    assert_eq!(record.rustc.release, "1.85.0");
    let line = format!("{} opt/rust/lib/rustlib/{LINUX}/lib/libstd-1.rlib\n", Digest::of("std"));
    assert_eq!(record.std, Digest::of(line));
}

#[test]
fn what_a_registry_can_do_wrong() {
    let world = World::new();
    let check = |recipe: &str, status, expected| {
        world.recipe("a", recipe);
        let stderr = world.fail(&["lock", "a"], status);
        let server = world.server.url("");
        let host = server.trim_start_matches("http://").trim_end_matches('/');
        let text = stderr[stderr.find("error").unwrap()..].replace(host, "[HOST]");
        snapbox::assert_data_eq!(text, expected);
        assert!(!world.recipes().join("a.lock").exists());
    };
    let mut remote = Remote::new(&[tar(&[file("a", "b")])]);
    let digest = remote.serve(&world);
    check(
        &reference(&world, ":1"),
        2,
        str![[r#"
error: `[HOST]/team/tools:1` is a tag, which may name another image tomorrow
hint: what it names now: `reference = "[HOST]/team/tools@sha256:[..]"`

"#]],
    );
    world.recipe("a", &reference(&world, ":1"));
    assert!(world.fail(&["lock", "a"], 2).contains(&digest.prefixed()), "the hint says which");
    check(
        &by_digest(&world, Digest::of("nowhere")),
        4,
        str![[r#"
error: could not get `[HOST]/team/tools@sha256:[..]`
  caused by: `[SERVER]/v2/team/tools/manifests/sha256:[..]` answered 404
hint: does the registry answer here, and has it an image of that digest?

"#]],
    );
    let manifest = format!("v2/team/tools/manifests/{}", digest.prefixed());
    world.server.put(&manifest, Route::Whole(b"{}".to_vec()));
    check(
        &by_digest(&world, digest),
        3,
        str![[r#"
error: the registry gives `[HOST]/team/tools@sha256:[..]` a document with sha256 [..], expected [..]

"#]],
    );
    remote.serve(&world);
    let blob = format!("v2/team/tools/blobs/{}", Digest::of(&remote.layers[0]).prefixed());
    let mut tampered = remote.layers[0].clone();
    tampered[20] ^= 1;
    world.server.put(&blob, Route::Whole(tampered));
    check(
        &by_digest(&world, digest),
        4,
        str![[r#"
error: no mirror has `layer of [HOST]/team/tools@sha256:[..]` (sha256 [..])
  `[SERVER]/v2/team/tools/blobs/sha256:[..]` has sha256 [..], expected [..]
hint: does the registry answer here, and has it an image of that digest?

"#]],
    );
    let right = remote.config.clone();
    remote.config["rootfs"]["diff_ids"] = json!([Digest::of("other").prefixed()]);
    let wrong = remote.serve(&world);
    check(
        &by_digest(&world, wrong),
        3,
        str![[r#"
error: a layer of `[HOST]/team/tools@sha256:[..]` unpacks to sha256 [..], its configuration says [..]

"#]],
    );
    remote.config = right;
    remote.config["architecture"] = json!("arm64");
    let wrong = remote.serve(&world);
    check(
        &by_digest(&world, wrong),
        2,
        str![[r#"
error: `[HOST]/team/tools@sha256:[..]` is no image that can be used here: it is for arm64, expected amd64

"#]],
    );
    check(
        &format!("{}packages = [\"lib\"]\n", by_digest(&world, digest)),
        2,
        str![[r#"
error: `[WORLD]/recipes/a.toml`: reference `[HOST]/team/tools@sha256:[..]` takes nothing else; put what is to be added into a recipe on top (`from`)

"#]],
    );
    for bad in ["tools@sha256:0", "tools:1", "host.example/a/../b:1", "host.example/:1"] {
        world.recipe("a", &format!("reference = \"{bad}\"\n"));
        assert!(world.fail(&["lock", "a"], 2).contains("reference `"), "{bad}");
    }
}

#[test]
fn a_dockerfiles_bases_are_pinned() {
    let hex = Digest::of("x").to_string();
    let check = |text: &str| {
        let text = text.replace("HEX", &hex);
        dockerfile::check(Path::new("Dockerfile"), &text).map_err(|error| error.to_string())
    };
    for good in [
        "FROM scratch\n",
        "# comment\nFROM host.example/a@sha256:HEX AS build\nFROM build\nCOPY --from=0 a b\n",
        "ARG BASE=host.example/a@sha256:HEX\nFROM --platform=linux/amd64 ${BASE}\n",
        "ARG A=a@sha256\nFROM $A:HEX as one\nFROM scratch\nCOPY \\\n  --from=one /x /x\n",
        "FROM ${NONE:-scratch}\n",
        "# syntax=docker/dockerfile@sha256:HEX\nFROM scratch\n",
        "# escape=`\nFROM scratch\nCOPY a C:\\\nCOPY b `\n c\n",
        "FROM scratch\nRUN grep --from=busybox x --mount=from=y\n",
        "FROM scratch\nADD --checksum=sha256:HEX https://host.example/x /x\nADD a.tar /\n",
        "FROM scratch\nRUN <<EOF cat <<-'END'\necho $X\nEOF\n\tEND\nRUN true\n",
    ] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for (bad, line, base) in [
        ("FROM debian\n", 1, "debian"),
        ("FROM scratch aS one\nFROM one\nFROM two\n", 3, "two"),
        // What would hide the line from a reader that joins or skips too much.
        ("FROM scratch\nRUN a \\\\\nFROM debian\n", 3, "debian"),
        ("# escape=`\nFROM scratch\nRUN a \\\nFROM debian\n", 4, "debian"),
        ("FROM scratch\nRUN <<EOF\nFROM inside\nEOF\n", 3, "inside"),
        ("FROM scratch\nRUN <<'E\\'\nx\nE\\\nFROM debian\n", 5, "debian"),
        ("\n# x\nFROM \\\n debian:13\n", 3, "debian:13"),
        ("ARG V=13\nFROM debian:$V\n", 2, "debian:13"),
        ("FROM a@sha256:12\n", 1, "a@sha256:12"),
        ("FROM later\nFROM scratch AS later\n", 1, "later"),
    ] {
        let expected =
            format!("`Dockerfile`, line {line}: the base `{base}` is not pinned by digest");
        assert_eq!(check(bad), Err(expected), "{bad}");
    }
    for (bad, line, image) in [
        ("FROM scratch\nCOPY --from=busybox:1 /bin /bin\n", 2, "busybox:1"),
        ("FROM scratch\nCOPY --from=1 /bin /bin\n", 2, "1"),
        ("FROM scratch\nRUN --mount=type=bind,from=tools,target=/t true\n", 2, "tools"),
        ("FROM scratch\nRUN --mount=type=bind,\"From=tools\",target=/t true\n", 2, "tools"),
        ("ARG A=a@sha256:HEX\nFROM $A\nARG A=b\nCOPY --from=$A /x /x\n", 4, "$A"),
    ] {
        let expected =
            format!("`Dockerfile`, line {line}: the image `{image}` is not pinned by digest");
        assert_eq!(check(bad), Err(expected), "{bad}");
    }
    for (bad, line) in [
        ("# syntax=docker/dockerfile:1\nFROM scratch\n", 1),
        ("\u{feff}#Syntax = docker/dockerfile:1\nFROM scratch\n", 1),
        ("# escape=`\n\n// syntax=docker/dockerfile:1\nFROM scratch\n", 3),
    ] {
        let expected = "the frontend `docker/dockerfile:1` is not pinned by digest";
        assert_eq!(check(bad), Err(format!("`Dockerfile`, line {line}: {expected}")), "{bad}");
    }
    for (bad, address) in [
        ("FROM scratch\nADD https://host.example/x /x\n", "https://host.example/x"),
        (
            "FROM scratch\nADD [\"a\", \"git@host.example:a.git\", \"/x\"]\n",
            "git@host.example:a.git",
        ),
        ("FROM scratch\nARG URL\nADD ${URL} /x\n", "${URL}"),
    ] {
        let error = check(bad).expect_err(bad);
        assert!(error.ends_with(&format!("`ADD` of `{address}` has no `--checksum`")), "{error}");
    }
    assert_eq!(check("RUN true\n"), Err("`Dockerfile` has no `FROM`".into()));
}

#[test]
fn a_dockerfile_is_built_and_said_to_be_not_rebuildable() {
    let world = World::new();
    let context = world.recipes().join("tools");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("Dockerfile"), "FROM debian:13\n").unwrap();
    world.recipe("a", "dockerfile = \"tools/Dockerfile\"\n");
    let stderr = world.fail(&["lock", "a"], 2);
    assert!(stderr.contains("Dockerfile`, line 1: the base `debian:13` is not pinned"), "{stderr}");
    assert!(stderr.contains("hint: write `debian:13@sha256:"), "{stderr}");
    world.recipe("b", "dockerfile = \"Dockerfile\"\n");
    let stderr = world.fail(&["lock", "b"], 2);
    assert!(stderr.contains("lies in no folder of its own"), "{stderr}");

    let daemon = duct::cmd!("docker", "version").stdout_null().stderr_null().unchecked().run();
    if !daemon.is_ok_and(|output| output.status.success()) {
        println!("skipped: no Docker daemon answers here, so no Dockerfile can be built");
        return;
    }
    fs::write(context.join("root.tar"), tar(&[file("usr/lib/tool", "it")])).unwrap();
    let own = Digest::of(world.path().as_os_str().as_encoded_bytes()).short();
    let text = format!(
        "FROM scratch\nLABEL keyway.test={own}\nENV TEAM=ours\nADD root.tar /\nCOPY note /{own}\n"
    );
    fs::write(context.join("Dockerfile"), text).unwrap();
    fs::write(context.join("note"), "from the context").unwrap();
    let locked = world.succeed(&["lock", "a"]);
    let lock = Lock::read(&world.recipes(), "a").unwrap();
    assert!(!lock.is_rebuildable());
    assert_eq!(lock.layers.len(), 2);
    assert_eq!(lock.ready.as_ref().unwrap().env["TEAM"], "ours");
    assert_eq!(world.succeed(&["build", "a"]), locked, "what is in the store is used");
    let listed = world.succeed(&["list", "a"]);
    assert!(listed.contains("\"rebuildable\":false"), "{listed}");

    // Built again, other layers might come out; what was locked stays as long as nothing is edited.
    let before = world.lock("a");
    let made =
        || duct::cmd!("docker", "image", "ls", "--quiet", "--filter", "dangling=true").read();
    let n_made = made().unwrap().lines().count();
    assert_eq!(world.succeed(&["lock", "a"]), locked);
    assert_eq!((world.lock("a"), made().unwrap().lines().count()), (before, n_made));

    // Elsewhere other layers may come out, and that is said; here docker remembers its own.
    fs::remove_dir_all(world.path().join("cache")).unwrap();
    assert_eq!(world.succeed(&["build", "a"]), locked);
    fs::remove_dir_all(world.path().join("cache")).unwrap();
    let path = world.recipes().join("a.lock");
    let other = Digest::of("other").to_string();
    let text = world.lock("a").replace(&lock.layers[1].diff_id.to_string(), &other);
    fs::write(&path, text).unwrap();
    let stderr = world.fail(&["build", "a"], 3);
    assert!(stderr.contains("image `a` is not rebuildable: dockerfile 2 came out as"), "{stderr}");

    // An edit of the context is noticed.
    fs::write(context.join("note"), "edited").unwrap();
    let stderr = world.fail(&["build", "a"], 2);
    assert!(stderr.contains("the recipe of image `a` was edited"), "{stderr}");
    let label = format!("label=keyway.test={own}");
    let prune = duct::cmd!("docker", "image", "prune", "--force", "--filter", label);
    prune.stdout_null().run().unwrap();
}
