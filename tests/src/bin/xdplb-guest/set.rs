//! The object set: every object through `xdplb-load verify`, held against what its source says, and every XDP program of
//! it at an interface, in both modes, with a packet.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use xdplb_loader::kernel::TestRun;
use xdplb_loader::load::{self, LoadOptions};
use xdplb_loader::object::ProgramKind;
use xdplb_loader::uapi::{AttachType, ProgramType};
use xdplb_loader::{Attachment, Detached, Object, Program};
use xdplb_tests::balancer;
use xdplb_tests::netns::Netns;
use xdplb_tests::objects::{self, Case, ours};
use xdplb_tests::ping::ping;
use xdplb_tests::run;
use xdplb_tests::topology::{Mode, Plan, Topology};

use crate::leftovers;

/// Where the image has sources and objects.
const FOLDER: &str = "/objects";
/// XDP_PASS.
const PASS: u32 = 2;

/// On the host: builds the set and puts sources and objects into a folder.
pub fn pack(folder: &Path) -> Result<()> {
    let built = objects::built()?;
    objects::pack(built.iter().map(|(case, object)| (case, object)), folder)
}

/// In the guest: all of them; the ones that surprise are in the error.
pub fn check() -> Result<()> {
    let kernel = objects::running_kernel()?;
    let cases = objects::all_in(Path::new(FOLDER))?;
    ensure!(cases.len() > 50, "only {} objects", cases.len());
    fs::write("/proc/sys/kernel/bpf_stats_enabled", "1").context("count runs")?;
    let wires = Topology::build(Plan::apart())?;
    // Native XDP_TX needs a program at the other end of the wire.
    let _stub = wires.stub(Mode::Native)?;
    let mut surprises = Vec::new();
    for case in &cases {
        let mut result = String::new();
        let tried = leftovers::none(|| {
            result = one(case, kernel, &wires)?;
            Ok(())
        });
        match tried {
            Ok(()) => println!("xdplb-guest: tried {}: {result}", case.name),
            Err(error) => {
                println!("xdplb-guest: tried {}: SURPRISE", case.name);
                show_log(case);
                surprises.push(format!("{}: {error:#}", case.name));
            }
        }
    }
    objects::without_surprises(&surprises)
}

/// What became of an object, as a cell of the table.
fn one(case: &Case, kernel: (u32, u32), wires: &Topology) -> Result<String> {
    let object = case.object(Path::new(FOLDER));
    let verified = ours::verify(case, &object)?;
    if !case.fits(kernel) {
        return refused(case, &verified);
    }
    let differences = verified.differences(case);
    ensure!(differences.is_empty(), "{}", differences.join("; "));
    let loaded = verified.loaded().len();
    let attached = attach_each(case, kernel, &object, wires)?;
    Ok(match (loaded, attached) {
        (0, _) => "refused, as on any kernel".to_owned(),
        (loaded, 0) => format!("{loaded} load"),
        (loaded, attached) => format!("{loaded} load, {attached} run"),
    })
}

/// What the kernel had to say, for whoever looks into a surprise.
fn show_log(case: &Case) {
    let object = case.object(Path::new(FOLDER)).display().to_string();
    let mut words = vec!["verify", "--verifier-log"];
    words.extend(case.options.iter().map(String::as_str));
    words.push(&object);
    let said = balancer::binary().and_then(|binary| {
        let mut command = Command::new(binary);
        command.args(words);
        run::output(command, balancer::LIMIT)
    });
    match said {
        Ok(output) => println!("{}{}", output.stdout, output.stderr),
        Err(error) => println!("{error:#}"),
    }
}

/// A kernel that is too old must be told apart from an object that is bad: the error has the words of the header.
fn refused(case: &Case, verified: &ours::Verified) -> Result<String> {
    let Some(since) = &case.since else {
        bail!("no header says why this kernel refuses it");
    };
    let errors = verified.errors();
    ensure!(
        !errors.is_empty() && verified.code == Some(1),
        "loads, though only Linux {}.{} has {}",
        since.kernel.0,
        since.kernel.1,
        since.what
    );
    ensure!(
        errors.iter().any(|(_, error)| error.contains(&since.what)),
        "refused, but not for `{}`: {errors:?}",
        since.what
    );
    Ok(format!("no {}", since.what))
}

