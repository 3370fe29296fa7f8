//! What commands say: one line at the end, tables, and what becomes of output that nobody reads.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use snapbox::{assert_data_eq, str};
use tempfile::TempDir;

const LIBRARIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/inspect/tests/libraries");

fn xtask(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    command.args(arguments).args(["--color", "never"]).arg("--manifest-path").arg(manifest);
    command
}

fn run(arguments: &[&str], cache: &TempDir) -> Output {
    xtask(arguments).env("KEYWAY_CACHE", cache.path()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The last line on stderr that is a status, with its time cut off.
fn last_line(output: &Output) -> String {
    let said = text(&output.stderr);
    let line =
        said.lines().rfind(|line| line.contains("Finished")).unwrap_or_else(|| panic!("{said}"));
    let (done, time) = line.trim().rsplit_once(" in ").unwrap();
    assert!(time.ends_with(" s"), "{line}");
    done.to_owned()
}

#[test]
fn every_command_ends_with_one_line() {
    let cache = tempfile::tempdir().unwrap();
    let empty = tempfile::tempdir().unwrap();
    let dist = empty.path().join("dist");
    let dist = dist.to_str().unwrap();
    check_ends(
        &cache,
        &[
            (&["explain"][..], "codes"),
            (&["explain", "KW303"], "1 code"),
            (&["targets", "--dist", dist], "16 targets"),
            (&["doctor"], "checks, 0 failed"),
            (&["ci", "--list"], " checks"),
            (&["images", "list", "base"], "1 image, 0 of them here"),
            (&["images", "gc"], "0 items removed, 0 MB of the cache"),
            (&["images", "gc", "--dry-run"], "0 items to remove, 0 MB of the cache"),
            (&["gate", LIBRARIES], "0 admitted, "),
        ],
    );
}

#[test]
fn a_plan_ends_with_one_line() {
    let cache = tempfile::tempdir().unwrap();
    let empty = tempfile::tempdir().unwrap();
    let dist = empty.path().join("dist");
    let arguments = ["build-plugins", "--dry-run", "--dist", dist.to_str().unwrap()];
    check_ends(
        &cache,
        &[(&arguments, "24 to build, 0 fresh for 8 targets"), (&["images", "du", "base"], "MB")],
    );
}

/// That commands say so at their end, to people and to programs.
#[track_caller]
fn check_ends(cache: &TempDir, all: &[(&[&str], &str)]) {
    for (arguments, done) in all {
        let said = last_line(&run(arguments, cache));
        let is_it = said.strip_prefix("Finished ").is_some_and(|said| said.contains(*done));
        assert!(is_it, "{arguments:?}: {said}");
        let output = run(&[*arguments, &["--json"]].concat(), cache);
        let stdout = text(&output.stdout);
        let last: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
        assert_eq!(last["event"], "summary", "{arguments:?}");
        assert!(last["seconds"].as_f64().is_some_and(|seconds| seconds >= 0.0), "{last}");
        assert!(!text(&output.stderr).contains("Finished"), "{arguments:?}");
        let quiet = run(&[*arguments, &["--quiet"]].concat(), cache);
        assert!(!text(&quiet.stderr).contains("Finished"), "{arguments:?}");
    }
}

#[test]
fn a_folder_passes_the_gate_as_a_table() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["elf-x86_64.so", "pe-x86_64.dll"] {
        fs::copy(Path::new(LIBRARIES).join(name), folder.path().join(name)).unwrap();
    }
    let arguments = ["gate", "--host-target", "x86_64-unknown-linux-gnu", "."];
    let output = xtask(&arguments).current_dir(&folder).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_data_eq!(
        text(&output.stdout),
        str![[r#"
library          plugin  for  bytes  needs                verdict
./elf-x86_64.so               2720   glibc 2.17 or newer  KW201 KW402
./pe-x86_64.dll                                           KW201 KW303 KW306
KW201 manifest: there is no manifest beside it
  remedy: copy the whole folder from `dist/`, or build with `cargo xtask build-plugins`
KW303 header: it has another system's object format
  remedy: take the library from this host's folder under `dist/`
KW306 header: it is for another operating system
  remedy: take the library from this host's folder under `dist/`
KW402 stamp: the stamp can't be read
  remedy: build the plugin with the host's Keyway

"#]]
    );
    assert_data_eq!(
        text(&output.stderr),
        str![[r#"
    Finished 0 admitted, 2 refused by a host for x86_64-unknown-linux-gnu in [..] s
error: a host for x86_64-unknown-linux-gnu refuses 2 of 2 files
hint: `--verbose` shows what was found; `cargo xtask explain CODE` says more about a code

"#]]
    );
    // One file is shown in full, and so are several if all is asked for.
    let one = xtask(&["gate", "elf-x86_64.so"]).current_dir(&folder).output().unwrap();
    assert!(text(&one.stdout).starts_with("elf-x86_64.so\n  elf, "), "{}", text(&one.stdout));
    let all = xtask(&["gate", "--verbose", "."]).current_dir(&folder).output().unwrap();
    assert!(text(&all.stdout).contains("\n  stack for data only: yes\n"), "{}", text(&all.stdout));
}

/// What may not reach a terminal: what moves its cursor, and what turns text around.
fn is_hostile(character: char) -> bool {
    character != '\n' && character.is_control() || ('\u{202a}'..='\u{202e}').contains(&character)
}

/// That a command says `shown`, nothing hostile, and no line that it was given.
#[track_caller]
fn check_is_harmless(output: &Output, shown: &str) {
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(said.contains(shown), "{said:?}");
    assert!(!said.contains(is_hostile), "{said:?}");
    assert!(!said.lines().any(|line| line.trim().starts_with("ok: admitted")), "{said:?}");
}

#[cfg(unix)]
#[test]
fn names_of_files_are_shown_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let names = [
        ("a\nok: admitted.so", r"a\nok: admitted.so"),
        ("b\u{1b}[2J\u{9b}1A.so", r"b\u{1b}[2J\u{9b}1A.so"),
        ("c\u{202e}fles.so", r"c\u{202e}fles.so"),
    ];
    for (name, shown) in names {
        fs::copy(Path::new(LIBRARIES).join("elf-x86_64.so"), folder.path().join(name)).unwrap();
        let target = format!("--manifest-path={name}/Cargo.toml");
        let all = [&["gate", name][..], &["gate", "."], &["gate", "--verbose", "."]];
        for arguments in all.into_iter().chain([&["run-plugin", name, "greet"][..]]) {
            let output = xtask(arguments).current_dir(&folder).output().unwrap();
            assert_eq!(output.status.code(), Some(3), "{arguments:?}");
            check_is_harmless(&output, shown);
        }
        let mut elsewhere = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let output = elsewhere.args(["targets", &target]).current_dir(&folder).output().unwrap();
        assert!(!output.status.success());
        check_is_harmless(&output, shown);
        // Programs are told the name itself.
        let output = xtask(&["gate", "--json", name]).current_dir(&folder).output().unwrap();
        let verdict: Value =
            serde_json::from_str(text(&output.stdout).lines().next().unwrap()).unwrap();
        assert_eq!(verdict["path"], *name);
    }
}

/// clap repeats what it does not understand.
#[test]
fn arguments_are_shown_escaped() {
    for arguments in [["gate", "--host-target=x\u{1b}[2J"], ["gate", "--x\u{1b}[2J\u{202e}=1"]] {
        let output = xtask(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        check_is_harmless(&output, r"x\u{1b}[2J");
    }
    let help = xtask(&["gate", "--help"]).output().unwrap();
    assert!(help.status.success() && text(&help.stdout).contains("Usage: "));
}

/// A name that is no text has no exact form in JSON.
#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_no_text_is_no_reason_to_panic() {
    use std::os::unix::ffi::OsStrExt;

    let name = std::ffi::OsStr::from_bytes(b"a\xff.so");
    for (option, shown) in [("--verbose", r"a\xff.so"), ("--json", "a\u{fffd}.so")] {
        let output = xtask(&["gate", option]).arg(name).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains(shown), "{}", text(&output.stdout));
    }
}

#[test]
fn what_a_manifest_says_is_shown_escaped() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/greet.manifest.json");
    let sample = fs::read_to_string(sample).unwrap();
    let edits = [
        (r#""0.1.0""#, r#""1\u001b[2J\nok: admitted""#, r"1\u{1b}[2J\nok: admitted"),
        (r#""name": "greet""#, r#""name": "gre\u202eet""#, r"gre\u{202e}et"),
        (
            r#""format": 1"#,
            r#""format": 1, "\u001b[2J\nok: admitted": 1"#,
            r"`\u{1b}[2J\nok: admitted`",
        ),
    ];
    for (from, to, shown) in edits {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libgreet.so");
        fs::copy(Path::new(LIBRARIES).join("elf-x86_64.so"), &library).unwrap();
        let manifest = sample.replacen(from, to, 1);
        assert_ne!(manifest, sample);
        fs::write(folder.path().join("libgreet.so.manifest.json"), manifest).unwrap();
        for option in ["--verbose", "--color=never"] {
            let arguments = ["gate", option, library.to_str().unwrap()];
            let output =
                Command::new(env!("CARGO_BIN_EXE_xtask")).args(arguments).output().unwrap();
            check_is_harmless(&output, shown);
        }
    }
}

/// Whoever asks for a verdict and gets none is told by the status.
#[test]
fn a_folder_without_libraries_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    fs::write(folder.path().join("empty/README"), "").unwrap();
    let output = xtask(&["gate", "empty"]).current_dir(&folder).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(text(&output.stdout), "");
    assert_data_eq!(
        text(&output.stderr),
        str![[r#"
    Finished 0 admitted by a host for [..] in [..] s
error: there is no library in `empty`: nothing was looked at
hint: libraries are files that end with `.so`, `.dll` or `.dylib`

"#]]
    );
    let output = xtask(&["gate", "--json", "empty"]).current_dir(&folder).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    // One that has some does not hide one that has none.
    fs::copy(Path::new(LIBRARIES).join("elf-x86_64.so"), folder.path().join("a.so")).unwrap();
    let output = xtask(&["gate", "a.so", "empty"]).current_dir(&folder).output().unwrap();
    let said = text(&output.stderr);
    assert!(said.contains("warning: there is no library in `empty`\nerror: a host for"), "{said}");
}

#[cfg(unix)]
#[test]
fn hundreds_of_files_take_a_line_each() {
    let folder = tempfile::tempdir().unwrap();
    let all: Vec<String> = (0..300).map(|n| format!("{n}\nok: admitted.so")).collect();
    for name in &all {
        fs::write(folder.path().join(name), "no library").unwrap();
    }
    // Links among them lead in circles.
    for name in ["one", "two"] {
        std::os::unix::fs::symlink(folder.path(), folder.path().join(name)).unwrap();
    }
    let each: Vec<&str> = ["gate"].into_iter().chain(all.iter().map(String::as_str)).collect();
    for arguments in [&["gate", "."][..], &each] {
        let output = xtask(arguments).current_dir(&folder).output().unwrap();
        let said = text(&output.stdout);
        // The head, the files, and two lines for each of two codes.
        assert_eq!(said.lines().count(), 1 + 300 + 4, "{said}");
    }
}

/// As `| head` does it: the reader is gone before the command is done.
#[test]
fn a_reader_that_leaves_is_told_by_the_status() {
    let cache = tempfile::tempdir().unwrap();
    for arguments in [&["explain"][..], &["explain", "--json"], &["targets"]] {
        let mut command = xtask(arguments);
        command.env("KEYWAY_CACHE", cache.path()).stderr(Stdio::piped());
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(141), "{}", text(&output.stderr));
        assert!(!text(&output.stderr).contains("error"), "{}", text(&output.stderr));
    }
    // What failed comes first.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = xtask(&["gate", LIBRARIES]).stdout(writer).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(3));
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cant_be_written_is_an_error() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = xtask(&["explain"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert_data_eq!(
        text(&output.stderr),
        str![[r#"
    Finished [..] codes in [..] s
error: could not write to standard output: No space left on device (os error 28)
hint: all else was done; only what was to be written there is lost

"#]]
    );
}
