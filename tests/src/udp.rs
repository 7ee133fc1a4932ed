//! Datagrams: a server that echoes them or says who it is, and a client that compares.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::client::{Answer, LIMIT};
use crate::content;
use crate::netns::Netns;

/// The datagram that asks who is there. Everything else is sent back as it came.
const WHO: &[u8] = b"who?";
/// How long a datagram is waited for before it is sent again.
const PATIENCE: Duration = Duration::from_millis(500);

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct UdpServer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpServer {
    /// Starts one that answers under its namespace's name.
    pub fn start(namespace: &Netns, address: impl Into<SocketAddr>) -> Result<Self> {
        let (name, address) = (namespace.name().to_string(), address.into());
        let socket = namespace.run(|| {
            UdpSocket::bind(address).with_context(|| format!("bind {address}/udp in {name}"))
        })?;
        // A stop is noticed after this long.
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while !stopped.load(Ordering::Relaxed) {
                // What is sent back and cannot be, is missed by the client.
                let Ok((length, peer)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let _ = match &buffer[..length] {
                    WHO => socket.send_to(format!("{name} {peer}").as_bytes(), peer),
                    bytes => socket.send_to(bytes, peer),
                };
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A socket that speaks to one address.
#[derive(Debug)]
pub struct UdpClient {
    socket: UdpSocket,
    to: SocketAddr,
}

impl UdpClient {
    /// Opens one in `namespace`.
    pub fn open(namespace: &Netns, to: impl Into<SocketAddr>) -> Result<Self> {
        let to = to.into();
        let any: SocketAddr = match to {
            SocketAddr::V4(_) => ([0; 4], 0).into(),
            SocketAddr::V6(_) => ([0; 16], 0).into(),
        };
        let socket = namespace.run(|| {
            let socket = UdpSocket::bind(any)?;
            socket.connect(to)?;
            Ok(socket)
        })?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, to })
    }

    /// From now on its datagrams carry no checksum, as IPv4 allows (RFC 768).
    pub fn without_checksums(self) -> Result<Self> {
        let on: libc::c_int = 1;
        // SAFETY: the pointer and the length are those of a live number. nix has no name for SO_NO_CHECK.
        let result = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_NO_CHECK,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            )
        };
        nix::errno::Errno::result(result).context("set SO_NO_CHECK")?;
        Ok(self)
    }

    /// The socket itself.
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Asks who is there, and whom it sees.
    pub fn who(&self) -> Result<Answer> {
        let text = String::from_utf8(self.exchange(WHO)?)?;
        let (backend, peer) = text
            .split_once(' ')
            .with_context(|| format!("{}: not an answer: {text:?}", self.to))?;
        Ok(Answer {
            backend: backend.into(),
            peer: peer.parse()?,
        })
    }

    /// Sends a datagram of `length` bytes, gets it back and compares it.
    pub fn echo(&self, length: usize) -> Result<()> {
        let body = content::body(length);
        let answer = self.exchange(&body)?;
        let (sent, got) = (body.len(), answer.len());
        ensure!(sent == got, "{}: {got} bytes, not {sent}", self.to);
        if let Some(at) = content::first_difference(length, 0, &answer) {
            bail!("{}: of {length} bytes the one at {at} is another", self.to);
        }
        Ok(())
    }

    /// Sends a datagram until an answer comes: a network may lose one, and a first one may wait for a neighbour.
    fn exchange(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let end = Instant::now() + LIMIT;
        let mut buffer = vec![0; 1 << 16];
        while Instant::now() < end {
            self.socket
                .send(bytes)
                .with_context(|| format!("send {} bytes to {}", bytes.len(), self.to))?;
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    buffer.truncate(length);
                    return Ok(buffer);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("receive from {}", self.to));
                }
            }
        }
        bail!("{}: no answer to {} bytes", self.to, bytes.len());
    }
}
