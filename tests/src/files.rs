//! Files of a test: a folder under /tmp that goes with it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::run;

/// A compiler that takes longer is stuck.
const LIMIT: Duration = Duration::from_secs(30);

const PREFIX: &str = "xdplb-tests-";

/// A folder that is removed when this is dropped. What a killed run left behind is removed by the next.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes one.
    pub fn new() -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let base = std::env::temp_dir();
        sweep(&base);
        let name = format!(
            "{PREFIX}{}-{}",
            std::process::id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        );
        let path = base.join(name);
        std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file and returns its path.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<String> {
        let path = self.path.join(name);
        std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
        Ok(path.display().to_string())
    }

    /// Compiles a source for BPF, with types; the object's path.
    pub fn object(&self, name: &str, source: &str) -> Result<String> {
        let source = self.file(&format!("{name}.c"), source)?;
        let object = self.path.join(format!("{name}.o"));
        let mut clang = Command::new("clang");
        clang.args(["-O2", "-g", "-target", "bpf", "-c", &source, "-o"]);
        clang.arg(&object);
        let output = run::output(clang, LIMIT)?;
        ensure!(output.code == Some(0), "clang: {}", output.stderr);
        Ok(object.display().to_string())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Where it cannot be removed, the next run tries again.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Removes the folders of processes that have ended.
fn sweep(base: &Path) {
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another runner may sweep the same one at this moment.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn it_goes_and_so_does_what_a_dead_run_left() {
        // Larger than any process id (Linux: at most 2^22).
        let old = std::env::temp_dir().join(format!("{PREFIX}99999999-0"));
        std::fs::create_dir_all(&old).unwrap();
        let folder = Folder::new().unwrap();
        assert!(!old.exists());
        folder.file("a", "b").unwrap();
        let path = folder.path().to_path_buf();
        drop(folder);
        assert!(!path.exists());
    }
}
