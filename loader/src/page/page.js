"use strict";
// Draws the page from the stories in it. Everything that comes from an object or a kernel gets in as text, never as markup.

const stories = JSON.parse(document.getElementById("story").textContent);
const at = (id) => document.getElementById(id);

/** An element with a class, a text or children. */
function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** What is chosen: which story, program, stage, and which line or instruction. */
const chosen = { story: 0, program: 0, stage: null, line: null, insn: null };
const story = () => stories[chosen.story];
const program = () => story().programs[chosen.program];

const kinds = ["source", "object", "relocated", "xlated", "jited"];
const titles = {
  source: ["Source", "lines that became instructions"],
  object: ["Object", "as the compiler wrote them"],
  relocated: ["Relocated", "as they go to the kernel"],
  xlated: ["Xlated", "as the verifier rewrote them"],
  jited: ["JITed", "machine code"],
};

/** `1 map`, `2 maps`. */
const many = (count, what) => `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;

/** The last part of a path. */
const base = (path) => path.split("/").pop();

/** Line records of one source line are one line: the key, by the record's index. */
function keys(of) {
  return of.lines.map((line) => `${line.file}:${line.line}`);
}

function row(kind, number, text, key, insn, changed) {
  const element = make("div", changed ? "row changed" : "row",
    make("span", "number", String(number)), make("span", "text", text));
  element.setAttribute("role", "option");
  element.setAttribute("aria-selected", "false");
  element.tabIndex = -1;
  element.dataset.kind = kind;
  if (key !== null) element.dataset.key = key;
  if (insn !== null) element.dataset.insn = insn;
  element.addEventListener("click", () => choose(element));
  return element;
}

/** The rows of a column. */
function rows(kind, of) {
  const key = keys(of);
  const keyOf = (line) => (line === null || line === undefined ? null : key[line]);
  if (kind === "source") {
    const lines = new Map();
    of.lines.forEach((line, index) => {
      if (line.line && !lines.has(key[index])) lines.set(key[index], line);
    });
    // The program's own files come before those of Rust's library.
    const foreign = (line) => Number(/^\/rustc\/|\/library\/core\//.test(line.file));
    const sorted = [...lines.values()].sort((a, b) => foreign(a) - foreign(b) || (a.file < b.file ? -1 : a.file > b.file ? 1 : a.line - b.line));
    // Only what lines are indented by beyond their file's least says something.
    const indent = new Map();
    for (const line of sorted.filter((one) => one.text.trim())) {
      indent.set(line.file, Math.min(indent.get(line.file) ?? Infinity, line.text.search(/\S/)));
    }
    const found = [];
    let file = null;
    for (const line of sorted) {
      if (line.file !== file) found.push(make("div", "file", base(file = line.file)));
      found.at(-1).title = found.at(-1).title || line.file;
      found.push(row(kind, line.line, line.text.slice(indent.get(line.file)).trimEnd() || "(no text)", `${line.file}:${line.line}`, null, false));
    }
    return found;
  }
  if (kind === "object" || kind === "relocated") {
    return of.insns.filter((insn) => insn[kind]).map((insn) =>
      row(kind, insn.insn, insn[kind].text, keyOf(insn.line), insn.insn,
        kind === "relocated" && (insn.relocations || []).length > 0));
  }
  const loaded = of.loaded;
  if (!loaded) return [];
  if (kind === "xlated") {
    return loaded.xlated.map((insn) => row(kind, insn.insn, insn.text, keyOf(insn.line), null, false));
  }
  const found = [];
  for (const code of loaded.jited) {
    if (loaded.jited.length > 1) found.push(make("div", "file", code.name || code.address));
    const spans = code.lines.length ? code.lines : [{ offset: 0, len: code.bytes.length / 2, line: null }];
    for (const span of spans) {
      const bytes = code.bytes.slice(span.offset * 2, (span.offset + span.len) * 2);
      // Eight bytes a row, so that a line's code can be seen as a block.
      for (let from = 0; from < bytes.length; from += 16) {
        const part = bytes.slice(from, from + 16).replace(/../g, "$& ").trim();
        found.push(row(kind, (span.offset + from / 2).toString(16), part, keyOf(span.line), null, false));
      }
    }
  }
  return found;
}

function drawPanels() {
  const panels = at("panels");
  panels.replaceChildren();
  const of = program();
  if (!of) {
    panels.append(make("p", "none", "The object has no program."));
    return;
  }
  for (const kind of kinds) {
    const all = rows(kind, of);
    const count = all.filter((element) => element.classList.contains("row")).length;
    const list = make("div", "rows", ...all);
    if (!count) list.append(make("p", "none", absence(kind, of)));
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", titles[kind][0]);
    const first = list.querySelector(".row");
    if (first) first.tabIndex = 0;
    list.addEventListener("keydown", move);
    const heading = make("h3", "", titles[kind][0], make("small", "", `${titles[kind][1]}, ${count.toLocaleString("en")}`));
    const panel = make("div", "panel", heading, list);
    panel.dataset.kind = kind;
    panels.append(panel);
  }
}

/** Why a column is empty. */
function absence(kind, of) {
  if (kind === "source") return "The object does not say which lines its instructions come from (compile with -g).";
  if (kind === "object" || kind === "relocated") return "No instructions.";
  if (!of.loaded) return story().dry_run ? "Nothing was loaded: this was a dry run." : "The program was not loaded.";
  return of.loaded.hidden.join("; ") || "The kernel gave none back.";
}

/** A row is chosen: what belongs to its source line lights up. */
function choose(element) {
  chosen.line = element.dataset.key ?? null;
  chosen.insn = element.dataset.insn === undefined ? null : Number(element.dataset.insn);
  if (element.dataset.kind === "source") chosen.insn = null;
  for (const other of at("panels").querySelectorAll(".row")) {
    const own = chosen.line === null ? other === element : other.dataset.key === chosen.line;
    const same = chosen.insn !== null && Number(other.dataset.insn) === chosen.insn && other.dataset.insn !== undefined;
    other.classList.toggle("lit", own);
    other.classList.toggle("chosen", own && (same || other === element));
    other.setAttribute("aria-selected", String(own));
  }
  for (const list of at("panels").querySelectorAll(".rows")) {
    if (!list.contains(element)) show(list, list.querySelector(".row.chosen") || list.querySelector(".row.lit"));
  }
  enter(element);
  drawCards();
}

/** Scrolls a column, and nothing but the column, to a row. */
function show(list, element) {
  if (!element) return;
  const above = element.offsetTop - list.scrollTop;
  // Below the last quarter there would be no room for the rows that belong to it.
  if (above < 0 || above + element.offsetHeight > list.clientHeight * 0.75) {
    list.scrollTop = element.offsetTop - list.clientHeight / 3;
  }
}

/** One row of a column can be reached by the tab key: the last that was. */
function enter(element) {
  for (const other of element.parentElement.querySelectorAll(".row")) other.tabIndex = other === element ? 0 : -1;
  element.focus({ preventScroll: true });
  show(element.parentElement, element);
}

function move(event) {
  const here = event.target.closest(".row");
  if (!here) return;
  const list = [...here.parentElement.querySelectorAll(".row")];
  const step = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
  if (step !== undefined) {
    const index = Math.min(Math.max(list.indexOf(here) + step, 0), list.length - 1);
    choose(list[index]);
  } else if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
    const columns = [...at("panels").querySelectorAll(".rows")].filter((column) => column.querySelector(".row"));
    const next = columns[columns.indexOf(here.parentElement) + (event.key === "ArrowRight" ? 1 : -1)];
    if (next) enter(next.querySelector(".row.lit") || next.querySelector(".row[tabindex='0']"));
  } else if (event.key === "Enter" || event.key === " ") {
    choose(here);
  } else if (event.key === "Escape") {
    letGo();
  } else {
    return;
  }
  event.preventDefault();
}

function letGo() {
  chosen.line = chosen.insn = null;
  for (const other of at("panels").querySelectorAll(".row")) {
    other.classList.remove("lit", "chosen");
    other.setAttribute("aria-selected", "false");
  }
  drawCards();
}

/** The numbers of the chosen instructions; null: nothing is chosen. */
function insns() {
  const of = program();
  if (!of || (chosen.line === null && chosen.insn === null)) return null;
  if (chosen.insn !== null) return new Set([chosen.insn]);
  const key = keys(of);
  return new Set(of.insns.filter((insn) => insn.line !== null && key[insn.line] === chosen.line).map((insn) => insn.insn));
}

function drawCards() {
  const cards = at("cards");
  cards.replaceChildren();
  const of = program();
  const these = insns();
  const relocations = of ? of.relocations.filter((one) => !these || these.has(one.insn)) : [];
  cards.append(relocationCard(relocations, these));
  const used = new Set(relocations.map((one) => one.map).filter((map) => map !== undefined));
  for (const card of mapCards(used, these)) cards.append(card);
  cards.append(verifierCard(of, these));
}

function relocationCard(relocations, these) {
  const card = make("div", "card", make("h3", "", `Relocations${these ? " here" : ""}: ${relocations.length}`));
  card.id = "relocations";
  for (const one of relocations) {
    const bits = [make("b", "", `${one.insn}: ${one.symbol}`), ` ${one.text}`];
    const block = make("div", "state", make("div", "", ...bits),
      make("div", "code", one.before.text), make("div", "code", `→ ${one.after.text}`));
    if (one.core) block.append(make("div", "code", `${one.core.question}: ${one.core.original} in the object, ${one.core.answer ?? "absent"} in this kernel`));
    card.append(block);
  }
  if (!relocations.length) {
    card.append(make("p", "hint", these ? "Nothing was changed here between the object and the kernel." : "Nothing was to be changed."));
  }
  return card;
}

function mapCards(used, these) {
  return story().maps.map((map, index) => ({ map, index })).filter(({ index }) => !these || used.has(index)).map(({ map, index }) => {
    const card = make("div", used.has(index) && these ? "card map lit" : "card map", make("h3", "", `Map ${map.name}`));
    card.append(list({
      type: map.type,
      key: `${map.key_size} bytes`,
      value: `${map.value_size} bytes`,
      entries: map.max_entries.toLocaleString("en"),
      flags: map.flags,
      "in the kernel": map.id === null ? null : `${map.kernel_name}, id ${map.id}, descriptor ${map.fd}`,
      holds: map.contents,
      frozen: map.frozen ? "yes: the verifier knows what is in it" : null,
    }));
    return card;
  });
}

function list(of) {
  const element = make("dl", "");
  for (const [name, value] of Object.entries(of)) {
    if (value !== null && value !== undefined && value !== "") element.append(make("dt", "", name), make("dd", "", String(value)));
  }
  return element;
}

/** How many instructions are shown with what the verifier knew of them. */
const SHOWN = 40;

function verifierCard(of, these) {
  const card = make("div", "card", make("h3", "", "What the verifier knew"));
  card.id = "verifier";
  const verifier = of && of.verifier;
  if (!verifier) {
    card.append(make("p", "hint", of && !of.loaded && !story().dry_run
      ? "The program was rejected: what the verifier said stands at the top." : "There is no log of it here."));
    return card;
  }
  for (const line of these ? [] : verifier.summary) card.append(make("div", "code", line));
  if (!these) {
    card.append(make("p", "hint", "Choose a line or an instruction to see the registers before it, and what it made of them."));
    return card;
  }
  const text = new Map(of.insns.map((insn) => [insn.insn, insn.relocated.text]));
  const all = verifier.insns.filter((one) => these.has(one.insn));
  for (const one of all.slice(0, SHOWN)) {
    const block = make("div", "state", make("div", "code", make("b", "", `${one.insn}: ${text.get(one.insn) ?? ""}`)));
    for (const state of one.states) {
      if (state.from !== undefined) block.append(make("div", "hint", `on the path from ${state.from}`));
      if (state.before) block.append(known("before", state.before));
      block.append(known("after", state.after || "nothing that is known changes"));
    }
    if (one.visits > one.states.length) block.append(make("div", "hint", `looked at ${one.visits} times; ${one.states.length} are shown`));
    card.append(block);
  }
  if (all.length > SHOWN) card.append(make("p", "hint", `${all.length - SHOWN} more instructions`));
  if (!all.length) card.append(make("p", "hint", "The verifier did not come here: no path leads to it, or it knew the answer of the branch before."));
  return card;
}

function known(when, state) {
  return make("div", "code", make("span", "when", `${when} `), state);
}

function drawPipeline() {
  const list = at("pipeline");
  list.replaceChildren();
  for (const stage of story().stages) {
    const count = stage.events.length;
    const button = make("button", "", make("b", "", stage.title), make("span", "", many(count, "step")));
    button.type = "button";
    button.title = stage.about;
    button.dataset.stage = stage.stage;
    button.setAttribute("aria-pressed", String(stage.stage === chosen.stage));
    button.addEventListener("click", () => {
      chosen.stage = stage.stage;
      for (const other of list.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
      drawEvents();
    });
    list.append(make("li", "", button));
  }
}

function drawEvents() {
  const of = story();
  const stage = of.stages.find((one) => one.stage === chosen.stage);
  at("stage").textContent = stage ? `${stage.title}: ${stage.about}` : "";
  const events = stage ? stage.events.map((number) => of.events[number]) : [];
  at("events").replaceChildren();
  for (let from = 0; from < events.length;) {
    // Large programs have hundreds of steps of one kind in a row.
    let to = from + 1;
    while (to < events.length && events[from].kind === "step" && events[to].kind === "step" && events[to].step === events[from].step) to++;
    const run = events.slice(from, to);
    at("events").append(...(run.length > MANY ? [folded(run)] : run.map(event)));
    from = to;
  }
}

/** Steps of one kind in a row: more than these are folded. */
const MANY = 8;

function folded(run) {
  const element = make("details", "run", make("summary", "", `${many(run.length, "step")} alike, the first: ${run[0].text}`));
  element.addEventListener("toggle", () => {
    if (element.open && element.childElementCount === 1) element.append(make("div", "inside", ...run.map(event)));
  });
  return element;
}

function event(one) {
  if (one.kind !== "call" && one.kind !== "netlink") return make("div", "event", one.text);
  const inside = make("div", "inside");
  const element = make("details", one.kind, make("summary", "", one.text), inside);
  // A load has hundreds of blocks: each is drawn when it is opened.
  element.addEventListener("toggle", () => {
    if (!element.open || inside.childElementCount) return;
    if (one.kind === "call") {
      inside.append(make("p", "hint", one.purpose ? `${one.meaning}; to find out: ${one.purpose}` : one.meaning));
      inside.append(...bytes(one.bytes, one.fields));
      const came = one.result;
      if (came) inside.append(make("p", came.ok ? "good" : "bad", `${came.words} (${one.elapsed_us} µs)`));
    } else {
      inside.append(make("p", "hint", `${one.purpose}; from the ${one.sender}, ${one.len} bytes`), ...bytes(one.bytes, one.messages));
    }
  });
  return element;
}

/** The leaves of a tree of parts, with the names on the way. */
function leaves(parts, names = []) {
  return parts.flatMap((part) => {
    const path = [...names, part.name];
    return part.parts && part.parts.length ? leaves(part.parts, path) : [{ ...part, path }];
  });
}

/** Bytes by fields; the field under the pointer or the focus is told below. */
function bytes(hex, parts) {
  const block = make("div", "bytes");
  const told = make("div", "told", make("span", "hint", "Point at bytes, or move through them with the arrow keys."));
  told.setAttribute("aria-live", "polite");
  const spell = (from, to) => hex.slice(from * 2, to * 2).replace(/../g, "$& ").trim();
  let end = 0;
  const gap = (to) => {
    if (to > end && hex.length > end * 2) block.append(make("span", "field padding", spell(end, to)), " ");
  };
  for (const leaf of leaves(parts).sort((a, b) => a.offset - b.offset)) {
    gap(leaf.offset);
    const text = spell(leaf.offset, leaf.offset + leaf.width) || (leaf.bytes || "").replace(/../g, "$& ").trim();
    end = Math.max(end, leaf.offset + leaf.width);
    if (!text) continue;
    const span = make("span", leaf.set ? "field set" : "field", text);
    span.tabIndex = block.querySelector("[tabindex='0']") ? -1 : 0;
    span.dataset.field = leaf.path.join(".");
    span.title = `${leaf.path.join(" › ")} = ${leaf.words || leaf.value}`;
    const tell = () => {
      for (const other of block.querySelectorAll(".lit")) other.classList.remove("lit");
      span.classList.add("lit");
      told.replaceChildren(...field(leaf));
    };
    span.addEventListener("mouseenter", tell);
    span.addEventListener("focus", tell);
    span.addEventListener("click", () => span.focus());
    block.append(span, " ");
  }
  gap(hex.length / 2);
  block.addEventListener("keydown", (pressed) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[pressed.key];
    const all = [...block.querySelectorAll(".field:not(.padding)")];
    const next = all[all.indexOf(pressed.target) + step];
    if (!next) return;
    for (const other of all) other.tabIndex = other === next ? 0 : -1;
    next.focus();
    pressed.preventDefault();
  });
  return [block, told];
}

function field(leaf) {
  const place = `bytes ${leaf.offset} to ${leaf.offset + leaf.width - 1}`;
  const found = [
    make("div", "", make("b", "", leaf.path.join(" › ")), ` = ${leaf.value}${leaf.words ? `, ${leaf.words}` : ""}`),
    make("div", "hint", `${place}${leaf.set ? "" : ", not set by the loader"}${leaf.unknown_yet ? ", known only when it is loaded" : ""}`),
  ];
  if (leaf.meaning) found.push(make("div", "", leaf.meaning));
  if (leaf.after !== undefined) found.push(make("div", "", `after the call: ${leaf.after}`));
  const to = leaf.points_to;
  if (to) {
    const inside = make("div", "pointed", make("div", "", `leads to ${to.what}: ${to.len} bytes, ${to.direction === "out" ? "written by the kernel" : "read by the kernel"}`));
    if (to.text !== undefined) inside.append(make("pre", "", to.text));
    else if (to.parts && to.parts.length) inside.append(...bytes(to.bytes, to.parts));
    else inside.append(make("pre", "", to.bytes.replace(/../g, "$& ").trim()));
    if (!to.whole) inside.append(make("div", "hint", "these are the first of them"));
    if (to.more) inside.append(make("div", "hint", to.more));
    found.push(inside);
  }
  return found;
}

function tabs(id, names, current, pick) {
  const bar = at(id);
  bar.replaceChildren();
  bar.hidden = names.length < 2;
  if (bar.hidden) return;
  names.forEach((name, index) => {
    const button = make("button", "", name);
    button.type = "button";
    button.setAttribute("role", "tab");
    button.setAttribute("aria-selected", String(index === current));
    button.addEventListener("click", () => pick(index));
    bar.append(button);
  });
}

function drawProgram(index) {
  chosen.program = index;
  chosen.line = chosen.insn = null;
  tabs("programs", story().programs.map((one) => one.name), index, drawProgram);
  drawPanels();
  drawCards();
}

function drawStory(index) {
  chosen.story = index;
  const of = story();
  const name = of.object.path || "the balancer's program";
  document.title = `${base(name)}: a load, explained`;
  at("title").textContent = name;
  const outcome = make("span", of.outcome.ok ? "good" : "bad",
    of.dry_run ? "a dry run" : of.outcome.ok ? "loaded" : "not all of it was loaded");
  const rest = ` · Linux ${of.kernel.release}, ${of.kernel.machine} · ${many(of.programs.length, "program")}, ${many(of.maps.length, "map")}, license ${of.object.license || "none"} · told by ${of.teller}`;
  at("about").replaceChildren(outcome, rest);
  at("errors").replaceChildren(...of.outcome.errors.map((error) => make("pre", "error", error)));
  tabs("objects", stories.map((one) => base(one.object.path || "program")), index, drawStory);
  // The stage that failed, or the one in which programs are loaded, is what one came for.
  const names = of.stages.map((stage) => stage.stage);
  chosen.stage = names.includes("programs") ? "programs" : names.at(-1) ?? null;
  drawPipeline();
  drawEvents();
  drawProgram(0);
}

if (stories.length) drawStory(0);
