//! The client: two threads that ask as fast as they are answered, and what the whole machine did meanwhile.
//!
//! Of our own, since turns are to be short: what else the machine does changes by the second, and only what is measured
//! within a fraction of one meets the same.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};

use super::net::Net;
use super::ways::BODY;

/// Connections at a time; half of them are each thread's.
pub const CONNECTIONS: usize = 32;
const THREADS: usize = 2;
/// How long a turn lasts.
const TURN: Duration = Duration::from_millis(200);
/// Events taken at a time.
const EVENTS: usize = CONNECTIONS / THREADS;

/// How connections are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// For all requests.
    Kept,
    /// Each for one: the server closes it with its answer.
    Once,
}

impl Use {
    fn request(self) -> &'static [u8] {
        match self {
            Use::Kept => b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n",
            Use::Once => b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n",
        }
    }
}

/// What a turn gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turn {
    /// Requests answered.
    pub requests: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// CPU time, in seconds, of all CPUs and everything that ran on them.
    pub cpu: f64,
}

impl Turn {
    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

/// One turn from the client to these addresses, a thread to each.
pub fn turn(net: &Net, kind: Use, to: &[SocketAddrV4]) -> Result<Turn> {
    ensure!(!to.is_empty(), "nowhere to send requests");
    net.client.netns.run(|| {
        let (before, begun) = (busy()?, Instant::now());
        let end = begun + TURN;
        let done: Result<Vec<u64>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| to[thread % to.len()])
                .map(|to| scope.spawn(move || ask_until(end, to, kind)))
                .collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined
                .map(|done| done.unwrap_or_else(|_| bail!("a client panicked")))
                .collect()
        });
        let seconds = begun.elapsed().as_secs_f64();
        let ticks = busy()?.saturating_sub(before) as f64;
        let requests = done?.iter().sum();
        ensure!(requests > 0, "no request was answered");
        Ok(Turn {
            requests,
            seconds,
            cpu: ticks / ticks_per_second()?,
        })
    })
}

/// How many requests one thread has answered until then.
fn ask_until(end: Instant, to: SocketAddrV4, kind: Use) -> Result<u64> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let open = |number: u64| -> Result<Connection> {
        let connection = Connection::open(to)?;
        // Writable is when it is connected.
        let event = EpollEvent::new(EpollFlags::EPOLLOUT, number);
        epoll.add(&connection.stream, event)?;
        Ok(connection)
    };
    let mut connections: Vec<Connection> = (0..)
        .take(CONNECTIONS / THREADS)
        .map(open)
        .collect::<Result<_>>()?;
    let mut events = [EpollEvent::empty(); EVENTS];
    let mut done = 0;
    while Instant::now() < end {
        let ready = match epoll.wait(&mut events, EpollTimeout::from(20u8)) {
            Err(Errno::EINTR) => continue,
            ready => ready?,
        };
        for event in &events[..ready] {
            let number = event.data();
            let connection = connections
                .get_mut(usize::try_from(number)?)
                .context("an event of no connection")?;
            if event.events().contains(EpollFlags::EPOLLOUT) {
                connection.send(kind)?;
                let mut event = EpollEvent::new(EpollFlags::EPOLLIN, number);
                epoll.modify(&connection.stream, &mut event)?;
                continue;
            }
            match connection.receive(kind)? {
                Received::Part => {}
                Received::Answer => {
                    done += 1;
                    match kind {
                        Use::Kept => connection.send(kind)?,
                        // The old one is closed by this.
                        Use::Once => *connection = open(number)?,
                    }
                }
            }
        }
    }
    Ok(done)
}

enum Received {
    Part,
    Answer,
}

/// A connection that waits for nothing, with what has come of an answer.
struct Connection {
    stream: TcpStream,
    answer: [u8; 1024],
    length: usize,
}

impl Connection {
    fn open(to: SocketAddrV4) -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
        match connect(socket.as_raw_fd(), &SockaddrIn::from(to)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(error) => return Err(error).with_context(|| format!("connect to {to}")),
        }
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            answer: [0; 1024],
            length: 0,
        })
    }

    fn send(&mut self, kind: Use) -> Result<()> {
        let request = kind.request();
        let sent = self.stream.write(request).context("send a request")?;
        ensure!(sent == request.len(), "a request was sent in part");
        Ok(())
    }

    /// Takes what has come. With [`Use::Once`] an answer is whole when the server has closed behind it.
    fn receive(&mut self, kind: Use) -> Result<Received> {
        loop {
            let read = match self.stream.read(&mut self.answer[self.length..]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Received::Part),
                read => read.context("read an answer")?,
            };
            self.length += read;
            let whole = is_answer(&self.answer[..self.length]);
            match (kind, whole, read) {
                (Use::Kept, true, _) | (Use::Once, true, 0) => {
                    self.length = 0;
                    return Ok(Received::Answer);
                }
                (_, _, 0) => bail!("closed in an answer, after {} bytes", self.length),
                (Use::Once, true, _) => {}
                (_, false, _) => return Ok(Received::Part),
            }
        }
    }
}

/// Whether these are all bytes of an answer.
fn is_answer(bytes: &[u8]) -> bool {
    let end = bytes.len().checked_sub(BODY + 4);
    bytes.starts_with(b"HTTP/1.1 200 ")
        && end.is_some_and(|end| bytes[end..].starts_with(b"\r\n\r\n"))
}

/// Ticks that the machine's CPUs have been busy. Work that the kernel does for a packet where it comes in is nobody's,
/// so only the whole machine's time has it all.
fn busy() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/stat").context("/proc/stat")?;
    parse_busy(&text).context("/proc/stat: no line `cpu`")
}

/// user, nice, system, then after idle and iowait irq and softirq (proc_stat(5)). Not steal: that was another machine's.
fn parse_busy(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let numbers: Vec<u64> = line
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    let busy = [0, 1, 2, 5, 6];
    busy.iter().map(|&index| numbers.get(index)).sum()
}

fn ticks_per_second() -> Result<f64> {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?;
    Ok(ticks.context("no CLK_TCK")? as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_body() {
        let head = "HTTP/1.1 200 OK\r\nX-Peer: 10.0.0.10\r\n\r\n";
        let answer = format!("{head}{}", "x".repeat(BODY));
        assert!(is_answer(answer.as_bytes()));
        for end in 0..answer.len() {
            assert!(!is_answer(&answer.as_bytes()[..end]), "{end}");
        }
        assert!(!is_answer(answer.replace("200", "500").as_bytes()));
    }

    #[test]
    fn busy_leaves_out_idle_and_steal() {
        let text = "cpu  1 20 300 4000 50000 600000 7000000 80000000 0 0\ncpu0 1 1 1 1\n";
        assert_eq!(parse_busy(text), Some(7_600_321));
        assert_eq!(parse_busy("intr 1\n"), None);
        assert_eq!(parse_busy("cpu  1 2\n"), None);
    }
}
