//! What a scenario asks of the program, wherever it runs: frames through it, its tables, its counters.

use anyhow::Result;
use xdplb_prog::abi::{Backend, BackendCount, Bucket, Connection, Count, ServiceCount};
use xdplb_prog::counters::{Reason, Verdict};
use xdplb_prog::model::Model;
use xdplb_prog::state::State;
use xdplb_prog::world::Settings;

use crate::pool::Pooled;
use crate::program::{Clock, OnKernel};

/// The program somewhere.
pub type Balancer = Box<dyn Surroundings>;

/// The program in some surroundings.
pub trait Surroundings {
    /// Gives it a frame; returns the verdict and the frame as it left.
    fn receive(&self, frame: &[u8]) -> (Verdict, Vec<u8>);
    /// The same with no room in front of the frame.
    fn receive_cramped(&self, frame: &[u8]) -> (Verdict, Vec<u8>);
    /// As it was loaded.
    fn settings(&self) -> Settings;
    /// The clock.
    fn now(&self) -> u32;
    /// What left for this reason.
    fn count(&self, reason: Reason) -> Count;
    /// What a backend got and gave.
    fn backend_count(&self, index: u32) -> BackendCount;
    /// What became of a service's new flows.
    fn service_count(&self, id: u32) -> ServiceCount;
    /// Every slot of `connections`.
    fn slots(&self) -> Vec<Connection>;
    /// Every bucket of `index`.
    fn buckets_now(&self) -> Vec<Bucket>;
    /// Every entry of `backends`.
    fn backends_now(&self) -> Vec<Backend>;
    /// Writes a slot of `connections`.
    fn put_connection(&self, slot: u32, connection: &Connection);
    /// Writes an entry of `backends`.
    fn put_backend(&self, index: u32, backend: &Backend);

    /// Every slot that holds a flow.
    fn live(&self) -> Vec<Connection> {
        let mut slots = self.slots();
        slots.retain(|slot| slot.state != State::FREE);
        slots
    }
    /// How often a frame left for this reason.
    fn counted(&self, reason: Reason) -> u64 {
        self.count(reason).packets
    }
    /// All counters that are not zero.
    fn summary(&self) -> String {
        let counts = Reason::ALL
            .iter()
            .map(|reason| (reason.name(), self.counted(*reason)));
        format!(
            "{:?}",
            counts.filter(|(_, count)| *count > 0).collect::<Vec<_>>()
        )
    }
    /// Changes a backend's flags, as a reload does.
    fn set_flags(&self, index: u32, flags: u32) {
        let backend = self.backends_now()[index as usize];
        self.put_backend(index, &Backend { flags, ..backend });
    }
    /// Lets everything that is remembered be that many seconds older.
    fn sleep(&self, seconds: u32) {
        let ticks = seconds.wrapping_mul(self.settings().ticks_per_second);
        for (slot, connection) in (0..).zip(self.slots()) {
            let aged = Connection {
                last_seen: connection.last_seen.wrapping_sub(ticks),
                routed_at: connection.routed_at.wrapping_sub(ticks),
                ..connection
            };
            self.put_connection(slot, &aged);
        }
        for (index, backend) in (0..).zip(self.backends_now()) {
            let routed_at = backend.routed_at.wrapping_sub(ticks);
            self.put_backend(
                index,
                &Backend {
                    routed_at,
                    ..backend
                },
            );
        }
    }
}

impl Surroundings for Model {
    fn receive(&self, frame: &[u8]) -> (Verdict, Vec<u8>) {
        let mut frame = frame.to_vec();
        let verdict = Model::receive(self, &mut frame);
        (verdict, frame)
    }
    fn receive_cramped(&self, frame: &[u8]) -> (Verdict, Vec<u8>) {
        self.headroom.set(CRAMPED);
        let answer = Surroundings::receive(self, frame);
        self.headroom.set(xdplb_prog::model::HEADROOM);
        answer
    }
    fn settings(&self) -> Settings {
        self.settings
    }
    fn now(&self) -> u32 {
        self.now.get()
    }
    fn count(&self, reason: Reason) -> Count {
        let counters = self.counters.borrow();
        counters.get(reason.name()).copied().unwrap_or_default()
    }
    fn backend_count(&self, index: u32) -> BackendCount {
        self.backend_counters.borrow()[index as usize]
    }
    fn service_count(&self, id: u32) -> ServiceCount {
        let counters = self.service_counters.borrow();
        counters.get(&id).copied().unwrap_or_default()
    }
    fn slots(&self) -> Vec<Connection> {
        Model::slots(self)
    }
    fn buckets_now(&self) -> Vec<Bucket> {
        Model::buckets_now(self)
    }
    fn backends_now(&self) -> Vec<Backend> {
        Model::backends_now(self)
    }
    fn put_connection(&self, slot: u32, connection: &Connection) {
        Model::put_connection(self, slot, connection);
    }
    fn put_backend(&self, index: u32, backend: &Backend) {
        Model::put_backend(self, index, backend);
    }
}

/// Room in front of a frame with most of it taken for metadata.
const CRAMPED: usize = 256 - METADATA;
/// Nearly the most that the kernel allows: the driver's own 40 bytes must fit beside it (include/net/xdp.h, `xdp_metalen_invalid`).
const METADATA: usize = 200;

/// The scenarios take no errors; what fails here is the kernel's refusal, not the program's answer.
#[track_caller]
fn must<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{error:#}"))
}

impl Surroundings for Pooled {
    fn receive(&self, frame: &[u8]) -> (Verdict, Vec<u8>) {
        must(self.run(frame))
    }
    fn receive_cramped(&self, frame: &[u8]) -> (Verdict, Vec<u8>) {
        // Metadata in front of the packet takes of its room (net/bpf/test_run.c, bpf_prog_test_run_xdp).
        let mut data = vec![0; METADATA];
        data.extend_from_slice(frame);
        let words = [METADATA as u32, data.len() as u32, 0, 0, 0, 0];
        let context: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let (verdict, out) = must(self.run_in(&data, Some(&context)));
        (verdict, out.get(METADATA..).unwrap_or_default().to_vec())
    }
    fn settings(&self) -> Settings {
        *OnKernel::settings(self)
    }
    fn now(&self) -> u32 {
        must(Clock::new().and_then(|clock| clock.now()))
    }
    fn count(&self, reason: Reason) -> Count {
        must(OnKernel::count(self, reason))
    }
    fn backend_count(&self, index: u32) -> BackendCount {
        must(OnKernel::backend_count(self, index))
    }
    fn service_count(&self, id: u32) -> ServiceCount {
        must(OnKernel::service_count(self, id))
    }
    fn slots(&self) -> Vec<Connection> {
        must(self.connections())
    }
    fn buckets_now(&self) -> Vec<Bucket> {
        must(self.buckets())
    }
    fn backends_now(&self) -> Vec<Backend> {
        must(self.backends())
    }
    fn put_connection(&self, slot: u32, connection: &Connection) {
        must(OnKernel::put_connection(self, slot, connection));
    }
    fn put_backend(&self, index: u32, backend: &Backend) {
        must(OnKernel::put_backend(self, index, backend));
    }
}
