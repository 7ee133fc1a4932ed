//! What the machine must have: each thing with the Debian package that brings it, the reason, and how
//! to see that it is there. It is looked for itself, not its package, so that any way of having it will do.

use super::Need;
use crate::run;
use std::path::Path;
use std::process::Command;

/// Something that must be on the machine.
pub struct Requirement {
    /// How to see that it is there.
    sign: Sign,
    /// The Debian package that brings it.
    pub package: &'static str,
    /// What it is for.
    pub why: &'static str,
    /// Who needs it first.
    need: Need,
}

enum Sign {
    /// A program of this name can be run.
    Program(&'static str),
    /// The C compiler's linker finds a library file of this name.
    Library(&'static str),
}

/// The one list.
pub const ALL: &[Requirement] = &[
    Requirement {
        sign: Sign::Program("cc"),
        package: "gcc",
        why: "links what runs on this machine",
        need: Need::Build,
    },
    Requirement {
        sign: Sign::Library("libc.a"),
        package: "libc6-dev",
        why: "the C library that goes into the static binary",
        need: Need::Build,
    },
    Requirement {
        sign: Sign::Program("ip"),
        package: "iproute2",
        why: "network namespaces, veth pairs, the bridge",
        need: Need::Demo,
    },
    Requirement {
        sign: Sign::Program("curl"),
        package: "curl",
        why: "sends the demo's requests",
        need: Need::Demo,
    },
    Requirement {
        sign: Sign::Program("python3"),
        package: "python3",
        why: "the demo's web servers",
        need: Need::Demo,
    },
    Requirement {
        sign: Sign::Program("ethtool"),
        package: "ethtool",
        why: "tests: offloads on and off",
        need: Need::Test,
    },
    Requirement {
        sign: Sign::Program("bpftool"),
        package: "bpftool",
        why: "tests: a second opinion on objects and maps",
        need: Need::Test,
    },
    Requirement {
        sign: Sign::Program("llvm-readelf"),
        package: "llvm",
        why: "tests: a second opinion on the linker's files",
        need: Need::Test,
    },
    Requirement {
        sign: Sign::Program("clang"),
        package: "clang",
        why: "tests: the C twin that we are measured against; the object set's old compiler",
        need: Need::Test,
    },
    Requirement {
        sign: Sign::Program("clang-19"),
        package: "clang-19",
        why: "tests: the object set's compiler (arenas, cpu v4)",
        need: Need::Test,
    },
    Requirement {
        sign: Sign::Program("chromium"),
        package: "chromium",
        why: "tests: the page of --explain=html in a browser",
        need: Need::Test,
    },
    Requirement {
        sign: Sign::Program("xz"),
        package: "xz-utils",
        why: "tests: unpacks the modules of other kernels",
        need: Need::Test,
    },
];

impl Requirement {
    /// Whether it is there.
    pub fn is_met(&self) -> bool {
        match self.sign {
            Sign::Program(name) => run::program(name).is_some(),
            Sign::Library(name) => library(name),
        }
    }

    /// Its name where there are no Debian packages.
    pub fn what(&self) -> &'static str {
        match self.sign {
            Sign::Program(name) | Sign::Library(name) => name,
        }
    }
}

/// What `need` asks for and the machine lacks.
pub fn missing(need: Need) -> Vec<&'static Requirement> {
    wanted(need)
        .filter(|requirement| !requirement.is_met())
        .collect()
}

fn wanted(need: Need) -> impl Iterator<Item = &'static Requirement> {
    ALL.iter()
        .filter(move |requirement| requirement.need <= need)
}

/// The compiler answers with a path where it has the file, and with the bare name where not.
fn library(name: &str) -> bool {
    run::read(Command::new("cc").arg(format!("-print-file-name={name}")))
        .is_ok_and(|answer| Path::new(answer.trim()).is_absolute())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn each_need_holds_the_ones_before() {
        let names = |need| wanted(need).map(|one| one.package).collect::<Vec<_>>();
        assert_eq!(names(Need::Build), ["gcc", "libc6-dev"]);
        assert!(names(Need::Demo).starts_with(&names(Need::Build)));
        assert_eq!(names(Need::Test).len(), ALL.len());
    }

    #[test]
    fn a_library_that_is_nowhere_is_missing() {
        assert!(!library("libxdplb-no-such.a"));
    }
}
