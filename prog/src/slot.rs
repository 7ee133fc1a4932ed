//! A flow's record, as other CPUs read and write it meanwhile.

use crate::abi::{Addr, Connection, Direction, FlowKey, Kind, Ports};
use crate::family::balancer;
use crate::opaque::opaque;
use crate::world::World;

/// A slot of `connections`. Having one means that the pointer is a live map value.
///
/// Other CPUs read and write the record at the same time, so fields are read and written one by
/// one, in whole words.
#[derive(Clone, Copy)]
pub struct Slot {
    /// Its number.
    pub index: u32,
    record: *mut Connection,
}

macro_rules! fields {
    ($($get:ident, $set:ident: $type:ty as [$word:ty; $count:literal];)*) => {$(
        #[inline(always)]
        #[doc = concat!("Reads `", stringify!($get), "`.")]
        pub fn $get(&self) -> $type {
            let mut words = [0; $count];
            // SAFETY: `record` points to a live Connection, in which the field is made of such
            // words; volatile, since other CPUs write it.
            unsafe {
                let field = (&raw const (*self.record).$get).cast::<$word>();
                let mut at = 0;
                while at < $count {
                    words[at] = field.add(at).read_volatile();
                    at += 1;
                }
                core::mem::transmute::<[$word; $count], $type>(words)
            }
        }
        #[inline(always)]
        #[doc = concat!("Writes `", stringify!($get), "`.")]
        pub fn $set(&self, value: $type) {
            // SAFETY: as above.
            unsafe {
                let words = core::mem::transmute::<$type, [$word; $count]>(value);
                let field = (&raw mut (*self.record).$get).cast::<$word>();
                let mut at = 0;
                while at < $count {
                    field.add(at).write_volatile(words[at]);
                    at += 1;
                }
            }
        }
    )*};
}

impl Slot {
    fields! {
        generation, set_generation: u32 as [u32; 1];
        last_seen, set_last_seen: u32 as [u32; 1];
        state, set_state: u32 as [u32; 1];
        client, set_client: Addr as [u64; 2];
        vip, set_vip: Addr as [u64; 2];
        target, set_target: Addr as [u64; 2];
        request_ports, set_request_ports: Ports as [u32; 1];
        reply_ports, set_reply_ports: Ports as [u32; 1];
        kind, set_kind: Kind as [u32; 1];
        backend, set_backend: u32 as [u32; 1];
        service, set_service: u32 as [u32; 1];
        routed_at, set_routed_at: u32 as [u32; 1];
        client_mac, set_client_mac: u64 as [u64; 1];
    }

    /// The slot of that number, where the table has it.
    #[inline(always)]
    pub fn of<W: World>(world: &W, index: u32) -> Option<Self> {
        let record = world.connection(index);
        (!record.is_null()).then_some(Self { index, record })
    }

    /// The record's lock, for [`World::claim`].
    #[inline(always)]
    pub fn lock(&self) -> *mut crate::abi::bpf_spin_lock {
        // SAFETY: only the address is taken.
        unsafe { &raw mut (*self.record).lock }
    }

    /// Zero if the record has this key in that direction, whatever its family; `balancer` is the balancer's address in the key's.
    /// In arithmetic: the verifier would follow each branch in each round of the search.
    #[inline(always)]
    pub fn differs(&self, key: &FlowKey, direction: Direction, balancer: Addr) -> u64 {
        let differ = |a: Addr, b: Addr| (a.0[0] ^ b.0[0]) | (a.0[1] ^ b.0[1]);
        let ports = |a: Ports, b: Ports| u64::from(a.word() ^ b.word());
        let request = differ(self.client(), key.saddr)
            | differ(self.vip(), key.daddr)
            | ports(self.request_ports(), key.ports);
        let reply = differ(self.target(), key.saddr)
            | differ(balancer, key.daddr)
            | ports(self.reply_ports(), key.ports);
        let is_reply = opaque((direction as u64).wrapping_neg());
        request & !is_reply | reply & is_reply | u64::from(self.kind().0 ^ key.kind.0)
    }

    /// The key of what the client sends.
    #[inline(always)]
    pub fn request(&self) -> FlowKey {
        FlowKey {
            saddr: self.client(),
            daddr: self.vip(),
            ports: self.request_ports(),
            kind: self.kind(),
        }
    }

    /// The key of what the backend answers; only NAT has one.
    #[inline(always)]
    pub fn reply<W: World>(&self, world: &W) -> FlowKey {
        let kind = self.kind();
        FlowKey {
            saddr: self.target(),
            daddr: balancer(world, kind),
            ports: self.reply_ports(),
            kind,
        }
    }
}
