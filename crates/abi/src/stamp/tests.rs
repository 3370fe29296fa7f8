//! Stamps that are written, read, and broken in every way.

use alloc::string::ToString;

use super::*;

const PLAIN: Stamp<'_> = Stamp {
    name: "greet",
    version: "0.1.0",
    target: "x86_64-unknown-linux-gnu",
    kind: Kind::Keyway,
    toolchain: Some([0xab; 32]),
    contract: "contract: version 1\n",
    interfaces: Interfaces::Borrowed(&[
        StampedInterface {
            id: "market/Book",
            version: 3,
            descriptor: "interface Book: \n",
            signature: "",
        },
        StampedInterface {
            id: "market/Book",
            version: 4,
            descriptor: "interface Book: 4\n",
            signature: "crate market\nbest(&self)\n",
        },
    ]),
    facts: Facts {
        panic: "unwind",
        processor: "avx2,sse4.2",
        float: "hard",
        c_runtime: "dynamic",
        sanitizer: "",
    },
};
const ENCODED: Encoded<{ PLAIN.encoded_length() }> = PLAIN.encode();

fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Result<(), StampError> {
    let mut bytes = ENCODED.0.to_vec();
    change(&mut bytes);
    let length = bytes.len() as u32;
    bytes[12..16].copy_from_slice(&length.to_le_bytes());
    Stamp::parse(&bytes).map(|_| ())
}

fn record(tag: u32, flags: u32, bytes: &[u8]) -> Vec<u8> {
    let head = [tag, flags, bytes.len() as u32].map(u32::to_le_bytes);
    [head.as_flattened(), bytes].concat()
}

/// Where the record with this tag begins.
fn place(of: u32) -> usize {
    let mut records = Records { bytes: &ENCODED.0, at: HEADER };
    loop {
        let at = records.at;
        let record = records.next().expect("a stamp").expect("the record");
        if record.tag == of {
            return at;
        }
    }
}

#[test]
fn reads_what_it_wrote() {
    assert_eq!(Stamp::parse(&ENCODED.0), Ok(PLAIN));
    let foreign = Stamp {
        kind: Kind::Foreign("org.python.module"),
        contract: "",
        toolchain: None,
        interfaces: Interfaces::Borrowed(&[]),
        ..PLAIN
    };
    let bytes = foreign.to_vec();
    assert_eq!(Stamp::parse(&bytes), Ok(foreign));
}

#[test]
fn the_offsets_are_the_documented_ones() {
    let bytes = ENCODED.0;
    assert_eq!(bytes[..8], MAGIC);
    assert_eq!(bytes[8..12], [1, 0, 0, 0]);
    assert_eq!(bytes[12..16], (bytes.len() as u32).to_le_bytes());
    assert_eq!(bytes[16..28], [1, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0]);
    assert_eq!(bytes[28..33], *b"greet");
}

#[test]
fn a_stamp_cut_anywhere_is_refused() {
    for length in 0..ENCODED.0.len() {
        let error = Stamp::parse(&ENCODED.0[..length]).expect_err("it is cut");
        assert!(matches!(error, StampError::Truncated { found, .. } if found == length));
    }
}

#[test]
fn only_zeroes_follow() {
    let mut bytes = ENCODED.0.to_vec();
    bytes.extend([0; 500]);
    assert_eq!(Stamp::parse(&bytes), Ok(PLAIN));
    bytes.extend(ENCODED.0);
    let at = ENCODED.0.len() + 500;
    assert_eq!(Stamp::parse(&bytes), Err(StampError::Trailing { at }));
    assert_eq!(Stamp::read(&bytes), Ok((PLAIN, ENCODED.0.len())));
}

#[test]
fn a_record_of_tomorrow_is_skipped_unless_it_is_critical() {
    assert_eq!(changed(|bytes| bytes.extend(record(900, 0, b"\0\xff"))), Ok(()));
    let critical = changed(|bytes| bytes.extend(record(900, CRITICAL, b"")));
    assert_eq!(critical, Err(StampError::Unknown { tag: 900 }));
}

