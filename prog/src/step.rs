//! What goes between the functions that a packet's path leads through, as numbers: all that a function of the program returns.

use crate::abi::Direction;
use crate::counters::Reason;

/// What the path of a packet leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub enum Step {
    /// The end.
    Done(Reason),
    /// It is of no known flow; what is known of it is in [`World::seen`].
    New,
    /// To this backend by tunnel, and then the end; the packet is in [`World::seen`].
    Tunnel(u32, Reason),
    /// An RST to its sender, or, where none can be built, the second end; the packet is in [`World::seen`].
    Reset(Reason, Reason),
}

impl Step {
    /// As one number, which is all that a function of the program returns: the kind from bit 48 on.
    #[inline(always)]
    pub const fn encode(self) -> u64 {
        match self {
            Self::Done(reason) => reason as u64,
            Self::New => 1 << 48,
            Self::Tunnel(backend, reason) => 2 << 48 | (reason as u64) << 32 | backend as u64,
            Self::Reset(reason, instead) => 3 << 48 | (reason as u64) << 32 | instead as u64,
        }
    }
    /// The opposite.
    #[inline(always)]
    pub fn decode(number: u64) -> Self {
        let reason = |number: u32| Reason::numbered(number).unwrap_or(Reason::Contended);
        let (low, high) = (number as u32, (number >> 32) as u32 & 0xffff);
        match number >> 48 {
            0 => Self::Done(reason(low)),
            1 => Self::New,
            2 => Self::Tunnel(low, reason(high)),
            _ => Self::Reset(reason(high), reason(low)),
        }
    }
}

/// What is known of a packet's flow beforehand.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub enum Given {
    /// Nothing: it is looked up.
    Nothing,
    /// It has just been opened in that slot.
    Slot(u32),
    /// It has no record and goes to that backend directly.
    Backend(u32),
    /// An ICMP error about the flow in that slot, whose packets that way are as its answer to the quoted one would be.
    Known(u32, Direction),
}

impl Given {
    /// As one number.
    #[inline(always)]
    pub const fn encode(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Slot(slot) => 1 << 32 | slot as u64,
            Self::Backend(backend) => 2 << 32 | backend as u64,
            Self::Known(slot, Direction::Request) => 3 << 32 | slot as u64,
            Self::Known(slot, Direction::Reply) => 4 << 32 | slot as u64,
        }
    }
    /// The opposite.
    #[inline(always)]
    pub const fn decode(number: u64) -> Self {
        let low = number as u32;
        match number >> 32 {
            0 => Self::Nothing,
            1 => Self::Slot(low),
            2 => Self::Backend(low),
            3 => Self::Known(low, Direction::Request),
            _ => Self::Known(low, Direction::Reply),
        }
    }
}
