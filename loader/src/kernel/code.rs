//! The code that the kernel runs, and which source line each piece of it comes from (BPF_OBJ_GET_INFO_BY_FD).
//!
//! `struct bpf_prog_info` has a pointer and a count for each table. A first question says how long they are, a second one
//! fetches them all. What the kernel does not show to this process it leaves out by a zero pointer (`bpf_dump_raw_ok`: machine
//! code and addresses are for CAP_SYS_ADMIN, or CAP_SYSLOG where `kernel.kptr_restrict` is 1).

use std::os::fd::BorrowedFd;

use super::KernelError;
use super::info::{PROG_INFO_SIZE, get_info, put, u32_at, u64_at};

/// The code that the kernel runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramCode {
    /// The instructions after the verifier's rewrites.
    pub xlated: Vec<u8>,
    /// The machine code, function by function.
    pub jited: Vec<u8>,
    /// Where each function's machine code begins in the kernel's memory; 0 where that is a secret.
    pub addresses: Vec<u64>,
    /// How many bytes of machine code each function has.
    pub lengths: Vec<u32>,
    /// `struct bpf_line_info`: instruction (in `xlated`), file and text (in the program's BTF), line and column.
    pub lines: Vec<[u32; 4]>,
    /// `struct bpf_func_info`: first instruction (in `xlated`) and type (in the program's BTF) of each function.
    pub functions: Vec<[u32; 2]>,
    /// Where the machine code of each of `lines` begins in the kernel's memory; 0 where that is a secret.
    pub jited_lines: Vec<u64>,
}

/// A table of `struct bpf_prog_info`: where its count and its address stand, and how many bytes an entry has.
struct Table {
    count: usize,
    pointer: usize,
    entry: usize,
}

const TABLES: [Table; 7] = [
    Table {
        count: 20,
        pointer: 32,
        entry: 1,
    },
    Table {
        count: 16,
        pointer: 24,
        entry: 1,
    },
    Table {
        count: 104,
        pointer: 112,
        entry: 8,
    },
    Table {
        count: 108,
        pointer: 120,
        entry: 4,
    },
    Table {
        count: 148,
        pointer: 152,
        entry: 16,
    },
    Table {
        count: 144,
        pointer: 136,
        entry: 8,
    },
    Table {
        count: 168,
        pointer: 160,
        entry: 8,
    },
];
const FUNC_INFO_REC_SIZE: usize = 132;
const LINE_INFO_REC_SIZE: usize = 172;
const JITED_LINE_INFO_REC_SIZE: usize = 176;

/// Reads all of it.
pub(super) fn of(what: &str, fd: BorrowedFd<'_>) -> Result<ProgramCode, KernelError> {
    let mut first = [0u8; PROG_INFO_SIZE];
    get_info(what, fd, &mut first)?;
    let mut info = [0u8; PROG_INFO_SIZE];
    let mut buffers = TABLES.map(|table| {
        let count = u32_at(&first, table.count);
        put(&mut info, table.count, &count.to_ne_bytes());
        vec![0u8; count as usize * table.entry]
    });
    for (table, buffer) in TABLES.iter().zip(&mut buffers) {
        let address = match buffer.is_empty() {
            true => 0,
            false => buffer.as_mut_ptr().expose_provenance() as u64,
        };
        put(&mut info, table.pointer, &address.to_ne_bytes());
    }
    let sizes = [
        (FUNC_INFO_REC_SIZE, 8u32),
        (LINE_INFO_REC_SIZE, 16),
        (JITED_LINE_INFO_REC_SIZE, 8),
    ];
    for (offset, size) in sizes {
        put(&mut info, offset, &size.to_ne_bytes());
    }
    let result = get_info(what, fd, &mut info);
    // The buffers' addresses were used until here.
    std::hint::black_box(&mut buffers);
    result?;
    for (table, buffer) in TABLES.iter().zip(&mut buffers) {
        let shown = u64_at(&info, table.pointer) != 0;
        let len = u32_at(&info, table.count) as usize * table.entry;
        buffer.truncate(if shown { len } else { 0 });
    }
    let [
        xlated,
        jited,
        addresses,
        lengths,
        lines,
        functions,
        jited_lines,
    ] = buffers;
    let words = |bytes: &[u8]| bytes.chunks_exact(8).map(|word| u64_at(word, 0)).collect();
    Ok(ProgramCode {
        xlated,
        jited,
        addresses: words(&addresses),
        lengths: lengths.chunks_exact(4).map(|len| u32_at(len, 0)).collect(),
        lines: lines
            .chunks_exact(16)
            .map(|record| [0, 4, 8, 12].map(|at| u32_at(record, at)))
            .collect(),
        functions: functions
            .chunks_exact(8)
            .map(|record| [0, 4].map(|at| u32_at(record, at)))
            .collect(),
        jited_lines: words(&jited_lines),
    })
}
