//! An HTTP client in a namespace: one kept-open connection, every answer compared byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::content;
use crate::netns::Netns;
use crate::server::read_line;

/// No step of a connection takes longer, or the test fails.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Who answered, and whom it saw.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Answer {
    /// The server's name.
    pub backend: String,
    /// The client's address and port as the server sees them.
    pub peer: SocketAddr,
}

/// What is special about a connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Its source address; port 0 for any.
    pub from: Option<SocketAddr>,
    /// Options of IP in every packet.
    pub ip_options: IpOptions,
}

/// Whether packets carry IP options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IpOptions {
    /// As nearly all packets.
    #[default]
    None,
    /// Those that do nothing: of IPv4 three no-operations and the end of the list (RFC 791), of IPv6 a header of
    /// destination options that is all padding (RFC 8200, section 4.6).
    Nops,
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects from inside `namespace`.
    pub fn open(namespace: &Netns, to: impl Into<SocketAddr>) -> Result<Self> {
        Self::open_with(namespace, to, Options::default())
    }

    /// Connects from a source address, any port.
    pub fn open_from(
        namespace: &Netns,
        to: impl Into<SocketAddr>,
        from: impl Into<IpAddr>,
    ) -> Result<Self> {
        let from = Some(SocketAddr::new(from.into(), 0));
        Self::open_with(
            namespace,
            to,
            Options {
                from,
                ..Options::default()
            },
        )
    }

    /// Connects.
    pub fn open_with(
        namespace: &Netns,
        to: impl Into<SocketAddr>,
        options: Options,
    ) -> Result<Self> {
        let to = to.into();
        let from = options
            .from
            .map_or(String::new(), |from| format!(" from {from}"));
        namespace
            .run(|| Self::connect(to, options))
            .with_context(|| format!("connect to {to}{from} in {}", namespace.name()))
    }

    /// Connects from the namespace that this thread is in.
    pub fn open_here(to: SocketAddr) -> Result<Self> {
        Self::connect(to, Options::default()).with_context(|| format!("connect to {to}"))
    }

    fn connect(to: SocketAddr, options: Options) -> Result<Self> {
        let socket = socket(
            match to {
                SocketAddr::V4(_) => AddressFamily::Inet,
                SocketAddr::V6(_) => AddressFamily::Inet6,
            },
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        // connect(2) heeds the send timeout, socket(7).
        let limit = TimeVal::seconds(LIMIT.as_secs().cast_signed());
        setsockopt(&socket, sockopt::SendTimeout, &limit)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &limit)?;
        setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
        if let Some(from) = options.from {
            setsockopt(&socket, sockopt::ReuseAddr, &true)?;
            bind(socket.as_raw_fd(), &SockaddrStorage::from(from))?;
        }
        if options.ip_options == IpOptions::Nops {
            set_ip_options(&socket, to)?;
        }
        connect(socket.as_raw_fd(), &SockaddrStorage::from(to))?;
        Ok(Self {
            stream: BufReader::with_capacity(1 << 16, TcpStream::from(socket)),
        })
    }

    /// Fetches a body of `length` bytes and compares it.
    pub fn get(&mut self, length: usize) -> Result<Answer> {
        self.exchange(format!("GET /{length}"), &[], length)
    }

    /// Sends a body of `length` bytes, gets it back and compares it.
    pub fn echo(&mut self, length: usize) -> Result<Answer> {
        let body = content::body(length);
        self.exchange("POST /".into(), &body, length)
    }

    fn exchange(&mut self, what: String, body: &[u8], length: usize) -> Result<Answer> {
        let mut out = self.stream.get_ref();
        let head = format!("{what} HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
        out.write_all(head.as_bytes())
            .and_then(|()| out.write_all(body))
            .with_context(|| format!("{what}: send the request"))?;
        self.read_answer(length)
            .with_context(|| format!("{what}: read the answer of {length} bytes"))
    }

    fn read_answer(&mut self, length: usize) -> Result<Answer> {
        let (mut backend, mut peer, mut announced) = (None, None, None);
        let status = read_line(&mut self.stream)?.context("closed without an answer")?;
        ensure!(status == "HTTP/1.1 200 OK", "status {status:?}");
        loop {
            let line = read_line(&mut self.stream)?.context("closed in the headers")?;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            match name {
                "X-Backend" => backend = Some(value.to_string()),
                "X-Peer" => peer = Some(value.parse()?),
                "Content-Length" => announced = Some(value.parse::<usize>()?),
                other => bail!("unexpected header {other}"),
            }
        }
        ensure!(announced == Some(length), "announced {announced:?}");
        let mut offset = 0;
        while offset < length {
            let found = self
                .stream
                .fill_buf()
                .with_context(|| format!("at byte {offset}"))?;
            ensure!(!found.is_empty(), "closed at byte {offset}");
            let found = &found[..found.len().min(length - offset)];
            if let Some(at) = content::first_difference(length, offset, found) {
                bail!("byte {at} is another");
            }
            let read = found.len();
            self.stream.consume(read);
            offset += read;
        }
        Ok(Answer {
            backend: backend.context("no X-Backend")?,
            peer: peer.context("no X-Peer")?,
        })
    }

    /// Says that nothing more comes and waits for the same from the server, so that the connection is gone
    /// from both ends when this returns.
    pub fn close(self) -> Result<()> {
        let mut stream = self.stream.into_inner();
        stream.shutdown(std::net::Shutdown::Write)?;
        let read = stream
            .read(&mut [0; 1])
            .context("wait for the server to close")?;
        ensure!(read == 0, "a byte after the last answer");
        Ok(())
    }
}

impl Connection {
    /// Ends it with a RST instead of a FIN: what closing does when the linger time is 0, socket(7).
    pub fn reset(self) -> Result<()> {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(self.stream.get_ref(), sockopt::Linger, &linger).context("set SO_LINGER")
    }
}

fn set_ip_options(socket: &OwnedFd, to: SocketAddr) -> Result<()> {
    let (level, name, options): (_, _, &[u8]) = match to {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_OPTIONS, &[1, 1, 1, 0]),
        // Next header, which the kernel fills in, no 8 bytes more, PadN with four zeros.
        SocketAddr::V6(_) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_DSTOPTS,
            &[0, 0, 1, 4, 0, 0, 0, 0],
        ),
    };
    // SAFETY: the pointer and the length are those of a live slice. nix has no name for either option.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            options.as_ptr().cast(),
            options.len() as libc::socklen_t,
        )
    };
    nix::errno::Errno::result(result)
        .map(drop)
        .context("set options of IP")
}
