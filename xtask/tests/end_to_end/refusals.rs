//! What the gate must refuse, refused by the real host program on each target, with a plugin whose
//! constructor leaves a file: while that file is not there, nothing of the plugin has run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyway_cases::Expected;
use keyway_manifest::{Digest, Source};
use keyway_xtask::artifact::Artifact;
use keyway_xtask::build::trial::Trial;
use keyway_xtask::build::{Build, Work};
use keyway_xtask::cache::Cache;
use keyway_xtask::container::{Access, Mount};
use keyway_xtask::describe;
use keyway_xtask::dist::Entry;
use keyway_xtask::engine::{Engine, EngineError, Sandbox, Stream};
use keyway_xtask::image::Images;
use keyway_xtask::jobs::Jobs;
use keyway_xtask::package_id::PackageId;
use keyway_xtask::plan::{Plan, Step, Wanted};
use keyway_xtask::run::Folders;
use keyway_xtask::runner::{Round, Subject};
use keyway_xtask::shell::Shell;
use keyway_xtask::survey::{Ground, Rebuild, Survey};
use keyway_xtask::targets::{Paths, TargetSet};
use keyway_xtask::vendor;
use keyway_xtask::workspace::{Purpose, Workspace};
use serde_json::Value;

use crate::BUILT;
use crate::workspace::json;

#[test]
fn refused_on_linux_before_any_code_runs() {
    check("x86_64-unknown-linux-gnu");
}

#[test]
fn refused_on_windows_before_any_code_runs() {
    check("x86_64-pc-windows-gnu");
}

fn check(target: &str) {
    let shell = Shell::silent();
    let cache = Cache::open().expect("a cache");
    let workspace = Workspace::find(Some(&BUILT.path("Cargo.toml")), None).expect("the copy");
    let images = Images::open(workspace.recipes_dir(), cache.clone());
    // The sandbox starts the tool again, which this program is not.
    let engine = Sandbox::new(env!("CARGO_BIN_EXE_xtask").into(), cache.clone(), &shell);
    let mut survey = Survey::take(&workspace, &images, "release").expect("a workspace");
    let targets = TargetSet::read(&workspace.root().join("targets.toml")).expect("targets");
    let selected = targets.select(&[target.to_owned()]).expect("a target");
    let Plan { steps, .. } = survey.plan(&selected, &[], Rebuild::Stale).expect("a plan");
    let step = &steps[0];
    let build = Build::new(&workspace, &cache, &images, &engine, None, &shell);
    let crates = survey.crates(Purpose::Trial);
    let vendored = vendor::vendor(&workspace, &crates, &cache, &shell).expect("the crates");
    let trial = Trial { limit: Duration::from_secs(120) };
    let ground = survey.ground();
    let host = build.host(step, &vendored, &ground, trial).expect("a host program");

    let folder = tempfile::tempdir().expect("a temporary folder");
    let is_windows = host.runner.paths == Paths::Windows;
    let canary = canary(&build, step, &vendored, &ground, folder.path());
    let library = if is_windows { "greet.dll" } else { "libgreet.so" };
    let other = BUILT.path(&format!("dist/{target}/greet/{library}.manifest.json"));
    let out = folder.path().join("cases");
    fs::create_dir(&out).expect("create");
    let mut cases = keyway_cases::write(&canary.0, &canary.1, &other, &out).expect("cases");
    // What only a file system with links, pipes and modes can hold is not for Windows.
    cases.retain(|case| !is_windows || !case.unix_only);
    assert!(cases.len() > 20, "{} cases", cases.len());

    let nest = folder.path().join("nest");
    fs::create_dir(&nest).expect("create");
    // A folder that nobody else may write is what the gate asks for.
    let run = |library: &Path| {
        let relative = library.strip_prefix(folder.path()).expect("below");
        let entry = Entry {
            target: step.target.triple.clone(),
            plugin: "canary".to_owned(),
            library: relative.to_str().expect("UTF-8").to_owned(),
            manifest: String::new(),
            sha256: Digest::of(""),
        };
        let subject = Subject { entry: &entry, toolchain: step.toolchain.hash, plugin: None };
        let mut command = host.command(folder.path(), subject, Round::Unloaded);
        // `exercise` takes a folder for what is in it; here a folder is a case of its own.
        for word in command.argv.iter_mut().filter(|word| *word == "exercise") {
            *word = "call".into();
        }
        command.argv.extend(["sing", "la"].map(Into::into));
        let guest = PathBuf::from("/nest");
        command.mounts.push(Mount { host: nest.clone(), guest, access: Access::ReadWrite });
        let inside = if is_windows { "Z:\\nest\\song" } else { "/nest/song" };
        command.env.insert("KEYWAY_CANARY".to_owned(), inside.to_owned());
        let mut lines = Vec::new();
        let ended = engine.run(&host.image, &command, &mut |stream, line| {
            if stream == Stream::Stdout {
                lines.push(line.trim_end_matches('\r').to_owned());
            }
        });
        if let Err(error) = ended {
            let failed = matches!(error, EngineError::CommandFailed { .. });
            assert!(failed, "{}: {error}", library.display());
        }
        json(lines.join("\n").as_bytes())
    };
    let song = nest.join("song");
    let mut n_admitted = 0;
    for case in &cases {
        let codes = codes(&run(&case.library));
        let expected = &case.expected;
        assert!(expected.accepts(&codes), "{}: expected {expected:?}, got {codes:?}", case.name);
        // One that is admitted sings. Were it mute, the silence of the others would prove nothing.
        let admitted = *expected == Expected::Exactly(Vec::new());
        assert_eq!(song.exists(), admitted, "{}: whether code of the plugin ran", case.name);
        if admitted {
            n_admitted += 1;
            fs::remove_file(&song).expect("remove");
        }
    }
    assert!(n_admitted > 0, "no case is admitted");
}

