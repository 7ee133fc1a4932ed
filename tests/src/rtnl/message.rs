//! Messages of rtnetlink as bytes: a header, a fixed part, attributes that may hold attributes.

/// Bytes of struct nlmsghdr.
pub const HEADER: usize = 16;
/// NLM_F_REQUEST.
const REQUEST: u16 = 1;

/// A message under construction.
pub struct Message(Vec<u8>);

impl Message {
    /// A request with its fixed part.
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend_from_slice(fixed);
        Self(bytes)
    }

    /// What stands inside an attribute: nothing but a fixed part and attributes.
    pub fn bare(fixed: &[u8]) -> Self {
        Self(fixed.to_vec())
    }

    /// With one more attribute.
    pub fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        self.0
            .extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// What has been put together so far.
    pub fn tail(&self) -> &[u8] {
        &self.0
    }

    /// The whole, its length filled in.
    pub fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

/// A name as an attribute holds it: with a zero at its end.
pub fn text(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// 16 bits at an offset; 0 beyond the end.
pub fn half(bytes: &[u8], at: usize) -> u16 {
    let half = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    half.map_or(0, |half| u16::from_ne_bytes(*half))
}

/// 32 bits at an offset; 0 beyond the end.
pub fn number(bytes: &[u8], at: usize) -> u32 {
    let number = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    number.map_or(0, |number| u32::from_ne_bytes(*number))
}

/// The attributes one after the other; a broken one ends them.
pub fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    /// NLA_F_NESTED and NLA_F_NET_BYTEORDER are no part of the kind.
    const KIND: u16 = 0x3fff;
    std::iter::from_fn(move || {
        let length = usize::from(half(rest, 0));
        let value = rest.get(4..length)?;
        let kind = half(rest, 2) & KIND;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The attribute of that kind among those in `nested`.
pub fn inside(nested: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(nested)
        .find(|(kind, _)| *kind == wanted)
        .map(|(_, value)| value)
}
