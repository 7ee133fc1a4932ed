//! Where links lead: files of the repository, and headings in them.

use std::path::{Component, Path, PathBuf};

use super::{Link, Page};

/// What is wrong with the links of these pages, a line each.
pub fn broken(root: &Path, pages: &[Page]) -> Vec<String> {
    let mut found = Vec::new();
    for page in pages {
        for link in &page.links {
            if let Some(why) = trouble(root, pages, page, link) {
                found.push(format!("{}: `{}`: {why}", page.place(link.line), link.to));
            }
        }
    }
    found
}

fn trouble(root: &Path, pages: &[Page], page: &Page, link: &Link) -> Option<String> {
    if link.picture.as_ref().is_some_and(|text| text.len() < 20) {
        return Some("a picture without a text alternative that says what it shows".into());
    }
    if link.to.starts_with("http://") || link.to.starts_with("https://") {
        return None;
    }
    let (file, anchor) = match link.to.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (link.to.as_str(), None),
    };
    let path = target(page, file);
    if !root.join(&path).exists() {
        return Some("no such file".into());
    }
    let anchor = anchor?;
    let Some(there) = pages.iter().find(|page| page.path == path) else {
        return Some("an anchor in what is no page".into());
    };
    let known = there.anchors.iter().any(|one| one == anchor);
    (!known).then(|| format!("no such heading; there are: {}", there.anchors.join(" ")))
}

/// Where a relative path of a page leads, from the root.
pub fn target(page: &Page, file: &str) -> PathBuf {
    if file.is_empty() {
        return page.path.clone();
    }
    let folder = page.path.parent().unwrap_or(Path::new(""));
    let mut path = PathBuf::new();
    for part in folder.join(file).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn each_trouble_is_found() {
        let text = "# Here\n[a](no.md) [b](#here) [c](#there) [d](../x/p.md#here) [e](https://x) ![f](p.md)\n";
        let root = std::env::temp_dir().join(format!("xdplb-links-{}", std::process::id()));
        std::fs::create_dir_all(root.join("x")).unwrap();
        std::fs::write(root.join("x/p.md"), text).unwrap();
        let page = Page::parse("x/p.md".into(), text.into()).unwrap();
        let found = broken(&root, &[page]);
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(
            found,
            [
                "x/p.md:2: `no.md`: no such file",
                "x/p.md:2: `#there`: no such heading; there are: here",
                "x/p.md:2: `p.md`: a picture without a text alternative that says what it shows",
            ]
        );
    }
}
