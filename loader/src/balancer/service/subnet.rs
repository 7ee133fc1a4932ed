//! PURE: a subnet, `172.16.0.0/16`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::super::excerpt::brief;
use super::is_host;

/// The addresses that begin with the same bits. Having one means that no bit behind them is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subnet<A> {
    address: A,
    bits: u8,
}

impl<A: Copy> Subnet<A> {
    /// For constants.
    pub(super) const fn of(address: A, bits: u8) -> Self {
        Self { address, bits }
    }

    /// The first address.
    pub fn address(&self) -> A {
        self.address
    }

    /// How many bits all of its addresses begin with.
    pub fn bits(&self) -> u8 {
        self.bits
    }
}

impl<A: fmt::Display> fmt::Display for Subnet<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// An address, seen as a number.
pub trait Bits: FromStr + Copy + Into<IpAddr> {
    /// What it is called.
    const NAME: &'static str;
    /// How many bits it has.
    const WIDTH: u8;
    /// The fewest bits that a subnet can begin with: fewer are no single network's.
    const LEAST: u8;

    /// Its bits, the last at the bottom.
    fn number(self) -> u128;
}

impl Bits for Ipv4Addr {
    const NAME: &'static str = "IPv4";
    const WIDTH: u8 = 32;
    const LEAST: u8 = 8;

    fn number(self) -> u128 {
        u32::from(self).into()
    }
}

impl Bits for Ipv6Addr {
    const NAME: &'static str = "IPv6";
    const WIDTH: u8 = 128;
    const LEAST: u8 = 16;

    fn number(self) -> u128 {
        self.into()
    }
}

impl<A: Bits> FromStr for Subnet<A> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown = brief(text);
        let wrong = || {
            let (name, width) = (A::NAME, A::WIDTH);
            format!("`{shown}` is not an {name} subnet (ADDRESS/BITS, up to /{width})")
        };
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: A = address.parse().map_err(|_| wrong())?;
        if !bits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let bits: u8 = bits.parse().map_err(|_| wrong())?;
        if bits > A::WIDTH {
            return Err(wrong());
        }
        if bits < A::LEAST {
            return Err(format!(
                "{shown} is no single network (/{} at least)",
                A::LEAST
            ));
        }
        if !is_host(address.into()) {
            return Err(format!("{shown} is no network that hosts are in"));
        }
        let behind = !(u128::MAX.checked_shl((A::WIDTH - bits).into()).unwrap_or(0));
        if address.number() & behind != 0 {
            return Err(format!("{shown} has bits set behind its first {bits}"));
        }
        Ok(Self { address, bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<A: Bits + fmt::Display>(text: &str, expected: &str) {
        let found = match text.parse::<Subnet<A>>() {
            Ok(subnet) => subnet.to_string(),
            Err(why) => format!("error: {why}"),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn an_address_and_how_much_of_it() {
        check::<Ipv4Addr>("172.16.0.0/16", "172.16.0.0/16");
        check::<Ipv4Addr>("10.0.0.1/32", "10.0.0.1/32");
        check::<Ipv6Addr>("100::/64", "100::/64");
        check::<Ipv6Addr>("fd00::1/128", "fd00::1/128");
        for wrong in [
            "172.16.0.0",
            "172.16/16",
            "172.16.0.0/33",
            "172.16.0.0/+8",
            "::/64",
            "",
        ] {
            check::<Ipv4Addr>(
                wrong,
                &format!("error: `{wrong}` is not an IPv4 subnet (ADDRESS/BITS, up to /32)"),
            );
        }
        check::<Ipv6Addr>(
            "10.0.0.0/8",
            "error: `10.0.0.0/8` is not an IPv6 subnet (ADDRESS/BITS, up to /128)",
        );
        check::<Ipv4Addr>(
            "10.0.0.0/7",
            "error: 10.0.0.0/7 is no single network (/8 at least)",
        );
        check::<Ipv4Addr>(
            "127.0.0.0/8",
            "error: 127.0.0.0/8 is no network that hosts are in",
        );
        check::<Ipv4Addr>(
            "172.16.1.0/16",
            "error: 172.16.1.0/16 has bits set behind its first 16",
        );
        check::<Ipv6Addr>(
            "100::1/64",
            "error: 100::1/64 has bits set behind its first 64",
        );
    }
}
