//! Frames between two devices in user space: taken from one as they arrive, changed, sent out of the other.
//!
//! What a frame's sender left to its card (checksums, segments) travels with it as a `virtio_net_hdr`, so that the
//! receiver trusts or verifies exactly what it would have without us. Sources: packet(7), include/uapi/linux/virtio_net.h.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::netns::Netns;
use crate::rtnl;

/// `struct virtio_net_hdr`: flags, gso_type, then hdr_len, gso_size, csum_start, csum_offset of 16 bits each.
const OFFLOAD: usize = 10;
const HDR_LEN: usize = 2;
const CSUM_START: usize = 6;
/// VIRTIO_NET_HDR_F_NEEDS_CSUM.
const NEEDS_CSUM: u8 = 1;
/// The longest frame: 64 KiB of IP, its headers, tags.
const LONGEST: usize = (1 << 16) + 100;
/// Bytes of two Ethernet addresses.
pub const ADDRESSES: usize = 12;

/// A frame on its way.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    offload: [u8; OFFLOAD],
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// A frame with nothing left to do by a card.
    pub fn whole(bytes: Vec<u8>) -> Self {
        Self {
            offload: [0; OFFLOAD],
            bytes,
        }
    }

    /// Puts bytes in before the transport header.
    pub fn insert(&mut self, at: usize, bytes: &[u8]) {
        self.bytes.splice(at..at, bytes.iter().copied());
        self.shift(bytes.len().cast_signed());
    }

    /// Takes bytes out before the transport header. False, and nothing done, when there are not so many.
    pub fn remove(&mut self, at: usize, length: usize) -> bool {
        if self.bytes.len() < at + length {
            return false;
        }
        self.bytes.drain(at..at + length);
        self.shift(-length.cast_signed());
        true
    }

    /// The type behind the Ethernet addresses.
    pub fn ethertype(&self) -> Option<u16> {
        let bytes = self.bytes.get(ADDRESSES..)?.first_chunk()?;
        Some(u16::from_be_bytes(*bytes))
    }

    /// Moves the offsets of what is left to do.
    fn shift(&mut self, by: isize) {
        let mut move_at = |at: usize| {
            let old = u16::from_ne_bytes([self.offload[at], self.offload[at + 1]]);
            let new = (isize::from_ne_bytes(usize::from(old).to_ne_bytes()) + by).max(0) as u16;
            self.offload[at..at + 2].copy_from_slice(&new.to_ne_bytes());
        };
        move_at(HDR_LEN);
        move_at(CSUM_START);
        if self.offload[0] & NEEDS_CSUM == 0 {
            self.offload[CSUM_START..].fill(0);
        }
        if self.offload[1] == 0 {
            self.offload[HDR_LEN..CSUM_START].fill(0);
        }
    }
}

/// A socket that sees what arrives at a device and can send what it likes.
#[derive(Debug)]
pub struct Tap(OwnedFd);

impl Tap {
    /// Opens one in `namespace`.
    pub fn open(namespace: &Netns, device: &str) -> Result<Self> {
        namespace
            .run(|| Self::bind(device))
            .with_context(|| format!("tap {device} in {}", namespace.name()))
    }

    /// Opens one that nothing arrives at, to send whole frames.
    pub fn open_to_send(namespace: &Netns, device: &str) -> Result<Self> {
        namespace
            .run(|| {
                let tap = Self::make()?;
                tap.listen(device, 0)?;
                Ok(tap)
            })
            .with_context(|| format!("tap {device} in {}", namespace.name()))
    }

