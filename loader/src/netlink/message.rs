//! Netlink messages to bytes and from bytes (pure). Layout: include/uapi/linux/netlink.h; everything is aligned to four bytes
//! and in the machine's byte order.
//!
//! ```text
//! nlmsghdr  len u32 | type u16 | flags u16 | seq u32 | pid u32
//! payload   a fixed struct of the family (ifinfomsg, …), then attributes
//! nlattr    len u16 | type u16 | value, padded
//! ```

use byteorder::{ByteOrder, NativeEndian};
use nix::errno::Errno;

use super::consts::*;

const HEADER: usize = 16;
/// Bits of an attribute's type that say how it is encoded (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const NLA_TYPE_MASK: u16 = 0x3fff;
const NLA_F_NESTED: u16 = 0x8000;

/// A request under construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// A message with the family's fixed struct. Sequence number and length are filled in when it is sent.
    pub(super) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0u8; HEADER];
        NativeEndian::write_u16(&mut bytes[4..6], kind);
        NativeEndian::write_u16(&mut bytes[6..8], flags | NLM_F_REQUEST);
        bytes.extend_from_slice(fixed);
        let mut request = Request { bytes };
        request.pad();
        request
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Adds an attribute.
    pub(super) fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        let mut header = [0u8; 4];
        // Values are names, addresses and numbers: far below 64 KiB.
        NativeEndian::write_u16(&mut header[..2], (4 + value.len()) as u16);
        NativeEndian::write_u16(&mut header[2..], kind);
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    /// Adds an attribute made of attributes.
    pub(super) fn nested(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self = fill(self.attr(kind | NLA_F_NESTED, &[]));
        let len = (self.bytes.len() - start) as u16;
        NativeEndian::write_u16(&mut self.bytes[start..start + 2], len);
        self
    }

    /// The finished bytes.
    pub(super) fn finish(mut self, seq: u32) -> Vec<u8> {
        let len = self.bytes.len() as u32;
        NativeEndian::write_u32(&mut self.bytes[..4], len);
        NativeEndian::write_u32(&mut self.bytes[8..12], seq);
        self.bytes
    }
}

/// What is wrong with received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) cause: &'static str,
    pub(super) offset: usize,
}

/// One received message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) seq: u32,
    pub(super) payload: &'a [u8],
}

/// The messages of one datagram. Ends after the first malformed one.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = Result<Message<'_>, Malformed>> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let rest = datagram.get(offset..).filter(|rest| !rest.is_empty())?;
        let broken = |cause| Some(Err(Malformed { cause, offset }));
        if rest.len() < HEADER {
            let error = broken("message header past the end");
            offset = datagram.len();
            return error;
        }
        let len = NativeEndian::read_u32(rest) as usize;
        if len < HEADER || len > rest.len() {
            let error = broken("message past the end");
            offset = datagram.len();
            return error;
        }
        offset += len.next_multiple_of(4);
        Some(Ok(Message {
            kind: NativeEndian::read_u16(&rest[4..]),
            flags: NativeEndian::read_u16(&rest[6..]),
            seq: NativeEndian::read_u32(&rest[8..]),
            payload: &rest[HEADER..len],
        }))
    })
}

