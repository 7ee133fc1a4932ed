//! Addresses of interfaces (RTM_GETADDR).

use std::net::IpAddr;

use super::consts::*;
use super::error::NetlinkError;
use super::message::{Request, attributes, ip_of, u8_at, u32_at};
use super::socket::Socket;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Bytes of `struct ifaddrmsg`: family u8, prefix length u8, flags u8, scope u8, index u32.
const IFADDRMSG: usize = 8;

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Address {
    pub ifindex: u32,
    pub ip: IpAddr,
    /// Length of the network part in bits.
    pub prefix: u8,
}

impl Address {
    fn parse(payload: &[u8]) -> Option<Self> {
        payload.get(..IFADDRMSG)?;
        let (mut local, mut address) = (None, None);
        for (kind, value) in attributes(payload, IFADDRMSG) {
            match kind {
                IFA_LOCAL => local = ip_of(value),
                IFA_ADDRESS => address = ip_of(value),
                _ => {}
            }
        }
        // On a point-to-point link ADDRESS is the other end; LOCAL is ours where it exists.
        Some(Address {
            ifindex: u32_at(payload, 4),
            ip: local.or(address)?,
            prefix: u8_at(payload, 1),
        })
    }
}

impl Socket {
    /// The IPv4 and IPv6 addresses of an interface, primary ones first.
    pub fn addresses(&self, ifindex: u32) -> Result<Vec<Address>, NetlinkError> {
        let request = Request::new(RTM_GETADDR, NLM_F_DUMP, &[0; IFADDRMSG]);
        let what = format!("list addresses of interface {ifindex}");
        self.collect(&what, request, RTM_NEWADDR, |payload| {
            Address::parse(payload).filter(|address| address.ifindex == ifindex)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::message::messages;
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Vec<u8> {
        let mut fixed = [2, 24, 0, 0, 0, 0, 0, 0];
        fixed[4..8].copy_from_slice(&9u32.to_ne_bytes());
        let bytes = Request::new(RTM_NEWADDR, 0, &fixed)
            .attr(IFA_ADDRESS, &[10, 0, 0, 1])
            .attr(IFA_LOCAL, &[10, 0, 0, 10])
            .finish(1);
        messages(&bytes).next().unwrap().unwrap().payload.to_vec()
    }

    #[test]
    fn the_local_address_is_taken() {
        let address = Address::parse(&sample()).unwrap();
        assert_eq!((address.ifindex, address.prefix), (9, 24));
        assert_eq!(address.ip, IpAddr::from([10, 0, 0, 10]));
        assert_eq!(Address::parse(&[0; 8]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Address::parse(&bytes);
        }
    }
}
