//! What a device leaves to a card that a veth does not have: `ethtool --offload` (include/uapi/linux/ethtool.h).

use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;

/// Makes an interface compute the checksums of what it sends, `tx off`. What is longer than its MTU then leaves in
/// pieces too, as no card cuts what it does not sum.
pub fn transmit_checksums_off(name: &str) -> Result<()> {
    const ETHTOOL_STXCSUM: u32 = 0x17;
    switch_off(name, ETHTOOL_STXCSUM)
}

/// Makes an interface cut what is longer than its MTU before it sends it, `tso off gso off`.
pub fn segmentation_off(name: &str) -> Result<()> {
    const ETHTOOL_STSO: u32 = 0x1f;
    const ETHTOOL_SGSO: u32 = 0x24;
    switch_off(name, ETHTOOL_STSO)?;
    switch_off(name, ETHTOOL_SGSO)
}

fn switch_off(name: &str, offload: u32) -> Result<()> {
    const SIOCETHTOOL: libc::c_ulong = 0x8946;
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").context("open a socket")?;
    // struct ethtool_value: command, data.
    let mut value = [offload, 0];
    // SAFETY: every field of this struct and union may be zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    ensure!(
        name.len() < request.ifr_name.len(),
        "{name}: no name of an interface"
    );
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    // SAFETY: the kernel reads and writes the two words behind the pointer, which live until the call returns.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    Errno::result(result)
        .map(drop)
        .with_context(|| format!("switch off offload {offload:#x} of {name}"))
}
