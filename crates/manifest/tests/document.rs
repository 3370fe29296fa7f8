//! Writing and reading manifests through the crate's public face.

use std::collections::{BTreeMap, BTreeSet};

use keyway_manifest::{
    Abi, Artifact, Build, Digest, FormatVersion, Image, Import, Libc, LibcFamily, LibcVersion,
    Linker, Manifest, ObjectFormat, PanicStrategy, Plugin, Rustc, Source, StampFormat,
    ToolchainRecord,
};
use serde_json::{Value, json};
use snapbox::{assert_data_eq, str};

fn strings<T: FromIterator<String>>(items: &[&str]) -> T {
    items.iter().map(|&item| item.to_owned()).collect()
}

fn record() -> ToolchainRecord {
    ToolchainRecord {
        crt: "glibc-2.17".to_owned(),
        linker: Linker { name: "zig".to_owned(), version: "0.17.1".to_owned() },
        panic: PanicStrategy::Unwind,
        rustc: Rustc {
            commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            llvm: "22.1.0".to_owned(),
            release: "1.96.0".to_owned(),
        },
        std: Digest::of("std"),
        target: "x86_64-unknown-linux-gnu".parse().expect("a triple"),
    }
}

fn manifest() -> Manifest {
    let symbols = strings(&["memcpy@GLIBC_2.14", "malloc@GLIBC_2.2.5"]);
    Manifest {
        format: FormatVersion,
        plugin: Plugin { name: "greet".parse().expect("a name"), version: "0.1.0".to_owned() },
        target: record().target,
        artifact: Artifact {
            file: "libgreet.so".parse().expect("a file name"),
            format: ObjectFormat::Elf,
            size: 407_512,
            sha256: Digest::of("library"),
        },
        stamp: StampFormat::Keyway1,
        abi: Some(Abi { contract: Some(Digest::of("descriptor")), interfaces: [].into() }),
        toolchain: Some(record().into()),
        image: Some(Image {
            name: "base".to_owned(),
            config: Digest::of("config"),
            manifest: Digest::of("manifest"),
        }),
        source: Source {
            commit: None,
            dirty: None,
            tree: Some(Digest::of("tree")),
            lock: Some(Digest::of("lock")),
        },
        build: Build {
            profile: "release".to_owned(),
            features: BTreeSet::new(),
            flags: strings(&["-Cstrip=symbols"]),
            env: BTreeMap::from([("LANG".to_owned(), "C".to_owned())]),
            epoch: 1_700_000_000,
        },
        libc: Some(Libc { family: LibcFamily::Glibc, floor: Some(LibcVersion::new(2, 17)) }),
        imports: BTreeSet::from([Import { library: Some("libc.so.6".to_owned()), symbols }]),
        exports: strings(&["keyway_stamp_v1", "keyway_plugin_v1"]),
        annotations: BTreeMap::from([("org.example.ticket".to_owned(), "17".to_owned())]),
        requires: BTreeSet::new(),
    }
}

