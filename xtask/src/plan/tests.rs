//! The plan, through its public face.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;

use keyway_manifest::{Linker, PanicStrategy, Rustc};
use snapbox::{assert_data_eq, file};

use super::*;
use crate::targets::TargetSet;

fn digest(seed: &str) -> Digest {
    Digest::of(seed)
}

fn plugin(name: &str) -> Plugin {
    Plugin {
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        library: name.replace('-', "_"),
        folders: BTreeSet::from([Path::new("plugins").join(name)]),
        features: Vec::new(),
        default_features: DefaultFeatures::None,
        allow_imports: Vec::new(),
        allow_exports: Vec::new(),
        unsupported: Vec::new(),
    }
}

fn record(target: &Target) -> ToolchainRecord {
    ToolchainRecord {
        crt: "msvcrt".to_owned(),
        linker: Linker { name: "x86_64-w64-mingw32-gcc".to_owned(), version: "14.2".to_owned() },
        panic: PanicStrategy::Unwind,
        rustc: Rustc {
            commit: "0".repeat(40),
            llvm: "22.1".to_owned(),
            release: "1.96.0".to_owned(),
        },
        std: digest("std"),
        target: target.triple.clone(),
    }
}

fn inputs() -> Inputs {
    Inputs {
        manifests: digest("manifests"),
        lock: digest("lock"),
        commit: Some("c".repeat(40)),
        profile: "release".to_owned(),
        placement: Placement::new(Path::new("/home/ws"), &[]),
        configuration: Configuration::default(),
    }
}

fn step(change: impl FnOnce(&mut Target, &mut PinnedImage, &mut Inputs)) -> Step {
    let set = TargetSet::parse(Path::new("targets.toml"), include_str!("../../../targets.toml"));
    let set = set.expect("the shipped file is right");
    let selected = set.select(&["x86_64-pc-windows-gnu".to_owned()]).expect("a Windows target");
    let mut target = selected[0].clone();
    let mut image = PinnedImage {
        name: "mingw".to_owned(),
        config: digest("config"),
        manifest: digest("manifest"),
        epoch: 1_760_000_000,
        toolchains: BTreeMap::new(),
    };
    let mut inputs = inputs();
    change(&mut target, &mut image, &mut inputs);
    let all = [plugin("greet"), plugin("order-match")];
    Step::new(&target, &image, &record(&target), &all, &[&all[0]], &inputs)
}

fn unchanged(_: &mut Target, _: &mut PinnedImage, _: &mut Inputs) {}

#[test]
fn a_step_says_everything_that_will_be_done() {
    let step = step(unchanged);
    let env: Vec<String> = step.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let text = format!("{}\n\n{}\n", step.cargo(Some(2)).join("\n"), env.join("\n"));
    assert_data_eq!(text, file!["step.txt"]);
}

#[test]
fn the_key_covers_all_that_shapes_an_artifact() {
    let key = step(unchanged).key;
    assert_eq!(step(unchanged).key, key);
    type Change = fn(&mut Target, &mut PinnedImage, &mut Inputs);
    let changes: [Change; 6] = [
        |target, _, _| target.spec.rustflags.push("-Copt-level=1".to_owned()),
        |target, _, _| target.spec.linker.push('2'),
        |_, image, _| image.manifest = digest("another"),
        |_, _, inputs| inputs.manifests = digest("another"),
        |_, _, inputs| inputs.commit = None,
        |_, _, inputs| inputs.profile = "dev".to_owned(),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        assert_ne!(step(change).key, key, "change {index}");
    }
}

#[test]
fn the_request_does_not_shape_an_artifact() {
    let one = step(unchanged);
    assert_eq!(one.packages, ["greet", "order-match"], "all plugins are named, whoever is wanted");
    assert_eq!(one.artifacts.len(), 1);
}

#[test]
fn freshness_names_the_first_reason() {
    let record = Record {
        key: digest("key"),
        sources: digest("sources"),
        extra: Vec::new(),
        library: digest("library"),
        manifest: digest("manifest"),
        run: false,
        reproduced: false,
    };
    let judge = |record: Option<&Record>, key: &str, sources: &str, delivered: bool| {
        let sources = digest(sources);
        let judged =
            Freshness::judge::<Infallible>(record, digest(key), |_| Ok(sources), |_| Ok(delivered));
        match judged {
            Ok(judged) => judged,
        }
    };
    let stale = Freshness::Stale;
    assert_eq!(judge(None, "key", "sources", true), stale(Reason::New));
    assert_eq!(judge(Some(&record), "other", "other", false), stale(Reason::Configuration));
    assert_eq!(judge(Some(&record), "key", "other", false), stale(Reason::Sources));
    assert_eq!(judge(Some(&record), "key", "sources", false), stale(Reason::Delivered));
    assert_eq!(judge(Some(&record), "key", "sources", true), Freshness::Fresh);
}
