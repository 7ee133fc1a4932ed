//! Makes names that the kernel accepts out of the names that rustc writes.
//!
//! The kernel takes letters, digits and `_`, not beginning with a digit, in at most 127 bytes (`__btf_name_valid` in
//! kernel/bpf/btf.c of Linux 6.1; newer kernels are more generous). rustc writes `Option<&prog::Flow>`.

use std::borrow::Cow;

/// `KSYM_NAME_LEN - 1` of the kernels before 6.1, the shortest limit in use.
const MAX_LEN: usize = 127;

/// The name itself when the kernel accepts it, else a name made from it that reads much the same.
///
/// `Option<&prog::Flow>` becomes `Option_ref_prog_Flow`, `(u32, u8)` becomes `_u32_u8`, `()` becomes `unit`. Names
/// that are too long end in a hash of the whole, so that two of them stay two. The empty name stays empty.
pub fn valid_name(name: &str) -> Cow<'_, str> {
    if is_valid(name) {
        return Cow::Borrowed(name);
    }
    let mut made = spelled(name);
    if made.is_empty() || made == "_" {
        made = match name {
            "()" => "unit".into(),
            "!" => "never".into(),
            _ => format!("_{:08x}", hash(name)),
        };
    }
    if made.starts_with(|c: char| c.is_ascii_digit()) {
        made.insert(0, '_');
    }
    if made.len() > MAX_LEN {
        made.truncate(MAX_LEN - 9);
        made.push_str(&format!("_{:08x}", hash(name)));
    }
    Cow::Owned(made)
}

fn is_valid(name: &str) -> bool {
    name.len() <= MAX_LEN
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Letters and digits as they are, the signs that tell types apart as words, all else as one `_`.
fn spelled(name: &str) -> String {
    let mut made = String::with_capacity(name.len());
    let mut gap = false;
    for c in name.chars() {
        let word = match c {
            '&' => "ref",
            '*' => "ptr",
            _ if c.is_ascii_alphanumeric() || c == '_' => {
                if gap {
                    made.push('_');
                }
                gap = false;
                made.push(c);
                continue;
            }
            _ => {
                gap = true;
                continue;
            }
        };
        if gap || !made.is_empty() && !made.ends_with('_') {
            made.push('_');
        }
        made.push_str(word);
        gap = true;
    }
    made
}

/// FNV-1a, 32 bits: the same on every machine, which a name in a file must be.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    fn check(name: &str, expected: &str) {
        assert_eq!(valid_name(name), expected);
    }

    #[test]
    fn names_that_are_valid_stay() {
        for name in ["", "bpf_spin_lock", "u32", "__ARRAY_SIZE_TYPE__", "_0"] {
            check(name, name);
        }
    }

    #[test]
    fn rust_names_stay_readable() {
        check("Option<&prog::Flow>", "Option_ref_prog_Flow");
        check("MapDef<u32, p::B, 2>", "MapDef_u32_p_B_2");
        check("*const u8", "ptr_const_u8");
        check("&[u8]", "ref_u8");
        check("(u32, u8)", "_u32_u8");
        check("[u8; 4]", "_u8_4");
        check("()", "unit");
        check("!", "never");
        check("9lives", "_9lives");
        check("_RNvC1p6COUNT2.0", "_RNvC1p6COUNT2_0");
    }

    #[test]
    fn long_names_are_cut_and_stay_distinct() {
        let (one, two) = ("a".repeat(200) + "1", "a".repeat(200) + "2");
        assert_eq!(valid_name(&one).len(), MAX_LEN);
        assert_ne!(valid_name(&one), valid_name(&two));
    }

    proptest! {
        #[test]
        fn whatever_comes_out_is_valid(name in ".{0,300}") {
            let made = valid_name(&name);
            prop_assert!(is_valid(&made));
            prop_assert_eq!(made.is_empty(), name.is_empty());
        }
    }
}
