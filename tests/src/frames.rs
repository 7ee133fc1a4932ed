//! Frames for the program: built and checked with etherparse, which knows nothing of our code.

use etherparse::{
    Ethernet2Slice, IpNumber, Ipv4Header, Ipv4HeaderSlice, Ipv4Options, PacketBuilder, TcpHeader,
    TcpSlice,
};

/// A TCP packet, with everything that a test might want to vary.
#[derive(Clone, Debug)]
pub struct Tcp {
    /// Ethernet source.
    pub from_mac: [u8; 6],
    /// Ethernet destination.
    pub to_mac: [u8; 6],
    /// Source address and port.
    pub from: ([u8; 4], u16),
    /// Destination address and port.
    pub to: ([u8; 4], u16),
    /// `S`, `A`, `F`, `R` in any order.
    pub flags: &'static str,
    /// What follows the header.
    pub payload: Vec<u8>,
    /// Hops left.
    pub ttl: u8,
    /// IP options, a multiple of 4 bytes.
    pub options: Vec<u8>,
}

impl Tcp {
    /// A packet without payload.
    pub fn new(from: ([u8; 4], u16), to: ([u8; 4], u16), flags: &'static str) -> Self {
        Self {
            from_mac: [0xde, 0xad, 0xbe, 0xef, 0, from.0[3]],
            to_mac: [0xde, 0xad, 0xbe, 0xef, 0, 0x10],
            from,
            to,
            flags,
            payload: Vec::new(),
            ttl: 64,
            options: Vec::new(),
        }
    }

    /// With that payload.
    pub fn payload(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.payload = payload.into();
        self
    }

    /// The frame, checksums right.
    pub fn frame(&self) -> Vec<u8> {
        let mut tcp = TcpHeader::new(self.from.1, self.to.1, 0x0102_0304, 0x5000);
        tcp.syn = self.flags.contains('S');
        tcp.ack = self.flags.contains('A');
        tcp.fin = self.flags.contains('F');
        tcp.rst = self.flags.contains('R');
        let mut ip =
            Ipv4Header::new(0, self.ttl, IpNumber::TCP, self.from.0, self.to.0).unwrap_or_default();
        ip.options = Ipv4Options::try_from(self.options.as_slice()).unwrap_or_default();
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(self.from_mac, self.to_mac)
            .ip(etherparse::IpHeaders::Ipv4(ip, Default::default()))
            .tcp_header(tcp)
            .write(&mut frame, &self.payload)
            .unwrap_or_default();
        frame
    }

    /// The frame as a sender leaves it that counts on its NIC: the checksum field holds the folded
    /// sum of the pseudo-header (CHECKSUM_PARTIAL).
    pub fn deferred_frame(&self) -> Vec<u8> {
        let mut frame = self.frame();
        let pseudo = deferred_checksum(&frame);
        let at = tcp_checksum_offset(&frame);
        frame[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
        frame
    }
}

fn tcp_checksum_offset(frame: &[u8]) -> usize {
    14 + usize::from(frame[14] & 15) * 4 + 16
}

/// What a deferred checksum field of this frame holds, by the definition in include/net/tcp.h.
pub fn deferred_checksum(frame: &[u8]) -> u16 {
    let length = u16::from_be_bytes([frame[16], frame[17]]) - u16::from(frame[14] & 15) * 4;
    let words = [
        u16::from_be_bytes([frame[26], frame[27]]),
        u16::from_be_bytes([frame[28], frame[29]]),
        u16::from_be_bytes([frame[30], frame[31]]),
        u16::from_be_bytes([frame[32], frame[33]]),
        6,
        length,
    ];
    let mut sum: u32 = words.iter().map(|w| u32::from(*w)).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// What a frame says, once its checksums are found right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Ethernet source.
    pub from_mac: [u8; 6],
    /// Ethernet destination.
    pub to_mac: [u8; 6],
    /// Source address and port.
    pub from: ([u8; 4], u16),
    /// Destination address and port.
    pub to: ([u8; 4], u16),
    /// Hops left.
    pub ttl: u8,
    /// What follows the TCP header.
    pub payload: Vec<u8>,
    /// Whether the TCP checksum is still owed (the field holds the pseudo-header's sum).
    pub deferred: bool,
}

/// Reads a frame and recomputes both checksums.
///
/// # Errors
/// What is wrong with it.
pub fn read(frame: &[u8]) -> Result<Seen, String> {
    let ethernet = Ethernet2Slice::from_slice_without_fcs(frame).map_err(|e| e.to_string())?;
    let ip = Ipv4HeaderSlice::from_slice(ethernet.payload_slice()).map_err(|e| e.to_string())?;
    let header = ip.to_header();
    if header.header_checksum != header.calc_header_checksum() {
        return Err(format!(
            "IP checksum {:#x}, should be {:#x}",
            header.header_checksum,
            header.calc_header_checksum()
        ));
    }
    let start = 14 + ip.slice().len();
    let end = 14 + usize::from(header.total_len);
    let bytes = frame.get(start..end).ok_or("IP length beyond the frame")?;
    let tcp = TcpSlice::from_slice(bytes).map_err(|e| e.to_string())?;
    let expected = tcp
        .calc_checksum_ipv4(header.source, header.destination)
        .map_err(|e| e.to_string())?;
    let deferred = tcp.checksum() != expected;
    if deferred && tcp.checksum() != deferred_checksum(frame) {
        return Err(format!(
            "TCP checksum {:#x}, should be {expected:#x}",
            tcp.checksum()
        ));
    }
    Ok(Seen {
        from_mac: ethernet.source(),
        to_mac: ethernet.destination(),
        from: (header.source, tcp.source_port()),
        to: (header.destination, tcp.destination_port()),
        ttl: header.time_to_live,
        payload: tcp.payload().to_vec(),
        deferred,
    })
}
