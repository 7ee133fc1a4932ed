//! What the examples' BPF programs share: what `bpf_helpers.h` is to C. Maps are written as libbpf's macros write them (a
//! number N is a pointer to an array of N), and a helper is called by its number.

#![allow(dead_code)]

use core::ffi::{c_long, c_void};
use core::ptr::{from_ref, null};

/// Let the packet go on.
pub const XDP_PASS: u32 = 2;

/// The context of an XDP program (include/uapi/linux/bpf.h). The kernel knows it by this name.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct xdp_md {
    pub data: u32,
    pub data_end: u32,
    pub data_meta: u32,
    pub ingress_ifindex: u32,
    pub rx_queue_index: u32,
    pub egress_ifindex: u32,
}

/// The numbers of maps' types.
pub const PROG_ARRAY: usize = 3;
pub const PERCPU_ARRAY: usize = 6;
pub const RINGBUF: usize = 27;

/// A map with keys and values, in section `.maps`.
#[repr(C)]
pub struct Map<K, V, const TYPE: usize, const ENTRIES: usize> {
    r#type: *const [i32; TYPE],
    key: *const K,
    value: *const V,
    max_entries: *const [i32; ENTRIES],
}

/// A ring buffer of so many bytes, in section `.maps`.
#[repr(C)]
pub struct Ring<const BYTES: usize> {
    r#type: *const [i32; RINGBUF],
    max_entries: *const [i32; BYTES],
}

// SAFETY: definitions hold no data; the maps behind them are the kernel's.
unsafe impl<K, V, const T: usize, const N: usize> Sync for Map<K, V, T, N> {}
// SAFETY: as above.
unsafe impl<const N: usize> Sync for Ring<N> {}

macro_rules! helper {
    ($number:literal ($($arg:expr => $type:ty),*) -> $result:ty) => {{
        // SAFETY: in BPF a call to the constant address N is a call of helper N; the verifier checks its arguments.
        unsafe {
            let helper: extern "C" fn($($type),*) -> $result = core::mem::transmute($number as usize);
            helper($($arg),*)
        }
    }};
}

impl<K, V, const TYPE: usize, const ENTRIES: usize> Map<K, V, TYPE, ENTRIES> {
    pub const fn new() -> Self {
        Map { r#type: null(), key: null(), value: null(), max_entries: null() }
    }

    /// The value under `key`, to be changed in place: this CPU's own where the map has one a CPU.
    #[inline(always)]
    pub fn get(&self, key: &K) -> Option<&mut V> {
        let value = helper!(1 (from_ref(self).cast() => *const c_void, from_ref(key).cast() => *const c_void) -> *mut V);
        // SAFETY: null, or the map's own value, which outlives the program's run.
        unsafe { value.as_mut() }
    }

    /// Goes on in the program of this slot; returns only where the slot is empty.
    #[inline(always)]
    pub fn tail_call(&self, context: *mut xdp_md, slot: u32) {
        helper!(12 (context => *mut xdp_md, from_ref(self).cast() => *const c_void, slot => u32) -> c_long);
    }
}

impl<const BYTES: usize> Ring<BYTES> {
    pub const fn new() -> Self {
        Ring { r#type: null(), max_entries: null() }
    }

    /// Sends a record to user space; false where the ring is full.
    #[inline(always)]
    pub fn send<T>(&self, record: &T) -> bool {
        let size = size_of::<T>() as u64;
        helper!(130 (from_ref(self).cast() => *const c_void, from_ref(record).cast() => *const c_void, size => u64, 0 => u64) -> c_long) == 0
    }
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 4] = *b"GPL\0";

/// Never reached: the linker refuses a program in which a panic is.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
