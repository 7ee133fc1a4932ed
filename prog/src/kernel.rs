//! The balancer's [`World`] in the kernel: maps, constants and helper calls.

use core::hint::black_box;

use xdplb_prog::abi::{Backend, Be16, Be32, Connection, FlowId, FlowKey, MacWords};
use xdplb_prog::checksum::Sum;
use xdplb_prog::counters::Reason;
use xdplb_prog::flow::{self, Slot};
use xdplb_prog::helpers::{self, CURRENT_NETNS, SockTuple, frame, xdp_md};
use xdplb_prog::packet::{Frame, Header, PLAIN_TCP, Segment, Spare, Tcp};
use xdplb_prog::rewrite::LONGEST_SUM;
use xdplb_prog::world::{Line, Taken, World};

/// The running program.
pub struct Kernel {
    /// The packet's context.
    pub context: *const xdp_md,
}

/// Reads a constant where it lies: the compiler must not know the value that the loader will replace.
macro_rules! setting {
    // SAFETY: a static is always readable.
    ($name:ident $([$index:literal])?) => {
        unsafe { (&raw const crate::$name $([$index])?).read_volatile() }
    };
}

impl World for Kernel {
    #[inline(always)]
    fn service_addr(&self) -> Be32 {
        Be32::from_word(setting!(SERVICE_ADDR))
    }
    #[inline(always)]
    fn service_port(&self) -> Be16 {
        Be16::from_word(setting!(SERVICE_PORT))
    }
    #[inline(always)]
    fn balancer_addr(&self) -> Be32 {
        Be32::from_word(setting!(BALANCER_ADDR))
    }
    #[inline(always)]
    fn balancer_mac(&self) -> MacWords {
        MacWords([
            setting!(BALANCER_MAC[0]),
            setting!(BALANCER_MAC[1]),
            setting!(BALANCER_MAC[2]),
        ])
    }
    #[inline(always)]
    fn backends(&self) -> u32 {
        setting!(BACKENDS)
    }
    #[inline(always)]
    fn slots(&self) -> u32 {
        setting!(SLOTS)
    }
    #[inline(always)]
    fn ticks_per_second(&self) -> u32 {
        setting!(TICKS_PER_SECOND)
    }
    #[inline(always)]
    fn deferred(&self) -> u32 {
        setting!(DEFERRED)
    }
    #[inline(always)]
    fn traced(&self) -> bool {
        setting!(TRACE) != 0
    }

