//! The real program in the kernel, given packets by BPF_PROG_TEST_RUN: the bytecode of the release, no interface needed.
//!
//! The kernel looks sockets up in the network namespace of whoever asks for the run, so a test that must not meet the
//! machine's own sockets does all of it [`inside`](crate::netns::Netns::run) a namespace of its own.

use std::mem::offset_of;

use anyhow::{Context, Result, ensure};
use xdplb_loader::kernel::{Map, Program, ProgramDefinition, TestRun, Update};
use xdplb_loader::load::{LoadOptions, Loaded, LoadedProgram, load};
use xdplb_loader::object::Spec;
use xdplb_loader::uapi::{AttachType, ProgramType};
use xdplb_prog::abi::{Backend, Connection, FlowId, FlowKey};
use xdplb_prog::counters::{Reason, Verdict};
use xdplb_prog::flow::State;
use xdplb_prog::world::Settings;

use crate::scenarios::Balancer;

/// The program with its maps.
#[derive(Debug)]
pub struct OnKernel {
    loaded: Loaded,
}

/// The embedded object, set up as the loader would set it up.
pub fn spec(settings: &Settings) -> Result<Spec> {
    let mut spec = Spec::parse(xdplb_loader::PROGRAM)?;
    spec.name = "xdplb".into();
    // All of them by name: one that is added and forgotten here does not compile.
    let Settings {
        service_addr,
        service_port,
        balancer_addr,
        balancer_mac,
        backends,
        slots,
        ticks_per_second,
        deferred,
        trace,
        perfmon,
    } = *settings;
    let constants: [(&str, &[u8]); 10] = [
        ("SERVICE_ADDR", &service_addr.0),
        ("SERVICE_PORT", &service_port.0),
        ("BALANCER_ADDR", &balancer_addr.0),
        ("BALANCER_MAC", &balancer_mac.bytes()),
        ("BACKENDS", &backends.to_ne_bytes()),
        ("SLOTS", &slots.to_ne_bytes()),
        ("TICKS_PER_SECOND", &ticks_per_second.to_ne_bytes()),
        ("DEFERRED", &deferred.to_ne_bytes()),
        ("TRACE", &trace.to_ne_bytes()),
        ("PERFMON", &perfmon.to_ne_bytes()),
    ];
    for (name, bytes) in constants {
        spec.set_global(name, bytes)?;
    }
    let sizes = [
        ("backends", backends),
        ("backend_counters", backends),
        ("connections", slots),
        ("flows", 2 * slots),
    ];
    for (name, entries) in sizes {
        spec.map_mut(name)?.max_entries = entries;
    }
    Ok(spec)
}

impl OnKernel {
    /// Loads it.
    pub fn load(settings: &Settings, backends: &[Backend]) -> Result<Self> {
        let this = Self {
            loaded: load(&spec(settings)?, LoadOptions::default(), &mut ())?,
        };
        for (index, backend) in (0u32..).zip(backends) {
            let mut value = [0; size_of::<Backend>()];
            value[..4].copy_from_slice(&backend.ip.0);
            value[4..10].copy_from_slice(&backend.mac);
            this.map("backends")?
                .update(&index.to_ne_bytes(), &value, Update::Any)?;
        }
        Ok(this)
    }

    /// The program and what the kernel said about it.
    pub fn program(&self) -> Result<&LoadedProgram> {
        self.loaded.programs.first().context("no program")
    }

    fn map(&self, name: &str) -> Result<&Map> {
        self.loaded
            .map(name)
            .with_context(|| format!("no map {name}"))
    }

    /// Gives it a frame once.
    pub fn run(&self, frame: &[u8]) -> Result<(Verdict, Vec<u8>)> {
        let run = TestRun {
            data: frame,
            repeat: 1,
            ..TestRun::default()
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
    pub fn count(&self, reason: Reason) -> Result<[u64; 2]> {
        self.sums("counters", reason as u32)
    }

    /// Connections, packets and bytes sent, packets and bytes received.
    pub fn backend_count(&self, index: u32) -> Result<[u64; 5]> {
        self.sums("backend_counters", index)
    }

    /// Keys of `flows` with what they lead to, in the order of their bytes.
    pub fn flow_entries(&self) -> Result<Vec<([u8; 16], FlowId)>> {
        let flows = self.map("flows")?;
        let mut entries = Vec::new();
        for key in flows.keys()? {
            let value = flows
                .lookup(&key)?
                .context("a key without a value, though nobody runs")?;
            let id = FlowId(u32::from_ne_bytes(value.as_slice().try_into()?));
            entries.push((key.as_slice().try_into()?, id));
        }
        entries.sort_unstable_by_key(|(key, _)| *key);
        Ok(entries)
    }

    /// Every slot of `connections` as it lies there.
    pub fn slots(&self) -> Result<Vec<Record>> {
        let connections = self.map("connections")?;
        (0..connections.shape().max_entries)
            .map(|slot| {
                let value = connections.lookup(&slot.to_ne_bytes())?;
                Ok(Record(value.context("a slot is missing")?))
            })
            .collect()
    }
}

/// A value of map `connections`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record(Vec<u8>);

impl Record {
    fn word(&self, offset: usize) -> u32 {
        let bytes = self.0.get(offset..offset + 4);
        bytes.map_or(0, |bytes| {
            u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        })
    }

    /// Whether a connection is in it.
    pub fn is_live(&self) -> bool {
        self.word(offset_of!(Connection, state)) != State::FREE
    }

    /// When its last packet came.
    pub fn last_seen(&self) -> u32 {
        self.word(offset_of!(Connection, last_seen))
    }

    /// Its bytes without the lock, which is the kernel's.
    pub fn bytes(&self) -> &[u8] {
        self.0
            .get(offset_of!(Connection, generation)..)
            .unwrap_or_default()
    }

    /// The bytes that a connection of the model's would have there.
    pub fn of(connection: &Connection) -> Self {
        let flow = |key: &FlowKey| *key.bytes();
        let mut bytes = vec![0; size_of::<Connection>()];
        let mut put = |offset: usize, field: &[u8]| {
            bytes[offset..offset + field.len()].copy_from_slice(field);
        };
        let words = [
            (offset_of!(Connection, generation), connection.generation),
            (offset_of!(Connection, last_seen), connection.last_seen),
            (offset_of!(Connection, state), connection.state),
            (offset_of!(Connection, backend), connection.backend),
        ];
        for (offset, word) in words {
            put(offset, &word.to_ne_bytes());
        }
        put(offset_of!(Connection, request), &flow(&connection.request));
        put(offset_of!(Connection, reply), &flow(&connection.reply));
        put(offset_of!(Connection, client_mac), &connection.client_mac);
        put(offset_of!(Connection, backend_mac), &connection.backend_mac);
        Self(bytes)
    }
}

/// The scenarios take no errors; what fails here is the kernel's refusal, not the program's answer.
fn must<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{error:#}"))
}

impl Balancer for OnKernel {
    fn receive(&mut self, frame: &[u8]) -> (Verdict, Vec<u8>) {
        must(self.run(frame))
    }
    fn counted(&mut self, reason: Reason) -> u64 {
        must(self.count(reason))[0]
    }
    fn bytes(&mut self, reason: Reason) -> u64 {
        must(self.count(reason))[1]
    }
    fn backend(&mut self, index: u32) -> (u64, u64, u64) {
        let [connections, sent, _, received, _] = must(self.backend_count(index));
        (connections, sent, received)
    }
    fn flows(&mut self) -> usize {
        must(self.map("flows").and_then(|map| Ok(map.keys()?))).len()
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
