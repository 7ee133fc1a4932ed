//! A story as text: every step, every block of arguments field by field, every message, then each program in its forms beside
//! its source.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::{
    CallOf, Event, InsnOf, LoadedOf, NetlinkOf, Part, PointedOf, ProgramOf, StatesOf, Story, What,
};

/// Whether styles are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// On a terminal.
    On,
    /// Into a file or a pipe.
    Off,
}

/// How many records or instructions behind a pointer are shown: the programs come later, beside their source.
const MOST_PARTS: usize = 16;
/// Bytes in a row of a dump.
const ROW: usize = 16;
/// Rows of contents that mean nothing more.
const MOST_ROWS: usize = 8;

/// The whole story.
pub fn text(story: &Story, colour: Colour) -> String {
    let mut page = Page {
        text: String::new(),
        colour,
    };
    page.head(story);
    for stage in &story.stages {
        page.line(0, HEADING, stage.title);
        page.line(0, DIM, stage.about);
        for event in stage.events.iter().filter_map(|at| story.events.get(*at)) {
            page.event(event);
        }
        page.empty();
    }
    for program in &story.programs {
        page.program(program);
    }
    page.end(story);
    page.text
}

const HEADING: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const NAME: Style = AnsiColor::Cyan.on_default();
const CHANGED: Style = AnsiColor::Yellow.on_default();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const PLAIN: Style = Style::new();

struct Page {
    text: String,
    colour: Colour,
}

impl Page {
    fn styled(&self, style: Style, text: &str) -> String {
        let text = clean(text);
        match self.colour {
            Colour::On if style != PLAIN => format!("{style}{text}{style:#}"),
            Colour::On | Colour::Off => text,
        }
    }

    fn line(&mut self, indent: usize, style: Style, text: &str) {
        for line in text.lines() {
            let line = self.styled(style, line);
            self.put(indent, &line);
        }
    }