/// The attributes of a payload that follow `fixed` bytes. What cannot be an attribute ends the walk: the kernel pads, and a
/// reader must take what it knows and leave the rest.
pub(super) fn attributes(payload: &[u8], fixed: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = payload.get(fixed.next_multiple_of(4)..).unwrap_or_default();
    std::iter::from_fn(move || {
        if rest.len() < 4 {
            return None;
        }
        let len = NativeEndian::read_u16(rest) as usize;
        let kind = NativeEndian::read_u16(&rest[2..]) & NLA_TYPE_MASK;
        let value = rest.get(4..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// What an NLMSG_ERROR (or the NLMSG_DONE of a dump) says: success, or an errno and the kernel's sentence.
pub(super) fn outcome(
    message: &Message<'_>,
) -> Result<Result<(), (Errno, Option<String>)>, Malformed> {
    let Some(code) = message.payload.get(..4).map(NativeEndian::read_i32) else {
        // A dump's end may come without a code.
        return if message.kind == NLMSG_DONE {
            Ok(Ok(()))
        } else {
            Err(Malformed {
                cause: "error message without a code",
                offset: 0,
            })
        };
    };
    if code == 0 {
        return Ok(Ok(()));
    }
    // Behind the code stands the request, whole or only its header, then the attributes.
    let skip = match message.kind {
        NLMSG_DONE => 4,
        _ if message.flags & NLM_F_CAPPED != 0 => 4 + HEADER,
        _ => {
            let request = message
                .payload
                .get(4..8)
                .map_or(HEADER, |len| NativeEndian::read_u32(len) as usize);
            4usize.saturating_add(request.clamp(HEADER, u32::MAX as usize - 8))
        }
    };
    let mut text = None;
    if message.flags & NLM_F_ACK_TLVS != 0 {
        const NLMSGERR_ATTR_MSG: u16 = 1;
        text = attributes(message.payload, skip)
            .find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)
            .map(|(_, value)| string(value));
    }
    Ok(Err((
        Errno::from_raw(code.checked_neg().unwrap_or(0)),
        text,
    )))
}

/// A string attribute: up to its zero byte.
pub(super) fn string(value: &[u8]) -> String {
    let end = value.iter().position(|&b| b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// A 32-bit attribute; 0 when it is shorter than that.
pub(super) fn u32_of(value: &[u8]) -> u32 {
    value.get(..4).map_or(0, NativeEndian::read_u32)
}

/// A 32-bit number in a payload's fixed part.
pub(super) fn u32_at(payload: &[u8], offset: usize) -> u32 {
    payload.get(offset..).map_or(0, u32_of)
}

/// A 16-bit number in a payload's fixed part.
pub(super) fn u16_at(payload: &[u8], offset: usize) -> u16 {
    payload
        .get(offset..offset + 2)
        .map_or(0, NativeEndian::read_u16)
}

/// A byte of a payload's fixed part.
pub(super) fn u8_at(payload: &[u8], offset: usize) -> u8 {
    payload.get(offset).copied().unwrap_or(0)
}

/// An IPv4 or IPv6 address attribute.
pub(super) fn ip_of(value: &[u8]) -> Option<std::net::IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(value) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(value).ok().map(Into::into)
}

/// The bytes of an address, and its family (`AF_INET`, `AF_INET6`).
pub(super) fn ip_bytes(ip: std::net::IpAddr) -> (Vec<u8>, u8) {
    match ip {
        std::net::IpAddr::V4(ip) => (ip.octets().to_vec(), nix::libc::AF_INET as u8),
        std::net::IpAddr::V6(ip) => (ip.octets().to_vec(), nix::libc::AF_INET6 as u8),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_reads_back() {
        let bytes = Request::new(RTM_GETLINK, NLM_F_ACK, &[7; 16])
            .attr(3, b"veth0\0")
            .nested(43, |r| {
                r.attr(1, &5i32.to_ne_bytes()).attr(3, &2u32.to_ne_bytes())
            })
            .finish(9);
        assert_eq!(bytes.len() % 4, 0);
        let message = messages(&bytes).next().unwrap().unwrap();
        assert_eq!(
            (message.kind, message.flags, message.seq),
            (RTM_GETLINK, NLM_F_ACK | NLM_F_REQUEST, 9)
        );
        let attrs: Vec<_> = attributes(message.payload, 16).collect();
        assert_eq!(attrs[0], (3, &b"veth0\0"[..]));
        let inner: Vec<_> = attributes(attrs[1].1, 0)
            .map(|(kind, value)| (kind, u32_of(value)))
            .collect();
        assert_eq!(inner, [(1, 5), (3, 2)]);
    }

    /// An error message as the kernel writes it: code, the request, then the extack.
    fn error(code: i32, flags: u16, request: &[u8], text: &str) -> Vec<u8> {
        let mut fixed = code.to_ne_bytes().to_vec();
        fixed.extend_from_slice(request);
        let mut text = text.as_bytes().to_vec();
        text.push(0);
        Request::new(NLMSG_ERROR, flags, &fixed)
            .attr(1, &text)
            .finish(1)
    }

    #[test]
    fn extack_is_found_behind_the_whole_or_the_capped_request() {
        let request = Request::new(RTM_SETLINK, 0, &[0; 16])
            .attr(43, &[1, 2, 3, 4])
            .finish(1);
        for (flags, echoed) in [
            (NLM_F_ACK_TLVS, &request[..]),
            (NLM_F_ACK_TLVS | NLM_F_CAPPED, &request[..16]),
        ] {
            let bytes = error(-16, flags, echoed, "XDP program already attached");
            let message = messages(&bytes).next().unwrap().unwrap();
            assert_eq!(
                outcome(&message),
                Ok(Err((
                    Errno::EBUSY,
                    Some("XDP program already attached".to_string())
                )))
            );
        }
        let ok = error(0, 0, &request, "");
        assert_eq!(outcome(&messages(&ok).next().unwrap().unwrap()), Ok(Ok(())));
    }

    #[test]
    fn cut_messages_are_errors() {
        let bytes = Request::new(RTM_GETLINK, 0, &[0; 16]).finish(1);
        assert_eq!(
            messages(&bytes[..20]).next().unwrap(),
            Err(Malformed {
                cause: "message past the end",
                offset: 0
            })
        );
        assert_eq!(
            messages(&bytes[..10]).next().unwrap(),
            Err(Malformed {
                cause: "message header past the end",
                offset: 0
            })
        );
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..300), fixed in 0usize..40) {
            let mut count = 0;
            for message in messages(&bytes).flatten() {
                let _ = outcome(&message);
                count += attributes(message.payload, fixed).count();
            }
            count += attributes(&bytes, fixed).count();
            prop_assert!(count <= 2 * bytes.len());
        }
    }
}
