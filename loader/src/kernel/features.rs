//! What the running kernel can do, found out by trying it (facts.md §4: "it refuses what it doesn't know: probe, don't
//! guess"). Each question is asked once a process, and only when something depends on it.

use std::sync::OnceLock;

use super::btf::Btf;
use super::program::{self, ProgramDefinition};
use super::{Map, MapDefinition, MapShape, Release, permission, rehearsal};
use crate::uapi::{AttachType, MapType, ProgramType, map_flags};
use crate::witness;

/// Something that not every kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// BTF at all (Linux 4.18).
    Btf,
    /// BTF_KIND_FUNC (5.0).
    BtfFunc,
    /// Functions with linkage in BTF (5.6).
    BtfFuncGlobal,
    /// BTF_KIND_VAR and DATASEC (5.2).
    BtfDatasec,
    /// BTF_KIND_FLOAT (5.13).
    BtfFloat,
    /// BTF_KIND_DECL_TAG (5.16).
    BtfDeclTag,
    /// BTF_KIND_TYPE_TAG (5.17).
    BtfTypeTag,
    /// BTF_KIND_ENUM64 (6.0).
    BtfEnum64,
    /// Tags that are attributes (6.15).
    BtfAttributes,
    /// Section names in BTF with any printable character (6.11).
    BtfSectionNames,
    /// Arrays that user space can map into memory (5.5).
    MmapableArray,
    /// XDP programs that take packets in several buffers (5.18).
    XdpFrags,
    /// `bpf_xdp_load_bytes` (5.18), which reads a packet at an offset that the verifier does not know.
    XdpLoadBytes,
}

impl Feature {
    /// All of them, in declaration order.
    pub const ALL: [Feature; 13] = [
        Feature::Btf,
        Feature::BtfFunc,
        Feature::BtfFuncGlobal,
        Feature::BtfDatasec,
        Feature::BtfFloat,
        Feature::BtfDeclTag,
        Feature::BtfTypeTag,
        Feature::BtfEnum64,
        Feature::BtfAttributes,
        Feature::BtfSectionNames,
        Feature::MmapableArray,
        Feature::XdpFrags,
        Feature::XdpLoadBytes,
    ];

    /// The release that brought it: the history of include/uapi/linux/btf.h and bpf.h, and what the kernels of docs/kernels.md
    /// answer to the probes.
    pub fn since(self) -> Release {
        match self {
            Feature::Btf => Release::new(4, 18),
            Feature::BtfFunc => Release::new(5, 0),
            Feature::BtfDatasec => Release::new(5, 2),
            Feature::MmapableArray => Release::new(5, 5),
            Feature::BtfFuncGlobal => Release::new(5, 6),
            Feature::BtfFloat => Release::new(5, 13),
            Feature::BtfDeclTag => Release::new(5, 16),
            Feature::BtfTypeTag => Release::new(5, 17),
            Feature::XdpFrags | Feature::XdpLoadBytes => Release::new(5, 18),
            Feature::BtfEnum64 => Release::new(6, 0),
            Feature::BtfSectionNames => Release::new(6, 11),
            Feature::BtfAttributes => Release::new(6, 15),
        }
    }

    /// What is asked, in a few words.
    pub fn question(self) -> &'static str {
        match self {
            Feature::Btf => "types (BTF)",
            Feature::BtfFunc => "functions in BTF (BTF_KIND_FUNC)",
            Feature::BtfFuncGlobal => "linkage of functions in BTF",
            Feature::BtfDatasec => "variables and sections in BTF (BTF_KIND_VAR, DATASEC)",
            Feature::BtfFloat => "floating-point types in BTF (BTF_KIND_FLOAT)",
            Feature::BtfDeclTag => "tags of declarations in BTF (BTF_KIND_DECL_TAG)",
            Feature::BtfTypeTag => "tags of types in BTF (BTF_KIND_TYPE_TAG)",
            Feature::BtfEnum64 => "64-bit enumerations in BTF (BTF_KIND_ENUM64)",
            Feature::BtfAttributes => "tags that are attributes in BTF",
            Feature::BtfSectionNames => "any printable character in BTF's names of sections",
            Feature::MmapableArray => "arrays that can be mapped into memory (BPF_F_MMAPABLE)",
            Feature::XdpFrags => "XDP programs for packets in several buffers (xdp.frags)",
            Feature::XdpLoadBytes => "the helper bpf_xdp_load_bytes",
        }
    }
}

