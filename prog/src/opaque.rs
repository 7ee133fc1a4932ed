//! What the compiler must not see through, so that the verifier sees what it needs: a bound that was put on the very register
//! that is used, one addition before another. Unlike [`core::hint::black_box`], which goes through memory, it costs no
//! instruction.

/// The same value, of which the compiler knows nothing. `T` fits into a register of 64 bits and fills it.
#[inline(always)]
pub fn opaque<T: Copy>(value: T) -> T {
    const { assert!(size_of::<T>() == size_of::<u64>()) }
    #[cfg(feature = "bpf")]
    {
        // SAFETY: of the same size; no instruction changes it, and a pointer keeps what it points to.
        unsafe {
            let mut word: u64 = core::mem::transmute_copy(&value);
            core::arch::asm!("/* {0} */", inlateout(reg) word, options(nomem, nostack, preserves_flags));
            core::mem::transmute_copy(&word)
        }
    }
    #[cfg(not(feature = "bpf"))]
    value
}
