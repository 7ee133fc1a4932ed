//! The machine's sizes: of a page, and the number of possible CPUs: a per-CPU map holds one value for each of them, present or not.
//!
//! Source: /sys/devices/system/cpu/possible, a list of ranges such as `0-3,8-11` (Documentation/admin-guide/cputopology.rst).

use std::sync::OnceLock;

use super::KernelError;

const PATH: &str = "/sys/devices/system/cpu/possible";

/// How many values user space reads and writes for one key of a per-CPU map.
pub fn possible_cpus() -> Result<usize, KernelError> {
    static COUNT: OnceLock<usize> = OnceLock::new();
    if let Some(&count) = COUNT.get() {
        return Ok(count);
    }
    let text = std::fs::read_to_string(PATH).map_err(|e| KernelError::Usage {
        what: format!("{PATH}: read the possible CPUs"),
        why: e.to_string(),
    })?;
    let count = parse(text.trim()).ok_or_else(|| KernelError::Usage {
        what: format!("{PATH}: read the possible CPUs"),
        why: format!(
            "`{}` is not a list of CPU ranges",
            text.trim().escape_default()
        ),
    })?;
    Ok(*COUNT.get_or_init(|| count))
}

/// Bytes in a page of memory.
pub fn page_size() -> u32 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|size| u32::try_from(size).ok())
        .unwrap_or(4096)
}

/// Counts the CPUs of a list such as `0-3,5`.
fn parse(list: &str) -> Option<usize> {
    let mut count = 0usize;
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        // 8192 is the largest CONFIG_NR_CPUS of any architecture; more would be a broken file, not a machine.
        if last < first || last >= 8192 {
            return None;
        }
        count += last - first + 1;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_counted() {
        for (list, count) in [
            ("0", Some(1)),
            ("0-3", Some(4)),
            ("0-3,5", Some(5)),
            ("0,2-3,7", Some(4)),
        ] {
            assert_eq!(parse(list), count, "{list}");
        }
        for list in ["", "x", "3-1", "0-", "0-99999999999", "-1"] {
            assert_eq!(parse(list), None, "{list}");
        }
    }
}
