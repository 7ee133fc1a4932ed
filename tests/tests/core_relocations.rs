//! CO-RE held against libbpf in bulk: questions about hundreds of the running kernel's own structs and enums, compiled by
//! clang, relocated by us and by libbpf (bpftool). The kernel's tag of a program is a hash of its instructions: equal tags,
//! equal answers. Needs root.
//!
//! The C source is made from the kernel's types, and made wrong on purpose: members in another order, in flat structs where
//! the kernel nests, of other widths, of other kinds, and some that no kernel has.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use xdplb_linker::btf::{Member, Signedness, TypeId};
use xdplb_linker::insn;
use xdplb_loader::kernel::{self, Program, ProgramDefinition};
use xdplb_loader::object::core::{Shape, Ty, TypeKind, Types};
use xdplb_loader::object::{KernelTypes, Modules, Spec, Target};
use xdplb_tests::files::Folder;
use xdplb_tests::objects::libbpf::{self, Opinion};
use xdplb_tests::objects::{self, Compiler};

/// Structs and enums asked about, and how many go into one program.
const STRUCTS: usize = 300;
const IN_ONE_PROGRAM: usize = 5;
/// Members asked about, of each struct.
const MEMBERS: usize = 5;

const PREAMBLE: &str = r#"
typedef unsigned long long u64;
#define CORE __attribute__((preserve_access_index))
#define INFO(field, kind) __builtin_preserve_field_info(field, kind)
#define TYPE_INFO(type, kind) __builtin_preserve_type_info(*(type *)0, kind)
#define VALUE_INFO(type, value, kind) __builtin_preserve_enum_value(*(type *)value, kind)
// 0, which the verifier knows and the compiler doesn't: what depends on it is compiled, hashed, and never verified.
static inline __attribute__((always_inline)) u64 never(void) { u64 zero; __asm__ volatile("%0 = 0" : "=r"(zero)); return zero; }
char _license[] __attribute__((section("license"), used)) = "GPL";
"#;

#[test]
fn every_answer_is_libbpfs() -> Result<()> {
    let kernel = KernelTypes::parse(kernel::kernel_btf()?)?;
    let source = source(&kernel)?;
    let folder = Folder::new()?;
    let object = compile(folder.path(), &source)?;
    let theirs = match libbpf::load(&object)? {
        Opinion::Loads(programs) => programs,
        Opinion::Refuses(said) => bail!("libbpf refuses: {said}"),
    };
    let spec = Spec::parse(&std::fs::read(&object)?)?;
    let target = Target {
        types: Some(kernel),
        modules: Modules::default(),
        ..Target::default()
    };
    let plan = spec.plan(&target);
    if let Some((program, error)) = plan.failed.first() {
        bail!("{}: {error}", program.name);
    }
    let mut poisoned = 0;
    ensure!(plan.programs.len() == theirs.len() && theirs.len() > 20);
    for program in &plan.programs {
        poisoned += program.poisoned.len();
        let loaded = Program::load(&ProgramDefinition {
            name: &program.name,
            program_type: program.kind.program_type,
            expected_attach_type: program.kind.attach_type,
            license: &plan.license,
            instructions: &insn::encode_all(program.unpatched()),
            ..ProgramDefinition::default()
        })
        .with_context(|| program.name.clone())?;
        let tag = loaded.info()?.tag_text();
        let other = theirs.iter().find(|other| other.name == program.name);
        let other = other.with_context(|| program.name.clone())?;
        ensure!(
            tag == other.tag,
            "{}: {tag}, libbpf {}",
            program.name,
            other.tag
        );
    }
    ensure!(poisoned > 100, "only {poisoned} instructions were poisoned");
    Ok(())
}

