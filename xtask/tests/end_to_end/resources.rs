//! Resources of Windows libraries: version strings, an icon and a manifest, by the two crates that most
//! people use, on every Windows target. Both call `windres`; what it converts text with, its preprocessor
//! and its processor are the image's business.

use std::fs;

use object::LittleEndian as LE;
use object::read::pe::{ImageNtHeaders, PeFile, PeFile32, PeFile64};

use crate::any_workspace::{CDYLIB, Ground, answer};
use crate::tested;

/// What the strings must say, in letters of several code pages.
const STRINGS: [(&str, &str); 2] =
    [("CompanyName", "Schlüssel & Łódź"), ("FileDescription", "grüßt")];

const BY_WINRESOURCE: &str = r#"fn main() {
    let mut all = winresource::WindowsResource::new();
    all.set_icon("key.ico").set_manifest_file("key.manifest");
    all.set("CompanyName", "Schlüssel & Łódź").set("FileDescription", "grüßt");
    all.compile().unwrap();
}
"#;

const BY_EMBED_RESOURCE: &str = "fn main() { embed_resource::compile(\"key.rc\", embed_resource::NONE).manifest_required().unwrap(); }\n";

/// The macro needs the preprocessor.
const RC: &str = r#"#pragma code_page(65001)
#define COMPANY "Schlüssel & Łódź"
1 ICON "key.ico"
1 24 "key.manifest"
1 VERSIONINFO
FILEVERSION 1,2,3,0
{
BLOCK "StringFileInfo" { BLOCK "000004b0" {
VALUE "CompanyName", COMPANY
VALUE "FileDescription", "grüßt"
} }
BLOCK "VarFileInfo" { VALUE "Translation", 0x0, 0x04b0 }
}
"#;

const MANIFEST: &str =
    "<assembly xmlns=\"urn:schemas-microsoft-com:asm.v1\" manifestVersion=\"1.0\"/>\n";

/// An icon of one pixel: the folder of the file, the header of a bitmap, the pixel and its mask.
const ICON: [u8; 70] = {
    let mut icon = [0; 70];
    let set: [(usize, u8); 14] = [
        (2, 1),
        (4, 1),
        (6, 1),
        (7, 1),
        (10, 1),
        (12, 32),
        (14, 48),
        (18, 22),
        (22, 40),
        (26, 1),
        (30, 2),
        (34, 1),
        (36, 32),
        (62, 0x10),
    ];
    let mut at = 0;
    while at < set.len() {
        icon[set[at].0] = set[at].1;
        at += 1;
    }
    icon
};

fn workspace() -> Ground {
    let ground = Ground::new();
    ground.write("Cargo.toml", "[workspace]\nmembers = [\"by-*\"]\nresolver = \"2\"\n");
    for (name, dependency, build) in [
        ("by-embed-resource", "embed-resource = \"3\"", BY_EMBED_RESOURCE),
        ("by-winresource", "winresource = \"0.1\"", BY_WINRESOURCE),
    ] {
        let more = format!("{CDYLIB}[build-dependencies]\n{dependency}\n");
        ground.package(name, name, "2021", &more, &answer("42"));
        ground.write(&format!("{name}/build.rs"), build);
        ground.write(&format!("{name}/key.rc"), RC);
        ground.write(&format!("{name}/key.manifest"), MANIFEST);
        fs::write(ground.path.join(name).join("key.ico"), ICON).expect("write");
    }
    ground.run("", "cargo", &["generate-lockfile"]);
    ground
}

#[test]
fn version_strings_icons_and_manifests_are_in_windows_libraries() {
    let ground = workspace();
    let targets = tested();
    let windows = || targets.iter().map(|t| t.triple.as_str()).filter(|t| t.contains("windows"));
    let mut arguments = vec!["build-plugins", "--engine", "sandbox"];
    arguments.extend(windows().flat_map(|target| ["--target", target]));
    ground.run("", env!("CARGO_BIN_EXE_xtask"), &arguments);
    assert!(windows().count() >= 1);
    for target in windows() {
        for plugin in ["by-embed-resource", "by-winresource"] {
            let file = format!("dist/{target}/{plugin}/{}.dll", plugin.replace('-', "_"));
            let bytes = fs::read(ground.path.join(file)).expect("a library");
            let found = match target.starts_with("i686") {
                true => resources(&PeFile32::parse(&*bytes).expect("a PE file")),
                false => resources(&PeFile64::parse(&*bytes).expect("a PE file")),
            };
            let of = |kind: u16| {
                let found = found.iter().find(|(id, _)| *id == kind);
                found.map_or_else(|| panic!("{target}: {plugin}: no {kind}"), |(_, data)| data)
            };
            let (icon, version, manifest) = (of(3), of(16), of(24));
            assert_eq!(*icon, &ICON[22..], "{target}: {plugin}");
            assert_eq!(*manifest, MANIFEST.as_bytes(), "{target}: {plugin}");
            let units = version.chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]]));
            let text = String::from_utf16_lossy(&units.collect::<Vec<_>>());
            for (name, value) in STRINGS {
                let at = text.find(name).unwrap_or_else(|| panic!("{target}: {plugin}: {text:?}"));
                let said = text[at + name.len()..].trim_start_matches('\0');
                assert!(said.starts_with(value), "{target}: {plugin}: {name}: {text:?}");
            }
        }
    }
}

/// Of each resource, its type and its bytes.
fn resources<'data, Pe: ImageNtHeaders>(file: &PeFile<'data, Pe>) -> Vec<(u16, &'data [u8])> {
    let sections = file.section_table();
    let directory = file.data_directories().resource_directory(file.data(), &sections);
    let directory = directory.expect("it can be read").expect("it has resources");
    let mut all = Vec::new();
    for kind in directory.root().expect("a root").entries {
        let names = kind.data(directory).expect("it can be read").table().expect("names");
        for name in names.entries {
            let languages =
                name.data(directory).expect("it can be read").table().expect("languages");
            for language in languages.entries {
                let data = language.data(directory).expect("it can be read").data().expect("data");
                let (at, size) = (data.offset_to_data.get(LE), data.size.get(LE) as usize);
                let bytes = sections.pe_data_at(file.data(), at).expect("it is in a section");
                all.push((kind.name_or_id().id().expect("a number"), &bytes[..size]));
            }
        }
    }
    all
}
