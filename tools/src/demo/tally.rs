//! Who answered how often, and whether that is what a balancer should give.

use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::fmt;

/// What came of one request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A server's text, which begins with its name.
    Body(String),
    /// Why there was none.
    Failed(String),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Body(text) => f.write_str(text),
            Answer::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

/// The answers so far.
#[derive(Debug, Default)]
pub struct Tally {
    by_server: BTreeMap<String, usize>,
    failed: usize,
}

impl Tally {
    /// Counts one.
    pub fn add(&mut self, answer: Answer) {
        match answer {
            Answer::Body(text) => {
                let name = text.split(' ').next().unwrap_or_default().to_owned();
                *self.by_server.entry(name).or_default() += 1;
            }
            Answer::Failed(_) => self.failed += 1,
        }
    }

    /// Every request answered, and each of `servers` among those who answered.
    pub fn verdict(&self, servers: [&str; 2]) -> Result<()> {
        if self.failed > 0 {
            bail!("demo: {} of {} requests failed", self.failed, self.total());
        }
        for server in servers {
            if !self.by_server.contains_key(server) {
                bail!("demo: {server} answered none of {} requests", self.total());
            }
        }
        Ok(())
    }

    fn total(&self) -> usize {
        self.by_server.values().sum::<usize>() + self.failed
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests:", self.total())?;
        for (server, count) in &self.by_server {
            write!(f, " {server} answered {count}")?;
            write!(f, ",")?;
        }
        writeln!(f, " {} failed", self.failed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn tally(answers: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for text in answers {
            tally.add(match text.strip_prefix('!') {
                Some(why) => Answer::Failed(why.into()),
                None => Answer::Body((*text).into()),
            });
        }
        tally
    }

    #[test]
    fn both_servers_must_answer() {
        let both = tally(&[
            "h2 at 10.0.0.2:8000",
            "h3 at 10.0.0.3:8000",
            "h2 at 10.0.0.2:8000",
        ]);
        assert_eq!(
            both.to_string(),
            "3 requests: h2 answered 2, h3 answered 1, 0 failed\n"
        );
        both.verdict(["h2", "h3"]).unwrap();
        let error = tally(&["h2 at 10.0.0.2:8000"])
            .verdict(["h2", "h3"])
            .unwrap_err();
        assert_eq!(error.to_string(), "demo: h3 answered none of 1 requests");
    }

    #[test]
    fn a_failed_request_fails_the_demo() {
        let one = tally(&["h2 at", "h3 at", "!timeout"]);
        assert_eq!(
            one.verdict(["h2", "h3"]).unwrap_err().to_string(),
            "demo: 1 of 3 requests failed"
        );
    }
}
