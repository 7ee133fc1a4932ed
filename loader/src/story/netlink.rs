//! A netlink datagram as a tree: messages, each with its header, the fixed part of its family and its attributes, which may
//! be made of attributes again. Layouts and names: include/uapi/linux/netlink.h, rtnetlink.h, if_link.h, if_addr.h,
//! neighbour.h.
//!
//! Total: bytes that are no message, or reach past the end, become a part that says so.

mod table;

use super::call::{number, text};
use super::words::{self, hex};
use super::{NetlinkOf, Part};
use crate::witness::{Datagram, Sender};
use table::{
    Attribute, ERROR, ERROR_FLAGS, Fixed, NLMSG_DONE, NLMSG_ERROR, REQUEST_FLAGS, Sort, form,
};

const HEADER: usize = 16;
const NLA_TYPE_MASK: u16 = 0x3fff;
const NLA_F_NESTED: u16 = 0x8000;
/// How deep attributes are followed into attributes.
const DEEPEST: usize = 8;

/// Takes a datagram apart.
pub(super) fn datagram(datagram: &Datagram) -> NetlinkOf {
    NetlinkOf {
        sender: match datagram.sender {
            Sender::Loader => "loader".into(),
            Sender::Kernel => "kernel".into(),
        },
        purpose: datagram.what.clone(),
        len: datagram.len,
        bytes: hex(&datagram.bytes),
        whole: datagram.len == datagram.bytes.len(),
        messages: messages(&datagram.bytes),
    }
}

fn messages(bytes: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut offset = 0;
    while offset < bytes.len() {
        let rest = &bytes[offset..];
        let len = rest.get(..4).map_or(0, number) as usize;
        if len < HEADER || len > rest.len() {
            parts.push(odd("what follows is no whole message", offset, rest));
            break;
        }
        parts.push(message(offset, &rest[..len]));
        offset += len.next_multiple_of(4);
    }
    parts
}

fn odd(meaning: &str, offset: usize, bytes: &[u8]) -> Part {
    Part {
        name: "bytes".into(),
        offset,
        width: bytes.len(),
        bytes: hex(bytes),
        meaning: meaning.into(),
        ..Part::default()
    }
}

/// One message; `bytes` are its header and payload, at least [`HEADER`] of them.
fn message(offset: usize, bytes: &[u8]) -> Part {
    let at = |from: usize, width: usize| bytes.get(from..from + width).map_or(0, number);
    let kind = at(4, 2) as u16;
    let known = form(kind);
    let name = match (kind, &known) {
        (_, Some(known)) => known.name.to_string(),
        (NLMSG_ERROR, _) => "NLMSG_ERROR".into(),
        (NLMSG_DONE, _) => "NLMSG_DONE".into(),
        (kind, None) => format!("message type {kind}"),
    };
    let flags = match kind {
        NLMSG_ERROR | NLMSG_DONE => words::flags(ERROR_FLAGS, at(6, 2)),
        _ => words::flags(REQUEST_FLAGS, at(6, 2)),
    };
    let field = |(name, from, width, words, meaning): (&str, usize, usize, String, &str)| {
        plain(
            name,
            offset + from,
            &bytes[from..from + width],
            words,
            meaning,
        )
    };
    let header = [
        (
            "nlmsg_len",
            0,
            4,
            String::new(),
            "bytes of the message, header included",
        ),
        (
            "nlmsg_type",
            4,
            2,
            name.clone(),
            "what it asks, or what it answers",
        ),
        ("nlmsg_flags", 6, 2, flags, ""),
        (
            "nlmsg_seq",
            8,
            4,
            String::new(),
            "the answer has the request's number",
        ),
        (
            "nlmsg_pid",
            12,
            4,
            String::new(),
            "the port it is from; 0: the kernel, or not bound yet",
        ),
    ];
    let mut parts = vec![group(
        "nlmsghdr",
        offset,
        HEADER,
        header.map(field).to_vec(),
    )];
    let payload = &bytes[HEADER..];
    match (kind, known) {
        (_, Some(known)) => {
            let size = known.size.min(payload.len());
            let fixed = fixed(known.fixed, offset + HEADER, &payload[..size]);
            parts.push(group(known.structure, offset + HEADER, size, fixed));
            parts.extend(attributes(
                known.attributes,
                offset + HEADER + size,
                &payload[size..],
                0,
            ));
        }
        (NLMSG_ERROR | NLMSG_DONE, None) => {
            parts.extend(error(offset + HEADER, payload, at(6, 2), kind))
        }
        (_, None) if payload.is_empty() => {}
        (_, None) => parts.push(odd("", offset + HEADER, payload)),
    }
    Part {
        name,
        offset,
        width: bytes.len(),
        parts,
        ..Part::default()
    }
}

