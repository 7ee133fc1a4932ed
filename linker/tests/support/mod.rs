//! What the tests of the linker share: a builder for small input objects, and a dump of linked ones.
//!
//! No compiler is needed: an input is written down instruction by instruction, as rustc would have emitted it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod clang;
pub mod dump;
pub mod programs;

use xdplb_linker::btf::{Btf, TypeId};
use xdplb_linker::btf_ext::BtfExt;
use xdplb_linker::elf::write::{Content, Image, ImageRelocation, ImageSection, ImageSymbol, write};
use xdplb_linker::elf::{Binding, RelocationKind, SymbolKind, Visibility};
use xdplb_linker::insn::{self, Insn};
use xdplb_linker::link::{Exports, Input, LinkError, Options, link};

/// An input object in the making.
#[derive(Default, Clone)]
pub struct Source {
    image: Image,
}

/// What a symbol of a [`Source`] is.
#[derive(Clone, Copy)]
pub struct Sym(pub usize);

/// Which section of a [`Source`] is meant.
#[derive(Clone, Copy)]
pub struct Sec(pub usize);

impl Source {
    pub fn new() -> Self {
        Self::default()
    }

    fn section(&mut self, name: &str, content: Content, align: u64) -> Sec {
        self.image.sections.push(ImageSection {
            name: name.into(),
            content,
            align,
            relocations: Vec::new(),
        });
        Sec(self.image.sections.len() - 1)
    }

    pub fn code(&mut self, name: &str, insns: &[Insn]) -> Sec {
        self.section(name, Content::Code(insn::encode_all(insns)), 8)
    }

    pub fn constants(&mut self, name: &str, bytes: &[u8], align: u64) -> Sec {
        self.section(name, Content::ReadOnly(bytes.into()), align)
    }

    pub fn data(&mut self, name: &str, bytes: &[u8], align: u64) -> Sec {
        self.section(name, Content::Data(bytes.into()), align)
    }

    pub fn zeros(&mut self, name: &str, size: u64, align: u64) -> Sec {
        self.section(name, Content::Zeroed(size), align)
    }

    pub fn debug(&mut self, name: &str, bytes: &[u8]) -> Sec {
        self.section(name, Content::Metadata(bytes.into()), 1)
    }

    /// Types, and what they say about instructions.
    pub fn types(&mut self, btf: &Btf, ext: &BtfExt) -> (Sec, Sec) {
        (
            self.section(".BTF", Content::Metadata(btf.encode()), 4),
            self.section(".BTF.ext", Content::Metadata(ext.encode()), 4),
        )
    }

    pub fn symbol(&mut self, symbol: ImageSymbol) -> Sym {
        self.image.symbols.push(symbol);
        Sym(self.image.symbols.len() - 1)
    }

    fn named(&mut self, name: &str, at: Sec, value: u64, size: u64, kind: SymbolKind) -> Sym {
        self.symbol(ImageSymbol {
            name: name.into(),
            section: Some(at.0),
            value,
            size,
            kind,
            binding: Binding::Global,
            visibility: Visibility::Default,
        })
    }

    /// A global function.
    pub fn func(&mut self, name: &str, at: Sec, value: u64, size: u64) -> Sym {
        self.named(name, at, value, size, SymbolKind::Func)
    }

    /// A global variable.
    pub fn object(&mut self, name: &str, at: Sec, value: u64, size: u64) -> Sym {
        self.named(name, at, value, size, SymbolKind::Object)
    }

    /// Makes a symbol visible to its own object only.
    pub fn local(&mut self, symbol: Sym) -> Sym {
        self.image.symbols[symbol.0].binding = Binding::Local;
        symbol
    }

    /// Makes a definition give way to a strong one.
    pub fn weak(&mut self, symbol: Sym) -> Sym {
        self.image.symbols[symbol.0].binding = Binding::Weak;
        symbol
    }

    /// A symbol that another object defines.
    pub fn undefined(&mut self, name: &str) -> Sym {
        self.symbol(ImageSymbol {
            name: name.into(),
            section: None,
            value: 0,
            size: 0,
            kind: SymbolKind::Untyped,
            binding: Binding::Global,
            visibility: Visibility::Default,
        })
    }

