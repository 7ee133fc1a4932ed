//! A small HTTP/1.1 server in a backend's namespace.
//!
//! `GET /N` answers with the N bytes of [`content`], `POST /` with what was sent. Every answer says which
//! server gave it (`X-Backend`) and whom that server saw at the other end (`X-Peer`). Connections are kept
//! open. Headers and body are written apart, so that the body's segments hold nothing else.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::content;
use crate::netns::Netns;

/// Connections at a time; each has a thread.
const MOST: usize = 2000;
/// Enough for such a thread, and little for so many of them.
const STACK: usize = 128 << 10;
/// The longest body to echo.
const LONGEST: usize = 1 << 20;
/// The longest silence: a test keeps a connection idle for a minute.
const PATIENCE: Duration = Duration::from_secs(120);

/// The open connections, each under a number of its own.
type Open = Arc<Mutex<HashMap<u64, TcpStream>>>;

/// A running server. Dropping it ends it, with all its connections.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    open: Open,
    accepted: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts one that answers under its namespace's name.
    pub fn start(namespace: &Netns, address: impl Into<SocketAddr>) -> Result<Self> {
        let address = address.into();
        let name = namespace.name().to_string();
        let listener = namespace.run(|| {
            TcpListener::bind(address).with_context(|| format!("listen on {address} in {name}"))
        })?;
        let open = Open::default();
        let accepted = Arc::<AtomicU64>::default();
        let (accepting, list) = (listener.try_clone()?, Arc::clone(&open));
        let count = Arc::clone(&accepted);
        let thread = std::thread::spawn(move || accept(&accepting, &list, &count, &name));
        Ok(Self {
            listener,
            open,
            accepted,
            thread: Some(thread),
        })
    }

    /// Connections taken so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: a system call on a descriptor that is ours. On a listening socket it wakes accept(2).
        unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RDWR) };
        for stream in lock(&self.open).values() {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(open: &Open) -> MutexGuard<'_, HashMap<u64, TcpStream>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes connections until the listener is shut down.
fn accept(listener: &TcpListener, open: &Open, accepted: &AtomicU64, name: &str) {
    for (number, stream) in (0..).zip(listener.incoming()) {
        let Ok(stream) = stream else { return };
        accepted.fetch_add(1, Ordering::Relaxed);
        let Ok(copy) = stream.try_clone() else { return };
        if lock(open).len() >= MOST {
            continue; // dropped, which resets it: the client will say so
        }
        lock(open).insert(number, copy);
        let (list, name) = (Arc::clone(open), name.to_string());
        let thread = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || {
                // An error is the client's to report.
                let _ = serve(&stream, &name);
                let _ = stream.shutdown(Shutdown::Both);
                lock(&list).remove(&number);
            });
        if thread.is_err() {
            lock(open).remove(&number);
        }
    }
}

/// Answers the requests of one connection.
fn serve(stream: &TcpStream, name: &str) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let peer = stream.peer_addr()?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        let length = match &request {
            Request::Get(length) => *length,
            Request::Echo(body) => body.len(),
        };
        let mut out = stream;
        // One write, one segment: `write!` to the socket would send each piece by itself.
        let head = format!(
            "HTTP/1.1 200 OK\r\nX-Backend: {name}\r\nX-Peer: {peer}\r\nContent-Length: {length}\r\n\r\n"
        );
        out.write_all(head.as_bytes())?;
        match request {
            Request::Echo(body) => out.write_all(&body)?,
            Request::Get(length) => {
                for offset in (0..length).step_by(1 << 16) {
                    out.write_all(&content::part(
                        length,
                        offset,
                        (length - offset).min(1 << 16),
                    ))?;
                }
            }
        }
    }
    Ok(())
}

enum Request {
    Get(usize),
    Echo(Vec<u8>),
}

/// The next request; None when the client has closed.
fn read_request(reader: &mut impl BufRead) -> Result<Option<Request>> {
    let mut length = 0;
    let Some(first) = read_line(reader)? else {
        return Ok(None);
    };
    loop {
        let line = read_line(reader)?.context("the headers end early")?;
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    if let Some(target) = first.strip_prefix("GET /") {
        let number = target.split(' ').next().unwrap_or_default();
        return Ok(Some(Request::Get(number.parse()?)));
    }
    if !first.starts_with("POST ") || length > LONGEST {
        bail!("not a request for this server: {first}");
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request::Echo(body)))
}

/// A line of at most 1,000 bytes without its end; None at the end of the stream.
pub fn read_line(reader: &mut impl BufRead) -> Result<Option<String>> {
    let mut line = Vec::new();
    reader.take(1000).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    let text = String::from_utf8(line)?;
    let text = text
        .strip_suffix("\r\n")
        .with_context(|| format!("not a line: {text:?}"))?;
    Ok(Some(text.into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn requests_are_read_one_after_the_other() {
        let mut bytes: &[u8] =
            b"GET /12 HTTP/1.1\r\nHost: x\r\n\r\nPOST / HTTP/1.1\r\ncontent-LENGTH: 3\r\n\r\nabc";
        assert!(matches!(
            read_request(&mut bytes),
            Ok(Some(Request::Get(12)))
        ));
        assert!(
            matches!(read_request(&mut bytes), Ok(Some(Request::Echo(body))) if body == b"abc")
        );
        assert!(matches!(read_request(&mut bytes), Ok(None)));
    }

    #[test]
    fn what_is_no_request_is_an_error() {
        for text in [
            "GET /x HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\n",
            "DELETE /1\r\n\r\n",
            "POST /\r\ncontent-length: 9999999\r\n\r\n",
        ] {
            assert!(read_request(&mut text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
