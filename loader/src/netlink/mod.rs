//! EFFECTS: what is asked of the network stack through rtnetlink: links, XDP attachments, addresses, neighbours, routes.
//!
//! Messages are pure functions to and from bytes; `socket` is the only place with effects. Nothing here knows BPF beyond a
//! program's descriptor, which comes in as such.
//!
//! **Invariant.** Every parser is total: any bytes give a value or an error, no panic, and no read past the end.

mod address;
mod error;
mod link;
mod message;
mod neighbour;
mod route;
mod socket;
mod xdp;

pub use address::Address;
pub use error::NetlinkError;
pub use link::{Link, LinkState, MacAddr, Namespace, XdpState};
pub use neighbour::{Neighbour, NeighbourState};
pub use route::{Route, RouteKind};
pub use socket::Socket;
pub use xdp::{Expect, Mode};

/// The numbers of include/uapi/linux/rtnetlink.h, netlink.h, if_link.h that several files use.
mod consts {
    pub const NLM_F_REQUEST: u16 = 0x01;
    pub const NLM_F_ACK: u16 = 0x04;
    pub const NLM_F_DUMP: u16 = 0x300;
    /// The dump was interrupted by a change: it may hold both or neither state.
    pub const NLM_F_DUMP_INTR: u16 = 0x10;
    /// The error message holds the request's header only, not its payload.
    pub const NLM_F_CAPPED: u16 = 0x100;
    /// Attributes follow in the error message.
    pub const NLM_F_ACK_TLVS: u16 = 0x200;

    pub const NLMSG_ERROR: u16 = 2;
    pub const NLMSG_DONE: u16 = 3;

    pub const RTM_NEWLINK: u16 = 16;
    pub const RTM_GETLINK: u16 = 18;
    pub const RTM_SETLINK: u16 = 19;
    pub const RTM_NEWADDR: u16 = 20;
    pub const RTM_GETADDR: u16 = 22;
    pub const RTM_NEWROUTE: u16 = 24;
    pub const RTM_GETROUTE: u16 = 26;
    pub const RTM_NEWNEIGH: u16 = 28;
    pub const RTM_GETNEIGH: u16 = 30;

    pub const IFLA_XDP: u16 = 43;
}
