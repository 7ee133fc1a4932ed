//! Damaged objects: every object of the set with thousands of damages through parser, planner, inspection and linker. Each
//! ends in a value or an error, in time, within 256 MB; never in a panic.
//!
//! `XDPLB_DAMAGES=N` says how many each (`cargo xtask test` runs 10,000, optimised); `XDPLB_DAMAGE=NAME:NUMBER` repeats one,
//! which is what a failure prints, and leaves the file in the temporary folder.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use goblin::elf::Elf;
use xdplb_linker::link::{self, Input};
use xdplb_loader::inspect::{Inspection, Language};
use xdplb_loader::object::{KernelTypes, Spec, Target};
use xdplb_tests::damage::Patient;
use xdplb_tests::objects;

/// How many damages an object suffers where nothing else is said.
const DAMAGES: u64 = 200;
/// The most memory that one damaged object may take.
const MEMORY: usize = 256 << 20;
/// The most time. A machine that is busy with other things gets some of it.
const TIME: Duration = Duration::from_secs(10);
/// Damages that one worker takes at once.
const SHARE: u64 = 100;

/// Counts what this thread holds, and the most it ever held.
struct Counting;

thread_local! {
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn held_changes(by: impl FnOnce(usize) -> usize) {
    // At a thread's end the counter is gone before the last of its memory.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        let now = by(now);
        held.set((now, most.max(now)));
    });
}

// SAFETY: every call goes to the system's allocator as it came; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        held_changes(|held| held.saturating_add(layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        held_changes(|held| held.saturating_add(layout.size()));
        // SAFETY: the caller's promise. Asked for as zeroed, so that a huge request is seen here before it takes pages.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        held_changes(|held| held.saturating_sub(layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many damaged objects were read all the same, and how many linked: damage that always shows at once tests little.
static READ: AtomicU64 = AtomicU64::new(0);
static LINKED: AtomicU64 = AtomicU64::new(0);

/// An object of the set in memory.
struct Object {
    name: String,
    bytes: Vec<u8>,
    /// Its own types stand in for a kernel's, so that CO-RE finds candidates.
    target: Target,
}

impl Object {
    fn read(name: String, path: &std::path::Path) -> Result<Self> {
        let bytes = std::fs::read(path)?;
        let target = Target {
            types: section(&bytes, ".BTF").and_then(|btf| KernelTypes::parse(btf).ok()),
            version: 0x0006_1200,
            ..Target::default()
        };
        Ok(Self {
            name,
            bytes,
            target,
        })
    }

    /// Everything that reads an object without a kernel.
    fn suffer(&self, bytes: &[u8], number: u64) {
        if let Ok(spec) = Spec::parse(bytes) {
            READ.fetch_add(1, Ordering::Relaxed);
            let _ = spec.needs();
            let _ = spec.plan(&Target::default());
            let _ = spec.plan(&self.target);
        }
        // It makes more text than all others together.
        if number.is_multiple_of(16) {
            for language in [Language::C, Language::Rust] {
                if let Ok(mut view) = Inspection::of(bytes, language) {
                    view.add_bytes(bytes);
                }
            }
        }
        if let Some(btf) = section(bytes, ".BTF") {
            let _ = KernelTypes::parse(btf);
        }
        let bad = Input {
            name: "bad.o",
            bytes,
        };
        let good = Input {
            name: "good.o",
            bytes: &self.bytes,
        };
        let options = link::Options::default();
        if let Ok(output) = link::link(&[bad], &options) {
            LINKED.fetch_add(1, Ordering::Relaxed);
            let _ = Spec::parse(&output.bytes);
        }
        if number.is_multiple_of(8) {
            let _ = link::link(&[good, bad], &options);
        }
    }
}

fn section(bytes: &[u8], name: &str) -> Option<Vec<u8>> {
    let elf = Elf::parse(bytes).ok()?;
    let found = elf
        .section_headers
        .iter()
        .find(|section| elf.shdr_strtab.get_at(section.sh_name) == Some(name))?;
    Some(bytes.get(found.file_range()?)?.to_vec())
}

fn set() -> Result<Vec<Object>> {
    let built = objects::built()?;
    let objects = built.into_iter().map(|(case, path)| {
        Object::read(case.name, &path).with_context(|| path.display().to_string())
    });
    objects.collect()
}

/// What went wrong: by kind and place, with the first damage that showed it, and how many did.
type Failures = Mutex<BTreeMap<String, (String, u64)>>;

fn note(failures: &Failures, kind: String, damage: String) {
    let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
    failures.entry(kind).or_insert((damage, 0)).1 += 1;
}

/// What this thread is at, for the one that looks for hangs, and the slowest and the largest so far.
#[derive(Default)]
struct Watch {
    begun: Mutex<Option<(Instant, String)>>,
    slowest: Mutex<(Duration, String)>,
    largest: Mutex<(usize, String)>,
}

thread_local! {
    /// The last panic's message and place, which the hook sees and `catch_unwind` does not.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fn try_one(
    object: &Object,
    patient: &Patient<'_>,
    number: u64,
    failures: &Failures,
    watch: &Watch,
) {
    let damage = || format!("{}:{number}", object.name);
    let bytes = patient.damaged(number);
    set_to(&watch.begun, Some((Instant::now(), damage())));
    HELD.set((0, 0));
    let cpu = thread_time();
    let ended = catch_unwind(AssertUnwindSafe(|| object.suffer(&bytes, number)));
    let took = thread_time().saturating_sub(cpu);
    let most = HELD.get().1;
    set_to(&watch.begun, None);
    if ended.is_err() {
        let panic = PANIC.with(|panic| panic.borrow().clone());
        note(failures, panic, damage());
    }
    if took > TIME {
        note(failures, format!("took {took:?}"), damage());
    }
    if most > MEMORY {
        note(failures, format!("held {} MB", most >> 20), damage());
    }
    raise(&watch.slowest, took, damage);
    raise(&watch.largest, most, damage);
}