fn compile(folder: &Path, source: &str) -> Result<std::path::PathBuf> {
    let (file, object) = (folder.join("core.c"), folder.join("core.o"));
    std::fs::write(&file, source)?;
    let output = Command::new(objects::compiler(Compiler::Clang))
        .args(["-target", "bpf", "-mcpu=v3", "-g", "-O2", "-w", "-c"])
        .arg(&file)
        .arg("-o")
        .arg(&object)
        .output()?;
    ensure!(
        output.status.success(),
        "clang: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(object)
}

/// The whole source.
fn source(kernel: &KernelTypes) -> Result<String> {
    let types: &dyn Types = kernel;
    // A name that two types bear may be ambiguous, which is no answer.
    let mut named: HashMap<(bool, &str), Vec<TypeId>> = HashMap::new();
    for id in (1..=kernel.len()).map(TypeId) {
        let Some(ty) = types.ty(id) else { continue };
        let name = types.text(ty.name);
        let wanted = matches!(
            ty.kind(),
            TypeKind::Struct | TypeKind::Enum | TypeKind::Enum64
        );
        // An instruction's offset reaches no further than 32 KiB, and then libbpf gives up.
        let near = types.size_of(id).is_some_and(|size| size < 1 << 15);
        if wanted && near && !name.is_empty() && !name.contains("__") {
            let of_values = ty.enumeration().is_some();
            named.entry((of_values, name)).or_default().push(id);
        }
    }
    let mut single: Vec<TypeId> = named
        .into_values()
        .filter(|ids| ids.len() == 1)
        .flatten()
        .collect();
    single.sort_unstable();
    ensure!(single.len() > STRUCTS, "only {} structs", single.len());
    let mut text = PREAMBLE.to_string();
    let chosen: Vec<TypeId> = single
        .iter()
        .copied()
        .step_by(single.len() / STRUCTS)
        .collect();
    for (number, ids) in chosen.chunks(IN_ONE_PROGRAM).enumerate() {
        let mut body = String::new();
        for (place, &id) in ids.iter().enumerate() {
            let ty = types.ty(id).context("a type is gone")?;
            let seed = number * IN_ONE_PROGRAM + place;
            if ty.enumeration().is_some() {
                enumeration(types, &ty, seed, &mut text, &mut body)?;
            } else {
                structure(types, id, &ty, seed, &mut text, &mut body)?;
            }
        }
        writeln!(
            text,
            "__attribute__((section(\"socket\"), used)) int look{number}(void *context)\n{{\n\tu64 sum = 0;\n{body}\treturn sum;\n}}"
        )?;
    }
    Ok(text)
}

/// Questions about an enum: its values, and one that does not exist.
fn enumeration(
    types: &dyn Types,
    ty: &Ty,
    seed: usize,
    text: &mut String,
    body: &mut String,
) -> Result<()> {
    let name = types.text(ty.name);
    let count = ty.enumeration().context("an enumeration")?.len;
    let values: Vec<_> = (0..count.min(MEMBERS as u32))
        .filter_map(|index| types.enumerator(ty, index))
        .map(|value| types.text(value.name))
        .collect();
    let list: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(at, value)| format!("{value}___{seed} = {}", at * 3 + seed % 7))
        .collect();
    writeln!(
        text,
        "enum {name}___{seed} {{ {}, XDPLB_NONE___{seed} = 99 }};",
        list.join(", ")
    )?;
    let enumeration = format!("enum {name}___{seed}");
    for value in &values {
        writeln!(
            body,
            "\tsum += VALUE_INFO({enumeration}, {value}___{seed}, 0);"
        )?;
        writeln!(
            body,
            "\tsum += VALUE_INFO({enumeration}, {value}___{seed}, 1);"
        )?;
    }
    writeln!(
        body,
        "\tsum += VALUE_INFO({enumeration}, XDPLB_NONE___{seed}, 0);"
    )?;
    writeln!(
        body,
        "\tif (never()) sum += VALUE_INFO({enumeration}, XDPLB_NONE___{seed}, 1);"
    )?;
    about_type(&enumeration, body)
}

