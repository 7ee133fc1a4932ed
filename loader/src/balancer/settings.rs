//! PURE: what is decided before the program is loaded, written into the object's constants and map sizes, and read back
//! from a program that runs.

use std::net::{Ipv4Addr, Ipv6Addr};

use nix::time::{ClockId, clock_getres, clock_gettime};
use xdplb_linker::btf::{Btf, VarSecinfo};
use xdplb_prog::abi::{BUCKET, Mac, deferred};

use super::service::{Encap, Subnet};
use crate::kernel::{Capabilities, Capability};
use crate::netlink::Mode;
use crate::object::{ObjectError, SectionKind, Spec};
use crate::uapi::prog_flags;

/// The section of the constants.
const CONSTANTS: &str = ".rodata";

/// Whether the program writes to the kernel's trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// No, and the verifier removes the calls.
    Off,
    /// The seed's nine lines for each packet.
    On,
}

/// In how many pieces of memory a driver may hand a frame over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pieces {
    /// In one.
    One,
    /// In several: longer frames than a page holds (`BPF_F_XDP_HAS_FRAGS`).
    Several,
}

/// The longest MTU whose frames every driver keeps in one page of 4 KiB, beside 256 bytes of headroom and 320 of
/// `struct skb_shared_info` (include/linux/skbuff.h) at its end; what is left is for Ethernet and tags.
const ONE_PAGE: u32 = 3_498;

impl Pieces {
    /// What a device with that MTU needs in that mode. Generic mode puts every frame into one piece.
    pub fn of(mtu: u32, mode: Mode) -> Self {
        match mode {
            Mode::Native | Mode::Hardware if mtu > ONE_PAGE => Pieces::Several,
            Mode::Native | Mode::Hardware | Mode::Generic => Pieces::One,
        }
    }
}

/// What the program has as constants, but for what mode and machine decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The IPv4 address that backends see; 0.0.0.0 for none.
    pub balancer_v4: Ipv4Addr,
    /// The IPv6 address that backends see; `::` for none.
    pub balancer_v6: Ipv6Addr,
    /// The interface's Ethernet address.
    pub balancer_mac: Mac,
    /// The longest IP packet that it sends.
    pub mtu: u32,
    /// How many flows there is room for.
    pub connections: u32,
    /// What flows are hashed with.
    pub seed: u64,
    /// Where outer source addresses come from.
    pub encap: Encap,
    /// Whether it traces.
    pub trace: Trace,
}

/// What only the machine knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Ticks of the program's clock in a second (CONFIG_HZ).
    pub ticks_per_second: u32,
    /// Whether the verifier allows this process what it asks CAP_PERFMON for: 0 or 1.
    perfmon: u32,
}

impl Machine {
    /// Asks it.
    pub fn ask() -> Self {
        // CONFIG_HZ, by which jiffies count: the coarse clock advances once a jiffy.
        let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_or(0, |tick| tick.tv_nsec());
        let perfmon = Capabilities::effective().is_some_and(|set| set.grants(Capability::Perfmon));
        Self {
            ticks_per_second: hertz(tick),
            perfmon: perfmon.into(),
        }
    }

    /// The program's clock now.
    pub fn now(&self) -> u32 {
        let since_boot = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map(|time| {
            let (seconds, nanoseconds) = (time.tv_sec() as u64, time.tv_nsec() as u64);
            (seconds, nanoseconds)
        });
        let (seconds, nanoseconds) = since_boot.unwrap_or_default();
        jiffies(seconds, nanoseconds, self.ticks_per_second)
    }
}

/// The kernel's jiffies that long after its start: it begins to count five minutes before zero (include/linux/jiffies.h,
/// INITIAL_JIFFIES) and follows the monotonic clock (kernel/time/tick-sched.c, `tick_do_update_jiffies64`).
fn jiffies(seconds: u64, nanoseconds: u64, hertz: u32) -> u32 {
    let hertz = u64::from(hertz);
    let ticks = seconds * hertz + nanoseconds * hertz / 1_000_000_000;
    (ticks as u32).wrapping_sub(300 * hertz as u32)
}

/// The size of map `index` for that many flows, with two entries each: 6½ entries on average in a bucket that holds 14. In a full
/// table one new flow in 50,000 then finds no room in either of its buckets.
pub fn buckets(connections: u32) -> u32 {
    const _: () = assert!(BUCKET == 14);
    (4 * u64::from(connections)).div_ceil(13).max(1) as u32
}

