//! PURE: a packet in words, `tcp 10.0.0.1:40000 -> 10.0.0.10:80 syn vlan 100`, and as the bytes of a frame.

mod build;
mod show;
mod words;

use std::net::{IpAddr, SocketAddr};

use xdplb_prog::packet::flags;

use super::excerpt::{ConfigError, brief};
use super::service::{family, parse_address, parse_port};

pub use show::{Headers, Ip, Transport};
pub(super) use words::{Word, Words};

/// What an error calls the text.
const NAME: &str = "packet";
/// TTL or hop limit unless the words say another: Linux' own (net.ipv4.ip_default_ttl).
const HOPS: u8 = 64;
/// The longest frame that there are words for: Ethernet, two VLAN tags and 3,500 bytes fit into the page of a test run.
const LONGEST: u16 = 3500;

/// What is in the IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A segment with these flags.
    Tcp(u8),
    /// A datagram.
    Udp,
    /// An ICMP or ICMPv6 echo request.
    Echo,
}

/// A packet as a user describes it. Both addresses are of one family; an echo request has no ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// What is in it.
    pub content: Content,
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes to.
    pub destination: SocketAddr,
    /// VLAN tags, the outer one first; two at most.
    pub vlans: Vec<u16>,
    /// TTL or hop limit.
    pub hops: u8,
    /// Bytes of the frame; None: its headers alone.
    pub length: Option<u16>,
}

