//! The text formats of a Debian archive: control paragraphs and dependency relations
//! (Debian Policy §5.1 and §7.1).
//!
//! Only parsing. What a relation means for a set of packages is `resolve`'s.

use std::cmp::Ordering;

use thiserror::Error;

use super::version;

/// One paragraph: fields in their order, the names compared without case.
#[derive(Debug, Clone, Copy)]
pub struct Paragraph<'a>(&'a str);

impl<'a> Paragraph<'a> {
    /// The paragraphs of a text, which blank lines separate.
    pub fn all(text: &'a str) -> impl Iterator<Item = Self> {
        text.split("\n\n").map(|block| block.trim_matches('\n')).filter(|b| !b.is_empty()).map(Self)
    }

    /// The value of a field: the rest of its line, and the lines that continue it.
    pub fn field(&self, name: &str) -> Option<&'a str> {
        let mut start = 0;
        while start < self.0.len() {
            let end = value_end(self.0, start);
            let field = &self.0[start..end];
            if let Some((found, value)) = field.split_once(':')
                && found.eq_ignore_ascii_case(name)
            {
                return Some(value.trim());
            }
            start = end + 1;
        }
        None
    }
}

/// Where the field that starts at `start` ends: before a line break that no blank follows.
fn value_end(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = start;
    while let Some(step) = text[at..].find('\n') {
        at += step;
        match bytes.get(at + 1) {
            Some(b' ' | b'\t') => at += 1,
            _ => return at,
        }
    }
    text.len()
}

/// One dependency: any of the alternatives fulfils it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// As the archive wrote it.
    pub text: String,
    /// In the order of preference.
    pub alternatives: Vec<Relation>,
}

/// A package name and perhaps a bound on its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The package's name, without an architecture qualifier.
    pub name: String,
    /// The bound.
    pub bound: Option<(Operator, String)>,
}

/// How a version compares with the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

/// Why a relation can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected a relation such as `libc6 (>= 2.36)`, found `{found}`")]
pub struct RelationError {
    /// The text.
    pub found: String,
}

impl Relation {
    /// Whether `version` lies within the bound.
    pub fn admits(&self, version: &str) -> bool {
        let Some((operator, bound)) = &self.bound else {
            return true;
        };
        let order = version::compare(version, bound);
        match operator {
            Operator::Earlier => order == Ordering::Less,
            Operator::EarlierOrEqual => order != Ordering::Greater,
            Operator::Equal => order == Ordering::Equal,
            Operator::LaterOrEqual => order != Ordering::Less,
            Operator::Later => order == Ordering::Greater,
        }
    }

    fn parse(text: &str, architecture: &str) -> Result<Option<Self>, RelationError> {
        let error = || RelationError { found: text.to_owned() };
        let (text, on) = match text.split_once('[') {
            Some((before, after)) => (before.trim(), after.strip_suffix(']').ok_or_else(error)?),
            None => (text.trim(), ""),
        };
        if !names_architecture(on, architecture) {
            return Ok(None);
        }
        let (name, bound) = match text.split_once('(') {
            Some((name, bound)) => (
                name.trim(),
                Some(parse_bound(bound.strip_suffix(')').ok_or_else(error)?).ok_or_else(error)?),
            ),
            None => (text, None),
        };
        let name = name.split_once(':').map_or(name, |(name, _)| name);
        let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
        if name.is_empty() || !name.bytes().all(valid) {
            return Err(error());
        }
        Ok(Some(Self { name: name.to_owned(), bound }))
    }
}

fn parse_bound(text: &str) -> Option<(Operator, String)> {
    let text = text.trim();
    let at = text.find(|c| !matches!(c, '<' | '>' | '='))?;
    let operator = match &text[..at] {
        "<<" => Operator::Earlier,
        "<=" | "<" => Operator::EarlierOrEqual,
        "=" => Operator::Equal,
        ">=" | ">" => Operator::LaterOrEqual,
        ">>" => Operator::Later,
        _ => return None,
    };
    Some((operator, text[at..].trim().to_owned()))
}

fn names_architecture(list: &str, architecture: &str) -> bool {
    let mut listed = list.split_whitespace().peekable();
    match listed.peek() {
        None => true,
        Some(first) if first.starts_with('!') => {
            listed.all(|not| not.trim_start_matches('!') != architecture)
        }
        Some(_) => listed.any(|name| name == architecture || name == "any"),
    }
}

/// The clauses of a dependency field, for packages of `architecture`.
///
/// # Errors
/// If the text is no list of relations.
pub fn clauses(field: &str, architecture: &str) -> Result<Vec<Clause>, RelationError> {
    let mut clauses = Vec::new();
    for text in field.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let alternatives = text
            .split('|')
            .filter_map(|one| Relation::parse(one.trim(), architecture).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        if !alternatives.is_empty() {
            clauses.push(Clause { text: text.to_owned(), alternatives });
        }
    }
    Ok(clauses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_that_go_over_lines() {
        let text = "Package: a\nDepends: b,\n c\nSize: 3\n\n\nPackage: d\n";
        let paragraphs: Vec<_> = Paragraph::all(text).collect();
        assert_eq!(paragraphs.len(), 2);
        assert_eq!(paragraphs[0].field("depends"), Some("b,\n c"));
        assert_eq!(paragraphs[0].field("Size"), Some("3"));
        assert_eq!(paragraphs[1].field("Package"), Some("d"));
        assert_eq!(paragraphs[1].field("Size"), None);
    }

    #[test]
    fn reads_relations() {
        let read = clauses(
            "gcc | clang (>= 1:14), libc6 (>> 2.3), x [i386], y [!amd64], z:any [amd64]",
            "amd64",
        )
        .expect("relations");
        let names: Vec<Vec<&str>> =
            read.iter().map(|c| c.alternatives.iter().map(|r| r.name.as_str()).collect()).collect();
        assert_eq!(names, [vec!["gcc", "clang"], vec!["libc6"], vec!["z"]]);
        assert!(read[0].alternatives[1].admits("1:14.0"));
        assert!(!read[0].alternatives[1].admits("99"));
        assert!(!read[1].alternatives[0].admits("2.3"));
    }

    #[test]
    fn refuses_what_is_no_relation() {
        for bad in ["a (>= 1", "a (1)", "a (=> 1)", "A", "a b", "a [amd64", "(>= 1)"] {
            assert!(clauses(bad, "amd64").is_err(), "{bad}");
        }
    }
}
