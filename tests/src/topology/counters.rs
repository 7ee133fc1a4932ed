//! What the kernels of the hosts threw away: counters of /proc/net.

use anyhow::{Context, Result, ensure};

use crate::netns::Netns;

/// An error when a host has thrown a packet away for a checksum, of whichever protocol and family.
pub fn check_checksums(namespace: &Netns) -> Result<()> {
    for (name, wrong) in namespace.run(checksum_errors)? {
        ensure!(
            wrong == 0,
            "{}: {name}: {wrong} packets with a wrong checksum",
            namespace.name()
        );
    }
    Ok(())
}

/// Every counter of checksum errors in the namespace of this thread.
fn checksum_errors() -> Result<Vec<(String, u64)>> {
    // Not /proc/net: that is the network of the process's first thread.
    let path = "/proc/thread-self/net/snmp";
    let text = std::fs::read_to_string(path).context(path)?;
    let mut found = Vec::new();
    for protocol in ["Tcp", "Udp", "Icmp"] {
        let wrong = paired(&text, protocol, "InCsumErrors").context(path)?;
        found.push((format!("{protocol}InCsumErrors"), wrong));
    }
    // An IPv4 header with a wrong checksum is among these, and nothing that a test sends.
    let wrong = paired(&text, "Ip", "InHdrErrors").context(path)?;
    found.push(("IpInHdrErrors".into(), wrong));
    // TCP counts both families together. Without IPv6 the file is not there.
    if let Ok(text) = std::fs::read_to_string("/proc/thread-self/net/snmp6") {
        for line in text.lines().filter(|line| line.contains("CsumErrors")) {
            let mut words = line.split_whitespace();
            let (name, number) = (words.next().unwrap_or_default(), words.next());
            found.push((name.into(), number.context("a number")?.parse()?));
        }
    }
    Ok(found)
}

/// A counter of the two lines of a protocol in /proc/net/snmp: names, then numbers.
fn paired(text: &str, protocol: &str, name: &str) -> Option<u64> {
    let mut lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let column = names.split(' ').position(|word| word == name)?;
    numbers.split(' ').nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_stand_below_their_names() {
        let text = "Ip: A B\nIp: 1 2\nTcp: InSegs InCsumErrors\nTcp: -1 7\n";
        assert_eq!(paired(text, "Tcp", "InCsumErrors"), Some(7));
        assert_eq!(paired(text, "Tcp", "OutRsts"), None);
        assert_eq!(paired("Tcp: A\n", "Tcp", "A"), None);
    }
}
