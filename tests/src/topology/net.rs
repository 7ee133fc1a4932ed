//! Addresses: one number names a host in both families and in its MAC.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The Ethernet address of host `number` on the bridge. As the tutorial's, it carries the decimal digits: .10 is …:00:10.
pub fn mac(number: u8) -> [u8; 6] {
    let digits = match number {
        0..=99 => number / 10 * 16 + number % 10,
        _ => number,
    };
    [0xde, 0xad, 0xbe, 0xef, 0, digits]
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// 10.…
    V4,
    /// fd00:…
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];
}

/// A subnet, a /24 and a /64: 10.1.0.7 is fd00:10:1:0::7, every number written in decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net(pub [u8; 3]);

impl Net {
    /// An address of a host.
    pub fn host(self, family: Family, number: u8) -> IpAddr {
        let [a, b, c] = self.0;
        match family {
            Family::V4 => Ipv4Addr::new(a, b, c, number).into(),
            Family::V6 => {
                let [a, b, c, number] = [a, b, c, number].map(decimal);
                Ipv6Addr::new(0xfd00, a, b, c, 0, 0, 0, number).into()
            }
        }
    }

    /// Bits that all its addresses begin with.
    pub fn prefix(family: Family) -> u8 {
        match family {
            Family::V4 => 24,
            Family::V6 => 64,
        }
    }
}

/// The hexadecimal number that is written like this decimal one.
fn decimal(number: u8) -> u16 {
    let number = u16::from(number);
    number / 100 * 0x100 + number / 10 % 10 * 0x10 + number % 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_is_read_everywhere() {
        let net = Net([10, 0, 107]);
        assert_eq!(net.host(Family::V4, 10).to_string(), "10.0.107.10");
        assert_eq!(net.host(Family::V6, 254).to_string(), "fd00:10:0:107::254");
        assert_eq!(mac(10), [0xde, 0xad, 0xbe, 0xef, 0, 0x10]);
        assert_eq!(mac(254)[5], 254);
    }
}