fn codes(told: &[Value]) -> Vec<keyway_host::code::Code> {
    let verdicts = told.iter().filter(|event| event["event"] == "verdict");
    let refusals = verdicts.flat_map(|verdict| verdict["refusals"].as_array().cloned());
    refusals
        .flatten()
        .map(|refusal| refusal["code"].as_str().expect("a code").parse().expect("a known code"))
        .collect()
}

/// The canary, built as every plugin is: its library and its manifest.
fn canary(
    build: &Build<'_>,
    step: &Step,
    vendored: &vendor::Vendored,
    ground: &Ground,
    folder: &Path,
) -> (PathBuf, PathBuf) {
    let mut of_canary = step.clone();
    let its_folder = Path::new("/work/crates/host/tests/canary");
    let package = PackageId::in_folder(its_folder, "canary", "0.1.0");
    of_canary.packages = vec![package.clone()];
    let jobs = Jobs::alone(build.n_jobs);
    let work = Work { vendored, jobs: &jobs, ground };
    let argv = of_canary.cargo(jobs.n_jobs());
    let image =
        build.images.ensure(&step.image.name, &build.engine, build.shell).expect("an image");
    let built = build.cargo(&of_canary, &image, argv, work).expect("the canary compiles");
    let state = build.workspace.state_dir();
    let image = step.image.manifest.short();
    let target = format!("{image}-{}", step.target.triple);
    let folders = Folders {
        placement: ground.placement.clone(),
        target: state.join("build").join(target),
        cargo: state.join("cargo").join(&image),
        zig: PathBuf::new(),
    };
    let artifact =
        Artifact::read("canary", &built.libraries[&package], &folders).expect("a library");
    let mut wanted: Wanted = step.artifacts[0].clone();
    wanted.plugin.name = "canary".to_owned();
    let nothing = Digest::of("");
    let source = Source { commit: None, dirty: None, tree: Some(nothing), lock: Some(nothing) };
    let manifest = describe::manifest(step, &wanted, &artifact, source).expect("a manifest");
    let home = folder.join("canary");
    fs::create_dir(&home).expect("create");
    let files: BTreeMap<String, Vec<u8>> = BTreeMap::from([
        (manifest.artifact.file.to_string(), artifact.bytes.clone()),
        (manifest.file_name(), manifest.to_json().into_bytes()),
    ]);
    for (name, bytes) in files {
        fs::write(home.join(name), bytes).expect("write");
    }
    (home.join(manifest.artifact.file.as_str()), home.join(manifest.file_name()))
}
