//! What the kernel refuses: for want of privilege, because of another program, or on a device without XDP.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use xdplb_loader::kernel::XdpLinkMode;
use xdplb_tests::balancer::{self, Balancer};
use xdplb_tests::bpffs::BpfFs;
use xdplb_tests::client::Connection;
use xdplb_tests::files::Folder;
use xdplb_tests::privilege::{CAP_BPF, CAP_NET_ADMIN, as_nobody, with_only};
use xdplb_tests::refusal::{FAILED, refused, refused_command};
use xdplb_tests::run;
use xdplb_tests::topology::{Mode, Plan, Topology};
use xdplb_tests::xdp::{Stub, attach_by_netlink, check_unloaded, pass};

/// The seed's arguments, as text slices, after these options.
fn arguments<'a>(options: &[&'a str], seed: &'a [String]) -> Vec<&'a str> {
    let seed = seed.iter().map(String::as_str);
    options.iter().copied().chain(seed).collect()
}

#[test]
fn an_unprivileged_user() -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    // Where the binary lies, a plain user may not be allowed to look.
    let folder = Folder::new()?;
    let mut command = balancer::copy(&folder)?;
    command.args(topology.arguments());
    topology.lb.enter(&mut command)?;
    as_nobody(&mut command);
    refused_command(
        &topology,
        command,
        FAILED,
        &[
            "missing CAP_BPF, CAP_NET_ADMIN (EPERM)",
            "have: none of these   need: cap_bpf, cap_net_admin",
            "try:  sudo xdplb-load veth6 ",
        ],
    )?;
    Ok(())
}

#[test]
fn one_capability_of_the_two() -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    for (kept, missing, have) in [
        (&[CAP_NET_ADMIN][..], "CAP_BPF", "cap_net_admin"),
        (&[CAP_BPF], "CAP_NET_ADMIN", "cap_bpf"),
    ] {
        let mut command = balancer::command(&topology.lb, &topology.arguments())?;
        with_only(&mut command, kept);
        let lack = format!(": missing {missing} (EPERM)");
        let evidence = format!("have: {have}   need: cap_bpf, cap_net_admin");
        refused_command(&topology, command, FAILED, &[&lack, &evidence])?;
    }
    Ok(())
}

#[test]
fn the_two_capabilities_are_enough() -> Result<()> {
    let topology = Topology::seed()?;
    let _servers = topology.serve()?;
    for mode in Mode::ALL {
        let _stub = topology.stub(mode)?;
        let options = ["--xdp-mode", mode.word()];
        let seed = topology.arguments();
        let mut command = balancer::command(&topology.lb, &arguments(&options, &seed))?;
        with_only(&mut command, &[CAP_BPF, CAP_NET_ADMIN]);
        let balancer = Balancer::spawn(&topology, command)?.ready()?;
        Connection::open(&topology.clients, topology.service())?.get(3000)?;
        let output = balancer.stop(Signal::SIGINT)?;
        ensure!(output.code == Some(0), "{output:?}");
        topology.check_detached()?;
    }
    Ok(())
}

/// The id of the program on veth6.
fn attached(topology: &Topology) -> Result<u64> {
    let link = topology.lb.link("veth6")?;
    link["xdp"]["prog"]["id"]
        .as_u64()
        .with_context(|| format!("no program on veth6: {link}"))
}

#[test]
fn another_program_attached_by_netlink() -> Result<()> {
    for mode in Mode::ALL {
        let topology = Topology::build(Plan::apart())?;
        let _servers = topology.serve()?;
        let program = pass("xdp_filter")?;
        let id = attach_by_netlink(&topology.lb, "veth6", &program, mode)?;
        let seed = topology.arguments();
        let said = format!(
            "error: attach to veth6: it already runs XDP program {id} `xdp_filter` ({})\n  try:  xdplb-load --replace veth6 ",
            mode.word()
        );
        for wish in ["auto", "generic", "native"] {
            let command =
                balancer::command(&topology.lb, &arguments(&["--xdp-mode", wish], &seed))?;
            let output = run::output(command, balancer::LIMIT)?;
            ensure!(output.code == Some(FAILED), "{mode:?}, {wish}: {output:?}");
            ensure!(
                output.stderr.contains(&said),
                "{mode:?}, {wish}: {}",
                output.stderr
            );
            check_unloaded(topology.address(2))?;
            ensure!(attached(&topology)? == u64::from(id), "{mode:?}, {wish}");
        }

        let _stub = topology.stub(mode)?;
        let balancer = Balancer::start_with(&topology, &["--replace", "--xdp-mode", mode.word()])?;
        ensure!(attached(&topology)? != u64::from(id));
        Connection::open(&topology.clients, topology.service())?.get(1000)?;
        let output = balancer.stop(Signal::SIGTERM)?;
        ensure!(output.code == Some(0), "{output:?}");
        topology.check_nothing_left()?;
    }
    Ok(())
}

