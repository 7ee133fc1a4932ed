//! Externs and attach targets against a kernel of a few types.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use xdplb_linker::btf::{
    Btf, Composite, Func, FuncProto, Int, Kind, Linkage, Member, Param, TypeId, Var,
};
use xdplb_linker::insn::{self, InsnIndex};

use super::build::{Builder, CALL, IMM64, call, exit, load_address, mov};
use super::core::POISON;
use super::*;
use crate::uapi::AttachType;

/// `int`, function `vfs_open(int)`, its tracepoint's typedef, a hook, a variable, and a struct of operations.
fn kernel() -> (Target, Btf) {
    let mut btf = Btf::new();
    let int = btf.add(
        "int",
        Kind::Int(Int {
            size: 4,
            encoding: 1,
            bit_offset: 0,
            bits: 32,
        }),
    );
    let name = btf.strings.intern("x");
    let proto = FuncProto {
        returns: int,
        params: vec![Param { name, ty: int }],
    };
    let proto = btf.add("", Kind::FuncProto(proto));
    let function = Kind::Func(Func {
        proto,
        linkage: Linkage::Static,
    });
    for name in [
        "vfs_open",
        "vfs_open2",
        "bpf_lsm_file_open",
        "bpf_iter_task",
    ] {
        btf.add(name, function.clone());
    }
    btf.add("btf_trace_sched_switch", Kind::Typedef(int));
    btf.add(
        "runqueues",
        Kind::Var(Var {
            ty: int,
            linkage: Linkage::Global,
        }),
    );
    let (ssthresh, undo) = (btf.strings.intern("ssthresh"), btf.strings.intern("undo"));
    let member = |name, bit_offset| Member {
        name,
        ty: int,
        bit_offset,
        bitfield_size: 0,
    };
    let ops = Composite {
        size: 8,
        members: vec![member(ssthresh, 0), member(undo, 32)],
    };
    btf.add("tcp_ops", Kind::Struct(ops));
    let target = Target {
        types: Some(KernelTypes::parse(btf.encode()).unwrap()),
        version: 6 << 16,
        ..Target::default()
    };
    (target, btf)
}

fn plan_of(section: &str) -> Plan {
    let mut b = Builder::new();
    b.function(section, "main", &[mov(0, 0), exit()]);
    let spec = Spec::parse(&b.finish()).unwrap();
    assert!(spec.needs().kernel_types);
    spec.plan(&kernel().0)
}

fn failure(plan: &Plan) -> String {
    plan.failed.first().unwrap().1.to_string()
}

#[test]
fn what_a_program_attaches_to_has_a_number() {
    let (_, btf) = kernel();
    for (section, name) in [
        ("fentry/vfs_open", "vfs_open"),
        ("tp_btf/sched_switch", "btf_trace_sched_switch"),
        ("lsm/file_open", "bpf_lsm_file_open"),
        ("iter/task", "bpf_iter_task"),
    ] {
        let plan = plan_of(section);
        let id = btf.find(name, |_| true).unwrap();
        assert_eq!(plan.programs[0].attach_btf_id, id.0, "{section}");
        assert_eq!(plan.programs[0].attach_btf_module, 0);
    }
}

#[test]
fn what_this_kernel_lacks_is_named_with_what_it_has() {
    assert_eq!(
        failure(&plan_of("fentry/vfs_opne")),
        "fentry/vfs_opne: this kernel's types have no function `vfs_opne`\n  similar: vfs_open, vfs_open2"
    );
    assert_eq!(
        failure(&plan_of("tp_btf/sched_swtich")),
        "tp_btf/sched_swtich: this kernel's types have no raw tracepoint `sched_swtich`\n  similar: sched_switch"
    );
    assert_eq!(
        failure(&plan_of("fexit/nf_nat:hook")),
        "fexit/nf_nat:hook: the types of module `nf_nat` have no function `hook`"
    );
    assert_eq!(
        failure(&plan_of("fentry")),
        "fentry: the section's name does not say which function to attach to"
    );
    let mut b = Builder::new();
    b.function("lsm/file_open", "main", &[mov(0, 0), exit()]);
    let plan = Spec::parse(&b.finish()).unwrap().plan(&Target::default());
    assert_eq!(
        failure(&plan),
        "lsm/file_open: the kernel's types are not known, in which the security hook `file_open` would be looked up (a kernel built with CONFIG_DEBUG_INFO_BTF has them in /sys/kernel/btf/vmlinux)"
    );
}

