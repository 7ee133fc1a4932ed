//! VLANs on the balancer's wire. This kernel may have no 802.1Q devices, so a namespace in the middle puts the tags into
//! the frames, where the program must find them, and takes them out of what it sends back.
//!
//! ARP stays outside: without such devices the balancer's host could not answer. Whoever sends through the trunk needs
//! the neighbour's address beforehand, [`Rtnl::neighbour`](crate::rtnl::Rtnl::neighbour).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use crate::netns::Netns;
use crate::rtnl::Change;
use crate::tap::{ADDRESSES, Fate, Frame, Relay, Tap};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// IEEE 802.1Q and 802.1ad.
const CUSTOMER: u16 = 0x8100;
const SERVICE: u16 = 0x88a8;

/// The namespace in the middle, with what carries frames through it.
#[derive(Debug)]
pub struct Trunk {
    _relays: [Relay; 2],
    /// Frames from the balancer with other tags than it was sent; the trunk drops them.
    wrong: Arc<AtomicU64>,
    namespace: Netns,
}

impl Trunk {
    /// Lays the wire from device `port`, made in `bridge`, to `device`, made in `lb`.
    pub fn lay(bridge: &Netns, port: &str, lb: &Netns, device: &str, tags: &[u16]) -> Result<Self> {
        let namespace = Netns::new("tr")?;
        // Room for the second tag: the first goes on top of the MTU anyway.
        let mtu = 1500 + 4 * tags.len() as u32;
        namespace.wire(|rtnl| {
            rtnl.veth("plain", port, bridge.handle())?;
            rtnl.veth("tagged", device, lb.handle())?;
            rtnl.set("tagged", Change::Mtu(mtu))?;
            rtnl.set("plain", Change::Up)?;
            rtnl.set("tagged", Change::Up)
        })?;
        lb.wire(|rtnl| rtnl.set(device, Change::Mtu(mtu)))?;
        let tap = |device| Tap::open(&namespace, device);
        let wrong = Arc::<AtomicU64>::default();
        let (bytes, counter) = (header(tags), Arc::clone(&wrong));
        let there = Relay::start(tap("plain")?, tap("tagged")?, {
            let bytes = bytes.clone();
            move |frame| put(frame, &bytes)
        });
        let back = Relay::start(tap("tagged")?, tap("plain")?, move |frame| {
            let fate = take(frame, &bytes);
            if fate == Fate::Dropped {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            fate
        });
        Ok(Self {
            _relays: [there, back],
            wrong,
            namespace,
        })
    }

    /// The other end of the balancer's wire.
    pub fn peer(&self) -> (&Netns, &'static str) {
        (&self.namespace, "tagged")
    }

    /// How many frames came from the balancer's host with other tags.
    pub fn wrong(&self) -> u64 {
        self.wrong.load(Ordering::Relaxed)
    }
}

/// The bytes between the addresses and the frame's own type.
fn header(tags: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, tag) in tags.iter().enumerate() {
        let innermost = index + 1 == tags.len();
        let kind = if innermost { CUSTOMER } else { SERVICE };
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&tag.to_be_bytes());
    }
    bytes
}

fn put(frame: &mut Frame, header: &[u8]) -> Fate {
    if matches!(frame.ethertype(), Some(IPV4 | IPV6)) {
        frame.insert(ADDRESSES, header);
    }
    Fate::Sent
}

fn take(frame: &mut Frame, header: &[u8]) -> Fate {
    match frame.ethertype() {
        Some(CUSTOMER | SERVICE) => {
            let same = frame.bytes[ADDRESSES..].starts_with(header);
            if same && frame.remove(ADDRESSES, header.len()) {
                Fate::Sent
            } else {
                Fate::Dropped
            }
        }
        // What the balancer's host sends by itself: its answers to ARP.
        Some(IPV4 | IPV6) => Fate::Dropped,
        _ => Fate::Sent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_go_in_and_out() {
        let bytes: Vec<u8> = (0..12).chain([8, 0, 0x45]).collect();
        let mut frame = Frame::whole(bytes.clone());
        let tags = header(&[100, 5]);
        assert_eq!(put(&mut frame, &tags), Fate::Sent);
        assert_eq!(
            frame.bytes[12..],
            [0x88, 0xa8, 0, 100, 0x81, 0, 0, 5, 8, 0, 0x45]
        );
        let mut other = frame.clone();
        assert_eq!(take(&mut other, &header(&[5])), Fate::Dropped);
        assert_eq!(take(&mut frame, &tags), Fate::Sent);
        assert_eq!(frame.bytes, bytes);
    }
}
