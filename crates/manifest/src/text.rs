//! Text for people, made of what others wrote: names, paths, and strings from files.
//!
//! Whoever writes a file chooses its name and its content. Shown as they are, an escape sequence
//! moves the cursor or sets a terminal's title, a line break forges a line of ours, and an override of
//! the direction of writing makes a name look like another one. So all of it is [`Show::shown`] on its
//! way into a message; what programs read, such as JSON, keeps the text itself.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};

/// How text that came from somebody else is shown to people.
///
/// Control characters, separators of lines, format characters and bytes that are not UTF-8 are
/// written as Rust does: `\n`, `\u{202e}`, `\xff`. A backslash stays as it is, so that paths of
/// Windows can be read, and what was shown once may be shown again.
pub trait Show: AsRef<OsStr> {
    /// The text on one line: a path, a name, a value.
    fn shown(&self) -> Shown<'_> {
        Shown { text: self.as_ref(), lines: Lines::Escaped }
    }

    /// A text of several lines: line breaks and tabs stay.
    fn shown_lines(&self) -> Shown<'_> {
        Shown { text: self.as_ref(), lines: Lines::Kept }
    }
}

impl<T: AsRef<OsStr> + ?Sized> Show for T {}

/// Text that can be written to a terminal or a log, once it is displayed.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    text: &'a OsStr,
    lines: Lines,
}

/// What becomes of line breaks and tabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    Escaped,
    Kept,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.text.as_encoded_bytes().utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\n' | '\t' if self.lines == Lines::Kept => f.write_char(character)?,
                    _ if is_visible(character) => f.write_char(character)?,
                    _ => write!(f, "{}", character.escape_default())?,
                }
            }
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

/// Whether a character shows itself and changes nothing about its neighbours.
fn is_visible(character: char) -> bool {
    let code = u32::from(character);
    let last = FORMAT.partition_point(|(first, _)| *first <= code).checked_sub(1);
    let is_format = last.is_some_and(|at| code <= FORMAT[at].1);
    !character.is_control() && !is_format
}

/// The characters of Unicode's categories Cf, Zl and Zp (format characters, separators of lines and of
/// paragraphs), as ranges in order: <https://www.unicode.org/reports/tr44/#General_Category_Values>.
const FORMAT: [(u32, u32); 20] = [
    (0x00ad, 0x00ad),
    (0x0600, 0x0605),
    (0x061c, 0x061c),
    (0x06dd, 0x06dd),
    (0x070f, 0x070f),
    (0x0890, 0x0891),
    (0x08e2, 0x08e2),
    (0x180e, 0x180e),
    (0x200b, 0x200f),
    (0x2028, 0x202e),
    // With one that is kept for a format character to come.
    (0x2060, 0x206f),
    (0xfeff, 0xfeff),
    (0xfff9, 0xfffb),
    (0x110bd, 0x110bd),
    (0x110cd, 0x110cd),
    (0x13430, 0x1343f),
    (0x1bca0, 0x1bca3),
    (0x1d173, 0x1d17a),
    // Tags, which spell an invisible text of their own.
    (0xe0001, 0xe0001),
    (0xe0020, 0xe007f),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let found = text.shown().to_string();
        assert_eq!(found, expected);
        assert_eq!(found.shown().to_string(), expected, "shown twice");
    }

    #[test]
    fn plain_text_stays() {
        for text in
            ["", "libgreet.so", r"C:\plugins\greet.dll", "Zoë's cafe\u{301} 鍵 🔑", "`a` \"b\""]
        {
            check(text, text);
        }
    }

    #[test]
    fn nothing_moves_a_cursor_forges_a_line_or_turns_text_around() {
        check("\u{1b}[2J\u{1b}]0;title\u{7}", r"\u{1b}[2J\u{1b}]0;title\u{7}");
        check("a\nok: admitted\r\t\0", r"a\nok: admitted\r\t\u{0}");
        // The forms of eight bits, and the separators that some programs break lines at.
        check("\u{9b}2J\u{85}\u{7f}", r"\u{9b}2J\u{85}\u{7f}");
        check("a\u{2028}b\u{2029}c", r"a\u{2028}b\u{2029}c");
        check("greet\u{202e}os.\u{2066}x\u{2069}", r"greet\u{202e}os.\u{2066}x\u{2069}");
        check(
            "in\u{200b}vi\u{ad}sible\u{e0041}\u{feff}",
            r"in\u{200b}vi\u{ad}sible\u{e0041}\u{feff}",
        );
    }

    #[test]
    fn lines_are_kept_where_they_are_meant() {
        let text = "a\n\tb\r\n\u{1b}[1mc";
        assert_eq!(text.shown_lines().to_string(), "a\n\tb\\r\n\\u{1b}[1mc");
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_no_text_are_told_apart() {
        use std::os::unix::ffi::OsStrExt;

        let names =
            [&b"a\xff\n"[..], b"a\xfe\n"].map(|name| OsStr::from_bytes(name).shown().to_string());
        assert_eq!(names, [r"a\xff\n", r"a\xfe\n"]);
    }
}
