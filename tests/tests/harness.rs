//! The network of the tests itself, without a balancer: what fails here says nothing about xdplb-load.

use anyhow::{Result, ensure};
use xdplb_tests::client::Connection;
use xdplb_tests::ping::ping;
use xdplb_tests::topology::{Family, Mode, Place, Plan, Topology};

#[test]
fn clients_reach_servers() -> Result<()> {
    let topology = Topology::seed()?;
    let _servers = topology.serve()?;
    for (index, name) in ["h2", "h3"].into_iter().enumerate() {
        let mut connection = Connection::open(&topology.clients, topology.server(index))?;
        for length in [0, 1, 3000, 100_000] {
            ensure!(connection.get(length)?.backend == name);
            let answer = connection.echo(length)?;
            ensure!(answer.peer.ip() == topology.address(1), "{answer:?}");
        }
        connection.close()?;
    }
    ping(&topology.clients, topology.address(10))?;
    topology.check_detached()
}

#[test]
fn a_routed_client_reaches_servers_of_the_same_bridge() -> Result<()> {
    let topology = Topology::build(Plan {
        place: Place::Routed,
        ..Plan::default()
    })?;
    let _servers = topology.serve()?;
    // Without the balancer in between the server itself has to know the way back.
    topology.backends[0].ip("route add 10.1.0.0/24 via 10.0.0.254")?;
    let mut connection = Connection::open(&topology.clients, topology.server(0))?;
    ensure!(connection.get(3000)?.peer.ip() == topology.client(Family::V4));
    Ok(())
}

#[test]
fn many_clients_have_an_address_each() -> Result<()> {
    let topology = Topology::build(Plan {
        clients: 50,
        ..Plan::default()
    })?;
    let _servers = topology.serve()?;
    let addresses = topology.client_addresses();
    ensure!(addresses.len() == 50);
    for from in addresses {
        let mut connection = Connection::open_from(&topology.clients, topology.server(0), from)?;
        ensure!(connection.get(10)?.peer.ip() == from);
    }
    Ok(())
}

#[test]
fn the_stub_is_there_for_as_long_as_it_is_held() -> Result<()> {
    let topology = Topology::seed()?;
    let stub = topology.stub(Mode::Native)?;
    ensure!(topology.bridge.link("veth7")?["xdp"]["mode"] == 1);
    drop(stub);
    ensure!(topology.bridge.link("veth7")?.get("xdp").is_none());
    Ok(())
}
