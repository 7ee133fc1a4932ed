//! A flood: SYNs from addresses that nobody has, as fast as one socket sends them.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use etherparse::PacketBuilder;
use nix::errno::Errno;

use crate::netns::Netns;
use crate::tap::Tap;

/// Frames handed to the kernel at a time.
const BATCH: usize = 64;

/// Who sends to whom.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    /// The address of the one that sends, on the wire.
    pub from_mac: [u8; 6],
    /// The balancer's.
    pub to_mac: [u8; 6],
    /// The service.
    pub to: SocketAddr,
}

impl Flood {
    /// Sends `count` SYNs out of `device`, each from an address and port drawn at random (198.18.0.0/15 is for tests of
    /// this kind, RFC 2544; fd98::/16 is as good). How many went out.
    pub fn send(&self, namespace: &Netns, device: &str, count: u64) -> Result<u64> {
        let tap = Tap::open_to_send(namespace, device)?;
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut sent = 0;
        while sent < count {
            let wanted = BATCH.min((count - sent) as usize);
            let mut frames = Vec::with_capacity(wanted);
            for _ in 0..wanted {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                frames.push(self.syn(state)?);
            }
            let mut rest = &mut frames[..];
            while !rest.is_empty() {
                let went =
                    send_batch(&tap, rest).with_context(|| format!("after {sent} frames"))?;
                sent += went as u64;
                rest = &mut rest[went..];
            }
        }
        Ok(sent)
    }

    fn syn(&self, random: u64) -> Result<Vec<u8>> {
        let bytes = random.to_be_bytes();
        let (port, sequence) = (
            1024 + u16::from_be_bytes([bytes[0], bytes[1]]) % 64_000,
            random as u32,
        );
        let ethernet = PacketBuilder::ethernet2(self.from_mac, self.to_mac);
        let builder = match self.to.ip() {
            IpAddr::V4(to) => {
                let from = [198, 18 + (bytes[2] & 1), bytes[3], bytes[4]];
                ethernet.ipv4(from, to.octets(), 64)
            }
            IpAddr::V6(to) => {
                let mut from = [0; 16];
                from[..2].copy_from_slice(&[0xfd, 0x98]);
                from[8..].copy_from_slice(&bytes);
                ethernet.ipv6(from, to.octets(), 64)
            }
        };
        let mut frame = Vec::with_capacity(74);
        builder
            .tcp(port, self.to.port(), sequence, 64_000)
            .syn()
            .write(&mut frame, &[])
            .context("build a SYN")?;
        Ok(frame)
    }
}

/// How many of the frames the kernel took.
fn send_batch(tap: &Tap, frames: &mut [Vec<u8>]) -> Result<usize> {
    let mut parts: Vec<libc::iovec> = frames
        .iter_mut()
        .map(|frame| libc::iovec {
            iov_base: frame.as_mut_ptr().cast(),
            iov_len: frame.len(),
        })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = parts
        .iter_mut()
        .map(|part| {
            // SAFETY: all fields of this struct may be zero.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message
        })
        .collect();
    loop {
        // SAFETY: the messages and what they point to live until the call returns.
        let went = unsafe {
            libc::sendmmsg(
                tap.fd().as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as libc::c_uint,
                0,
            )
        };
        match Errno::result(went) {
            Ok(went) => return Ok(went as usize),
            // The device's queue is full: a flood comes back at once.
            Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR) => std::thread::yield_now(),
            Err(error) => return Err(error).context("sendmmsg"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use etherparse::SlicedPacket;

    #[test]
    fn a_syn_of_either_family_is_one() {
        for to in ["10.0.0.10:80", "[fd00::1]:80"] {
            let flood = Flood {
                from_mac: [1; 6],
                to_mac: [2; 6],
                to: to.parse().unwrap(),
            };
            let frame = flood.syn(0x1234_5678_9abc_def0).unwrap();
            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(etherparse::TransportSlice::Tcp(tcp)) = packet.transport else {
                panic!("{packet:?}");
            };
            assert!(tcp.syn() && !tcp.ack() && tcp.destination_port() == 80);
        }
    }
}
