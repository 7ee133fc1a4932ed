//! Programs, pins, ids, logs and missing privilege in the running kernel. Needs root; what is made lives as long as its
//! descriptors, and pins are removed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/make.rs"]
mod make;
mod support;

use std::os::unix::process::CommandExt;
use std::process::Command;

use make::{PACKET, PinDirectory, map, program, run};
use support::build::{self, exit, load8, load32, mov};
use support::need_root;
use xdplb_loader::kernel::{self, Btf, Feature, KernelError, Map, Program, TestRun};
use xdplb_loader::uapi::{MapType, ProgramType};

#[test]
fn ids_find_the_same_map_and_program() {
    need_root();
    let map = map("by_id", MapType::ARRAY, 1, 0).unwrap();
    let id = map.info().unwrap().id;
    assert!(kernel::map_ids().unwrap().contains(&id));
    let again = Map::from_id(id).unwrap();
    assert_eq!((again.name(), again.shape()), ("by_id", map.shape()));

    let pass = program("pass", "GPL", &[mov(0, 2), exit()]).unwrap();
    let info = pass.info().unwrap();
    assert!(kernel::program_ids().unwrap().contains(&info.id));
    assert_eq!(
        Program::from_id(info.id).unwrap().info().unwrap().tag,
        info.tag
    );
    assert_eq!(
        Map::from_id(u32::MAX).unwrap_err().to_string(),
        "open map 4294967295: no such file or directory (ENOENT)"
    );
}

#[test]
fn a_program_runs_on_bytes() {
    need_root();
    let pass = program("a name that is too long", "GPL", &[mov(0, 2), exit()]).unwrap();
    assert_eq!(run(&pass), 2);
    let info = pass.info().unwrap();
    assert_eq!(
        (info.name.as_str(), info.program_type),
        ("a_name_that_is_", ProgramType::XDP)
    );
    assert_eq!(info.xlated_len, 16);
    assert_eq!(pass.code().unwrap().xlated.len(), 16);
    let result = pass
        .test_run(&TestRun {
            data: &PACKET,
            context: None,
            repeat: 1000,
        })
        .unwrap();
    assert_eq!(result.data, PACKET);
    // 5.10 runs it on any number of bytes.
    if support::kernel_version() < (6, 1) {
        return;
    }
    assert_eq!(
        pass.test_run(&TestRun {
            data: &[0; 3],
            context: None,
            repeat: 1
        })
        .unwrap_err()
        .to_string(),
        "test run of program `a name that is too long`: the packet is shorter than an Ethernet header (EINVAL)"
    );
}

#[test]
fn a_rejected_program_shows_instruction_and_reason() {
    need_root();
    // r1 = ctx->data; r0 = *(u8 *)(r1 + 23): no check against data_end
    let error = program(
        "careless",
        "GPL",
        &[load32(1, 1, 0), load8(0, 1, 23), exit()],
    )
    .unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("load program `careless`: rejected by the verifier (EACCES)\n")
            && text.contains("\n  1: (71) r0 = *(u8 *)(r1 +23)"),
        "{text}"
    );
    assert!(
        text.contains("\n  invalid access to packet, off=23 size=1"),
        "{text}"
    );
    assert!(text.contains("--verifier-log shows it)"), "{text}");
    let KernelError::Rejected(rejection) = error else {
        panic!("a rejection")
    };
    assert!(
        rejection.log.contains("processed "),
        "the whole log is there"
    );
    assert_eq!(rejection.summary.insn, Some(1));
}

#[test]
fn a_log_longer_than_the_first_buffer_is_whole() {
    need_root();
    // A long straight program that ends badly: r0 is set, a packet byte is read unchecked at the end.
    let mut insns = vec![load32(1, 1, 0)];
    insns.extend(std::iter::repeat_n(mov(0, 1), 4000));
    insns.extend([load8(0, 1, 0), exit()]);
    let KernelError::Rejected(rejection) = program("long", "GPL", &insns).unwrap_err() else {
        panic!("a rejection")
    };
    assert!(
        rejection.log.len() > 64 * 1024,
        "{} bytes",
        rejection.log.len()
    );
    assert!(rejection.log.contains("0: (61)") && rejection.log.contains("4001: (71)"));
}