    #[inline(always)]
    fn now(&self) -> u32 {
        // SAFETY: no arguments.
        unsafe { helpers::jiffies64() as u32 }
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<FlowId> {
        // SAFETY: null or a live value of `flows`.
        unsafe { crate::flows.get(key).as_ref().copied() }
    }
    #[inline(always)]
    fn add_flow(&self, key: &FlowKey, id: FlowId) -> Result<(), Taken> {
        if crate::flows.add(key, u64::from(id.0).to_le()) {
            Ok(())
        } else {
            Err(Taken)
        }
    }
    #[inline(always)]
    fn remove_flow(&self, key: &FlowKey) {
        crate::flows.remove(key);
    }

    #[inline(always)]
    fn connection(&self, slot: u32) -> *mut Connection {
        crate::connections.at(slot)
    }
    #[inline(always)]
    fn claim(&self, slot: &Slot, generation: u32) -> bool {
        // SAFETY: the lock lies in a live map value; nothing is called while it is held.
        unsafe { helpers::spin_lock(slot.lock()) };
        let unchanged = slot.generation() == generation;
        if unchanged {
            slot.set_generation(generation.wrapping_add(1));
        }
        // SAFETY: taken above.
        unsafe { helpers::spin_unlock(slot.lock()) };
        unchanged
    }
    #[inline(always)]
    fn hand(&self) -> u32 {
        setting!(HAND)
    }
    #[inline(always)]
    fn set_hand(&self, slot: u32) {
        // SAFETY: a word of .bss; two CPUs that write it at once only search the same window.
        unsafe { (&raw mut crate::HAND).write_volatile(slot) }
    }

    #[inline(always)]
    fn search(&self, start: u32) -> u64 {
        xdplb_search(start)
    }
    #[inline(always)]
    fn take_port(&self, reply: FlowKey, id: FlowId, seed: u32) -> Option<Be16> {
        let ports = u32::from(reply.sport.word()) << 16 | u32::from(reply.dport.word());
        let port = xdplb_take_port(self.context, reply.saddr.word(), ports, id.0, seed);
        if port == NO_PORT {
            None
        } else {
            Some(Be16::from_word(port as u16))
        }
    }

    #[inline(always)]
    fn backend(&self, index: u32) -> Option<&Backend> {
        // SAFETY: null or a live value of `backends`.
        unsafe { crate::backends.at(index).as_ref() }
    }

    #[inline(always)]
    fn has_socket(&self, key: &FlowKey) -> bool {
        let tuple = SockTuple {
            saddr: key.saddr.word(),
            daddr: key.daddr.word(),
            sport: key.sport.word(),
            dport: key.dport.word(),
        };
        // SAFETY: the tuple has the size that is given.
        let socket = unsafe {
            helpers::skc_lookup_tcp(self.context, &tuple, SockTuple::SIZE, CURRENT_NETNS, 0)
        };
        if socket.is_null() {
            return false;
        }
        // SAFETY: found above, released once.
        unsafe { helpers::sk_release(socket) };
        true
    }

    #[inline(always)]
    fn sum(&self, _: &Frame<'_>, offset: usize, length: u16) -> Option<Sum> {
        let sum = xdplb_sum(self.context, offset as u32, u32::from(length));
        if sum < 0 {
            None
        } else {
            Some(Sum::from_partial(sum as u32))
        }
    }

    #[inline(always)]
    fn points_anywhere(&self) -> bool {
        setting!(PERFMON) != 0
    }
    #[inline(always)]
    fn copy_tcp(&self, offset: usize, spare: &Spare) -> bool {
        let (room, size) = (spare.0.as_ptr().cast(), size_of::<Tcp>() as u32);
        // SAFETY: the room is larger than a TCP header.
        unsafe { helpers::xdp_load_bytes(self.context, offset as u32, room, size) == 0 }
    }
    #[inline(always)]
    fn put_back(&self, segment: &Segment<'_>) {
        if setting!(PERFMON) == 0 && segment.tcp_offset != PLAIN_TCP {
            let (offset, tcp) = (segment.tcp_offset as u32, core::ptr::from_ref(segment.tcp));
            // SAFETY: a whole TCP header, at the place where it was read.
            unsafe {
                helpers::xdp_store_bytes(self.context, offset, tcp.cast(), size_of::<Tcp>() as u32)
            };
        }
    }

    #[inline(always)]
    fn length(&self, frame: &Frame<'_>) -> u64 {
        if setting!(PERFMON) != 0 {
            return frame.difference();
        }
        // SAFETY: the program's context.
        unsafe { helpers::xdp_get_buff_len(self.context) }
    }

    #[inline(always)]
    fn count(&self, reason: Reason, bytes: u64) {
        // SAFETY: null or this CPU's value of `counters`.
        if let Some(count) = unsafe { crate::counters.at(reason as u32).as_mut() } {
            count.packets += 1;
            count.bytes += bytes;
        }
    }
    #[inline(always)]
    fn count_backend(&self, index: u32, reason: Reason, bytes: u64) {
        // SAFETY: null or this CPU's value of `backend_counters`.
        let Some(count) = (unsafe { crate::backend_counters.at(index).as_mut() }) else {
            return;
        };
        // Every field, by 0 or by 1: to choose a field is to compute a pointer on one of two paths,
        // which the verifier refuses without CAP_PERFMON.
        let replied = u64::from(reason == Reason::Replied);
        let sent = 1 - replied;
        count.connections += u64::from(reason == Reason::Opened);
        count.sent.packets += sent;
        count.sent.bytes += bytes * sent;
        count.received.packets += replied;
        count.received.bytes += bytes * replied;
    }

    #[inline(always)]
    fn trace(&self, line: Line<'_>) {
        match line {
            Line::Received => print(b"xdp_load_balancer received packet\0", &[]),
            Line::Headers(key, source, destination) => {
                print(b"Received Source IP: 0x%x\0", &[u64::from(key.saddr.get())]);
                print(
                    b"Received Destination IP: 0x%x\0",
                    &[u64::from(key.daddr.get())],
                );
                print_mac(RECEIVED_SOURCE, source);
                print_mac(RECEIVED_DESTINATION, destination);
            }
            Line::FromClient => print(b"Packet from client\0", &[]),
            Line::FromBackend => print(b"Packet from backend\0", &[]),
            Line::Redirecting(key, destination, source) => {
                let (to, from) = (u64::from(key.daddr.get()), u64::from(key.saddr.get()));
                print(
                    b"Redirecting packet to new IP 0x%x from IP 0x%x\0",
                    &[to, from],
                );
                print_mac(NEW_DESTINATION, destination);
                print_mac(NEW_SOURCE, source);
            }
        }
    }
}

// Functions under a name of their own stay global: the kernel verifies each once, for whatever it
// could be given, so their loops do not multiply with the paths of the program. Such a function
// takes scalars and the context, and returns a scalar (Documentation/bpf/verifier.rst).

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn xdplb_search(start: u32) -> u64 {
    flow::search(
        &Kernel {
            context: core::ptr::null(),
        },
        start,
    )
}

/// What [`xdplb_take_port`] returns when there is none; a port has 16 bits.
const NO_PORT: u32 = u32::MAX;

/// The port as it lies in a packet. `backend` and `ports` (service port above, client's port below) as they lie in a packet.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn xdplb_take_port(
    context: *const xdp_md,
    backend: u32,
    ports: u32,
    id: u32,
    seed: u32,
) -> u32 {
    let world = Kernel { context };
    let [service, client] = [(ports >> 16) as u16, ports as u16].map(Be16::from_word);
    let reply = FlowKey::tcp(
        Be32::from_word(backend),
        service,
        world.balancer_addr(),
        client,
    );
    match flow::take_port(&world, reply, FlowId(id), seed) {
        Some(port) => u32::from(port.word()),
        None => NO_PORT,
    }
}