/// A program that loads the address of `name`, or calls it.
fn using(section: &str, name: &str, ty: impl Fn(&mut Builder) -> TypeId, weak: bool) -> Spec {
    let mut b = Builder::new();
    let ty = ty(&mut b);
    b.external(section, name, ty, weak);
    let function = matches!(b.btf.get(ty).map(|ty| &ty.kind), Some(Kind::FuncProto(_)));
    if function {
        b.function("xdp", "main", &[call(-1), mov(0, 2), exit()])
            .relocate("xdp", 0, name, CALL);
    } else {
        let mut main = Vec::from(load_address(1, 0));
        main.extend([mov(0, 2), exit()]);
        b.function("xdp", "main", &main)
            .relocate("xdp", 0, name, IMM64);
    }
    let object = b.finish();
    let spec = Spec::parse(&object).unwrap();
    // The kernel takes no type of linkage extern.
    let externs = spec.btf().unwrap().iter().filter(|(_, ty)| {
        matches!(&ty.kind, Kind::Var(var) if var.linkage == Linkage::Extern)
            || matches!(&ty.kind, Kind::Func(func) if func.linkage == Linkage::Extern)
    });
    assert_eq!(externs.count(), 0);
    spec
}

fn prototype(b: &mut Builder) -> TypeId {
    let int = b.integer("int", 4, 1);
    let params = vec![Param {
        name: xdplb_linker::btf::StrId::EMPTY,
        ty: int,
    }];
    b.btf.add(
        "",
        Kind::FuncProto(FuncProto {
            returns: int,
            params,
        }),
    )
}

fn int(b: &mut Builder) -> TypeId {
    b.integer("int", 4, 1)
}

fn nothing(b: &mut Builder) -> TypeId {
    b.btf.add("", Kind::Const(TypeId::VOID))
}

#[test]
fn kernel_functions_are_called_by_number() {
    let (target, btf) = kernel();
    let id = btf.find("vfs_open", |_| true).unwrap().0 as i32;
    for name in ["vfs_open", "vfs_open___old"] {
        let spec = using(".ksyms", name, prototype, false);
        assert!(spec.needs().kernel_types);
        let plan = spec.plan(&target);
        let insn = plan.programs[0].unpatched()[0];
        assert_eq!(
            (insn.src, insn.imm, insn.off),
            (insn::BPF_PSEUDO_KFUNC_CALL, id, 0)
        );
        assert!(plan.programs[0].fd_array(&[]).is_empty());
    }
    let strong = using(".ksyms", "vfs_close", prototype, false).plan(&target);
    assert_eq!(
        failure(&strong),
        "xdp+0x0 (insn 0 in `main`): calls `vfs_close`: this kernel's types have no function `vfs_close`"
    );
    let weak = using(".ksyms", "vfs_close", prototype, true).plan(&target);
    let program = &weak.programs[0];
    assert_eq!(
        (program.unpatched()[0].src, program.unpatched()[0].imm),
        (0, POISON)
    );
    assert_eq!(
        program.poisoned,
        [(
            InsnIndex(0),
            "calls `vfs_close`, a function that this kernel does not have".into()
        )]
    );
    let other = |b: &mut Builder| {
        let int = b.integer("int", 4, 1);
        b.btf.add(
            "",
            Kind::FuncProto(FuncProto {
                returns: int,
                params: vec![],
            }),
        )
    };
    assert_eq!(
        failure(&using(".ksyms", "vfs_open", other, false).plan(&target)),
        "xdp+0x0 (insn 0 in `main`): calls `vfs_open`: this kernel's function `vfs_open` has another type than the object expects"
    );
}

