//! What is compared of a table's values: all but the locks, which are the kernel's own.

use xdplb_prog::abi::{Addr, BUCKET, Bucket, Connection, Kind, Ports};

/// A record of `connections`.
type Flow = (u32, [Addr; 3], [Ports; 2], Kind, [u32; 5], u64);

pub fn connection(of: &Connection) -> Flow {
    // By name: a field that is added and forgotten here does not compile.
    let Connection {
        lock: _,
        generation,
        client,
        vip,
        target,
        request_ports,
        reply_ports,
        kind,
        last_seen,
        state,
        backend,
        service,
        routed_at,
        client_mac,
    } = *of;
    (
        generation,
        [client, vip, target],
        [request_ports, reply_ports],
        kind,
        [last_seen, state, backend, service, routed_at],
        client_mac,
    )
}

pub fn bucket(of: &Bucket) -> ([u32; BUCKET], u32) {
    let Bucket {
        entries,
        overflow,
        lock: _,
    } = *of;
    (entries, overflow)
}