const RECEIVED_SOURCE: u32 = 0;
const RECEIVED_DESTINATION: u32 = 1;
const NEW_DESTINATION: u32 = 2;
const NEW_SOURCE: u32 = 3;

#[inline(always)]
fn print_mac(line: u32, mac: MacWords) {
    let [head, middle, tail] = mac.0.map(u32::from);
    xdplb_trace_mac(line, head << 16 | middle, tail);
}

/// One of the trace's four lines with an Ethernet address; its six words do not fit on the stack
/// beside everything else.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn xdplb_trace_mac(line: u32, head: u32, tail: u32) -> u32 {
    // A function of its own is verified even where nothing calls it, and its helper is of Linux 5.16.
    if setting!(TRACE) == 0 {
        return 0;
    }
    let mac = MacWords([(head >> 16) as u16, head as u16, tail as u16]);
    let octets = mac.bytes().map(u64::from);
    match line {
        RECEIVED_SOURCE => print(b"Received Source MAC: %x:%x:%x:%x:%x:%x\0", &octets),
        RECEIVED_DESTINATION => print(b"Received Destination MAC: %x:%x:%x:%x:%x:%x\0", &octets),
        NEW_DESTINATION => print(b"New Dest MAC: %x:%x:%x:%x:%x:%x\0", &octets),
        _ => print(b"New Source MAC: %x:%x:%x:%x:%x:%x\0", &octets),
    }
    0
}

#[inline(always)]
fn print<const F: usize, const N: usize>(format: &'static [u8; F], arguments: &[u64; N]) {
    let data = if N == 0 {
        core::ptr::null()
    } else {
        arguments.as_ptr()
    };
    // SAFETY: both sizes are those of the arrays.
    unsafe { helpers::trace_vprintk(format.as_ptr(), F as u32, data, (N * 8) as u32) };
}

/// The folded sum of `length` bytes of the frame, or -1 where the frame ends before them.
///
/// Whole chunks in a loop, then each smaller power of two at most once. Where a piece begins is
/// computed from the length alone, not carried along: so the verifier has one state to follow after
/// each piece, and not one for every combination of pieces before it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn xdplb_sum(context: *const xdp_md, offset: u32, length: u32) -> i64 {
    // The verifier asks for bounds that hold for any caller.
    let length = length & 0x7fff;
    if setting!(PERFMON) != 0 {
        sum_in_place(context, offset, length)
    } else {
        sum_by_copy(context, offset, length)
    }
}

