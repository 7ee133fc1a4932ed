//! What the guests said, as a table: a row for each thing that was tried, a column for each kernel.
//!
//! A guest says `kernel RELEASE` and, for everything it tries, `tried WHAT: RESULT`.

/// Markdown, as it stands in docs/kernels.md.
pub fn markdown(columns: &[Vec<&str>]) -> String {
    let mut rows: Vec<&str> = Vec::new();
    for (what, _) in columns.iter().flatten().copied().filter_map(tried) {
        if !rows.contains(&what) {
            rows.push(what);
        }
    }
    let kernels: Vec<&str> = columns.iter().map(|said| kernel(said)).collect();
    let mut text = format!(
        "| | {} |\n|---|{}\n",
        kernels.join(" | "),
        "---|".repeat(kernels.len())
    );
    for what in rows {
        let cells: Vec<&str> = columns
            .iter()
            .map(|said| {
                let result = said
                    .iter()
                    .copied()
                    .filter_map(tried)
                    .find(|(of, _)| *of == what);
                result.map_or("", |(_, result)| result)
            })
            .collect();
        text.push_str(&format!("| {what} | {} |\n", cells.join(" | ")));
    }
    text
}

fn tried(words: &str) -> Option<(&str, &str)> {
    words.strip_prefix("tried ")?.split_once(": ")
}

fn kernel<'a>(said: &[&'a str]) -> &'a str {
    let release = said.iter().find_map(|words| words.strip_prefix("kernel "));
    let release = release.unwrap_or("did not start");
    release.strip_suffix("-cloud-amd64").unwrap_or(release)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_kernel_lacks_is_an_empty_cell() {
        let columns = [
            vec![
                "kernel 5.10.0-32-cloud-amd64",
                "tried ours, native: forwards",
                "failed: x: y",
            ],
            vec![
                "kernel 6.1.0",
                "tried ours, native: forwards",
                "tried bloom: loads",
                "passed",
            ],
            vec![],
        ];
        assert_eq!(
            markdown(&columns),
            "| | 5.10.0-32 | 6.1.0 | did not start |\n|---|---|---|---|\n\
             | ours, native | forwards | forwards |  |\n| bloom |  | loads |  |\n"
        );
    }
}