    /// The symbol of a section itself.
    pub fn section_symbol(&mut self, at: Sec) -> Sym {
        self.symbol(ImageSymbol {
            name: String::new(),
            section: Some(at.0),
            value: 0,
            size: 0,
            kind: SymbolKind::Section,
            binding: Binding::Local,
            visibility: Visibility::Default,
        })
    }

    pub fn relocate(&mut self, at: Sec, offset: u64, kind: RelocationKind, symbol: Sym) {
        self.image.sections[at.0].relocations.push(ImageRelocation {
            offset,
            kind,
            symbol: symbol.0,
        });
    }

    /// Makes an existing relocation refer to something else.
    pub fn retarget(&mut self, at: Sec, offset: u64, symbol: Sym) {
        for relocation in &mut self.image.sections[at.0].relocations {
            if relocation.offset == offset {
                relocation.symbol = symbol.0;
            }
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        write(&self.image).unwrap()
    }
}

/// `exit`.
pub fn exit() -> Insn {
    op(insn::BPF_JMP | insn::BPF_EXIT, 0, 0, 0, 0)
}

/// `dst = imm` (32 bits).
pub fn mov(dst: u8, imm: i32) -> Insn {
    op(insn::BPF_ALU | insn::BPF_K | 0xb0, dst, 0, 0, imm)
}

/// `goto off`.
pub fn goto(off: i16) -> Insn {
    op(insn::BPF_JMP | insn::BPF_JA, 0, 0, off, 0)
}

/// `call` of a function of the program; -1 with a relocation.
pub fn call(imm: i32) -> Insn {
    op(
        insn::BPF_JMP | insn::BPF_CALL,
        0,
        insn::BPF_PSEUDO_CALL,
        0,
        imm,
    )
}

/// Both slots of `dst = addend ll`.
pub fn address(dst: u8, addend: i32) -> [Insn; 2] {
    [
        op(
            insn::BPF_LD | insn::BPF_IMM | insn::BPF_DW,
            dst,
            0,
            0,
            addend,
        ),
        op(0, 0, 0, 0, 0),
    ]
}

/// `call` of a helper.
pub fn helper(number: i32) -> Insn {
    op(insn::BPF_JMP | insn::BPF_CALL, 0, 0, 0, number)
}

/// `dst = src` (64 bits).
pub fn mov_reg(dst: u8, src: u8) -> Insn {
    op(insn::BPF_ALU64 | insn::BPF_X | 0xb0, dst, src, 0, 0)
}

/// `dst = *(u64 *)(src + off)`.
pub fn load(dst: u8, src: u8, off: i16) -> Insn {
    let opcode = insn::BPF_LDX | insn::BPF_MEM | insn::BPF_DW;
    op(opcode, dst, src, off, 0)
}

/// `*(u8 *)(dst + off) = imm`.
pub fn store(dst: u8, off: i16, imm: i32) -> Insn {
    op(insn::BPF_ST | insn::BPF_MEM | insn::BPF_B, dst, 0, off, imm)
}

pub fn op(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn {
        opcode,
        dst,
        src,
        off,
        imm,
    }
}

/// Links objects called `1.o`, `2.o`, and so on, keeping every global variable.
pub fn link_all(sources: &[&Source]) -> Result<Vec<u8>, LinkError> {
    link_with(sources, Exports::All)
}

/// Links objects with an export list.
pub fn link_with(sources: &[&Source], exports: Exports) -> Result<Vec<u8>, LinkError> {
    let files: Vec<_> = sources
        .iter()
        .zip(1..)
        .map(|(source, number)| (format!("{number}.o"), source.bytes()))
        .collect();
    let inputs: Vec<_> = files
        .iter()
        .map(|(name, bytes)| Input { name, bytes })
        .collect();
    link(
        &inputs,
        &Options {
            exports,
            ..Options::default()
        },
    )
    .map(|output| output.bytes)
}

/// What objects link to, compared with `tests/expected/NAME.txt`. `XDPLB_BLESS=1 cargo test -p xdplb-linker` writes
/// the files anew; read the difference before you keep it.
pub fn check(name: &str, sources: &[&Source]) {
    check_with(name, sources, Exports::All);
}

/// The same with an export list.
pub fn check_with(name: &str, sources: &[&Source], exports: Exports) {
    let bytes = link_with(sources, exports).unwrap_or_else(|error| panic!("{error}"));
    dump::agrees_with_goblin(&bytes);
    check_text(name, &dump::object(&bytes));
}

/// A text, compared with its file in the same way.
pub fn check_text(name: &str, text: &str) {
    let path = format!("{}/tests/expected/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("XDPLB_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == expected,
        "{path}\n--- expected\n{expected}\n--- linked\n{text}"
    );
}

/// What one object, called `1.o`, links to or fails with, together with its warnings' texts.
pub fn warnings(source: &Source) -> Result<Vec<String>, LinkError> {
    let bytes = source.bytes();
    let inputs = [Input {
        name: "1.o",
        bytes: &bytes,
    }];
    let output = link(&inputs, &Options::default())?;
    Ok(output.warnings.iter().map(ToString::to_string).collect())
}

/// The text of the error that a link ends in.
pub fn check_error(sources: &[&Source], expected: &str) {
    let error = link_all(sources).expect_err("the link should fail");
    let expected = expected.trim_start_matches('\n').trim_end_matches('\n');
    assert_eq!(error.to_string(), expected);
}

/// An object that holds one of everything: functions in their own sections, a map, constants, data, zeros, types,
/// source lines, debug information, and things that nothing reaches.
pub fn rich() -> Source {
    use xdplb_linker::btf::{
        Composite, Datasec, Func, FuncProto, Int, Kind, Linkage, Member, Param, Var, VarSecinfo,
    };
    use xdplb_linker::btf_ext::{FuncInfo, Group, LineInfo};

    let mut source = Source::new();
    let [a0, a1] = address(1, 0);
    let [b0, b1] = address(2, 0);
    let xdp = source.code("xdp", &[a0, a1, b0, b1, call(-1), exit()]);
    let helper = source.code(".text._RNvC4prog6helper", &[a0, a1, mov(0, 2), exit()]);
    let dead = source.code(".text.dead", &[mov(0, 3), exit()]);
    let limit = source.constants(".rodata.LIMIT", &[7, 0, 0, 0], 4);
    let table = source.constants(".rodata.cst16", &[9; 16], 1);
    let unread = source.constants(".rodata.unread", &[1; 8], 8);
    let state = source.data(".data.STATE", &[5, 0, 0, 0, 0, 0, 0, 0], 8);
    let count = source.zeros(".bss.COUNT", 8, 8);
    let maps = source.constants(".maps", &[0; 16], 8);
    let license = source.constants("license", b"GPL\0", 1);
    source.debug(".debug_info", b"much of it");

    source.func("prog", xdp, 0, 48);
    let helper_symbol = source.func("_RNvC4prog6helper", helper, 0, 32);
    source.local(helper_symbol);
    let dead_symbol = source.func("dead", dead, 0, 16);
    source.local(dead_symbol);
    let limit_symbol = source.object("LIMIT", limit, 0, 4);
    let unread_symbol = source.object("unread", unread, 0, 8);
    source.local(unread_symbol);
    source.object("STATE", state, 0, 8);
    let count_symbol = source.object("COUNT", count, 0, 8);
    let map_symbol = source.object("flows", maps, 0, 16);
    let license_symbol = source.object("LICENSE", license, 0, 4);
    let table_section = source.section_symbol(table);
    let helper_section = source.section_symbol(helper);
    let xdp_section = source.section_symbol(xdp);
    source.relocate(xdp, 0, RelocationKind::Imm64, map_symbol);
    source.relocate(xdp, 16, RelocationKind::Imm64, limit_symbol);
    source.relocate(xdp, 32, RelocationKind::Call, helper_section);
    source.relocate(helper, 0, RelocationKind::Imm64, table_section);

    let mut btf = Btf::new();
    let int = |size: u32| {
        Kind::Int(Int {
            size,
            encoding: 0,
            bit_offset: 0,
            bits: size as u8 * 8,
        })
    };
    let u32_id = btf.add("u32", int(4));
    let u64_id = btf.add("u64", int(8));
    btf.add("i128", int(16)); // nothing uses it
    let pointer = btf.add("", Kind::Ptr(u32_id));
    let key = btf.strings.intern("key");
    let value = btf.strings.intern("value");
    let member = |name, bit_offset| Member {
        name,
        ty: pointer,
        bit_offset,
        bitfield_size: 0,
    };
    // The members in the order of the source, not of the offsets.
    let map = btf.add(
        "Map<u32, p::Flow>",
        Kind::Struct(Composite {
            size: 16,
            members: vec![member(value, 64), member(key, 0)],
        }),
    );
    let var = |btf: &mut Btf, name: &str, ty: TypeId| {
        btf.add(
            name,
            Kind::Var(Var {
                ty,
                linkage: Linkage::Global,
            }),
        )
    };
    let flows_var = var(&mut btf, "flows", map);
    let limit_var = var(&mut btf, "LIMIT", u32_id);
    let count_var = var(&mut btf, "COUNT", u64_id);
    let unread_var = var(&mut btf, "unread", u64_id);
    let c = btf.strings.intern("c");
    let proto = |params| {
        Kind::FuncProto(FuncProto {
            returns: u32_id,
            params,
        })
    };
    // `char` is void to LLVM.
    let char_proto = btf.add(
        "",
        proto(vec![Param {
            name: c,
            ty: TypeId::VOID,
        }]),
    );
    let void_proto = btf.add("", proto(Vec::new()));
    let func = |btf: &mut Btf, name: &str, proto| {
        btf.add(
            name,
            Kind::Func(Func {
                proto,
                linkage: Linkage::Global,
            }),
        )
    };
    let prog_func = func(&mut btf, "prog", void_proto);
    let helper_func = func(&mut btf, "helper", char_proto);
    let dead_func = func(&mut btf, "dead", char_proto);
    let datasec = |btf: &mut Btf, name: &str, ty, size| {
        btf.add(
            name,
            Kind::Datasec(Datasec {
                size: 0,
                vars: vec![VarSecinfo {
                    ty,
                    offset: 0,
                    size,
                }],
            }),
        );
    };
    datasec(&mut btf, ".maps", flows_var, 16);
    datasec(&mut btf, ".rodata.LIMIT", limit_var, 4);
    datasec(&mut btf, ".rodata.unread", unread_var, 8);
    datasec(&mut btf, ".bss.COUNT", count_var, 8);

    let file = btf.strings.intern("src/main.rs");
    let text = btf.strings.intern("helper(LIMIT)");
    let sections = ["xdp", ".text._RNvC4prog6helper", ".text.dead"].map(|s| btf.strings.intern(s));
    let line = |insn_off, line: u32| LineInfo {
        insn_off,
        file_name: file,
        line: text,
        line_col: line << 10 | 5,
    };
    let ext = BtfExt {
        func_info: sections
            .iter()
            .zip([prog_func, helper_func, dead_func])
            .map(|(section, type_id)| Group {
                section: *section,
                records: vec![FuncInfo {
                    insn_off: 0,
                    type_id,
                }],
            })
            .collect(),
        line_info: vec![
            Group {
                section: sections[0],
                // Not at the start, on a second slot, and out of order: all three are put right.
                records: vec![line(32, 12), line(16, 11), line(24, 99)],
            },
            Group {
                section: sections[1],
                records: vec![line(0, 20)],
            },
        ],
        core_relos: Vec::new(),
    };
    let (btf_section, _) = source.types(&btf, &ext);
    // rustc relocates the offsets of variables; here those of the DATASECs stay 0, which is right too.
    let _ = (btf_section, xdp_section, count_symbol, license_symbol);
    source
}
