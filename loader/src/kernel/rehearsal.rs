//! A rehearsal: the load path as it is, with the door to bpf(2) shut. Commands are told to the witness as always, but not
//! given; what would open something gets an empty file in memory in its place, so that descriptors are real and closed as
//! usual. It needs no privilege, and nothing happens in the kernel.
//!
//! What the path asks of the kernel is answered for a release of Linux: features by the release that brought them, types by a
//! judge that the caller brings along.

use std::cell::RefCell;
use std::os::fd::IntoRawFd;
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;

use super::Release;
use super::syscall::Command;

/// Whether the kernel of that release takes these bytes of BTF.
pub type TakesTypes = dyn Fn(&[u8]) -> bool;

#[derive(Clone)]
struct Rehearsal {
    release: Release,
    takes_types: Rc<TakesTypes>,
}

thread_local! {
    static REHEARSAL: RefCell<Option<Rehearsal>> = const { RefCell::new(None) };
}

/// Room for everything that is mapped of an arena (4 GiB at most); nothing of it is there until it is written.
const FILE_SIZE: i64 = 1 << 33;

/// Runs `path` with the door shut, for a kernel of this release.
pub fn rehearse<T>(
    release: Release,
    takes_types: impl Fn(&[u8]) -> bool + 'static,
    path: impl FnOnce() -> T,
) -> T {
    /// Opens the door again, also when the path panics.
    struct Opened(Option<Rehearsal>);
    impl Drop for Opened {
        fn drop(&mut self) {
            REHEARSAL.set(self.0.take());
        }
    }
    let outer = REHEARSAL.replace(Some(Rehearsal {
        release,
        takes_types: Rc::new(takes_types),
    }));
    let _opened = Opened(outer);
    path()
}

/// The release that is rehearsed for.
pub(super) fn release() -> Option<Release> {
    REHEARSAL.with_borrow(|rehearsal| Some(rehearsal.as_ref()?.release))
}

/// The answer to a command in a rehearsal; `None`: the command is to be given. `input` are the bytes that its first pointer
/// leads to.
pub(super) fn answer(command: Command, input: Option<&[u8]>) -> Option<Result<i32, Errno>> {
    let rehearsal = REHEARSAL.with_borrow(Clone::clone)?;
    Some(match command {
        Command::BtfLoad if !(rehearsal.takes_types)(input.unwrap_or_default()) => {
            Err(Errno::EINVAL)
        }
        Command::BtfLoad
        | Command::MapCreate
        | Command::ProgLoad
        | Command::ProgGetFdById
        | Command::MapGetFdById
        | Command::BtfGetFdById
        | Command::LinkCreate
        | Command::LinkGetFdById => placeholder(),
        // Nothing is pinned, listed or delegated in a rehearsal.
        Command::ObjGet
        | Command::ProgGetNextId
        | Command::MapGetNextId
        | Command::BtfGetNextId
        | Command::LinkGetNextId
        | Command::MapLookupElem
        | Command::MapGetNextKey
        | Command::MapLookupAndDeleteElem
        | Command::MapLookupBatch => Err(Errno::ENOENT),
        Command::ProgTestRun | Command::TokenCreate => Err(Errno::EPERM),
        Command::MapUpdateElem
        | Command::MapDeleteElem
        | Command::ObjPin
        | Command::ObjGetInfoByFd
        | Command::MapFreeze
        | Command::MapUpdateBatch
        | Command::LinkDetach
        | Command::ProgBindMap => Ok(0),
    })
}

fn placeholder() -> Result<i32, Errno> {
    let file = memfd_create(c"rehearsal", MFdFlags::MFD_CLOEXEC)?;
    ftruncate(&file, FILE_SIZE)?;
    Ok(file.into_raw_fd())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::{Feature, Map, MapDefinition, MapShape, Update, supports};
    use super::*;
    use crate::uapi::{MapType, map_flags};
    use crate::witness::{Listener, Said};

    fn array() -> MapDefinition<'static> {
        MapDefinition {
            name: "rehearsed",
            shape: MapShape {
                map_type: MapType::ARRAY,
                key_size: 4,
                value_size: 4,
                max_entries: 1,
                map_flags: 0,
                map_extra: 0,
            },
            ..MapDefinition::default()
        }
    }

    #[test]
    fn commands_are_told_but_not_given() {
        let listener = Listener::new();
        rehearse(
            Release::new(5, 10),
            |_| true,
            || {
                let map = Map::create(&array()).unwrap();
                map.update(&[0; 4], &[1; 4], Update::Any).unwrap();
            },
        );
        let commands: Vec<u32> = listener
            .take()
            .iter()
            .map(|said| match said {
                Said::Call(call) => call.command,
                _ => unreachable!("{said:?}"),
            })
            .collect();
        assert_eq!(commands, [0, 2]);
        assert!(release().is_none(), "the door is open again");
    }

    #[test]
    fn features_are_those_of_the_release() {
        let on = |release| rehearse(release, |_| true, || Feature::ALL.map(supports));
        let (old, new) = (on(Release::new(5, 10)), on(Release::new(6, 18)));
        let has = |answers: [bool; 13], feature| answers[feature as usize];
        assert!(has(old, Feature::BtfFuncGlobal) && !has(old, Feature::BtfFloat));
        assert!(!has(old, Feature::XdpFrags));
        assert_eq!(new, [true; 13]);
    }

    #[test]
    fn an_arenas_pages_can_be_written() {
        let mut definition = array();
        definition.shape = MapShape {
            map_type: MapType::ARENA,
            key_size: 0,
            value_size: 0,
            max_entries: 2,
            map_flags: map_flags::MMAPABLE,
            map_extra: 0,
        };
        rehearse(
            Release::new(6, 9),
            |_| true,
            || {
                let mut map = Map::create(&definition).unwrap();
                map.write_pages(4090, b"across").unwrap();
            },
        );
    }
}
