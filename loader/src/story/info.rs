//! The structures that bpf(2) reads and writes through pointers: `struct bpf_map_info`, `bpf_prog_info`, `bpf_btf_info`,
//! `bpf_link_info`, `bpf_func_info`, `bpf_line_info` (include/uapi/linux/bpf.h) and `struct btf_header` (btf.h).

use super::Part;
use super::fields::{Field, Sort};
use super::words;

/// What a descriptor is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KindOfFd {
    Map,
    Program,
    Btf,
    Link,
    Other,
}

impl KindOfFd {
    pub(super) fn structure(self) -> &'static str {
        match self {
            KindOfFd::Map => "struct bpf_map_info",
            KindOfFd::Program => "struct bpf_prog_info",
            KindOfFd::Btf => "struct bpf_btf_info",
            KindOfFd::Link => "struct bpf_link_info",
            KindOfFd::Other => "information",
        }
    }

    pub(super) fn fields(self) -> &'static [Field] {
        match self {
            KindOfFd::Map => MAP_INFO,
            KindOfFd::Program => PROG_INFO,
            KindOfFd::Btf => BTF_INFO,
            KindOfFd::Link => LINK_INFO,
            KindOfFd::Other => &[],
        }
    }
}

/// Gives the fourth word of a line_info record its meaning.
pub(super) fn line_and_column(record: &mut Part) {
    if let Some(part) = record.parts.get_mut(3)
        && let Ok(word) = part.value.parse::<u32>()
    {
        part.words = format!("line {}, column {}", word >> 10, word & 0x3ff);
    }
}