    /// A line that is styled already.
    fn put(&mut self, indent: usize, line: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:indent$}{}", "", line.trim_end());
    }

    fn empty(&mut self) {
        self.text.push('\n');
    }

    fn head(&mut self, story: &Story) {
        let path = match story.object.path.as_str() {
            "" => "the built-in program",
            path => path,
        };
        self.line(0, HEADING, path);
        let jit = match story.kernel.jit {
            Some(0) => ", without a compiler to machine code (net.core.bpf_jit_enable is 0)",
            _ => "",
        };
        let kernel = format!(
            "Linux {}, {}{jit}",
            story.kernel.release, story.kernel.machine
        );
        self.line(0, DIM, &kernel);
        if story.dry_run {
            self.line(0, CHANGED, "A dry run: no command is given. Descriptors are placeholders, and no answers are shown.");
        }
        for (number, line) in story.foretold_lines().iter().enumerate() {
            let style = if number == 0 { HEADING } else { PLAIN };
            let indent = line.len() - line.trim_start().len();
            self.line(indent, style, line.trim_start());
        }
        self.empty();
    }

    fn event(&mut self, event: &Event) {
        match &event.what {
            What::Step { .. } => self.line(0, GOOD, &format!("- {}", event.text)),
            What::Probe { .. } => self.line(0, CHANGED, &format!("- {}", event.text)),
            What::Call(call) => self.call(event, call),
            What::Netlink(message) => self.netlink(event, message),
        }
    }

    fn call(&mut self, event: &Event, call: &CallOf) {
        let style = match &call.result {
            Some(result) if !result.ok => BAD,
            _ => NAME,
        };
        let mut head = self.styled(style, &event.text);
        let size = call.bytes.len() / 2;
        let _ = write!(head, "   {size} bytes");
        if call.result.is_some() {
            let _ = write!(head, ", {} µs", call.elapsed_us);
        }
        self.put(2, &head);
        self.line(4, DIM, &call.meaning);
        let shown = |part: &&Part| !is_zero(part) || part.after.is_some();
        for part in call.fields.iter().filter(shown) {
            self.field(6, part);
        }
        let zero: Vec<&str> = call
            .fields
            .iter()
            .filter(|part| !shown(part))
            .map(|part| part.name.as_str())
            .collect();
        if !zero.is_empty() {
            self.line(6, DIM, &format!("  0 in {}", zero.join(", ")));
        }
    }

    fn field(&mut self, indent: usize, part: &Part) {
        let value = match (part.unknown_yet, part.words.as_str()) {
            (true, "") => "a descriptor, known later".to_string(),
            (true, words) => format!("the descriptor of {words}, known later"),
            (false, "") => part.value.clone(),
            (false, words) => format!("{} ({words})", part.value),
        };
        let after = part.after.as_ref().map(|after| format!(" → {after}"));
        let mut line = format!("{:4} ", part.offset);
        line += &self.styled(NAME, &part.name);
        let _ = write!(line, " = {}", clean(&value));
        if let Some(after) = after {
            line += &self.styled(CHANGED, &after);
        }
        if !part.meaning.is_empty() {
            line += "   ";
            line += &self.styled(DIM, &part.meaning);
        }
        self.put(indent, &line);
        if let Some(pointed) = &part.points_to {
            self.pointed(indent + 7, pointed);
        }
    }

    fn pointed(&mut self, indent: usize, pointed: &PointedOf) {
        let arrow = match pointed.direction.as_str() {
            "out" => "←",
            _ => "→",
        };
        let head = format!("{arrow} {}, {} bytes", pointed.what, pointed.len);
        match &pointed.text {
            Some(text) if pointed.what == "log" => {
                let lines = text.lines().count();
                self.line(
                    indent,
                    PLAIN,
                    &format!("{head} of room, {lines} lines written"),
                );
                let last = text.lines().skip(lines.saturating_sub(6));
                for line in last {
                    self.line(indent + 2, DIM, line);
                }
            }
            Some(text) => self.line(indent, PLAIN, &format!("{head}: {text:?}")),
            None => self.line(indent, PLAIN, &head),
        }
        let is_record = |part: &Part| !part.parts.is_empty();
        for part in pointed
            .parts
            .iter()
            .filter(|part| !is_zero(part) || is_record(part))
            .take(MOST_PARTS)
        {
            let text = match is_record(part) {
                true => {
                    let told = part.parts.iter().map(brief);
                    format!("{}: {}", part.name, told.collect::<Vec<_>>().join(", "))
                }
                false => format!("{:4} {}", part.offset, brief(part)),
            };
            self.line(indent + 2, PLAIN, &text);
        }
        let left = pointed.parts.len().saturating_sub(MOST_PARTS);
        match (&pointed.more, left) {
            (_, 1..) => self.line(
                indent + 2,
                DIM,
                &format!("… {} in all", pointed.parts.len()),
            ),
            (Some(more), _) => self.line(indent + 2, DIM, &format!("… {more}")),
            (None, 0) => {}
        }
        if pointed.parts.is_empty() && pointed.text.is_none() {
            self.dump(indent + 2, &pointed.bytes);
        }
    }

    /// Bytes in rows.
    fn dump(&mut self, indent: usize, hex: &str) {
        let rows = hex.as_bytes().chunks(ROW * 2);
        let more = rows.len().saturating_sub(MOST_ROWS);
        for (number, row) in rows.take(MOST_ROWS).enumerate() {
            let line = format!("{:4x}: {}", number * ROW, spaced(row));
            self.line(indent, DIM, &line);
        }
        if more > 0 {
            self.line(indent, DIM, &format!("… {more} more rows"));
        }
    }

    fn netlink(&mut self, event: &Event, message: &NetlinkOf) {
        self.line(2, NAME, &format!("{}   ({})", event.text, message.purpose));
        for part in &message.messages {
            self.tree(4, part);
        }
    }

    /// A part with its bytes, and those it consists of.
    fn tree(&mut self, indent: usize, part: &Part) {
        let mut line = format!("{:4} ", part.offset);
        if part.parts.is_empty() {
            let bytes = spaced(part.bytes.as_bytes());
            let bytes = match bytes.char_indices().nth(ROW * 3) {
                Some((end, _)) => format!("{}…", &bytes[..end]),
                None => bytes,
            };
            let _ = write!(line, "{bytes:<12} ");
        }
        line += &self.styled(NAME, &part.name);
        match (
            part.parts.is_empty(),
            part.value.as_str(),
            part.words.as_str(),
        ) {
            (true, "", "") => {}
            (true, value, "") => line += &format!(" = {}", clean(value)),
            (true, value, words) => line += &format!(" = {} ({})", clean(value), clean(words)),
            (false, ..) => line += &format!(", {} bytes", part.width),
        }
        if !part.meaning.is_empty() {
            line += "   ";
            line += &self.styled(DIM, &part.meaning);
        }
        self.put(indent, &line);
        for inner in &part.parts {
            self.tree(indent + 2, inner);
        }
    }

    fn program(&mut self, program: &ProgramOf) {
        let head = format!(
            "Program `{}`, section {}, {}",
            program.name, program.section, program.r#type
        );
        self.line(0, HEADING, &head);
        if let Some(loaded) = &program.loaded {
            let size = |jited: &super::JitedOf| jited.bytes.len() / 2;
            let text = format!(
                "program {}, tag {}, {} instructions verified; {} instructions left, {} bytes of machine code",
                loaded.id,
                loaded.tag,
                loaded.verified_insns,
                loaded.xlated.len(),
                loaded.jited.iter().map(size).sum::<usize>()
            );
            self.line(0, DIM, &text);
            for hidden in &loaded.hidden {
                self.line(0, CHANGED, hidden);
            }
        }
        if let Some(verifier) = &program.verifier {
            for line in &verifier.summary {
                self.line(0, DIM, line);
            }
            if !verifier.whole {
                let text = format!(
                    "the verifier's log has {} bytes, of which only the end could be had",
                    verifier.len
                );
                self.line(0, CHANGED, &text);
            }
        }
        let mut line = None;
        for insn in &program.insns {
            if insn.line.is_some() && insn.line != line {
                if let Some(loaded) = &program.loaded {
                    self.given_back(loaded, line);
                }
                line = insn.line;
                self.source(program, line);
            }
            self.function(program, insn);
            self.insn(program, insn);
        }
        if let Some(loaded) = &program.loaded {
            self.given_back(loaded, line);
        }
        self.empty();
    }

    fn function(&mut self, program: &ProgramOf, insn: &InsnOf) {
        let function = program.functions.get(insn.function);
        if let Some(function) = function.filter(|function| function.insn == insn.insn) {
            let place = format!("{}+{:#x}", function.section, function.offset);
            self.line(
                2,
                HEADING,
                &format!("{}:   ({place} in the object)", function.name),
            );
        }
    }

    fn source(&mut self, program: &ProgramOf, line: Option<usize>) {
        if let Some(line) = line.and_then(|at| program.lines.get(at)) {
            let text = format!("; {}:{}  {}", line.file, line.line, line.text.trim());
            self.line(2, GOOD, &text);
        }
    }

    fn insn(&mut self, program: &ProgramOf, insn: &InsnOf) {
        let mut line = format!("{:5}: {:<44}", insn.insn, clean(&insn.relocated.text));
        line += &self.styled(DIM, &spaced(insn.relocated.bytes.as_bytes()));
        self.put(2, &line);
        for relocation in insn
            .relocations
            .iter()
            .filter_map(|at| program.relocations.get(*at))
        {
            let before = spaced(relocation.before.bytes.as_bytes());
            self.line(
                9,
                CHANGED,
                &format!("was {:<40}{before}", relocation.before.text),
            );
            self.line(
                9,
                CHANGED,
                &format!("{}: {}", relocation.kind, relocation.text),
            );
        }
        let states = program.verifier.as_ref().map(|verifier| &verifier.insns);
        let states = states.and_then(|all| {
            let at = all
                .binary_search_by_key(&insn.insn, |states| states.insn)
                .ok()?;
            all.get(at)
        });
        if let Some(states) = states {
            self.states(states);
        }
    }

    fn states(&mut self, states: &StatesOf) {
        let Some(first) = states.states.first() else {
            return;
        };
        let visits = match states.visits {
            1 => String::new(),
            visits => format!("   (the first of {visits} visits)"),
        };
        let text = match (first.before.as_str(), first.after.as_str()) {
            ("", "") => return,
            ("", after) => format!("knows then: {after}"),
            (before, "") => format!("knows: {before}"),
            (before, after) => format!("knows: {before}; then {after}"),
        };
        self.line(9, DIM, &format!("{text}{visits}"));
    }

    /// What became of a line's instructions.
    fn given_back(&mut self, loaded: &LoadedOf, line: Option<usize>) {
        if line.is_none() {
            return;
        }
        for insn in loaded.xlated.iter().filter(|insn| insn.line == line) {
            let text = format!(
                "xlated {:5}: {:<37}{}",
                insn.insn,
                insn.code.text,
                spaced(insn.code.bytes.as_bytes())
            );
            self.line(2, CHANGED, &text);
        }
        for function in &loaded.jited {
            for piece in function.lines.iter().filter(|piece| piece.line == line) {
                let from = piece.offset * 2;
                let bytes = function
                    .bytes
                    .get(from..from + piece.len * 2)
                    .unwrap_or_default();
                for (number, row) in bytes.as_bytes().chunks(ROW * 2).enumerate() {
                    let at = piece.offset + number * ROW;
                    self.line(2, NAME, &format!("machine {at:#6x}: {}", spaced(row)));
                }
            }
        }
    }

    fn end(&mut self, story: &Story) {
        for error in &story.outcome.errors {
            self.line(0, BAD, &format!("error: {error}"));
        }
    }
}

