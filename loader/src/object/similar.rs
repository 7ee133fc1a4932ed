//! Names of the kernel that are like one it does not have: what an error offers instead.

use xdplb_linker::btf::TypeId;

use super::KernelTypes;
use super::core::{TypeKind, Types};

/// How many similar names an error lists.
const SIMILAR: usize = 3;
/// How many missing names similar ones are looked for: each costs a look at all of the kernel's.
const SOUGHT: usize = 8;

/// For each missing name (its kind, the prefix that is not shown, the name with it) the kernel's nearest ones.
pub(super) fn names(types: &KernelTypes, missing: &[(TypeKind, &str, &str)]) -> Vec<Vec<String>> {
    let missing = &missing[..missing.len().min(SOUGHT)];
    let mut near: Vec<Vec<(usize, String)>> = vec![Vec::new(); missing.len()];
    for number in types.first().0..=types.len() {
        let Some(ty) = types.ty(TypeId(number)) else {
            continue;
        };
        for ((kind, prefix, wanted), near) in missing.iter().zip(&mut near) {
            if ty.kind() != *kind {
                continue;
            }
            let Some(name) = types.text(ty.name).strip_prefix(prefix) else {
                continue;
            };
            let short = wanted.strip_prefix(prefix).unwrap_or(wanted);
            if let Some(distance) = distance(short, name) {
                near.push((distance, name.to_string()));
                near.sort();
                near.truncate(SIMILAR);
            }
        }
    }
    near.into_iter()
        .map(|near| near.into_iter().map(|(_, name)| name).collect())
        .collect()
}

/// How far two names are apart, where they are like each other at all: one within the other, or few letters changed.
fn distance(wanted: &str, has: &str) -> Option<usize> {
    if wanted.len() > 128 || has.len() > 128 || has.is_empty() {
        return None;
    }
    let difference = wanted.len().abs_diff(has.len());
    let within = |long: &str, short: &str| short.len() >= 5 && long.contains(short);
    if within(has, wanted) || within(wanted, has) {
        return (difference <= 16).then_some(difference);
    }
    let most = (wanted.len() / 4).min(3);
    if difference > most {
        return None;
    }
    Some(strsim::levenshtein(wanted, has)).filter(|&distance| distance <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_similar_by_parts_or_by_letters() {
        assert_eq!(distance("do_unlinkat", "do_unlinkat_x"), Some(2));
        assert_eq!(distance("tcp_v4_rvc", "tcp_v4_rcv"), Some(2));
        assert_eq!(distance("tcp_v4_rcv", "udp_v6_rcv_x"), None);
        assert_eq!(distance("ab", "cd"), None);
        assert_eq!(distance("", "x"), None);
    }
}
