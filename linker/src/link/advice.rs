//! What to try: the cures for symbols that nobody defines and for panics, by the names that compilers call.

/// Why nobody defines `symbol`, where its name is known to mean something.
pub(super) fn undefined(symbol: &str) -> Option<String> {
    let function = symbol.rsplit("::").next().unwrap_or(symbol);
    let text = match function {
        "memcpy" | "memmove" | "memset" | "memcmp" | "bcmp" => format!(
            "BPF has no `{function}`: the compiler expands it where the length is constant and small; copy by a loop with a \
             bound, or by a helper (bpf_probe_read_kernel, bpf_xdp_load_bytes)"
        ),
        "__multi3" | "__udivti3" | "__umodti3" | "__divti3" | "__modti3" | "__ashlti3"
        | "__lshrti3" | "__ashrti3" | "__mulodi4" | "__muloti4" => format!(
            "`{function}` is 128-bit arithmetic, which BPF lacks: u128, `checked_mul` and `saturating_mul` of u64 need it; \
             `wrapping_mul`, or a division before the multiplication, do not"
        ),
        "__divdi3" | "__moddi3" | "__sdivdi3" => {
            "signed division needs cpu v4: divide unsigned, or set \"cpu\": \"v4\" in target.json (Linux 6.6)"
                .to_owned()
        }
        "__stack_chk_fail" | "__stack_chk_guard" => {
            "compile with -fno-stack-protector: BPF's stack is guarded by the verifier".to_owned()
        }
        "rust_begin_unwind" => {
            "the crate has no panic handler: #[panic_handler] fn panic(_: &PanicInfo) -> ! { loop {} }".to_owned()
        }
        "rust_eh_personality" => "set panic = \"abort\" in the profile".to_owned(),
        "__rust_alloc" | "__rust_dealloc" | "__rust_realloc" | "malloc" | "free" | "calloc" => {
            "BPF has no heap: keep the value in a map".to_owned()
        }
        "printf" | "puts" | "printk" => {
            "BPF prints by bpf_trace_printk, to /sys/kernel/tracing/trace_pipe".to_owned()
        }
        _ if is_float(function) => "BPF has no floating point: use integers".to_owned(),
        _ if symbol.starts_with("core::panicking::") || symbol.starts_with("core::") => {
            "compile with lto = \"fat\", so that `core` takes part; if this is a panic, avoid it".to_owned()
        }
        _ if function.starts_with("bpf_") => format!(
            "`{function}` looks like a helper or kfunc: a helper is called by its number (`static … = (void *) N`; Rust: a \
             transmuted address), a kfunc is declared with __ksym and needs -g"
        ),
        _ => return None,
    };
    Some(text)
}

/// libgcc's names for soft floating point: `__adddf3`, `__floatundisf`, `__fixdfsi`.
fn is_float(function: &str) -> bool {
    function.strip_prefix("__").is_some_and(|rest| {
        ["df", "sf", "tf"].iter().any(|mode| rest.contains(mode))
            && rest
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    })
}

/// How to be rid of a panic, by the function of Rust's library that would have panicked.
pub(super) fn panic(function: Option<&str>) -> String {
    let function = function.unwrap_or_default();
    let holds = |word: &str| function.contains(word);
    let text = if holds("panic_bounds_check") {
        "`get(index)` and handle None, or compare the index with the length first"
    } else if holds("slice_index")
        || holds("slice_start")
        || holds("slice_end")
        || holds("slice::index")
    {
        "`get(from..to)` and handle None"
    } else if holds("copy_from_slice") || holds("len_mismatch") {
        "slices whose lengths the compiler knows: arrays, `first_chunk`, `as_chunks`"
    } else if holds("overflow") {
        "`wrapping_add` and the like, or overflow-checks = false in the profile"
    } else if holds("div_by_zero") || holds("rem_by_zero") {
        "`checked_div` and `checked_rem`, or compare the divisor with zero first"
    } else if holds("unwrap_failed") || holds("expect_failed") {
        "`let Some(x) = … else { return … }`, or `?`, instead of `unwrap` and `expect`"
    } else if holds("assert_failed") {
        "return an action instead of asserting"
    } else if holds("unreachable") {
        "return an action in the case that cannot happen"
    } else {
        "handle the case: return an action where the program would panic; opt-level 3 and lto = \"fat\" remove checks that \
         cannot fail"
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floating_point_is_known_by_its_names() {
        for name in ["__adddf3", "__floatundisf", "__fixdfsi", "__ltsf2"] {
            assert!(is_float(name), "{name}");
        }
        for name in ["__multi3", "adddf3", "__my_dfs"] {
            assert!(!is_float(name), "{name}");
        }
    }
}
