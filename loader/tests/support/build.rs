//! Small BPF objects for tests, written with the `object` crate: instructions by hand, maps with their BTF, so that no
//! compiler is needed. Used by the unit tests of `object` and by the kernel tests.

// Each of the two users needs most of it, neither all.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;

use object::write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind,
    SymbolScope,
};
use xdplb_linker::btf::{
    Array, Btf, Composite, Datasec, Func, FuncProto, Int, Kind, Linkage, Member, TypeId, Var,
    VarSecinfo,
};
use xdplb_linker::btf_ext::{BtfExt, FuncInfo, Group, LineInfo};
use xdplb_linker::insn::Insn;

/// `R_BPF_64_64`: map, data or function address in a ld_imm64.
pub const IMM64: u32 = 1;
/// `R_BPF_64_32`: a call.
pub const CALL: u32 = 10;

fn insn(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn {
        opcode,
        dst,
        src,
        off,
        imm,
    }
}

/// `dst = imm`
pub fn mov(dst: u8, imm: i32) -> Insn {
    insn(0xb7, dst, 0, 0, imm)
}

/// `dst = src`
pub fn mov_reg(dst: u8, src: u8) -> Insn {
    insn(0xbf, dst, src, 0, 0)
}

/// `dst += imm`
pub fn add(dst: u8, imm: i32) -> Insn {
    insn(0x07, dst, 0, 0, imm)
}

/// `*(u32 *)(dst + off) = imm`
pub fn store32(dst: u8, off: i16, imm: i32) -> Insn {
    insn(0x62, dst, 0, off, imm)
}

/// `dst = *(u32 *)(src + off)`
pub fn load32(dst: u8, src: u8, off: i16) -> Insn {
    insn(0x61, dst, src, off, 0)
}

/// `dst = *(u8 *)(src + off)`
pub fn load8(dst: u8, src: u8, off: i16) -> Insn {
    insn(0x71, dst, src, off, 0)
}

/// `if dst == imm goto +off`
pub fn jeq(dst: u8, imm: i32, off: i16) -> Insn {
    insn(0x15, dst, 0, off, imm)
}

/// `dst = imm ll`, to be relocated: two slots.
pub fn load_address(dst: u8, addend: i32) -> [Insn; 2] {
    [insn(0x18, dst, 0, 0, addend), insn(0, 0, 0, 0, 0)]
}

/// A call of a kernel helper.
pub fn helper(number: i32) -> Insn {
    insn(0x85, 0, 0, 0, number)
}

/// A call of a function of the object; -1 where a relocation names it.
pub fn call(imm: i32) -> Insn {
    insn(0x85, 0, 1, 0, imm)
}

/// The end.
pub fn exit() -> Insn {
    insn(0x95, 0, 0, 0, 0)
}

