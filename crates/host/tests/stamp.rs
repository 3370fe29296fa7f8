//! Refusals that depend on what the stamp says, whatever the manifest says: the interfaces, whom the
//! library is for, what the compiler knew.

use std::fs;
use std::path::{Path, PathBuf};

use keyway_abi::stamp::{Facts, Interfaces, Kind, Stamp};
use keyway_host::{
    Expectation, Gate, ImportPolicy, KnownInterface, OtherInterfaces, SignaturePolicy, StampPolicy,
    ToolchainPolicy,
};
use snapbox::{assert_data_eq, str};
use tempfile::TempDir;

#[path = "refusals/canary.rs"]
mod canary;

/// A library with a manifest that agrees with it, in a folder of their own.
struct Plugin {
    _folder: TempDir,
    library: PathBuf,
}

impl Plugin {
    fn of(bytes: &[u8]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = canary::LIBRARY.file_name().and_then(|name| name.to_str()).expect("a name");
        let library = folder.path().join(file);
        let manifest = canary::manifest(bytes, file);
        fs::write(&library, bytes).expect("the library is written");
        fs::write(folder.path().join(manifest.file_name()), manifest.to_json()).expect("it too");
        Self { _folder: folder, library }
    }
}

fn canary() -> Vec<u8> {
    fs::read(&*canary::LIBRARY).expect("the canary")
}

fn expectation() -> Expectation {
    Expectation {
        toolchains: ToolchainPolicy::AnyWithMatchingAbi,
        imports: ImportPolicy::Any,
        ..Expectation::this_process()
    }
}