#[test]
fn every_error_is_reached() {
    assert_eq!(changed(|bytes| bytes[6] = b'\n'), Err(StampError::Magic));
    assert_eq!(changed(|bytes| bytes[8] = 2), Err(StampError::Version { found: 2 }));
    let at = ENCODED.0.len();
    assert_eq!(changed(|bytes| bytes.extend([0; 11])), Err(StampError::Length { at }));
    let long = changed(|bytes| bytes.extend(record(900, 0, b"").into_iter().map(|b| b | 1)));
    assert_eq!(long, Err(StampError::Length { at }));
    let mut bytes = ENCODED.0.to_vec();
    bytes[12..16].copy_from_slice(&7_u32.to_le_bytes());
    assert_eq!(Stamp::parse(&bytes), Err(StampError::Length { at: 0 }));
    for (tag, field) in [
        (tag::NAME, "name"),
        (tag::VERSION, "version"),
        (tag::TARGET, "target"),
        (tag::CONTRACT, "contract"),
        (tag::PANIC, "panic strategy"),
    ] {
        let at = place(tag);
        for byte in [0xff, 0, 0x1b] {
            let error = changed(|bytes| bytes[at + RECORD] = byte);
            assert_eq!(error, Err(StampError::Text { field }));
        }
        let twice = changed(|bytes| bytes.extend(record(tag, 0, b"unwind")));
        assert_eq!(twice, Err(StampError::Twice { tag }));
        if tag != tag::PANIC {
            let renamed =
                changed(|bytes| bytes[at..at + 8].copy_from_slice(&[9, 9, 0, 0, 0, 0, 0, 0]));
            assert_eq!(renamed, Err(StampError::Missing { field }));
        }
    }
    let at = place(tag::KIND) + RECORD;
    let error = changed(|bytes| bytes[at] = b'K');
    assert_eq!(error, Err(StampError::Record { field: "kind" }));
    let short = changed(|bytes| bytes.extend(record(tag::INTERFACE, 0, &[0; 7])));
    assert_eq!(short, Err(StampError::Record { field: "interface" }));
    let nameless = changed(|bytes| bytes.extend(record(tag::INTERFACE, 0, &[0; 8])));
    assert_eq!(nameless, Err(StampError::Text { field: "interface" }));
    let signature = |version: u32| {
        let head = [version, 11].map(u32::to_le_bytes);
        record(tag::SIGNATURE, 0, &[head.as_flattened(), b"market/Bookcrate a\n"].concat())
    };
    assert_eq!(changed(|bytes| bytes.extend(signature(3))), Ok(()));
    let twice = changed(|bytes| bytes.extend(signature(4)));
    assert_eq!(twice, Err(StampError::Twice { tag: tag::SIGNATURE }));
    let of_none = changed(|bytes| bytes.extend(signature(5)));
    assert_eq!(of_none, Err(StampError::Record { field: "signature" }));
    let short = changed(|bytes| bytes.extend(record(tag::TOOLCHAIN, 0, &[0; 7])));
    assert_eq!(short, Err(StampError::Record { field: "toolchain hash" }));
    let twice = changed(|bytes| bytes.extend(record(tag::TOOLCHAIN, 0, &[0; 32])));
    assert_eq!(twice, Err(StampError::Twice { tag: tag::TOOLCHAIN }));
}

#[test]
fn errors_say_what_was_found() {
    let text = StampError::Truncated { needed: 90, found: 12 }.to_string();
    assert_eq!(text, "the stamp needs 90 bytes, only 12 are there");
    let text = StampError::Version { found: 2 }.to_string();
    assert_eq!(text, "the stamp has format version 2, expected 1");
}

#[test]
fn the_toolchain_variable_is_64_digits_or_absent() {
    assert_eq!(toolchain_hash(None), None);
    let digits = "0f".repeat(32);
    assert_eq!(toolchain_hash(Some(&digits)), Some([0x0f; 32]));
}