/// `struct nlmsgerr`: 0 or a negative errno, the request that it is about, and what the kernel says about it.
fn error(offset: usize, payload: &[u8], flags: u64, kind: u16) -> Vec<Part> {
    let Some(code) = payload.get(..4) else {
        return Vec::new();
    };
    let value = number(code) as i32;
    let words = match value.checked_neg() {
        Some(0) | None => "done".into(),
        Some(errno) => words::errno(errno),
    };
    let mut parts = vec![plain(
        "error",
        offset,
        code,
        words,
        "0, or an errno below zero",
    )];
    if let Some(part) = parts.first_mut() {
        part.value = value.to_string();
    }
    if kind == NLMSG_DONE {
        return parts;
    }
    let rest = &payload[4..];
    let whole = flags & 0x100 == 0 && value != 0;
    let len = match whole {
        true => rest.get(..4).map_or(0, number) as usize,
        false => HEADER,
    };
    let request = rest
        .get(..len.next_multiple_of(4).min(rest.len()))
        .unwrap_or_default();
    if !request.is_empty() {
        parts.push(odd("the request that this answers", offset + 4, request));
    }
    let start = request.len();
    parts.extend(attributes(ERROR, offset + 4 + start, &rest[start..], 0));
    parts
}

fn fixed(fields: &[Fixed], offset: usize, bytes: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    for (name, from, width, meaning) in fields {
        let Some(value) = bytes.get(*from..from + width) else {
            break;
        };
        parts.push(plain(name, offset + from, value, String::new(), meaning));
    }
    parts
}

fn attributes(known: &[Attribute], offset: usize, bytes: &[u8], depth: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut at = 0;
    while bytes.len() - at >= 4 {
        let len = number(&bytes[at..at + 2]) as usize;
        let Some(attribute) = bytes.get(at..at + len).filter(|_| len >= 4) else {
            parts.push(odd(
                "what follows is no whole attribute",
                offset + at,
                &bytes[at..],
            ));
            return parts;
        };
        parts.push(self::attribute(known, offset + at, attribute, depth));
        at = (at + len.next_multiple_of(4)).min(bytes.len());
    }
    parts
}

/// One attribute; `bytes` are its header of four bytes and its value.
fn attribute(known: &[Attribute], offset: usize, bytes: &[u8], depth: usize) -> Part {
    let word = number(&bytes[2..4]) as u16;
    let kind = word & NLA_TYPE_MASK;
    let entry = known.iter().find(|entry| entry.0 == kind);
    let (name, meaning) = match entry {
        Some((_, name, _, meaning)) => ((*name).to_string(), *meaning),
        None => (format!("attribute {kind}"), ""),
    };
    let value = &bytes[4..];
    let nested = word & NLA_F_NESTED != 0;
    let header = plain(
        "nla_type",
        offset + 2,
        &bytes[2..4],
        nested_name(&name, nested),
        "",
    );
    let mut parts = vec![
        plain(
            "nla_len",
            offset,
            &bytes[..2],
            String::new(),
            "these four bytes included; the next one begins at a multiple of four",
        ),
        header,
    ];
    let mut told = String::new();
    let mut flags = String::new();
    match entry.map(|entry| entry.2) {
        Some(Sort::Nested(inner)) if depth < DEEPEST && (nested || !inner.is_empty()) => {
            parts.extend(attributes(inner, offset + 4, value, depth + 1));
        }
        None if nested && depth < DEEPEST => {
            parts.extend(attributes(&[], offset + 4, value, depth + 1));
        }
        sort => {
            (told, flags) = shown(sort, value);
            if !value.is_empty() {
                let mut part = plain("value", offset + 4, value, flags.clone(), "");
                part.value = told.clone();
                parts.push(part);
            }
        }
    }
    Part {
        name,
        offset,
        width: bytes.len(),
        value: told,
        words: flags,
        meaning: meaning.into(),
        parts,
        ..Part::default()
    }
}

fn nested_name(name: &str, nested: bool) -> String {
    match nested {
        true => format!("{name} | NLA_F_NESTED"),
        false => name.to_string(),
    }
}

/// A value, and its flags in words.
fn shown(sort: Option<Sort>, value: &[u8]) -> (String, String) {
    let plain = |text: String| (text, String::new());
    match sort {
        Some(Sort::Number) if value.len() <= 8 => plain(number(value).to_string()),
        Some(Sort::Signed) if value.len() == 4 => plain((number(value) as i32).to_string()),
        Some(Sort::Text) => plain(format!("{:?}", text(value))),
        Some(Sort::Mac) => {
            let bytes: Vec<String> = value.iter().map(|byte| format!("{byte:02x}")).collect();
            plain(bytes.join(":"))
        }
        Some(Sort::Ip) => {
            if let Ok(v4) = <[u8; 4]>::try_from(value) {
                return plain(std::net::Ipv4Addr::from(v4).to_string());
            }
            match <[u8; 16]>::try_from(value) {
                Ok(v6) => plain(std::net::Ipv6Addr::from(v6).to_string()),
                Err(_) => plain(hex(value)),
            }
        }
        Some(Sort::Flags(names)) if value.len() <= 8 => {
            let value = number(value);
            (format!("{value:#x}"), words::flags(names, value))
        }
        Some(Sort::Number | Sort::Signed | Sort::Flags(_) | Sort::Nested(_)) | None => {
            plain(hex(value))
        }
    }
}