#[test]
fn another_program_attached_by_a_link() -> Result<()> {
    for (mode, word) in [
        (XdpLinkMode::Generic, "generic"),
        (XdpLinkMode::Native, "native"),
    ] {
        let topology = Topology::build(Plan::apart())?;
        let stub = Stub::attach_as(&topology.lb, "veth6", "xdp_filter", mode)?;
        let id = stub.program.info()?.id;
        let seed = topology.arguments();
        // The kernel lets nobody but its holder take a link off, so --replace is no help and not advised.
        for options in [&[][..], &["--replace"]] {
            let command = balancer::command(&topology.lb, &arguments(options, &seed))?;
            let output = run::output(command, balancer::LIMIT)?;
            ensure!(output.code == Some(FAILED), "{output:?}");
            let said = format!(
                "error: attach to veth6: it already runs XDP program {id} `xdp_filter` ({word})"
            );
            ensure!(
                output.stderr.contains(&said),
                "{options:?}: {}",
                output.stderr
            );
            ensure!(
                output.stderr.contains("link"),
                "{options:?}: {}",
                output.stderr
            );
            ensure!(
                !output.stderr.contains("--replace"),
                "{options:?}: {}",
                output.stderr
            );
            check_unloaded(topology.address(2))?;
            ensure!(attached(&topology)? == u64::from(id), "{options:?}");
        }
    }
    Ok(())
}

#[test]
fn a_second_balancer_on_the_same_interface() -> Result<()> {
    let topology = Topology::seed()?;
    let _servers = topology.serve()?;
    let _balancer = Balancer::start(&topology, Mode::Generic)?;
    let before = attached(&topology)?;
    let seed = topology.arguments();
    for options in [&[][..], &["--replace"]] {
        let command = balancer::command(&topology.lb, &arguments(options, &seed))?;
        let output = run::output(command, balancer::LIMIT)?;
        ensure!(output.code == Some(FAILED), "{output:?}");
        let said = "error: veth6: another xdplb-load is running on it\n  try:";
        ensure!(output.stderr.contains(said), "{}", output.stderr);
    }
    ensure!(attached(&topology)? == before);
    Connection::open(&topology.clients, topology.service())?.get(1000)?;
    Ok(())
}

#[test]
fn a_device_without_native_xdp() -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    topology.lb.ip(&format!(
        "link add br1 type bridge\naddress add {} dev br1\nlink set dev br1 up",
        topology.address(20)
    ))?;
    let backend = topology.address(2).to_string();
    let device = ["br1", &*backend, "de:ad:be:ef:00:02"];
    // The kernel's own words (net/core/dev.c, dev_xdp_attach).
    let native = [&["--xdp-mode", "native"][..], &device].concat();
    refused(
        &topology,
        &native,
        FAILED,
        &[
            "error: attach to br1: ",
            "(EOPNOTSUPP)",
            "driver",
            "try:",
            "--xdp-mode generic",
        ],
    )?;
    // Left to itself it takes what works, and says so.
    let balancer =
        Balancer::spawn(&topology, balancer::command(&topology.lb, &device)?)?.ready()?;
    let output = balancer.stop(Signal::SIGTERM)?;
    ensure!(output.code == Some(0), "{output:?}");
    ensure!(
        output.stderr.starts_with("note: br1: generic mode"),
        "{output:?}"
    );
    topology.check_nothing_left()
}

#[test]
fn nothing_stays_pinned_when_the_start_fails() -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    let pins = BpfFs::new()?;
    let program = pass("xdp_filter")?;
    attach_by_netlink(&topology.lb, "veth6", &program, Mode::Generic)?;
    let folder = pins.path().join("lb").display().to_string();
    let seed = topology.arguments();
    let mut command = balancer::command(&topology.lb, &arguments(&["--pin", &folder], &seed))?;
    pins.enter(&mut command)?;
    let output = run::output(command, balancer::LIMIT)?;
    ensure!(output.code == Some(FAILED), "{output:?}");
    ensure!(
        output.stderr.contains("already runs XDP program"),
        "{}",
        output.stderr
    );
    let left = pins.pins()?;
    ensure!(left.is_empty(), "{left:?}");
    check_unloaded(topology.address(2))
}

#[test]
fn pinning_outside_a_bpf_file_system() -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    let folder = Folder::new()?;
    let place = folder.path().join("lb").display().to_string();
    let seed = topology.arguments();
    let options = arguments(&["--pin", &place], &seed);
    refused(
        &topology,
        &options,
        FAILED,
        &[&place, "BPF file system", "try:"],
    )
}
