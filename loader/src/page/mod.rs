//! A load as one page: stories with the little that draws them, in a single file that fetches nothing.
//!
//! What comes from an object or a kernel is in the page as JSON alone, which no byte can break out of ([`embedded`]), and the
//! script puts it in as text, never as markup. The page forbids itself the network by its own policy.

use std::io::{self, Write};
use std::path::Path;

use crate::story::Story;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Writes the page of stories.
///
/// # Errors
///
/// Those of the file.
pub fn write(stories: &[Story], path: &Path) -> io::Result<()> {
    let page = html(stories)?;
    std::fs::File::create(path)?.write_all(page.as_bytes())
}

/// The page as text.
fn html(stories: &[Story]) -> io::Result<String> {
    let story = embedded(&serde_json::to_string(stories)?);
    // The data goes in last, and once: what it says of places is left alone.
    let page = PAGE
        .replace("{{STYLE}}", STYLE)
        .replace("{{SCRIPT}}", SCRIPT);
    Ok(page.replacen("{{STORY}}", &story, 1))
}

/// JSON that can stand in a `script` element: without `<` neither its end nor a comment can be written (HTML, 4.12.1.3).
fn embedded(json: &str) -> String {
    json.replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    /// The data between the tags.
    fn data(page: &str) -> &str {
        let (_, rest) = page.split_once("id=\"story\">").unwrap();
        rest.split_once("</script>").unwrap().0
    }

    #[test]
    fn no_name_breaks_out_of_the_data() {
        let evil = "</script><script>alert(1)</script><!-- {{STORY}} {{SCRIPT}} & \u{2028}\u{0}";
        let mut story = Story::default();
        story.object.path = evil.into();
        let page = html(&[story]).unwrap();
        assert!(!page.contains("alert(1)</script>"));
        assert_eq!(page.matches("</script>").count(), 2);
        let read: serde_json::Value = serde_json::from_str(data(&page)).unwrap();
        assert_eq!(read[0]["object"]["path"], evil);
    }

    #[test]
    fn nothing_is_fetched() {
        let page = html(&[]).unwrap();
        for outside in [
            "http:",
            "https:",
            "//cdn",
            "src=",
            "href",
            "@import",
            "url(",
            "fetch(",
            "innerHTML",
        ] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("default-src 'none'"));
        assert!(!page.contains("{{"), "a place was not filled in");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error() {
        let error = write(&[], Path::new("/nowhere/page.html")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
