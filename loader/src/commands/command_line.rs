//! PURE: the command line that an error advises, put together from the arguments it was given.

use super::RunArgs;
use crate::balancer::mode::Wish;

/// Options to add to what was given, and to leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advice {
    /// The same again.
    Same,
    /// With `--replace`.
    Replace,
    /// With this mode in place of what was given.
    Mode(&'static str),
}

/// The command line, as a shell takes it. Options follow the words, so that what matters is seen first.
pub(super) fn advise(args: &RunArgs, advice: Advice) -> String {
    let mut words = vec!["xdplb-load".to_string()];
    let mut add = |word: &str| words.push(quote(word));
    // An interface may be called like a subcommand.
    let command = <super::Cli as clap::CommandFactory>::command();
    if args.ifname == "help" || command.find_subcommand(&args.ifname).is_some() {
        add("run");
    }
    if advice == Advice::Replace || args.replace {
        add("--replace");
    }
    add(&args.ifname);
    args.backends.iter().for_each(|backend| add(backend));
    if let Some(service) = &args.listen {
        add("--listen");
        add(&service.to_string());
    }
    if let Some(explain) = &args.explain {
        add(&format!("--explain={explain}"));
    }
    let mode = match (advice, args.xdp_mode) {
        (Advice::Mode(mode), _) => Some(mode),
        (Advice::Same | Advice::Replace, Wish::Auto) => None,
        (Advice::Same | Advice::Replace, Wish::Native) => Some("native"),
        (Advice::Same | Advice::Replace, Wish::Generic) => Some("generic"),
    };
    if let Some(mode) = mode {
        add("--xdp-mode");
        add(mode);
    }
    for (option, path) in [("--pin", &args.pin), ("--object", &args.object)] {
        if let Some(path) = path {
            add(option);
            add(&path.to_string_lossy());
        }
    }
    if args.trace {
        add("--trace");
    }
    if let Some(connections) = args.connections {
        add("--connections");
        add(&connections.to_string());
    }
    words.join(" ")
}

/// This very command line with the right to do what it asks for.
pub(super) fn as_root() -> String {
    let words = std::env::args_os().skip(1);
    let words = words.map(|word| quote(&word.to_string_lossy()));
    let mut line = vec!["sudo xdplb-load".to_string()];
    line.extend(words);
    line.join(" ")
}

/// A word as a shell reads it back.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:,@%+=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::Cli;
    use super::*;
    use clap::Parser;

    fn check(given: &[&str], advice: Advice, expected: &str) {
        let cli = Cli::try_parse_from([&["xdplb-load"], given].concat()).unwrap();
        let args = match (cli.run, cli.command) {
            (Some(args), _) | (None, Some(super::super::Command::Run(args))) => args,
            other => panic!("{other:?}"),
        };
        assert_eq!(advise(&args, advice), expected);
    }

    #[test]
    fn advice_repeats_what_was_given() {
        let seed = ["veth6", "10.0.0.2", "de:ad:be:ef:00:02"];
        check(
            &seed,
            Advice::Replace,
            "xdplb-load --replace veth6 10.0.0.2 de:ad:be:ef:00:02",
        );
        check(
            &[&["--xdp-mode", "native"][..], &seed].concat(),
            Advice::Mode("generic"),
            "xdplb-load veth6 10.0.0.2 de:ad:be:ef:00:02 --xdp-mode generic",
        );
        check(
            &[
                "run",
                "--trace",
                "--listen=10.0.0.20:80/tcp",
                "stats",
                "my backends",
            ],
            Advice::Same,
            "xdplb-load run stats 'my backends' --listen 10.0.0.20:80/tcp --trace",
        );
        check(
            &[
                "veth6",
                "it's",
                "--pin",
                "/sys/fs/bpf/lb",
                "--connections=7",
            ],
            Advice::Same,
            r"xdplb-load veth6 'it'\''s' --pin /sys/fs/bpf/lb --connections 7",
        );
    }
}
