//! `--dry-run`: an observer of the load path, which stops before its first system call.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::explain::{Explain, Watch};
use super::source::Read;
use super::start::first_mode;
use super::verify::release;
use super::{RunArgs, say, say_json};
use crate::balancer::adopt::Kinship;
use crate::balancer::device::Device;
use crate::balancer::install::{Ground, Order};
use crate::balancer::mode::Choice;
use crate::balancer::next::{self, States};
use crate::balancer::running::Occupant;
use crate::balancer::service::{Backend, Service, Word as _, show_mac};
use crate::balancer::settings::{Settings, Trace};
use crate::kernel;
use crate::load::{self, Observer, Step};
use crate::object::{Freeze, MapPlan, ProgramPlan, Spec};
use crate::story::{CallOf, Foretold, Story};

/// What would be done, as `--json` shows it.
#[derive(Debug, Default, Serialize)]
struct DryRun {
    ifname: String,
    ifindex: u32,
    mode: String,
    balancer: Vec<String>,
    balancer_mac: String,
    services: Vec<PlannedService>,
    settings: BTreeMap<String, String>,
    btf_types: usize,
    maps: Vec<PlannedMap>,
    programs: Vec<PlannedProgram>,
    /// Every command that would be given, with its block of arguments.
    commands: Vec<CallOf>,
    /// What the kernel that was asked about would make of it.
    foretold: Option<Foretold>,
    /// All of it, for `--explain`.
    #[serde(skip)]
    story: Option<Story>,
}

#[derive(Debug, Serialize)]
struct PlannedService {
    service: String,
    mode: &'static str,
    backends: Vec<PlannedBackend>,
}

#[derive(Debug, Serialize)]
struct PlannedBackend {
    backend: String,
    /// None: it will be asked for.
    mac: Option<String>,
    weight: u16,
    state: &'static str,
}

#[derive(Debug, Serialize)]
struct PlannedMap {
    name: String,
    kernel_name: String,
    r#type: String,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    frozen: bool,
}

#[derive(Debug, Serialize)]
struct PlannedProgram {
    name: String,
    section: String,
    instructions: usize,
    functions: Vec<String>,
    /// How many instructions get each symbol's map.
    patches: BTreeMap<String, usize>,
    /// Source lines that the verifier's log can show.
    source_lines: usize,
}

/// Plans the load of a first start, and prints it.
pub(super) fn print(
    args: &RunArgs,
    ground: &Ground<'_>,
    device: &Device,
    read: &Read,
    choice: Choice,
) -> Result<()> {
    let object = || match &args.object {
        Some(file) => file.display().to_string(),
        None => "the built-in program".into(),
    };
    let trace = if args.trace { Trace::On } else { Trace::Off };
    let (occupant, macs) = (Occupant::Nothing, HashMap::new());
    let states = States::OfRunning;
    let next = next::decide(
        ground,
        device,
        &read.config,
        trace,
        &states,
        &occupant,
        &macs,
    )?;
    let order = Order {
        device,
        settings: &next.settings,
        image: &next.image,
        occupant: &occupant,
        kinship: &Kinship::Same,
    };
    let release = release(args.kernel)?;
    let path = args.object.as_deref().unwrap_or(Path::new(""));
    let mut watch = Watch::of_commands(args.explain.as_ref(), &path.display().to_string());
    // What is decided by asking the kernel is decided by its release here.
    let prepare = || ground.prepared(&order, first_mode(choice));
    let spec = kernel::rehearse(release, |_| true, prepare).with_context(object)?;
    let mut dry = DryRun {
        ifname: device.name.clone(),
        ifindex: device.ifindex,
        mode: show_choice(choice),
        balancer: balancer(&next.settings),
        balancer_mac: show_mac(next.settings.balancer_mac),
        services: read.config.services.iter().map(planned_service).collect(),
        ..DryRun::default()
    };
    let mut both = |step: &Step<'_>| {
        dry.take(step);
        watch.step(step);
    };
    let plan = load::prepare(&spec, &mut both).with_context(object)?;
    let done = load::rehearse(&plan, release, &mut both).with_context(object)?;
    let errors = done
        .programs
        .iter()
        .filter_map(|program| program.as_ref().err());
    let errors = errors.map(ToString::to_string).collect();
    if let Some(recorder) = watch.recorder() {
        recorder.foretell(release, &load::needs(&spec, &plan));
    }
    dry.story = watch.end(errors);
    if args.json {
        let story = dry.story.as_ref();
        dry.foretold = story.and_then(|story| story.foretold.clone());
        dry.commands = story.map(Story::calls).unwrap_or_default();
        return say_json(&dry);
    }
    if args.explain.as_ref().is_none_or(Explain::leaves_stdout) {
        say(format_args!("{}", dry.text()));
    }
    match (&args.explain, &dry.story) {
        (Some(explain), Some(story)) => explain.tell(std::slice::from_ref(story)),
        (_, _) => Ok(()),
    }
}