    /// The socket.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn bind(device: &str) -> Result<Self> {
        let tap = Self::make()?;
        // A stop is noticed after this long.
        setsockopt(&tap.0, sockopt::ReceiveTimeout, &TimeVal::milliseconds(50))?;
        setsockopt(&tap.0, sockopt::RcvBufForce, &(16 << 20))?;
        for option in [
            libc::PACKET_IGNORE_OUTGOING,
            libc::PACKET_AUXDATA,
            PACKET_VNET_HDR,
        ] {
            tap.set(option)?;
        }
        tap.listen(device, libc::ETH_P_ALL as u16)?;
        Ok(tap)
    }

    /// Protocol 0: nothing arrives until it is bound to the one device.
    fn make() -> Result<Self> {
        let family = AddressFamily::Packet;
        Ok(Self(socket(
            family,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?))
    }

    fn listen(&self, device: &str, protocol: u16) -> Result<()> {
        // SAFETY: all fields of this struct may be zero.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = rtnl::index(device)?.cast_signed();
        // SAFETY: the pointer and the length are those of a live struct.
        let result = unsafe {
            libc::bind(
                self.0.as_raw_fd(),
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        Errno::result(result).map(drop).context("bind")
    }

    fn set(&self, option: libc::c_int) -> Result<()> {
        let on: libc::c_int = 1;
        // SAFETY: the pointer and the length are those of a live number.
        let result = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                option,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            )
        };
        Errno::result(result)
            .map(drop)
            .with_context(|| format!("packet option {option}"))
    }

    /// The next frame, its outermost VLAN tag where the sender had it; None when none came for a while.
    pub fn receive(&self) -> Result<Option<Frame>> {
        let mut frame = Frame {
            offload: [0; OFFLOAD],
            bytes: vec![0; LONGEST],
        };
        let mut parts = [part(&mut frame.offload), part(&mut frame.bytes)];
        let mut control = [0u64; 16];
        // SAFETY: all fields of this struct may be zero.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = parts.as_mut_ptr();
        message.msg_iovlen = parts.len();
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: every pointer in the message is that of a buffer that lives on, with its length.
        let length = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, 0) };
        let length = match Errno::result(length) {
            Ok(length) => length.cast_unsigned(),
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => return Ok(None),
            Err(error) => return Err(error).context("receive a frame"),
        };
        frame.bytes.truncate(length.saturating_sub(OFFLOAD));
        if let Some(tag) = tag_of(&message) {
            frame.insert(ADDRESSES, &tag);
        }
        Ok(Some(frame))
    }

    /// Sends a frame.
    pub fn send(&self, frame: &Frame) -> Result<()> {
        let mut bytes = frame.offload.to_vec();
        bytes.extend_from_slice(&frame.bytes);
        // SAFETY: the pointer and the length are those of a live slice.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        let sent = Errno::result(sent)
            .with_context(|| format!("send a frame of {} bytes", frame.bytes.len()))?;
        ensure!(sent.cast_unsigned() == bytes.len(), "{sent} bytes sent");
        Ok(())
    }
}

/// include/uapi/linux/if_packet.h; libc has no name for it.
const PACKET_VNET_HDR: libc::c_int = 15;

fn part(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    }
}

/// The tag that the kernel took out of the frame and put beside it.
fn tag_of(message: &libc::msghdr) -> Option<[u8; 4]> {
    // SAFETY: the kernel has filled in the message and its control buffer.
    let header = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }?;
    if (header.cmsg_level, header.cmsg_type) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
        return None;
    }
    // SAFETY: what follows a header of this type is this struct; it may lie at any address.
    let data: libc::tpacket_auxdata = unsafe {
        libc::CMSG_DATA(header)
            .cast::<libc::tpacket_auxdata>()
            .read_unaligned()
    };
    if data.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let [a, b] = data.tp_vlan_tpid.to_be_bytes();
    let [c, d] = data.tp_vlan_tci.to_be_bytes();
    Some([a, b, c, d])
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes out, changed or not.
    Sent,
    /// It ends here.
    Dropped,
}

/// A thread that carries frames one way. Dropping it ends it.
#[derive(Debug)]
pub struct Relay {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts one.
    pub fn start(
        from: Tap,
        to: Tap,
        mut change: impl FnMut(&mut Frame) -> Fate + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // A device that goes down, or a frame that the other end has no room for: lost, as on a wire.
                let Ok(Some(mut frame)) = from.receive() else {
                    continue;
                };
                if change(&mut frame) == Fate::Sent
                    && let Err(error) = to.send(&frame)
                {
                    eprintln!("relay: {error:#}");
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
