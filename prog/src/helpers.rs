//! The kernel's helper functions and maps, as the program calls them: its one unsafe door.
//!
//! A helper is called by its number (include/uapi/linux/bpf.h, `___BPF_FUNC_MAPPER`): the number,
//! cast to a function pointer, compiles to `call N`. All are in Linux 5.10 but
//! [`trace_vprintk`] and the three of 5.18, which constants switch on.

use core::ffi::{c_long, c_void};

use crate::abi::bpf_spin_lock;
use crate::packet::Frame;

/// The context of an XDP program (include/uapi/linux/bpf.h). The kernel knows it by this name.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct xdp_md {
    /// Where the frame begins.
    pub data: u32,
    /// Where it ends.
    pub data_end: u32,
    /// Where its metadata begins.
    pub data_meta: u32,
    /// The interface it came in by.
    pub ingress_ifindex: u32,
    /// And that interface's queue.
    pub rx_queue_index: u32,
    /// The interface it goes out by; for programs in a DEVMAP.
    pub egress_ifindex: u32,
}

/// The frame of a context.
///
/// Its ends are read once and no more, hence the volatile reads: to the verifier each read makes
/// a pointer of its own, and what was checked of one it does not know of the other.
///
/// # Safety
/// The context is the running program's.
#[inline(always)]
pub unsafe fn frame<'a>(context: *const xdp_md) -> Frame<'a> {
    // SAFETY: a valid context; the kernel turns the two numbers into pointers to the frame's ends.
    unsafe {
        let start = (&raw const (*context).data).read_volatile();
        let end = (&raw const (*context).data_end).read_volatile();
        Frame::new(start as usize as *mut u8, end as usize as *mut u8)
    }
}

