//! Every command of the book and of the other pages, run as a reader runs it; what it prints is held against the page. Needs root.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xdplb_tests::book::session::Session;
use xdplb_tests::book::{Kind, Page, links, pages};
use xdplb_tests::run;

/// Plays pages in order in one session.
fn play(pages: &[&Page]) -> Result<()> {
    let session = Session::new()?;
    let mut failures = Vec::new();
    for page in pages {
        failures.append(&mut session.play(page)?);
    }
    let texts = failures
        .iter()
        .map(|failure| format!("\n{}: {}", failure.place, failure.what));
    let texts: Vec<String> = texts.collect();
    ensure!(
        texts.is_empty(),
        "{} commands:{}",
        texts.len(),
        texts.concat()
    );
    Ok(())
}

fn is_chapter(page: &Page) -> bool {
    page.path.parent() == Some(Path::new("docs/book"))
}

/// `XDPLB_PAGE=part-of-a-path` runs only the pages of such a name.
fn chosen(page: &Page) -> bool {
    let wanted = std::env::var("XDPLB_PAGE").unwrap_or_default();
    page.path.display().to_string().contains(&wanted)
}

#[test]
fn the_chapters_do_what_they_say_one_after_the_other() -> Result<()> {
    let pages = pages()?;
    let summary = pages.iter().find(|page| page.path.ends_with("SUMMARY.md"));
    let mut chapters = Vec::new();
    for link in summary.iter().flat_map(|summary| &summary.links) {
        let path = links::target(summary.unwrap_or(&pages[0]), &link.to);
        chapters.extend(pages.iter().find(|page| page.path == path));
    }
    chapters.retain(|page| is_chapter(page) && chosen(page));
    play(&chapters)
}

#[test]
fn every_other_page_does_what_it_says_by_itself() -> Result<()> {
    let pages = pages()?;
    for page in pages
        .iter()
        .filter(|page| !is_chapter(page) && chosen(page))
    {
        play(&[page])?;
    }
    Ok(())
}

/// Nothing is skipped in silence: each reason is printed, and says more than that it is one.
#[test]
fn what_is_not_run_says_why() -> Result<()> {
    for page in pages()? {
        for block in &page.blocks {
            let place = page.place(block.line);
            if let Kind::NotRun(reason) = &block.kind {
                println!("{place} is not run: {reason}");
                ensure!(reason.split(' ').count() > 3, "{place}: why not?");
            }
            let unmarked =
                block.kind == Kind::Shown && block.text.lines().any(|line| line.starts_with("$ "));
            ensure!(
                !unmarked,
                "{place}: commands in a block that is not `console`"
            );
        }
    }
    Ok(())
}

/// The instances of the kernel's trace and the folders that a script makes bear its process's number.
fn left_behind(pid: u32) -> Vec<String> {
    let name = format!("xdplb-trap-{pid}");
    let folders = ["/tmp", "/sys/kernel/tracing/instances"];
    let entries = folders
        .into_iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok());
    let paths = entries
        .flatten()
        .flatten()
        .map(|entry| entry.path().display().to_string());
    paths.filter(|path| path.contains(&name)).collect()
}

#[test]
fn an_interrupted_script_leaves_nothing_behind() -> Result<()> {
    let session = Session::new()?;
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut script = session.command("docs/book/traps/bulk-tx.sh");
        let mut child = script.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let pid = child.id();
        let end = Instant::now() + Duration::from_secs(60);
        while left_behind(pid).len() < 2 {
            ensure!(Instant::now() < end, "the script makes nothing");
            std::thread::sleep(Duration::from_millis(10));
        }
        kill(Pid::from_raw(i32::try_from(pid)?), signal)?;
        let status = run::wait(&mut child, Duration::from_secs(60))?;
        let code = status.and_then(|status| status.code());
        ensure!(code == Some(128 + signal as i32), "{signal}: {code:?}");
        ensure!(
            left_behind(pid).is_empty(),
            "{signal}: {:?}",
            left_behind(pid)
        );
    }
    Ok(())
}
