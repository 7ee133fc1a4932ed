//! A linked object as text, and the same object as a second reader (goblin) sees it.

use std::fmt::Write;

use xdplb_linker::btf::{Btf, Kind, Linkage, TypeId};
use xdplb_linker::btf_ext::BtfExt;
use xdplb_linker::elf::{Binding, Object, Place, Section, SectionKind, SymbolKind};
use xdplb_linker::insn::{self, Insn};

/// Sections with instructions or bytes and their relocations, symbols, types, and what they say of instructions.
pub fn object(bytes: &[u8]) -> String {
    let object = Object::parse(bytes).unwrap();
    let mut out = String::new();
    for section in object.sections.iter().filter(|section| section.allocated) {
        let kind = match (section.kind, section.executable, section.writable) {
            (SectionKind::Zeroed, _, _) => "zeros",
            (_, true, _) => "code",
            (_, _, true) => "data",
            _ => "constants",
        };
        let (name, size, align) = (section.name, section.size, section.align);
        writeln!(out, "{name}: {size} bytes of {kind}, align {align}").unwrap();
        if section.executable {
            code(&mut out, &object, section);
        } else {
            data(&mut out, &object, section);
        }
    }
    for symbol in object
        .symbols
        .iter()
        .filter(|s| s.kind != SymbolKind::Section)
    {
        let binding = match symbol.binding {
            Binding::Local => "local",
            Binding::Global => "global",
            Binding::Weak => "weak",
        };
        let (name, value, size) = (symbol.name, symbol.value, symbol.size);
        match symbol.place {
            Place::Section(index) => {
                let section = object.sections[index.0].name;
                writeln!(out, "{binding} {name} = {section}+{value} size {size}").unwrap();
            }
            _ if name.is_empty() => {}
            _ => writeln!(out, "{binding} {name} undefined").unwrap(),
        }
    }
    if let Some((_, section)) = object.section_named(".BTF") {
        let btf = Btf::parse(section.data).unwrap();
        types(&mut out, &btf);
        if let Some((_, section)) = object.section_named(".BTF.ext") {
            records(&mut out, &btf, &BtfExt::parse(section.data).unwrap());
        }
    }
    out
}

fn target(object: &Object<'_>, section: &Section<'_>, offset: u64) -> String {
    let Some(relocation) = section.relocations.iter().find(|r| r.offset == offset) else {
        return String::new();
    };
    let symbol = &object.symbols[relocation.symbol.0];
    let name = match (symbol.kind, symbol.place) {
        (SymbolKind::Section, Place::Section(index)) => object.sections[index.0].name,
        _ => symbol.name,
    };
    format!(" @{name} ({:?})", relocation.kind)
}

fn code(out: &mut String, object: &Object<'_>, section: &Section<'_>) {
    let insns = insn::decode_all(section.name, section.data).unwrap();
    for step in insn::steps(&insns) {
        let Insn {
            opcode,
            dst,
            src,
            off,
            imm,
        } = step.insn;
        let text = if step.insn.is_ld_imm64() {
            format!("r{dst} = {:#x} ll src {src}", step.imm64())
        } else if step.insn.is_exit() {
            "exit".into()
        } else if step.insn.is_call() {
            format!("call {imm} src {src}")
        } else if opcode == insn::BPF_JMP | insn::BPF_JA {
            format!("goto {off}")
        } else if opcode == 0xb4 {
            format!("r{dst} = {imm}")
        } else {
            format!("{opcode:#04x} r{dst} r{src} {off} {imm}")
        };
        let target = target(object, section, step.at.byte_offset());
        writeln!(out, "  {}: {text}{target}", step.at.0).unwrap();
    }
}

fn data(out: &mut String, object: &Object<'_>, section: &Section<'_>) {
    if !section.data.is_empty() {
        let hex: Vec<_> = section.data.iter().map(|b| format!("{b:02x}")).collect();
        writeln!(out, "  {}", hex.join(" ")).unwrap();
    }
    for relocation in &section.relocations {
        let target = target(object, section, relocation.offset);
        writeln!(out, "  +{}{target}", relocation.offset).unwrap();
    }
}

fn name(btf: &Btf, id: TypeId) -> String {
    match btf.get(id) {
        None => "void".into(),
        Some(ty) if ty.name == Default::default() => format!("#{}", id.0),
        Some(ty) => btf.name(ty.name).into(),
    }
}