/// An object under construction.
pub struct Builder {
    object: Object<'static>,
    sections: HashMap<String, SectionId>,
    symbols: HashMap<String, SymbolId>,
    /// Its types; `finish` adds the sections' tables.
    pub btf: Btf,
    datasecs: Vec<(String, Vec<VarSecinfo>)>,
    ext: BtfExt,
    int: TypeId,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// An object with nothing but a GPL license.
    pub fn new() -> Self {
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
        let mut builder = Builder {
            object: Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little),
            sections: HashMap::new(),
            symbols: HashMap::new(),
            btf,
            datasecs: Vec::new(),
            ext: BtfExt::default(),
            int,
        };
        builder.section("license", SectionKind::Data, b"GPL\0");
        builder
    }

    fn section(&mut self, name: &str, kind: SectionKind, bytes: &[u8]) -> (SectionId, u64) {
        let object = &mut self.object;
        let id = *self
            .sections
            .entry(name.into())
            .or_insert_with(|| object.add_section(vec![], name.into(), kind));
        (id, object.append_section_data(id, bytes, 8))
    }

    fn symbol(
        &mut self,
        name: &str,
        section: SymbolSection,
        value: u64,
        size: u64,
        kind: SymbolKind,
        scope: SymbolScope,
    ) {
        let symbol = self.object.add_symbol(Symbol {
            name: name.into(),
            value,
            size,
            kind,
            scope,
            weak: false,
            section,
            flags: SymbolFlags::None,
        });
        self.symbols.insert(name.into(), symbol);
    }

    /// A function at the end of a section of code, with its type and a source line at each instruction. Global unless its
    /// name begins with `_`.
    pub fn function(&mut self, section: &str, name: &str, insns: &[Insn]) -> &mut Self {
        let bytes: Vec<u8> = insns.iter().flat_map(|insn| insn.encode()).collect();
        let (id, at) = self.section(section, SectionKind::Text, &bytes);
        let (scope, linkage) = if name.starts_with('_') {
            (SymbolScope::Compilation, Linkage::Static)
        } else {
            (SymbolScope::Dynamic, Linkage::Global)
        };
        self.symbol(
            name,
            SymbolSection::Section(id),
            at,
            bytes.len() as u64,
            SymbolKind::Text,
            scope,
        );
        let proto = self.btf.add(
            "",
            Kind::FuncProto(FuncProto {
                returns: self.int,
                params: vec![],
            }),
        );
        let type_id = self.btf.add(name, Kind::Func(Func { proto, linkage }));
        let section = self.btf.strings.intern(section);
        let file_name = self.btf.strings.intern("test.rs");
        let line = self.btf.strings.intern("");
        self.ext.func_info.push(Group {
            section,
            records: vec![FuncInfo {
                insn_off: at as u32,
                type_id,
            }],
        });
        let records = (0..insns.len() as u32)
            .filter(|&index| insns[index as usize].opcode != 0)
            .map(|index| LineInfo {
                insn_off: at as u32 + index * 8,
                file_name,
                line,
                line_col: (index + 1) << 10,
            })
            .collect();
        self.ext.line_info.push(Group { section, records });
        self
    }

    /// A relocation of an instruction of a section against a symbol that was defined before; an unknown one is undefined.
    pub fn relocate(&mut self, section: &str, insn: u64, symbol: &str, r_type: u32) -> &mut Self {
        if !self.symbols.contains_key(symbol) {
            self.symbol(
                symbol,
                SymbolSection::Undefined,
                0,
                0,
                SymbolKind::Unknown,
                SymbolScope::Unknown,
            );
        }
        let relocation = Relocation {
            offset: insn * 8,
            symbol: self.symbols[symbol],
            addend: 0,
            flags: RelocationFlags::Elf {
                r_type: object::elf::RelocationType(r_type),
            },
        };
        self.object
            .add_relocation(self.sections[section], relocation)
            .unwrap();
        self
    }

    /// A variable in a data section: an array of bytes.
    pub fn variable(&mut self, section: &str, name: &str, bytes: &[u8]) -> &mut Self {
        let byte = self.integer("u8", 1, 0);
        let ty = self.array(byte, bytes.len() as u32);
        self.variable_of(section, name, ty, bytes)
    }

    /// A variable of this type in a data section.
    pub fn variable_of(
        &mut self,
        section: &str,
        name: &str,
        ty: TypeId,
        bytes: &[u8],
    ) -> &mut Self {
        let kind = if section.starts_with(".rodata") {
            SectionKind::ReadOnlyData
        } else {
            SectionKind::Data
        };
        let (id, at) = self.section(section, kind, bytes);
        let size = bytes.len() as u64;
        self.symbol(
            name,
            SymbolSection::Section(id),
            at,
            size,
            SymbolKind::Data,
            SymbolScope::Dynamic,
        );
        self.declare(section, name, ty, size as u32, Linkage::Global);
        self
    }

    /// An integer type; the encoding is 1 signed, 2 char, 4 bool.
    pub fn integer(&mut self, name: &str, size: u32, encoding: u8) -> TypeId {
        let int = Int {
            size,
            encoding,
            bit_offset: 0,
            bits: (size * 8) as u8,
        };
        self.btf.add(name, Kind::Int(int))
    }

    /// An array type.
    pub fn array(&mut self, element: TypeId, count: u32) -> TypeId {
        let array = Array {
            element,
            index: self.int,
            count,
        };
        self.btf.add("", Kind::Array(array))
    }

    /// A struct of these members, one after the other.
    pub fn composite(&mut self, name: &str, members: &[(&str, TypeId)]) -> TypeId {
        let mut size = 0;
        let members = members
            .iter()
            .map(|(name, ty)| {
                let member = Member {
                    name: self.btf.strings.intern(name),
                    ty: *ty,
                    bit_offset: size * 8,
                    bitfield_size: 0,
                };
                size += self.btf.size_of(*ty).unwrap() as u32;
                member
            })
            .collect();
        self.btf
            .add(name, Kind::Struct(Composite { size, members }))
    }

    /// A symbol of any kind at a place of a section, which gets these bytes; without a name only the bytes.
    pub fn raw(&mut self, section: &str, name: &str, bytes: &[u8], code: bool) -> &mut Self {
        let kind = if code {
            SectionKind::Text
        } else {
            SectionKind::Data
        };
        let object = &mut self.object;
        let id = *self
            .sections
            .entry(section.into())
            .or_insert_with(|| object.add_section(vec![], section.into(), kind));
        let at = object.append_section_data(id, bytes, 4);
        if !name.is_empty() {
            let scope = if name.starts_with('_') {
                SymbolScope::Compilation
            } else {
                SymbolScope::Dynamic
            };
            let place = SymbolSection::Section(id);
            self.symbol(name, place, at, 0, SymbolKind::Label, scope);
        }
        self
    }

    /// A tentative definition, as C compilers made them of `int x;` at the top level.
    pub fn common(&mut self, name: &str, size: u64) -> &mut Self {
        let (data, global) = (SymbolKind::Data, SymbolScope::Dynamic);
        self.symbol(name, SymbolSection::Common, 4, size, data, global);
        self
    }

    /// Something that the kernel is to have: `.kconfig` or `.ksyms`, with its type; weak or not.
    pub fn external(&mut self, section: &str, name: &str, ty: TypeId, weak: bool) -> &mut Self {
        let symbol = self.object.add_symbol(Symbol {
            name: name.into(),
            value: 0,
            size: 0,
            kind: SymbolKind::Unknown,
            scope: SymbolScope::Unknown,
            weak,
            section: SymbolSection::Undefined,
            flags: SymbolFlags::None,
        });
        self.symbols.insert(name.into(), symbol);
        match self.btf.get(ty).map(|ty| &ty.kind) {
            Some(Kind::FuncProto(_)) => {
                let linkage = Linkage::Extern;
                let ty = self.btf.add(name, Kind::Func(Func { proto: ty, linkage }));
                self.declared(section, ty, 0);
            }
            _ => self.declare(section, name, ty, 0, Linkage::Extern),
        }
        self
    }

    /// A map with `int` keys and values.
    pub fn map(&mut self, name: &str, map_type: u32, max_entries: u32) -> &mut Self {
        let int = self.btf.add("", Kind::Ptr(self.int));
        let members = [
            ("type", self.number(map_type)),
            ("max_entries", self.number(max_entries)),
            ("key", int),
            ("value", int),
        ];
        self.map_of(name, &members)
    }

    /// A map whose definition has these members.
    pub fn map_of(&mut self, name: &str, members: &[(&str, TypeId)]) -> &mut Self {
        let size = members.len() as u32 * 8;
        let members = (0u32..)
            .zip(members)
            .map(|(at, (name, ty))| Member {
                name: self.btf.strings.intern(name),
                ty: *ty,
                bit_offset: at * 64,
                bitfield_size: 0,
            })
            .collect();
        let ty = self.btf.add("", Kind::Struct(Composite { size, members }));
        let (id, at) = self.section(".maps", SectionKind::Data, &vec![0; size as usize]);
        let place = SymbolSection::Section(id);
        self.symbol(
            name,
            place,
            at,
            size.into(),
            SymbolKind::Data,
            SymbolScope::Dynamic,
        );
        self.declare(".maps", name, ty, size, Linkage::Global);
        self
    }

    /// `int (*)[number]`: how a definition says a number.
    pub fn number(&mut self, number: u32) -> TypeId {
        let array = Kind::Array(Array {
            element: self.int,
            index: self.int,
            count: number,
        });
        let array = self.btf.add("", array);
        self.btf.add("", Kind::Ptr(array))
    }

    fn declare(&mut self, section: &str, name: &str, ty: TypeId, size: u32, linkage: Linkage) {
        let ty = self.btf.add(name, Kind::Var(Var { ty, linkage }));
        self.declared(section, ty, size);
    }

    fn declared(&mut self, section: &str, ty: TypeId, size: u32) {
        // As compilers do: the place is left to whoever loads the object.
        let var = VarSecinfo {
            ty,
            offset: 0,
            size,
        };
        match self.datasecs.iter_mut().find(|(known, _)| known == section) {
            Some((_, vars)) => vars.push(var),
            None => self.datasecs.push((section.into(), vec![var])),
        }
    }

    /// The file, with .BTF and .BTF.ext.
    pub fn finish(&mut self) -> Vec<u8> {
        for (section, vars) in std::mem::take(&mut self.datasecs) {
            self.btf
                .add(&section, Kind::Datasec(Datasec { size: 0, vars }));
        }
        let (btf, ext) = (self.btf.encode(), self.ext.encode());
        self.section(".BTF", SectionKind::Other, &btf);
        self.section(".BTF.ext", SectionKind::Other, &ext);
        self.object.write().unwrap()
    }

    /// The file without types.
    pub fn finish_untyped(&mut self) -> Vec<u8> {
        self.object.write().unwrap()
    }
}

/// An object with all that a load has to do: a map and a constant referred to, a function called in another section.
pub fn sample() -> Vec<u8> {
    let mut builder = Builder::new();
    builder
        .map("hits", 2, 4)
        .variable(".rodata", "VERDICT", &2u32.to_le_bytes());
    let mut main = vec![store32(10, -4, 1), mov_reg(2, 10), add(2, -4)];
    main.extend(load_address(1, 0)); // 3, 4: hits
    main.extend([helper(1), jeq(0, 0, 1), store32(0, 0, 77), call(-1)]); // 5..8: lookup, check, store, call
    main.push(exit());
    let mut verdict = Vec::from(load_address(1, 0)); // 0, 1: VERDICT
    verdict.extend([load32(0, 1, 0), exit()]);
    builder
        .function("xdp", "main", &main)
        .function(".text", "_verdict", &verdict)
        .relocate("xdp", 3, "hits", IMM64)
        .relocate("xdp", 8, "_verdict", CALL)
        .relocate(".text", 0, "VERDICT", IMM64);
    builder.finish()
}
