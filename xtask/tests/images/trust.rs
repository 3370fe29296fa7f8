//! Who may sign a suite, and what a release file must say.

use keyway_xtask::image::archive::{self, ArchiveError};
use keyway_xtask::image::openpgp::{self, Keyring, OpenPgpError};
use keyway_xtask::image::release::{Release, ReleaseError};
use snapbox::str;

use crate::debian::{Key, release};

fn keyring(key: &Key) -> Keyring {
    Keyring(vec![("test.asc".into(), key.public())])
}

#[track_caller]
fn check(key: &Key, bytes: &[u8], expected: impl snapbox::IntoData) -> ReleaseError {
    let error = Release::verify(&keyring(key), "http://m/InRelease", "test", bytes).unwrap_err();
    snapbox::assert_data_eq!(error.to_string(), expected);
    error
}

#[test]
fn takes_what_a_key_of_the_keyring_signed() {
    let (key, other) = (Key::new(), Key::new());
    let digest = "0".repeat(64);
    let text = release(&format!(" {digest} 7 main/binary-amd64/Packages.xz\n"));
    let both = Keyring(vec![("a.asc".into(), other.public()), ("b.asc".into(), key.public())]);
    let release = Release::verify(&both, "x", "test", &key.sign(&text)).unwrap();
    assert_eq!(release.epoch, 1_795_252_544);
    let index = release.index("x", "main/binary-amd64/Packages.xz").unwrap();
    assert_eq!(index, (7, digest.parse().unwrap()));
    let error = release.index("http://m/InRelease", "main/binary-arm64/Packages.xz").unwrap_err();
    snapbox::assert_data_eq!(
        error.to_string(),
        str!["`http://m/InRelease` does not list `main/binary-arm64/Packages.xz`"]
    );
}

#[test]
fn refuses_what_nobody_signed() {
    let key = Key::new();
    let error = check(
        &key,
        release("").as_bytes(),
        str!["`http://m/InRelease` carries no signature that can be read"],
    );
    assert!(matches!(error, ReleaseError::Unsigned { .. }));
    check(&key, b"", str!["`http://m/InRelease` carries no signature that can be read"]);
    check(&key, &[0xff; 100], str!["`http://m/InRelease` carries no signature that can be read"]);
    let signed = key.sign(&release(""));
    let end = signed.len() - 60;
    assert!(Release::verify(&keyring(&key), "x", "test", &signed[..end]).is_err());
}

#[test]
fn refuses_what_another_key_signed() {
    let (key, other) = (Key::new(), Key::new());
    check(
        &key,
        &other.sign(&release("")),
        str![
            "no valid signature on `http://m/InRelease` by a key of the keyring; signed by `[..]`"
        ],
    );
    let error = Keyring(vec![]).verify(&key.sign(&release(""))).unwrap_err();
    assert!(matches!(error, OpenPgpError::Untrusted { .. }));
}

#[test]
fn refuses_a_text_that_was_changed_after_it_was_signed() {
    let key = Key::new();
    let signed = String::from_utf8(key.sign(&release(" 0 0 x\n"))).unwrap();
    for (from, to) in [("Codename: test", "Codename: tesu"), (" 0 0 x", " 1 0 x"), ("Sat,", "Sun,")]
    {
        let changed = signed.replace(from, to);
        assert_ne!(changed, signed);
        check(
            &key,
            changed.as_bytes(),
            str![
                "no valid signature on `http://m/InRelease` by a key of the keyring; signed by `[..]`"
            ],
        );
    }
    // What stands around the signed text is not read.
    let around = format!("Codename: evil\n\n{signed}");
    assert!(Release::verify(&keyring(&key), "x", "evil", around.as_bytes()).is_err());
}

#[test]
fn refuses_what_does_not_say_enough() {
    let key = Key::new();
    let without = |line: &str| key.sign(&release("").replace(line, ""));
    check(
        &key,
        &without("Codename: test\n"),
        str!["`http://m/InRelease` has no usable field `Codename`"],
    );
    check(
        &key,
        &without("Date: Sat, 21 Nov 2026 09:15:44 UTC\n"),
        str!["`http://m/InRelease` has no usable field `Date`"],
    );
    check(&key, &without("SHA256:\n"), str!["`http://m/InRelease` has no usable field `SHA256`"]);
    check(
        &key,
        &key.sign(&release(" 0 zero x\n")),
        str!["`http://m/InRelease` has no usable field `SHA256`"],
    );
    check(
        &key,
        &key.sign(&release("").replace("test", "other")),
        str!["`http://m/InRelease` is of suite `other`, expected `test`"],
    );
}

#[test]
fn reads_the_keys_that_are_committed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/keyring");
    let found = openpgp::fingerprints(&archive::keyring(&folder).unwrap()).unwrap();
    // As Debian publishes them.
    assert_eq!(
        found,
        [
            "1f89983e0081fde018f3cc9673a4f27b8dd47936",
            "a4285295fc7b1a81600062a9605c66f00d6c9793",
            "04b54c3cdca79751b16bc6b5225629df75b188bd",
            "5e04a1e3223a19a20706e20f9904613d4cce68c6",
            "41587f7db8c774bccf131416762f67a0b2c39de4",
        ]
    );
}

#[test]
fn refuses_what_is_no_key() {
    let error = Keyring(vec![("k.asc".into(), b"no key".to_vec())]).verify(b"").unwrap_err();
    snapbox::assert_data_eq!(error.to_string(), str!["could not read the key file `k.asc`"]);
    let error = archive::keyring(std::path::Path::new("/nowhere/keyring")).unwrap_err();
    assert!(matches!(error, ArchiveError::Keyring { .. }));
    snapbox::assert_data_eq!(
        error.to_string(),
        str!["could not read the keyring `/nowhere/keyring`"]
    );
}
