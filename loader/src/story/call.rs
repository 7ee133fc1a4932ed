//! A bpf(2) command that was given, taken apart: its fields by the table of `fields`, and what they point to.

use std::collections::HashMap;

use xdplb_linker::insn;

use super::fields::{self, Field, Sort, Target};
use super::info::{self, KindOfFd};
use super::words::{self, hex};
use super::{CallOf, Part, PointedOf, ResultOf, code};
use crate::witness::{Call, Direction, Pointed};

/// How many records or instructions behind a pointer are taken apart; the rest are bytes.
const MOST_PARTS: usize = 256;

/// What our descriptors are, as the answers to commands said.
#[derive(Clone, Debug, Default)]
pub(super) struct Descriptors(HashMap<i32, (KindOfFd, String)>);

impl Descriptors {
    /// Notes what a command opened.
    pub(super) fn learn(&mut self, call: &Call) {
        let Ok(fd) = call.result else { return };
        let name = |offset| text(call.attr.get(offset..offset + 16).unwrap_or_default());
        let known = match call.command {
            0 => (KindOfFd::Map, format!("map `{}`", name(28))),
            5 => (KindOfFd::Program, format!("program `{}`", name(48))),
            13 => (KindOfFd::Program, "a program of the machine".into()),
            14 => (KindOfFd::Map, "a map of the machine".into()),
            18 => (KindOfFd::Btf, "the object's types".into()),
            19 => (KindOfFd::Btf, "types of the kernel".into()),
            28 | 30 => (KindOfFd::Link, "a link".into()),
            36 => (KindOfFd::Other, "a token".into()),
            _ => return,
        };
        self.0.insert(fd, known);
    }

    pub(super) fn name(&self, fd: i32) -> Option<&str> {
        self.0.get(&fd).map(|(_, name)| name.as_str())
    }

    /// Says in a netlink message which programs its descriptors are.
    pub(super) fn name_in(&self, parts: &mut [Part]) {
        for part in parts {
            let is_fd = ["IFLA_XDP_FD", "IFLA_XDP_EXPECTED_FD"].contains(&part.name.as_str());
            if is_fd && let Some(name) = part.value.parse().ok().and_then(|fd| self.name(fd)) {
                part.words = name.into();
                if let Some(value) = part.parts.last_mut() {
                    value.words = name.into();
                }
            }
            self.name_in(&mut part.parts);
        }
    }

    fn kind(&self, fd: i32) -> KindOfFd {
        self.0.get(&fd).map_or(KindOfFd::Other, |(kind, _)| *kind)
    }
}

/// Whether answers of the kernel are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    /// The command was given.
    Real,
    /// It was not: descriptors are not known yet, and there is no answer.
    Rehearsed,
}

/// Takes a command apart.
pub(super) fn call(call: &Call, descriptors: &Descriptors, answers: Answers) -> CallOf {
    let known = fields::command(call.command);
    let bytes = Bytes {
        before: &call.attr,
        after: &call.attr_after,
    };
    let mut parts = parts(
        known.map_or(&[], |known| known.fields),
        bytes,
        descriptors,
        answers,
    );
    for part in &mut parts {
        part.set = call
            .written
            .iter()
            .any(|written| written.offset == part.offset);
        let pointed = call
            .pointed
            .iter()
            .find(|pointed| pointed.offset == part.offset);
        if let (Some(pointed), Some(known)) = (pointed, known)
            && let Some(Field {
                sort: Sort::Pointer(target),
                ..
            }) = known
                .fields
                .iter()
                .find(|field| field.offset == part.offset)
        {
            let context = Context {
                call,
                descriptors,
                answers,
            };
            part.points_to = Some(Box::new(context.pointed(pointed, *target)));
        }
    }
    CallOf {
        command: call.command,
        name: known.map_or_else(
            || format!("command {}", call.command),
            |known| known.name.into(),
        ),
        meaning: known.map_or("", |known| known.meaning).into(),
        purpose: call.purpose.map(Into::into),
        bytes: hex(&call.attr),
        fields: parts,
        result: (answers == Answers::Real)
            .then(|| result(call, known.is_some_and(|known| known.opens))),
        elapsed_us: call.elapsed.as_micros() as u64,
    }
}

fn result(call: &Call, opens: bool) -> ResultOf {
    match call.result {
        Ok(value) => ResultOf {
            ok: true,
            value: value.into(),
            words: match opens {
                true => format!("descriptor {value}"),
                false => "done".into(),
            },
        },
        Err(errno) => ResultOf {
            ok: false,
            value: errno.into(),
            words: words::errno(errno),
        },
    }
}

/// A block before and after the call.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a> {
    pub(super) before: &'a [u8],
    pub(super) after: &'a [u8],
}

