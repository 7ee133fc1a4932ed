//! PURE: map keys and values as bytes, and back. The layouts are `xdplb_prog::abi`'s.

use std::net::IpAddr;
use std::num::NonZeroU16;

use xdplb_prog::abi::{
    self, Addr, Backend, Be16, Connection, Kind, MacWords, Ports, Service, bpf_spin_lock,
};

use super::service::{BackendKey, Protocol, ServiceKey};

/// The key of an array map.
pub fn index_key(index: u32) -> [u8; 4] {
    index.to_ne_bytes()
}

/// Words one behind the other.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn put(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
    fn u32(self, word: u32) -> Self {
        self.put(&word.to_ne_bytes())
    }
    fn u16(self, word: u16) -> Self {
        self.put(&word.to_ne_bytes())
    }
    fn u64(self, word: u64) -> Self {
        self.put(&word.to_ne_bytes())
    }
}

/// What is left of a value. What lies behind its end reads as zeros: who hands it out has checked the length.
pub(super) struct Reader<'b>(pub(super) &'b [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((bytes, rest)) => {
                self.0 = rest;
                *bytes
            }
            None => [0; N],
        }
    }
    pub(super) fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take())
    }
    fn u16(&mut self) -> u16 {
        u16::from_ne_bytes(self.take())
    }
    pub(super) fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.take())
    }
    pub(super) fn addr(&mut self) -> Addr {
        Addr::from_bytes(self.take())
    }
    pub(super) fn ports(&mut self) -> Ports {
        Ports::new(Be16(self.take()), Be16(self.take()))
    }
}

/// A reader of a value of the type's size; None if it has another.
fn sized<T>(value: &[u8]) -> Option<Reader<'_>> {
    (value.len() == size_of::<T>()).then_some(Reader(value))
}

/// A service's name as the program looks it up.
pub fn abi_key(key: &ServiceKey) -> abi::ServiceKey {
    let protocol = match key.protocol {
        Protocol::Tcp => abi::protocol::TCP,
        Protocol::Udp => abi::protocol::UDP,
    };
    abi::ServiceKey::new(key.address.into(), be16(key.port), protocol)
}

/// The opposite; None for an address's own entry ([`abi::mode::ADDRESS`]).
pub fn service_key(key: &abi::ServiceKey) -> Option<ServiceKey> {
    let protocol = match u8::try_from(key.protocol) {
        Ok(abi::protocol::TCP) => Protocol::Tcp,
        Ok(abi::protocol::UDP) => Protocol::Udp,
        Ok(_) | Err(_) => return None,
    };
    Some(ServiceKey {
        address: key.addr.into(),
        port: NonZeroU16::new(key.port.get()),
        protocol,
    })
}

/// A port in network byte order; 0 for none.
pub fn be16(port: Option<NonZeroU16>) -> Be16 {
    Be16::new(port.map_or(0, NonZeroU16::get))
}

/// Where a backend of the map is.
pub fn backend_key(backend: &Backend) -> BackendKey {
    BackendKey {
        address: IpAddr::from(backend.addr),
        port: NonZeroU16::new(backend.port.get()),
    }
}

/// A MAC as the map has it; 0 for none.
pub fn packed(mac: Option<abi::Mac>) -> u64 {
    mac.map_or(0, |mac| MacWords::from(mac).packed())
}

/// The opposite.
pub fn unpacked(mac: u64) -> Option<abi::Mac> {
    (mac != 0).then(|| MacWords::unpack(mac).bytes())
}

/// A key of map `services`.
pub fn encode_key(key: &abi::ServiceKey) -> Vec<u8> {
    let writer = Writer::default().put(&key.addr.bytes()).put(&key.port.0);
    writer.u16(key.reserved).u32(key.protocol).0
}

/// The opposite.
pub fn decode_key(bytes: &[u8]) -> Option<abi::ServiceKey> {
    let mut reader = sized::<abi::ServiceKey>(bytes)?;
    Some(abi::ServiceKey {
        addr: reader.addr(),
        port: Be16(reader.take()),
        reserved: reader.u16(),
        protocol: reader.u32(),
    })
}

/// A value of map `services`.
pub fn encode_service(service: &Service) -> Vec<u8> {
    let writer = Writer::default()
        .u32(service.id)
        .u32(service.mode)
        .u32(service.table)
        .u32(service.slots)
        .u32(service.members)
        .u32(service.count);
    let writer = writer.u16(service.port_low).u16(service.port_high);
    writer.u32(service.reserved).0
}

/// The opposite.
pub fn decode_service(bytes: &[u8]) -> Option<Service> {
    let mut reader = sized::<Service>(bytes)?;
    Some(Service {
        id: reader.u32(),
        mode: reader.u32(),
        table: reader.u32(),
        slots: reader.u32(),
        members: reader.u32(),
        count: reader.u32(),
        port_low: reader.u16(),
        port_high: reader.u16(),
        reserved: reader.u32(),
    })
}

/// An entry of map `backends` that nobody has.
pub const NO_BACKEND: Backend = Backend {
    addr: Addr::NONE,
    mac: 0,
    routed_at: 0,
    flags: 0,
    service: 0,
    port: Be16([0; 2]),
    weight: 0,
};

