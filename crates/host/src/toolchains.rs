//! The toolchains whose plugins a host trusts: those of the images that it was released with, and those of
//! earlier ones until they are retired.
//!
//! A toolchain's hash says who built a plugin. A new image has another one and takes nothing away from
//! what the earlier one built, so its hash goes on being trusted; what does take it away, such as a fault in
//! the compiler, is a retirement: a day and a reason, written by a person.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use keyway_manifest::text::Show as _;
use keyway_manifest::{Digest, Triple};
use thiserror::Error;

/// Toolchains by their hashes, each with its retirement if it has one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Toolchains(BTreeMap<Digest, Option<Retirement>>);

/// From when on a toolchain is trusted no longer, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retirement {
    /// The first day on which it is not, UTC.
    pub from: Day,
    /// Why.
    pub reason: String,
}

/// A day of the calendar, displayed as `2027-01-31`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    year: u16,
    month: u8,
    day: u8,
}

/// A line of a list of toolchains: `HASH TARGET`, or `HASH TARGET retired DAY: REASON`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The hash of the toolchain.
    pub hash: Digest,
    /// What it builds for.
    pub target: Triple,
    /// Whether it is retired, or will be.
    pub retirement: Option<Retirement>,
}

/// Why a list of toolchains can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "line {line} of the list of toolchains is not `HASH TARGET` or `HASH TARGET retired DAY: REASON`: `{found}`",
    found = .found.shown()
)]
pub struct ToolchainListError {
    /// The line, counted from 1.
    pub line: usize,
    /// The line's text.
    pub found: String,
}

impl Toolchains {
    /// Those of a list that build for `target`.
    pub(crate) fn of(list: &str, target: &Triple) -> Result<Self, ToolchainListError> {
        let lines = Line::read_all(list)?.into_iter().filter(|line| line.target == *target);
        Ok(Self(lines.map(|line| (line.hash, line.retirement)).collect()))
    }

    /// Adds one that is trusted until further notice.
    pub fn insert(&mut self, hash: Digest) {
        self.0.insert(hash, None);
    }

    /// Whether one is trusted today.
    pub fn contains(&self, hash: &Digest) -> bool {
        self.0.contains_key(hash) && self.retired(hash).is_none()
    }

    /// How many are trusted today.
    pub fn len(&self) -> usize {
        self.0.keys().filter(|hash| self.contains(hash)).count()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Why one that was trusted is not today. It is this machine's clock that says which day it is.
    pub fn retired(&self, hash: &Digest) -> Option<&Retirement> {
        self.0.get(hash)?.as_ref().filter(|retirement| retirement.from <= Day::today())
    }

    /// Adds all of `others`.
    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }
}

impl<const N: usize> From<[Digest; N]> for Toolchains {
    fn from(hashes: [Digest; N]) -> Self {
        Self(hashes.map(|hash| (hash, None)).into())
    }
}

impl Line {
    /// The lines of a list; empty ones and those that begin with `#` are skipped.
    ///
    /// # Errors
    ///
    /// A line is something else.
    pub fn read_all(list: &str) -> Result<Vec<Self>, ToolchainListError> {
        let lines = list.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        let lines = lines.filter(|(_, text)| !text.is_empty() && !text.starts_with('#'));
        let read = |(line, text): (usize, &str)| {
            Self::read(text).ok_or_else(|| ToolchainListError { line, found: text.to_owned() })
        };
        lines.map(read).collect()
    }

    fn read(text: &str) -> Option<Self> {
        let (hash, rest) = text.split_once(' ')?;
        let (target, retirement) = match rest.split_once(" retired ") {
            Some((target, retirement)) => {
                let (from, reason) = retirement.split_once(": ")?;
                let reason = Some(reason.trim().to_owned()).filter(|reason| !reason.is_empty())?;
                (target, Some(Retirement { from: from.parse().ok()?, reason }))
            }
            None => (rest, None),
        };
        Some(Self { hash: hash.parse().ok()?, target: target.trim().parse().ok()?, retirement })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.hash, self.target)?;
        match &self.retirement {
            Some(Retirement { from, reason }) => write!(f, " retired {from}: {}", reason.shown()),
            None => Ok(()),
        }
    }
}