fn set_to<T>(place: &Mutex<T>, value: T) {
    *place.lock().unwrap_or_else(PoisonError::into_inner) = value;
}

fn raise<T: PartialOrd>(place: &Mutex<(T, String)>, value: T, name: impl FnOnce() -> String) {
    let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
    if value > place.0 {
        *place = (value, name());
    }
}

/// The processor time that this thread has had: what other processes do meanwhile does not count.
fn thread_time() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map_or(Duration::ZERO, Duration::from)
}

/// Both the places and the messages of panics are kept, and nothing is printed: thousands may follow.
fn remember_panics() {
    std::panic::set_hook(Box::new(|info| {
        let said = info.to_string().replace('\n', " ");
        PANIC.with(|panic| panic.replace(said));
    }));
}

fn run(objects: &[Object], damages: u64) -> Result<()> {
    let failures = Failures::default();
    let shares = damages.div_ceil(SHARE);
    let next = AtomicUsize::new(0);
    let done = AtomicU64::new(0);
    let workers = std::thread::available_parallelism()?.get();
    let watches: Vec<Watch> = (0..workers).map(|_| Watch::default()).collect();
    let begun = Instant::now();
    remember_panics();
    std::thread::scope(|scope| {
        let work = |watch: &Watch| {
            loop {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                let Some(object) = objects.get(turn / shares as usize) else {
                    return;
                };
                let patient = Patient::new(&object.name, &object.bytes);
                let first = turn as u64 % shares * SHARE;
                for number in first..damages.min(first + SHARE) {
                    try_one(object, &patient, number, &failures, watch);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let threads: Vec<_> = watches
            .iter()
            .map(|watch| scope.spawn(move || work(watch)))
            .collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(50));
            watches.iter().for_each(end_if_hanging);
        }
    });
    let _ = std::panic::take_hook();
    let slowest = watches.iter().map(|watch| watch.slowest.lock());
    let slowest = slowest
        .map(|one| one.unwrap_or_else(PoisonError::into_inner).clone())
        .max();
    let largest = watches.iter().map(|watch| watch.largest.lock());
    let largest = largest
        .map(|one| one.unwrap_or_else(PoisonError::into_inner).clone())
        .max();
    let ((time, slow), (memory, large)) =
        (slowest.unwrap_or_default(), largest.unwrap_or_default());
    let all = damages * objects.len() as u64;
    let (read, linked) = (READ.load(Ordering::Relaxed), LINKED.load(Ordering::Relaxed));
    println!(
        "{} objects, {damages} damages each, in {:.1?}; {read} of {all} could be read, {linked} linked; the slowest took {time:.1?} ({slow}), the largest {} KB ({large})",
        objects.len(),
        begun.elapsed(),
        memory >> 10,
    );
    ensure!(done.load(Ordering::Relaxed) == all);
    ensure!(
        read > all / 20 && read < all / 20 * 19,
        "the damage says nothing"
    );
    let failures = failures
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let lines: Vec<String> = failures
        .iter()
        .map(|(kind, (damage, count))| {
            format!("{kind}\n    {count} times; repeat with XDPLB_DAMAGE={damage}")
        })
        .collect();
    ensure!(
        lines.is_empty(),
        "{} failures\n{}",
        lines.len(),
        lines.join("\n")
    );
    Ok(())
}

/// A thread cannot be ended from outside: the whole run ends, after saying why.
fn end_if_hanging(watch: &Watch) {
    let begun = watch.begun.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((since, damage)) = &*begun
        && since.elapsed() > 4 * TIME
    {
        eprintln!("does not end; repeat with XDPLB_DAMAGE={damage}");
        std::process::exit(101);
    }
}

#[test]
fn damaged_objects_end_in_a_value_or_an_error() -> Result<()> {
    let objects = set()?;
    ensure!(objects.len() > 50, "only {} objects", objects.len());
    if let Ok(one) = std::env::var("XDPLB_DAMAGE") {
        return repeat(&objects, &one);
    }
    let damages = match std::env::var("XDPLB_DAMAGES") {
        Ok(number) => number
            .parse()
            .with_context(|| format!("XDPLB_DAMAGES={number}"))?,
        Err(_) => DAMAGES,
    };
    run(&objects, damages)
}

/// One damage, with everything that it says.
fn repeat(objects: &[Object], damage: &str) -> Result<()> {
    let (name, number) = damage
        .rsplit_once(':')
        .context("XDPLB_DAMAGE=NAME:NUMBER")?;
    let Some(object) = objects.iter().find(|object| object.name == name) else {
        bail!("XDPLB_DAMAGE: there is no object `{name}`");
    };
    let number = number.parse()?;
    let bytes = Patient::new(name, &object.bytes).damaged(number);
    let path = std::env::temp_dir().join(format!("{name}.{number}.o"));
    std::fs::write(&path, &bytes)?;
    println!("{}", path.display());
    object.suffer(&bytes, number);
    Ok(())
}
