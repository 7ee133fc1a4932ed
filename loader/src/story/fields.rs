//! The one table of bpf(2): its commands, their fields, and what each field is for. Names, offsets and widths are those of
//! `union bpf_attr` in include/uapi/linux/bpf.h (Linux 6.18).

use super::words::{self, Flags};

/// A field of a block of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) offset: usize,
    pub(super) width: usize,
    pub(super) sort: Sort,
    /// What it is for, and what decides its value.
    pub(super) meaning: &'static str,
}

/// How a field's bytes are read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sort {
    /// A number.
    Number,
    /// A descriptor; in a dry run it is not known yet.
    Fd,
    /// A text in a fixed number of bytes.
    Name,
    /// A number with a name.
    Named(fn(u32) -> String),
    /// Bits with names.
    Flags(Flags),
    /// Bytes as they are.
    Bytes,
    /// An address of other bytes.
    Pointer(Target),
}

/// What a pointer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Instructions,
    License,
    Btf,
    FuncInfo,
    LineInfo,
    Log,
    Key,
    Value,
    Path,
    FdArray,
    Packet,
    Context,
    /// Decided by what the descriptor beside it is: a map, program, BTF object or link.
    Info,
}

impl Target {
    pub(super) fn name(self) -> &'static str {
        match self {
            Target::Instructions => "instructions",
            Target::License => "license",
            Target::Btf => "BTF",
            Target::FuncInfo => "func_info",
            Target::LineInfo => "line_info",
            Target::Log => "log",
            Target::Key => "key",
            Target::Value => "value",
            Target::Path => "path",
            Target::FdArray => "descriptors",
            Target::Packet => "packet",
            Target::Context => "context",
            Target::Info => "information",
        }
    }
}

/// A command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command {
    pub(super) number: u32,
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    pub(super) fields: &'static [Field],
    /// Whether its answer is a descriptor.
    pub(super) opens: bool,
}

/// The command of that number, if the loader gives it.
pub(super) fn command(number: u32) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.number == number)
}

const MAP_FD: &str = "the map, by our descriptor";
const TOKEN: &str =
    "a right that a BPF file system delegates to a user namespace (Linux 6.9); 0: none";
const OPEN_FLAGS: &str = "BPF_F_RDONLY or BPF_F_WRONLY for a map that is only read or only written";

/// Tables of fields: name, offset, width, sort, purpose.
macro_rules! fields {
    ($($visibility:vis $table:ident { $($name:literal $offset:literal $width:literal $sort:expr => $meaning:expr;)* })*) => {
        $($visibility const $table: &[$crate::story::fields::Field] = &[$($crate::story::fields::Field {
            name: $name,
            offset: $offset,
            width: $width,
            sort: $sort,
            meaning: $meaning,
        }),*];)*
    };
}

pub(super) use fields;

/// Commands: `opens` where the answer is a descriptor, number, name, fields, purpose.
macro_rules! commands {
    ($($kind:ident $number:literal $name:literal $fields:ident => $meaning:literal;)*) => {
        /// The commands that the loader gives (`kernel::syscall::Command`).
        pub(super) const COMMANDS: &[Command] = &[$(Command {
            number: $number,
            name: $name,
            meaning: $meaning,
            fields: $fields,
            opens: commands!(@ $kind),
        }),*];
    };
    (@ opens) => { true };
    (@ gives) => { false };
}

