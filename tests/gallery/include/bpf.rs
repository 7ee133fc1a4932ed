//! What the Rust sources of the gallery share: the context, the helpers in use, how a map is defined.
#![allow(dead_code, unused_macros, unused_imports, non_upper_case_globals)]

use core::mem::transmute;

pub const DROP: u32 = 1;
pub const PASS: u32 = 2;

/// `struct xdp_md`.
#[repr(C)]
pub struct Context {
    fields: [u32; 6],
}

impl Context {
    fn field(&self, index: usize) -> u32 {
        // SAFETY: the kernel hands over the context; the compiler must not merge or move what is read of it.
        unsafe { (&raw const self.fields[index]).read_volatile() }
    }

    #[inline(always)]
    pub fn data(&self) -> usize {
        self.field(0) as usize
    }

    #[inline(always)]
    pub fn data_end(&self) -> usize {
        self.field(1) as usize
    }

    #[inline(always)]
    pub fn queue(&self) -> u32 {
        self.field(4)
    }
}

/// A map's definition: only the types of its fields are read.
macro_rules! map {
    ($name:ident: $kind:ident, $key:ty, $value:ty, $entries:literal) => {
        #[unsafe(link_section = ".maps")]
        #[unsafe(no_mangle)]
        #[allow(non_upper_case_globals)]
        static $name: $crate::bpf::Map<$key, $value, { $crate::bpf::$kind }, $entries> = $crate::bpf::Map::new();
    };
}
pub(crate) use map;

macro_rules! ring {
    ($name:ident, $bytes:literal) => {
        #[unsafe(link_section = ".maps")]
        #[unsafe(no_mangle)]
        #[allow(non_upper_case_globals)]
        static $name: $crate::bpf::Ring<$bytes> = $crate::bpf::Ring::new();
    };
}
pub(crate) use ring;

pub const HASH: usize = 1;
const RINGBUF: usize = 27;

#[repr(C)]
pub struct Map<K: 'static, V: 'static, const KIND: usize, const ENTRIES: usize> {
    r#type: *const [i32; KIND],
    key: *const K,
    value: *const V,
    max_entries: *const [i32; ENTRIES],
}

// SAFETY: it holds null pointers that nobody follows.
unsafe impl<K, V, const KIND: usize, const ENTRIES: usize> Sync for Map<K, V, KIND, ENTRIES> {}

impl<K, V, const KIND: usize, const ENTRIES: usize> Map<K, V, KIND, ENTRIES> {
    pub const fn new() -> Self {
        let null = core::ptr::null();
        Self { r#type: null as _, key: null as _, value: null as _, max_entries: core::ptr::null() }
    }
}

#[repr(C)]
pub struct Ring<const BYTES: usize> {
    r#type: *const [i32; RINGBUF],
    max_entries: *const [i32; BYTES],
}

// SAFETY: it holds null pointers that nobody follows.
unsafe impl<const BYTES: usize> Sync for Ring<BYTES> {}

impl<const BYTES: usize> Ring<BYTES> {
    pub const fn new() -> Self {
        Self { r#type: core::ptr::null(), max_entries: core::ptr::null() }
    }
}

#[inline(always)]
pub fn lookup<K, V, const T: usize, const N: usize>(map: &Map<K, V, T, N>, key: &K) -> *mut V {
    // SAFETY: helper 1 is bpf_map_lookup_elem(map, key).
    let call: extern "C" fn(*const (), *const K) -> *mut V = unsafe { transmute(1usize) };
    call((&raw const *map).cast(), key)
}

#[inline(always)]
pub fn reserve<const N: usize>(ring: &Ring<N>, size: u64) -> *mut u64 {
    // SAFETY: helper 131 is bpf_ringbuf_reserve(ring, size, flags).
    let call: extern "C" fn(*const (), u64, u64) -> *mut u64 = unsafe { transmute(131usize) };
    call((&raw const *ring).cast(), size, 0)
}

#[inline(always)]
pub fn submit(record: *mut u64) {
    // SAFETY: helper 132 is bpf_ringbuf_submit(record, flags).
    let call: extern "C" fn(*mut u64, u64) = unsafe { transmute(132usize) };
    call(record, 0)
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
