//! Stamps and descriptors that someone made to break their readers.

use keyway_abi::descriptor::{self, conflicts, differences};
use keyway_abi::stamp::{Encoded, Facts, Interfaces, Kind, MAGIC, Stamp, StampedInterface};
use proptest::collection::vec;
use proptest::prelude::*;

const STAMP: Stamp<'_> = Stamp {
    name: "greet",
    version: "0.1.0",
    target: "x86_64-unknown-linux-gnu",
    kind: Kind::Keyway,
    toolchain: None,
    contract: descriptor::CONTRACT,
    interfaces: Interfaces::Borrowed(&[StampedInterface {
        id: "market/OrderBook",
        version: 1,
        descriptor: "interface OrderBook: closed\n",
        signature: "crate market\nbest(&self) -> u64\n",
    }]),
    facts: Facts::HERE,
};
const ENCODED: Encoded<{ STAMP.encoded_length() }> = STAMP.encode();

/// Lines that look like a descriptor's, with few enough names that two texts share some.
fn descriptor_text() -> impl Strategy<Value = String> {
    let line = "(struct [AB]: size [0-9]; align [48]|  [AB]\\.[xy]: offset [0-9]; (u8|\\[u8;[0-9]\\])|[a-b: ;]{0,4})";
    vec(line, 0..8).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn any_bytes_are_a_stamp_or_an_error(mut bytes in any::<Vec<u8>>(), magic in any::<bool>()) {
        if magic {
            bytes.splice(..0, MAGIC);
        }
        if let Err(error) = Stamp::parse(&bytes) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn a_changed_stamp_is_read_within_its_bounds(
        changes in vec((0..100_usize, any::<u8>()), 1..6),
        length in 0..ENCODED.0.len() + 50,
    ) {
        let mut bytes = ENCODED.0.to_vec();
        bytes.resize(length, 0);
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        if let Ok(stamp) = Stamp::parse(&bytes) {
            prop_assert!(stamp.encoded_length() <= bytes.len());
            prop_assert!(!stamp.name.chars().any(char::is_control));
        }
    }

    #[test]
    fn differences_are_empty_only_for_equal_texts(
        host in descriptor_text(),
        plugin in descriptor_text(),
    ) {
        let found = differences(&host, &plugin);
        prop_assert_eq!(found.is_empty(), host == plugin);
        let conflicts = conflicts(&host, &plugin);
        prop_assert!(conflicts.is_empty() || host != plugin);
        for conflict in conflicts {
            prop_assert!(!conflict.to_string().contains('\n'));
        }
        for difference in found {
            prop_assert!(!difference.to_string().contains('\n'));
        }
    }
}