/// Whether this kernel has the feature. Without the privilege to try, the answer is no.
pub fn supports(feature: Feature) -> bool {
    static ANSWERS: [OnceLock<bool>; Feature::ALL.len()] =
        [const { OnceLock::new() }; Feature::ALL.len()];
    if let Some(release) = rehearsal::release() {
        return witness::asking(feature.question(), || release >= feature.since());
    }
    *ANSWERS[feature as usize]
        .get_or_init(|| witness::asking(feature.question(), || probe(feature)))
}

fn probe(feature: Feature) -> bool {
    // Names used below: offset 1 is "x", offset 3 is "y".
    const INT: [u32; 4] = [1, 1 << 24, 4, 1 << 24 | 32];
    const PROTO: [u32; 5] = [0, 13 << 24 | 1, 0, 1, 1];
    match feature {
        Feature::Btf => btf(&[&INT]),
        Feature::BtfFunc => btf(&[&INT, &PROTO, &[3, 12 << 24, 2]]),
        Feature::BtfFuncGlobal => btf(&[&INT, &PROTO, &[3, 12 << 24 | 1, 2]]),
        Feature::BtfDatasec => btf(&[&INT, &[3, 14 << 24, 1, 1], &[1, 15 << 24 | 1, 4, 2, 0, 4]]),
        Feature::BtfFloat => btf(&[&[1, 16 << 24, 4]]),
        Feature::BtfDeclTag => btf(&[&INT, &[3, 14 << 24, 1, 1], &[1, 17 << 24, 2, u32::MAX]]),
        Feature::BtfTypeTag => btf(&[&INT, &[1, 18 << 24, 1], &[0, 2 << 24, 2]]),
        Feature::BtfAttributes => btf(&[&INT, &[1, 1 << 31 | 18 << 24, 1]]),
        // Offset 5 is "?z".
        Feature::BtfSectionNames => {
            btf(&[&INT, &[3, 14 << 24, 1, 1], &[5, 15 << 24 | 1, 4, 2, 0, 4]])
        }
        Feature::BtfEnum64 => btf(&[&[0, 19 << 24 | 1, 8, 1, 0, 0]]),
        Feature::MmapableArray => Map::create(&MapDefinition {
            name: "probe",
            shape: MapShape {
                map_type: MapType::ARRAY,
                key_size: 4,
                value_size: 4,
                max_entries: 1,
                map_flags: map_flags::MMAPABLE,
                map_extra: 0,
            },
            ..MapDefinition::default()
        })
        .is_ok(),
        // r0 = 2 (XDP_PASS); exit
        Feature::XdpFrags => xdp(
            &[[0xb7, 0, 0, 0, 2, 0, 0, 0], EXIT],
            crate::uapi::prog_flags::XDP_HAS_FRAGS,
        ),
        // bpf_xdp_load_bytes(context, 0, r10 - 8, 8)
        Feature::XdpLoadBytes => xdp(
            &[
                [0xb7, 2, 0, 0, 0, 0, 0, 0],
                [0xbf, 0xa3, 0, 0, 0, 0, 0, 0],
                [0x07, 3, 0, 0, 0xf8, 0xff, 0xff, 0xff],
                [0xb7, 4, 0, 0, 8, 0, 0, 0],
                [0x85, 0, 0, 0, 189, 0, 0, 0],
                [0xb7, 0, 0, 0, 2, 0, 0, 0],
                EXIT,
            ],
            0,
        ),
    }
}

const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];

/// Whether an XDP program of these instructions loads.
fn xdp(instructions: &[[u8; 8]], flags: u32) -> bool {
    let definition = ProgramDefinition {
        name: "probe",
        program_type: ProgramType::XDP,
        expected_attach_type: AttachType::XDP,
        flags,
        license: "GPL",
        instructions: instructions.as_flattened(),
        token: permission::token_for_probes(),
        ..ProgramDefinition::default()
    };
    program::command(&definition, b"GPL\0").is_ok()
}

/// Whether the kernel takes BTF made of these types (32-bit words, strings "x", "y" and "?z").
fn btf(types: &[&[u32]]) -> bool {
    const STRINGS: &[u8] = b"\0x\0y\0?z\0";
    let types: Vec<u8> = types
        .iter()
        .flat_map(|words| words.iter())
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    let mut bytes = Vec::new();
    // struct btf_header: magic, version, flags, then length of the header, and offset and length of types and strings.
    bytes.extend_from_slice(&0xeb9fu16.to_ne_bytes());
    bytes.extend_from_slice(&[1, 0]);
    for word in [
        24,
        0,
        types.len() as u32,
        types.len() as u32,
        STRINGS.len() as u32,
    ] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    bytes.extend_from_slice(&types);
    bytes.extend_from_slice(STRINGS);
    Btf::command(&bytes, permission::token_for_probes()).is_ok()
}
