//! The one unsafe door to bpf(2), and `Attr`, the block of arguments that goes through it.
//!
//! `union bpf_attr` (include/uapi/linux/bpf.h) is handled as bytes: each command's fields are written at their offsets into
//! a zeroed block, which ends after the last one that isn't zero. The kernel answers EINVAL to a nonzero byte past the
//! command's last field and E2BIG to a nonzero tail it doesn't know (`bpf_check_uarg_tail_zero`): what is not used is not
//! set, so that a field of Linux 6.9 costs a program nothing on 5.10.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::rehearsal;
use crate::witness::{self, Call, Direction, Pointed, Said, Written};

/// `enum bpf_cmd`: the commands this loader gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[allow(missing_docs)]
pub(super) enum Command {
    MapCreate = 0,
    MapLookupElem = 1,
    MapUpdateElem = 2,
    MapDeleteElem = 3,
    MapGetNextKey = 4,
    ProgLoad = 5,
    ObjPin = 6,
    ObjGet = 7,
    ProgTestRun = 10,
    ProgGetNextId = 11,
    MapGetNextId = 12,
    ProgGetFdById = 13,
    MapGetFdById = 14,
    ObjGetInfoByFd = 15,
    BtfLoad = 18,
    BtfGetFdById = 19,
    MapLookupAndDeleteElem = 21,
    MapFreeze = 22,
    BtfGetNextId = 23,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    LinkCreate = 28,
    LinkGetFdById = 30,
    LinkGetNextId = 31,
    LinkDetach = 34,
    ProgBindMap = 35,
    TokenCreate = 36,
}

/// The largest block any of our commands needs (PROG_LOAD up to `fd_array_cnt`).
pub(super) const MAX_SIZE: usize = 152;

/// One argument block. Pointers in it come only from slices borrowed for `'a`, so that they stay valid for as long as the
/// block can be passed to the kernel.
pub(super) struct Attr<'a> {
    bytes: [u8; MAX_SIZE],
    size: usize,
    /// What was written, for people: name, offset and width of each field.
    fields: Vec<Written>,
    /// What the pointers in it lead to.
    pointers: Vec<Pointer<'a>>,
    borrows: PhantomData<&'a mut [u8]>,
}

/// Bytes that a field points to. The block holds their borrow, so they are there for as long as it is.
struct Pointer<'a> {
    offset: usize,
    to: To<'a>,
}

enum To<'a> {
    /// The kernel reads them.
    Input(&'a [u8]),
    /// The kernel writes them, so that no reference to them is kept.
    Output(*const u8, usize),
}

impl<'a> Attr<'a> {
    /// A zeroed block of at least `size` bytes: the fields that the kernel fills in, and those that every kernel has. It
    /// grows with each field that is set to something.
    pub(super) fn new(size: usize) -> Self {
        debug_assert!(size <= MAX_SIZE);
        Attr {
            bytes: [0; MAX_SIZE],
            size: size.min(MAX_SIZE),
            fields: Vec::with_capacity(16),
            pointers: Vec::with_capacity(4),
            borrows: PhantomData,
        }
    }

    fn put(&mut self, name: &'static str, offset: usize, value: &[u8]) -> &mut Self {
        let end = offset + value.len();
        debug_assert!(end <= MAX_SIZE, "{name} lies inside the block");
        if let Some(place) = self.bytes.get_mut(offset..end) {
            place.copy_from_slice(value);
            self.fields.push(Written {
                name,
                offset,
                width: value.len(),
            });
            if value.iter().any(|&byte| byte != 0) {
                self.size = self.size.max(end);
            }
        }
        self
    }

    /// Lets the block reach to `size`, so that the kernel fills in a field there.
    pub(super) fn up_to(&mut self, size: usize) -> &mut Self {
        debug_assert!(size <= MAX_SIZE);
        self.size = self.size.max(size.min(MAX_SIZE));
        self
    }

    /// Writes a 32-bit field.
    pub(super) fn u32(&mut self, name: &'static str, offset: usize, value: u32) -> &mut Self {
        self.put(name, offset, &value.to_ne_bytes())
    }

    /// Writes a 64-bit field.
    pub(super) fn u64(&mut self, name: &'static str, offset: usize, value: u64) -> &mut Self {
        self.put(name, offset, &value.to_ne_bytes())
    }

