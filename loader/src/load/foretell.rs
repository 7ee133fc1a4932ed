//! What a kernel of another release would make of a plan: what it lacks, and what this loader then does.
//!
//! What the load path decides by asking the kernel is not foretold but rehearsed ([`rehearse`]): the same path, with answers
//! for that release. What it leaves to the kernel to refuse (types, helpers, instructions) is looked up here.

use std::rc::Rc;

use xdplb_linker::btf::{Btf, Kind, Linkage, TypeId};
use xdplb_linker::insn::{self, helper_name};

use super::history::{self, MAP_FLAGS, PROG_FLAGS};
use super::types::kinds;
use super::{LoadError, LoadOptions, Observer, Report, load_each};
use crate::kernel::{self, Release};
use crate::object::{Freeze, MapPlan, Plan, ProgramPlan, Spec, simplify};

/// Something that not every kernel has, and that the plan uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// What: `helper bpf_loop`.
    pub what: String,
    /// The release that brought it; `None` where that is not known here.
    pub since: Option<Release>,
    /// Who needs it.
    pub by: User,
    /// The instruction, and its source line where it has one: `flows.rs:41`.
    pub at: Option<(u32, Option<String>)>,
}

/// Who needs something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// A map, which cannot be created without it.
    Map(String),
    /// A program, which cannot be loaded without it.
    Program(String),
}

/// A way in which this loader does things differently on older kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Before which release.
    pub before: Release,
    /// What is done there.
    pub what: &'static str,
}

/// What is done on older kernels whatever the object.
pub const MANNERS: [Manner; 4] = [
    Manner {
        before: Release::new(5, 0),
        what: "func_info and line_info are left out: this kernel does not know them",
    },
    Manner {
        before: Release::new(5, 11),
        what: "RLIMIT_MEMLOCK counts memory of maps and programs: it is raised when a command fails with EPERM",
    },
    Manner {
        before: Release::new(6, 4),
        what: "the kernel does not say how long a verifier's log is: the room for it grows step by step",
    },
    Manner {
        before: Release::new(6, 9),
        what: "the verifier's log has no files and lines: they are added from line_info",
    },
];

/// Goes the load path without giving any command, for a kernel of this release: what it asks is answered for that release, and
/// what it would say to the kernel is told to `crate::witness`. Nothing of it is pinned.
///
/// # Errors
/// What would end the load.
pub fn rehearse(
    plan: &Plan,
    release: Release,
    observer: &mut dyn Observer,
) -> Result<Report, LoadError> {
    let takes_types = move |bytes: &[u8]| match Btf::parse(bytes) {
        Ok(btf) => takes(&btf, release),
        // What does not parse the path made itself, and the kernel would refuse it.
        Err(_) => false,
    };
    kernel::rehearse(release, takes_types, || {
        let report = load_each(plan, LoadOptions::default(), observer)?;
        Ok(report)
    })
}

/// Whether a kernel of that release takes these types as they are: whether it leaves nothing to simplify.
fn takes(btf: &Btf, release: Release) -> bool {
    let known = kinds(|feature| release >= feature.since());
    release >= kernel::Feature::Btf.since() && simplify(btf, &known).1.is_empty()
}

/// Everything that the plan uses and that came with some release, in the order of the plan; each once for a map or program.
pub fn needs(spec: &Spec, plan: &Plan) -> Vec<Need> {
    let mut needs = Vec::new();
    for map in plan.maps.iter().filter(|map| map.broken().is_none()) {
        of_map(map, &mut needs);
    }
    for program in &plan.programs {
        of_program(spec, plan, program, &mut needs);
    }
    needs
}

fn of_map(map: &MapPlan, needs: &mut Vec<Need>) {
    let mut need = |what: String, since| {
        needs.push(Need {
            what,
            since,
            by: User::Map(map.spec.name.clone()),
            at: None,
        });
    };
    let map_type = map.spec.map_type;
    need(
        format!("map type {map_type}"),
        kernel::map_type_since(map_type),
    );
    for (bit, what, since) in MAP_FLAGS {
        if map.spec.map_flags & bit != 0 {
            need(what.into(), Some(since));
        }
    }
    if map.spec.freeze == Freeze::BeforePrograms {
        need("frozen maps".into(), Some(Release::new(5, 2)));
    }
}

