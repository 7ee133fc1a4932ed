//! The program in the kernel with a configuration's maps, as the loader would make them, for BPF_PROG_TEST_RUN.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::IpAddr;

use anyhow::{Context, Result};
use xdplb_loader::balancer::before::{Before, Live};
use xdplb_loader::balancer::image::{self, Facts};
use xdplb_loader::balancer::settings::{Machine, Pieces, Settings, Trace};
use xdplb_loader::balancer::{program, tables, toml_file};
use xdplb_loader::kernel::{Pair, Program};
use xdplb_loader::load::{LoadOptions, Loaded, load};
use xdplb_loader::netlink::Mode;
use xdplb_prog::abi::BLOCK;

/// The balancer's Ethernet address.
pub const MAC: [u8; 6] = [0xde, 0xad, 0xbe, 0xef, 0, 0x10];

/// The program over a configuration.
#[derive(Debug)]
pub struct Configured {
    /// The program and its maps.
    pub loaded: Loaded,
}

impl Configured {
    /// Loads it with the configuration of that file.
    pub fn load(config: &str) -> Result<Self> {
        let config = toml_file::parse("bench", config.as_bytes())?;
        let mut spec = program::parse(xdplb_loader::PROGRAM)?;
        let settings = Settings {
            balancer_v4: [10, 0, 0, 9].into(),
            balancer_v6: "fd00::9".parse()?,
            balancer_mac: MAC,
            mtu: 1500,
            connections: config.connections,
            seed: 0x0123_4567_89ab_cdef,
            encap: config.encap,
            trace: Trace::Off,
        };
        settings.apply(&mut spec, Mode::Native, Pieces::One, Machine::ask())?;
        let backends = config.services.iter().flat_map(|service| &service.backends);
        let macs: HashMap<IpAddr, [u8; 6]> = backends
            .map(|backend| (backend.key.address, [0xde, 0xad, 0xbe, 0xef, 0, 2]))
            .collect();
        let facts = Facts {
            source_ports: 1024..=32_767,
            macs: &macs,
        };
        let image = image::build(&config, &Live::default(), &facts, &Before::default())?;
        let blocks = image.tables.len() / BLOCK as usize;
        for (map, entries) in [
            ("services", image.services.len() as u32),
            ("tables", blocks as u32),
            ("members", image.members.len() as u32),
            ("backends", image.backend_room),
            ("backend_counters", image.backend_room),
            ("service_counters", image.service_room),
        ] {
            spec.map_mut(map)?.max_entries = entries.max(1);
        }
        let loaded = load(&spec, LoadOptions::default(), &mut ())?;
        let slots: Vec<u8> = image
            .tables
            .iter()
            .flat_map(|slot| slot.to_ne_bytes())
            .collect();
        loaded.map("tables")?.fill(&slots)?;
        let members: Vec<u8> = image
            .members
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        loaded.map("members")?.fill(&members)?;
        let backends: Vec<u8> = image
            .backends
            .iter()
            .flat_map(tables::encode_backend)
            .collect();
        loaded.map("backends")?.fill(&backends)?;
        let services: Vec<Pair> = image
            .services
            .iter()
            .map(|(key, service)| (tables::encode_key(key), tables::encode_service(service)))
            .collect();
        loaded.map("services")?.update_all(&services)?;
        Ok(Self { loaded })
    }

    /// The program.
    pub fn program(&self) -> Result<&Program> {
        Ok(&self.loaded.programs.first().context("no program")?.program)
    }
}

/// A file with so many services of one mode, over which the backends are spread; the first is the one that the packets are for.
pub fn config(mode: &str, v6: bool, services: u32, connections: u32) -> String {
    let mut text = format!(
        "connections = {connections}\ntable_slots = {}\n",
        if services > 100 { 1009 } else { 65537 }
    );
    for service in 0..services {
        let (a, b) = (service >> 8 & 255, service & 255);
        let address = if v6 {
            format!("fd00:1::{service:x}")
        } else {
            format!("10.1.{a}.{b}")
        };
        let _ = write!(
            text,
            "[[service]]\naddress = \"{address}\"\nport = 80\nmode = \"{mode}\"\n"
        );
        for backend in 0..if service == 0 { 100 } else { 2 } {
            let address = if v6 {
                format!("fd00:2::{backend:x}")
            } else {
                format!("10.2.0.{}", backend + 1)
            };
            let _ = write!(text, "[[service.backend]]\naddress = \"{address}\"\n");
        }
    }
    text
}