    /// Writes a descriptor number; the caller keeps the descriptor open for the call.
    pub(super) fn fd(
        &mut self,
        name: &'static str,
        offset: usize,
        fd: std::os::fd::BorrowedFd<'a>,
    ) -> &mut Self {
        use std::os::fd::AsRawFd;
        self.put(name, offset, &fd.as_raw_fd().to_ne_bytes())
    }

    /// Writes an object name into its 16 bytes, cleaned and cut to 15 (see [`super::object_name`]).
    pub(super) fn name(&mut self, name: &'static str, offset: usize, value: &str) -> &mut Self {
        let mut text = [0u8; crate::uapi::OBJ_NAME_LEN];
        let clean = super::object_name(value);
        text[..clean.len()].copy_from_slice(clean.as_bytes());
        self.put(name, offset, &text)
    }

    /// Writes the address of bytes that the kernel reads. Its length goes into a field of its own.
    pub(super) fn input(
        &mut self,
        name: &'static str,
        offset: usize,
        bytes: &'a [u8],
    ) -> &mut Self {
        // No bytes are no address: the kernel wants the key of a queue to be NULL, for instance.
        let address = if bytes.is_empty() {
            0
        } else {
            bytes.as_ptr().expose_provenance()
        };
        self.points(offset, To::Input(bytes));
        self.u64(name, offset, address as u64)
    }

    /// Writes the address of bytes that the kernel fills. Its length goes into a field of its own.
    pub(super) fn output(
        &mut self,
        name: &'static str,
        offset: usize,
        bytes: &'a mut [u8],
    ) -> &mut Self {
        let address = if bytes.is_empty() {
            0
        } else {
            bytes.as_mut_ptr().expose_provenance()
        };
        self.points(offset, To::Output(bytes.as_ptr(), bytes.len()));
        self.u64(name, offset, address as u64)
    }

    /// A field that is written again points to something else.
    fn points(&mut self, offset: usize, to: To<'a>) {
        self.pointers.retain(|pointer| pointer.offset != offset);
        self.pointers.push(Pointer { offset, to });
    }

    /// A 32-bit field as the kernel left it.
    pub(super) fn get(&self, offset: usize) -> u32 {
        let mut value = [0u8; 4];
        if let Some(bytes) = self.bytes.get(offset..offset + 4) {
            value.copy_from_slice(bytes);
        }
        u32::from_ne_bytes(value)
    }
}

impl fmt::Debug for Attr<'_> {
    /// One `offset name = value` for each field that was written, and the block's size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &Written {
            name,
            offset,
            width,
        } in &self.fields
        {
            let bytes = &self.bytes[offset..offset + width];
            match *bytes {
                [a, b, c, d] => writeln!(
                    f,
                    "{offset:3} {name} = {}",
                    u32::from_ne_bytes([a, b, c, d])
                )?,
                [..] if width == 8 => writeln!(f, "{offset:3} {name} = {bytes:02x?}")?,
                [..] => writeln!(f, "{offset:3} {name} = {:?}", super::name_from_bytes(bytes))?,
            }
        }
        write!(f, "{:3} end", self.size)
    }
}

/// Gives one command to the kernel; the answer is a descriptor number or 0.
///
/// What makes this safe to call: `Attr` holds addresses of live slices only, and each command in this module writes the
/// length of a slice beside its address, or checks the slice against the size that the kernel uses instead (a map's key and
/// value size).
pub(super) fn bpf(command: Command, attr: &mut Attr<'_>) -> Result<i32, Errno> {
    let input = attr.pointers.iter().find_map(|pointer| match pointer.to {
        To::Input(bytes) => Some(bytes),
        To::Output(..) => None,
    });
    if let Some(answer) = rehearsal::answer(command, input) {
        let before = attr.bytes[..attr.size].to_vec();
        let told = match answer {
            Ok(fd) => Ok(fd.into()),
            Err(errno) => Err(errno as i32),
        };
        tell(command, attr, before, told, Duration::ZERO);
        return answer;
    }
    let before = witness::listening().then(|| (attr.bytes[..attr.size].to_vec(), Instant::now()));
    // SAFETY: `attr.bytes` is a live block of at least `attr.size` bytes; the addresses inside point to slices borrowed for
    // the lifetime of `attr`, mutable ones where the kernel writes; see above for their lengths.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            attr.bytes.as_mut_ptr(),
            attr.size,
        )
    };
    let result = match answer {
        0.. => Ok(answer),
        _ => Err(Errno::last_raw()),
    };
    if let Some((before, started)) = before {
        let elapsed = started.elapsed();
        tell(command, attr, before, result, elapsed);
    }
    // The kernel's internal ENOTSUPP (include/linux/errno.h) reaches user space here and there; it has no name there.
    const ENOTSUPP: i32 = 524;
    match result {
        Ok(answer) => i32::try_from(answer).map_err(|_| Errno::EOVERFLOW),
        Err(ENOTSUPP) => Err(Errno::EOPNOTSUPP),
        Err(errno) => Err(Errno::from_raw(errno)),
    }
}

