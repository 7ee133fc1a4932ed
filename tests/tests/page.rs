//! The page of `--explain=html:FILE` in a browser: it draws itself without errors, fetches nothing, and its clicks and keys do
//! what they say. Needs root and chromium.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use xdplb_tests::browser::{Window, ask};
use xdplb_tests::files::Folder;
use xdplb_tests::{balancer, objects, run};

const WIDE: Window = Window {
    size: (1500, 1000),
    dark: false,
};

/// The page of some objects of the set, in a folder that goes with the test.
fn page(names: &[&str]) -> Result<(Folder, PathBuf)> {
    let folder = Folder::new()?;
    let path = folder.path().join("page.html");
    let mut command = Command::new(balancer::binary()?);
    command.arg("verify");
    command.arg(format!("--explain=html:{}", path.display()));
    let built = objects::built()?;
    for name in names {
        let mut built = built.iter();
        let found = built.find(|(case, _)| case.name == *name);
        let (_, object) = found.with_context(|| format!("no object {name}"))?;
        command.arg(object);
    }
    let output = run::output(command, Duration::from_secs(60))?;
    ensure!(path.is_file(), "no page: {output:?}");
    Ok((folder, path))
}

/// The texts of rows that are lit, a list for each column.
const LIT: &str = "const lit = () => Object.fromEntries([...document.querySelectorAll('.panel')].map((panel) =>
    [panel.dataset.kind, [...panel.querySelectorAll('.row.lit .text')].map((text) => text.textContent.trim())]));
const rows = (kind) => [...document.querySelectorAll(`.panel[data-kind=${kind}] .row`)];
const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
const texts = (selector) => [...document.querySelectorAll(selector)].map((one) => one.textContent);\n";

fn check(page: &std::path::Path, window: Window, script: &str, expected: Value) -> Result<()> {
    let found = ask(page, window, &format!("{LIT}{script}"))?;
    ensure!(found == expected, "found {found:#}\nexpected {expected:#}");
    Ok(())
}

#[test]
fn a_source_line_lights_up_what_it_became() -> Result<()> {
    let (_folder, page) = page(&["counter"])?;
    check(
        &page,
        WIDE,
        "const line = rows('source').find((row) => row.textContent.includes('*count += 1'));
         line.click();
         const first = lit();
         const { xlated, jited, ...others } = first;
         return { others, xlated: xlated.slice(-3), jited: jited.length > 0,
             dark: rows('object').filter((row) => !row.classList.contains('lit')).length,
             relocations: texts('#relocations h3'), maps: texts('.map h3'),
             states: texts('#verifier .state b').length,
             fetched: performance.getEntriesByType('resource').length };",
        json!({
            "others": {
                "source": ["*count += 1;"],
                "object": ["r1 = *(u64 *)(r0 +0)", "r1 += 1", "*(u64 *)(r0 +0) = r1"],
                "relocated": ["r1 = *(u64 *)(r0 +0)", "r1 += 1", "*(u64 *)(r0 +0) = r1"],
            },
            "xlated": ["r1 = *(u64 *)(r0 +0)", "r1 += 1", "*(u64 *)(r0 +0) = r1"],
            "jited": true,
            "dark": 6,
            "relocations": ["Relocations here: 0"],
            "maps": [],
            "states": 3,
            "fetched": 0,
        }),
    )
}

#[test]
fn an_instruction_shows_its_relocation_its_map_and_the_registers() -> Result<()> {
    let (_folder, page) = page(&["counter"])?;
    check(
        &page,
        WIDE,
        "rows('relocated')[0].click();
         return { relocation: texts('#relocations b'), map: texts('.map.lit h3'),
             registers: texts('#verifier .state b'), knew: texts('#verifier .state .code').slice(-1)[0].startsWith('after R1=map_ptr'),
             source: lit().source.length };",
        json!({
            "relocation": ["0: packets"],
            "map": ["Map packets"],
            "registers": ["0: r1 = map[packets]"],
            "knew": true,
            "source": 1,
        }),
    )
}

#[test]
fn the_keyboard_goes_everywhere() -> Result<()> {
    let (_folder, page) = page(&["counter"])?;
    check(
        &page,
        WIDE,
        "const found = {};
         found.tab_stops = [...document.querySelectorAll('.rows')].every((list) => list.querySelectorAll('[tabindex=\"0\"]').length === 1);
         rows('object')[0].focus();
         press('ArrowDown'); found.down = document.activeElement.dataset.insn;
         press('End'); found.end = document.activeElement.textContent;
         press('Home'); found.home = document.activeElement.dataset.insn;
         press('ArrowRight'); found.right = document.activeElement.dataset.kind;
         press('ArrowLeft'); press('ArrowLeft'); found.left = document.activeElement.dataset.kind;
         found.lit = lit().source.length;
         press('Escape'); found.gone = Object.values(lit()).flat().length;
         return found;",
        json!({
            "tab_stops": true,
            "down": "2",
            "end": "10exit",
            "home": "0",
            "right": "relocated",
            "left": "source",
            "lit": 1,
            "gone": 0,
        }),
    )
}

