//! The real program in the kernel, given packets by BPF_PROG_TEST_RUN: the bytecode of the release, no interface needed.
//!
//! The kernel asks the routing table of the network namespace of whoever asks for the run, so a test that must not meet the
//! machine's own routes does all of it [`inside`](crate::netns::Netns::run) a namespace of its own.

use anyhow::{Context, Result, ensure};
use xdplb_loader::kernel::{Map, Program, ProgramDefinition, TestRun, Update};
use xdplb_loader::load::{LoadOptions, Loaded, LoadedProgram, load};
use xdplb_loader::object::{ProgramKind, Spec};
use xdplb_loader::uapi::{AttachType, ProgramType, prog_flags};
use xdplb_prog::abi::{
    Backend, BackendCount, Block, Bucket, Connection, Count, Service, ServiceCount, ServiceKey,
};
use xdplb_prog::counters::{Reason, Verdict};
use xdplb_prog::model::Tables;
use xdplb_prog::world::Settings;

/// The program with its maps.
#[derive(Debug)]
pub struct OnKernel {
    loaded: Loaded,
    settings: Settings,
}

/// A value of a map, as bytes and back.
///
/// # Safety
/// `repr(C)` without padding, and any bytes are one.
unsafe trait Plain: Copy {}
macro_rules! plain {
    // SAFETY: all of these are, each layout asserted in xdplb_prog::abi.
    ($($type:ty)*) => {$(unsafe impl Plain for $type {})*};
}
plain!(Backend BackendCount Block Bucket Connection Count Service ServiceCount ServiceKey u32);