#[test]
fn kernel_variables_are_named_by_type_or_by_address() {
    let (mut target, btf) = kernel();
    let typed = using(".ksyms", "runqueues", int, false).plan(&target);
    let insns = typed.programs[0].unpatched();
    let id = btf.find("runqueues", |_| true).unwrap().0 as i32;
    assert_eq!(
        (insns[0].src, insns[0].imm, insns[1].imm),
        (insn::BPF_PSEUDO_BTF_ID, id, 0)
    );

    target
        .symbols
        .insert("init_task".into(), 0xffff_8000_1234_5678);
    let untyped = using(".ksyms", "init_task", nothing, false);
    assert_eq!(
        untyped.needs().symbols,
        BTreeSet::from(["init_task".to_string()])
    );
    assert!(!untyped.needs().kernel_types);
    let plan = untyped.plan(&target);
    let insns = plan.programs[0].unpatched();
    assert_eq!(
        (insns[0].src, insns[0].imm as u32, insns[1].imm as u32),
        (0, 0x1234_5678, 0xffff_8000)
    );
    assert_eq!(
        failure(&using(".ksyms", "init_tsak", nothing, false).plan(&target)),
        "xdp+0x0 (insn 0 in `main`): refers to `init_tsak`: this kernel has no symbol `init_tsak`"
    );
    let weak = using(".ksyms", "init_tsak", nothing, true).plan(&target);
    let insns = weak.programs[0].unpatched();
    assert_eq!((insns[0].imm, insns[1].imm), (0, 0));
}

#[test]
fn an_option_can_be_given() {
    let (mut target, _) = kernel();
    target.config.insert("CONFIG_HZ".into(), "250".into());
    for name in ["CONFIG_HZ", "CONFIG_NONE", "LINUX_KERNEL_VERSION"] {
        let mut spec = using(".kconfig", name, int, false);
        spec.set_value(name, "1000").unwrap();
        assert_eq!(spec.needs(), Needs::default(), "the machine is not asked");
        let plan = spec.plan(&target);
        assert!(plan.failed.is_empty());
        let contents = plan.maps[0].spec.contents.clone().unwrap();
        assert_eq!(contents[..4], 1000u32.to_le_bytes());
    }
    let mut spec = using(".kconfig", "CONFIG_HZ", int, false);
    assert_eq!(
        spec.set_value("CONFIG_HZ", "many").unwrap_err().to_string(),
        "`CONFIG_HZ` is an int: `many` is no number"
    );
    assert_eq!(
        spec.set_value("HZ", "1").unwrap_err().to_string(),
        "there is no variable `HZ`: the object has CONFIG_HZ"
    );
}

#[test]
fn what_is_declared_and_not_used_costs_no_types() {
    let mut b = Builder::new();
    let ty = b.integer("long", 8, 1);
    let proto = b.btf.add(
        "",
        Kind::FuncProto(FuncProto {
            returns: ty,
            params: vec![Param {
                name: xdplb_linker::btf::StrId::default(),
                ty,
            }],
        }),
    );
    let linkage = Linkage::Extern;
    b.btf.add("elsewhere", Kind::Func(Func { proto, linkage }));
    b.btf.add("other", Kind::Var(Var { ty, linkage }));
    b.function("xdp", "main", &[mov(0, 2), exit()]);
    let spec = Spec::parse(&b.finish()).unwrap();
    let btf = spec.btf().unwrap();
    let is_extern = |kind: &Kind| match kind {
        Kind::Func(func) => func.linkage == Linkage::Extern,
        Kind::Var(var) => var.linkage == Linkage::Extern,
        _ => false,
    };
    assert!(!btf.iter().any(|(_, ty)| is_extern(&ty.kind)));
}