fn plain(name: &str, offset: usize, bytes: &[u8], words: String, meaning: &str) -> Part {
    Part {
        name: name.into(),
        offset,
        width: bytes.len(),
        bytes: hex(bytes),
        value: number(bytes).to_string(),
        words,
        meaning: meaning.into(),
        ..Part::default()
    }
}

fn group(name: &str, offset: usize, width: usize, parts: Vec<Part>) -> Part {
    Part {
        name: name.into(),
        offset,
        width,
        parts,
        ..Part::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    /// RTM_SETLINK for interface 7: IFLA_XDP { FD 5, FLAGS generic | only if none }.
    fn set_link() -> Vec<u8> {
        let mut bytes = vec![0u8; 16];
        bytes[4..6].copy_from_slice(&19u16.to_ne_bytes());
        bytes[6..8].copy_from_slice(&5u16.to_ne_bytes());
        bytes.extend_from_slice(&[0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for (len, kind, value) in [
            (20u16, 43 | 0x8000u16, None),
            (8, 1, Some(5)),
            (8, 3, Some(3u32)),
        ] {
            bytes.extend_from_slice(&len.to_ne_bytes());
            bytes.extend_from_slice(&kind.to_ne_bytes());
            bytes.extend(value.into_iter().flat_map(u32::to_ne_bytes));
        }
        let len = bytes.len() as u32;
        bytes[..4].copy_from_slice(&len.to_ne_bytes());
        bytes
    }

    /// Name and value of each leaf and branch, indented.
    fn outline(parts: &[Part], depth: usize, into: &mut Vec<String>) {
        for part in parts {
            let value = if part.parts.is_empty() || !part.value.is_empty() {
                format!(" {}", part.value)
            } else {
                String::new()
            };
            into.push(format!("{:1$}{2}{value}", "", depth, part.name));
            outline(&part.parts, depth + 1, into);
        }
    }

    #[test]
    fn a_request_is_a_tree() {
        let mut lines = Vec::new();
        outline(&messages(&set_link()), 0, &mut lines);
        for line in [
            "RTM_SETLINK",
            "  nlmsg_len 52",
            "  ifi_index 7",
            " IFLA_XDP",
            "  IFLA_XDP_FD 5",
            "  IFLA_XDP_FLAGS 0x3",
        ] {
            assert!(lines.iter().any(|l| l == line), "no `{line}` in {lines:#?}");
        }
        let tree = messages(&set_link());
        let xdp = tree[0]
            .parts
            .iter()
            .find(|part| part.name == "IFLA_XDP")
            .unwrap();
        assert_eq!((xdp.offset, xdp.width), (32, 20));
        let flags = xdp.parts.last().unwrap();
        assert_eq!(
            flags.words,
            "XDP_FLAGS_UPDATE_IF_NOEXIST | XDP_FLAGS_SKB_MODE"
        );
    }

    #[test]
    fn an_error_has_its_errno_and_the_kernels_sentence() {
        let mut bytes = vec![0u8; 16];
        bytes[4..6].copy_from_slice(&2u16.to_ne_bytes());
        bytes[6..8].copy_from_slice(&0x300u16.to_ne_bytes());
        bytes.extend_from_slice(&(-16i32).to_ne_bytes());
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(&[9, 0, 1, 0]);
        bytes.extend_from_slice(b"busy\0\0\0\0");
        let len = bytes.len() as u32;
        bytes[..4].copy_from_slice(&len.to_ne_bytes());
        let tree = messages(&bytes);
        let part = |name: &str| tree[0].parts.iter().find(|part| part.name == name).unwrap();
        assert_eq!(part("error").words, "EBUSY: Device or resource busy");
        assert_eq!(part("NLMSGERR_ATTR_MSG").value, "\"busy\"");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_tree_within_them(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            fn within(parts: &[Part], end: usize) -> bool {
                parts.iter().all(|part| part.offset + part.width <= end && within(&part.parts, end))
            }
            prop_assert!(within(&messages(&bytes), bytes.len()));
            let mut framed = set_link();
            framed.truncate(32);
            framed.extend_from_slice(&bytes);
            let len = framed.len() as u32;
            framed[..4].copy_from_slice(&len.to_ne_bytes());
            prop_assert!(within(&messages(&framed), framed.len()));
        }
    }
}