impl Settings {
    /// Writes them into an object, with what the mode and the machine decide.
    ///
    /// # Errors
    /// An object that has no such map or constant.
    pub fn apply(
        &self,
        spec: &mut Spec,
        mode: Mode,
        pieces: Pieces,
        machine: Machine,
    ) -> Result<(), ObjectError> {
        let buckets = buckets(self.connections);
        spec.map_mut("connections")?.max_entries = self.connections;
        spec.map_mut("index")?.max_entries = buckets;
        let deferred = match mode {
            Mode::Native | Mode::Hardware => deferred::COMPLETE,
            Mode::Generic => deferred::KEEP,
        };
        let frags: u32 = match pieces {
            Pieces::One => 0,
            Pieces::Several => {
                allow_pieces(spec);
                1
            }
        };
        let trace: u32 = match self.trace {
            Trace::Off => 0,
            Trace::On => 1,
        };
        let (source4, source6) = (self.encap.source4, self.encap.source6.address().octets());
        let mask = u32::MAX
            .checked_shl(32 - u32::from(source4.bits()))
            .unwrap_or(0);
        let mut tunnel_v4 = source4.address().octets().to_vec();
        tunnel_v4.extend_from_slice(&mask.to_be_bytes());
        // Addresses and ports lie as in a packet, everything else as the machine has it.
        let constants: [(&str, &[u8]); 14] = [
            ("BALANCER_V4", &self.balancer_v4.octets()),
            ("BALANCER_V6", &self.balancer_v6.octets()),
            ("BALANCER_MAC", &self.balancer_mac),
            ("SLOTS", &self.connections.to_ne_bytes()),
            ("BUCKETS", &buckets.to_ne_bytes()),
            ("SEED", &self.seed.to_ne_bytes()),
            ("TICKS_PER_SECOND", &machine.ticks_per_second.to_ne_bytes()),
            ("MTU", &self.mtu.to_ne_bytes()),
            ("TUNNEL_V4", &tunnel_v4),
            ("TUNNEL_V6", &source6[..8]),
            ("DEFERRED", &deferred.to_ne_bytes()),
            ("PERFMON", &machine.perfmon.to_ne_bytes()),
            ("FRAGS", &frags.to_ne_bytes()),
            ("TRACE", &trace.to_ne_bytes()),
        ];
        constants
            .into_iter()
            .try_for_each(|(name, bytes)| spec.set_global(name, bytes))
    }

    /// Reads them back from the bytes of a running program's `.rodata`; `spec` says where each lies. None where the bytes
    /// are not of this object's size, so of another version of the program.
    pub fn read(spec: &Spec, rodata: &[u8]) -> Option<Self> {
        let mut spec = spec.clone();
        let map = spec.map_mut(CONSTANTS).ok()?;
        if map.value_size as usize != rodata.len() {
            return None;
        }
        map.contents = Some(rodata.to_vec());
        Self::of(&|name| spec.global(name).ok())
    }

    /// The same by the program's own types, which say where each lies in whatever version it is.
    pub fn read_by_types(types: &Btf, rodata: &[u8]) -> Option<Self> {
        let (_, section) = types.datasec(CONSTANTS)?;
        Self::of(&|name| {
            let named = |var: &&VarSecinfo| types.type_name(var.ty) == name;
            let var = section.vars.iter().find(named)?;
            let (offset, size) = (var.offset as usize, var.size as usize);
            Some(rodata.get(offset..offset.checked_add(size)?)?.to_vec())
        })
    }

    /// From constants by name; None where one is missing or of another size.
    fn of(constants: &dyn Fn(&str) -> Option<Vec<u8>>) -> Option<Self> {
        fn constant<const N: usize>(bytes: Option<Vec<u8>>) -> Option<[u8; N]> {
            bytes?.try_into().ok()
        }
        let number = |name| Some(u32::from_ne_bytes(constant(constants(name))?));
        Some(Self {
            balancer_v4: Ipv4Addr::from(constant::<4>(constants("BALANCER_V4"))?),
            balancer_v6: Ipv6Addr::from(constant::<16>(constants("BALANCER_V6"))?),
            balancer_mac: constant(constants("BALANCER_MAC"))?,
            mtu: number("MTU")?,
            connections: number("SLOTS")?,
            seed: u64::from_ne_bytes(constant(constants("SEED"))?),
            encap: encap(
                constant(constants("TUNNEL_V4"))?,
                constant(constants("TUNNEL_V6"))?,
            ),
            trace: match number("TRACE")? {
                0 => Trace::Off,
                _ => Trace::On,
            },
        })
    }
}

/// Has the program loaded as one that takes frames in pieces.
pub fn allow_pieces(spec: &mut Spec) {
    for program in &mut spec.programs {
        if let SectionKind::Known(kind) = &mut program.kind {
            kind.flags |= prog_flags::XDP_HAS_FRAGS;
        }
    }
}