macro_rules! helpers {
    ($($(#[$doc:meta])+ $name:ident = $number:literal ($($arg:ident: $type:ty),*) -> $result:ty;)*) => {$(
        $(#[$doc])+
        ///
        /// # Safety
        /// The verifier checks every argument; what it cannot see is that returned pointers are
        /// used as the type they point to.
        #[inline(always)]
        pub unsafe fn $name($($arg: $type),*) -> $result {
            // SAFETY: in BPF a call to the constant address N is a call of helper N.
            let helper: unsafe extern "C" fn($($type),*) -> $result =
                unsafe { core::mem::transmute::<usize, _>($number) };
            // SAFETY: as promised by the caller and checked by the verifier.
            unsafe { helper($($arg),*) }
        }
    )*};
}

helpers! {
    /// The address of a map's value, or null.
    map_lookup_elem = 1 (map: *const c_void, key: *const c_void) -> *mut c_void;
    /// Adds or replaces a map's value; 0 or a negative errno.
    map_update_elem = 2 (map: *const c_void, key: *const c_void, value: *const c_void, flags: u64) -> c_long;
    /// Removes a key; 0 or a negative errno.
    map_delete_elem = 3 (map: *const c_void, key: *const c_void) -> c_long;
    /// Nanoseconds since the system's start, without sleep (CLOCK_MONOTONIC).
    ktime_get_ns = 5 () -> u64;
    /// A number by chance.
    get_prandom_u32 = 7 () -> u32;
    /// The 32-bit partial sum of `to` minus `from`, continuing from `seed`. Sizes are multiples of 4.
    csum_diff = 28 (from: *const c_void, from_size: u32, to: *const c_void, to_size: u32, seed: u32) -> i64;
    /// Moves the frame's beginning by so many bytes, backwards where negative; 0 or a negative errno.
    xdp_adjust_head = 44 (context: *const xdp_md, delta: i32) -> c_long;
    /// Moves its end; 0 or a negative errno.
    xdp_adjust_tail = 65 (context: *const xdp_md, delta: i32) -> c_long;
    /// Asks the routing table; 0, a `BPF_FIB_LKUP_RET_*`, or a negative errno.
    fib_lookup = 69 (context: *const xdp_md, question: *mut FibLookup, size: i32, flags: u32) -> c_long;
    /// Takes a map value's lock.
    spin_lock = 93 (lock: *mut bpf_spin_lock) -> c_long;
    /// Gives it back.
    spin_unlock = 94 (lock: *mut bpf_spin_lock) -> c_long;
    /// The jiffies counter; the verifier replaces the call by a load.
    jiffies64 = 118 () -> u64;
    /// Copies a record into a ring buffer; 0 or a negative errno.
    ringbuf_output = 130 (ring: *const c_void, data: *const c_void, size: u64, flags: u64) -> c_long;
    /// The frame's length (Linux 5.18).
    xdp_get_buff_len = 188 (context: *const xdp_md) -> u64;
    /// Copies bytes out of the frame; 0 or a negative errno (Linux 5.18).
    xdp_load_bytes = 189 (context: *const xdp_md, offset: u32, to: *mut c_void, length: u32) -> c_long;
    /// Copies bytes into the frame; 0 or a negative errno (Linux 5.18).
    xdp_store_bytes = 190 (context: *const xdp_md, offset: u32, from: *const c_void, length: u32) -> c_long;
    /// A line for trace_pipe, with any number of arguments (Linux 5.16).
    trace_vprintk = 177 (format: *const u8, format_size: u32, data: *const u64, data_size: u32) -> c_long;
}

/// `struct bpf_fib_lookup` of include/uapi/linux/bpf.h: the question, and then the answer.
#[repr(C, align(8))]
pub struct FibLookup {
    /// In the first byte AF_INET or AF_INET6; then the transport's protocol and ports, for rules that look at them, and
    /// the packet's length, for an MTU check. Words throughout, since the verifier takes no unaligned access to the stack.
    pub family: u64,
    /// In the first half the interface: of the question, and then of the answer. In the second TOS or flow information.
    pub ifindex: u64,
    /// Source address; an IPv4 address in the first word.
    pub source: [u64; 2],
    /// Destination address; afterwards, the next hop's.
    pub destination: [u64; 2],
    /// VLAN protocol and tag (4 bytes), the interface's Ethernet address and, in the last six bytes, the next hop's.
    pub link: [u64; 2],
}
const _: () = assert!(size_of::<FibLookup>() == 64);

/// Ask for the way out of the interface, not for that of a packet that came in by it (`BPF_FIB_LOOKUP_OUTPUT`).
pub const FIB_OUTPUT: u32 = 2;
/// include/linux/socket.h.
pub const AF_INET: u64 = 2;
/// Likewise.
pub const AF_INET6: u64 = 10;

/// `BPF_MAP_TYPE_*` of the maps used here.
pub mod map_type {
    /// A hash table.
    pub const HASH: usize = 1;
    /// An array indexed by u32.
    pub const ARRAY: usize = 2;
    /// An array with one value for each CPU.
    pub const PERCPU_ARRAY: usize = 6;
    /// A ring buffer.
    pub const RINGBUF: usize = 27;
}

/// A map definition in section `.maps`. It is never read: the loader takes the numbers out of its
/// type in BTF, where a pointer to `[i32; N]` stands for the number N (as libbpf's `__uint`).
#[repr(C)]
pub struct Map<K, V, const TYPE: usize, const ENTRIES: usize> {
    r#type: *const [i32; TYPE],
    key: *const K,
    value: *const V,
    max_entries: *const [i32; ENTRIES],
}

// SAFETY: a definition holds no data; the map behind it is the kernel's and may be used from any CPU.
unsafe impl<K, V, const TYPE: usize, const ENTRIES: usize> Sync for Map<K, V, TYPE, ENTRIES> {}

impl<K, V, const TYPE: usize, const ENTRIES: usize> Map<K, V, TYPE, ENTRIES> {
    /// The definition of a map; what its numbers are stands in the type.
    pub const fn new() -> Self {
        Self {
            r#type: core::ptr::null(),
            key: core::ptr::null(),
            value: core::ptr::null(),
            max_entries: core::ptr::null(),
        }
    }

    #[inline(always)]
    fn map(&self) -> *const c_void {
        core::ptr::from_ref(self).cast()
    }

    /// The value of `key`, or null.
    #[inline(always)]
    pub fn get(&self, key: &K) -> *mut V {
        // SAFETY: the map's key type is K by its definition.
        unsafe { map_lookup_elem(self.map(), core::ptr::from_ref(key).cast()).cast() }
    }
}

impl<V, const TYPE: usize, const ENTRIES: usize> Map<u32, V, TYPE, ENTRIES> {
    /// The value of an array's element, or null.
    ///
    /// The index is stored as eight bytes, of which the kernel reads the first four: the compiler
    /// reuses stack slots, and without CAP_PERFMON the verifier refuses to overwrite half of one
    /// that held a pointer (kernel/bpf/verifier.c, `check_stack_write_fixed_off`).
    #[inline(always)]
    pub fn at(&self, index: u32) -> *mut V {
        let key = u64::from(index).to_le();
        // SAFETY: the key is a u32 by the map's definition, and lies in the first four bytes.
        unsafe { map_lookup_elem(self.map(), (&raw const key).cast()).cast() }
    }
}

/// The definition of a ring buffer, which has neither keys nor values.
#[repr(C)]
pub struct Ring<const BYTES: usize> {
    r#type: *const [i32; map_type::RINGBUF],
    max_entries: *const [i32; BYTES],
}

// SAFETY: as for Map.
unsafe impl<const BYTES: usize> Sync for Ring<BYTES> {}

impl<const BYTES: usize> Ring<BYTES> {
    /// Its definition.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            r#type: core::ptr::null(),
            max_entries: core::ptr::null(),
        }
    }

    /// Copies a record into it; false when the ring is full.
    #[inline(always)]
    pub fn put<T>(&self, record: &T) -> bool {
        let (ring, data) = (
            core::ptr::from_ref(self).cast(),
            core::ptr::from_ref(record).cast(),
        );
        // SAFETY: the size is the record's.
        unsafe { ringbuf_output(ring, data, size_of::<T>() as u64, 0) == 0 }
    }
}

impl<K, V, const TYPE: usize, const ENTRIES: usize> Default for Map<K, V, TYPE, ENTRIES> {
    fn default() -> Self {
        Self::new()
    }
}