/// Whether it is one.
pub fn is_vacant(backend: &Backend) -> bool {
    backend.addr == Addr::NONE
}

/// A value of map `backends`.
pub fn encode_backend(backend: &Backend) -> Vec<u8> {
    let writer = Writer::default().put(&backend.addr.bytes());
    let writer = writer.u64(backend.mac).u32(backend.routed_at);
    let writer = writer.u32(backend.flags).u32(backend.service);
    writer.put(&backend.port.0).u16(backend.weight).0
}

/// The opposite.
pub fn decode_backend(bytes: &[u8]) -> Option<Backend> {
    let mut reader = sized::<Backend>(bytes)?;
    Some(Backend {
        addr: reader.addr(),
        mac: reader.u64(),
        routed_at: reader.u32(),
        flags: reader.u32(),
        service: reader.u32(),
        port: Be16(reader.take()),
        weight: reader.u16(),
    })
}

/// A value of map `connections`.
pub fn decode_connection(bytes: &[u8]) -> Option<Connection> {
    let mut reader = sized::<Connection>(bytes)?;
    Some(Connection {
        lock: bpf_spin_lock { val: reader.u32() },
        generation: reader.u32(),
        client: reader.addr(),
        vip: reader.addr(),
        target: reader.addr(),
        request_ports: reader.ports(),
        reply_ports: reader.ports(),
        kind: Kind(reader.u32()),
        last_seen: reader.u32(),
        state: reader.u32(),
        backend: reader.u32(),
        service: reader.u32(),
        routed_at: reader.u32(),
        client_mac: reader.u64(),
    })
}

/// Adds up the values of all CPUs, each a row of u64s. Short values count as zero.
pub fn add_up<const N: usize>(cpus: &[u8]) -> [u64; N] {
    let mut sums = [0u64; N];
    for cpu in cpus.chunks_exact(N * 8) {
        for (sum, word) in sums.iter_mut().zip(cpu.chunks_exact(8)) {
            let word = word.try_into().map_or(0, u64::from_ne_bytes);
            *sum = sum.wrapping_add(word);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use xdplb_prog::abi::Be32;

    #[test]
    fn services_and_backends_go_there_and_back() {
        let key = "[fd00::10]:53/udp".parse().unwrap();
        let stored = encode_key(&abi_key(&key));
        assert_eq!(stored[16..], [0, 53, 0, 0, 17, 0, 0, 0]);
        assert_eq!(service_key(&decode_key(&stored).unwrap()), Some(key));
        let address = abi::ServiceKey::new(key.address.into(), Be16([0; 2]), 0);
        assert_eq!(service_key(&address), None);
        assert!(decode_key(&stored[1..]).is_none());

        let service = Service {
            id: 1,
            mode: abi::mode::NAT,
            table: 2,
            slots: 65_537,
            members: 3,
            count: 4,
            port_low: 1024,
            port_high: 32_767,
            reserved: 0,
        };
        assert_eq!(decode_service(&encode_service(&service)), Some(service));

        let backend = Backend {
            addr: Addr::v4(Be32([10, 0, 0, 2])),
            mac: packed(Some([0xde, 0xad, 0xbe, 0xef, 0, 2])),
            routed_at: 7,
            flags: abi::backend::UP,
            service: 1,
            port: Be16::new(8000),
            weight: 5,
        };
        let bytes = encode_backend(&backend);
        assert_eq!(
            bytes[10..22],
            [0xff, 0xff, 10, 0, 0, 2, 0xde, 0xad, 0xbe, 0xef, 0, 2]
        );
        assert_eq!(decode_backend(&bytes), Some(backend));
        assert_eq!(backend_key(&backend).to_string(), "10.0.0.2:8000");
        assert_eq!(unpacked(backend.mac), Some([0xde, 0xad, 0xbe, 0xef, 0, 2]));
        assert!(is_vacant(&NO_BACKEND) && !is_vacant(&backend));
    }

    #[test]
    fn a_flow_is_read_where_the_program_writes_it() {
        let mut bytes = vec![0; size_of::<Connection>()];
        bytes[std::mem::offset_of!(Connection, backend)] = 9;
        bytes[std::mem::offset_of!(Connection, service)] = 8;
        bytes[std::mem::offset_of!(Connection, state)] = 7;
        bytes[std::mem::offset_of!(Connection, request_ports) + 3] = 80;
        let flow = decode_connection(&bytes).unwrap();
        assert_eq!((flow.backend, flow.service, flow.state), (9, 8, 7));
        assert_eq!(flow.request_ports.destination.get(), 80);
        assert!(decode_connection(&bytes[1..]).is_none());
    }

    #[test]
    fn cpus_are_added_up() {
        let words: Vec<u8> = [1u64, 10, 2, 20]
            .iter()
            .flat_map(|w| w.to_ne_bytes())
            .collect();
        assert_eq!(add_up::<2>(&words), [3, 30]);
        assert_eq!(add_up::<2>(&words[..8]), [0, 0]);
    }
}
