//! Netlink against the running kernel, in network namespaces that the tests make. Needs root and `ip`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/make.rs"]
mod make;
#[path = "support/namespace.rs"]
mod namespace;
mod support;

use std::net::IpAddr;
use std::os::fd::AsFd;

use make::program;
use namespace::{OtherNamespace, in_namespace, ip};
use support::build::{exit, mov};
use xdplb_loader::kernel::{Link, Program, XdpLinkMode};
use xdplb_loader::netlink::{
    Expect, LinkState, Mode, Namespace, NeighbourState, RouteKind, Socket,
};

fn pass(name: &str) -> Program {
    program(name, "GPL", &[mov(0, 2), exit()]).unwrap()
}

#[test]
fn links_are_found_by_name_number_and_list() {
    in_namespace(|| {
        ip("link add veth6 address de:ad:be:ef:00:10 type veth peer name veth7");
        let socket = Socket::open().unwrap();
        let link = socket.link_by_name("veth6").unwrap().unwrap();
        assert_eq!(link.mac.unwrap().to_string(), "de:ad:be:ef:00:10");
        assert_eq!(
            (link.kind.as_deref(), link.mtu, link.state()),
            (Some("veth"), 1500, LinkState::Down)
        );
        let peer = socket
            .link(link.peer.unwrap(), Namespace::Own)
            .unwrap()
            .unwrap();
        assert_eq!(
            (peer.name.as_str(), peer.peer, peer.peer_namespace),
            ("veth7", Some(link.ifindex), None)
        );
        ip("link set veth6 up");
        assert_eq!(
            socket.link_by_name("veth6").unwrap().unwrap().state(),
            LinkState::NoCarrier
        );
        ip("link set veth7 up");
        assert_eq!(
            socket.link_by_name("veth6").unwrap().unwrap().state(),
            LinkState::Up
        );
        let names: Vec<_> = socket
            .links()
            .unwrap()
            .into_iter()
            .map(|link| link.name)
            .collect();
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(socket.link_by_name("nothing").unwrap().is_none());
        assert!(socket.link_by_name("a-name-of-16-byt").unwrap().is_none());
        assert!(socket.link(9999, Namespace::Own).unwrap().is_none());
    });
}

#[test]
fn a_list_longer_than_a_datagram_is_whole() {
    in_namespace(|| {
        for n in 0..75 {
            ip(&format!("link add d{n} type veth peer name e{n}"));
        }
        assert_eq!(Socket::open().unwrap().links().unwrap().len(), 151);
    });
}

#[test]
fn a_veths_peer_is_seen_in_its_namespace() {
    in_namespace(|| {
        let other = OtherNamespace::new();
        ip(&format!(
            "link add veth6 type veth peer name veth7 netns {}",
            other.tid
        ));
        let socket = Socket::open().unwrap();
        let link = socket.link_by_name("veth6").unwrap().unwrap();
        let namespace = link.peer_namespace.expect("the peer is elsewhere");
        let peer = socket
            .link(link.peer.unwrap(), Namespace::Id(namespace))
            .unwrap()
            .unwrap();
        assert_eq!(peer.name, "veth7");
        assert_eq!(peer.xdp.programs().count(), 0);
    });
}

#[test]
fn a_program_is_attached_replaced_and_detached() {
    in_namespace(|| {
        ip("link add veth6 type veth peer name veth7");
        let socket = Socket::open().unwrap();
        let state = |socket: &Socket| socket.link_by_name("veth6").unwrap().unwrap().xdp;
        let ifindex = socket.link_by_name("veth6").unwrap().unwrap().ifindex;
        for mode in [Mode::Generic, Mode::Native] {
            let (first, second) = (pass("first"), pass("second"));
            let id = |program: &Program| Some(program.info().unwrap().id);
            socket
                .attach_xdp(ifindex, mode, first.as_fd(), Expect::Nothing)
                .unwrap();
            assert_eq!(state(&socket).program(mode), id(&first));
            assert_eq!(state(&socket).programs().count(), 1);

            let error = socket
                .attach_xdp(ifindex, mode, second.as_fd(), Expect::Nothing)
                .unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "attach to interface {ifindex} ({mode}): XDP program already attached (EBUSY)"
                )
            );
            let error = socket
                .attach_xdp(
                    ifindex,
                    mode,
                    second.as_fd(),
                    Expect::Program(second.as_fd()),
                )
                .unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "attach to interface {ifindex} ({mode}): active program does not match expected (EEXIST)"
                )
            );
            socket
                .attach_xdp(
                    ifindex,
                    mode,
                    second.as_fd(),
                    Expect::Program(first.as_fd()),
                )
                .unwrap();
            assert_eq!(state(&socket).program(mode), id(&second));
            assert!(
                socket
                    .detach_xdp(ifindex, mode, Expect::Program(first.as_fd()))
                    .is_err()
            );
            socket
                .detach_xdp(ifindex, mode, Expect::Program(second.as_fd()))
                .unwrap();
            assert_eq!(state(&socket).programs().count(), 0);
        }
    });
}