impl Packet {
    /// Reads the words.
    ///
    /// # Errors
    /// The first that makes no sense, with its place.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut words = Words::of(NAME, text);
        let kind = words.need("the protocol (tcp, udp or icmp)")?;
        let content = match kind.text {
            "tcp" => Content::Tcp(flags::SYN),
            "udp" => Content::Udp,
            "icmp" | "icmpv6" => Content::Echo,
            other => {
                let what = format!("`{}` is not tcp, udp, icmp or icmpv6", brief(other));
                return Err(words.error(&kind, what));
            }
        };
        let source = end(&mut words, content, "the source")?;
        let arrow = words.need("`->`")?;
        if arrow.text != "->" {
            let what = format!("`->` is expected here, not `{}`", brief(arrow.text));
            return Err(words.error(&arrow, what));
        }
        let to = words.peek();
        let destination = end(&mut words, content, "the destination")?;
        let (from, into) = (family(source.ip()), family(destination.ip()));
        if let Some(word) = to.filter(|_| from != into) {
            let what = format!("the source is {from}, the destination {into}");
            return Err(words.error(&word, what));
        }
        if kind.text == "icmpv6" && source.is_ipv4() {
            return Err(words.error(&kind, "icmpv6 takes IPv6 addresses".into()));
        }
        let mut packet = Self {
            content,
            source,
            destination,
            vlans: Vec::new(),
            hops: HOPS,
            length: None,
        };
        packet.options(&mut words)?;
        Ok(packet)
    }

    fn options(&mut self, words: &mut Words<'_>) -> Result<(), ConfigError> {
        // The first flag word takes the place of `syn`, the others add to it.
        let mut named = 0;
        while let Some(word) = words.next() {
            match (word.text, flag(word.text)) {
                ("vlan", _) => {
                    let number = words.number("vlan", 1, 4094)?;
                    if self.vlans.len() == 2 {
                        return Err(words.error(&word, "a third VLAN tag".into()));
                    }
                    self.vlans.push(number as u16);
                }
                ("ttl", _) => self.hops = words.number("ttl", 0, 255)? as u8,
                ("len", _) => {
                    let number = words.number("len", 14, LONGEST.into())? as u16;
                    let least = self.headers();
                    if usize::from(number) < least {
                        let what = format!("the headers alone take {least} bytes");
                        return Err(words.error(&word, what));
                    }
                    self.length = Some(number);
                }
                (_, Some(flag)) if matches!(self.content, Content::Tcp(_)) => {
                    named |= flag;
                    self.content = Content::Tcp(named);
                }
                (text, Some(_)) => {
                    return Err(words.error(&word, format!("`{text}` is a flag of TCP")));
                }
                (text, None) => {
                    let what = format!(
                        "`{}` is not a flag (syn, ack, fin, rst, psh), vlan, ttl or len",
                        brief(text)
                    );
                    return Err(words.error(&word, what));
                }
            }
        }
        // Tags may come behind `len`.
        match self.length {
            Some(length) if usize::from(length) < self.headers() => {
                let what = format!("the headers alone take {} bytes", self.headers());
                Err(ConfigError::of(NAME, what))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// An address, with a port where the content has any.
fn end(words: &mut Words<'_>, content: Content, what: &str) -> Result<SocketAddr, ConfigError> {
    let example = match content {
        Content::Tcp(_) | Content::Udp => "ADDRESS:PORT",
        Content::Echo => "an address",
    };
    let word = words.need(&format!("{what}, {example},"))?;
    let found = match content {
        Content::Echo => {
            let inner = word
                .text
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            parse_address(inner.unwrap_or(word.text)).map(|ip| SocketAddr::new(ip, 0))
        }
        Content::Tcp(_) | Content::Udp => with_port(word.text),
    };
    found.map_err(|what| words.error(&word, what))
}

/// `10.0.0.1:80`, `[fd00::1]:53`. Port 0 is a packet that the balancer passes on, and may be asked about.
fn with_port(text: &str) -> Result<SocketAddr, String> {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]:"));
    let (address, port) = match bracketed.or_else(|| text.split_once(':')) {
        Some((address, port)) if bracketed.is_some() || !port.contains(':') => (address, port),
        Some(_) | None => {
            let ip: IpAddr = parse_address(text)?;
            let example = SocketAddr::new(ip, 80);
            return Err(format!("`{}` lacks its port, as in {example}", brief(text)));
        }
    };
    let ip = parse_address(address)?;
    if bracketed.is_some() != ip.is_ipv6() {
        return Err(format!(
            "`{}` is not an IPv4 or IPv6 address",
            brief(address)
        ));
    }
    let port = match port {
        "0" => 0,
        port => parse_port(port)?.get(),
    };
    Ok(SocketAddr::new(ip, port))
}

/// Flags as words.
const FLAGS: [(&str, u8); 5] = [
    ("syn", flags::SYN),
    ("fin", flags::FIN),
    ("rst", flags::RST),
    ("psh", 0x08),
    ("ack", flags::ACK),
];

fn flag(word: &str) -> Option<u8> {
    FLAGS
        .iter()
        .find(|(name, _)| *name == word)
        .map(|(_, flag)| *flag)
}

/// `syn ack`; `-` for none.
pub fn show_flags(flags: u8) -> String {
    let set = FLAGS.iter().filter(|(_, flag)| flags & flag != 0);
    let set: Vec<&str> = set.map(|(name, _)| *name).collect();
    if set.is_empty() {
        "-".into()
    } else {
        set.join(" ")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: &str) {
        let found = Packet::parse(text).map_err(|error| error.to_string());
        assert_eq!(found.unwrap_err(), expected, "{text}");
    }

    #[test]
    fn words_become_a_packet() {
        let packet = Packet::parse("tcp 10.0.0.1:40000 -> 10.0.0.10:80").unwrap();
        assert_eq!(packet.content, Content::Tcp(flags::SYN));
        assert_eq!(packet.source, "10.0.0.1:40000".parse().unwrap());
        assert_eq!((packet.hops, packet.length), (64, None));
        let packet =
            Packet::parse("tcp [fd00::1]:4 -> [fd00::10]:0 ack fin ttl 1 len 100 vlan 7 vlan 8")
                .unwrap();
        assert_eq!(packet.content, Content::Tcp(flags::ACK | flags::FIN));
        assert_eq!(packet.destination, "[fd00::10]:0".parse().unwrap());
        assert_eq!((packet.hops, packet.length), (1, Some(100)));
        assert_eq!(packet.vlans, [7, 8]);
        for text in [
            "icmp 10.0.0.1 -> 10.0.0.10",
            "icmpv6 fd00::1 -> [fd00::2]",
            "icmp ::1 -> ::2",
        ] {
            assert_eq!(
                Packet::parse(text).unwrap().content,
                Content::Echo,
                "{text}"
            );
        }
        assert_eq!(show_flags(flags::SYN | flags::ACK), "syn ack");
        assert_eq!(show_flags(0), "-");
    }

    #[test]
    fn every_error_has_its_place() {
        check(
            "",
            "packet:1:1: the protocol (tcp, udp or icmp) is missing\n  1 | \n    | ^",
        );
        check(
            "sctp 10.0.0.1:1 -> 10.0.0.2:2",
            "packet:1:1: `sctp` is not tcp, udp, icmp or icmpv6\n  1 | sctp 10.0.0.1:1 -> 10.0.0.2:2\n    | ^^^^",
        );
        check(
            "tcp",
            "packet:1:4: the source, ADDRESS:PORT, is missing\n  1 | tcp\n    |    ^",
        );
        check(
            "tcp 10.0.0.300:1 -> 10.0.0.2:2",
            "packet:1:5: `10.0.0.300` is not an IPv4 or IPv6 address\n  1 | tcp 10.0.0.300:1 -> 10.0.0.2:2\n    |     ^^^^^^^^^^^^",
        );
        check(
            "udp 10.0.0.1 -> 10.0.0.2:2",
            "packet:1:5: `10.0.0.1` lacks its port, as in 10.0.0.1:80\n  1 | udp 10.0.0.1 -> 10.0.0.2:2\n    |     ^^^^^^^^",
        );
        check(
            "udp fd00::1 -> [fd00::2]:2",
            "packet:1:5: `fd00::1` lacks its port, as in [fd00::1]:80\n  1 | udp fd00::1 -> [fd00::2]:2\n    |     ^^^^^^^",
        );
        check(
            "udp 10.0.0.1:70000 -> 10.0.0.2:2",
            "packet:1:5: `70000` is not a port (1 to 65535)\n  1 | udp 10.0.0.1:70000 -> 10.0.0.2:2\n    |     ^^^^^^^^^^^^^^",
        );
        check(
            "udp 10.0.0.1:7 > 10.0.0.2:2",
            "packet:1:16: `->` is expected here, not `>`\n  1 | udp 10.0.0.1:7 > 10.0.0.2:2\n    |                ^",
        );
        check(
            "udp 10.0.0.1:7",
            "packet:1:15: `->` is missing\n  1 | udp 10.0.0.1:7\n    |               ^",
        );
        check(
            "udp 10.0.0.1:7 -> [fd00::1]:7",
            "packet:1:19: the source is IPv4, the destination IPv6\n  1 | udp 10.0.0.1:7 -> [fd00::1]:7\n    |                   ^^^^^^^^^^^",
        );
        check(
            "icmpv6 10.0.0.1 -> 10.0.0.2",
            "packet:1:1: icmpv6 takes IPv6 addresses\n  1 | icmpv6 10.0.0.1 -> 10.0.0.2\n    | ^^^^^^",
        );
        check(
            "icmp 10.0.0.1 -> 10.0.0.2 ack",
            "packet:1:27: `ack` is a flag of TCP\n  1 | icmp 10.0.0.1 -> 10.0.0.2 ack\n    |                           ^^^",
        );
        check(
            "icmp 10.0.0.1 -> 10.0.0.2 blue",
            "packet:1:27: `blue` is not a flag (syn, ack, fin, rst, psh), vlan, ttl or len\n  1 | icmp 10.0.0.1 -> 10.0.0.2 blue\n    |                           ^^^^",
        );
        check(
            "icmp 10.0.0.1 -> 10.0.0.2 vlan 4095",
            "packet:1:32: vlan: `4095` is not a number from 1 to 4094\n  1 | icmp 10.0.0.1 -> 10.0.0.2 vlan 4095\n    |                                ^^^^",
        );
        check(
            "icmp 10.0.0.1 -> 10.0.0.2 ttl",
            "packet:1:30: ttl: a number from 0 to 255 is missing\n  1 | icmp 10.0.0.1 -> 10.0.0.2 ttl\n    |                              ^",
        );
        check(
            "icmp 10.0.0.1 -> 10.0.0.2 vlan 1 vlan 2 vlan 3",
            "packet:1:41: a third VLAN tag\n  1 | icmp 10.0.0.1 -> 10.0.0.2 vlan 1 vlan 2 vlan 3\n    |                                         ^^^^",
        );
        check(
            "udp 10.0.0.1:1 -> 10.0.0.2:1 len 41",
            "packet:1:30: the headers alone take 42 bytes\n  1 | udp 10.0.0.1:1 -> 10.0.0.2:1 len 41\n    |                              ^^^",
        );
        check(
            "udp 10.0.0.1:1 -> 10.0.0.2:1 len 42 vlan 1",
            "packet: the headers alone take 46 bytes",
        );
    }

    proptest! {
        #[test]
        fn any_words_give_a_packet_or_an_error(text in "(tcp|udp|icmp)? ?[0-9a-f:.\\[\\]]{0,20}( ->)? ?.{0,40}") {
            let _ = Packet::parse(&text);
        }
    }
}
