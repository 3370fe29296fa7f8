//! Order of Debian package versions, as Debian Policy §5.6.12 defines it.
//!
//! Only comparing: a version is kept as the text that the archive wrote.

use std::cmp::Ordering;

/// Compares two versions of the form `[epoch:]upstream[-revision]`.
pub fn compare(left: &str, right: &str) -> Ordering {
    let (left, right) = (Parts::of(left), Parts::of(right));
    digits(left.epoch, right.epoch)
        .then_with(|| part(left.upstream, right.upstream))
        .then_with(|| part(left.revision, right.revision))
}

struct Parts<'a> {
    epoch: &'a str,
    upstream: &'a str,
    revision: &'a str,
}

impl<'a> Parts<'a> {
    fn of(version: &'a str) -> Self {
        let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
        Self { epoch, upstream, revision }
    }
}

/// Alternates between the longest prefix without digits and the longest one of digits.
fn part(mut left: &str, mut right: &str) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        let (left_text, left_rest) = split(left, |c| !c.is_ascii_digit());
        let (right_text, right_rest) = split(right, |c| !c.is_ascii_digit());
        let (left_number, left_rest) = split(left_rest, |c| c.is_ascii_digit());
        let (right_number, right_rest) = split(right_rest, |c| c.is_ascii_digit());
        let order = text(left_text, right_text).then_with(|| digits(left_number, right_number));
        if order != Ordering::Equal {
            return order;
        }
        (left, right) = (left_rest, right_rest);
    }
    Ordering::Equal
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// `~` sorts before the end, the end before letters, letters before all else.
fn text(left: &str, right: &str) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    };
    let (left, right) = (left.as_bytes(), right.as_bytes());
    (0..left.len().max(right.len()))
        .map(|at| weight(left.get(at)).cmp(&weight(right.get(at))))
        .find(|order| *order != Ordering::Equal)
        .unwrap_or(Ordering::Equal)
}

/// Numbers of any length, by value.
fn digits(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(left: &str, order: Ordering, right: &str) {
        assert_eq!(compare(left, right), order, "{left} {right}");
        assert_eq!(compare(right, left), order.reverse(), "{right} {left}");
    }

    #[test]
    fn orders_as_the_policy_says() {
        for (left, right) in [
            ("1.0", "1.1"),
            ("1.9", "1.10"),
            ("1.0~rc1", "1.0"),
            ("1.0~~", "1.0~~a"),
            ("1.0~~a", "1.0~"),
            ("1.0", "1.0a"),
            ("1.0a", "1.0+b"),
            ("9.9", "1:0.1"),
            ("1.0-1", "1.0-2"),
            ("1.0-1", "1.0-1+b1"),
            ("2.41-12+deb13u4", "2.41-12+deb13u5"),
            ("1.96.0+dfsg1-1~deb13u1", "1.96.0+dfsg1-1"),
            ("1.0.9", "1.0.10"),
            ("1.2-3-4", "1.2-3-5"),
            ("99999999999999999999998", "99999999999999999999999"),
        ] {
            check(left, Ordering::Less, right);
        }
    }

    #[test]
    fn sees_equal_ones() {
        for (left, right) in [("1.0", "1.0-0"), ("0:1.0", "1.0"), ("1.01", "1.1"), ("", "")] {
            check(left, Ordering::Equal, right);
        }
    }
}