fields! {
    MAP_CREATE {
        "map_type" 0 4 Sort::Named(words::map_type) => "which data structure; from the map's definition";
        "key_size" 4 4 Sort::Number => "bytes of a key; an array's keys are 32-bit indices";
        "value_size" 8 4 Sort::Number => "bytes of a value";
        "max_entries" 12 4 Sort::Number => "how many entries at most; an array has all of them from the start";
        "map_flags" 16 4 Sort::Flags(words::MAP_FLAGS) => "how memory is allocated, and who may read and write; constants get BPF_F_RDONLY_PROG";
        "inner_map_fd" 20 4 Sort::Fd => "a map of maps: a map that is like those in it, for the verifier";
        "numa_node" 24 4 Sort::Number => "the node whose memory is used, with BPF_F_NUMA_NODE";
        "map_name" 28 16 Sort::Name => "a name for people: at most 15 of [A-Za-z0-9_.]";
        "map_ifindex" 44 4 Sort::Number => "the network card that holds the map; 0: the host";
        "btf_fd" 48 4 Sort::Fd => "the object's types, so that the kernel knows what key and value are";
        "btf_key_type_id" 52 4 Sort::Number => "the key's type there";
        "btf_value_type_id" 56 4 Sort::Number => "the value's type there: spin locks and timers in it are found so";
        "btf_vmlinux_value_type_id" 60 4 Sort::Number => "a struct_ops map: the kernel's type of its value";
        "map_extra" 64 8 Sort::Number => "what a few types want besides: hash functions of a bloom filter, the address of an arena";
        "value_type_btf_obj_fd" 72 4 Sort::Fd => "a struct_ops map: the module whose type the value is of (Linux 6.9)";
        "map_token_fd" 76 4 Sort::Fd => TOKEN;
    }

    ELEM {
        "map_fd" 0 4 Sort::Fd => MAP_FD;
        "key" 8 8 Sort::Pointer(Target::Key) => "the address of the key: as many bytes as the map's keys have";
        "value" 16 8 Sort::Pointer(Target::Value) => "the address of the value; of a per-CPU map one value a possible CPU";
        "flags" 24 8 Sort::Flags(words::UPDATE_FLAGS) => "what is expected under the key; 0 (BPF_ANY): anything";
    }

    NEXT_KEY {
        "map_fd" 0 4 Sort::Fd => MAP_FD;
        "key" 8 8 Sort::Pointer(Target::Key) => "the key before; 0: the first one is wanted";
        "next_key" 16 8 Sort::Pointer(Target::Key) => "where the kernel writes the next key";
    }

    BATCH {
        "batch.in_batch" 0 8 Sort::Pointer(Target::Key) => "where the batch before ended; 0: from the beginning";
        "batch.out_batch" 8 8 Sort::Pointer(Target::Key) => "where this one ends";
        "batch.keys" 16 8 Sort::Pointer(Target::Key) => "the keys, one after the other";
        "batch.values" 24 8 Sort::Pointer(Target::Value) => "their values";
        "batch.count" 32 4 Sort::Number => "how many there are; afterwards how many were done";
        "batch.map_fd" 36 4 Sort::Fd => MAP_FD;
        "batch.elem_flags" 40 8 Sort::Flags(words::UPDATE_FLAGS) => "as the flags of one element";
        "batch.flags" 48 8 Sort::Number => "0: there are none";
    }

    PROG_LOAD {
        "prog_type" 0 4 Sort::Named(words::program_type) => "decides the context, the helpers and the return values that the verifier allows; from the section's name";
        "insn_cnt" 4 4 Sort::Number => "how many instructions of eight bytes";
        "insns" 8 8 Sort::Pointer(Target::Instructions) => "the address of the instructions, with descriptors of maps in them";
        "license" 16 8 Sort::Pointer(Target::License) => "the address of the license's text: helpers marked GPL want a compatible one";
        "log_level" 24 4 Sort::Flags(words::LOG_LEVEL) => "how much the verifier writes; 0: nothing, which is quickest and cannot fail for want of room";
        "log_size" 28 4 Sort::Number => "how much room there is for it";
        "log_buf" 32 8 Sort::Pointer(Target::Log) => "where the kernel writes its log";
        "kern_version" 40 4 Sort::Named(words::version) => "kprobes before Linux 5.0 had to name the running kernel; ignored since";
        "prog_flags" 44 4 Sort::Flags(words::PROG_FLAGS) => "properties of the program, from the section's name";
        "prog_name" 48 16 Sort::Name => "a name for people: at most 15 of [A-Za-z0-9_.]";
        "prog_ifindex" 64 4 Sort::Number => "the network card that runs it; 0: the CPU";
        "expected_attach_type" 68 4 Sort::Named(words::attach_type) => "where it will be attached, for the types whose checks depend on that";
        "prog_btf_fd" 72 4 Sort::Fd => "the object's types, which the two tables below refer to";
        "func_info_rec_size" 76 4 Sort::Number => "bytes of a record of func_info";
        "func_info" 80 8 Sort::Pointer(Target::FuncInfo) => "the address of the table of functions: their first instruction and their type";
        "func_info_cnt" 88 4 Sort::Number => "how many records: one a function";
        "line_info_rec_size" 92 4 Sort::Number => "bytes of a record of line_info";
        "line_info" 96 8 Sort::Pointer(Target::LineInfo) => "the address of the table of source lines, for the verifier's log and for who looks at the program later";
        "line_info_cnt" 104 4 Sort::Number => "how many records";
        "attach_btf_id" 108 4 Sort::Number => "the kernel's type (a function, mostly) that it attaches to; 0: it attaches to no such thing";
        "attach_prog_fd" 112 4 Sort::Fd => "the program or module whose types attach_btf_id counts in; 0: the kernel's own";
        "core_relo_cnt" 116 4 Sort::Number => "0: CO-RE relocations were applied before, by this loader";
        "fd_array" 120 8 Sort::Pointer(Target::FdArray) => "descriptors that instructions name by their place in this list";
        "core_relos" 128 8 Sort::Number => "0, as core_relo_cnt";
        "core_relo_rec_size" 136 4 Sort::Number => "0, as core_relo_cnt";
        "log_true_size" 140 4 Sort::Number => "the kernel says here how long the whole log is (Linux 6.4)";
        "prog_token_fd" 144 4 Sort::Fd => TOKEN;
        "fd_array_cnt" 148 4 Sort::Number => "how many descriptors are in fd_array (Linux 6.14); 0: as many as instructions name";
    }

    OBJ {
        "pathname" 0 8 Sort::Pointer(Target::Path) => "the address of a path in a BPF file system";
        "bpf_fd" 8 4 Sort::Fd => "what gets that name: a map, a program, a link";
        "file_flags" 12 4 Sort::Flags(words::MAP_FLAGS) => OPEN_FLAGS;
        "path_fd" 16 4 Sort::Fd => "the directory that a relative path starts from (Linux 6.5)";
    }

    TEST_RUN {
        "test.prog_fd" 0 4 Sort::Fd => "the program";
        "test.retval" 4 4 Sort::Number => "what the program returned";
        "test.data_size_in" 8 4 Sort::Number => "bytes of the packet";
        "test.data_size_out" 12 4 Sort::Number => "room for the packet afterwards, and its size";
        "test.data_in" 16 8 Sort::Pointer(Target::Packet) => "the packet";
        "test.data_out" 24 8 Sort::Pointer(Target::Packet) => "the packet afterwards";
        "test.repeat" 32 4 Sort::Number => "how often";
        "test.duration" 36 4 Sort::Number => "nanoseconds of a run, on average";
        "test.ctx_size_in" 40 4 Sort::Number => "bytes of the context";
        "test.ctx_size_out" 44 4 Sort::Number => "room for the context afterwards, and its size";
        "test.ctx_in" 48 8 Sort::Pointer(Target::Context) => "the context";
        "test.ctx_out" 56 8 Sort::Pointer(Target::Context) => "the context afterwards";
        "test.flags" 64 4 Sort::Number => "BPF_F_TEST_*";
        "test.cpu" 68 4 Sort::Number => "the CPU, with BPF_F_TEST_RUN_ON_CPU";
        "test.batch_size" 72 4 Sort::Number => "frames at once, with BPF_F_TEST_XDP_LIVE_FRAMES";
    }

    NEXT_ID {
        "start_id" 0 4 Sort::Number => "the number before; 0: the first one is wanted";
        "next_id" 4 4 Sort::Number => "the next number, from the kernel";
        "open_flags" 8 4 Sort::Flags(words::MAP_FLAGS) => OPEN_FLAGS;
    }

    BY_ID {
        "id" 0 4 Sort::Number => "the kernel's number for it";
        "next_id" 4 4 Sort::Number => "unused";
        "open_flags" 8 4 Sort::Flags(words::MAP_FLAGS) => OPEN_FLAGS;
    }

    INFO {
        "info.bpf_fd" 0 4 Sort::Fd => "what is asked about";
        "info.info_len" 4 4 Sort::Number => "room for the answer; afterwards how much of it the kernel filled";
        "info.info" 8 8 Sort::Pointer(Target::Info) => "where the answer goes; pointers and counts in it say what is wanted";
    }

    BTF_LOAD {
        "btf" 0 8 Sort::Pointer(Target::Btf) => "the address of the types, as in section .BTF";
        "btf_log_buf" 8 8 Sort::Pointer(Target::Log) => "where the kernel writes what it objects to";
        "btf_size" 16 4 Sort::Number => "bytes of the types";
        "btf_log_size" 20 4 Sort::Number => "how much room there is for the log";
        "btf_log_level" 24 4 Sort::Flags(words::LOG_LEVEL) => "how much is written; 0: nothing";
        "btf_log_true_size" 28 4 Sort::Number => "how long the whole log is (Linux 6.4)";
        "btf_flags" 32 4 Sort::Flags(words::BTF_FLAGS) => "BPF_F_TOKEN_FD with a token";
        "btf_token_fd" 36 4 Sort::Fd => TOKEN;
    }

    FREEZE {
        "map_fd" 0 4 Sort::Fd => MAP_FD;
    }

    LINK_CREATE {
        "link_create.prog_fd" 0 4 Sort::Fd => "the program";
        "link_create.target_ifindex" 4 4 Sort::Number => "where: an interface, or a descriptor for other types";
        "link_create.attach_type" 8 4 Sort::Named(words::attach_type) => "which hook";
        "link_create.flags" 12 4 Sort::Flags(words::XDP_FLAGS) => "for XDP: the mode";
    }

    LINK_DETACH {
        "link_detach.link_fd" 0 4 Sort::Fd => "the link";
    }

    BIND_MAP {
        "prog_bind_map.prog_fd" 0 4 Sort::Fd => "the program";
        "prog_bind_map.map_fd" 4 4 Sort::Fd => "a map that lives as long as it from now on";
        "prog_bind_map.flags" 8 4 Sort::Number => "0: there are none";
    }

    TOKEN_CREATE {
        "token_create.flags" 0 4 Sort::Number => "0: there are none";
        "token_create.bpffs_fd" 4 4 Sort::Fd => "the BPF file system that delegates";
    }
}