#[test]
fn bad_btf_is_explained() {
    need_root();
    let mut bytes = xdplb_linker::btf::Btf::new();
    bytes.add(
        "a<b>",
        xdplb_linker::btf::Kind::Struct(xdplb_linker::btf::Composite {
            size: 4,
            members: vec![],
        }),
    );
    let text = Btf::load(&bytes.encode()).unwrap_err().to_string();
    assert!(
        text.starts_with("load BTF: rejected by the kernel (EINVAL)\n"),
        "{text}"
    );
    assert!(text.contains("Invalid name"), "{text}");
}

#[test]
fn this_kernel_has_the_features_it_should() {
    need_root();
    for feature in Feature::ALL {
        // The oldest kernel the tests run on is 5.10, which has these.
        let old = [
            Feature::Btf,
            Feature::BtfFunc,
            Feature::BtfFuncGlobal,
            Feature::BtfDatasec,
            Feature::MmapableArray,
        ];
        if old.contains(&feature) {
            assert!(kernel::supports(feature), "{feature:?}");
        }
    }
}

#[test]
fn pins_keep_maps_and_programs() {
    need_root();
    let directory = PinDirectory::new("pins");
    let fs = &directory.0;
    let id = {
        let map = map("pinned", MapType::ARRAY, 1, 0).unwrap();
        fs.pin_map("a.map", &map).unwrap();
        fs.pin_program(
            "prog",
            &program("pass", "GPL", &[mov(0, 2), exit()]).unwrap(),
        )
        .unwrap();
        assert_eq!(
            fs.pin_map("a.map", &map).unwrap_err().to_string(),
            format!(
                "pin map `pinned` as {}: file exists (EEXIST)",
                fs.path("a.map").display()
            )
        );
        map.info().unwrap().id
    };
    assert_eq!(
        kernel::open_map(&fs.path("a.map"))
            .unwrap()
            .unwrap()
            .info()
            .unwrap()
            .id,
        id
    );
    assert_eq!(
        run(&kernel::open_program(&fs.path("prog")).unwrap().unwrap()),
        2
    );
    assert!(kernel::open_map(&fs.path("nothing")).unwrap().is_none());
    kernel::unpin(&fs.path("a.map")).unwrap();
    kernel::unpin(&fs.path("a.map")).unwrap();
}

#[test]
fn a_map_can_be_bound_to_a_program() {
    need_root();
    let pass = program("pass", "GPL", &[mov(0, 2), exit()]).unwrap();
    let map = map("metadata", MapType::ARRAY, 1, 0).unwrap();
    pass.bind_map(&map).unwrap();
    let id = map.info().unwrap().id;
    assert_eq!(
        pass.map_names().unwrap(),
        [(id, Some("metadata".to_string()))]
    );
    drop(map);
    assert!(
        kernel::map_ids().unwrap().contains(&id),
        "the program holds it"
    );
}

#[test]
fn a_test_run_gives_the_context_back() {
    need_root();
    if support::kernel_version() < (5, 18) {
        return;
    }
    // xdp_md: the packet is all of the data, nothing before it.
    let mut context = [0u8; 24];
    context[4..8].copy_from_slice(&64u32.to_ne_bytes());
    let pass = program("pass", "GPL", &[mov(0, 2), exit()]).unwrap();
    let result = pass
        .test_run(&TestRun {
            data: &PACKET,
            context: Some(&context),
            repeat: 1,
        })
        .unwrap();
    assert_eq!((result.return_value, result.context), (2, context.to_vec()));
}

#[test]
fn a_gpl_helper_needs_a_gpl_program() {
    need_root();
    // bpf_trace_printk is for GPL programs only.
    let insns = [mov(1, 0), mov(2, 0), build::helper(6), mov(0, 2), exit()];
    let text = program("secret", "Proprietary", &insns)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("cannot call GPL-restricted function from non-GPL compatible program"),
        "{text}"
    );
}

#[test]
fn missing_capabilities_are_named() {
    need_root();
    // This test again, as nobody: the child is the ignored test below. By its link in /proc, since
    // nobody may not be allowed to look into the folder that it lies in.
    let output = Command::new("/proc/self/exe")
        .args(["--exact", "as_nobody", "--ignored", "--nocapture"])
        .uid(65534)
        .gid(65534)
        .output()
        .expect("the test binary can be run by nobody");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
#[ignore = "run by missing_capabilities_are_named, without privilege"]
fn as_nobody() {
    assert_eq!(
        program("pass", "GPL", &[mov(0, 2), exit()])
            .unwrap_err()
            .to_string(),
        "load program `pass`: missing CAP_BPF, CAP_NET_ADMIN (EPERM)\n  have: none of these   need: cap_bpf, cap_net_admin"
    );
}
