//! PURE: a capture that Wireshark opens: pcapng (draft-ietf-opsawg-pcapng), each packet as it came and as it left, with a comment.
//!
//! Blocks are a type, their length, a body of whole words, and the length again; written in the machine's byte order, which the
//! section header's magic number tells.

use std::io::{self, Write};

use xdplb_prog::abi::SNAP;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
const MAGIC: u32 = 0x1a2b_3c4d;
/// LINKTYPE_ETHERNET.
const ETHERNET: u16 = 1;

const COMMENT: u16 = 1;
const USER_APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const RESOLUTION: u16 = 9;
/// Of statistics: packets that were dropped before they were written.
const DROPPED: u16 = 5;

/// The two interfaces of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// As packets came.
    In,
    /// As they left.
    Out,
}

/// A packet to be written.
#[derive(Debug, Clone, Copy)]
pub struct Captured<'p> {
    /// When, in nanoseconds since 1970.
    pub time: u64,
    /// Where.
    pub side: Side,
    /// Its first bytes.
    pub bytes: &'p [u8],
    /// How long it was.
    pub length: u32,
    /// What is said about it.
    pub comment: &'p str,
}

/// A capture that is being written.
#[derive(Debug)]
pub struct Capture<W>(W);

impl<W: Write> Capture<W> {
    /// Begins one of packets of that interface.
    ///
    /// # Errors
    /// The writer's.
    pub fn begin(to: W, ifname: &str) -> io::Result<Self> {
        let mut capture = Self(to);
        let mut body = [
            MAGIC.to_ne_bytes().as_slice(),
            &1u16.to_ne_bytes(),
            &0u16.to_ne_bytes(),
        ]
        .concat();
        // How long the section is, is not known.
        body.extend((-1i64).to_ne_bytes());
        let application = concat!("xdplb-load ", env!("CARGO_PKG_VERSION"));
        option(&mut body, USER_APPLICATION, application.as_bytes());
        capture.block(SECTION, body)?;
        for side in ["in", "out"] {
            let mut body = [ETHERNET.to_ne_bytes(), [0; 2]].concat();
            body.extend(SNAP.to_ne_bytes());
            option(
                &mut body,
                INTERFACE_NAME,
                format!("{ifname} {side}").as_bytes(),
            );
            // Times count nanoseconds: 10 to the power of minus nine.
            option(&mut body, RESOLUTION, &[9]);
            capture.block(INTERFACE, body)?;
        }
        Ok(capture)
    }

    /// Adds a packet.
    ///
    /// # Errors
    /// The writer's.
    pub fn add(&mut self, packet: &Captured<'_>) -> io::Result<()> {
        let mut body = Vec::with_capacity(64 + packet.bytes.len() + packet.comment.len());
        time(&mut body, packet.side, packet.time);
        body.extend((packet.bytes.len() as u32).to_ne_bytes());
        body.extend(packet.length.max(packet.bytes.len() as u32).to_ne_bytes());
        body.extend(packet.bytes);
        pad(&mut body);
        option(&mut body, COMMENT, packet.comment.as_bytes());
        self.block(PACKET, body)
    }

    /// Ends it: says how many packets found no room.
    ///
    /// # Errors
    /// The writer's.
    pub fn end(&mut self, now: u64, lost: u64) -> io::Result<()> {
        let mut body = Vec::new();
        time(&mut body, Side::In, now);
        option(&mut body, DROPPED, &lost.to_ne_bytes());
        self.block(STATISTICS, body)?;
        self.0.flush()
    }

    /// Hands on what is buffered.
    ///
    /// # Errors
    /// The writer's.
    pub fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    fn block(&mut self, kind: u32, mut body: Vec<u8>) -> io::Result<()> {
        // The end of its options.
        body.extend([0; 4]);
        let length = (12 + body.len() as u32).to_ne_bytes();
        let block = [kind.to_ne_bytes().as_slice(), &length, &body, &length].concat();
        self.0.write_all(&block)
    }
}

/// The interface, and the time's upper and lower half.
fn time(body: &mut Vec<u8>, side: Side, time: u64) {
    body.extend((side as u32).to_ne_bytes());
    body.extend(((time >> 32) as u32).to_ne_bytes());
    body.extend((time as u32).to_ne_bytes());
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    body.extend(code.to_ne_bytes());
    body.extend((value.len() as u16).to_ne_bytes());
    body.extend(value);
    pad(body);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use pcap_parser::traits::PcapNGPacketBlock as _;
    use pcap_parser::{Block, OptionCode, PcapBlockOwned, PcapNGSlice};

    #[test]
    fn another_crate_reads_what_was_written() {
        let mut bytes = Vec::new();
        let mut capture = Capture::begin(&mut bytes, "veth6").unwrap();
        let packets: [(Side, &[u8], u32, &str); 3] = [
            (Side::In, &[1; 61], 61, "#1 opened"),
            (
                Side::Out,
                &[2; 64],
                1514,
                "#1 opened, backend 10.0.0.2:8000",
            ),
            (Side::In, &[], 0, ""),
        ];
        const TIME: u64 = 1_700_000_000_123_456_789;
        for (side, bytes, length, comment) in packets {
            let packet = Captured {
                time: TIME,
                side,
                bytes,
                length,
                comment,
            };
            capture.add(&packet).unwrap();
        }
        capture.end(TIME, 7).unwrap();

        let slice = PcapNGSlice::from_slice(&bytes).unwrap();
        let blocks = slice.filter_map(|block| match block.unwrap() {
            PcapBlockOwned::NG(block) => Some(block),
            PcapBlockOwned::Legacy(_) | PcapBlockOwned::LegacyHeader(_) => None,
        });
        let blocks: Vec<_> = blocks.collect();
        let interfaces = blocks.iter().filter_map(|block| match block {
            Block::InterfaceDescription(block) => Some(block),
            _ => None,
        });
        let names: Vec<String> = interfaces
            .inspect(|block| assert_eq!((block.if_tsresol, block.snaplen), (9, 256)))
            .map(|block| {
                let name = block
                    .options
                    .iter()
                    .find(|o| o.code == OptionCode::IfName)
                    .unwrap();
                String::from_utf8(name.value[..name.len as usize].to_vec()).unwrap()
            })
            .collect();
        assert_eq!(names, ["veth6 in", "veth6 out"]);
        let mut wanted = packets.iter();
        for block in &blocks {
            let Block::EnhancedPacket(found) = block else {
                continue;
            };
            let (side, bytes, length, comment) = wanted.next().unwrap();
            assert_eq!((found.if_id, found.origlen), (*side as u32, *length));
            assert_eq!(found.packet_data(), *bytes);
            assert_eq!(
                u64::from(found.ts_high) << 32 | u64::from(found.ts_low),
                TIME
            );
            let option = found
                .options
                .iter()
                .find(|o| o.code == OptionCode::Comment)
                .unwrap();
            assert_eq!(&option.value[..option.len as usize], comment.as_bytes());
        }
        assert_eq!(wanted.next().map(|wanted| wanted.3), None);
        assert!(matches!(blocks.last(), Some(Block::InterfaceStatistics(_))));
    }
}