fn bytes<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: `Plain`: every byte of it is initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}
fn value<T: Plain>(bytes: &[u8]) -> Result<T> {
    let size = size_of::<T>();
    ensure!(bytes.len() == size, "{} bytes, not {size}", bytes.len());
    // SAFETY: `Plain`, and there are as many bytes as it has.
    Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// The embedded object, set up as the loader would set it up.
pub fn spec(settings: &Settings, tables: &Tables) -> Result<Spec> {
    let mut spec = Spec::parse(xdplb_loader::PROGRAM)?;
    spec.name = "xdplb".into();
    // All of them by name: one that is added and forgotten here does not compile.
    let Settings {
        balancer_v4,
        balancer_v6,
        balancer_mac,
        slots,
        buckets,
        seed,
        ticks_per_second,
        mtu,
        tunnel_v4,
        tunnel_v6,
        deferred,
        perfmon,
        frags,
        trace,
        watch,
        dry,
    } = *settings;
    let tunnel_v4 = tunnel_v4.map(u32::to_ne_bytes);
    let constants: [(&str, &[u8]); 16] = [
        ("BALANCER_V4", &balancer_v4.0),
        ("BALANCER_V6", &balancer_v6.bytes()),
        ("BALANCER_MAC", &balancer_mac.bytes()),
        ("SLOTS", &slots.to_ne_bytes()),
        ("BUCKETS", &buckets.to_ne_bytes()),
        ("SEED", &seed.to_ne_bytes()),
        ("TICKS_PER_SECOND", &ticks_per_second.to_ne_bytes()),
        ("MTU", &mtu.to_ne_bytes()),
        ("TUNNEL_V4", tunnel_v4.as_flattened()),
        ("TUNNEL_V6", &tunnel_v6.to_ne_bytes()),
        ("DEFERRED", &deferred.to_ne_bytes()),
        ("PERFMON", &perfmon.to_ne_bytes()),
        ("FRAGS", &frags.to_ne_bytes()),
        ("TRACE", &trace.to_ne_bytes()),
        ("WATCH", &watch.to_ne_bytes()),
        ("DRY", &dry.to_ne_bytes()),
    ];
    for (name, bytes) in constants {
        spec.set_global(name, bytes)?;
    }
    for (name, entries) in sizes(tables) {
        spec.map_mut(name)?.max_entries = entries.max(ROOM);
    }
    for (name, entries) in [("connections", slots), ("index", buckets)] {
        spec.map_mut(name)?.max_entries = entries;
    }
    if frags != 0 {
        let kind = ProgramKind {
            flags: prog_flags::XDP_HAS_FRAGS,
            ..ProgramKind::XDP
        };
        let name = spec.programs.first().map(|program| program.name.clone());
        spec.set_kind(name.as_deref(), kind)?;
    }
    Ok(spec)
}

/// The least room in each of the configuration's maps, so that a program can be used again for other tables.
const ROOM: u32 = 64;

/// How many entries the configuration takes in each map.
fn sizes(tables: &Tables) -> [(&'static str, u32); 6] {
    let services = tables.services.values().map(|service| service.id + 1);
    let backends = tables.backends.len() as u32;
    [
        ("services", tables.services.len() as u32),
        ("tables", tables.tables.len() as u32),
        ("members", tables.members.len() as u32),
        ("backends", backends),
        ("backend_counters", backends),
        ("service_counters", services.max().unwrap_or(0)),
    ]
}

impl OnKernel {
    /// Loads it and fills its maps.
    pub fn load(settings: &Settings, tables: &Tables) -> Result<Self> {
        let this = Self {
            loaded: load(&spec(settings, tables)?, LoadOptions::default(), &mut ())?,
            settings: *settings,
        };
        this.configure(tables)?;
        Ok(this)
    }

    fn configure(&self, tables: &Tables) -> Result<()> {
        let pair = |(key, service)| {
            (
                bytes::<ServiceKey>(key).into(),
                bytes::<Service>(service).into(),
            )
        };
        let services: Vec<_> = tables.services.iter().map(pair).collect();
        self.map("services")?.update_all(&services)?;
        self.fill("tables", &tables.tables)?;
        self.fill("members", &tables.members)?;
        self.fill("backends", &tables.backends)
    }

    /// Whether its maps have room for these tables.
    pub fn has_room(&self, tables: &Tables) -> Result<bool> {
        for (name, entries) in sizes(tables) {
            if self.map(name)?.shape().max_entries < entries {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// As if it had just been loaded with these tables, for which there is [room](Self::has_room): the verifier takes a second
    /// or two for each program.
    pub fn start_over(&self, tables: &Tables) -> Result<()> {
        let services = self.map("services")?;
        services.delete_all(&services.keys()?)?;
        for name in ["tables", "members", "backends", "connections", "index"] {
            let map = self.map(name)?;
            let shape = map.shape();
            map.fill(&vec![0; (shape.max_entries * shape.value_size) as usize])?;
        }
        for name in ["counters", "backend_counters", "service_counters"] {
            let map = self.map(name)?;
            for index in 0..map.shape().max_entries {
                let key = index.to_ne_bytes();
                let cpus = map.lookup_per_cpu(&key)?.context("no entry")?;
                let zeros: Vec<Vec<u8>> = cpus.iter().map(|cpu| vec![0; cpu.len()]).collect();
                map.update_per_cpu(&key, &zeros, Update::Any)?;
            }
        }
        let bss = self.map(".bss")?;
        let zeros = vec![0; bss.shape().value_size as usize];
        bss.update(&[0; 4], &zeros, Update::Any)?;
        self.configure(tables)
    }

    fn fill<T: Plain>(&self, map: &str, values: &[T]) -> Result<()> {
        let values: Vec<u8> = values.iter().flat_map(bytes::<T>).copied().collect();
        Ok(self.map(map)?.fill(&values)?)
    }

    /// As it was loaded.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The program and what the kernel said about it.
    pub fn program(&self) -> Result<&LoadedProgram> {
        self.loaded.programs.first().context("no program")
    }

    fn map(&self, name: &str) -> Result<&Map> {
        Ok(self.loaded.map(name)?)
    }

    /// Gives it a frame once.
    pub fn run(&self, frame: &[u8]) -> Result<(Verdict, Vec<u8>)> {
        self.run_in(frame, None)
    }

    /// The same with a context: a `struct xdp_md` whose packet, behind `data` bytes of metadata, is in `frame`.
    pub fn run_in(&self, frame: &[u8], context: Option<&[u8]>) -> Result<(Verdict, Vec<u8>)> {
        let run = TestRun {
            data: frame,
            context,
            repeat: 1,
        };
        let result = self.program()?.program.test_run(&run)?;
        let known = [Verdict::Drop, Verdict::Pass, Verdict::Tx];
        let verdict = known
            .into_iter()
            .find(|verdict| *verdict as u32 == result.return_value)
            .with_context(|| format!("verdict {}", result.return_value))?;
        Ok((verdict, result.data))
    }

    /// The u64s under `index`, added up over the CPUs.
    fn sums<const N: usize>(&self, map: &str, index: u32) -> Result<[u64; N]> {
        let cpus = self
            .map(map)?
            .lookup_per_cpu(&index.to_ne_bytes())?
            .with_context(|| format!("{map} has no entry {index}"))?;
        let mut sums = [0; N];
        for cpu in &cpus {
            ensure!(cpu.len() == N * 8, "{map}: values of {} bytes", cpu.len());
            for (sum, word) in sums.iter_mut().zip(cpu.chunks_exact(8)) {
                *sum += u64::from_ne_bytes(word.try_into()?);
            }
        }
        Ok(sums)
    }

    /// Packets and bytes of a reason.
    pub fn count(&self, reason: Reason) -> Result<Count> {
        let [packets, bytes] = self.sums("counters", reason as u32)?;
        Ok(Count { packets, bytes })
    }

    /// What a backend got and gave.
    pub fn backend_count(&self, index: u32) -> Result<BackendCount> {
        let [connections, sent, sent_bytes, received, received_bytes] =
            self.sums("backend_counters", index)?;
        let count = |packets, bytes| Count { packets, bytes };
        Ok(BackendCount {
            connections,
            sent: count(sent, sent_bytes),
            received: count(received, received_bytes),
        })
    }

    /// What became of a service's new flows.
    pub fn service_count(&self, id: u32) -> Result<ServiceCount> {
        let [opened, refused] = self.sums("service_counters", id)?;
        Ok(ServiceCount { opened, refused })
    }

    /// Every entry of an array, in order. Locks read as zero.
    fn all<T: Plain>(&self, map: &str) -> Result<Vec<T>> {
        let map = self.map(map)?;
        let mut values = Vec::with_capacity(map.shape().max_entries as usize);
        map.visit(&mut |_, bytes| values.push(value(bytes)))?;
        values.into_iter().collect()
    }

    /// Every slot of `connections`.
    pub fn connections(&self) -> Result<Vec<Connection>> {
        self.all("connections")
    }
    /// Every bucket of `index`.
    pub fn buckets(&self) -> Result<Vec<Bucket>> {
        self.all("index")
    }
    /// Every entry of `backends`.
    pub fn backends(&self) -> Result<Vec<Backend>> {
        self.all("backends")
    }

    fn put<T: Plain>(&self, map: &str, index: u32, value: &T) -> Result<()> {
        let key = index.to_ne_bytes();
        Ok(self.map(map)?.update(&key, bytes(value), Update::Any)?)
    }
    /// Writes a slot of `connections`, but for its lock.
    pub fn put_connection(&self, slot: u32, connection: &Connection) -> Result<()> {
        self.put("connections", slot, connection)
    }
    /// Writes an entry of `backends`.
    pub fn put_backend(&self, index: u32, backend: &Backend) -> Result<()> {
        self.put("backends", index, backend)
    }
}

/// One instruction as its eight bytes: opcode, registers, offset, immediate (include/uapi/linux/bpf.h, `struct bpf_insn`).
pub const fn insn(opcode: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> [u8; 8] {
    let (offset, immediate) = (offset.to_le_bytes(), immediate.to_le_bytes());
    [
        opcode,
        dst | src << 4,
        offset[0],
        offset[1],
        immediate[0],
        immediate[1],
        immediate[2],
        immediate[3],
    ]
}

/// Loads a list of instructions as an XDP program.
pub fn assemble(name: &str, instructions: &[[u8; 8]]) -> Result<Program> {
    Ok(Program::load(&ProgramDefinition {
        name,
        program_type: ProgramType::XDP,
        expected_attach_type: AttachType::XDP,
        license: "GPL",
        instructions: instructions.as_flattened(),
        ..ProgramDefinition::default()
    })?)
}

/// The kernel's clock as the program reads it: the low half of jiffies.
#[derive(Debug)]
pub struct Clock(Program);

impl Clock {
    /// A program that returns it.
    pub fn new() -> Result<Self> {
        const JIFFIES64: i32 = 118;
        let instructions = [insn(0x85, 0, 0, 0, JIFFIES64), insn(0x95, 0, 0, 0, 0)];
        Ok(Self(assemble("xdplb_clock", &instructions)?))
    }

    /// What it says.
    pub fn now(&self) -> Result<u32> {
        let run = TestRun {
            data: &[0; 14],
            repeat: 1,
            ..TestRun::default()
        };
        Ok(self.0.test_run(&run)?.return_value)
    }
}
