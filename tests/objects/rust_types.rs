//! Rust's types as rustc names them (`Option<&T>`, `[u8; 4]`, paths of generics), left as they are: what bpf-linker gives.
// builds: unlinked = unlinked, linked =
// programs: pick
// libbpf.unlinked: is static and not supported
#![no_std]
#![no_main]

#[repr(C)]
pub struct Pair<T, const N: usize> {
    first: T,
    rest: [T; N],
}

pub enum Shape<'a> {
    Nothing,
    One(&'a u32),
    Many(Pair<u64, 3>),
}

#[unsafe(no_mangle)]
static mut CHOICE: Option<Pair<u32, 2>> = None;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[inline(never)]
fn measure(shape: &Shape<'_>, letter: char) -> u32 {
    match shape {
        Shape::Nothing => letter as u32,
        Shape::One(value) => **value,
        Shape::Many(pair) => (pair.first + pair.rest[0]) as u32,
    }
}

#[unsafe(link_section = "xdp")]
#[unsafe(no_mangle)]
extern "C" fn pick(context: *const u32) -> u32 {
    // SAFETY: the context of an XDP program has the queue's number at its fifth word; one CPU's race over CHOICE is harmless.
    let (queue, choice) = unsafe { (context.add(4).read(), (&raw const CHOICE).as_ref()) };
    let shape = match queue {
        0 => Shape::Nothing,
        1 => Shape::One(&queue),
        _ => Shape::Many(Pair { first: 1, rest: [2, 3, 4] }),
    };
    let chosen = choice.and_then(Option::as_ref).map_or(0, |pair| pair.first + pair.rest[1]);
    if measure(&shape, 'x') > chosen { 2 } else { 1 }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