/// The fields of a block, as far as it reaches.
pub(super) fn parts(
    fields: &[Field],
    bytes: Bytes<'_>,
    descriptors: &Descriptors,
    answers: Answers,
) -> Vec<Part> {
    let mut parts = Vec::new();
    for field in fields {
        let Some(before) = bytes.before.get(field.offset..field.offset + field.width) else {
            break;
        };
        let after = bytes.after.get(field.offset..field.offset + field.width);
        let (value, words) = read(field, before, descriptors);
        parts.push(Part {
            name: field.name.into(),
            offset: field.offset,
            width: field.width,
            bytes: hex(before),
            value,
            words,
            meaning: field.meaning.into(),
            after: after
                .filter(|after| *after != before)
                .map(|after| read(field, after, descriptors).0),
            unknown_yet: answers == Answers::Rehearsed
                && matches!(field.sort, Sort::Fd)
                && number(before) != 0,
            ..Part::default()
        });
    }
    parts
}

/// A field's value, and the value in words.
fn read(field: &Field, bytes: &[u8], descriptors: &Descriptors) -> (String, String) {
    let value = number(bytes);
    match field.sort {
        Sort::Number => (value.to_string(), String::new()),
        Sort::Fd => (
            (value as i32).to_string(),
            descriptors
                .name(value as i32)
                .filter(|_| value != 0)
                .unwrap_or_default()
                .into(),
        ),
        Sort::Name => (format!("{:?}", text(bytes)), String::new()),
        Sort::Named(name) => (value.to_string(), name(value as u32)),
        Sort::Flags(names) => (format!("{value:#x}"), words::flags(names, value)),
        Sort::Bytes => (hex(bytes), String::new()),
        Sort::Pointer(_) if value == 0 => ("NULL".into(), String::new()),
        Sort::Pointer(_) => (format!("{value:#x}"), String::new()),
    }
}

/// A number of up to eight bytes, in the machine's order.
pub(super) fn number(bytes: &[u8]) -> u64 {
    let mut value = [0u8; 8];
    let len = bytes.len().min(8);
    value[..len].copy_from_slice(&bytes[..len]);
    if cfg!(target_endian = "big") {
        value[..len].reverse();
    }
    u64::from_le_bytes(value)
}

/// Text up to its zero byte.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// What is known while a command's pointers are followed.
struct Context<'a> {
    call: &'a Call,
    descriptors: &'a Descriptors,
    answers: Answers,
}

impl Context<'_> {
    fn pointed(&self, pointed: &Pointed, target: Target) -> PointedOf {
        let bytes = pointed.bytes.as_slice();
        let mut told = PointedOf {
            what: target.name().into(),
            direction: match pointed.direction {
                Direction::In => "in".into(),
                Direction::Out => "out".into(),
            },
            len: pointed.len,
            bytes: hex(bytes),
            whole: bytes.len() == pointed.len || target == Target::Log,
            ..PointedOf::default()
        };
        match target {
            Target::License | Target::Path => told.text = Some(text(bytes)),
            Target::Log => {
                told.text = Some(String::from_utf8_lossy(bytes).into_owned());
                told.bytes.clear();
            }
            Target::Instructions => self.instructions(&mut told, bytes),
            Target::Btf => {
                told.parts = self.block(info::BTF_HEADER, bytes);
                told.more = Some("the types and their names follow the header".into());
            }
            Target::FuncInfo => self.records(&mut told, bytes, 76, info::FUNC_INFO),
            Target::LineInfo => {
                self.records(&mut told, bytes, 92, info::LINE_INFO);
                for record in &mut told.parts {
                    info::line_and_column(record);
                }
            }
            Target::FdArray => {
                told.parts = list(bytes.chunks_exact(4), |at, fd| Part {
                    name: format!("fd_array[{at}]"),
                    offset: at * 4,
                    width: 4,
                    bytes: hex(fd),
                    value: (number(fd) as i32).to_string(),
                    words: self
                        .descriptors
                        .name(number(fd) as i32)
                        .unwrap_or_default()
                        .into(),
                    ..Part::default()
                });
            }
            Target::Info => {
                let fd = number(self.call.attr.get(..4).unwrap_or_default()) as i32;
                let kind = self.descriptors.kind(fd);
                told.what = kind.structure().into();
                told.parts = self.block(kind.fields(), bytes);
            }
            Target::Key | Target::Value | Target::Packet | Target::Context => {}
        }
        told
    }

    fn block(&self, fields: &[Field], bytes: &[u8]) -> Vec<Part> {
        let bytes = Bytes {
            before: bytes,
            after: bytes,
        };
        parts(fields, bytes, self.descriptors, self.answers)
    }

    fn instructions(&self, told: &mut PointedOf, bytes: &[u8]) {
        let insns = code::decode(bytes);
        let all = insn::steps(&insns).count();
        for step in insn::steps(&insns).take(MOST_PARTS) {
            let referent = (step.insn.is_ld_imm64() && step.insn.src == insn::BPF_PSEUDO_MAP_FD)
                .then(|| self.descriptors.name(step.insn.imm))
                .flatten();
            let code = code::code(step);
            told.parts.push(Part {
                name: format!("insn {}", step.at.0),
                offset: step.at.byte_offset() as usize,
                width: code.bytes.len() / 2,
                bytes: code.bytes,
                value: code.text,
                words: referent.unwrap_or_default().into(),
                ..Part::default()
            });
        }
        if all > MOST_PARTS {
            told.more = Some(format!("{} more instructions", all - MOST_PARTS));
        }
    }

    /// A table of records, whose size stands in the block at `size_at`.
    fn records(&self, told: &mut PointedOf, bytes: &[u8], size_at: usize, fields: &[Field]) {
        let size = number(self.call.attr.get(size_at..size_at + 4).unwrap_or_default()) as usize;
        let Some(size) = (size > 0).then_some(size) else {
            return;
        };
        told.parts = list(bytes.chunks_exact(size), |at, record| {
            let mut parts = self.block(fields, record);
            for part in &mut parts {
                part.offset += at * size;
            }
            Part {
                name: format!("record {at}"),
                offset: at * size,
                width: size,
                parts,
                ..Part::default()
            }
        });
        let all = bytes.len() / size;
        if all > MOST_PARTS {
            told.more = Some(format!("{} more records", all - MOST_PARTS));
        }
    }
}

