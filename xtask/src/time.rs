//! Times as files and servers write them, and seconds since 1970, UTC. Pure: no clock is read.

/// Seconds since 1970 of a date such as `Sat, 21 Nov 2026 09:15:44 UTC`.
pub fn parse_date(text: &str) -> Option<u64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, time, "UTC" | "GMT" | "+0000"] = words[..] else {
        return None;
    };
    let month = MONTHS.as_bytes().chunks(3).position(|name| name == month.as_bytes())? as u64 + 1;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let clock = time.split(':').map(|part| part.parse().ok()).collect::<Option<Vec<u64>>>()?;
    let [hour, minute, second] = clock[..] else {
        return None;
    };
    let valid = (1..=31).contains(&day)
        && (1970..=9999).contains(&year)
        && hour < 24
        && minute < 60
        && second < 61;
    valid.then(|| days_since_1970(year, month, day) * 86400 + hour * 3600 + minute * 60 + second)
}

/// Days of the proleptic Gregorian calendar, counted in years that begin with March.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

/// The form of a time that the snapshot archive and the lock use: `20261121T091544Z`.
pub fn timestamp(epoch: u64) -> String {
    let (days, seconds) = (epoch / 86400 + 719_468, epoch % 86400);
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// The form of a time that OCI documents use: `2026-11-21T09:15:44Z`.
pub fn rfc3339(epoch: u64) -> String {
    let t = timestamp(epoch);
    format!("{}-{}-{}T{}:{}:{}Z", &t[..4], &t[4..6], &t[6..8], &t[9..11], &t[11..13], &t[13..15])
}

/// The seconds since 1970 of such a time, parts of a second left out.
pub fn epoch_of(text: &str) -> Option<u64> {
    let (date, time) = text.split_once('T')?;
    let month: usize = date.get(5..7)?.parse().ok()?;
    let name = "JanFebMarAprMayJunJulAugSepOctNovDec".get(month.checked_sub(1)? * 3..month * 3)?;
    let (day, year, time) = (date.get(8..10)?, date.get(..4)?, time.get(..8)?);
    parse_date(&format!("Day, {day} {name} {year} {time} UTC"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dates() {
        assert_eq!(parse_date("Sat, 21 Nov 2026 09:15:44 UTC"), Some(1_795_252_544));
        assert_eq!(parse_date("Thu, 01 Jan 1970 00:00:00 UTC"), Some(0));
        assert_eq!(parse_date("Thu, 29 Feb 2024 23:59:59 +0000"), Some(1_709_251_199));
        for bad in [
            "",
            "Sat, 21 Nov 2026 09:15:44 CET",
            "Sat, 21 Foo 2026 09:15:44 UTC",
            "Sat, 99 Nov 2026 09:15:44 UTC",
        ] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn writes_times() {
        assert_eq!(timestamp(1_795_252_544), "20261121T091544Z");
        assert_eq!(timestamp(0), "19700101T000000Z");
        assert_eq!(timestamp(1_709_251_199), "20240229T235959Z");
        assert_eq!(rfc3339(1_795_252_544), "2026-11-21T09:15:44Z");
        assert_eq!(epoch_of("2026-11-21T09:15:44.123456789Z"), Some(1_795_252_544));
        assert_eq!(epoch_of("0001-13-01T00:00:00Z"), None);
        assert_eq!(epoch_of("é"), None);
    }
}
