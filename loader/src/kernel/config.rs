//! How the running kernel was configured, and which version it is: what `.kconfig` variables are filled with.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read};

use super::KernelError;

/// Larger than any kernel's configuration, packed or unpacked.
const MOST: usize = 8 << 20;

/// The options among `wanted` that are set: `CONFIG_HZ` to `1000`, `CONFIG_BPF` to `y`, strings in their quotes.
pub fn kernel_config(wanted: &BTreeSet<String>) -> Result<HashMap<String, String>, KernelError> {
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let release = read_line("/proc/sys/kernel/osrelease");
    let mut tried = Vec::new();
    // The kernel's own copy comes first: the others are files of that name, which may be of another build.
    for path in [
        "/proc/config.gz".to_string(),
        format!("/boot/config-{release}"),
        format!("/lib/modules/{release}/config"),
    ] {
        match read(&path) {
            Ok(text) => return Ok(options(&text, wanted)),
            Err(why) => tried.push(format!("{path}: {why}")),
        }
    }
    Err(unreadable(&tried))
}

fn unreadable(tried: &[String]) -> KernelError {
    KernelError::Usage {
        what: "read the kernel's configuration".into(),
        why: format!(
            "this kernel does not show it (CONFIG_IKCONFIG_PROC), and no file has it\n  {}",
            tried.join("\n  ")
        ),
    }
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    let lower = |error: io::Error| error.to_string().to_lowercase();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MOST as u64).read_to_end(&mut bytes))
        .map_err(lower)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return gunzip(&bytes);
    }
    Ok(bytes)
}

/// Unpacks a gzip file (RFC 1952). Its checksum is not looked at: the kernel made the file this moment.
fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let cut = || "it ends too early".to_string();
    let flags = *bytes.get(3).ok_or_else(cut)?;
    let mut at = 10;
    // FEXTRA, FNAME, FCOMMENT, FHCRC.
    if flags & 4 != 0 {
        let len = bytes.get(at..at + 2).ok_or_else(cut)?;
        at += 2 + usize::from(u16::from_le_bytes([len[0], len[1]]));
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            let rest = bytes.get(at..).ok_or_else(cut)?;
            at += rest.iter().position(|&b| b == 0).ok_or_else(cut)? + 1;
        }
    }
    if flags & 2 != 0 {
        at += 2;
    }
    let packed = bytes.get(at..).ok_or_else(cut)?;
    miniz_oxide::inflate::decompress_to_vec_with_limit(packed, MOST)
        .map_err(|error| format!("it cannot be unpacked: {error}"))
}

/// The lines `CONFIG_NAME=value` whose names are wanted.
fn options(text: &[u8], wanted: &BTreeSet<String>) -> HashMap<String, String> {
    String::from_utf8_lossy(text)
        .lines()
        .filter_map(|line| line.trim().split_once('='))
        .filter(|(name, _)| name.starts_with("CONFIG_") && wanted.contains(*name))
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

/// The running kernel's `LINUX_VERSION_CODE`, or 0 where it cannot be told. Distributions whose release names say less
/// than the version are asked where they put it (libbpf's `get_kernel_version`).
pub fn kernel_version() -> u32 {
    version(
        &read_line("/proc/version_signature"),
        &read_line("/proc/sys/kernel/version"),
        &read_line("/proc/sys/kernel/osrelease"),
    )
}

fn read_line(path: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_string()
}

/// Ubuntu: `Ubuntu 4.15.0-76.86-generic 4.15.18`; Debian: `#1 SMP Debian 4.19.132-1 (2020-07-24)`.
fn version(ubuntu: &str, uname_version: &str, uname_release: &str) -> u32 {
    ubuntu
        .split_whitespace()
        .nth(2)
        .and_then(code)
        .or_else(|| code(uname_version.split_once("Debian ")?.1))
        .or_else(|| code(uname_release))
        .unwrap_or(0)
}

/// `KERNEL_VERSION(a, b, c)` of a text that begins with `a.b.c`; the last number stops at 255.
fn code(text: &str) -> Option<u32> {
    let mut numbers = text.splitn(3, '.').map(|part| {
        let end = part.find(|c: char| !c.is_ascii_digit());
        part[..end.unwrap_or(part.len())].parse::<u32>().ok()
    });
    let (a, b, c) = (numbers.next()??, numbers.next()??, numbers.next()??);
    (a < 256 && b < 256).then(|| (a << 16) + (b << 8) + c.min(255))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn wanted(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn options_that_are_set_are_read() {
        let text =
            b"# CONFIG_KPROBES is not set\nCONFIG_HZ=1000\nCONFIG_CC=\"gcc=15\"\nCONFIG_OTHER=y\n";
        let found = options(text, &wanted(&["CONFIG_HZ", "CONFIG_CC", "CONFIG_KPROBES"]));
        assert_eq!(found.len(), 2);
        assert_eq!(found["CONFIG_HZ"], "1000");
        assert_eq!(found["CONFIG_CC"], "\"gcc=15\"");
    }

    #[test]
    fn a_packed_configuration_is_unpacked() {
        // printf CONFIG_A=y | gzip: header, deflate (fixed codes), checksum and length.
        let mut file = vec![0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3];
        file.extend(b"config\0");
        // A stored block: last, length 10, its complement.
        file.extend([1, 10, 0, 0xf5, 0xff]);
        file.extend(b"CONFIG_A=y");
        file.extend([0; 8]);
        assert_eq!(gunzip(&file).unwrap(), b"CONFIG_A=y");
        assert_eq!(gunzip(&file[..12]).unwrap_err(), "it ends too early");
        assert!(
            gunzip(&file[..20])
                .unwrap_err()
                .starts_with("it cannot be unpacked")
        );
    }

    #[test]
    fn a_hidden_configuration_is_explained() {
        let tried = ["/proc/config.gz: no such file or directory (os error 2)".to_string()];
        assert_eq!(
            unreadable(&tried).to_string(),
            "read the kernel's configuration: this kernel does not show it (CONFIG_IKCONFIG_PROC), and no file has it\n  /proc/config.gz: no such file or directory (os error 2)"
        );
    }

    #[test]
    fn versions_are_read_where_distributions_put_them() {
        let code = |a: u32, b: u32, c: u32| (a << 16) + (b << 8) + c;
        assert_eq!(
            version(
                "Ubuntu 4.15.0-76.86-generic 4.15.18",
                "#86 SMP",
                "4.15.0-76-generic"
            ),
            code(4, 15, 18)
        );
        assert_eq!(
            version(
                "",
                "#1 SMP Debian 4.19.132-1 (2020-07-24)",
                "4.19.0-10-amd64"
            ),
            code(4, 19, 132)
        );
        assert_eq!(version("", "#1 SMP", "6.18.44-fc-v595"), code(6, 18, 44));
        assert_eq!(version("", "", "4.9.300"), code(4, 9, 255));
        for release in ["", "6.18", "six.1.2", "6..1", "999.1.1"] {
            assert_eq!(version("", "", release), 0, "{release}");
        }
    }
}