fn linkage(linkage: Linkage) -> &'static str {
    match linkage {
        Linkage::Static => "static",
        Linkage::Global => "global",
        Linkage::Extern => "extern",
    }
}

fn types(out: &mut String, btf: &Btf) {
    for (id, ty) in btf.iter() {
        let own = btf.name(ty.name);
        let text = match &ty.kind {
            Kind::Int(int) => format!("int {own} {} bits", int.bits),
            Kind::Ptr(to) => format!("ptr to {}", name(btf, *to)),
            Kind::Struct(c) | Kind::Union(c) => {
                let members: Vec<_> = c
                    .members
                    .iter()
                    .map(|m| format!("{}@{}: {}", btf.name(m.name), m.bit_offset, name(btf, m.ty)))
                    .collect();
                format!("struct {own} {} {{{}}}", c.size, members.join(", "))
            }
            Kind::Func(func) => format!("{} fn {own} #{}", linkage(func.linkage), func.proto.0),
            Kind::FuncProto(proto) => {
                let params: Vec<_> = proto
                    .params
                    .iter()
                    .map(|p| format!("{}: {}", btf.name(p.name), name(btf, p.ty)))
                    .collect();
                format!(
                    "proto ({}) -> {}",
                    params.join(", "),
                    name(btf, proto.returns)
                )
            }
            Kind::Var(var) => format!("{} var {own}: {}", linkage(var.linkage), name(btf, var.ty)),
            Kind::Datasec(section) => {
                let vars: Vec<_> = section
                    .vars
                    .iter()
                    .map(|v| format!("{}@{}+{}", name(btf, v.ty), v.offset, v.size))
                    .collect();
                format!("section {own} {} {{{}}}", section.size, vars.join(", "))
            }
            other => format!("{own} {other:?}"),
        };
        writeln!(out, "#{} {text}", id.0).unwrap();
    }
}

fn records(out: &mut String, btf: &Btf, ext: &BtfExt) {
    for group in &ext.func_info {
        for record in &group.records {
            let section = btf.name(group.section);
            let func = name(btf, record.type_id);
            writeln!(out, "func {section}+{}: {func}", record.insn_off).unwrap();
        }
    }
    for group in &ext.line_info {
        for record in &group.records {
            let section = btf.name(group.section);
            let (file, line) = (btf.name(record.file_name), record.line_number());
            let text = btf.name(record.line);
            writeln!(
                out,
                "line {section}+{}: {file}:{line} {text}",
                record.insn_off
            )
            .unwrap();
        }
    }
}

/// goblin, which shares no code with `object`, sees the same sections, symbols and relocations.
pub fn agrees_with_goblin(bytes: &[u8]) {
    let ours = Object::parse(bytes).unwrap();
    let elf = goblin::elf::Elf::parse(bytes).unwrap();
    assert_eq!(elf.header.e_machine, 247);
    assert_eq!(elf.section_headers.len(), ours.sections.len());
    for (theirs, section) in elf.section_headers.iter().zip(&ours.sections) {
        assert_eq!(elf.shdr_strtab.get_at(theirs.sh_name), Some(section.name));
        assert_eq!(theirs.sh_size, section.size, "{}", section.name);
        if theirs.sh_type == goblin::elf::section_header::SHT_PROGBITS {
            assert_eq!(&bytes[theirs.file_range().unwrap()], section.data);
        }
    }
    assert_eq!(elf.syms.len(), ours.symbols.len());
    for (theirs, symbol) in elf.syms.iter().zip(&ours.symbols) {
        assert_eq!(elf.strtab.get_at(theirs.st_name), Some(symbol.name));
        assert_eq!(
            (theirs.st_value, theirs.st_size),
            (symbol.value, symbol.size)
        );
    }
    for (index, relocations) in &elf.shdr_relocs {
        let header = &elf.section_headers[*index];
        let section = &ours.sections[header.sh_info as usize];
        assert_eq!(relocations.len(), section.relocations.len());
        for (theirs, relocation) in relocations.iter().zip(&section.relocations) {
            assert_eq!(theirs.r_offset, relocation.offset);
            assert_eq!(theirs.r_type, relocation.kind.number());
            assert_eq!(theirs.r_sym, relocation.symbol.0);
        }
    }
}
