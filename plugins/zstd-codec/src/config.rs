//! The configuration: lines such as `level = 19`.

use keyway_sdk::PluginError;
use zstd_safe::{max_c_level, min_c_level};

use crate::BAD_CONFIG;

/// What a host can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// `level`: from fast and large to slow and small; 3 unless given.
    pub level: i32,
    /// `limit`: the most bytes that one `decompress` may give; 64 MiB unless given.
    pub limit: usize,
}

impl Config {
    /// Reads a configuration. Blank lines are skipped, and no line need be there.
    ///
    /// # Errors
    /// The first line that can't be read.
    pub fn parse(config: &[u8]) -> Result<Self, PluginError> {
        let error = |message: String| PluginError::new(BAD_CONFIG, message);
        let text = std::str::from_utf8(config)
            .map_err(|_| error("the configuration is not UTF-8".into()))?;
        let mut parsed = Self { level: 3, limit: 64 << 20 };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let setting = line.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
            match setting {
                Some(("level", value)) => {
                    let levels = min_c_level()..=max_c_level();
                    let level = value.parse().ok().filter(|level| levels.contains(level));
                    parsed.level = level.ok_or_else(|| {
                        let (least, most) = levels.into_inner();
                        error(format!("`level` is from {least} to {most}, found `{value}`"))
                    })?;
                }
                Some(("limit", value)) => {
                    parsed.limit = value.parse().map_err(|_| {
                        error(format!("`limit` is a number of bytes, found `{value}`"))
                    })?;
                }
                _ => {
                    let message = format!("expected `level = …` or `limit = …`, found `{line}`");
                    return Err(error(message));
                }
            }
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays_as_it_is() {
        let parsed = |text: &str| Config::parse(text.as_bytes());
        assert_eq!(parsed(""), Ok(Config { level: 3, limit: 64 << 20 }));
        assert_eq!(parsed("\n level=-5 \r\n\n"), Ok(Config { level: -5, limit: 64 << 20 }));
        assert_eq!(parsed("limit = 7\nlimit = 8"), Ok(Config { level: 3, limit: 8 }));
    }

    #[test]
    fn a_limit_fits_the_processor() {
        let parse = |limit: u128| Config::parse(format!("limit = {limit}").as_bytes());
        assert_eq!(parse(usize::MAX as u128).map(|config| config.limit), Ok(usize::MAX));
        let error = parse(usize::MAX as u128 + 1).expect_err("no memory is that large");
        assert_eq!(error.code(), BAD_CONFIG);
    }
}
