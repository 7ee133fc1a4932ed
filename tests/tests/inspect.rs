//! The declarations of `inspect`, held against compilers: those of every object of the set and of the embedded program
//! compile, and each struct has the size, each member the place, that BTF says. Needs clang and rustc.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xdplb_linker::btf::{Btf, Kind, TypeId};
use xdplb_linker::elf::Object;
use xdplb_loader::inspect::{Declaration, Inspection, Language};
use xdplb_tests::files::Folder;
use xdplb_tests::{objects, run};

const LIMIT: Duration = Duration::from_secs(300);

/// Every object that can be read, with its name.
fn all() -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = vec![("built-in".to_owned(), xdplb_loader::PROGRAM.to_vec())];
    for (case, path) in objects::built()? {
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        if case.expect.refused.is_none() {
            found.push((case.name, bytes));
        }
    }
    Ok(found)
}

fn types(bytes: &[u8]) -> Option<Btf> {
    let object = Object::parse(bytes).ok()?;
    let (_, section) = object.section_named(".BTF")?;
    Btf::parse(section.data).ok()
}

/// The identifier behind `word` in a declaration.
fn named<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let start = text.find(word)? + word.len();
    let name = text.get(start..)?.split([' ', '{', ';']).next()?;
    (!name.is_empty()).then_some(name)
}

/// Members that are whole and have a name of their own: their names and bytes from the struct's start.
fn members(btf: &Btf, id: u32) -> Vec<(String, u32)> {
    let Some(Kind::Struct(c) | Kind::Union(c)) = btf.get(TypeId(id)).map(|ty| &ty.kind) else {
        return Vec::new();
    };
    let plain = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.len() > 2
            && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            && ![
                "type", "int", "for", "use", "mod", "ref", "char", "long", "bool",
            ]
            .contains(&name)
    };
    c.members
        .iter()
        .filter(|member| member.bitfield_size == 0 && plain(btf.name(member.name)))
        .map(|member| (btf.name(member.name).to_owned(), member.bit_offset / 8))
        .collect()
}

fn compile(folder: &Folder, name: &str, source: String, command: &mut Command) -> Result<()> {
    let file = folder.file(name, source)?;
    let mut owned = Command::new(command.get_program());
    owned.args(command.get_args()).arg(&file);
    let output = run::output(owned, LIMIT)?;
    let first: Vec<&str> = output.stderr.lines().take(12).collect();
    ensure!(output.code == Some(0), "{name}\n{}", first.join("\n"));
    Ok(())
}

/// The declarations in a language, and beside them what a compiler is to find true.
fn source(
    bytes: &[u8],
    language: Language,
    claim: impl Fn(&Declaration, &Btf) -> Option<String>,
) -> Result<(String, usize)> {
    let view = Inspection::of(bytes, language)?;
    let btf = types(bytes).unwrap_or_default();
    let mut text = String::new();
    let mut claims = 0;
    for declaration in &view.types.declarations {
        writeln!(text, "{}", declaration.text)?;
        if let Some(claim) = claim(declaration, &btf) {
            text += &claim;
            claims += 1;
        }
    }
    Ok((text, claims))
}

fn clang() -> Command {
    let mut clang = Command::new(objects::compiler(objects::Compiler::Clang));
    clang.args([
        "-target",
        "bpf",
        "-fsyntax-only",
        "-ffreestanding",
        "-w",
        "-x",
        "c",
    ]);
    clang
}

/// The size of a struct, and the places of its members.
fn c_claims(declaration: &Declaration, btf: &Btf) -> Option<String> {
    let (kind, size) = (declaration.kind, declaration.size?);
    if !matches!(kind, "struct" | "union") {
        return None;
    }
    let name = named(&declaration.text, &format!("{kind} "))?;
    let mut claims =
        format!("_Static_assert(sizeof({kind} {name}) == {size}, \"size of {name}\");\n");
    for (member, at) in members(btf, declaration.id) {
        claims += &format!(
            "_Static_assert(__builtin_offsetof({kind} {name}, {member}) == {at}, \"{name}.{member}\");\n"
        );
    }
    Some(claims)
}

