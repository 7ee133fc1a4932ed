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
    /// A client's packet of a known connection, sent on to its backend
    Forwarded = "forwarded", Tx;
    /// A client's SYN that opened a connection, sent to the backend picked for it
    Opened = "opened", Tx;
    /// A backend's packet, sent back to its client
    Replied = "replied", Tx;
    /// Not IPv4: ARP, IPv6 and the rest
    NotIpv4 = "not_ipv4", Pass;
    /// The frame ends before its headers do, or before the length they give
    Truncated = "truncated", Pass;
    /// An IPv4 or TCP header that contradicts itself
    Malformed = "malformed", Pass;
    /// A frame for another host's Ethernet address, or a broadcast
    OtherMac = "other_mac", Pass;
    /// Addressed to something other than the service or the balancer
    OtherDestination = "other_destination", Pass;
    /// Addressed to the balancer, but not TCP
    NotTcp = "not_tcp", Pass;
    /// A fragment: only the first one says which connection it belongs to
    Fragment = "fragment", Pass;
    /// A time to live that ends here
    TtlExpired = "ttl_expired", Pass;
    /// Of no connection of ours and opening none: the host's own connections, and the ends of forgotten ones
    NoConnection = "no_connection", Pass;
    /// The backends map has no such entry
    NoBackend = "no_backend", Drop;
    /// Every source port tried towards the backend is in use
    NoPort = "no_port", Drop;
    /// Another CPU took the slot or opened the same connection in that instant; the client asks again
    Contended = "contended", Drop;
    /// A deferred checksum over more bytes than one frame can hold
    ChecksumTooLong = "checksum_too_long", Drop;
}

impl Reason {
    /// How many there are: the length of map `counters`.
    pub const COUNT: usize = Self::ALL.len();
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
