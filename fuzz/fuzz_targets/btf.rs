//! Any bytes as BTF, as .BTF.ext and as a kernel's types; those of a whole object where the bytes are one. What can be read is
//! written as it was, and what was repaired stays as it is when repaired again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xdplb_linker::btf::{Btf, repair};
use xdplb_linker::btf_ext::BtfExt;
use xdplb_linker::elf::Object;
use xdplb_loader::object::KernelTypes;

fuzz_target!(|bytes: &[u8]| {
    match Object::parse(bytes) {
        Ok(object) => {
            for (_, section) in object.sections() {
                if section.name.starts_with(".BTF") {
                    read(section.data);
                }
            }
        }
        Err(_) => read(bytes),
    }
});

fn read(bytes: &[u8]) {
    let _ = BtfExt::parse(bytes);
    let _ = KernelTypes::parse(bytes.to_vec());
    let Ok(btf) = Btf::parse(bytes) else {
        return;
    };
    assert_eq!(Btf::parse(&btf.encode()).ok().as_ref(), Some(&btf));
    let repaired = repair(btf);
    assert_eq!(
        Btf::parse(&repaired.encode()).ok().as_ref(),
        Some(&repaired)
    );
    assert_eq!(repair(repaired.clone()), repaired);
}