/// The addresses that backends answer to.
fn balancer(settings: &Settings) -> Vec<String> {
    let (v4, v6) = (settings.balancer_v4, settings.balancer_v6);
    let v4 = (!v4.is_unspecified()).then(|| v4.to_string());
    let v6 = (!v6.is_unspecified()).then(|| v6.to_string());
    v4.into_iter().chain(v6).collect()
}

fn show_choice(choice: Choice) -> String {
    match choice {
        Choice::Native => "native mode".into(),
        Choice::NativeFirst => "native mode, or generic where the driver has no XDP".into(),
        Choice::Generic(why) => why.to_string(),
    }
}

fn planned_service(service: &Service) -> PlannedService {
    PlannedService {
        service: service.key.to_string(),
        mode: service.forward.name(),
        backends: service.backends.iter().map(planned_backend).collect(),
    }
}

fn planned_backend(backend: &Backend) -> PlannedBackend {
    PlannedBackend {
        backend: backend.key.to_string(),
        mac: backend.mac.map(show_mac),
        weight: backend.weight.get(),
        state: backend.state.name(),
    }
}

impl DryRun {
    /// Notes a planned step. The others come after the first system call, so never here.
    fn take(&mut self, step: &Step<'_>) {
        match step {
            Step::ObjectRead { spec } => self.settings = constants(spec),
            Step::BtfPlanned { types } => self.btf_types = *types,
            Step::MapPlanned { map } => self.maps.push(planned_map(map)),
            Step::ProgramPlanned { program, .. } => self.programs.push(planned_program(program)),
            // The list of steps may grow.
            _ => {}
        }
    }

    fn text(&self) -> String {
        let mut lines = vec![
            format!(
                "Interface {} (ifindex {}), {}",
                self.ifname, self.ifindex, self.mode
            ),
            format!("Balancer {} {}", self.balancer.join(" "), self.balancer_mac),
        ];
        for service in &self.services {
            lines.push(format!(
                "Service {}, mode {}",
                service.service, service.mode
            ));
            lines.extend(service.backends.iter().map(PlannedBackend::text));
        }
        lines.push(format!("Types (BTF): {}", self.btf_types));
        lines.push("Constants:".into());
        lines.extend(
            self.settings
                .iter()
                .map(|(name, bytes)| format!("  {name} = {bytes}")),
        );
        lines.push("Maps to create:".into());
        lines.extend(self.maps.iter().map(PlannedMap::text));
        lines.push("Programs to load:".into());
        lines.extend(self.programs.iter().map(PlannedProgram::text));
        if let Some(story) = &self.story {
            lines.push("Commands to give:".into());
            lines.extend(story.commands().map(|text| format!("  {text}")));
            lines.extend(story.foretold_lines());
        }
        lines.push(format!("Then: attach to {}", self.ifname));
        lines.push("Nothing of this was done: a dry run".into());
        lines.join("\n")
    }
}

/// The variables that are settings, by name; the compiler's own constants have no names to speak of.
fn constants(spec: &Spec) -> BTreeMap<String, String> {
    let names = spec.global_names().filter(|name| {
        let mut bytes = name.bytes();
        name.starts_with(|c: char| c.is_ascii_uppercase())
            && bytes.all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    });
    names
        .filter_map(|name| {
            let bytes = spec.global(name).ok()?;
            let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Some((name.to_string(), hex.join(" ")))
        })
        .collect()
}

fn planned_map(map: &MapPlan) -> PlannedMap {
    PlannedMap {
        name: map.spec.name.clone(),
        kernel_name: map.kernel_name.clone(),
        r#type: map.spec.map_type.to_string(),
        key_size: map.spec.key_size,
        value_size: map.spec.value_size,
        max_entries: map.spec.max_entries,
        frozen: map.spec.freeze == Freeze::BeforePrograms,
    }
}

