//! Links (bpf_link): an attachment that a descriptor holds, so that closing it detaches. The loader attaches by netlink
//! (facts.md §4: that works on 5.10 too and outlives the process); it reads links to say whose program is in the way.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::info::LinkInfo;
use super::syscall::{Attr, Command, bpf, bpf_fd};
use super::{Capability, KernelError, Program};
use crate::uapi::AttachType;

/// Which XDP hook of the interface a link takes (`XDP_FLAGS_*`, include/uapi/linux/if_link.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpLinkMode {
    /// In the driver.
    Native,
    /// In the network stack, for any device.
    Generic,
}

/// A link in the kernel. Dropping it closes the descriptor, which detaches unless the link is pinned.
#[derive(Debug)]
pub struct Link {
    fd: OwnedFd,
}

impl Link {
    /// Attaches an XDP program to an interface for as long as the link is held (Linux 5.9).
    pub fn attach_xdp(
        program: &Program,
        ifindex: u32,
        mode: XdpLinkMode,
    ) -> Result<Self, KernelError> {
        let flags = match mode {
            XdpLinkMode::Generic => 1 << 1,
            XdpLinkMode::Native => 1 << 2,
        };
        let mut attr = Attr::new(16);
        attr.fd("link_create.prog_fd", 0, program.as_fd())
            .u32("link_create.target_ifindex", 4, ifindex)
            .u32("link_create.attach_type", 8, AttachType::XDP.0)
            .u32("link_create.flags", 12, flags);
        let what = format!("link program `{}` to interface {ifindex}", program.name());
        bpf_fd(Command::LinkCreate, &mut attr)
            .map(|fd| Link { fd })
            .map_err(|errno| match errno {
                Errno::EBUSY => {
                    KernelError::because(what, "another XDP program is attached", errno)
                }
                errno => {
                    KernelError::privileged(what, errno, &[Capability::Bpf, Capability::NetAdmin])
                }
            })
    }

    /// Opens the link with this id.
    pub fn from_id(id: u32) -> Result<Self, KernelError> {
        let mut attr = Attr::new(12);
        attr.u32("link_id", 0, id);
        bpf_fd(Command::LinkGetFdById, &mut attr)
            .map(|fd| Link { fd })
            .map_err(|errno| {
                KernelError::privileged(format!("open link {id}"), errno, &[Capability::SysAdmin])
            })
    }

    /// What the kernel says about it.
    pub fn info(&self) -> Result<LinkInfo, KernelError> {
        LinkInfo::of("link", self.fd.as_fd())
    }

    /// Detaches it for every holder (Linux 5.9).
    pub fn detach(&self) -> Result<(), KernelError> {
        let mut attr = Attr::new(4);
        attr.fd("link_detach.link_fd", 0, self.fd.as_fd());
        bpf(Command::LinkDetach, &mut attr)
            .map(drop)
            .map_err(|errno| KernelError::refused("detach link", errno))
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
