//! Pages in a headless Chromium: a script of the test's own runs in the page and says what it saw.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::files::Folder;
use crate::run;

/// What starting a browser and drawing a page may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// How the window is.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Its size in pixels.
    pub size: (u32, u32),
    /// Whether the user prefers dark pages.
    pub dark: bool,
}

/// Where the answer stands.
const BEGIN: &str = "<pre id=\"answer\">";

/// A window of Chromium is never narrower.
const NARROWEST: u32 = 500;

/// A page with the page in a frame: there it has the width that is asked for.
fn framed(page: &str, (width, height): (u32, u32)) -> String {
    let page = page.replace('&', "&amp;").replace('"', "&quot;");
    format!(
        "<!doctype html><html><body><script>addEventListener('message', (event) => {{
const answer = document.createElement('pre'); answer.id = 'answer'; answer.textContent = event.data;
document.body.append(answer); }});</script>
<iframe style=\"width: {width}px; height: {height}px; border: 0\" srcdoc=\"{page}\"></iframe></body></html>"
    )
}

/// Opens a copy of the page in which `script`, the body of an asynchronous function, runs after the page's own; gives what
/// it returns. An error that the page or the browser reports is an error.
pub fn ask(page: &Path, window: Window, script: &str) -> Result<Value> {
    let folder = Folder::new()?;
    let text = std::fs::read_to_string(page).with_context(|| page.display().to_string())?;
    // Errors are heard from before the page's own script on.
    let (head, rest) = text
        .split_once("<title>")
        .context("a page without a title")?;
    let (body, end) = rest
        .rsplit_once("</body>")
        .context("a page without an end")?;
    let text = format!(
        "{head}<script>window.wrongs = []; addEventListener('error', (e) => wrongs.push(String(e.message)));
addEventListener('unhandledrejection', (e) => wrongs.push(String(e.reason)));
addEventListener('securitypolicyviolation', (e) => wrongs.push('policy: ' + e.blockedURI));</script><title>{body}\
<script>(async () => {{
const answer = document.createElement('pre'); answer.id = 'answer';
try {{ const value = await (async () => {{ {script} }})(); answer.textContent = JSON.stringify({{ value, wrongs }}); }}
catch (error) {{ answer.textContent = JSON.stringify({{ value: null, wrongs: [...wrongs, String(error)] }}); }}
if (parent === window) document.body.append(answer); else parent.postMessage(answer.textContent, '*');
}})();</script></body>{end}"
    );
    let (width, height) = window.size;
    let text = match width < NARROWEST {
        true => framed(&text, window.size),
        false => text,
    };
    let copy = folder.file("page.html", text)?;
    let mut command = Command::new("chromium");
    command.args([
        "--headless=new",
        // Tests run as root, where the sandbox cannot.
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--virtual-time-budget=10000",
        "--dump-dom",
    ]);
    command.arg(format!("--window-size={width},{height}"));
    // 0 is dark, 1 light (blink::mojom::PreferredColorScheme).
    let scheme = u8::from(!window.dark);
    command.arg(format!("--blink-settings=preferredColorScheme={scheme}"));
    command.arg(format!(
        "--user-data-dir={}",
        folder.path().join("profile").display()
    ));
    command.arg(format!("file://{copy}"));
    let output = run::output(command, LIMIT).context("cargo xtask setup installs chromium")?;
    let said: Vec<&str> = output
        .stderr
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .collect();
    ensure!(said.is_empty(), "on the console: {said:?}");
    let Some((_, answer)) = output.stdout.rsplit_once(BEGIN) else {
        bail!("the script did not end: {output:?}");
    };
    let answer = answer.split("</pre>").next().unwrap_or_default();
    let answer = answer
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    let mut answer: Value = serde_json::from_str(&answer).with_context(|| answer.clone())?;
    let wrongs = answer["wrongs"].take();
    ensure!(
        wrongs.as_array().is_some_and(Vec::is_empty),
        "wrong in the page: {wrongs}"
    );
    Ok(answer["value"].take())
}
