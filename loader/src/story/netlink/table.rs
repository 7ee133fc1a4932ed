//! The names of rtnetlink: types of messages, their fixed parts, their attributes (include/uapi/linux/rtnetlink.h, if_link.h,
//! if_addr.h, neighbour.h).

use crate::story::words::{self, Flags};

/// How an attribute's value is shown.
#[derive(Clone, Copy)]
pub(super) enum Sort {
    Number,
    Signed,
    Text,
    Mac,
    Ip,
    Flags(Flags),
    Nested(&'static [Attribute]),
}

/// A type of attribute: number, name, sort, purpose.
pub(super) type Attribute = (u16, &'static str, Sort, &'static str);

#[rustfmt::skip]
const XDP: &[Attribute] = &[
    (1, "IFLA_XDP_FD", Sort::Signed, "the program, by our descriptor; -1: none, take it off"),
    (2, "IFLA_XDP_ATTACHED", Sort::Number, "1: in the driver, 2: generic, 3: in the card, 4: in several"),
    (3, "IFLA_XDP_FLAGS", Sort::Flags(words::XDP_FLAGS), "the mode, and what is expected to be there"),
    (4, "IFLA_XDP_PROG_ID", Sort::Number, "the kernel's number of the program that is there"),
    (5, "IFLA_XDP_DRV_PROG_ID", Sort::Number, "the one in the driver"),
    (6, "IFLA_XDP_SKB_PROG_ID", Sort::Number, "the generic one"),
    (7, "IFLA_XDP_HW_PROG_ID", Sort::Number, "the one in the card"),
    (8, "IFLA_XDP_EXPECTED_FD", Sort::Signed, "the program that must be there, or the kernel changes nothing"),
];

#[rustfmt::skip]
const LINKINFO: &[Attribute] = &[
    (1, "IFLA_INFO_KIND", Sort::Text, "what kind of device"),
    (2, "IFLA_INFO_DATA", Sort::Nested(&[]), "what that kind has"),
    (4, "IFLA_INFO_SLAVE_KIND", Sort::Text, "what it belongs to"),
    (5, "IFLA_INFO_SLAVE_DATA", Sort::Nested(&[]), "what that has"),
];

#[rustfmt::skip]
const LINK: &[Attribute] = &[
    (1, "IFLA_ADDRESS", Sort::Mac, "its address"),
    (2, "IFLA_BROADCAST", Sort::Mac, "its broadcast address"),
    (3, "IFLA_IFNAME", Sort::Text, "its name"),
    (4, "IFLA_MTU", Sort::Number, "its largest packet"),
    (5, "IFLA_LINK", Sort::Number, "the interface below it, or a veth's peer"),
    (6, "IFLA_QDISC", Sort::Text, "its queueing discipline"),
    (7, "IFLA_STATS", Sort::Nested(&[]), "counters"),
    (13, "IFLA_TXQLEN", Sort::Number, "length of its queue"),
    (16, "IFLA_OPERSTATE", Sort::Number, "state (RFC 2863)"),
    (17, "IFLA_LINKMODE", Sort::Number, "mode"),
    (18, "IFLA_LINKINFO", Sort::Nested(LINKINFO), "what kind of device it is"),
    (23, "IFLA_STATS64", Sort::Nested(&[]), "counters"),
    (27, "IFLA_GROUP", Sort::Number, "its group"),
    (29, "IFLA_EXT_MASK", Sort::Number, "what else is wanted in the answer"),
    (30, "IFLA_PROMISCUITY", Sort::Number, "how many want every frame"),
    (31, "IFLA_NUM_TX_QUEUES", Sort::Number, "queues for sending"),
    (32, "IFLA_NUM_RX_QUEUES", Sort::Number, "queues for receiving"),
    (33, "IFLA_CARRIER", Sort::Number, "whether there is a cable, so to speak"),
    (37, "IFLA_LINK_NETNSID", Sort::Signed, "the namespace of IFLA_LINK, by this one's number for it"),
    (40, "IFLA_GSO_MAX_SEGS", Sort::Number, "segments of a large packet"),
    (41, "IFLA_GSO_MAX_SIZE", Sort::Number, "bytes of a large packet"),
    (43, "IFLA_XDP", Sort::Nested(XDP), "XDP programs of the interface"),
    (46, "IFLA_TARGET_NETNSID", Sort::Signed, "the namespace to look in"),
    (50, "IFLA_MIN_MTU", Sort::Number, "least MTU"),
    (51, "IFLA_MAX_MTU", Sort::Number, "greatest MTU"),
];

#[rustfmt::skip]
const ADDRESS: &[Attribute] = &[
    (1, "IFA_ADDRESS", Sort::Ip, "the address, or the peer's"),
    (2, "IFA_LOCAL", Sort::Ip, "the interface's own"),
    (3, "IFA_LABEL", Sort::Text, "a name"),
    (4, "IFA_BROADCAST", Sort::Ip, "the broadcast address"),
    (8, "IFA_FLAGS", Sort::Number, "IFA_F_*"),
];

#[rustfmt::skip]
const NEIGHBOUR: &[Attribute] = &[
    (1, "NDA_DST", Sort::Ip, "whose"),
    (2, "NDA_LLADDR", Sort::Mac, "its Ethernet address"),
    (4, "NDA_PROBES", Sort::Number, "how often it was asked for"),
];

#[rustfmt::skip]
const ROUTE: &[Attribute] = &[
    (1, "RTA_DST", Sort::Ip, "where to"),
    (4, "RTA_OIF", Sort::Number, "through which interface"),
    (5, "RTA_GATEWAY", Sort::Ip, "through which router"),
    (7, "RTA_PREFSRC", Sort::Ip, "from which address"),
    (15, "RTA_TABLE", Sort::Number, "which table"),
];

#[rustfmt::skip]
pub(super) const ERROR: &[Attribute] = &[
    (1, "NLMSGERR_ATTR_MSG", Sort::Text, "the kernel's own sentence (extended acknowledgement)"),
    (2, "NLMSGERR_ATTR_OFFS", Sort::Number, "where in the request it found the mistake"),
];

/// A field of a fixed part: name, offset, width, purpose.
pub(super) type Fixed = (&'static str, usize, usize, &'static str);

const IFINFOMSG: &[Fixed] = &[
    ("ifi_family", 0, 1, "AF_UNSPEC"),
    ("ifi_pad", 1, 1, ""),
    ("ifi_type", 2, 2, "ARPHRD_*: 1 is Ethernet"),
    ("ifi_index", 4, 4, "which interface"),
    ("ifi_flags", 8, 4, "IFF_*"),
    ("ifi_change", 12, 4, "which of the flags are to change"),
];

const IFADDRMSG: &[Fixed] = &[
    ("ifa_family", 0, 1, "AF_INET is 2, AF_INET6 is 10"),
    ("ifa_prefixlen", 1, 1, "bits of the network"),
    ("ifa_flags", 2, 1, "IFA_F_*"),
    ("ifa_scope", 3, 1, "RT_SCOPE_*"),
    ("ifa_index", 4, 4, "of which interface"),
];

const NDMSG: &[Fixed] = &[
    ("ndm_family", 0, 1, "AF_INET is 2, AF_INET6 is 10"),
    ("ndm_pad1", 1, 1, ""),
    ("ndm_pad2", 2, 2, ""),
    ("ndm_ifindex", 4, 4, "at which interface"),
    ("ndm_state", 8, 2, "NUD_*"),
    ("ndm_flags", 10, 1, "NTF_*"),
    ("ndm_type", 11, 1, "RTN_*"),
];

const RTMSG: &[Fixed] = &[
    ("rtm_family", 0, 1, "AF_INET is 2, AF_INET6 is 10"),
    ("rtm_dst_len", 1, 1, "bits of the destination"),
    ("rtm_src_len", 2, 1, "bits of the source"),
    ("rtm_tos", 3, 1, ""),
    ("rtm_table", 4, 1, "RT_TABLE_*"),
    ("rtm_protocol", 5, 1, "RTPROT_*"),
    ("rtm_scope", 6, 1, "RT_SCOPE_*"),
    ("rtm_type", 7, 1, "RTN_*"),
    ("rtm_flags", 8, 4, "RTM_F_*"),
];

/// What a type of message consists of.
pub(super) struct Form {
    pub(super) name: &'static str,
    pub(super) structure: &'static str,
    pub(super) fixed: &'static [Fixed],
    pub(super) size: usize,
    pub(super) attributes: &'static [Attribute],
}

pub(super) fn form(kind: u16) -> Option<Form> {
    let form = |name, structure, fixed, size, attributes| {
        Some(Form {
            name,
            structure,
            fixed,
            size,
            attributes,
        })
    };
    match kind {
        16 => form("RTM_NEWLINK", "ifinfomsg", IFINFOMSG, 16, LINK),
        18 => form("RTM_GETLINK", "ifinfomsg", IFINFOMSG, 16, LINK),
        19 => form("RTM_SETLINK", "ifinfomsg", IFINFOMSG, 16, LINK),
        20 => form("RTM_NEWADDR", "ifaddrmsg", IFADDRMSG, 8, ADDRESS),
        22 => form("RTM_GETADDR", "ifaddrmsg", IFADDRMSG, 8, ADDRESS),
        24 => form("RTM_NEWROUTE", "rtmsg", RTMSG, 12, ROUTE),
        26 => form("RTM_GETROUTE", "rtmsg", RTMSG, 12, ROUTE),
        28 => form("RTM_NEWNEIGH", "ndmsg", NDMSG, 12, NEIGHBOUR),
        30 => form("RTM_GETNEIGH", "ndmsg", NDMSG, 12, NEIGHBOUR),
        _ => None,
    }
}

pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLMSG_DONE: u16 = 3;

pub(super) const REQUEST_FLAGS: Flags = &[
    (0x1, "NLM_F_REQUEST"),
    (0x2, "NLM_F_MULTI"),
    (0x4, "NLM_F_ACK"),
    (0x8, "NLM_F_ECHO"),
    (0x10, "NLM_F_DUMP_INTR"),
    (0x300, "NLM_F_DUMP"),
    (0x100, "NLM_F_ROOT"),
    (0x200, "NLM_F_MATCH"),
];

pub(super) const ERROR_FLAGS: Flags = &[(0x100, "NLM_F_CAPPED"), (0x200, "NLM_F_ACK_TLVS")];