/// Every XDP program that loads, in both modes. How many there are.
fn attach_each(case: &Case, kernel: (u32, u32), object: &Path, wires: &Topology) -> Result<usize> {
    let Ok(spec) = with_options(case, object) else {
        // verify has said so, and it was expected.
        return Ok(0);
    };
    let plan = load::prepare_each(&spec, &mut ());
    let report = load::load_each(&plan, LoadOptions::default(), &mut ())?;
    let mut count = 0;
    for (planned, loaded) in plan.programs.iter().zip(&report.programs) {
        let Ok(loaded) = loaded else { continue };
        if !at_an_interface(&planned.kind) {
            continue;
        }
        let verdict = verdict(&loaded.program).context(loaded.name.clone())?;
        for mode in Mode::ALL
            .into_iter()
            .filter(|mode| has(case, *mode, kernel))
        {
            attach(&loaded.program, verdict, mode, wires)
                .with_context(|| format!("{}, {}", loaded.name, mode.word()))?;
        }
        count += 1;
    }
    Ok(count)
}

/// The object with what `verify` is told about it; an error where that refuses it too.
fn with_options(case: &Case, object: &Path) -> Result<Object> {
    let bytes = fs::read(object).with_context(|| object.display().to_string())?;
    let mut spec = Object::parse(&bytes)?;
    spec.name = case.name.split('.').next().unwrap_or_default().to_owned();
    for pair in case.options.chunks(2) {
        let [option, value] = pair else {
            bail!("option {pair:?} without a value");
        };
        let (name, value) = match value.split_once('=') {
            Some((name, value)) => (Some(name), value),
            None => (None, value.as_str()),
        };
        match (option.as_str(), name) {
            ("--type", program) => spec.set_kind(program, ProgramKind::named(value)?)?,
            ("--max-entries", Some(map)) => spec.set_max_entries(map, value.parse()?)?,
            ("--set", Some(variable)) => spec.set_value(variable, value)?,
            _ => bail!("option {option} {value} is not known here"),
        }
    }
    Ok(spec)
}

/// Before Linux 5.15 generic mode takes no program that uses a device or CPU map whose entries run programs
/// (`generic_xdp_install` in net/core/dev.c).
fn has(case: &Case, mode: Mode, kernel: (u32, u32)) -> bool {
    mode == Mode::Native || case.name != "devmap_cpumap" || kernel >= (5, 15)
}

/// Programs behind a device or CPU map are not at an interface.
fn at_an_interface(kind: &ProgramKind) -> bool {
    let behind_a_map = [AttachType::XDP_DEVMAP, AttachType::XDP_CPUMAP];
    kind.program_type == ProgramType::XDP && !behind_a_map.contains(&kind.attach_type)
}

/// What it does with a frame that is no business of anyone's.
fn verdict(program: &Program) -> Result<u32> {
    // Broadcast, from a made-up address, of an EtherType for experiments (IEEE 802, 0x88b5).
    let mut frame = [0; 60];
    frame[..14].copy_from_slice(&[255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    let run = TestRun {
        data: &frame,
        repeat: 1,
        ..TestRun::default()
    };
    Ok(program.test_run(&run)?.return_value)
}

/// At the balancer's interface: a packet comes to it, and passes where that is its verdict; after that it is gone.
fn attach(program: &Program, verdict: u32, mode: Mode, wires: &Topology) -> Result<()> {
    let before = program.info()?.run_cnt;
    let attached = wires.lb.run(|| {
        let mode = match mode {
            Mode::Native => xdplb_loader::Mode::Native,
            Mode::Generic => xdplb_loader::Mode::Generic,
        };
        Ok(Attachment::xdp(program, "veth6", mode)?)
    })?;
    comes_to_it(program, before, &wires.clients, wires)?;
    if verdict == PASS {
        ping(&wires.clients, wires.address(10)).context("it passes what it is given")?;
    }
    let detached = attached.detach()?;
    ensure!(detached == Detached::Done, "detached: {detached:?}");
    wires.check_detached()
}

/// Until the kernel has counted a run.
fn comes_to_it(program: &Program, before: u64, from: &Netns, wires: &Topology) -> Result<()> {
    let socket = from.run(|| Ok(std::net::UdpSocket::bind("0.0.0.0:0")?))?;
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        // The discard port; where a program ate the answer to ARP before, this is the question.
        let _ = socket.send_to(b"x", (wires.address(10), 9));
        sleep(Duration::from_millis(2));
        if program.info()?.run_cnt > before {
            return Ok(());
        }
        ensure!(Instant::now() < end, "no packet came to it");
    }
}
