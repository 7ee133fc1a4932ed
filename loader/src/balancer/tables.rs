//! PURE: map values as bytes, and what they say. The layouts are `xdplb_prog::abi`'s.

use std::net::Ipv4Addr;

use byteorder::{ByteOrder, NativeEndian};
use serde::Serialize;
use xdplb_prog::abi::{self, Be32, Connection, Mac};
use xdplb_prog::counters::Reason;
use xdplb_prog::flow::State;

use super::config::show_mac;

/// The key of an array map.
pub fn index_key(index: u32) -> [u8; 4] {
    index.to_ne_bytes()
}

/// An entry of map `backends`: 12 bytes.
pub fn encode_backend(ip: Ipv4Addr, mac: Mac) -> [u8; size_of::<abi::Backend>()] {
    let mut value = [0; size_of::<abi::Backend>()];
    value[..4].copy_from_slice(&Be32(ip.octets()).0);
    value[4..10].copy_from_slice(&mac);
    value
}

/// The opposite; None if it is not of that size.
pub fn decode_backend(value: &[u8]) -> Option<(Ipv4Addr, Mac)> {
    let value: &[u8; size_of::<abi::Backend>()] = value.try_into().ok()?;
    let mut ip = [0; 4];
    let mut mac = Mac::default();
    ip.copy_from_slice(&value[..4]);
    mac.copy_from_slice(&value[4..10]);
    Some((ip.into(), mac))
}

/// One line of `stats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReasonCount {
    /// [`Reason::name`].
    pub reason: &'static str,
    /// What became of the frames.
    pub verdict: &'static str,
    /// Frames.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What one backend got and gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackendStats {
    /// Its address.
    pub ip: Ipv4Addr,
    /// Where its frames go.
    pub mac: String,
    /// Connections opened to it.
    pub new_connections: u64,
    /// Frames sent to it.
    pub to_packets: u64,
    /// Their bytes.
    pub to_bytes: u64,
    /// Frames it answered with.
    pub from_packets: u64,
    /// Their bytes.
    pub from_bytes: u64,
}

/// Adds up the values of all CPUs, each a row of u64s. Short values count as zero.
fn add_up<const N: usize>(cpus: &[Vec<u8>]) -> [u64; N] {
    let mut sums = [0u64; N];
    for cpu in cpus {
        for (sum, word) in sums.iter_mut().zip(cpu.chunks_exact(8)) {
            *sum = sum.wrapping_add(NativeEndian::read_u64(word));
        }
    }
    sums
}

/// A reason's count, from the values of all CPUs.
pub fn reason_count(reason: Reason, cpus: &[Vec<u8>]) -> ReasonCount {
    let [packets, bytes] = add_up(cpus);
    ReasonCount {
        reason: reason.name(),
        verdict: reason.verdict().name(),
        packets,
        bytes,
    }
}

/// A backend's counts, from the values of all CPUs.
pub fn backend_stats((ip, mac): (Ipv4Addr, Mac), cpus: &[Vec<u8>]) -> BackendStats {
    let [
        new_connections,
        to_packets,
        to_bytes,
        from_packets,
        from_bytes,
    ] = add_up(cpus);
    BackendStats {
        ip,
        mac: show_mac(mac),
        new_connections,
        to_packets,
        to_bytes,
        from_packets,
        from_bytes,
    }
}

const _: () = assert!(size_of::<abi::BackendCount>() == 5 * 8 && size_of::<abi::Count>() == 2 * 8);

/// Whether an entry of `connections` holds a connection.
pub fn is_live(value: &[u8]) -> bool {
    let at = std::mem::offset_of!(Connection, state);
    value
        .get(at..at + 4)
        .is_some_and(|state| NativeEndian::read_u32(state) != State::FREE)
}

/// The size of map `flows` for that many connections.
pub fn flow_entries(connections: u32) -> u32 {
    connections.saturating_mul(2)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_backend_goes_there_and_back() {
        let backend = (Ipv4Addr::new(10, 0, 0, 2), [0xde, 0xad, 0xbe, 0xef, 0, 2]);
        let value = encode_backend(backend.0, backend.1);
        assert_eq!(value, [10, 0, 0, 2, 0xde, 0xad, 0xbe, 0xef, 0, 2, 0, 0]);
        assert_eq!(decode_backend(&value), Some(backend));
        assert_eq!(decode_backend(&value[1..]), None);
    }

    #[test]
    fn counters_are_added_over_the_cpus() {
        let row = |words: &[u64]| {
            words
                .iter()
                .flat_map(|w| w.to_ne_bytes())
                .collect::<Vec<u8>>()
        };
        let count = reason_count(Reason::Forwarded, &[row(&[1, 60]), row(&[2, 120]), vec![]]);
        assert_eq!(
            (count.reason, count.verdict, count.packets, count.bytes),
            ("forwarded", "tx", 3, 180)
        );
        let stats = backend_stats(
            (Ipv4Addr::LOCALHOST, [0; 6]),
            &[row(&[1, 2, 3, 4, 5]), row(&[10, 20, 30, 40, 50])],
        );
        assert_eq!(
            (
                stats.new_connections,
                stats.to_packets,
                stats.to_bytes,
                stats.from_packets,
                stats.from_bytes
            ),
            (11, 22, 33, 44, 55)
        );
    }
}