/// Everything that is refused, a line each.
fn check(path: &Path, expectation: Expectation) -> String {
    let Err(rejection) = Gate::new(expectation).check(path) else {
        return String::new();
    };
    rejection.refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn interfaces() {
    let plugin = Plugin::of(&canary());
    let with = |interfaces: Vec<KnownInterface>, other_interfaces| Expectation {
        interfaces,
        other_interfaces,
        ..expectation()
    };
    let bytes = canary();
    let section = keyway_inspect::inspect(&bytes).expect("it").facts.stamp.expect("a stamp");
    let stamp = Stamp::parse(&bytes[section]).expect("a stamp");
    let [song] = stamp.interfaces.as_slice() else { panic!("one interface") };
    let known = |id: &str, version, descriptor: &str| KnownInterface {
        id: id.to_owned(),
        version,
        descriptor: descriptor.to_owned(),
        signature: String::new(),
    };
    let same = known(song.id, song.version, song.descriptor);
    let exclusive = song.descriptor.replace("; shared;", "; exclusive;");
    let other = known(song.id, song.version, &exclusive);
    // A host may know several versions, and another crate's interface of the same name is another.
    let later = known(song.id, song.version + 1, &exclusive);
    let stranger = known("elsewhere/Song", song.version, &exclusive);
    let several = vec![stranger, later.clone(), other.clone(), same.clone()];
    assert_eq!(check(&plugin.library, with(several, OtherInterfaces::Refuse)), "");
    assert_data_eq!(
        check(&plugin.library, with(vec![later], OtherInterfaces::Refuse)),
        str![
            "KW413 abi: the host does not know its interface: found `canary/Song` version 1, expected `canary/Song` version 2"
        ]
    );
    assert_eq!(check(&plugin.library, with(vec![same], OtherInterfaces::Refuse)), "");
    assert_data_eq!(
        check(&plugin.library, with(vec![other], OtherInterfaces::Admit)),
        str![
            "KW412 abi: it was built against another version of its interface: found Song.octave: host exclusive, plugin shared, expected the host's `canary/Song` with ABI hash `[..]`"
        ]
    );
    assert_eq!(check(&plugin.library, with(vec![], OtherInterfaces::Admit)), "");
    assert_data_eq!(
        check(&plugin.library, with(vec![], OtherInterfaces::Refuse)),
        str![
            "KW413 abi: the host does not know its interface: found `canary/Song` version 1, expected none"
        ]
    );
}

#[test]
fn what_an_author_wrote_is_compared_beside_the_layout() {
    let plugin = Plugin::of(&canary());
    let bytes = canary();
    let section = keyway_inspect::inspect(&bytes).expect("it").facts.stamp.expect("a stamp");
    let stamp = Stamp::parse(&bytes[section]).expect("a stamp");
    let [song] = <[KnownInterface; 1]>::try_from(KnownInterface::in_stamp(&stamp)).expect("one");
    assert_eq!(song.signature, "crate canary\noctave(&self, hertz: u32) -> u32\n");
    let with = |signature: &str, signatures| Expectation {
        interfaces: vec![KnownInterface { signature: signature.to_owned(), ..song.clone() }],
        signatures,
        ..expectation()
    };
    // Equal, not known, and with a function more than the plugin has.
    let longer = format!("{}later(&self)\n", song.signature);
    for fits in [song.signature.as_str(), "", &longer] {
        let gate = Gate::new(with(fits, SignaturePolicy::Refuse));
        let admission = gate.check(&plugin.library).expect("it is admitted");
        assert_eq!(admission.warnings(), []);
    }
    let renamed = song.signature.replace("hertz", "pitch");
    let expected = str![
        "KW414 abi: its interface's author wrote something else: found `canary/Song`: `octave(&self, hertz: u32) -> u32`, expected `octave(&self, pitch: u32) -> u32`, as the host has it"
    ];
    assert_data_eq!(
        check(&plugin.library, with(&renamed, SignaturePolicy::Refuse)),
        expected.clone()
    );
    let gate = Gate::new(with(&renamed, SignaturePolicy::Warn));
    let admission = gate.check(&plugin.library).expect("it is admitted");
    let [warning] = admission.warnings() else { panic!("{:?}", admission.warnings()) };
    assert_data_eq!(warning.to_string(), expected);
}

/// The library with other bytes in its stamp, and a manifest that agrees.
fn stamped(change: impl FnOnce(&mut Stamp<'_>)) -> Plugin {
    let bytes = canary();
    let section = keyway_inspect::inspect(&bytes).expect("it").facts.stamp.expect("a stamp");
    let mut stamp = Stamp::parse(&bytes[section.clone()]).expect("a stamp");
    change(&mut stamp);
    let changed = stamp.to_vec();
    assert!(changed.len() <= section.len(), "the section has room");
    let mut other = bytes.clone();
    other[section.clone()].fill(0);
    other[section.start..section.start + changed.len()].copy_from_slice(&changed);
    Plugin::of(&other)
}

#[test]
fn what_the_compiler_knew() {
    let found = |change: fn(&mut Facts<'_>)| {
        let plugin = stamped(|stamp| {
            // Room for longer texts.
            stamp.facts.float = "";
            stamp.facts.c_runtime = "";
            change(&mut stamp.facts);
        });
        check(&plugin.library, expectation())
    };
    assert_eq!(found(|_| ()), "");
    assert_data_eq!(
        found(|facts| facts.panic = "abort"),
        str![
            "KW421 abi: a panic in it would end the process: found panic strategy `abort`, expected panic strategy `unwind`"
        ]
    );
    assert_data_eq!(
        found(|facts| facts.processor = "warp-drive"),
        str![
            "KW422 abi: it needs a processor with more extensions: found code for processors with warp-drive, expected code that this machine can run"
        ]
    );
    assert_data_eq!(
        found(|facts| facts.float = "soft"),
        str![
            "KW423 abi: it passes floating-point numbers in another way: found float ABI `soft`, expected float ABI `hard`"
        ]
    );
    assert_data_eq!(
        found(|facts| facts.c_runtime = "static"),
        str![
            "KW424 abi: it has a C runtime of its own: found C runtime `static`, expected C runtime `dynamic`"
        ]
    );
    let here = match keyway_abi::stamp::SANITIZER {
        "" => "no sanitizer".to_owned(),
        sanitizer => format!("the sanitizers `{sanitizer}`"),
    };
    assert_eq!(
        found(|facts| facts.sanitizer = "memory"),
        format!(
            "KW425 abi: its sanitizers are not the process's: found the sanitizers `memory`, expected {here}"
        )
    );
}

#[test]
fn a_library_for_another_program() {
    let plugin = stamped(|stamp| {
        stamp.kind = Kind::Foreign("org.python.module");
        stamp.contract = "";
        stamp.interfaces = Interfaces::Borrowed(&[]);
    });
    assert_data_eq!(
        check(&plugin.library, expectation()),
        str![
            "KW404 stamp: it is for another program: found a library for the loader of `org.python.module`, expected a plugin of Keyway"
        ]
    );
    let tools = Expectation { stamp: StampPolicy::Optional, ..expectation() };
    assert_eq!(check(&plugin.library, tools), "");
}