/// Bytes that are added at once: as many as `bpf_csum_diff` takes (MAX_BPF_STACK, net/core/filter.c).
const CHUNK: u32 = 512;

/// A piece of the frame, to prove its bounds.
#[repr(transparent)]
struct Bytes<const N: usize>([core::cell::Cell<u8>; N]);
// SAFETY: an array of Cells of bytes.
unsafe impl<const N: usize> Header for Bytes<N> {}

#[inline(always)]
fn sum_in_place(context: *const xdp_md, offset: u32, length: u32) -> i64 {
    let mut sum = Sum::ZERO;
    let mut chunk = 0;
    while chunk < LONGEST_SUM as u32 / CHUNK {
        if chunk >= length / CHUNK {
            break;
        }
        if !add::<{ CHUNK as usize }>(context, offset + chunk * CHUNK, &mut sum) {
            return -1;
        }
        chunk += 1;
    }
    macro_rules! pieces {
        ($($size:literal)*) => {$(
            let start = offset + (length & !($size * 2 - 1));
            if length & $size != 0 && !add::<$size>(context, start, &mut sum) {
                return -1;
            }
        )*};
    }
    pieces!(256 128 64 32 16 8 4 2 1);
    i64::from(sum.fold())
}

/// Adds the N bytes at `start`; whether the frame has them.
#[inline(always)]
fn add<const N: usize>(context: *const xdp_md, start: u32, sum: &mut Sum) -> bool {
    // SAFETY: the program's context.
    let frame = unsafe { frame(context) };
    // The bound has to be put on the very number that is added to the pointer, and the compiler,
    // which knows that nothing is cut off, must not leave it away.
    let start = black_box(start) & 0x7fff;
    let Some(bytes) = frame.at::<Bytes<N>>(start as usize) else {
        return false;
    };
    if N >= 4 {
        let from = core::ptr::from_ref(bytes).cast();
        // SAFETY: N bytes of the frame, a multiple of 4.
        let partial = unsafe { helpers::csum_diff(core::ptr::null(), 0, from, N as u32, 0) };
        *sum = sum.add32(partial as u32);
    } else {
        let second = if N > 1 { bytes.0[N - 1].get() } else { 0 };
        *sum = sum.add16(u16::from_ne_bytes([bytes.0[0].get(), second]));
    }
    true
}

/// The same without a pointer into the frame: copied, a chunk at a time, to map `scratch`. One path
/// for every length, since without CAP_PERFMON the verifier also walks the paths that a mispredicted
/// branch would take.
#[inline(always)]
fn sum_by_copy(context: *const xdp_md, offset: u32, length: u32) -> i64 {
    let room = crate::scratch.at(0);
    if room.is_null() {
        return -1;
    }
    let mut sum = Sum::ZERO;
    let mut at = 0;
    while at < LONGEST_SUM as u32 {
        if at >= length {
            break;
        }
        // Through memory, which the verifier does not remember: to it the size is then the same on
        // every path, a number that has yet to be bounded. The room is longer than a
        // chunk, for the word behind a whole one.
        // SAFETY: the room's last word, beyond the chunk.
        let last = unsafe {
            let memory = room.cast::<u64>().add(2 * CHUNK as usize / 8 - 1);
            memory.write_volatile(u64::from((length - at).min(CHUNK) - 1));
            memory.read_volatile() as u32
        };
        let size = (last & (CHUNK - 1)) + 1;
        let tail = size & !3;
        let padded = (size + 3) & !3;
        // SAFETY: `tail` is a word's place in the room; the last one is zeroed behind odd bytes.
        unsafe {
            room.cast::<u8>()
                .add(tail as usize)
                .cast::<u32>()
                .write_volatile(0)
        };
        // SAFETY: the room has that many bytes.
        if unsafe { helpers::xdp_load_bytes(context, offset + at, room.cast(), size) } != 0 {
            return -1;
        }
        // SAFETY: as above.
        let partial = unsafe { helpers::csum_diff(core::ptr::null(), 0, room.cast(), padded, 0) };
        sum = sum.add32(partial as u32);
        at += CHUNK;
    }
    i64::from(sum.fold())
}