fn error(text: impl AsRef<[u8]>) -> String {
    use std::error::Error as _;
    let error = Manifest::parse(text.as_ref()).expect_err("refused");
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// The message without the line and column.
fn reason(text: impl AsRef<[u8]>) -> String {
    let error = error(text);
    error.split(" at line").next().unwrap_or_default().to_owned()
}

fn edited(edit: impl FnOnce(&mut Value)) -> String {
    let mut value = serde_json::to_value(manifest()).expect("JSON");
    edit(&mut value);
    value.to_string()
}

#[test]
fn writes_canonical_json() {
    assert_data_eq!(
        manifest().to_json(),
        str![[r#"
{
  "abi": {
    "contract": "194b520dc30384b3fc233e123778835e2adc362d91c6e33015ed3db2379d7ea1",
    "interfaces": []
  },
  "annotations": {
    "org.example.ticket": "17"
  },
  "artifact": {
    "file": "libgreet.so",
    "format": "elf",
    "sha256": "b718f1354f7247312eca086d9a024afe5fa717ddea5adeddd6f12bcf945b2e8c",
    "size": 407512
  },
  "build": {
    "env": {
      "LANG": "C"
    },
    "epoch": 1700000000,
    "features": [],
    "flags": [
      "-Cstrip=symbols"
    ],
    "profile": "release"
  },
  "exports": [
    "keyway_plugin_v1",
    "keyway_stamp_v1"
  ],
  "format": 1,
  "image": {
    "config": "b79606fb3afea5bd1609ed40b622142f1c98125abcfe89a76a661b0e8e343910",
    "manifest": "05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f",
    "name": "base"
  },
  "imports": [
    {
      "library": "libc.so.6",
      "symbols": [
        "malloc@GLIBC_2.2.5",
        "memcpy@GLIBC_2.14"
      ]
    }
  ],
  "libc": {
    "family": "glibc",
    "floor": "2.17"
  },
  "plugin": {
    "name": "greet",
    "version": "0.1.0"
  },
  "requires": [],
  "source": {
    "commit": null,
    "dirty": null,
    "lock": "0c030586945fe504b604ecc2e875c38ede400cd5cd73da9730302162e6b02c6f",
    "tree": "dc9c5edb8b2d479e697b4b0b8ab874f32b325138598ce9e7b759eb8292110622"
  },
  "stamp": "keyway-1",
  "target": "x86_64-unknown-linux-gnu",
  "toolchain": {
    "hash": "23543c544d397f969026b51e63f923219eb0d541c00209a939d2a1cc842a8c4d",
    "record": {
      "crt": "glibc-2.17",
      "linker": {
        "name": "zig",
        "version": "0.17.1"
      },
      "panic": "unwind",
      "rustc": {
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "llvm": "22.1.0",
        "release": "1.96.0"
      },
      "std": "a7f5397443359ea76c50be82c77f1f893a060925b51a332cc5da906f83d3344e",
      "target": "x86_64-unknown-linux-gnu"
    }
  }
}

"#]]
    );
    assert_eq!(manifest().file_name(), "libgreet.so.manifest.json");
}

#[test]
fn reads_what_it_writes() {
    let json = manifest().to_json();
    assert_eq!(Manifest::parse(json.as_bytes()).expect("a manifest"), manifest());
    let one_line = edited(|_| ());
    assert_eq!(Manifest::parse(one_line.as_bytes()).expect("a manifest"), manifest());
}

#[test]
fn hashes_the_record_alone() {
    let expected = "{\"crt\":\"glibc-2.17\",\"linker\":{\"name\":\"zig\",\"version\":\"0.17.1\"},\
                    \"panic\":\"unwind\",\"rustc\":{\"commit\":\
                    \"0123456789abcdef0123456789abcdef01234567\",\"llvm\":\"22.1.0\",\
                    \"release\":\"1.96.0\"},\"std\":\"";
    let text = keyway_manifest::canonical::compact(&record()).expect("JSON");
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(record().hash(), Digest::of(text));
}

/// Takes each field away in turn, at every depth, and expects its name in the message.
#[test]
fn names_a_missing_field() {
    fn paths(value: &Value, prefix: &str, all: &mut Vec<String>) {
        let Value::Object(map) = value else { return };
        for (key, value) in map {
            let path = format!("{prefix}/{key}");
            if !["env", "annotations"].contains(&key.as_str()) {
                paths(value, &path, all);
            }
            all.push(path);
        }
    }

    let mut all = Vec::new();
    paths(&serde_json::to_value(manifest()).expect("JSON"), "", &mut all);
    assert!(all.len() > 40, "{}", all.len());
    for path in all {
        if ["/annotations", "/requires"].contains(&path.as_str()) {
            continue;
        }
        let (parent, key) = path.rsplit_once('/').expect("a pointer");
        let text = edited(|value| {
            let parent = value.pointer_mut(parent).and_then(Value::as_object_mut);
            parent.expect("an object").remove(key);
        });
        let parent = if parent.is_empty() { "." } else { &parent[1..].replace('/', ".") };
        let expected =
            format!("the manifest does not follow its schema: `{parent}`: missing field `{key}`");
        assert!(error(&text).starts_with(&expected), "{path}: {}", error(&text));
    }
}

#[test]
fn refuses_what_breaks_the_schema() {
    let cases: [(&str, Value); 8] = [
        ("/artifact/file", json!("../libgreet.so")),
        ("/artifact/file", json!("nul.dll")),
        ("/artifact/size", json!(-1)),
        ("/artifact/sha256", json!("abc")),
        ("/target", json!("linux")),
        ("/plugin/name", json!("a/b")),
        ("/libc/floor", json!("new")),
        ("/stamp", json!("keyway-2")),
    ];
    let messages = cases.map(|(path, value)| {
        let text = edited(|manifest| *manifest.pointer_mut(path).expect(path) = value);
        reason(text)
    });
    assert_data_eq!(
        messages.join("\n"),
        str![[r#"
the manifest does not follow its schema: `artifact.file`: expected a plain file name such as `greet.dll`, found `../libgreet.so`
the manifest does not follow its schema: `artifact.file`: expected a plain file name such as `greet.dll`, found `nul.dll`
the manifest does not follow its schema: `artifact.size`: invalid value: integer `-1`, expected u64
the manifest does not follow its schema: `artifact.sha256`: expected 64 lowercase hexadecimal digits, found `abc`
the manifest does not follow its schema: `target`: expected a target triple such as `x86_64-unknown-linux-gnu`, found `linux`
the manifest does not follow its schema: `plugin.name`: expected a plugin's name such as `order-match`, found `a/b`
the manifest does not follow its schema: `libc.floor`: expected a version such as `2.17`, found `new`
the manifest does not follow its schema: `stamp`: unknown variant `keyway-2`, expected `none` or `keyway-1`
"#]]
    );
}

/// What whoever writes manifests without cargo has no use for.
#[test]
fn some_fields_may_be_left_out_or_null() {
    let text = edited(|value| {
        value.as_object_mut().expect("an object").remove("annotations");
        value.as_object_mut().expect("an object").remove("requires");
        value["source"] = json!({"commit": null, "dirty": null, "lock": null, "tree": null});
    });
    let read = Manifest::parse(text.as_bytes()).expect("a manifest");
    assert!(read.annotations.is_empty() && read.requires.is_empty());
    assert_eq!(read.source.lock, None);
    let list = edited(|value| value["requires"] = json!(["b", "a"]));
    assert!(reason(list).contains("`requires` is spelled or sorted differently"));
    let number = edited(|value| value["annotations"] = json!({"a": 1}));
    assert!(reason(number).contains("`annotations.a`"));
    let twice =
        edited(|_| ()).replacen("{\"org.example", "{\"a\":\"\",\"a\":\"\",\"org.example", 1);
    assert!(reason(twice).contains("duplicate key `a`"));
}

#[test]
fn refuses_unknown_and_doubled_fields() {
    let unknown = edited(|value| value["artifact"]["revoked"] = json!(false));
    let doubled = edited(|_| ()).replacen("{\"abi\"", "{\"target\":\"a-b\",\"abi\"", 1);
    let variable = edited(|_| ()).replacen("{\"LANG\"", "{\"LANG\":\"de\",\"LANG\"", 1);
    let messages = [unknown, doubled, variable].map(reason);
    assert_data_eq!(
        messages.join("\n"),
        str![[r#"
the manifest does not follow its schema: `artifact.revoked`: unknown field `revoked`, expected one of `file`, `format`, `size`, `sha256`
the manifest does not follow its schema: `.`: duplicate field `target`
the manifest does not follow its schema: `build.env`: duplicate key `LANG`
"#]]
    );
}

#[test]
fn looks_at_the_format_first() {
    assert_data_eq!(
        error(r#"{"format": 2, "everything": "else"}"#),
        str!["the manifest has format `2`, this host reads format 1"]
    );
    assert_data_eq!(
        error(r#"{"format": "1"}"#),
        str![[r#"the manifest has format `"1"`, this host reads format 1"#]]
    );
    assert_data_eq!(
        error("{}"),
        str![
            "the manifest does not follow its schema: `.`: missing field `format` at line 1 column 2"
        ]
    );
}

#[test]
fn refuses_what_is_no_json() {
    assert_data_eq!(
        error("{"),
        str!["the manifest is not JSON: EOF while parsing an object at line 1 column 1"]
    );
    assert_data_eq!(
        error(b"\x7fELF"),
        str!["the manifest is not JSON: expected value at line 1 column 1"]
    );
    assert_data_eq!(
        error(format!("{}x", manifest().to_json())),
        str!["the manifest is not JSON: trailing characters at line 81 column 1"]
    );
    assert_data_eq!(
        error("[1]"),
        str![
            "the manifest does not follow its schema: `.`: invalid length 1, expected struct Manifest with 15 elements at line 1 column 3"
        ]
    );
    let deep = format!("{{\"format\": {}", "[".repeat(100_000));
    assert_data_eq!(
        error(deep),
        str!["the manifest is not JSON: recursion limit exceeded at line 1 column 138"]
    );
    let large = vec![b' '; Manifest::MAX_SIZE as usize + 1];
    assert_data_eq!(
        error(large),
        str!["the manifest has 1048577 bytes, more than the 1048576 allowed"]
    );
}

#[test]
fn refuses_contradictions() {
    let no_abi = edited(|value| value["abi"] = Value::Null);
    let no_stamp = edited(|value| value["stamp"] = json!("none"));
    let hash = edited(|value| value["toolchain"]["hash"] = json!(Digest::of("")));
    let mut other = manifest();
    other.target = "x86_64-pc-windows-gnu".parse().expect("a triple");
    assert_data_eq!(
        [no_abi, no_stamp, hash, other.to_json()].map(error).join("\n"),
        str![[r#"
the manifest contradicts itself: `stamp` is `keyway-1`, but `abi` is null
the manifest contradicts itself: `stamp` is `none`, but `abi` is not null
the manifest contradicts itself: `toolchain.hash` is `e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855`, but `toolchain.record` has the hash `23543c544d397f969026b51e63f923219eb0d541c00209a939d2a1cc842a8c4d`
the manifest contradicts itself: `target` is `x86_64-pc-windows-gnu`, but `toolchain.record.target` is `x86_64-unknown-linux-gnu`
"#]]
    );
}

#[test]
fn refuses_what_is_not_canonical() {
    let unsorted = edited(|value| value["exports"] = json!(["b", "a"]));
    let prefix = edited(|value| value["source"]["lock"] = json!(Digest::of("lock").prefixed()));
    let list = edited(|value| value["plugin"] = json!(["greet", "0.1.0"]));
    assert_data_eq!(
        [unsorted, prefix, list].map(error).join("\n"),
        str![[r#"
the manifest is not canonical: `exports` is spelled or sorted differently
the manifest is not canonical: `source` is spelled or sorted differently
the manifest is not canonical: `plugin` is spelled or sorted differently
"#]]
    );
}
