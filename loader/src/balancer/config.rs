//! PURE: what the start knows of a configuration: one IPv4 service and its backends. `service` has the whole of it.

use std::net::{IpAddr, Ipv4Addr};

use xdplb_prog::abi::Mac;

use super::excerpt::ConfigError;
use super::service::{self, BackendKey};
use super::simple::Backends;

pub use super::service::show_mac;

/// A backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its address.
    pub ip: Ipv4Addr,
    /// Where its frames go; None: to be asked of the neighbour table.
    pub mac: Option<Mac>,
}

/// The backends as the start takes them.
///
/// # Errors
/// The first that is more than an IPv4 address and a MAC.
pub fn plain(backends: &Backends<'_>) -> Result<Vec<Backend>, ConfigError> {
    let plain = |(index, backend): (usize, &service::Backend)| match backend.key.address {
        IpAddr::V6(ip) => {
            let what = format!("{ip} is an IPv6 address; this balancer forwards IPv4");
            Err(backends.error(index, what))
        }
        IpAddr::V4(ip) => {
            let simple = service::Backend {
                mac: backend.mac,
                ..service::Backend::new(BackendKey {
                    address: ip.into(),
                    port: None,
                })
            };
            if *backend != simple {
                let what = format!("backend {ip}: this balancer has no weights, ports and states");
                return Err(backends.error(index, what));
            }
            let mac = backend.mac;
            Ok(Backend { ip, mac })
        }
    };
    backends.list().iter().enumerate().map(plain).collect()
}
