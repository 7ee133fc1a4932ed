//! The object that the loader embeds is the same wherever it was built: nothing in it names a folder of the machine.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use xdplb_linker::btf::Btf;
use xdplb_linker::btf_ext::BtfExt;
use xdplb_linker::elf::Object;
use xdplb_loader::PROGRAM;

#[test]
fn source_lines_name_files_from_the_workspace_on() {
    let object = Object::parse(PROGRAM).unwrap();
    let section = |name| object.section_named(name).unwrap().1.data;
    let btf = Btf::parse(section(".BTF")).unwrap();
    let lines = BtfExt::parse(section(".BTF.ext")).unwrap().line_info;
    let files: BTreeSet<&str> = lines
        .iter()
        .flat_map(|group| &group.records)
        .map(|line| btf.name(line.file_name))
        .collect();
    assert!(files.contains("prog/src/main.rs"), "{files:?}");
    for file in files {
        let known = ["prog/src/", "/rustc/library/"].map(|folder| file.starts_with(folder));
        assert!(known.contains(&true), "{file}");
    }
}

#[test]
fn no_path_of_the_machine_is_in_it() {
    let workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = workspace.parent().unwrap().to_str().unwrap().as_bytes();
    assert!(
        !PROGRAM
            .windows(workspace.len())
            .any(|text| text == workspace)
    );
}