/// The subnets that these constants stand for; the default ones where they make no sense.
fn encap(v4: [u8; 8], v6: [u8; 8]) -> Encap {
    let [a, b, c, d, mask @ ..] = v4;
    let bits = u32::from_be_bytes(mask).leading_ones();
    let mut address = [0; 16];
    address[..8].copy_from_slice(&v6);
    let source4 = format!("{}/{bits}", Ipv4Addr::from([a, b, c, d])).parse::<Subnet<Ipv4Addr>>();
    let source6 = format!("{}/64", Ipv6Addr::from(address)).parse::<Subnet<Ipv6Addr>>();
    let default = Encap::default();
    Encap {
        source4: source4.unwrap_or(default.source4),
        source6: source6.unwrap_or(default.source6),
    }
}

/// The frequency of a tick of that many nanoseconds; Debian's where the answer makes no sense.
fn hertz(nanoseconds: i64) -> u32 {
    match u64::try_from(nanoseconds) {
        Ok(tick @ 100_000..=100_000_000) => ((1_000_000_000 + tick / 2) / tick) as u32,
        Ok(_) | Err(_) => 250,
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    /// Settings as the tests beside this file want some.
    pub fn settings() -> Settings {
        Settings {
            balancer_v4: Ipv4Addr::new(10, 0, 0, 10),
            balancer_v6: "fd00::10".parse().unwrap(),
            balancer_mac: [0xde, 0xad, 0xbe, 0xef, 0, 0x10],
            mtu: 1500,
            connections: 1000,
            seed: 0x0123_4567_89ab_cdef,
            encap: Encap::default(),
            trace: Trace::On,
        }
    }

    #[test]
    fn settings_go_into_the_object_and_come_back() {
        let mut spec = super::super::program::parse(crate::PROGRAM).unwrap();
        settings()
            .apply(&mut spec, Mode::Generic, Pieces::One, Machine::ask())
            .unwrap();
        assert_eq!(spec.global("BALANCER_V4").unwrap(), [10, 0, 0, 10]);
        assert_eq!(
            spec.global("TUNNEL_V4").unwrap(),
            [172, 16, 0, 0, 255, 255, 0, 0]
        );
        assert_eq!(
            spec.global("DEFERRED").unwrap(),
            deferred::KEEP.to_ne_bytes()
        );
        assert_eq!(spec.global("TRACE").unwrap(), 1u32.to_ne_bytes());
        for (map, entries) in [("connections", 1000), ("index", 308)] {
            assert_eq!(spec.map(map).unwrap().max_entries, entries, "{map}");
        }
        let rodata = spec.map(CONSTANTS).unwrap().contents.clone().unwrap();
        let fresh = super::super::program::parse(crate::PROGRAM).unwrap();
        assert_eq!(Settings::read(&fresh, &rodata), Some(settings()));
        assert_eq!(Settings::read(&fresh, &rodata[1..]), None);
        let types = fresh.btf().unwrap();
        assert_eq!(Settings::read_by_types(types, &rodata), Some(settings()));
        assert_eq!(Settings::read_by_types(types, &rodata[..8]), None);
    }

    #[test]
    fn every_flow_has_room_for_both_keys() {
        let sizes = [1, 4, 5, 1000, 65_536, 1 << 20, 1 << 24].map(buckets);
        assert_eq!(sizes, [1, 2, 2, 308, 20_165, 322_639, 5_162_221]);
    }

    #[test]
    fn long_frames_come_in_pieces_in_native_mode_only() {
        let check = |mtu, mode| Pieces::of(mtu, mode);
        assert_eq!(check(1_500, Mode::Native), Pieces::One);
        assert_eq!(check(9_000, Mode::Native), Pieces::Several);
        assert_eq!(check(9_000, Mode::Generic), Pieces::One);
        let mut spec = super::super::program::parse(crate::PROGRAM).unwrap();
        settings()
            .apply(&mut spec, Mode::Native, Pieces::Several, Machine::ask())
            .unwrap();
        assert_eq!(spec.global("FRAGS").unwrap(), 1u32.to_ne_bytes());
        let SectionKind::Known(kind) = &spec.programs[0].kind else {
            panic!("{:?}", spec.programs[0].kind);
        };
        assert_eq!(kind.flags, prog_flags::XDP_HAS_FRAGS);
    }

    #[test]
    fn ticks_of_the_usual_kernels() {
        let found: Vec<u32> = [1_000_000, 3_333_333, 4_000_000, 10_000_000, 0, -1, 1]
            .map(hertz)
            .to_vec();
        assert_eq!(found, [1000, 300, 250, 100, 250, 250, 250]);
        assert_eq!(jiffies(300, 0, 250), 0);
        assert_eq!(jiffies(299, 996_000_000, 250), u32::MAX);
    }
}