commands! {
    opens 0 "BPF_MAP_CREATE" MAP_CREATE => "creates a map; the answer is its descriptor";
    gives 1 "BPF_MAP_LOOKUP_ELEM" ELEM => "reads the value under a key";
    gives 2 "BPF_MAP_UPDATE_ELEM" ELEM => "writes a value under a key";
    gives 3 "BPF_MAP_DELETE_ELEM" ELEM => "removes a key";
    gives 4 "BPF_MAP_GET_NEXT_KEY" NEXT_KEY => "walks the keys";
    opens 5 "BPF_PROG_LOAD" PROG_LOAD => "verifies and compiles a program; the answer is its descriptor";
    gives 6 "BPF_OBJ_PIN" OBJ => "gives a map or program a name in a BPF file system, which holds it";
    opens 7 "BPF_OBJ_GET" OBJ => "opens what a name in a BPF file system holds";
    gives 10 "BPF_PROG_TEST_RUN" TEST_RUN => "runs a program on bytes of ours";
    gives 11 "BPF_PROG_GET_NEXT_ID" NEXT_ID => "walks the programs of the machine";
    gives 12 "BPF_MAP_GET_NEXT_ID" NEXT_ID => "walks the maps of the machine";
    opens 13 "BPF_PROG_GET_FD_BY_ID" BY_ID => "opens a program by its number";
    opens 14 "BPF_MAP_GET_FD_BY_ID" BY_ID => "opens a map by its number";
    gives 15 "BPF_OBJ_GET_INFO_BY_FD" INFO => "asks the kernel what it knows of a map, program, BTF object or link";
    opens 18 "BPF_BTF_LOAD" BTF_LOAD => "checks types and keeps them; the answer is their descriptor";
    opens 19 "BPF_BTF_GET_FD_BY_ID" BY_ID => "opens a BTF object by its number";
    gives 21 "BPF_MAP_LOOKUP_AND_DELETE_ELEM" ELEM => "takes a value out";
    gives 22 "BPF_MAP_FREEZE" FREEZE => "makes a map read-only for user space for ever; with BPF_F_RDONLY_PROG its values are constants to the verifier";
    gives 23 "BPF_BTF_GET_NEXT_ID" NEXT_ID => "walks the BTF objects of the machine";
    gives 24 "BPF_MAP_LOOKUP_BATCH" BATCH => "reads many values at once";
    gives 26 "BPF_MAP_UPDATE_BATCH" BATCH => "writes many values at once";
    opens 28 "BPF_LINK_CREATE" LINK_CREATE => "attaches a program by a link, which goes with its holder";
    opens 30 "BPF_LINK_GET_FD_BY_ID" BY_ID => "opens a link by its number";
    gives 31 "BPF_LINK_GET_NEXT_ID" NEXT_ID => "walks the links of the machine";
    gives 34 "BPF_LINK_DETACH" LINK_DETACH => "takes a link's program off";
    gives 35 "BPF_PROG_BIND_MAP" BIND_MAP => "ties a map to a program";
    opens 36 "BPF_TOKEN_CREATE" TOKEN_CREATE => "takes what a BPF file system delegates";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_ascend_and_do_not_overlap() {
        for command in COMMANDS {
            let mut end = 0;
            for field in command.fields {
                assert!(field.offset >= end, "{}: {}", command.name, field.name);
                assert!(
                    field.offset.is_multiple_of(field.width.min(8)) || field.width == 16,
                    "{}: {} is aligned",
                    command.name,
                    field.name
                );
                assert!(!field.meaning.is_empty(), "{}", field.name);
                end = field.offset + field.width;
            }
        }
    }

    #[test]
    fn commands_are_found_by_number() {
        assert_eq!(command(5).map(|c| c.name), Some("BPF_PROG_LOAD"));
        assert!(command(99).is_none());
    }
}