crate::story::fields::fields! {
    pub(super) BTF_HEADER {
        "magic" 0 2 Sort::Number => "0xeb9f, which also says the order of bytes";
        "version" 2 1 Sort::Number => "1, the only one there is";
        "flags" 3 1 Sort::Number => "0: there are none";
        "hdr_len" 4 4 Sort::Number => "bytes of this header; offsets count from its end";
        "type_off" 8 4 Sort::Number => "where the types begin";
        "type_len" 12 4 Sort::Number => "their bytes";
        "str_off" 16 4 Sort::Number => "where the names begin";
        "str_len" 20 4 Sort::Number => "their bytes";
    }
    pub(super) FUNC_INFO {
        "insn_off" 0 4 Sort::Number => "the function's first instruction";
        "type_id" 4 4 Sort::Number => "its type, a BTF_KIND_FUNC";
    }
    pub(super) LINE_INFO {
        "insn_off" 0 4 Sort::Number => "the first instruction of this line";
        "file_name_off" 4 4 Sort::Number => "the file's name, among the names of BTF";
        "line_off" 8 4 Sort::Number => "the line's text, among the names of BTF";
        "line_col" 12 4 Sort::Number => "line in the upper 22 bits, column in the lower 10";
    }
    MAP_INFO {
        "type" 0 4 Sort::Named(words::map_type) => "which data structure";
        "id" 4 4 Sort::Number => "the kernel's number for it";
        "key_size" 8 4 Sort::Number => "bytes of a key";
        "value_size" 12 4 Sort::Number => "bytes of a value";
        "max_entries" 16 4 Sort::Number => "how many entries at most";
        "map_flags" 20 4 Sort::Flags(words::MAP_FLAGS) => "as it was created";
        "name" 24 16 Sort::Name => "as it was created";
        "ifindex" 40 4 Sort::Number => "the network card that holds it";
        "btf_vmlinux_value_type_id" 44 4 Sort::Number => "a struct_ops map: the kernel's type";
        "netns_dev" 48 8 Sort::Number => "the card's namespace";
        "netns_ino" 56 8 Sort::Number => "the card's namespace";
        "btf_id" 64 4 Sort::Number => "the kernel's number of its types";
        "btf_key_type_id" 68 4 Sort::Number => "the key's type";
        "btf_value_type_id" 72 4 Sort::Number => "the value's type";
        "btf_vmlinux_id" 76 4 Sort::Number => "a struct_ops map: the kernel's types";
        "map_extra" 80 8 Sort::Number => "as it was created";
    }
    PROG_INFO {
        "type" 0 4 Sort::Named(words::program_type) => "its type";
        "id" 4 4 Sort::Number => "the kernel's number for it";
        "tag" 8 8 Sort::Bytes => "a hash of its instructions";
        "jited_prog_len" 16 4 Sort::Number => "bytes of machine code; 0: it is interpreted";
        "xlated_prog_len" 20 4 Sort::Number => "bytes of instructions after the verifier's rewrites";
        "jited_prog_insns" 24 8 Sort::Number => "where the machine code goes; 0: not wanted, or not shown";
        "xlated_prog_insns" 32 8 Sort::Number => "where the instructions go; 0: not wanted, or not shown";
        "load_time" 40 8 Sort::Number => "when it was loaded: nanoseconds since boot";
        "created_by_uid" 48 4 Sort::Number => "who loaded it";
        "nr_map_ids" 52 4 Sort::Number => "how many maps it uses";
        "map_ids" 56 8 Sort::Number => "where their numbers go";
        "name" 64 16 Sort::Name => "as it was loaded";
        "ifindex" 80 4 Sort::Number => "the network card that runs it";
        "gpl_compatible" 84 4 Sort::Number => "bit 0: whether its license is";
        "netns_dev" 88 8 Sort::Number => "the card's namespace";
        "netns_ino" 96 8 Sort::Number => "the card's namespace";
        "nr_jited_ksyms" 104 4 Sort::Number => "how many functions have machine code";
        "nr_jited_func_lens" 108 4 Sort::Number => "the same";
        "jited_ksyms" 112 8 Sort::Number => "where their addresses go";
        "jited_func_lens" 120 8 Sort::Number => "where their lengths go";
        "btf_id" 128 4 Sort::Number => "the kernel's number of its types";
        "func_info_rec_size" 132 4 Sort::Number => "bytes of a record";
        "func_info" 136 8 Sort::Number => "where the records go";
        "nr_func_info" 144 4 Sort::Number => "how many functions";
        "nr_line_info" 148 4 Sort::Number => "how many source lines";
        "line_info" 152 8 Sort::Number => "where they go";
        "jited_line_info" 160 8 Sort::Number => "where the addresses of their machine code go";
        "nr_jited_line_info" 168 4 Sort::Number => "how many";
        "line_info_rec_size" 172 4 Sort::Number => "bytes of a record";
        "jited_line_info_rec_size" 176 4 Sort::Number => "bytes of an address";
        "nr_prog_tags" 180 4 Sort::Number => "how many functions have a hash";
        "prog_tags" 184 8 Sort::Number => "where the hashes go";
        "run_time_ns" 192 8 Sort::Number => "time spent, while kernel.bpf_stats_enabled is 1";
        "run_cnt" 200 8 Sort::Number => "runs, likewise";
        "recursion_misses" 208 8 Sort::Number => "runs left out because it was running already";
        "verified_insns" 216 4 Sort::Number => "instructions that the verifier walked through";
        "attach_btf_obj_id" 220 4 Sort::Number => "whose types attach_btf_id counts in";
        "attach_btf_id" 224 4 Sort::Number => "what it attaches to";
    }
    BTF_INFO {
        "btf" 0 8 Sort::Number => "where the types go";
        "btf_size" 8 4 Sort::Number => "their bytes";
        "id" 12 4 Sort::Number => "the kernel's number for them";
        "name" 16 8 Sort::Number => "where the name goes";
        "name_len" 24 4 Sort::Number => "room for it";
        "kernel_btf" 28 4 Sort::Number => "whether they are the kernel's own";
    }
    LINK_INFO {
        "type" 0 4 Sort::Named(words::link_type) => "its type";
        "id" 4 4 Sort::Number => "the kernel's number for it";
        "prog_id" 8 4 Sort::Number => "its program";
        "xdp.ifindex" 16 4 Sort::Number => "for XDP: its interface";
    }
}
