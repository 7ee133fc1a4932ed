//! The way to an address, as the kernel would take it (RTM_GETROUTE).

use std::net::IpAddr;

use nix::errno::Errno;

use super::consts::*;
use super::error::NetlinkError;
use super::message::{Request, attributes, ip_bytes, ip_of, u8_at, u32_of};
use super::socket::Socket;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
/// Bytes of `struct rtmsg`: family, dst_len, src_len, tos, table, protocol, scope, type: u8 each; flags u32.
const RTMSG: usize = 12;

/// The way to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Whether the address is elsewhere, or here.
    pub kind: RouteKind,
    /// The interface that packets leave by.
    pub ifindex: Option<u32>,
    /// The router; `None` when the address is on the link itself.
    pub gateway: Option<IpAddr>,
    /// The source address that the kernel would use.
    pub source: Option<IpAddr>,
}

/// What kind of destination it is (`RTN_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// Another machine.
    Unicast,
    /// This machine.
    Local,
    /// Broadcast, multicast, unreachable and others.
    Other,
}

impl Route {
    fn parse(payload: &[u8]) -> Option<Self> {
        payload.get(..RTMSG)?;
        let kind = match u8_at(payload, 7) {
            1 => RouteKind::Unicast,
            2 => RouteKind::Local,
            _ => RouteKind::Other,
        };
        let mut route = Route {
            kind,
            ifindex: None,
            gateway: None,
            source: None,
        };
        for (kind, value) in attributes(payload, RTMSG) {
            match kind {
                RTA_OIF => route.ifindex = Some(u32_of(value)),
                RTA_GATEWAY => route.gateway = ip_of(value),
                RTA_PREFSRC => route.source = ip_of(value),
                _ => {}
            }
        }
        Some(route)
    }
}

impl Socket {
    /// The way to `destination`; `None` when there is none.
    pub fn route(&self, destination: IpAddr) -> Result<Option<Route>, NetlinkError> {
        let (bytes, family) = ip_bytes(destination);
        let mut fixed = [0u8; RTMSG];
        fixed[0] = family;
        fixed[1] = (bytes.len() * 8) as u8;
        let request = Request::new(RTM_GETROUTE, NLM_F_ACK, &fixed).attr(RTA_DST, &bytes);
        match self.collect(
            &format!("look up the route to {destination}"),
            request,
            RTM_NEWROUTE,
            Route::parse,
        ) {
            Ok(routes) => Ok(routes.into_iter().next()),
            Err(NetlinkError::Refused {
                errno: Errno::ENETUNREACH | Errno::EHOSTUNREACH,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::message::messages;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_route_through_a_gateway_is_read() {
        let fixed = [2, 32, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0];
        let bytes = Request::new(RTM_NEWROUTE, 0, &fixed)
            .attr(RTA_OIF, &4u32.to_ne_bytes())
            .attr(RTA_GATEWAY, &[10, 0, 0, 254])
            .attr(RTA_PREFSRC, &[10, 0, 0, 10])
            .finish(1);
        let route = Route::parse(messages(&bytes).next().unwrap().unwrap().payload).unwrap();
        assert_eq!((route.kind, route.ifindex), (RouteKind::Unicast, Some(4)));
        assert_eq!(route.gateway, Some(IpAddr::from([10, 0, 0, 254])));
        assert_eq!(route.source, Some(IpAddr::from([10, 0, 0, 10])));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Route::parse(&bytes);
        }
    }
}
