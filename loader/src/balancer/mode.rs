//! PURE: native or generic XDP? Where the user leaves it open, what is known of the device decides.
//!
//! A veth transmits by handing the frame to its peer, and its native XDP_TX needs an XDP program
//! there (drivers/net/veth.c, `veth_xdp_xmit`: without one the peer has no ring to take the frame).
//! What it cannot deliver is lost without a trace. Generic XDP goes through the ordinary transmit
//! path and needs nothing of the peer.

use std::fmt;

/// What `--xdp-mode` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Wish {
    /// Whatever works on this device.
    Auto,
    /// In the driver.
    Native,
    /// In the network stack, on any device.
    Generic,
}

/// What is known of the device that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// One half of a veth pair.
    Veth(Peer),
    /// Anything else.
    Other,
}

/// The other half of a veth pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// It runs an XDP program natively.
    Xdp,
    /// It runs none.
    NoXdp,
    /// It lies in a network namespace that we cannot look into.
    Unseen,
}

/// What to attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Native, and nothing else.
    Native,
    /// Native; generic where the driver has no XDP.
    NativeFirst,
    /// Generic.
    Generic(Why),
}

/// Why generic mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It was asked for.
    Asked,
    /// The peer runs no XDP program.
    PeerWithoutXdp,
    /// Whether the peer runs one cannot be seen.
    PeerUnseen,
    /// The driver has no XDP.
    NoDriverSupport,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Asked => "generic mode, as asked",
            Why::PeerWithoutXdp => {
                "generic mode, since a veth's native XDP_TX needs an XDP program on its peer, and there is none"
            }
            Why::PeerUnseen => {
                "generic mode, since a veth's native XDP_TX needs an XDP program on its peer, which cannot be seen from here"
            }
            Why::NoDriverSupport => "generic mode, since its driver has no XDP",
        })
    }
}

/// Decides.
pub fn choose(wish: Wish, device: Device) -> Choice {
    match (wish, device) {
        (Wish::Native, _) => Choice::Native,
        (Wish::Generic, _) => Choice::Generic(Why::Asked),
        (Wish::Auto, Device::Veth(Peer::NoXdp)) => Choice::Generic(Why::PeerWithoutXdp),
        (Wish::Auto, Device::Veth(Peer::Unseen)) => Choice::Generic(Why::PeerUnseen),
        (Wish::Auto, Device::Veth(Peer::Xdp) | Device::Other) => Choice::NativeFirst,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_knows_about_veth() {
        let auto = |device| choose(Wish::Auto, device);
        assert_eq!(auto(Device::Other), Choice::NativeFirst);
        assert_eq!(auto(Device::Veth(Peer::Xdp)), Choice::NativeFirst);
        assert_eq!(
            auto(Device::Veth(Peer::NoXdp)),
            Choice::Generic(Why::PeerWithoutXdp)
        );
        assert_eq!(
            auto(Device::Veth(Peer::Unseen)),
            Choice::Generic(Why::PeerUnseen)
        );
        assert_eq!(
            choose(Wish::Native, Device::Veth(Peer::NoXdp)),
            Choice::Native
        );
        assert_eq!(
            choose(Wish::Generic, Device::Other),
            Choice::Generic(Why::Asked)
        );
    }
}
