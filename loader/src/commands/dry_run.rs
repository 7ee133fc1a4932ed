//! `--dry-run`: an observer of the load path, which stops before its first system call.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;

use super::run::first_mode;
use super::{RunArgs, say, say_json};
use crate::balancer::config::{Backend, show_mac};
use crate::balancer::device::Device;
use crate::balancer::mode::Choice;
use crate::balancer::settings::{Machine, Settings, Trace};
use crate::load::{self, Step};
use crate::object::{Freeze, MapPlan, ProgramPlan, Spec};

/// What would be done, as `--json` shows it.
#[derive(Debug, Default, Serialize)]
struct DryRun {
    ifname: String,
    ifindex: u32,
    mode: String,
    service: String,
    balancer: String,
    balancer_mac: String,
    backends: Vec<PlannedBackend>,
    settings: BTreeMap<String, String>,
    btf_types: usize,
    maps: Vec<PlannedMap>,
    programs: Vec<PlannedProgram>,
}

#[derive(Debug, Serialize)]
struct PlannedBackend {
    ip: String,
    /// None: it will be asked for.
    mac: Option<String>,
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

/// Plans the load and prints it.
pub(super) fn print(
    args: &RunArgs,
    spec: &Spec,
    device: &Device,
    settings: &Settings,
    choice: Choice,
    backends: &[Backend],
) -> Result<()> {
    let object = || match &args.object {
        Some(file) => file.display().to_string(),
        None => "the built-in program".into(),
    };
    let trace = if args.trace { Trace::On } else { Trace::Off };
    let mut spec = spec.clone();
    settings
        .apply(&mut spec, first_mode(choice), trace, Machine::ask())
        .with_context(object)?;
    let mut dry = DryRun {
        ifname: device.name.clone(),
        ifindex: device.ifindex,
        mode: show_choice(choice),
        service: settings.service.to_string(),
        balancer: settings.balancer_addr.to_string(),
        balancer_mac: show_mac(settings.balancer_mac),
        backends: backends.iter().map(planned_backend).collect(),
        ..DryRun::default()
    };
    load::prepare(&spec, &mut |step: &Step<'_>| dry.take(step)).with_context(object)?;
    if args.json {
        return say_json(&dry);
    }
    say(format_args!("{}", dry.text()));
    Ok(())
}

fn show_choice(choice: Choice) -> String {
    match choice {
        Choice::Native => "native mode".into(),
        Choice::NativeFirst => "native mode, or generic where the driver has no XDP".into(),
        Choice::Generic(why) => why.to_string(),
    }
}

fn planned_backend(backend: &Backend) -> PlannedBackend {
    PlannedBackend {
        ip: backend.ip.to_string(),
        mac: backend.mac.map(show_mac),
    }
}

impl DryRun {
    /// Notes a planned step. The others come after the first system call, so never here.
    fn take(&mut self, step: &Step<'_>) {
        match step {
            Step::ObjectRead { spec } => self.settings = constants(spec),
            Step::BtfPlanned { types } => self.btf_types = *types,
            Step::MapPlanned { map } => self.maps.push(planned_map(map)),
            Step::ProgramPlanned { program } => self.programs.push(planned_program(program)),
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
            format!(
                "Service {}, balancer {} {}",
                self.service, self.balancer, self.balancer_mac
            ),
        ];
        for (number, backend) in self.backends.iter().enumerate() {
            let mac = backend.mac.as_deref().unwrap_or("asked for at the start");
            lines.push(format!(
                "Backend {} - IP: {}, MAC: {mac}",
                number + 1,
                backend.ip
            ));
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
        lines.push(format!("Then: attach to {}", self.ifname));
        lines.push("Nothing of this was done: a dry run".into());
        lines.join("\n")
    }
}

/// The variables that are settings, by name; the compiler's own constants have no names to speak of.
fn constants(spec: &Spec) -> BTreeMap<String, String> {
    let names = spec
        .global_names()
        .filter(|name| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'));
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
    use crate::balancer::program;
    use crate::netlink::Mode;

    #[test]
    fn the_plan_names_maps_program_and_constants() {
        let mut spec = program::parse(crate::PROGRAM).unwrap();
        let settings = Settings {
            service: "10.0.0.10:80".parse().unwrap(),
            balancer_addr: [10, 0, 0, 10].into(),
            balancer_mac: [2, 0, 0, 0, 0, 1],
            backends: 3,
            connections: 1000,
        };
        settings
            .apply(&mut spec, Mode::Generic, Trace::Off, Machine::ask())
            .unwrap();
        let mut dry = DryRun::default();
        load::prepare(&spec, &mut |step: &Step<'_>| dry.take(step)).unwrap();
        let text = dry.text();
        for line in [
            "  SERVICE_ADDR = 0a 00 00 0a",
            "  SERVICE_PORT = 00 50",
            "  backends (backends): array, key 4, value 12, 3 entries",
            "  flows (flows): hash, key 16, value 4, 2000 entries",
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
