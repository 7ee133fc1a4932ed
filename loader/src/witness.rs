//! What is said to the kernel, for whoever listens: every bpf(2) command and every netlink message of this thread, as it is
//! made, told by the two doors themselves (`kernel::syscall`, `netlink::socket`). Nobody else reports, and nothing is told
//! twice, so that what was heard is what happened.
//!
//! While nobody listens a door asks one thread-local flag and copies nothing.

use std::cell::{Cell, RefCell};
use std::time::Duration;

/// One thing that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A bpf(2) command and its answer.
    Call(Call),
    /// A netlink datagram.
    Datagram(Datagram),
    /// The end of a question to the kernel that took the calls before it with the same `purpose`.
    Asked {
        /// What was asked.
        question: &'static str,
        /// The answer.
        answer: bool,
    },
}

/// A bpf(2) command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `enum bpf_cmd`.
    pub command: u32,
    /// The block of arguments as it was passed: as many bytes as the size that was passed with it.
    pub attr: Vec<u8>,
    /// The block as the kernel left it.
    pub attr_after: Vec<u8>,
    /// The fields that were written, those with the value 0 too.
    pub written: Vec<Written>,
    /// What pointers in the block lead to.
    pub pointed: Vec<Pointed>,
    /// A descriptor or 0, or an errno.
    pub result: Result<i32, i32>,
    /// How long the kernel took.
    pub elapsed: Duration,
    /// The question to the kernel that it is part of: a probe.
    pub purpose: Option<&'static str>,
}

/// A field that the loader wrote into a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The header's name for it.
    pub name: &'static str,
    /// Bytes from the block's start.
    pub offset: usize,
    /// Its bytes.
    pub width: usize,
}

/// Bytes outside of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointed {
    /// Where in the block the pointer stands.
    pub offset: usize,
    /// Who writes them.
    pub direction: Direction,
    /// How many there are.
    pub len: usize,
    /// The first of them, at most [`KEPT`]; of a log, up to its end.
    pub bytes: Vec<u8>,
}

/// Who writes the bytes behind a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The loader, for the kernel to read.
    In,
    /// The kernel.
    Out,
}

/// A netlink datagram, of one message or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub sender: Sender,
    /// What the exchange is for.
    pub what: String,
    /// How many bytes there are.
    pub len: usize,
    /// The first of them, at most [`KEPT`].
    pub bytes: Vec<u8>,
}

/// Who sent a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The loader.
    Loader,
    /// The kernel.
    Kernel,
}

/// How many bytes behind one pointer, or of one datagram, are copied: all that a load has, but for the tables of large
/// configurations.
pub const KEPT: usize = 1 << 20;

thread_local! {
    static HEARD: RefCell<Option<Vec<Said>>> = const { RefCell::new(None) };
    static PURPOSE: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Somebody who listens to this thread, until dropped. One at a time: a second one hears instead of the first.
#[derive(Debug)]
pub struct Listener {
    /// What is heard belongs to one thread.
    here: std::marker::PhantomData<*const ()>,
}

impl Listener {
    /// Begins to listen.
    pub fn new() -> Self {
        HEARD.set(Some(Vec::new()));
        Listener {
            here: std::marker::PhantomData,
        }
    }

    /// What was said since the last time, in order.
    pub fn take(&self) -> Vec<Said> {
        HEARD.with_borrow_mut(|heard| heard.as_mut().map(std::mem::take).unwrap_or_default())
    }
}

impl Default for Listener {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        HEARD.set(None);
    }
}

/// Whether somebody listens to this thread.
pub fn listening() -> bool {
    HEARD.with_borrow(Option::is_some)
}

/// Tells the listener, if there is one; `said` is not even made when there is none.
pub(crate) fn tell(said: impl FnOnce() -> Said) {
    if listening() {
        let said = said();
        HEARD.with_borrow_mut(|heard| {
            if let Some(heard) = heard {
                heard.push(said);
            }
        });
    }
}

/// Runs what is asked for this purpose: its calls are told with it.
pub(crate) fn on_behalf<T>(purpose: &'static str, ask: impl FnOnce() -> T) -> T {
    let outer = PURPOSE.replace(Some(purpose));
    let answer = ask();
    PURPOSE.set(outer);
    answer
}

/// Runs a question to the kernel: its calls are told as part of it, then its answer.
pub(crate) fn asking(question: &'static str, ask: impl FnOnce() -> bool) -> bool {
    let answer = on_behalf(question, ask);
    tell(|| Said::Asked { question, answer });
    answer
}

/// The question that is being asked.
pub(crate) fn purpose() -> Option<&'static str> {
    PURPOSE.get()
}

/// A copy of the first [`KEPT`] bytes.
pub(crate) fn kept(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(KEPT)].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_made_while_nobody_listens() {
        tell(|| unreachable!("nobody listens"));
        assert!(asking("a question", || true));
        let listener = Listener::new();
        assert!(listening());
        assert_eq!(listener.take(), [], "what came before was not kept");
        drop(listener);
        assert!(!listening());
        tell(|| unreachable!("nobody listens any more"));
    }

    #[test]
    fn a_question_is_told_with_its_answer() {
        let listener = Listener::new();
        let answer = asking("has the kernel X?", || {
            assert_eq!(purpose(), Some("has the kernel X?"));
            false
        });
        assert!(!answer && purpose().is_none());
        let said = Said::Asked {
            question: "has the kernel X?",
            answer: false,
        };
        assert_eq!(listener.take(), [said]);
        assert_eq!(listener.take(), [], "each thing is heard once");
    }

    #[test]
    fn another_thread_is_not_heard() {
        let listener = Listener::new();
        let spoke = std::thread::spawn(|| tell(|| unreachable!("it listens to itself"))).join();
        assert!(spoke.is_ok());
        assert_eq!(listener.take(), []);
    }
}
