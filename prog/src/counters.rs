//! Why a packet left as it did: one list that serves the program, its counters and every text.

/// What the driver is told to do with the frame: the kernel's `enum xdp_action`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
#[repr(u32)]
pub enum Verdict {
    /// Throw it away.
    Drop = 1,
    /// On to the host's own network stack, untouched.
    Pass = 2,
    /// Back out of the interface it came in by.
    Tx = 3,
}

impl Verdict {
    /// As `stats` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Pass => "pass",
            Self::Tx => "tx",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $verdict:ident;)*) => {
        /// The one exit that a packet took; its number is the key of map `counters`.
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        #[cfg_attr(not(feature = "bpf"), derive(Debug))]
        #[repr(u32)]
        pub enum Reason { $($(#[doc = $doc])+ $variant,)* }

        impl Reason {
            /// Every reason, in the order of the map's keys.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant),*];

            /// What happens to such a packet.
            #[inline(always)]
            pub const fn verdict(self) -> Verdict {
                match self { $(Reason::$variant => Verdict::$verdict,)* }
            }

            /// The word that `stats` shows.
            pub const fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)* }
            }

            /// What it means, in a sentence.
            pub const fn text(self) -> &'static str {
                match self { $(Reason::$variant => concat!($($doc),+).trim_ascii(),)* }
            }
        }
    };
}

reasons! {
    /// A client's packet of a known flow, sent on to its backend
    Forwarded = "forwarded", Tx;
    /// A client's packet that opened a flow, sent to the backend picked for it
    Opened = "opened", Tx;
    /// A backend's packet, sent back to its client
    Replied = "replied", Tx;
    /// Sent to the backend that the table names, without a record: none was free, and direct return needs none
    Stateless = "stateless", Tx;
    /// An echo request to a service's address, answered
    EchoReplied = "echo_replied", Tx;
    /// An ICMP error about a packet to a backend, translated for its client
    ErrorToClient = "error_to_client", Tx;
    /// An ICMP error about a packet to a client, translated for its backend
    ErrorToBackend = "error_to_backend", Tx;
    /// Too long for the tunnel to its backend: the client was told the size that fits
    TooBig = "too_big", Tx;
    /// Neither IPv4 nor IPv6: ARP and the rest
    NotIp = "not_ip", Pass;
    /// The frame ends before its headers do, or before the length they give
    Truncated = "truncated", Pass;
    /// A header that contradicts itself
    Malformed = "malformed", Pass;
    /// A frame for another host's Ethernet address, or a broadcast
    OtherMac = "other_mac", Pass;
    /// For no service
    OtherDestination = "other_destination", Pass;
    /// Neither TCP, UDP nor ICMP
    OtherProtocol = "other_protocol", Pass;
    /// TCP or UDP from or to port 0, which is no port (RFC 6335 §6)
    PortZero = "port_zero", Pass;
    /// A fragment: only the first one says which flow it belongs to
    Fragment = "fragment", Pass;
    /// A time to live that ends here
    TtlExpired = "ttl_expired", Pass;
    /// VLAN tags, IP options, extension headers: to read these takes a loader with CAP_PERFMON
    Unusual = "unusual", Pass;
    /// Of no flow of ours and opening none: the host's own connections, and the ends of forgotten ones
    NoConnection = "no_connection", Pass;
    /// ICMP that is neither an echo request to a service nor an error about a flow of ours
    OtherIcmp = "other_icmp", Pass;
    /// No backend of the service takes new flows: dropped
    NoBackend = "no_backend", Drop;
    /// No backend of the service takes new flows: reset
    NoBackendReset = "no_backend_reset", Tx;
    /// Every source port tried towards the backend is in use: dropped
    NoPort = "no_port", Drop;
    /// Every source port tried towards the backend is in use: reset
    NoPortReset = "no_port_reset", Tx;
    /// No slot for a new flow but those of established ones: dropped
    TableFull = "table_full", Drop;
    /// No slot for a new flow but those of established ones: reset
    TableFullReset = "table_full_reset", Tx;
    /// Its backend is down or gone: reset
    BackendDown = "backend_down", Tx;
    /// No Ethernet address is known for the next hop
    NoRoute = "no_route", Drop;
    /// Another CPU took the slot or opened the same flow in that instant; the client asks again
    Contended = "contended", Drop;
    /// A deferred checksum over more bytes than one frame can hold
    ChecksumTooLong = "checksum_too_long", Drop;
    /// The driver gives no room in the frame for the headers to be added
    NoHeadroom = "no_headroom", Drop;
}

impl Reason {
    /// How many there are: the length of map `counters`.
    pub const COUNT: usize = Self::ALL.len();

    /// The reason of that number: what a function of the program returns is only a number to the verifier.
    #[inline(always)]
    pub fn numbered(number: u32) -> Option<Self> {
        if number >= Self::COUNT as u32 {
            return None;
        }
        // SAFETY: repr(u32), numbered from 0 to COUNT without a gap.
        Some(unsafe { core::mem::transmute::<u32, Self>(number) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn reasons_number_the_map_and_read_as_words() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert!(Reason::numbered(index as u32) == Some(*reason));
            assert!(
                reason
                    .name()
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
            );
            assert!(!reason.text().is_empty() && !reason.text().ends_with('.'));
        }
        let names: HashSet<_> = Reason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), Reason::COUNT);
    }
}
