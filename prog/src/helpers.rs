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
    /// The 32-bit partial sum of `to` minus `from`, continuing from `seed`. Sizes are multiples of 4.
    csum_diff = 28 (from: *const c_void, from_size: u32, to: *const c_void, to_size: u32, seed: u32) -> i64;
    /// Releases what [`skc_lookup_tcp`] found.
    sk_release = 86 (sock: *const c_void) -> c_long;
    /// Takes a map value's lock.
    spin_lock = 93 (lock: *mut bpf_spin_lock) -> c_long;
    /// Gives it back.
    spin_unlock = 94 (lock: *mut bpf_spin_lock) -> c_long;
    /// The host's TCP socket for a packet of that tuple, or null.
    skc_lookup_tcp = 99 (context: *const xdp_md, tuple: *const SockTuple, size: u32, netns: u64, flags: u64) -> *const c_void;
    /// The jiffies counter; the verifier replaces the call by a load.
    jiffies64 = 118 () -> u64;
    /// The frame's length (Linux 5.18).
    xdp_get_buff_len = 188 (context: *const xdp_md) -> u64;
    /// Copies bytes out of the frame; 0 or a negative errno (Linux 5.18).
    xdp_load_bytes = 189 (context: *const xdp_md, offset: u32, to: *mut c_void, length: u32) -> c_long;
    /// Copies bytes into the frame; 0 or a negative errno (Linux 5.18).
    xdp_store_bytes = 190 (context: *const xdp_md, offset: u32, from: *const c_void, length: u32) -> c_long;
    /// A line for trace_pipe, with any number of arguments (Linux 5.16).
    trace_vprintk = 177 (format: *const u8, format_size: u32, data: *const u64, data_size: u32) -> c_long;
}

/// `struct bpf_sock_tuple`, its IPv4 form: addresses and ports as an arriving packet has them.
///
/// Aligned as the key is that it is copied from: the verifier takes no unaligned word on the stack.
#[repr(C, align(8))]
pub struct SockTuple {
    /// Source address, network order.
    pub saddr: u32,
    /// Destination address, network order.
    pub daddr: u32,
    /// Source port, network order.
    pub sport: u16,
    /// Destination port, network order.
    pub dport: u16,
}

impl SockTuple {
    /// Its length to the kernel: up to the last field.
    pub const SIZE: u32 = 12;
}

/// Look the socket up in the namespace of the interface (`BPF_F_CURRENT_NETNS`).
pub const CURRENT_NETNS: u64 = u64::MAX;

/// `BPF_MAP_TYPE_*` of the maps used here.
pub mod map_type {
    /// A hash table.
    pub const HASH: usize = 1;
    /// An array indexed by u32.
    pub const ARRAY: usize = 2;
    /// An array with one value for each CPU.
    pub const PERCPU_ARRAY: usize = 6;
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

const NOEXIST: u64 = 1;

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

    /// Adds `key` unless it is there, with a value of at most eight bytes, the first of `value`'s.
    /// Whether it was added.
    #[inline(always)]
    pub fn add(&self, key: &K, value: u64) -> bool {
        const { assert!(size_of::<V>() <= size_of::<u64>()) };
        let (key, value) = (core::ptr::from_ref(key).cast(), (&raw const value).cast());
        // SAFETY: the key's type is the definition's, and the value is long enough.
        unsafe { map_update_elem(self.map(), key, value, NOEXIST) == 0 }
    }

    /// Removes `key`.
    #[inline(always)]
    pub fn remove(&self, key: &K) {
        // SAFETY: the key type is the definition's.
        unsafe { map_delete_elem(self.map(), core::ptr::from_ref(key).cast()) };
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

impl<K, V, const TYPE: usize, const ENTRIES: usize> Default for Map<K, V, TYPE, ENTRIES> {
    fn default() -> Self {
        Self::new()
    }
}
