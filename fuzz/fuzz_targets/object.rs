//! Any bytes as an object: explained in both languages, read, asked for its needs, planned for a machine that is unknown and
//! for one whose kernel has the object's own types, so that CO-RE finds candidates.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xdplb_linker::elf::Object;
use xdplb_loader::inspect::{Inspection, Language};
use xdplb_loader::object::{KernelTypes, Spec, Target};

fuzz_target!(|bytes: &[u8]| {
    for language in [Language::C, Language::Rust] {
        if let Ok(mut view) = Inspection::of(bytes, language) {
            view.add_bytes(bytes);
        }
    }
    let Ok(spec) = Spec::parse(bytes) else {
        return;
    };
    let _ = spec.needs();
    let _ = spec.plan(&Target::default());
    let object = Object::parse(bytes);
    let btf = object
        .as_ref()
        .ok()
        .and_then(|object| object.section_named(".BTF"));
    let types = btf.and_then(|(_, section)| KernelTypes::parse(section.data.to_vec()).ok());
    let _ = spec.plan(&Target {
        types,
        ..Target::default()
    });
});