fn of_program(spec: &Spec, plan: &Plan, program: &ProgramPlan, needs: &mut Vec<Need>) {
    let by = User::Program(program.name.clone());
    let mut said: Vec<Rc<str>> = Vec::new();
    let mut need = |what: String, since, at: Option<u32>| {
        if said.iter().any(|said| **said == *what) {
            return;
        }
        said.push(what.as_str().into());
        let line = at.and_then(|at| {
            let btf = plan.btf.as_ref()?;
            program.source_line(btf, insn::InsnIndex(at))
        });
        needs.push(Need {
            what,
            since,
            by: by.clone(),
            at: at.map(|at| (at, line.map(|line| line.to_string()))),
        });
    };
    let kind = &program.kind;
    let since = kernel::program_type_since(kind.program_type);
    need(format!("program type {}", kind.program_type), since, None);
    if let Some(since) = history::attach_type_since(kind.attach_type) {
        need(
            format!("attach type {}", kind.attach_type),
            Some(since),
            None,
        );
    }
    for (bit, what, since) in PROG_FLAGS {
        if kind.flags & bit != 0 {
            need(what.into(), Some(since), None);
        }
    }
    if let Some(btf) = &plan.btf {
        for record in program.func_info.iter().flatten() {
            if record.insn_off != 0 && takes_pointers(btf, record.type_id) {
                let what = "pointers as arguments of global functions";
                need(
                    what.into(),
                    Some(Release::new(5, 13)),
                    Some(record.insn_off),
                );
            }
        }
    }
    let insns = program.unpatched();
    if insns.len() > 4096 {
        need(
            format!("room for {} instructions (4096 are most)", insns.len()),
            Some(Release::new(5, 2)),
            None,
        );
    }
    for step in insn::steps(insns) {
        let at = Some(step.at.0);
        if program.poisoned.iter().any(|(insn, _)| *insn == step.at) {
            continue;
        }
        if step.insn.is_helper_call() {
            let number = step.insn.imm;
            let name = helper_name(number).map_or_else(|| number.to_string(), str::to_string);
            need(format!("helper {name}"), history::helper_since(number), at);
        }
        if let Some((what, since)) = history::instruction_since(step.insn) {
            need(what.into(), Some(since), at);
        }
        if step
            .insn
            .jump_distance()
            .is_some_and(|distance| distance < -1)
        {
            need("loops".into(), Some(Release::new(5, 3)), at);
        }
    }
    for function in spec.originals(program) {
        for (at, insn) in (0u32..).zip(function.insns) {
            if let Some(name) = function.symbol(at).filter(|_| insn.is_call())
                && insns
                    .get((function.at.0 + at) as usize)
                    .is_some_and(|insn| insn.is_kfunc_call())
            {
                let since = history::kfunc_since(name);
                need(
                    format!("kernel function {name}"),
                    since,
                    Some(function.at.0 + at),
                );
            }
        }
    }
}

/// What programs get as their context, by type: a pointer to it could always be passed on (`btf_get_prog_ctx_type`).
const CONTEXTS: [&str; 14] = [
    "xdp_md",
    "__sk_buff",
    "pt_regs",
    "user_pt_regs",
    "bpf_user_pt_regs_t",
    "bpf_perf_event_data",
    "bpf_sock",
    "bpf_sock_addr",
    "bpf_sock_ops",
    "bpf_sockopt",
    "bpf_sysctl",
    "bpf_sk_lookup",
    "sk_msg_md",
    "sk_reuseport_md",
];

/// Whether a function that is verified by itself takes a pointer to anything but a context.
fn takes_pointers(btf: &Btf, function: TypeId) -> bool {
    let Some(Kind::Func(function)) = btf.get(function).map(|ty| &ty.kind) else {
        return false;
    };
    let Some(Kind::FuncProto(proto)) = btf.get(function.proto).map(|ty| &ty.kind) else {
        return false;
    };
    let points = |ty| match btf.resolve(ty).map(|(_, ty)| &ty.kind) {
        Some(Kind::Ptr(to)) => {
            let name = btf.resolve(*to).map(|(id, _)| btf.type_name(id));
            !name.is_some_and(|name| CONTEXTS.contains(&name))
        }
        _ => false,
    };
    function.linkage == Linkage::Global && proto.params.iter().any(|param| points(param.ty))
}
