//! Releases of Linux.

use std::fmt;
use std::str::FromStr;

/// A release of Linux: major and minor. Those after the last dot are fixes, and say nothing about features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release {
    major: u32,
    minor: u32,
}

/// The first release that tables here reach back to, and the last one of each major version that they know.
const FIRST: Release = Release::new(4, 18);
const LAST: [Release; 4] = [
    Release::new(4, 20),
    Release::new(5, 19),
    Release::new(6, 19),
    Release::new(7, 3),
];

impl Release {
    /// `Release::new(6, 1)` is Linux 6.1.
    pub const fn new(major: u32, minor: u32) -> Self {
        Release { major, minor }
    }

    /// The running kernel's; `None` where it cannot be told.
    pub fn running() -> Option<Self> {
        let code = super::kernel_version();
        (code != 0).then_some(Release::new(code >> 16, (code >> 8) & 0xff))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Release {
    type Err = String;

    /// `6.1`, also with what uname(1) says behind it: `6.1.0-50-amd64`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, '.');
        let (major, minor) = (parts.next().unwrap_or_default(), parts.next());
        let minor = minor.map(|minor| {
            let end = minor.find(|c: char| !c.is_ascii_digit());
            minor.split_at(end.unwrap_or(minor.len()))
        });
        let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse::<u32>().ok(),
            false => None,
        };
        let tail_fits = |tail: &str| tail.is_empty() || tail.starts_with('-');
        let release = match (number(major), minor) {
            (Some(major), Some((minor, tail))) if tail_fits(tail) => {
                number(minor).map(|minor| Release { major, minor })
            }
            _ => None,
        };
        let known = |release: &Release| {
            let last = LAST.iter().find(|last| last.major == release.major);
            *release >= FIRST && last.is_some_and(|last| release <= last)
        };
        release.filter(known).ok_or_else(|| {
            let all: Vec<String> = LAST
                .iter()
                .map(|last| match last.major == FIRST.major {
                    true => format!("{FIRST} to {last}"),
                    false => format!("{}.0 to {last}", last.major),
                })
                .collect();
            format!("no release of Linux that is known here: {}", all.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        for (text, expected) in [
            ("5.10", Release::new(5, 10)),
            ("6.1", Release::new(6, 1)),
            ("6.1.0-50-amd64", Release::new(6, 1)),
            ("6.18-rc3", Release::new(6, 18)),
            ("7.3", Release::new(7, 3)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        assert!(Release::new(5, 9) < Release::new(5, 10));
        assert_eq!(Release::new(5, 10).to_string(), "5.10");
    }

    #[test]
    fn what_is_no_release_is_an_error_that_says_what_is_known() {
        for text in [
            "", "6", "6.", "five", "6.1x", "5.20", "7.4", "3.10", "4.17", "-6.1", "6.+1",
        ] {
            assert_eq!(
                text.parse::<Release>(),
                Err("no release of Linux that is known here: 4.18 to 4.20, 5.0 to 5.19, 6.0 to 6.19, 7.0 to 7.3".into()),
                "{text}"
            );
        }
    }
}
