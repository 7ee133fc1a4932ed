//! Which kernels, and where Debian has them. Versions move: a kernel is known here by its series and by the suites that
//! may offer it, never by a package's exact name.

use anyhow::{Result, bail};

/// A kernel of the matrix.
#[derive(Debug, PartialEq, Eq)]
pub struct Kernel {
    /// What the command line and the cache call it.
    pub name: &'static str,
    /// What its version begins with.
    pub series: Series,
    /// The suites to ask.
    pub suites: &'static [&'static str],
}

/// Which version to take.
#[derive(Debug, PartialEq, Eq)]
pub enum Series {
    /// The first of the suites whose kernel's version begins so.
    Of(&'static str),
    /// Whatever is the newest in any of the suites.
    Newest,
}

/// All of them, oldest first.
pub const ALL: &[Kernel] = &[
    Kernel {
        name: "5.10",
        series: Series::Of("5.10."),
        suites: &["bullseye"],
    },
    Kernel {
        name: "6.1",
        series: Series::Of("6.1."),
        suites: &["bookworm"],
    },
    Kernel {
        name: "6.12",
        series: Series::Of("6.12."),
        suites: &["bookworm-backports", "trixie"],
    },
    Kernel {
        name: "newest",
        series: Series::Newest,
        suites: &["trixie-backports", "sid"],
    },
];

/// Those with these names; all of them where there are none.
pub fn chosen(names: &[String]) -> Result<Vec<&'static Kernel>> {
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    names
        .iter()
        .map(|name| match ALL.iter().find(|kernel| kernel.name == name) {
            Some(kernel) => Ok(kernel),
            None => {
                let known: Vec<&str> = ALL.iter().map(|kernel| kernel.name).collect();
                bail!("kernels: `{name}` is none of {}", known.join(", "))
            }
        })
        .collect()
}

/// Numbers of a version in their order, so that versions compare: 7.10 comes after 7.9.
pub fn numbers(version: &str) -> Vec<u32> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn kernels_are_chosen_by_name() {
        assert_eq!(chosen(&[]).unwrap().len(), ALL.len());
        let two = chosen(&["newest".into(), "5.10".into()]).unwrap();
        assert_eq!([two[0].name, two[1].name], ["newest", "5.10"]);
        assert_eq!(
            chosen(&["4.19".into()]).unwrap_err().to_string(),
            "kernels: `4.19` is none of 5.10, 6.1, 6.12, newest"
        );
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("7.10.1-1") > numbers("7.9.13-1~bpo13+1"));
        assert_eq!(numbers("6.12.95-1~bpo12+1"), [6, 12, 95, 1]);
    }
}
