//! Every scenario on the host model: the program's own logic, needing no kernel and no privilege.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use xdplb_prog::abi::Backend;
use xdplb_prog::counters::{Reason, Verdict};
use xdplb_prog::model::Model;
use xdplb_prog::world::Settings;
use xdplb_tests::frames::Tcp;
use xdplb_tests::scenarios::{self, BALANCER, Balancer, CLIENT};

struct OnModel(Model);

impl Balancer for OnModel {
    fn receive(&mut self, frame: &[u8]) -> (Verdict, Vec<u8>) {
        let mut frame = frame.to_vec();
        let verdict = self.0.receive(&mut frame);
        (verdict, frame)
    }
    fn counted(&mut self, reason: Reason) -> u64 {
        self.0.counted(reason)
    }
    fn bytes(&mut self, reason: Reason) -> u64 {
        self.0
            .counters
            .borrow()
            .get(reason.name())
            .map_or(0, |count| count.bytes)
    }
    fn backend(&mut self, index: u32) -> (u64, u64, u64) {
        let count = self.0.backend_counters.borrow()[index as usize];
        (
            count.connections,
            count.sent.packets,
            count.received.packets,
        )
    }
    fn flows(&mut self) -> usize {
        self.0.flows.borrow().len()
    }
}

#[test]
fn every_scenario_holds() {
    for (name, scenario) in scenarios::ALL {
        println!("{name}");
        scenario(&mut |settings: Settings, backends: Vec<Backend>| {
            Box::new(OnModel(Model::new(settings, backends)))
        });
    }
}

fn syn(model: &Model, n: u16) -> Verdict {
    model.receive(&mut Tcp::new((CLIENT, n), (BALANCER, 80), "S").frame())
}

#[test]
fn the_hosts_own_ports_are_not_given_away() {
    let mut model = Model::new(scenarios::settings(1, 16), scenarios::backends(1));
    let own = Tcp::new(([10, 0, 0, 2], 80), (BALANCER, 40_000), "A");
    let key = xdplb_prog::abi::FlowKey::tcp(
        xdplb_prog::abi::Be32(own.from.0),
        xdplb_prog::abi::Be16::new(80),
        xdplb_prog::abi::Be32(BALANCER),
        xdplb_prog::abi::Be16::new(40_000),
    );
    model.sockets.insert(key);
    assert_eq!(syn(&model, 40_000), Verdict::Tx);
    assert_ne!(model.live()[0].reply.dport.get(), 40_000);
    assert_eq!(model.receive(&mut own.frame()), Verdict::Pass);
}

#[test]
fn an_expired_holder_gives_its_port_back_and_a_live_one_does_not() {
    let model = Model::new(scenarios::settings(1, 16), scenarios::backends(1));
    let other = |model: &Model, n| {
        model.receive(&mut Tcp::new(([10, 0, 9, n], 40_000), (BALANCER, 80), "S").frame())
    };
    assert_eq!(syn(&model, 40_000), Verdict::Tx);
    model.sleep(60);
    assert_eq!(other(&model, 1), Verdict::Tx);
    assert_eq!(
        model
            .live()
            .iter()
            .filter(|c| c.reply.dport.get() == 40_000)
            .count(),
        1
    );
    assert_eq!(model.live().len(), 2);
    model.sleep(4);
    assert_eq!(other(&model, 2), Verdict::Tx);
    let holder: Vec<_> = model
        .live()
        .into_iter()
        .filter(|c| c.reply.dport.get() == 40_000)
        .collect();
    assert_eq!(
        (holder.len(), holder[0].request.saddr.0),
        (1, [10, 0, 9, 2])
    );
}

#[test]
fn a_backend_without_a_free_port_refuses_and_keeps_the_old_connections() {
    let mut model = Model::new(scenarios::settings(1, 16), scenarios::backends(1));
    for port in 0..=u16::MAX {
        let backend = model.backends[0].ip;
        model.sockets.insert(xdplb_prog::abi::FlowKey::tcp(
            backend,
            xdplb_prog::abi::Be16::new(80),
            xdplb_prog::abi::Be32(BALANCER),
            xdplb_prog::abi::Be16::new(port),
        ));
    }
    assert_eq!(syn(&model, 40_000), Verdict::Drop);
    assert_eq!(model.counted(Reason::NoPort), 1);
    assert_eq!((model.live().len(), model.flows.borrow().len()), (0, 0));
    model.sockets.clear();
    assert_eq!(syn(&model, 40_000), Verdict::Tx);
}

#[test]
fn a_full_table_gives_up_expired_then_unconfirmed_then_closed_then_idle_connections() {
    let model = Model::new(scenarios::settings(1, 4), scenarios::backends(1));
    let say = |n: u16, flags: &'static str| {
        model.receive(&mut Tcp::new((CLIENT, n), (BALANCER, 80), flags).frame())
    };
    let reply = |n: u16, flags: &'static str| {
        model.receive(&mut Tcp::new(([10, 0, 0, 2], 80), (BALANCER, n), flags).frame())
    };
    let ports = || {
        let mut ports: Vec<_> = model.live().iter().map(|c| c.request.sport.get()).collect();
        ports.sort_unstable();
        ports
    };
    for n in [1_001, 1_002, 1_003, 1_004] {
        say(n, "S");
        model.sleep(1);
    }
    for n in [1_001, 1_002, 1_003] {
        reply(n, "SA");
        say(n, "A");
        model.sleep(1);
    }
    reply(1_002, "FA");
    say(1_002, "FA");
    // 1001 and 1003 established, 1002 closed, 1004 never confirmed.
    say(2_001, "S");
    assert_eq!(ports(), [1_001, 1_002, 1_003, 2_001]);
    reply(2_001, "SA");
    say(2_001, "A");
    say(2_002, "S");
    assert_eq!(ports(), [1_001, 1_003, 2_001, 2_002]);
    reply(2_002, "SA");
    say(2_002, "A");
    say(2_003, "S");
    assert_eq!(ports(), [1_003, 2_001, 2_002, 2_003], "the longest idle");
    model.sleep(8_001);
    say(1_003, "A");
    say(2_004, "S");
    assert!(
        ports().contains(&1_003) && ports().contains(&2_004),
        "{:?}",
        ports()
    );
}

#[test]
fn tracing_writes_the_lines_of_a_packet_in_order() {
    let settings = xdplb_prog::world::Settings {
        trace: 1,
        ..scenarios::settings(1, 4)
    };
    let model = Model::new(settings, scenarios::backends(1));
    syn(&model, 40_000);
    assert_eq!(model.lines.borrow().len(), 4, "{:?}", model.lines.borrow());
    assert_eq!(model.lines.borrow()[2], "client");
}