impl Day {
    /// The day that this machine's clock says it is, UTC; one long ago if the clock stands before 1970.
    fn today() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::after_1970(now.as_secs() / 86_400)
    }

    /// The proleptic Gregorian calendar, counted in years that begin with March and in eras of 400 years.
    fn after_1970(days: u64) -> Self {
        let days = days + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = u16::try_from(era * 400 + year_of_era + next).unwrap_or(u16::MAX);
        Self { year, month: month as u8, day: day as u8 }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Why a text is no [`Day`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected a day such as `2027-01-31`, found `{found}`", found = .found.shown())]
pub struct ParseDayError {
    /// The text, cut at 80 characters.
    pub found: String,
}

impl FromStr for Day {
    type Err = ParseDayError;

    fn from_str(text: &str) -> Result<Self, ParseDayError> {
        let error = || ParseDayError { found: text.chars().take(80).collect() };
        let number = |part: &str, digits: usize| {
            let is_number = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
            if is_number { part.parse::<u16>().map_err(|_| error()) } else { Err(error()) }
        };
        let parts: Vec<&str> = text.split('-').collect();
        let [year, month, day] = parts[..] else { return Err(error()) };
        let (year, month, day) = (number(year, 4)?, number(month, 2)?, number(day, 2)?);
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(error());
        }
        Ok(Self { year, month: month as u8, day: day as u8 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let of = |days| Day::after_1970(days).to_string();
        assert_eq!(of(0), "1970-01-01");
        assert_eq!(of(59), "1970-03-01");
        assert_eq!(of(11_016), "2000-02-29");
        assert_eq!(of(20_785), "2026-11-28");
        assert_eq!(of(u64::MAX / 86_400 / 2).len(), "65535-01-01".len());
        let day = |text: &str| text.parse::<Day>().expect(text);
        assert!(day("2026-11-28") < day("2026-12-01") && day("2026-12-31") < day("2027-01-01"));
        for bad in ["", "2026", "2026-1-1", "2026-13-01", "2026-00-01", "2026-01-32", "x026-01-01"]
        {
            assert!(bad.parse::<Day>().is_err(), "{bad}");
        }
    }

    #[test]
    fn lines_read_as_they_are_written() {
        let hash = Digest::of("a");
        for text in ["", " retired 2027-01-31: its linker was found to drop: relocations"] {
            let text = format!("{hash} a-b-c{text}");
            let lines = Line::read_all(&format!("# comment\n\n  {text}\n")).expect("a line");
            assert_eq!(lines.iter().map(Line::to_string).collect::<Vec<_>>(), [text]);
        }
        let bad = [
            "",
            " a",
            " a-b retired",
            " a-b retired 2027: x",
            " a-b retired 2027-01-31: ",
            " a-b x",
        ];
        for bad in bad {
            let error = Line::read_all(&format!("\n{hash}{bad}")).expect_err(bad);
            assert_eq!(error.line, 2);
        }
    }

    #[test]
    fn a_retired_one_is_trusted_until_its_day() {
        let [past, coming, plain] = ["past", "coming", "plain"].map(Digest::of);
        let list = format!(
            "{past} a-b-c retired 2020-02-29: bad\n{coming} a-b-c retired 9999-12-31: old\n\
             {plain} a-b-c\n{} d-e-f\n",
            Digest::of("of another target")
        );
        let all = Toolchains::of(&list, &"a-b-c".parse().expect("a triple")).expect("a list");
        assert_eq!([past, coming, plain].map(|hash| all.contains(&hash)), [false, true, true]);
        assert_eq!(all.len(), 2);
        assert_eq!(all.retired(&past).expect("retired").reason, "bad");
        assert_eq!((all.retired(&coming), all.retired(&Digest::of("other"))), (None, None));
    }
}