#[test]
fn configuration_values_stand_in_a_map() {
    let (mut target, _) = kernel();
    target.config.insert("CONFIG_HZ".into(), "250".into());
    let spec = using(".kconfig", "CONFIG_HZ", int, false);
    assert_eq!(
        spec.needs().config,
        BTreeSet::from(["CONFIG_HZ".to_string()])
    );
    let plan = spec.plan(&target);
    let map = &plan.maps[0].spec;
    assert_eq!(
        (map.name.as_str(), map.freeze),
        (".kconfig", Freeze::BeforePrograms)
    );
    assert_eq!(
        map.contents.as_deref(),
        Some(&[250, 0, 0, 0, 0, 0, 0, 0][..])
    );
    assert_eq!(
        plan.programs[0].patches[0].target,
        PatchTarget::MapValue { map: 0, offset: 0 }
    );
    let version = using(".kconfig", "LINUX_KERNEL_VERSION", int, false);
    assert!(version.needs().version);
    let contents = version.plan(&target).maps[0].spec.contents.clone().unwrap();
    assert_eq!(contents[..4], (6u32 << 16).to_le_bytes());

    assert_eq!(
        failure(&using(".kconfig", "CONFIG_NONE", int, false).plan(&target)),
        "xdp+0x0 (insn 0 in `main`): refers to `CONFIG_NONE`: this kernel's configuration does not set `CONFIG_NONE`\n  try:  --set CONFIG_NONE=VALUE"
    );
    assert!(
        using(".kconfig", "CONFIG_NONE", int, true)
            .plan(&target)
            .failed
            .is_empty()
    );
    target.config.insert("CONFIG_HZ".into(), "y".into());
    assert_eq!(
        failure(&using(".kconfig", "CONFIG_HZ", int, false).plan(&target)),
        "xdp+0x0 (insn 0 in `main`): refers to `CONFIG_HZ`: `CONFIG_HZ` has no value: its value is y, which needs a bool, a char or an enum libbpf_tristate"
    );
}

#[test]
fn modules_bring_their_own_types() {
    let (mut target, base) = kernel();
    // A module's types go on from the kernel's: numbers and strings.
    let (strings, count) = (base.encode(), base.len() as u32);
    let _ = strings;
    let kernel_types = target.types.clone().unwrap();
    let mut split = Vec::new();
    let names = b"\0nf_hook\0";
    let start = {
        let header = base.encode();
        u32::from_le_bytes(header[20..24].try_into().unwrap())
    };
    let types: Vec<u32> = vec![start + 1, 12 << 24, 2];
    split.extend(0xeb9fu16.to_le_bytes());
    split.extend([1, 0]);
    for word in [24, 0, 12, 12, names.len() as u32] {
        split.extend(word.to_le_bytes());
    }
    types
        .iter()
        .for_each(|word| split.extend(word.to_le_bytes()));
    split.extend(names);
    let types = KernelTypes::parse_module("nf_nat", split, &kernel_types).unwrap();
    let module = ModuleTypes {
        name: "nf_nat".into(),
        btf_id: 77,
        types,
    };
    target.modules = Modules::lazily(move || vec![module.clone()]);
    let spec = using(".ksyms", "nf_hook", prototype, false);
    let plan = spec.plan(&target);
    let program = &plan.programs[0];
    let insn = program.unpatched()[0];
    assert_eq!((insn.imm, insn.off), (count as i32 + 1, 1));
    assert_eq!(program.modules, [77]);
    assert_eq!(program.fd_array(&[5]), [0, 5]);

    let mut b = Builder::new();
    b.function("fentry/nf_nat:nf_hook", "main", &[mov(0, 0), exit()]);
    let plan = Spec::parse(&b.finish()).unwrap().plan(&target);
    assert_eq!(
        (
            plan.programs[0].attach_btf_id,
            plan.programs[0].attach_btf_module
        ),
        (count + 1, 77)
    );
}

#[test]
fn a_function_of_a_struct_of_operations_is_known_by_its_member() {
    let mut b = Builder::new();
    b.function("struct_ops/undo", "my_undo", &[mov(0, 0), exit()])
        .function("struct_ops/idle", "idle", &[mov(0, 0), exit()]);
    let pointer = b.integer("u64", 8, 0);
    let ops = b.composite("tcp_ops", &[("undo", pointer)]);
    b.variable_of(".struct_ops", "mine", ops, &[0; 8]);
    b.relocate(".struct_ops", 0, "my_undo", 2);
    let (target, btf) = kernel();
    let plan = Spec::parse(&b.finish()).unwrap().plan(&target);
    let program = &plan.programs[0];
    assert_eq!(
        program.kind.attach_type,
        AttachType(1),
        "the kernel's second member"
    );
    assert_eq!(
        program.attach_btf_id,
        btf.find("tcp_ops", |_| true).unwrap().0
    );
    assert_eq!(
        failure(&plan),
        "struct_ops/idle: `idle` is a struct_ops program: no struct in section `.struct_ops` says what it is for"
    );
}
