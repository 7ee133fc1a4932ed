//! Addresses of kernel symbols, from `/proc/kallsyms`: one pass over its lines for all symbols that are wanted.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use nix::errno::Errno;

use super::KernelError;

const PATH: &str = "/proc/kallsyms";
/// Longest line that is looked at: names have at most 512 bytes (`KSYM_NAME_LEN`), modules' 56.
const MAX_LINE: u64 = 1024;

/// The addresses of those symbols that this kernel has. Absent ones are absent from the answer.
pub fn kernel_symbols(wanted: &BTreeSet<String>) -> Result<HashMap<String, u64>, KernelError> {
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let what = || format!("read the addresses of kernel symbols ({PATH})");
    let refused = |error: io::Error| {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        KernelError::refused(what(), errno)
    };
    let file = File::open(PATH).map_err(refused)?;
    let found = search(BufReader::with_capacity(1 << 16, file), wanted).map_err(refused)?;
    match found {
        Found::Addresses(addresses) => Ok(addresses),
        Found::Ambiguous(name) => Err(KernelError::Usage {
            what: what(),
            why: format!("there are several symbols `{name}`, at different addresses"),
        }),
        Found::Hidden => {
            let setting = std::fs::read_to_string("/proc/sys/kernel/kptr_restrict");
            Err(hidden(what(), setting.ok().as_deref().map(str::trim)))
        }
    }
}

fn hidden(what: String, kptr_restrict: Option<&str>) -> KernelError {
    let evidence = match kptr_restrict {
        // With 0 the kernel asks for CAP_SYSLOG only where perf events are restricted too (kallsyms_show_value).
        Some("0") => vec!["try:  run it with CAP_SYSLOG".to_string()],
        Some("1") => vec![
            "kernel.kptr_restrict is 1".to_string(),
            "try:  run it with CAP_SYSLOG".to_string(),
        ],
        Some(other) => vec![
            format!("kernel.kptr_restrict is {other}"),
            "try:  sysctl kernel.kptr_restrict=1".to_string(),
        ],
        None => Vec::new(),
    };
    KernelError::Refused {
        what,
        why: "they are hidden from this process, all are 0".into(),
        errno: Errno::EPERM,
        evidence,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Addresses(HashMap<String, u64>),
    Ambiguous(String),
    Hidden,
}

fn search(mut lines: impl BufRead, wanted: &BTreeSet<String>) -> io::Result<Found> {
    let names: HashMap<&[u8], &String> = wanted.iter().map(|n| (n.as_bytes(), n)).collect();
    let mut addresses: HashMap<String, u64> = HashMap::new();
    let mut line = Vec::with_capacity(MAX_LINE as usize);
    let mut hidden = true;
    loop {
        line.clear();
        // `ffffffff81000000 T _text`, with `\t[module]` behind it.
        if lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        hidden = hidden && line.iter().take_while(|&&b| b != b' ').all(|&b| b == b'0');
        let mut fields = line.split(|b| b.is_ascii_whitespace());
        let (Some(address), Some(_), Some(name)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let Some(&name) = names.get(plain(name)) else {
            continue;
        };
        let address = std::str::from_utf8(address)
            .ok()
            .and_then(|address| u64::from_str_radix(address, 16).ok());
        let Some(address) = address else { continue };
        if *addresses.entry(name.clone()).or_insert(address) != address {
            return Ok(Found::Ambiguous(name.clone()));
        }
    }
    if hidden && !addresses.is_empty() {
        return Ok(Found::Hidden);
    }
    Ok(Found::Addresses(addresses))
}

/// What the source calls it: link-time optimisation adds `.llvm.` and a number.
fn plain(name: &[u8]) -> &[u8] {
    const SUFFIX: &[u8] = b".llvm.";
    let end = name.windows(SUFFIX.len()).position(|w| w == SUFFIX);
    &name[..end.unwrap_or(name.len())]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const LINES: &str = "\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _text
ffffffff81000100 t twice
ffffffff81000200 t local.llvm.8123
ffffffff81000300 t twice
ffffffffc0000000 t in_module\t[m]
";

    fn find(lines: &str, names: &[&str]) -> Found {
        let wanted = names.iter().map(|name| name.to_string()).collect();
        search(lines.as_bytes(), &wanted).unwrap()
    }

    #[test]
    fn symbols_are_found_in_one_pass() {
        let found = find(
            LINES,
            &["_text", "local", "in_module", "absent", "fixed_percpu_data"],
        );
        let Found::Addresses(found) = found else {
            panic!("{found:?}")
        };
        assert_eq!(found["_text"], 0xffff_ffff_8100_0000);
        assert_eq!(found["local"], 0xffff_ffff_8100_0200);
        assert_eq!(found["in_module"], 0xffff_ffff_c000_0000);
        assert_eq!(found["fixed_percpu_data"], 0);
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn a_name_at_two_addresses_is_ambiguous() {
        assert_eq!(find(LINES, &["twice"]), Found::Ambiguous("twice".into()));
    }

    #[test]
    fn hidden_addresses_are_told_from_absent_symbols() {
        let zeros = "0000000000000000 T _text\n0000000000000000 T other\n";
        assert_eq!(find(zeros, &["_text"]), Found::Hidden);
        assert_eq!(find(zeros, &["absent"]), Found::Addresses(HashMap::new()));
        assert_eq!(
            hidden("read them".into(), Some("1")).to_string(),
            "read them: they are hidden from this process, all are 0 (EPERM)\n  kernel.kptr_restrict is 1\n  try:  run it with CAP_SYSLOG"
        );
        assert_eq!(
            hidden("read them".into(), Some("2")).to_string(),
            "read them: they are hidden from this process, all are 0 (EPERM)\n  kernel.kptr_restrict is 2\n  try:  sysctl kernel.kptr_restrict=1"
        );
    }

    #[test]
    fn lines_without_end_are_cut() {
        let long = format!("ffffffff81000000 T {}\n{LINES}", "x".repeat(5000));
        assert!(matches!(find(&long, &["_text"]), Found::Addresses(found) if found.len() == 1));
    }
}