#[test]
fn declarations_in_c_compile_and_lie_where_btf_says() -> Result<()> {
    let folder = Folder::new()?;
    let mut claimed = 0;
    for (name, bytes) in all()? {
        let (text, claims) = source(&bytes, Language::C, c_claims)?;
        compile(&folder, &format!("{name}.c"), text, &mut clang())?;
        claimed += claims;
    }
    ensure!(claimed > 150, "only {claimed} structs were looked at");
    Ok(())
}

#[test]
fn declarations_in_rust_compile_and_lie_where_btf_says() -> Result<()> {
    let folder = Folder::new()?;
    let mut claimed = 0;
    for (name, bytes) in all()? {
        let (text, claims) = source(&bytes, Language::Rust, |declaration, btf| {
            let (kind, size) = (declaration.kind, declaration.size?);
            if !matches!(kind, "struct" | "union") {
                return None;
            }
            let name = named(&declaration.text, &format!("pub {kind} "))?;
            let mut claims = format!("const _: () = assert!(size_of::<{name}>() == {size});\n");
            for (member, at) in members(btf, declaration.id) {
                claims += &format!(
                    "const _: () = assert!(core::mem::offset_of!({name}, {member}) == {at});\n"
                );
            }
            Some(claims)
        })?;
        let out = folder.path().join("out.rmeta");
        // The one that built this test: root has another PATH.
        let mut rustc = Command::new(Path::new(env!("CARGO")).with_file_name("rustc"));
        rustc.args(["--crate-type", "lib", "--edition", "2024", "-A", "warnings"]);
        rustc.args(["--emit", "metadata", "-o"]).arg(&out);
        let file = format!("{}.rs", name.replace(['.', '-'], "_"));
        compile(&folder, &file, text, &mut rustc)?;
        claimed += claims;
    }
    ensure!(claimed > 150, "only {claimed} structs were looked at");
    Ok(())
}

/// Every object of the set is explained, and what its header says of programs is found there.
#[test]
fn every_object_is_explained() -> Result<()> {
    for (case, path) in objects::built()? {
        let bytes = std::fs::read(&path)?;
        let view = match (Inspection::of(&bytes, Language::C), &case.expect.refused) {
            (Ok(view), _) => view,
            (Err(error), Some(expected)) => {
                ensure!(
                    error.to_string().contains(expected.as_str()),
                    "{}: {error}",
                    case.name
                );
                continue;
            }
            (Err(error), None) => return Err(error).context(case.name),
        };
        for program in &case.expect.programs {
            let found = view.programs.iter().find(|found| found.name == *program);
            ensure!(found.is_some(), "{}: no program {program}", case.name);
        }
        for code in &view.code {
            for insn in &code.instructions {
                ensure!(
                    !insn.text.starts_with("unknown"),
                    "{}: {} at {}: {}",
                    case.name,
                    code.section,
                    insn.at,
                    insn.text
                );
            }
        }
        for section in &view.sections {
            ensure!(
                !section.purpose.starts_with("not known"),
                "{}: section {} has no purpose",
                case.name,
                section.name
            );
        }
    }
    Ok(())
}

/// The kernel's own types: a hundred thousand of them, with all that C can do to a struct.
#[test]
fn the_kernels_types_compile_and_lie_where_btf_says() -> Result<()> {
    let path = "/sys/kernel/btf/vmlinux";
    let btf = Btf::parse(&std::fs::read(path).context(path)?)?;
    let folder = Folder::new()?;
    let mut text = String::new();
    let mut claims = 0;
    for declaration in xdplb_loader::inspect::declare_all(&btf, Language::C) {
        writeln!(text, "{}", declaration.text)?;
        let claim = c_claims(&declaration, &btf);
        claims += usize::from(claim.is_some());
        text += &claim.unwrap_or_default();
    }
    ensure!(claims > 5000, "only {claims} structs were looked at");
    compile(&folder, "vmlinux.c", text, &mut clang())
}
