//! The steps of a load in words, a line each. They know nothing that the steps do not say.

use std::os::fd::{AsFd, AsRawFd};

use crate::kernel::Map;
use crate::load::Step;
use crate::object::{PatchTarget, core_question};

/// The step in words, with a line for each instruction that was fitted to the kernel's types.
pub fn lines(step: &Step<'_>) -> Vec<String> {
    let mut lines: Vec<String> = line(step).into_iter().collect();
    if let Step::ProgramPlanned { plan, program, .. } = step
        && let Some(btf) = &plan.btf
    {
        lines.extend(program.fitted.iter().map(|fitted| {
            let (subject, question) = core_question(&**btf, &fitted.relo);
            format!(
                "program `{}`: instruction {} fitted: `{subject}` {question}: {} → {}",
                program.name, fitted.at.0, fitted.original as i64, fitted.new as i64
            )
        }));
        lines.extend(program.poisoned.iter().map(|(at, why)| {
            format!(
                "program `{}`: instruction {} must not be reached: {}",
                program.name,
                at.0,
                first_line(why)
            )
        }));
    }
    lines
}

/// The step in words; None for those that a later one sums up.
pub fn line(step: &Step<'_>) -> Option<String> {
    Some(match step {
        Step::ObjectRead { spec } => format!(
            "read: {}, {}, license {}",
            count(spec.programs.len(), "program"),
            count(spec.maps().len(), "map"),
            match spec.license.as_str() {
                "" => "none",
                license => license,
            }
        ),
        Step::MachineRead { needs, target } => {
            let mut read = Vec::new();
            if let Some(types) = &target.types {
                read.push(format!("{} types", types.len()));
            }
            if !needs.symbols.is_empty() {
                read.push(format!(
                    "{} of {} symbols",
                    target.symbols.len(),
                    needs.symbols.len()
                ));
            }
            if !needs.config.is_empty() {
                read.push(format!(
                    "{} of {} options",
                    target.config.len(),
                    needs.config.len()
                ));
            }
            if needs.version {
                let [_, a, b, c] = target.version.to_be_bytes();
                read.push(format!("version {a}.{b}.{c}"));
            }
            format!("read of the kernel: {}", read.join(", "))
        }
        Step::MachineUnread { what, reason } => {
            format!("not read: {what}: {}", first_line(reason))
        }
        Step::BtfPlanned { types } => format!("plan: {types} types (BTF)"),
        Step::MapPlanned { map } => format!(
            "plan: map `{}`: {}, key {}, value {}, {} entries",
            map.spec.name,
            map.spec.map_type,
            map.spec.key_size,
            map.spec.value_size,
            map.spec.max_entries
        ),
        Step::ProgramPlanned { program, .. } => {
            let called = match program.functions.len() {
                0 | 1 => String::new(),
                n => format!(", {} functions", n),
            };
            let poisoned = match program.poisoned.len() {
                0 => String::new(),
                n => format!(", {n} that this kernel cannot run and must not reach"),
            };
            let fitted = match program.fitted.len() {
                0 => String::new(),
                n => format!(", {n} fitted to this kernel's types"),
            };
            format!(
                "plan: program `{}`: {}, {} instructions{called}, {} relocated{fitted}{poisoned}",
                program.name,
                program.kind.program_type,
                program.unpatched().len(),
                program.patches.len()
            )
        }
        Step::Probed { feature, supported } => {
            let answer = if *supported { "yes" } else { "no" };
            format!("probe: does the kernel know {feature:?}? {answer}")
        }
        Step::BtfSimplified { kinds } => {
            format!("types simplified for this kernel: {}", kinds.join(", "))
        }
        Step::BtfLoaded { id, fd, bytes } => {
            format!("types loaded: BTF {id}, {bytes} bytes, descriptor {fd}")
        }
        Step::BtfLeftOut { reason } => format!("types left out: {}", first_line(reason)),
        Step::MapFitted { map, fitted } => format!(
            "map `{}` fitted: {} entries instead of {}: {}",
            map.spec.name, fitted.to, fitted.from, fitted.why
        ),
        Step::MapCreated { map, created } => {
            format!("map `{}` created: {}", map.spec.name, numbers(created))
        }
        Step::MapTypesLeftOut { map } => {
            format!(
                "map `{}`: the kernel takes it without types only",
                map.spec.name
            )
        }
        Step::MapReused { map, existing } => format!(
            "map `{}`: one that exists and fits is used: {}",
            map.spec.name,
            numbers(existing)
        ),
        Step::MapFilled { map, bytes } => {
            format!("map `{}` filled: {bytes} bytes", map.spec.name)
        }
        Step::MapFrozen { map } => format!("map `{}` frozen: constants", map.spec.name),
        Step::MapPinned { map, path } => {
            format!("map `{}` pinned as {}", map.spec.name, path.display())
        }
        Step::SlotFilled { map, slot, value } => {
            format!("map `{}`: slot {slot} holds `{value}`", map.spec.name)
        }
        Step::Relocated { program, patch, .. } => {
            let what = match patch.target {
                PatchTarget::Map(_) => "the map's descriptor".to_string(),
                PatchTarget::MapValue { offset, .. } => {
                    format!("an address, {offset} bytes into the map's value")
                }
            };
            format!(
                "program `{}`: instruction {} gets `{}`: {what}",
                program.name, patch.at.0, patch.symbol
            )
        }
        Step::RecordsLeftOut {
            program,
            records,
            reason,
        } => format!(
            "program `{}`: loaded without {records}: {}",
            program.name,
            first_line(reason)
        ),
        Step::ProgramLoaded {
            program,
            loaded,
            info,
            elapsed,
            ..
        } => format!(
            "program `{}` loaded: program {}, descriptor {}, {} instructions verified, {:.2} ms",
            program.name,
            info.id,
            loaded.as_fd().as_raw_fd(),
            info.verified_insns,
            elapsed.as_secs_f64() * 1e3
        ),
    })
}

/// A map's numbers: the kernel's and ours. The kernel always says its own; where it does not there is none to show.
fn numbers(map: &Map) -> String {
    let fd = map.as_fd().as_raw_fd();
    match map.info() {
        Ok(info) => format!("map {}, descriptor {fd}", info.id),
        Err(_) => format!("descriptor {fd}"),
    }
}

/// `1 map`, `2 maps`.
fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
