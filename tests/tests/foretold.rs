//! What `--dry-run --kernel` foretells of other kernels, held against the object set, whose headers say since which release
//! each object loads; the kernel matrix (docs/kernels.md) holds the headers against those kernels themselves. Needs no root.

use std::fs;

use anyhow::{Result, ensure};
use xdplb_loader::kernel::Release;
use xdplb_loader::load;
use xdplb_loader::object::Spec;
use xdplb_tests::objects;

/// The kernels of the matrix: what the headers say is known for these.
const RELEASES: [(u32, u32); 4] = [(5, 10), (6, 1), (6, 12), (7, 3)];

#[test]
fn what_a_kernel_lacks_is_what_keeps_an_object_from_loading() -> Result<()> {
    let mut wrong = Vec::new();
    let mut lacking = 0;
    for (case, path) in objects::built()? {
        let Ok(spec) = Spec::parse(&fs::read(path)?) else {
            continue;
        };
        let plan = load::prepare_each(&spec, &mut ());
        let needs = load::needs(&spec, &plan);
        for (major, minor) in RELEASES {
            let release = Release::new(major, minor);
            let lacks = needs
                .iter()
                .filter(|need| need.since.is_some_and(|since| since > release));
            let lacks: Vec<&str> = lacks.map(|need| need.what.as_str()).collect();
            lacking += usize::from(!lacks.is_empty());
            if lacks.is_empty() != case.fits((major, minor)) {
                wrong.push(format!(
                    "{}: on {release} {}, and it lacks {lacks:?}",
                    case.name,
                    if case.fits((major, minor)) {
                        "it loads"
                    } else {
                        "it does not load"
                    }
                ));
            }
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} differences\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    ensure!(lacking > 20, "only {lacking} times was anything lacking");
    Ok(())
}
