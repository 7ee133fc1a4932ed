//! The other crate of `two_crates.rs`: a function that is not inlined, and a static of its own.
#![no_std]

static mut TOTAL: u64 = 7;

/// What was seen so far, with `more` of it.
#[inline(never)]
pub fn add(more: u64) -> u64 {
    // SAFETY: programs on other CPUs may add at the same time; a lost addend does no harm here.
    unsafe {
        let total = (&raw mut TOTAL).read_volatile() + more;
        (&raw mut TOTAL).write_volatile(total);
        total
    }
}
