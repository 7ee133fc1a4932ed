//! The sum of a piece of the frame, however long.

use core::hint::black_box;

use xdplb_prog::checksum::Sum;
use xdplb_prog::helpers::{self, frame, xdp_md};
use xdplb_prog::packet::Header;
use xdplb_prog::rewrite::LONGEST_SUM;

use super::setting;

/// The folded sum of `length` bytes of the frame, or -1 where the frame ends before them, or they are more than
/// [`LONGEST_SUM`].
///
/// Whole chunks in a loop, then each smaller power of two at most once. Where a piece begins is
/// computed from the length alone, not carried along: so the verifier has one state to follow after
/// each piece, and not one for every combination of pieces before it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn xdplb_sum(context: *const xdp_md, offset: u32, length: u32) -> i64 {
    if length > u32::from(LONGEST_SUM) {
        return -1;
    }
    // The verifier asks for bounds on the very number that is used, and the compiler, which knows them, must not leave
    // them away.
    let length = black_box(length) & 0x7fff;
    if setting!(PERFMON) != 0 && setting!(FRAGS) == 0 {
        sum_in_place(context, offset, length)
    } else {
        sum_by_copy(context, offset, length)
    }
}

/// Bytes that are added at once: as many as `bpf_csum_diff` takes (MAX_BPF_STACK, net/core/filter.c).
const CHUNK: u32 = 512;

/// A piece of the frame, to prove its bounds.
#[repr(transparent)]
struct Bytes<const N: usize>([core::cell::Cell<u8>; N]);
// SAFETY: an array of Cells of bytes.
unsafe impl<const N: usize> Header for Bytes<N> {}

#[inline(always)]
fn sum_in_place(context: *const xdp_md, offset: u32, length: u32) -> i64 {
    let mut sum = Sum::ZERO;
    let mut chunk = 0;
    while chunk < LONGEST_SUM as u32 / CHUNK {
        if chunk >= length / CHUNK {
            break;
        }
        if !add::<{ CHUNK as usize }>(context, offset + chunk * CHUNK, &mut sum) {
            return -1;
        }
        chunk += 1;
    }
    macro_rules! pieces {
        ($($size:literal)*) => {$(
            let start = offset + (length & !($size * 2 - 1));
            if length & $size != 0 && !add::<$size>(context, start, &mut sum) {
                return -1;
            }
        )*};
    }
    pieces!(256 128 64 32 16 8 4 2 1);
    i64::from(sum.fold())
}

/// Adds the N bytes at `start`; whether the frame has them.
#[inline(always)]
fn add<const N: usize>(context: *const xdp_md, start: u32, sum: &mut Sum) -> bool {
    // SAFETY: the program's context.
    let frame = unsafe { frame(context) };
    // The bound has to be put on the very number that is added to the pointer, and the compiler,
    // which knows that nothing is cut off, must not leave it away.
    let start = black_box(start) & 0x7fff;
    let Some(bytes) = frame.at::<Bytes<N>>(start as usize) else {
        return false;
    };
    if N >= 4 {
        let from = core::ptr::from_ref(bytes).cast();
        // SAFETY: N bytes of the frame, a multiple of 4.
        let partial = unsafe { helpers::csum_diff(core::ptr::null(), 0, from, N as u32, 0) };
        *sum = sum.add32(partial as u32);
    } else {
        let second = if N > 1 { bytes.0[N - 1].get() } else { 0 };
        *sum = sum.add16(u16::from_ne_bytes([bytes.0[0].get(), second]));
    }
    true
}

/// The same without a pointer into the frame: copied, a chunk at a time, to map `scratch`. One path
/// for every length, since without CAP_PERFMON the verifier also walks the paths that a mispredicted
/// branch would take.
#[inline(always)]
fn sum_by_copy(context: *const xdp_md, offset: u32, length: u32) -> i64 {
    let scratch = crate::scratch.at(0);
    if scratch.is_null() {
        return -1;
    }
    // SAFETY: only the address is taken.
    let room = unsafe { &raw mut (*scratch).piece };
    let mut sum = Sum::ZERO;
    let mut at = 0;
    while at < LONGEST_SUM as u32 {
        if at >= length {
            break;
        }
        // Through memory, which the verifier does not remember: to it the size is then the same on
        // every path, a number that has yet to be bounded. The room is longer than a
        // chunk, for the word behind a whole one.
        // SAFETY: the room's last word, beyond the chunk.
        let last = unsafe {
            let memory = room.cast::<u64>().add(2 * CHUNK as usize / 8 - 1);
            memory.write_volatile(u64::from((length - at).min(CHUNK) - 1));
            memory.read_volatile() as u32
        };
        let size = (last & (CHUNK - 1)) + 1;
        let tail = size & !3;
        let padded = (size + 3) & !3;
        // SAFETY: `tail` is a word's place in the room; the last one is zeroed behind odd bytes.
        unsafe {
            room.cast::<u8>()
                .add(tail as usize)
                .cast::<u32>()
                .write_volatile(0)
        };
        // SAFETY: the room has that many bytes.
        if unsafe { helpers::xdp_load_bytes(context, offset + at, room.cast(), size) } != 0 {
            return -1;
        }
        // SAFETY: as above.
        let partial = unsafe { helpers::csum_diff(core::ptr::null(), 0, room.cast(), padded, 0) };
        sum = sum.add32(partial as u32);
        at += CHUNK;
    }
    i64::from(sum.fold())
}
