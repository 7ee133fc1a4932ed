//! XDP programs that a test puts in the way, and what a balancer may have left in the kernel.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xdplb_loader::kernel::{Link, Map, Program, XdpLinkMode, map_ids};
use xdplb_loader::netlink;

use crate::netns::Netns;
use crate::program::assemble;
use crate::topology::Mode;

/// `return XDP_PASS`: r0 = 2; exit. Each instruction is opcode, registers, offset, immediate.
const PASS: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

/// A program that passes every frame, loaded under a name of its own.
pub fn pass(name: &str) -> Result<Program> {
    assemble(name, &PASS)
}

/// Such a program on an interface, held by a bpf_link: it goes when this value or this process does.
#[derive(Debug)]
pub struct Stub {
    _link: Link,
    /// The program.
    pub program: Program,
}

impl Stub {
    /// Attaches one in the driver.
    pub fn attach(namespace: &Netns, ifname: &str) -> Result<Self> {
        Self::attach_as(namespace, ifname, "xdp_stub", XdpLinkMode::Native)
    }

    /// Attaches one under a name.
    pub fn attach_as(
        namespace: &Netns,
        ifname: &str,
        name: &str,
        mode: XdpLinkMode,
    ) -> Result<Self> {
        let ifindex = namespace.ifindex(ifname)?;
        let program = pass(name)?;
        // The interface's number is looked up in the caller's network namespace.
        let link = namespace.run(|| Ok(Link::attach_xdp(&program, ifindex, mode)?))?;
        Ok(Self {
            _link: link,
            program,
        })
    }
}

/// Puts a program on an interface by netlink; nobody holds it there, and it stays when this process ends. Its id.
pub fn attach_by_netlink(
    namespace: &Netns,
    ifname: &str,
    program: &Program,
    mode: Mode,
) -> Result<u32> {
    let ifindex = namespace.ifindex(ifname)?;
    let mode = match mode {
        Mode::Native => netlink::Mode::Native,
        Mode::Generic => netlink::Mode::Generic,
    };
    namespace.run(|| {
        let socket = netlink::Socket::open()?;
        Ok(socket.attach_xdp(ifindex, mode, program.as_fd(), netlink::Expect::Nothing)?)
    })?;
    Ok(program.info()?.id)
}

/// An error when a balancer whose first backend is `backend` is still in the kernel. The kernel frees a map
/// some time after its last user has gone, hence the patience.
pub fn check_unloaded(backend: Ipv4Addr) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let maps = maps_of(backend)?;
        if maps.is_empty() {
            return Ok(());
        }
        ensure!(
            Instant::now() < end,
            "maps {maps:?} with backend {backend} are still loaded"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The ids of maps `backends` whose first entry is this backend.
fn maps_of(backend: Ipv4Addr) -> Result<Vec<u32>> {
    let is_ours = |id: &u32| -> bool {
        // It may be gone by now, and other processes' maps come and go at any time.
        let Ok(map) = Map::from_id(*id) else {
            return false;
        };
        let named = map.info().is_ok_and(|info| info.name == "backends");
        let first = map.lookup(&0u32.to_ne_bytes());
        named
            && first
                .is_ok_and(|value| value.is_some_and(|value| value.starts_with(&backend.octets())))
    };
    Ok(map_ids()?.into_iter().filter(is_ours).collect())
}
