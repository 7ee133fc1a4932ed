//! What is known of a flow, how long it lasts, and how readily it is given up for a new one.

use crate::opaque::opaque;

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
    /// The last that the client said was RST.
    pub const CLIENT_RESET: u32 = 32;
    /// It is UDP: silence is all that ends it.
    pub const UDP: u32 = 64;
    /// The last that the backend said was RST.
    pub const BACKEND_RESET: u32 = 128;

    /// The client's checksums come deferred, and the next sender still owes them (generic mode).
    pub const CLIENT_DEFERS: u32 = 256;
    /// The backend's do.
    pub const BACKEND_DEFERS: u32 = 512;
    /// The backend answers the client directly ([`crate::abi::mode::DSR`]): there is no reply key.
    pub const DIRECT: u32 = 1024;
    /// Likewise, and its packets are put into others ([`crate::abi::mode::IPIP`]).
    pub const TUNNEL: u32 = 2048;
    /// Where the client's frames go the routing table said, not the client's own frames.
    pub const ROUTED: u32 = 4096;

    /// Either way of answering directly.
    pub const ONE_WAY: u32 = Self::DIRECT | Self::TUNNEL;
    /// Either one's RST.
    pub const RESET: u32 = Self::CLIENT_RESET | Self::BACKEND_RESET;

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
/// Seconds for which a flow that is closed or not confirmed yet is left alone where there is any other. Its last packets may be on
/// their way: who takes its port sooner sends a SYN to a socket in LAST_ACK or SYN_RECV, and the answers that belong to the one reach
/// the other. Linux lets as long pass before it takes a port in TIME_WAIT again (net.ipv4.tcp_tw_reuse_delay).
pub const REST_SECONDS: u32 = 1;
/// A second has so many times the time for which a flow that is not confirmed yet is left alone whatever else there is: a handshake
/// rarely takes longer. A flood that takes every place in less time is refused, and with it who comes then.
pub const FRESH_PARTS: u32 = 10;
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
    /// The larger, the sooner: 1 for what is established, 4 for what is free. What is expired counts 4 more.
    class: u32,
    /// What it counts more after a part of a second ([`FRESH_PARTS`]).
    aged: u32,
    /// What it counts more after [`REST_SECONDS`].
    rested: u32,
    seconds: u32,
}

/// By the lower eight bits of [`State`]. A table rather than a chain of branches: the verifier would follow every branch
/// in every round of the search, and remember a different range of numbers for each.
static RANKS: [Rank; 256] = {
    let mut ranks = [rank(State::FREE); 256];
    let mut state = 0;
    while state < 256 {
        ranks[state as usize] = rank(state);
        state += 1;
    }
    ranks
};

const fn rank(state: u32) -> Rank {
    let (class, aged, rested, seconds) = if state & !State::UDP == State::FREE {
        (4, 0, 0, 0)
    } else if state & State::UDP != 0 {
        if state & State::CONFIRMED == 0 {
            (1, 1, 1, DATAGRAM_SECONDS)
        } else {
            (1, 0, 0, STREAM_SECONDS)
        }
    } else if State::closed(state) {
        (1, 0, 2, CLOSED_SECONDS)
    } else if state & State::CONFIRMED == 0 {
        (1, 1, 1, OPENING_SECONDS)
    } else {
        (1, 0, 0, IDLE_SECONDS)
    };
    Rank {
        class,
        aged,
        rested,
        seconds,
    }
}

/// How much a slot is worth giving up: its class from bit 40 on, its age in the 32 bits from 8 on.
/// `idle` is the time since its last packet, in ticks.
///
/// In arithmetic, not in branches: the verifier walks through every combination of branches that
/// the rounds of a search can take, but to it all numbers out of this function are alike.
#[inline(always)]
pub fn worth(state: u32, idle: u32, ticks_per_second: u32) -> u64 {
    let rank = RANKS[state as usize % RANKS.len()];
    let age = u64::from(idle);
    let second = u64::from(ticks_per_second);
    // 1 if it is older. Of two numbers that it knows to be small the compiler would make a comparison, and a branch.
    let exceeds = |ticks: u64| opaque(ticks).wrapping_sub(age) >> 63;
    let aged = exceeds(second / u64::from(FRESH_PARTS)) * u64::from(rank.aged);
    let rested = exceeds(second * u64::from(REST_SECONDS)) * u64::from(rank.rested);
    let expired = exceeds(second * u64::from(rank.seconds)) * 4;
    (u64::from(rank.class) + aged + rested + expired) << 40 | age << 8
}

/// At least this much is worth a slot that is free or whose flow is expired.
pub const EXPIRED: u64 = 4 << 40;
/// At least this much is worth a flow that has been closed or unconfirmed for some time.
pub const RESTED: u64 = 3 << 40;
/// At least this much is worth a flow that may be given up for a new one: an established one never is, nor one that just opened or
/// closed.
pub const DISPENSABLE: u64 = 2 << 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_first() {
        const TICKS: u32 = 100;
        let established = State::OPEN | State::ANSWERED | State::CONFIRMED;
        const FRESH: u32 = TICKS / FRESH_PARTS;
        const REST: u32 = REST_SECONDS * TICKS;
        let closed = established | State::CLIENT_FIN | State::BACKEND_FIN;
        let order = [
            (established | State::CLIENT_RESET, 1),
            (State::OPEN, FRESH),
            (closed, REST),
            (established, 7_000 * TICKS),
            // From here on DISPENSABLE.
            (State::OPEN, FRESH + 1),
            (State::OPEN | State::UDP, FRESH + 2),
            (State::OPEN | State::ANSWERED, REST),
            // RESTED.
            (established | State::BACKEND_RESET, REST + 1),
            (State::OPEN, REST + 2),
            (closed, REST + 3),
            // EXPIRED.
            (State::FREE, 0),
            (established, IDLE_SECONDS * TICKS + 1),
        ];
        let worths = order.map(|(state, idle)| worth(state, idle, TICKS));
        assert!(worths.is_sorted(), "{worths:x?}");
        let at_least = |least| worths.iter().filter(|worth| **worth >= least).count();
        assert_eq!([DISPENSABLE, RESTED, EXPIRED].map(at_least), [8, 5, 2]);
    }

    #[test]
    fn lifetimes() {
        let lives = |state, seconds: u32| worth(state, seconds * 250, 250) < EXPIRED;
        let confirmed = State::OPEN | State::ANSWERED | State::CONFIRMED;
        for (state, seconds) in [
            (State::OPEN, OPENING_SECONDS),
            (confirmed, IDLE_SECONDS),
            (confirmed | State::CLIENT_RESET, CLOSED_SECONDS),
            (confirmed | State::BACKEND_RESET, CLOSED_SECONDS),
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