fn planned_program(program: &ProgramPlan) -> PlannedProgram {
    let mut patches = BTreeMap::new();
    for patch in &program.patches {
        *patches.entry(patch.symbol.clone()).or_default() += 1;
    }
    PlannedProgram {
        name: program.name.clone(),
        section: program.section.clone(),
        instructions: program.unpatched().len(),
        functions: program
            .functions
            .iter()
            .map(|(_, name)| name.clone())
            .collect(),
        patches,
        source_lines: program.line_info.as_ref().map_or(0, Vec::len),
    }
}

impl PlannedBackend {
    fn text(&self) -> String {
        let Self {
            backend,
            mac,
            weight,
            state,
        } = self;
        let mac = mac.as_deref().unwrap_or("asked for at the start");
        format!("  Backend {backend}, MAC {mac}, weight {weight}, {state}")
    }
}

impl PlannedMap {
    fn text(&self) -> String {
        let frozen = if self.frozen { ", then frozen" } else { "" };
        format!(
            "  {} ({}): {}, key {}, value {}, {} entries{frozen}",
            self.name,
            self.kernel_name,
            self.r#type,
            self.key_size,
            self.value_size,
            self.max_entries
        )
    }
}

impl PlannedProgram {
    fn text(&self) -> String {
        let patches: Vec<String> = self
            .patches
            .iter()
            .map(|(symbol, count)| format!("{symbol} ×{count}"))
            .collect();
        format!(
            "  {} (section {}): {} instructions in {} functions, {} source lines\n    patched with maps: {}",
            self.name,
            self.section,
            self.instructions,
            self.functions.len(),
            self.source_lines,
            patches.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::balancer::settings::Machine;
    use crate::balancer::{program, simple};
    use crate::netlink::{Mode, Socket};

    #[test]
    fn the_plan_names_maps_program_and_constants() {
        let spec = program::parse(crate::PROGRAM).unwrap();
        let socket = Socket::open().unwrap();
        let ground = Ground {
            spec: &spec,
            socket: &socket,
            machine: Machine::ask(),
            pins: None,
        };
        let device = Device {
            name: "veth6".into(),
            ifindex: 7,
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            addresses: vec!["10.0.0.10".parse().unwrap()],
            kind: crate::balancer::mode::Device::Other,
        };
        let backends = simple::parse_words(&["10.0.0.2", "10.0.0.3", "weight=2"]).unwrap();
        let config = backends
            .into_config("10.0.0.10:80".parse().unwrap())
            .unwrap();
        let next = next::decide(
            &ground,
            &device,
            &config,
            Trace::Off,
            &States::OfRunning,
            &Occupant::Nothing,
            &HashMap::new(),
        )
        .unwrap();
        let order = Order {
            device: &device,
            settings: &next.settings,
            image: &next.image,
            occupant: &Occupant::Nothing,
            kinship: &next.kinship,
        };
        let spec = ground.prepared(&order, Mode::Generic).unwrap();
        let mut dry = DryRun {
            services: config.services.iter().map(planned_service).collect(),
            balancer: balancer(&next.settings),
            ..DryRun::default()
        };
        load::prepare(&spec, &mut |step: &Step<'_>| dry.take(step)).unwrap();
        let text = dry.text();
        for line in [
            "Balancer 10.0.0.10 ",
            "Service 10.0.0.10:80/tcp, mode nat",
            "  Backend 10.0.0.3, MAC asked for at the start, weight 2, active",
            "  BALANCER_V4 = 0a 00 00 0a",
            "  backends (backends): array, key 4, value 40, 16 entries",
            "  services (services): hash, key 24, value 32, 2 entries",
            "  .rodata (xdplb.rodata): array, key 4, value ",
            "  xdp_load_balancer (section xdp): ",
            "    patched with maps: ",
        ] {
            assert!(text.contains(line), "no `{line}` in\n{text}");
        }
        let json = serde_json::to_value(&dry).unwrap();
        assert_eq!(json["programs"][0]["name"], "xdp_load_balancer");
        assert!(json["programs"][0]["instructions"].as_u64().unwrap() > 100);
    }
}
