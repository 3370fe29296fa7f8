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
        folder: Path::new("plugins").join(name),
        folders: BTreeSet::from([Path::new("plugins").join(name)]),
        features: Vec::new(),
        default_features: DefaultFeatures::None,
        allow_imports: Vec::new(),
        allow_exports: Vec::new(),
        apple_symbols: Vec::new(),
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
        profile: "release".to_owned(),
        placement: Placement::new(Path::new("/home/ws"), &[]),
        host: None,
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
        env: BTreeMap::new(),
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
    let changes: [Change; 5] = [
        |target, _, _| target.spec.rustflags.push("-Copt-level=1".to_owned()),
        |target, _, _| target.spec.linker.push('2'),
        |_, image, _| image.manifest = digest("another"),
        |_, _, inputs| inputs.manifests = digest("another"),
        |_, _, inputs| inputs.profile = "dev".to_owned(),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        assert_ne!(step(change).key, key, "change {index}");
    }
}

#[test]
fn the_request_does_not_shape_an_artifact() {
    let one = step(unchanged);
    let names: Vec<_> = one.packages.iter().map(PackageId::name).collect();
    assert_eq!(names, ["greet", "order-match"], "all plugins are named, whoever is wanted");
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
        head: None,
        commit: None,
        dirty: None,
        run: false,
        reproduced: false,
    };
    let judge = |key: &str, sources: &str, delivered: bool| {
        let (key, sources) = (digest(key), digest(sources));
        let judged = Freshness::judge::<Infallible>(&record, key, sources, || Ok(delivered));
        match judged {
            Ok(judged) => judged,
        }
    };
    let stale = Freshness::Stale;
    assert_eq!(judge("other", "other", false), stale(Reason::Configuration));
    assert_eq!(judge("key", "other", false), stale(Reason::Sources));
    assert_eq!(judge("key", "sources", false), stale(Reason::Delivered));
    assert_eq!(judge("key", "sources", true), Freshness::Fresh);
}

#[test]
fn what_tools_set_reaches_the_build_and_the_key() {
    let name = "CMAKE_TOOLCHAIN_FILE_x86_64_pc_windows_gnu";
    let set = |value: &'static str| {
        move |_: &mut Target, image: &mut PinnedImage, _: &mut Inputs| {
            image.env.insert(name.to_owned(), value.to_owned());
        }
    };
    let with = step(set("/tool.cmake"));
    assert_eq!(with.env[name], "/tool.cmake");
    assert_ne!(with.key, step(unchanged).key);
    assert_ne!(with.key, step(set("/other.cmake")).key);
    let overruled = step(|target, image, inputs| {
        set("/tool.cmake")(target, image, inputs);
        target.spec.env.insert(name.to_owned(), "/own.cmake".to_owned());
    });
    assert_eq!(overruled.env[name], "/own.cmake", "`targets.toml` has the last word");
}
