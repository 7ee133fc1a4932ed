//! PURE: what the program tells of a packet, from the bytes of a record, and its numbers in words.

use xdplb_prog::abi::{Be16, Event, FlowKey, Kind, Record, SNAP, protocol, stage};
use xdplb_prog::counters::Reason;
use xdplb_prog::state::State;

use super::flows::state_name;
use super::tables::Reader;

/// A record of map `events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What became of the packet.
    pub event: Event,
    /// The frame's first bytes as it came; none where frames are not kept.
    pub before: Vec<u8>,
    /// As it left.
    pub after: Vec<u8>,
}

/// Reads a record; None for what has another size.
pub fn decode(record: &[u8]) -> Option<Told> {
    if record.len() != size_of::<Record>() {
        return None;
    }
    let (head, frames) = record.split_at(size_of::<Event>());
    let (before, after) = frames.split_at(SNAP as usize);
    let mut reader = Reader(head);
    let event = Event {
        time: reader.u64(),
        reason: reader.u32(),
        stages: reader.u32(),
        key: flow_key(&mut reader),
        sent: flow_key(&mut reader),
        service: reader.u32(),
        backend: reader.u32(),
        slot: reader.u32(),
        table_slot: reader.u32(),
        state: reader.u32(),
        route: reader.u32(),
        mac: reader.u64(),
        length: reader.u32(),
        captured: reader.u32(),
        sent_length: reader.u32(),
        sent_captured: reader.u32(),
    };
    let first = |bytes: &[u8], count: u32| {
        let count = (count as usize).min(bytes.len());
        bytes[..count].to_vec()
    };
    Some(Told {
        before: first(before, event.captured),
        after: first(after, event.sent_captured),
        event,
    })
}

fn flow_key(reader: &mut Reader<'_>) -> FlowKey {
    FlowKey {
        saddr: reader.addr(),
        daddr: reader.addr(),
        ports: reader.ports(),
        kind: Kind(reader.u32()),
    }
}

impl Told {
    /// Whether any of these stages ([`stage`]) was reached.
    pub fn reached(&self, stages: u32) -> bool {
        self.event.stages & stages != 0
    }

    /// Its reason; None for a number of another version.
    pub fn reason(&self) -> Option<Reason> {
        Reason::numbered(self.event.reason)
    }

    /// The service's number, where there is one.
    pub fn service(&self) -> Option<u32> {
        let known = stage::SERVICE | stage::REQUEST | stage::REPLY;
        self.reached(known).then_some(self.event.service)
    }

    /// The backend's number, where there is one.
    pub fn backend(&self) -> Option<u32> {
        let known = stage::PICKED | stage::REQUEST | stage::REPLY;
        self.reached(known).then_some(self.event.backend)
    }
}

/// `tcp`, `udp`, or what else.
pub fn protocol_word(kind: Kind) -> &'static str {
    match kind.protocol() {
        protocol::TCP => "tcp",
        protocol::UDP => "udp",
        protocol::ICMP => "icmp",
        protocol::ICMPV6 => "icmpv6",
        _ => "ip",
    }
}

/// How far a flow has come, with what else its state says.
pub fn state_text(state: u32) -> String {
    let mut text = state_name(state).to_string();
    let notes = [
        (State::CLIENT_FIN, "the client said FIN"),
        (State::BACKEND_FIN, "the backend said FIN"),
        (State::DIRECT, "answered directly"),
        (State::TUNNEL, "answered directly"),
    ];
    for (_, note) in notes.iter().filter(|(bit, _)| state & bit != 0) {
        text += ", ";
        text += note;
    }
    text
}

/// What the routing table answered (`BPF_FIB_LKUP_RET_*` of include/uapi/linux/bpf.h), a negative number being an errno.
pub fn route_text(answer: u32) -> String {
    let text = match answer {
        0 => "a neighbour's address",
        1 => "blackhole: the route drops (BPF_FIB_LKUP_RET_BLACKHOLE)",
        2 => "unreachable: the route refuses (BPF_FIB_LKUP_RET_UNREACHABLE)",
        3 => "prohibited by the route (BPF_FIB_LKUP_RET_PROHIBIT)",
        4 => "no route, or a local address (BPF_FIB_LKUP_RET_NOT_FWDED)",
        5 => "forwarding is off for the interface (BPF_FIB_LKUP_RET_FWD_DISABLED)",
        6 => "the route is a tunnel of the kernel's own (BPF_FIB_LKUP_RET_UNSUPP_LWT)",
        7 => "the neighbour is not resolved (BPF_FIB_LKUP_RET_NO_NEIGH)",
        8 => "too long for the route (BPF_FIB_LKUP_RET_FRAG_NEEDED)",
        9 => "no source address (BPF_FIB_LKUP_RET_NO_SRC_ADDR)",
        other => return format!("error {}", other.cast_signed()),
    };
    text.into()
}

/// Both ports of a packet's flow in the host's order.
pub fn ports(key: &FlowKey) -> [u16; 2] {
    [key.ports.source, key.ports.destination].map(Be16::get)
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_record_is_read_where_the_program_writes_it() {
        let mut bytes = vec![0; size_of::<Record>()];
        let at = |field: usize| std::mem::offset_of!(Record, event) + field;
        bytes[at(std::mem::offset_of!(Event, reason))] = Reason::Opened as u8;
        bytes[at(std::mem::offset_of!(Event, stages))] = stage::PICKED as u8;
        bytes[at(std::mem::offset_of!(Event, backend))] = 7;
        bytes[at(std::mem::offset_of!(Event, mac))] = 9;
        bytes[at(std::mem::offset_of!(Event, captured))] = 2;
        bytes[at(std::mem::offset_of!(Event, sent_captured))] = 1;
        bytes[std::mem::offset_of!(Record, before)] = 11;
        bytes[std::mem::offset_of!(Record, after)] = 12;
        let told = decode(&bytes).unwrap();
        assert_eq!(told.reason(), Some(Reason::Opened));
        assert_eq!((told.backend(), told.service()), (Some(7), None));
        assert_eq!(
            (
                told.event.mac,
                told.before.as_slice(),
                told.after.as_slice()
            ),
            (9, &[11, 0][..], &[12][..])
        );
        assert_eq!(decode(&bytes[1..]), None);
    }

    #[test]
    fn numbers_have_words() {
        assert_eq!(state_text(State::OPEN), "opening");
        assert_eq!(
            state_text(State::OPEN | State::ANSWERED | State::CONFIRMED | State::CLIENT_FIN),
            "closing, the client said FIN"
        );
        assert_eq!(
            route_text(7),
            "the neighbour is not resolved (BPF_FIB_LKUP_RET_NO_NEIGH)"
        );
        assert_eq!(route_text(-22i32 as u32), "error -22");
    }
}
