//! What is known of a flow, how long it lasts, and how readily it is given up for a new one.

/// Bits of [`crate::abi::Connection::state`].
pub struct State;

impl State {
    /// No flow.
    pub const FREE: u32 = 0;
    /// The client asked for it.
    pub const OPEN: u32 = 1;
    /// The backend answered; of a flow that is answered directly, it is taken to have.
    pub const ANSWERED: u32 = 2;
    /// The client went on after that: it is really there.
    pub const CONFIRMED: u32 = 4;
    /// The client said FIN.
    pub const CLIENT_FIN: u32 = 8;
    /// The backend said FIN.
    pub const BACKEND_FIN: u32 = 16;
    /// Either one said RST, or the balancer said it for them.
    pub const RESET: u32 = 32;
    /// It is UDP: silence is all that ends it.
    pub const UDP: u32 = 64;

    /// The client's checksums come deferred, and the next sender still owes them (generic mode).
    pub const CLIENT_DEFERS: u32 = 128;
    /// The backend's do.
    pub const BACKEND_DEFERS: u32 = 256;
    /// The backend answers the client directly ([`crate::abi::mode::DSR`]): there is no reply key.
    pub const DIRECT: u32 = 512;
    /// Likewise, and its packets are put into others ([`crate::abi::mode::IPIP`]).
    pub const TUNNEL: u32 = 1024;
    /// Where the client's frames go the routing table said, not the client's own frames.
    pub const ROUTED: u32 = 2048;

    /// Either way of answering directly.
    pub const ONE_WAY: u32 = Self::DIRECT | Self::TUNNEL;

    /// Whether nothing more is to come but retransmissions.
    #[inline(always)]
    pub const fn closed(state: u32) -> bool {
        const BOTH: u32 = State::CLIENT_FIN | State::BACKEND_FIN;
        state & State::RESET != 0 || state & BOTH == BOTH
    }
}

/// Seconds that an unconfirmed TCP connection lasts: Linux gives up on a SYN after about as long as its
/// first five retransmissions take, 63 s (tcp_syn_retries, Documentation/networking/ip-sysctl.rst).
pub const OPENING_SECONDS: u32 = 63;
/// Seconds that a closed connection lasts: TIME_WAIT (include/net/tcp.h, TCP_TIMEWAIT_LEN).
pub const CLOSED_SECONDS: u32 = 60;
/// Seconds that a silent connection lasts: what TCP's keep-alive needs to find out that its peer is
/// gone, 7,200 s + 9 × 75 s (tcp_keepalive_time, _probes, _intvl), rounded up.
pub const IDLE_SECONDS: u32 = 8_000;
/// Seconds that UDP lasts after one packet, and after packets both ways, as in conntrack
/// (nf_conntrack_udp_timeout, _stream; Documentation/networking/nf_conntrack-sysctl.rst).
pub const DATAGRAM_SECONDS: u32 = 30;
/// Likewise, both ways.
pub const STREAM_SECONDS: u32 = 120;

/// How readily a flow in a certain state is given up, and how long it lasts.
#[derive(Clone, Copy)]
struct Rank {
    /// The larger, the sooner: established 1, closed 2, unconfirmed 3, free 4. What is expired counts 4 more.
    class: u32,
    seconds: u32,
}

/// By the lower seven bits of [`State`]. A table rather than a chain of branches: the verifier would follow every branch
/// in every round of the search, and remember a different range of numbers for each.
static RANKS: [Rank; 128] = {
    let mut ranks = [Rank {
        class: 0,
        seconds: 0,
    }; 128];
    let mut state = 0;
    while state < 128 {
        ranks[state as usize] = rank(state);
        state += 1;
    }
    ranks
};

const fn rank(state: u32) -> Rank {
    let (class, seconds) = if state & !State::UDP == State::FREE {
        (4, 0)
    } else if state & State::UDP != 0 {
        if state & State::CONFIRMED == 0 {
            (3, DATAGRAM_SECONDS)
        } else {
            (1, STREAM_SECONDS)
        }
    } else if State::closed(state) {
        (2, CLOSED_SECONDS)
    } else if state & State::CONFIRMED == 0 {
        (3, OPENING_SECONDS)
    } else {
        (1, IDLE_SECONDS)
    };
    Rank { class, seconds }
}

/// How much a slot is worth giving up: its class from bit 40 on, its age in the 32 bits from 8 on.
/// `idle` is the time since its last packet, in ticks.
///
/// In arithmetic, not in branches: the verifier walks through every combination of branches that
/// the rounds of a search can take, but to it all numbers out of this function are alike.
#[inline(always)]
pub fn worth(state: u32, idle: u32, ticks_per_second: u32) -> u64 {
    let Rank { class, seconds } = RANKS[state as usize % RANKS.len()];
    let age = u64::from(idle);
    let lifetime = u64::from(seconds) * u64::from(ticks_per_second);
    let expired = lifetime.wrapping_sub(age) >> 63; // 1 if age > lifetime
    (u64::from(class) + expired * 4) << 40 | age << 8
}

/// At least this much is worth a slot that is free or whose flow is expired.
pub const EXPIRED: u64 = 4 << 40;
/// At least this much is worth a flow that may be given up for a new one: an established one never is.
pub const DISPENSABLE: u64 = 2 << 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_first() {
        const TICKS: u32 = 100;
        let established = State::OPEN | State::ANSWERED | State::CONFIRMED;
        let order = [
            (established, 7_000 * TICKS),
            (established | State::RESET, 1),
            (established | State::CLIENT_FIN | State::BACKEND_FIN, 2),
            (State::OPEN, 1),
            (State::OPEN | State::UDP, 2),
            (State::OPEN | State::ANSWERED, 3),
            (State::FREE, 0),
            (established, IDLE_SECONDS * TICKS + 1),
        ];
        let worths = order.map(|(state, idle)| worth(state, idle, TICKS));
        assert!(worths.is_sorted(), "{worths:x?}");
        assert!(worths[0] < DISPENSABLE && worths[1] >= DISPENSABLE);
        assert!(worths[5] < EXPIRED && worths[6] >= EXPIRED);
    }

    #[test]
    fn lifetimes() {
        let lives = |state, seconds: u32| worth(state, seconds * 250, 250) < EXPIRED;
        let confirmed = State::OPEN | State::ANSWERED | State::CONFIRMED;
        for (state, seconds) in [
            (State::OPEN, OPENING_SECONDS),
            (confirmed, IDLE_SECONDS),
            (confirmed | State::RESET, CLOSED_SECONDS),
            (State::OPEN | State::UDP, DATAGRAM_SECONDS),
            (confirmed | State::UDP, STREAM_SECONDS),
        ] {
            assert!(
                lives(state, seconds) && !lives(state, seconds + 1),
                "{state:#b}"
            );
        }
    }
}