/// ``has no helper bpf_loop (since 5.17): program `p`, instruction 12, flows.rs:41``.
pub fn lack_line(lack: &super::LackOf) -> String {
    let since = match &lack.since {
        Some(since) => format!("since {since}"),
        None => "which release brought it is not known here".into(),
    };
    let by = match (&lack.map, &lack.program) {
        (Some(map), _) => format!("map `{map}`"),
        (None, Some(program)) => format!("program `{program}`"),
        (None, None) => String::new(),
    };
    let insn = lack.insn.map(|insn| format!(", instruction {insn}"));
    let line = lack.line.as_ref().map(|line| format!(", {line}"));
    let (insn, line) = (insn.unwrap_or_default(), line.unwrap_or_default());
    format!("has no {} ({since}): {by}{insn}{line}", lack.what)
}

/// Whether a field has nothing in it.
fn is_zero(part: &Part) -> bool {
    part.parts.is_empty() && part.bytes.bytes().all(|digit| digit == b'0')
}

fn brief(part: &Part) -> String {
    match part.words.as_str() {
        "" => format!("{} {}", part.name, part.value),
        words => format!("{} {} ({words})", part.name, part.value),
    }
}

/// Hex digits, two and two.
fn spaced(digits: &[u8]) -> String {
    let pairs = digits.chunks(2).map(String::from_utf8_lossy);
    pairs.collect::<Vec<_>>().join(" ")
}