fn list<'a>(
    items: impl Iterator<Item = &'a [u8]>,
    part: impl Fn(usize, &[u8]) -> Part,
) -> Vec<Part> {
    let items = items.take(MOST_PARTS).enumerate();
    items.map(|(at, item)| part(at, item)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::witness::Written;
    use std::time::Duration;

    fn create() -> Call {
        let mut attr = vec![0u8; 44];
        attr[0..4].copy_from_slice(&2u32.to_ne_bytes());
        attr[16..20].copy_from_slice(&0x480u32.to_ne_bytes());
        attr[28..33].copy_from_slice(b"flows");
        Call {
            command: 0,
            attr_after: attr.clone(),
            attr,
            written: vec![Written {
                name: "map_type",
                offset: 0,
                width: 4,
            }],
            pointed: Vec::new(),
            result: Ok(5),
            elapsed: Duration::from_micros(12),
            purpose: None,
        }
    }

    #[test]
    fn a_map_is_told_field_by_field() {
        let told = call(&create(), &Descriptors::default(), Answers::Real);
        assert_eq!(
            (told.name.as_str(), told.fields.len()),
            ("BPF_MAP_CREATE", 8)
        );
        let field = |name: &str| told.fields.iter().find(|part| part.name == name).unwrap();
        assert_eq!(field("map_type").words, "BPF_MAP_TYPE_ARRAY");
        assert!(field("map_type").set && !field("key_size").set);
        assert_eq!(
            field("map_flags").words,
            "BPF_F_RDONLY_PROG | BPF_F_MMAPABLE"
        );
        assert_eq!(field("map_name").value, "\"flows\"");
        assert_eq!(told.result.unwrap().words, "descriptor 5");
    }

    #[test]
    fn descriptors_get_names_and_are_unknown_in_a_rehearsal() {
        let mut descriptors = Descriptors::default();
        descriptors.learn(&create());
        let freeze = Call {
            command: 22,
            attr: 5u32.to_ne_bytes().to_vec(),
            attr_after: 5u32.to_ne_bytes().to_vec(),
            result: Err(1),
            ..create()
        };
        let told = call(&freeze, &descriptors, Answers::Real);
        assert_eq!(told.fields[0].words, "map `flows`");
        assert_eq!(told.result.unwrap().words, "EPERM: Operation not permitted");
        let told = call(&freeze, &descriptors, Answers::Rehearsed);
        assert!(told.fields[0].unknown_yet && told.result.is_none());
    }

    #[test]
    fn pointers_are_followed() {
        let mut load = create();
        load.command = 5;
        load.attr = vec![0; 152];
        load.attr[76..80].copy_from_slice(&8u32.to_ne_bytes());
        load.attr[92..96].copy_from_slice(&16u32.to_ne_bytes());
        load.attr_after = load.attr.clone();
        let pointed = |offset, bytes: &[u8]| Pointed {
            offset,
            direction: Direction::In,
            len: bytes.len(),
            bytes: bytes.to_vec(),
        };
        let line: Vec<u8> = [0u32, 1, 9, 41 << 10 | 7]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        load.pointed = vec![
            pointed(8, &[0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]),
            pointed(16, b"GPL\0"),
            pointed(80, &[0, 0, 0, 0, 3, 0, 0, 0]),
            pointed(96, &line),
        ];
        let told = call(&load, &Descriptors::default(), Answers::Real);
        let to = |name: &str| {
            let field = told.fields.iter().find(|part| part.name == name);
            field.unwrap().points_to.clone().unwrap()
        };
        let insns: Vec<String> = to("insns")
            .parts
            .iter()
            .map(|part| part.value.clone())
            .collect();
        assert_eq!(insns, ["r0 = 2", "exit"]);
        assert_eq!(to("license").text.as_deref(), Some("GPL"));
        assert_eq!(to("func_info").parts[0].parts[1].value, "3");
        assert_eq!(to("line_info").parts[0].parts[3].words, "line 41, column 7");
    }
}