#[test]
fn bytes_tell_their_field() -> Result<()> {
    let (_folder, page) = page(&["counter"])?;
    check(
        &page,
        WIDE,
        "document.querySelector('#pipeline button[data-stage=programs]').click();
         const call = [...document.querySelectorAll('details.call')].find((one) => one.textContent.includes('BPF_PROG_LOAD'));
         call.open = true;
         await new Promise((done) => setTimeout(done, 500));
         const told = () => call.querySelector('.told').textContent;
         const fields = [...call.querySelectorAll('.bytes')][0].querySelectorAll('.field:not(.padding)');
         fields[0].dispatchEvent(new MouseEvent('mouseenter'));
         const type = told();
         fields[0].focus();
         press('ArrowRight');
         return { type: type.includes('prog_type') && type.includes('BPF_PROG_TYPE_XDP'),
             next: document.activeElement.dataset.field, told: told().includes('insn_cnt'), bytes: fields[0].textContent };",
        json!({ "type": true, "next": "insn_cnt", "told": true, "bytes": "06 00 00 00" }),
    )
}

#[test]
fn several_objects_and_failures_have_their_turn() -> Result<()> {
    let (_folder, page) = page(&["counter", "verifier_rejects"])?;
    check(
        &page,
        WIDE,
        "const found = { tabs: texts('#objects button'), errors: document.querySelectorAll('pre.error').length };
         document.querySelectorAll('#objects button')[1].click();
         found.title = document.title; found.programs = texts('#programs button').length;
         found.errors_then = document.querySelectorAll('pre.error').length;
         document.querySelectorAll('#programs button')[1].click();
         found.empty = texts('.panel[data-kind=jited] .none').length;
         return found;",
        json!({
            "tabs": ["counter.o", "verifier_rejects.o"],
            "errors": 0,
            "title": "verifier_rejects.o: a load, explained",
            "programs": 6,
            "errors_then": 5,
            "empty": 1,
        }),
    )
}

#[test]
fn a_phone_needs_no_scrolling_sideways() -> Result<()> {
    let (_folder, page) = page(&["counter", "core_fields"])?;
    let phone = Window {
        size: (360, 740),
        dark: false,
    };
    check(
        &page,
        phone,
        "document.querySelectorAll('#objects button')[1].click();
         rows('source')[0].click();
         document.querySelectorAll('details').forEach((one) => { one.open = true; });
         await new Promise((done) => setTimeout(done, 500));
         document.querySelectorAll('.field').forEach((one) => one.dispatchEvent(new MouseEvent('mouseenter')));
         return { width: innerWidth, beyond: Math.max(0, document.documentElement.scrollWidth - innerWidth),
             columns: new Set([...document.querySelectorAll('.panel')].map((one) => one.offsetLeft)).size };",
        json!({ "width": 360, "beyond": 0, "columns": 1 }),
    )
}

#[test]
fn light_and_dark_follow_the_user() -> Result<()> {
    let (_folder, page) = page(&["counter"])?;
    // Contrast of ink on paper, as WCAG 2.1 counts it; 4.5 is what text needs (1.4.3).
    let script = "const light = (text) => { const [r, g, b] = text.match(/\\d+/g).map((n) => n / 255)
             .map((n) => (n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4));
             return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
         rows('object')[0].click();
         const against = (element, ground) => { const a = light(getComputedStyle(element).color);
             const b = light(getComputedStyle(ground).backgroundColor);
             return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); };
         const row = document.querySelector('.row.lit');
         return { dark: light(getComputedStyle(document.body).backgroundColor) < 0.2,
             ink: against(document.body, document.body) > 7, soft: against(document.querySelector('.hint'), document.body) > 4.5,
             lit: against(row, row) > 7, number: against(row.querySelector('.number'), row) > 3 };";
    for dark in [false, true] {
        check(
            &page,
            Window { dark, ..WIDE },
            script,
            json!({ "dark": dark, "ink": true, "soft": true, "lit": true, "number": true }),
        )?;
    }
    Ok(())
}

/// The balancer's program has tens of thousands of instructions and hundreds of relocations.
#[test]
fn a_large_program_is_drawn_whole_with_its_steps_folded() -> Result<()> {
    let folder = Folder::new()?;
    let object = folder.file("balancer.o", xdplb_loader::PROGRAM)?;
    let path = folder.path().join("page.html");
    let mut command = Command::new(balancer::binary()?);
    command.args(["verify", "--dry-run"]);
    command.arg(format!("--explain=html:{}", path.display()));
    command.arg(object);
    let output = run::output(command, Duration::from_secs(60))?;
    ensure!(output.code == Some(0), "{output:?}");
    check(
        &path,
        WIDE,
        "const fold = document.querySelector('details.run');
         fold.open = true;
         await new Promise((done) => setTimeout(done, 500));
         const said = Number(fold.querySelector('summary').textContent.replace(/,/g, '').match(/^\\d+/)[0]);
         rows('object').at(-1).click();
         const { source, object, relocated } = lit();
         return { all: rows('object').length > 20000 && rows('object').length === rows('relocated').length,
             folded: said > 100 && fold.querySelectorAll('.event').length === said,
             lit: source.length === 1 && object.length > 0 && object.length === relocated.length,
             none: texts('.panel .none'), ours: rows('source')[0].previousElementSibling.title.endsWith('.rs') };",
        json!({
            "all": true,
            "folded": true,
            "lit": true,
            "none": ["Nothing was loaded: this was a dry run.", "Nothing was loaded: this was a dry run."],
            "ours": true,
        }),
    )
}