#[test]
fn native_and_generic_exclude_each_other() {
    in_namespace(|| {
        ip("link add veth6 type veth peer name veth7");
        let socket = Socket::open().unwrap();
        let ifindex = socket.link_by_name("veth6").unwrap().unwrap().ifindex;
        let program = pass("first");
        socket
            .attach_xdp(ifindex, Mode::Native, program.as_fd(), Expect::Nothing)
            .unwrap();
        let error = socket
            .attach_xdp(ifindex, Mode::Generic, program.as_fd(), Expect::Nothing)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "attach to interface {ifindex} (generic): native and generic XDP can't be active at the same time (EEXIST)"
            )
        );
    });
}

#[test]
fn a_bpf_link_is_in_the_way_and_can_be_named() {
    in_namespace(|| {
        ip("link add veth6 type veth peer name veth7");
        let socket = Socket::open().unwrap();
        let ifindex = socket.link_by_name("veth6").unwrap().unwrap().ifindex;
        let program = pass("linked");
        let link = Link::attach_xdp(&program, ifindex, XdpLinkMode::Generic).unwrap();
        let info = link.info().unwrap();
        assert_eq!(
            (info.ifindex, info.program_id),
            (Some(ifindex), program.info().unwrap().id)
        );
        let error = socket
            .attach_xdp(ifindex, Mode::Generic, program.as_fd(), Expect::Anything)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "attach to interface {ifindex} (generic): can't replace active BPF XDP link (EBUSY)"
            )
        );
        drop(link);
        // A test beside this one may be between fork and exec, and hold a copy of the link's
        // descriptor for a moment: that it goes is what counts.
        let programs = || {
            socket
                .link_by_name("veth6")
                .unwrap()
                .unwrap()
                .xdp
                .programs()
                .count()
        };
        let gone = (0..500).any(|_| {
            let gone = programs() == 0;
            if !gone {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            gone
        });
        assert!(
            gone,
            "the program is still attached after its link was closed"
        );
    });
}

#[test]
fn a_device_without_native_xdp_says_so() {
    in_namespace(|| {
        ip("link add br0 type bridge");
        let socket = Socket::open().unwrap();
        let ifindex = socket.link_by_name("br0").unwrap().unwrap().ifindex;
        let error = socket
            .attach_xdp(ifindex, Mode::Native, pass("p").as_fd(), Expect::Nothing)
            .unwrap_err();
        assert_eq!(
            error.errno(),
            Some(nix::errno::Errno::EOPNOTSUPP),
            "{error}"
        );
    });
}

#[test]
fn addresses_neighbours_and_routes_are_read() {
    in_namespace(|| {
        ip("link add veth6 type veth peer name veth7");
        ip("addr add 10.0.0.10/24 dev veth6");
        ip("link set veth6 up");
        ip("link set veth7 up");
        ip("neigh add 10.0.0.2 lladdr de:ad:be:ef:00:02 dev veth6");
        ip("route add 10.9.0.0/16 via 10.0.0.254");
        let socket = Socket::open().unwrap();
        let ifindex = socket.link_by_name("veth6").unwrap().unwrap().ifindex;
        let v4: Vec<_> = socket
            .addresses(ifindex)
            .unwrap()
            .into_iter()
            .filter(|a| a.ip.is_ipv4())
            .collect();
        assert_eq!(v4.len(), 1);
        assert_eq!((v4[0].ip, v4[0].prefix), (IpAddr::from([10, 0, 0, 10]), 24));

        let backend = IpAddr::from([10, 0, 0, 2]);
        let neighbour = socket.neighbour(ifindex, backend).unwrap().unwrap();
        assert_eq!(neighbour.mac.unwrap().to_string(), "de:ad:be:ef:00:02");
        assert_eq!(neighbour.state, NeighbourState::Usable);
        assert!(socket.neighbours(ifindex).unwrap().contains(&neighbour));
        assert!(
            socket
                .neighbour(ifindex, [10, 0, 0, 3].into())
                .unwrap()
                .is_none()
        );

        let route = socket.route(backend).unwrap().unwrap();
        assert_eq!(
            (route.kind, route.ifindex, route.gateway),
            (RouteKind::Unicast, Some(ifindex), None)
        );
        assert_eq!(route.source, Some([10, 0, 0, 10].into()));
        let far = socket.route([10, 9, 1, 1].into()).unwrap().unwrap();
        assert_eq!(far.gateway, Some([10, 0, 0, 254].into()));
        assert_eq!(
            socket.route([10, 0, 0, 10].into()).unwrap().unwrap().kind,
            RouteKind::Local
        );
        assert!(
            socket.route([192, 0, 2, 1].into()).unwrap().is_none(),
            "no default route here"
        );
    });
}
