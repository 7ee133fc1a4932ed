//! Reading what the user names, within bounds: `/dev/zero` is a file too.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Result, bail};
use nix::errno::Errno;

/// The largest file that is read: enough for the longest list of backends and for any object.
const LARGEST: u64 = 16 << 20;

/// The bytes of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let done = File::open(path).and_then(|file| {
        let size = file.metadata()?.len().min(LARGEST);
        // One byte more tells the end of the file without a second buffer.
        bytes.reserve_exact(size as usize + 1);
        file.take(LARGEST + 1).read_to_end(&mut bytes)
    });
    if let Err(error) = done {
        bail!("{}: read: {}", path.display(), why(&error));
    }
    if bytes.len() as u64 > LARGEST {
        bail!("{}: larger than {} MiB", path.display(), LARGEST >> 20);
    }
    Ok(bytes)
}

/// The kernel's reason, in lower case and with its name.
fn why(error: &io::Error) -> String {
    let Some(code) = error.raw_os_error() else {
        return error.to_string();
    };
    let errno = Errno::from_raw(code);
    let text = errno.desc();
    let lower: String = text.chars().take(1).flat_map(char::to_lowercase).collect();
    format!("{lower}{} ({errno:?})", text.get(1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn what_cannot_be_read_says_why() {
        let text = |path| read(Path::new(path)).unwrap_err().to_string();
        assert_eq!(
            text("/nonexistent/backends"),
            "/nonexistent/backends: read: no such file or directory (ENOENT)"
        );
        assert_eq!(text("/proc"), "/proc: read: is a directory (EISDIR)");
        assert_eq!(text("/dev/zero"), "/dev/zero: larger than 16 MiB");
    }
}
