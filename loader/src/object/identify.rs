//! What a file is that is no BPF object of the byte order and form that can be loaded: said before its ELF structure is
//! looked at, since each has another remedy.

use super::ObjectError;

/// `EM_BPF`.
const BPF: u16 = 247;

/// Machines whose objects land here by mistake (`EM_*`).
const MACHINES: &[(u16, &str)] = &[
    (3, "x86"),
    (8, "MIPS"),
    (20, "PowerPC"),
    (21, "64-bit PowerPC"),
    (22, "s390"),
    (40, "ARM"),
    (62, "x86-64"),
    (183, "AArch64"),
    (243, "RISC-V"),
    (258, "LoongArch"),
    (263, "sBPF (Solana)"),
];

/// Says what the file is, if it is no little-endian, relocatable object for BPF.
pub(super) fn refuse_others(bytes: &[u8]) -> Result<(), ObjectError> {
    let is = |offset, what: String, remedy: &str| {
        let cause = match remedy {
            "" => format!("this is {what}"),
            remedy => format!("this is {what}\n  try:  {remedy}"),
        };
        Err(ObjectError::at("file", offset, cause))
    };
    if bytes.starts_with(b"!<arch>\n") {
        let what = "an archive of objects (`ar`, or a Rust library)";
        return is(0, what.into(), "xdplb-ld -o OBJECT ARCHIVE");
    }
    if bytes.starts_with(b"!<thin>\n") {
        return is(0, "a thin archive, which only names objects".into(), "");
    }
    if bytes.starts_with(b"BC\xc0\xde") || bytes.starts_with(&[0xde, 0xc0, 0x17, 0x0b]) {
        let remedy = "llc -march=bpf -filetype=obj -o OBJECT BITCODE";
        return is(0, "LLVM bitcode, not an object yet".into(), remedy);
    }
    if bytes.starts_with(b"; ModuleID") || bytes.starts_with(b"source_filename") {
        let remedy = "llc -march=bpf -filetype=obj -o OBJECT TEXT";
        return is(0, "LLVM's text form, not an object yet".into(), remedy);
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return is(0, "a gzip file".into(), "gunzip it first");
    }
    // Everything else that has no ELF header is the ELF reader's to say.
    let Some(header) = bytes.first_chunk::<64>() else {
        return Ok(());
    };
    if !header.starts_with(b"\x7fELF") {
        return Ok(());
    }
    let (class, order) = (header[4], header[5]);
    let half = |at: usize| match order {
        2 => u16::from_be_bytes([header[at], header[at + 1]]),
        _ => u16::from_le_bytes([header[at], header[at + 1]]),
    };
    let (form, machine) = (half(16), half(18));
    let ours = machine == BPF || machine == 0;
    let machine = MACHINES
        .iter()
        .find(|(number, _)| *number == machine)
        .map_or_else(
            || format!("machine {machine}"),
            |(_, name)| (*name).to_string(),
        );
    let form = match form {
        1 => "an object",
        2 => "a program",
        3 => "a shared library or program",
        4 => "a core dump",
        _ => "an ELF file",
    };
    if !ours {
        let what = format!("{form} for {machine}, not one for BPF");
        return is(18, what, "clang -O2 -g -target bpf -c SOURCE.c -o OBJECT");
    }
    if order == 2 {
        let what = "a big-endian BPF object: only little-endian ones are loaded";
        return is(5, what.into(), "compile it with -target bpfel");
    }
    if class == 1 {
        return is(4, "a 32-bit BPF object, and BPF has 64 bits".into(), "");
    }
    if form != "an object" {
        let what = format!("{form} for BPF, and relocatable objects are loaded");
        return is(16, what, "link it with `ld -r`, or not at all");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn elf(class: u8, order: u8, form: u16, machine: u16) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..4].copy_from_slice(b"\x7fELF");
        (bytes[4], bytes[5]) = (class, order);
        let half = |value: u16| match order {
            2 => value.to_be_bytes(),
            _ => value.to_le_bytes(),
        };
        bytes[16..18].copy_from_slice(&half(form));
        bytes[18..20].copy_from_slice(&half(machine));
        bytes
    }

    fn check(bytes: &[u8], expect: &str) {
        let error = refuse_others(bytes).unwrap_err().to_string();
        assert_eq!(error, expect);
    }

    #[test]
    fn files_that_are_no_objects_are_named() {
        check(
            b"!<arch>\nx",
            "file+0x0: this is an archive of objects (`ar`, or a Rust library)\n  try:  xdplb-ld -o OBJECT ARCHIVE",
        );
        check(
            b"!<thin>\nx",
            "file+0x0: this is a thin archive, which only names objects",
        );
        check(
            b"BC\xc0\xde\x35",
            "file+0x0: this is LLVM bitcode, not an object yet\n  try:  llc -march=bpf -filetype=obj -o OBJECT BITCODE",
        );
        check(
            b"; ModuleID = 'x.c'",
            "file+0x0: this is LLVM's text form, not an object yet\n  try:  llc -march=bpf -filetype=obj -o OBJECT TEXT",
        );
        check(
            &[0x1f, 0x8b, 8],
            "file+0x0: this is a gzip file\n  try:  gunzip it first",
        );
        let clang = "clang -O2 -g -target bpf -c SOURCE.c -o OBJECT";
        check(
            &elf(2, 1, 1, 62),
            &format!("file+0x12: this is an object for x86-64, not one for BPF\n  try:  {clang}"),
        );
        check(
            &elf(2, 1, 3, 183),
            &format!(
                "file+0x12: this is a shared library or program for AArch64, not one for BPF\n  try:  {clang}"
            ),
        );
        check(
            &elf(2, 1, 1, 999),
            &format!(
                "file+0x12: this is an object for machine 999, not one for BPF\n  try:  {clang}"
            ),
        );
        check(
            &elf(2, 2, 1, 247),
            "file+0x5: this is a big-endian BPF object: only little-endian ones are loaded\n  try:  compile it with -target bpfel",
        );
        check(
            &elf(1, 1, 1, 247),
            "file+0x4: this is a 32-bit BPF object, and BPF has 64 bits",
        );
        check(
            &elf(2, 1, 3, 247),
            "file+0x10: this is a shared library or program for BPF, and relocatable objects are loaded\n  try:  link it with `ld -r`, or not at all",
        );
        assert_eq!(refuse_others(&elf(2, 1, 1, 247)), Ok(()));
        assert_eq!(refuse_others(&elf(2, 1, 1, 0)), Ok(()), "EM_NONE");
        assert_eq!(refuse_others(b"\x7fELF"), Ok(()), "the ELF reader says it");
    }
}