/// Text from a file or the kernel, made safe for a terminal.
fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => clean.push(' '),
            c if c.is_control() => clean.extend(c.escape_default()),
            c => clean.push(c),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::{Code, LineOf, RelocationOf, ResultOf, Stage, StageOf};

    fn story() -> Story {
        let part = |name: &str, bytes: &str, words: &str| Part {
            name: name.into(),
            width: bytes.len() / 2,
            bytes: bytes.into(),
            value: "2".into(),
            words: words.into(),
            ..Part::default()
        };
        let call = CallOf {
            name: "BPF_MAP_CREATE".into(),
            bytes: "0200000000000000".into(),
            fields: vec![
                part("map_type", "02000000", "BPF_MAP_TYPE_ARRAY"),
                part("key_size", "00000000", ""),
            ],
            result: Some(ResultOf {
                ok: true,
                value: 5,
                words: "descriptor 5".into(),
            }),
            ..CallOf::default()
        };
        let code = |text: &str| Code {
            bytes: "b700000002000000".into(),
            text: text.into(),
        };
        let mut program = ProgramOf {
            name: "p".into(),
            lines: vec![LineOf {
                file: "p\u{1b}[2J.rs".into(),
                line: 3,
                ..LineOf::default()
            }],
            relocations: vec![RelocationOf {
                kind: "core",
                before: code("r0 = 1"),
                text: "why".into(),
                ..RelocationOf::default()
            }],
            ..ProgramOf::default()
        };
        program.insns.push(InsnOf {
            line: Some(0),
            relocated: code("r0 = 2"),
            relocations: vec![0],
            ..InsnOf::default()
        });
        Story {
            stages: vec![StageOf {
                stage: Stage::Maps,
                title: "Create the maps",
                about: "About.",
                events: vec![0],
            }],
            events: vec![Event {
                number: 0,
                stage: Stage::Maps,
                text: "bpf(BPF_MAP_CREATE) → descriptor 5".into(),
                program: None,
                map: None,
                what: What::Call(call),
            }],
            programs: vec![program],
            ..Story::default()
        }
    }

    #[test]
    fn every_field_is_named_and_every_change_shown() {
        let text = text(&story(), Colour::Off);
        for line in [
            "Create the maps",
            "  bpf(BPF_MAP_CREATE) → descriptor 5   8 bytes, 0 µs",
            "         0 map_type = 2 (BPF_MAP_TYPE_ARRAY)",
            "        0 in key_size",
            "  ; p\\u{1b}[2J.rs:3",
            "      0: r0 = 2                                      b7 00 00 00 02 00 00 00",
            "         was r0 = 1                                  b7 00 00 00 02 00 00 00",
            "         core: why",
        ] {
            assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "no colour, and none from a file");
    }

    #[test]
    fn colour_is_for_terminals() {
        let shown = text(&story(), Colour::On);
        assert!(shown.contains("\u{1b}[36mmap_type\u{1b}[0m"));
        assert!(!shown.contains("\u{1b}[2J"), "files cannot paint");
    }

    #[test]
    fn what_is_lacking_is_said_with_its_place() {
        let lack = super::super::LackOf {
            what: "helper bpf_loop".into(),
            since: Some("5.17".into()),
            program: Some("p".into()),
            insn: Some(12),
            line: Some("flows.rs:41".into()),
            ..super::super::LackOf::default()
        };
        assert_eq!(
            lack_line(&lack),
            "has no helper bpf_loop (since 5.17): program `p`, instruction 12, flows.rs:41"
        );
    }
}
