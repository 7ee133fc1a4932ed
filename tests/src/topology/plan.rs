//! What a network shall be like.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::netns::Families;

/// How the program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In veth's driver; the peer gets the program without which frames are lost (facts.md §2).
    Native,
    /// In the network stack.
    Generic,
}

impl Mode {
    /// Both.
    pub const ALL: [Mode; 2] = [Mode::Generic, Mode::Native];

    /// The word after `--xdp-mode`.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Native => "native",
            Mode::Generic => "generic",
        }
    }
}

/// Where a host stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the bridge, like everyone else.
    Local,
    /// In another subnet, behind a router.
    Routed,
    /// In another subnet, behind two routers, between which packets have at most [`NARROW`] bytes.
    Narrow,
}

/// The MTU in the middle of [`Place::Narrow`]: the least that IPv6 allows (RFC 8200, section 5).
pub const NARROW: u32 = 1280;

/// What to build.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The first three bytes of every IPv4 address but those behind routers.
    pub net: [u8; 3],
    /// Addresses of the client; the first is the tutorial's, the others begin at .101.
    pub clients: u8,
    /// Where the client stands.
    pub place: Place,
    /// Where the second backend stands, h3; the first is always on the bridge.
    pub second: Place,
    /// Which families there are.
    pub families: Families,
    /// The VLANs that frames are in on the balancer's wire, the outermost first.
    pub tags: &'static [u16],
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            net: [10, 0, 0],
            clients: 1,
            place: Place::Local,
            second: Place::Local,
            families: Families::V4,
            tags: &[],
        }
    }
}

impl Plan {
    /// With a net that no other test has, so that what is found in the kernel with its addresses is this test's.
    pub fn apart() -> Self {
        static COUNTER: AtomicU8 = AtomicU8::new(0);
        let ours = 64 + (std::process::id() % 128) as u8;
        Self {
            net: [10, ours, COUNTER.fetch_add(1, Ordering::Relaxed)],
            ..Self::default()
        }
    }

    /// Such a net with both families.
    pub fn dual() -> Self {
        Self {
            families: Families::Both,
            ..Self::apart()
        }
    }
}
