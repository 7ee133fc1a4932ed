//! Attaching XDP programs: RTM_SETLINK with IFLA_XDP (include/uapi/linux/if_link.h).

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::consts::*;
use super::error::NetlinkError;
use super::link::IFINFOMSG;
use super::message::Request;
use super::socket::Socket;

const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_FLAGS: u16 = 3;
const IFLA_XDP_EXPECTED_FD: u16 = 8;

const XDP_FLAGS_UPDATE_IF_NOEXIST: u32 = 1 << 0;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const XDP_FLAGS_HW_MODE: u32 = 1 << 3;
const XDP_FLAGS_REPLACE: u32 = 1 << 4;

/// Which of an interface's XDP hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// In the driver, before the kernel makes a packet buffer.
    Native,
    /// In the network stack (skb mode): any device, slower.
    Generic,
    /// In the network card itself.
    Hardware,
}

impl Mode {
    fn flag(self) -> u32 {
        match self {
            Mode::Native => XDP_FLAGS_DRV_MODE,
            Mode::Generic => XDP_FLAGS_SKB_MODE,
            Mode::Hardware => XDP_FLAGS_HW_MODE,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Native => "native",
            Mode::Generic => "generic",
            Mode::Hardware => "hardware",
        })
    }
}

/// What must be at the hook for a change to happen. The kernel checks and changes in one step.
#[derive(Clone, Copy, Debug)]
pub enum Expect<'a> {
    /// Nothing: another program is left alone (EBUSY).
    Nothing,
    /// This program (Linux 5.7): if another has come in between it is left alone (EEXIST).
    Program(BorrowedFd<'a>),
    /// Whatever is there.
    Anything,
}

/// What the hook holds afterwards.
#[derive(Clone, Copy)]
enum Change<'a> {
    Attach(BorrowedFd<'a>),
    Detach,
}

/// The request that changes a hook.
fn set_link(ifindex: u32, mode: Mode, change: Change<'_>, expect: Expect<'_>) -> Request {
    let mut fixed = [0u8; IFINFOMSG];
    fixed[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    let fd = match change {
        Change::Attach(program) => program.as_raw_fd(),
        Change::Detach => -1,
    };
    let (flag, expected) = match expect {
        Expect::Nothing => (XDP_FLAGS_UPDATE_IF_NOEXIST, None),
        Expect::Program(program) => (XDP_FLAGS_REPLACE, Some(program.as_raw_fd())),
        Expect::Anything => (0, None),
    };
    Request::new(RTM_SETLINK, NLM_F_ACK, &fixed).nested(IFLA_XDP, |mut xdp| {
        xdp = xdp
            .attr(IFLA_XDP_FD, &fd.to_ne_bytes())
            .attr(IFLA_XDP_FLAGS, &(mode.flag() | flag).to_ne_bytes());
        match expected {
            Some(fd) => xdp.attr(IFLA_XDP_EXPECTED_FD, &fd.to_ne_bytes()),
            None => xdp,
        }
    })
}

impl Socket {
    /// Puts a program at an interface's hook. It stays when this process ends.
    pub fn attach_xdp(
        &self,
        ifindex: u32,
        mode: Mode,
        program: BorrowedFd<'_>,
        expect: Expect<'_>,
    ) -> Result<(), NetlinkError> {
        let what = format!("attach to interface {ifindex} ({mode})");
        self.acknowledge(
            &what,
            set_link(ifindex, mode, Change::Attach(program), expect),
        )
    }

    /// Empties an interface's hook. [`Expect::Nothing`] makes no sense here and changes nothing.
    pub fn detach_xdp(
        &self,
        ifindex: u32,
        mode: Mode,
        expect: Expect<'_>,
    ) -> Result<(), NetlinkError> {
        let what = format!("detach from interface {ifindex} ({mode})");
        self.acknowledge(&what, set_link(ifindex, mode, Change::Detach, expect))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::message::{attributes, messages, u32_of};
    use super::*;
    use std::os::fd::AsFd;

    /// The attributes inside IFLA_XDP of a request.
    fn xdp_of(request: Request) -> Vec<(u16, u32)> {
        let bytes = request.finish(1);
        let message = messages(&bytes).next().unwrap().unwrap();
        assert_eq!(u32_of(&message.payload[4..]), 7, "ifindex");
        let (kind, nested) = attributes(message.payload, IFINFOMSG).next().unwrap();
        assert_eq!(kind, IFLA_XDP);
        attributes(nested, 0)
            .map(|(kind, value)| (kind, u32_of(value)))
            .collect()
    }

    #[test]
    fn each_expectation_has_its_flags() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let fd = file.as_fd();
        let number = fd.as_raw_fd() as u32;
        assert_eq!(
            xdp_of(set_link(
                7,
                Mode::Native,
                Change::Attach(fd),
                Expect::Nothing
            )),
            [(IFLA_XDP_FD, number), (IFLA_XDP_FLAGS, 0b00101)]
        );
        assert_eq!(
            xdp_of(set_link(
                7,
                Mode::Generic,
                Change::Attach(fd),
                Expect::Program(fd)
            )),
            [
                (IFLA_XDP_FD, number),
                (IFLA_XDP_FLAGS, 0b10010),
                (IFLA_XDP_EXPECTED_FD, number)
            ]
        );
        assert_eq!(
            xdp_of(set_link(
                7,
                Mode::Hardware,
                Change::Detach,
                Expect::Anything
            )),
            [(IFLA_XDP_FD, u32::MAX), (IFLA_XDP_FLAGS, 0b01000)]
        );
    }
}
