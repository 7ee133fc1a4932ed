//! Any bytes as inputs of a link: as one file, and cut in two. What links can be linked again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xdplb_linker::link::{self, Input, Options};

fuzz_target!(|bytes: &[u8]| {
    let options = Options::default();
    if let Ok(output) = link::link(&[input("one.o", bytes)], &options) {
        let _ = link::link(&[input("linked.o", &output.bytes)], &options);
    }
    if let Some((cut, rest)) = bytes.split_first() {
        let (first, second) = rest.split_at(rest.len() * usize::from(*cut) / 256);
        let _ = link::link(
            &[input("first.o", first), input("second.o", second)],
            &options,
        );
    }
});

fn input<'a>(name: &'a str, bytes: &'a [u8]) -> Input<'a> {
    Input { name, bytes }
}