/// Tells the witness about a command that was given.
fn tell(
    command: Command,
    attr: &Attr<'_>,
    before: Vec<u8>,
    result: Result<libc::c_long, i32>,
    elapsed: Duration,
) {
    let pointed = |pointer: &Pointer<'_>| {
        let (direction, len, bytes) = match pointer.to {
            To::Input(bytes) => (Direction::In, bytes.len(), witness::kept(bytes)),
            To::Output(start, len) => {
                // SAFETY: the bytes are borrowed, mutably, for as long as `attr` lives, and initialised; the kernel is done
                // with them, and this reference is gone before anybody else gets to use them.
                let bytes = unsafe { std::slice::from_raw_parts(start, len) };
                let end = match IS_TEXT.contains(&(command as i32, pointer.offset)) {
                    true => bytes.iter().position(|&b| b == 0).unwrap_or(len),
                    false => len,
                };
                (Direction::Out, len, witness::kept(&bytes[..end]))
            }
        };
        Pointed {
            offset: pointer.offset,
            direction,
            len,
            bytes,
        }
    };
    witness::tell(|| {
        Said::Call(Call {
            command: command as u32,
            attr_after: attr.bytes[..before.len()].to_vec(),
            attr: before,
            written: attr.fields.clone(),
            pointed: attr
                .pointers
                .iter()
                .filter(|pointer| pointer.to.len() > 0)
                .map(pointed)
                .collect(),
            result: result.map(|answer| answer as i32),
            elapsed,
            purpose: witness::purpose(),
        })
    });
}

impl To<'_> {
    fn len(&self) -> usize {
        match *self {
            To::Input(bytes) => bytes.len(),
            To::Output(_, len) => len,
        }
    }
}

/// The pointers to logs (command, offset): large buffers of which the text alone is worth a copy.
const IS_TEXT: [(i32, usize); 2] = [(Command::ProgLoad as i32, 32), (Command::BtfLoad as i32, 8)];

/// Gives a command whose answer is a new descriptor (the kernel opens it close-on-exec).
pub(super) fn bpf_fd(command: Command, attr: &mut Attr<'_>) -> Result<OwnedFd, Errno> {
    let fd = bpf(command, attr)?;
    // SAFETY: the kernel has just opened this descriptor for us; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_placed_and_told() {
        let mut attr = Attr::new(16);
        attr.u32("map_type", 0, 2).u64("flags", 8, 1);
        assert_eq!(attr.get(0), 2);
        assert_eq!(
            format!("{attr:?}"),
            "  0 map_type = 2\n  8 flags = [01, 00, 00, 00, 00, 00, 00, 00]\n 16 end"
        );
        assert!(
            attr.bytes[16..].iter().all(|&b| b == 0),
            "the tail stays zero"
        );
        attr.u64("fd_array", 120, 0);
        assert_eq!(attr.size, 16, "nothing is no reason to grow");
        attr.u32("prog_token_fd", 144, 5);
        assert_eq!(attr.size, 148);
    }

    #[test]
    fn a_command_the_kernel_does_not_know_is_an_error() {
        // BTF id 0xffff_fff0 does not exist; without the privilege to ask it is EPERM.
        let mut attr = Attr::new(12);
        attr.u32("btf_id", 0, 0xffff_fff0);
        assert!(matches!(
            bpf_fd(Command::BtfGetFdById, &mut attr),
            Err(Errno::ENOENT | Errno::EPERM)
        ));
    }
}
