//! Numbers, addresses and Ethernet addresses as they lie in packets.

/// A 16-bit number in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Be16(pub [u8; 2]);

/// A 32-bit number in network byte order: an IPv4 address, mostly.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Be32(pub [u8; 4]);

macro_rules! big_endian {
    ($($name:ident: $number:ty;)*) => {$(
        impl $name {
            /// From the host's order.
            #[inline(always)]
            pub const fn new(value: $number) -> Self {
                Self(value.to_be_bytes())
            }
            /// In the host's order.
            #[inline(always)]
            pub const fn get(self) -> $number {
                <$number>::from_be_bytes(self.0)
            }
            /// The bytes as they lie, read as a native word: what a checksum adds up (RFC 1071 §2B).
            #[inline(always)]
            pub const fn word(self) -> $number {
                <$number>::from_ne_bytes(self.0)
            }
            /// The opposite of [`word`](Self::word).
            #[inline(always)]
            pub const fn from_word(word: $number) -> Self {
                Self(word.to_ne_bytes())
            }
        }

        #[cfg(not(feature = "bpf"))]
        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{:#x}", self.get())
            }
        }
    )*};
}
big_endian! {
    Be16: u16;
    Be32: u32;
}

/// An IP address of either family: sixteen bytes as they lie in an IPv6 header, as two words.
/// An IPv4 address is `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2).
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(not(feature = "bpf"), derive(PartialOrd, Ord))]
pub struct Addr(pub [u64; 2]);
const _: () = assert!(size_of::<Addr>() == 16);

/// What an IPv4 address has in front of it in the second half.
const V4_PREFIX: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

/// Eight bytes of two times four, by numbers: of bytes the compiler would load and shift each.
#[inline(always)]
const fn join(first: u32, last: u32) -> u64 {
    if cfg!(target_endian = "little") {
        first as u64 | (last as u64) << 32
    } else {
        (first as u64) << 32 | last as u64
    }
}

/// The opposite.
#[inline(always)]
const fn halves(word: u64) -> [u32; 2] {
    let [low, high] = [word as u32, (word >> 32) as u32];
    if cfg!(target_endian = "little") {
        [low, high]
    } else {
        [high, low]
    }
}

impl Addr {
    /// No address.
    pub const NONE: Self = Self([0; 2]);

    /// An IPv4 address.
    #[inline(always)]
    pub const fn v4(addr: Be32) -> Self {
        Self([0, join(V4_PREFIX, addr.word())])
    }
    /// An IPv6 address, or an IPv4 address in that form.
    #[inline(always)]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self([
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
        ])
    }
    /// All sixteen bytes.
    #[inline(always)]
    pub const fn bytes(self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h] = self.0[0].to_ne_bytes();
        let [i, j, k, l, m, n, o, p] = self.0[1].to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
    /// The last four bytes: the IPv4 address, where it is one.
    #[inline(always)]
    pub const fn last(self) -> Be32 {
        let [_, last] = halves(self.0[1]);
        Be32::from_word(last)
    }
    /// Whether it is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        let [first, _] = halves(self.0[1]);
        self.0[0] == 0 && first == V4_PREFIX
    }
}

#[cfg(not(feature = "bpf"))]
impl core::fmt::Debug for Addr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        std::net::Ipv6Addr::from(self.bytes()).to_canonical().fmt(f)
    }
}

#[cfg(not(feature = "bpf"))]
impl From<std::net::IpAddr> for Addr {
    fn from(ip: std::net::IpAddr) -> Self {
        match ip {
            std::net::IpAddr::V4(ip) => Self::v4(Be32(ip.octets())),
            std::net::IpAddr::V6(ip) => Self::from_bytes(ip.octets()),
        }
    }
}

#[cfg(not(feature = "bpf"))]
impl From<Addr> for std::net::IpAddr {
    fn from(addr: Addr) -> Self {
        std::net::Ipv6Addr::from(addr.bytes()).to_canonical()
    }
}

/// An Ethernet address.
pub type Mac = [u8; 6];

/// An Ethernet address on its way through registers: three 16-bit words as they lie.
///
/// The verifier wants every access to the stack aligned to its size, and the compiler splits six
/// loose bytes in ways that are not; words of two bytes it keeps whole.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug, Hash))]
pub struct MacWords(pub [u16; 3]);

impl MacWords {
    /// The address as bytes.
    #[inline(always)]
    pub const fn bytes(self) -> Mac {
        let [[a, b], [c, d], [e, f]] = [
            self.0[0].to_ne_bytes(),
            self.0[1].to_ne_bytes(),
            self.0[2].to_ne_bytes(),
        ];
        [a, b, c, d, e, f]
    }
    /// The address in the first six bytes of a word, so that it is stored at once.
    #[inline(always)]
    pub const fn packed(self) -> u64 {
        self.0[0] as u64 | (self.0[1] as u64) << 16 | (self.0[2] as u64) << 32
    }
    /// The opposite of [`packed`](Self::packed).
    #[inline(always)]
    pub const fn unpack(word: u64) -> Self {
        Self([word as u16, (word >> 16) as u16, (word >> 32) as u16])
    }
}

impl From<Mac> for MacWords {
    #[inline(always)]
    fn from([a, b, c, d, e, f]: Mac) -> Self {
        Self([[a, b], [c, d], [e, f]].map(u16::from_ne_bytes))
    }
}