/// Questions about a struct and some of its members, and one that does not exist.
fn structure(
    types: &dyn Types,
    id: TypeId,
    ty: &Ty,
    seed: usize,
    text: &mut String,
    body: &mut String,
) -> Result<()> {
    let name = types.text(ty.name);
    let mut members = Vec::new();
    flatten(types, id, 0, &mut members);
    members.reverse();
    let structure = format!("struct {name}___{seed}");
    writeln!(text, "{structure} {{\n\tint xdplb_none;")?;
    let mut asked = Vec::new();
    for (at, member) in members.iter().enumerate() {
        let field = types.text(member.name);
        if asked.len() == MEMBERS || asked.iter().any(|(name, _): &(&str, _)| *name == field) {
            continue;
        }
        if let Some((declaration, uses)) = declare(types, member, field, seed + at) {
            writeln!(text, "\t{declaration};")?;
            asked.push((field, uses));
        }
    }
    writeln!(text, "}} CORE;")?;
    writeln!(body, "\t{{ {structure} *s = context;")?;
    asked.push(("xdplb_none", Uses::Number));
    for (field, uses) in asked {
        let (path, questions): (String, &[u32]) = match uses {
            Uses::Number => (field.into(), &[0, 1, 2, 3, 4, 5]),
            Uses::Bits => (field.into(), &[0, 1, 2, 3, 4, 5]),
            Uses::Pointer => (field.into(), &[0, 1, 2, 4, 5]),
            Uses::Whole => (field.into(), &[0, 1, 2]),
            Uses::Elements => (format!("{field}[1]"), &[0, 1, 2]),
        };
        for &question in questions {
            // What does not fit has no answer: in code that runs only its existence can be asked.
            let guard = if question == 2 { "" } else { "if (never()) " };
            writeln!(body, "\t{guard}sum += INFO(s->{path}, {question});")?;
        }
        if matches!(uses, Uses::Number | Uses::Pointer | Uses::Elements) {
            writeln!(
                body,
                "\tif (never()) {{ sum += (u64)s->{path}; s->{path} = (__typeof__(s->{path}))sum; }}"
            )?;
        }
        if uses == Uses::Bits {
            writeln!(body, "\tif (never()) sum += s->{path};")?;
        }
    }
    writeln!(body, "\t}}")?;
    about_type(&structure, body)
}

fn about_type(name: &str, body: &mut String) -> Result<()> {
    for kind in 0..3 {
        writeln!(body, "\tsum += TYPE_INFO({name}, {kind});")?;
    }
    for kind in 0..2 {
        writeln!(
            body,
            "\tsum += __builtin_btf_type_id(*({name} *)0, {kind});"
        )?;
    }
    Ok(())
}

/// The named members of a struct, those of anonymous structs and unions in it among them.
fn flatten(types: &dyn Types, id: TypeId, depth: usize, members: &mut Vec<Member>) {
    let Some((_, ty)) = types.resolve(id) else {
        return;
    };
    let count = ty.composite().map_or(0, |count| count.len);
    for member in (0..count).filter_map(|index| types.member(&ty, index)) {
        match types.text(member.name) {
            "" if depth < 8 => flatten(types, member.ty, depth + 1, members),
            "" => {}
            _ => members.push(member),
        }
    }
}

/// What can be done with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Uses {
    Number,
    Pointer,
    Bits,
    Whole,
    Elements,
}

/// A declaration that fits the member, or now and then does not.
fn declare(types: &dyn Types, member: &Member, field: &str, seed: usize) -> Option<(String, Uses)> {
    let (_, ty) = types.resolve(member.ty)?;
    if member.bitfield_size > 0 {
        let width = usize::from(member.bitfield_size).clamp(1, 32);
        // Another width now and then.
        let width = if seed.is_multiple_of(3) {
            width % 20 + 1
        } else {
            width
        };
        return Some((format!("unsigned :0; unsigned {field}:{width}"), Uses::Bits));
    }
    let number = |ty: &Ty| match ty.shape {
        Shape::Ptr(_) => Some("void *".to_string()),
        Shape::Int(int) => {
            let sign = if int.encoding & 1 != 0 {
                "signed"
            } else {
                "unsigned"
            };
            let other = if seed.is_multiple_of(5) {
                int.size % 8 + 1
            } else {
                int.size
            };
            let word = match other {
                1 => "char",
                2 | 3 => "short",
                4..=7 => "int",
                8 => "long",
                _ => return None,
            };
            Some(format!("{sign} {word} "))
        }
        Shape::Enum(_, Signedness::Signed | Signedness::Unsigned) => Some("int ".into()),
        _ => None,
    };
    match ty.shape {
        Shape::Struct(_) | Shape::Union(_) => {
            Some((format!("struct {{ int x; }} {field}"), Uses::Whole))
        }
        Shape::Array(array) if array.count >= 2 => {
            let (_, element) = types.resolve(array.element)?;
            let element = number(&element)?;
            Some((
                format!("{element}{field}[{}]", array.count.min(4)),
                Uses::Elements,
            ))
        }
        Shape::Ptr(_) => Some((format!("void *{field}"), Uses::Pointer)),
        _ => Some((format!("{}{field}", number(&ty)?), Uses::Number)),
    }
}
