//! What may stand between client and servers, each in a place of its own, set up as its manual says.

use std::net::SocketAddrV4;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xdplb_loader::kernel::{Link, Program, XdpLinkMode};
use xdplb_loader::load::{LoadOptions, load};
use xdplb_loader::object::Spec;
use xdplb_tests::balancer::{self, READY};
use xdplb_tests::files::Folder;
use xdplb_tests::run;
use xdplb_tests::topology::Mode;
use xdplb_tests::xdp::Stub;

use super::net::{Checksums, DEVICE, Host, Net, PORT};
use super::process::{Programs, Running};

/// Bytes of an answer's body.
pub const BODY: usize = 100;
/// How long one may take until it is ready.
const LIMIT: Duration = Duration::from_secs(20);

/// What stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Nothing: requests go to the servers.
    Direct,
    /// tests/c/limit.bpf.c.
    Limit(Mode),
    /// xdplb-load.
    Ours(Mode),
    /// DNAT and masquerade in the kernel.
    Nftables,
    /// A proxy.
    HaProxy,
    /// A proxy.
    Nginx,
}

impl Way {
    /// All of them.
    const ALL: [Way; 8] = [
        Way::Direct,
        Way::Nftables,
        Way::Limit(Mode::Generic),
        Way::Ours(Mode::Generic),
        Way::Ours(Mode::Native),
        Way::Limit(Mode::Native),
        Way::HaProxy,
        Way::Nginx,
    ];

    /// Those that work with such packets, in the order in which they take turns. In native mode nobody computes a sum that
    /// was left undone but who stands there, and the limit does not.
    pub fn all(checksums: Checksums) -> Vec<Way> {
        let works = |way: &Way| checksums == Checksums::Whole || *way != Way::Limit(Mode::Native);
        Self::ALL.into_iter().filter(works).collect()
    }

    /// How the table calls it.
    pub fn name(self) -> String {
        match self {
            Way::Direct => "no balancer".into(),
            Way::Limit(mode) => format!("limit, {} mode", mode.word()),
            Way::Ours(mode) => format!("xdplb, {} mode", mode.word()),
            Way::Nftables => "nftables NAT".into(),
            Way::HaProxy => "HAProxy, TCP".into(),
            Way::Nginx => "nginx, stream".into(),
        }
    }
}

/// What keeps a balancer going, beside its namespace; dropping it takes it down, in this order.
#[derive(Debug, Default)]
pub struct Kept {
    _process: Option<Running>,
    _link: Option<Link>,
    _stub: Option<Stub>,
}

impl Kept {
    fn of(process: Running) -> Self {
        Self {
            _process: Some(process),
            ..Self::default()
        }
    }
}

/// Brings it up at a place.
pub fn start(
    way: Way,
    net: &Net,
    place: &Host,
    programs: &Programs,
    folder: &Folder,
    limit: &[u8],
) -> Result<Kept> {
    let name = place.netns.name();
    match way {
        Way::Direct => Ok(Kept::default()),
        Way::Limit(mode) => {
            let stub = stub(net, place, mode)?;
            let program = limit_program(limit, net.checksums)?;
            let ifindex = place.netns.ifindex(DEVICE)?;
            let mode = match mode {
                Mode::Native => XdpLinkMode::Native,
                Mode::Generic => XdpLinkMode::Generic,
            };
            let link = place
                .netns
                .run(|| Ok(Link::attach_xdp(&program, ifindex, mode)?))?;
            Ok(Kept {
                _link: Some(link),
                _stub: stub,
                ..Kept::default()
            })
        }
        Way::Ours(mode) => {
            let stub = stub(net, place, mode)?;
            let mut command = Command::new(balancer::binary()?);
            command.args(["--xdp-mode", mode.word(), DEVICE]);
            for server in &net.servers {
                let mac = server.mac().map(|byte| format!("{byte:02x}")).join(":");
                command.arg(server.address().to_string()).arg(mac);
            }
            let running = Running::start(&place.netns, folder, command)?;
            let end = Instant::now() + LIMIT;
            while !running.output().contains(READY) {
                ensure!(
                    Instant::now() < end,
                    "xdplb-load is not ready: {}",
                    running.output()
                );
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(Kept {
                _stub: stub,
                ..Kept::of(running)
            })
        }
        Way::Nftables => {
            nftables(net, place, programs, folder)?;
            Ok(Kept::default())
        }
        Way::HaProxy => {
            let file = folder.file(&format!("{name}.cfg"), haproxy(net, place))?;
            let mut command = programs.command("usr/sbin/haproxy");
            // In the foreground; it has a thread for each CPU.
            command.args(["-db", "-f", &file]);
            Running::start(&place.netns, folder, command).map(Kept::of)
        }
        Way::Nginx => {
            let nginx = programs.nginx(folder, name, &stream(net, place, programs))?;
            // Its workers would outlive it when it is killed; in a PID namespace whose first process it is they do not.
            let mut command = Command::new("unshare");
            command.args(["--pid", "--fork", "--kill-child", "--"]);
            command.arg(nginx.get_program()).args(nginx.get_args());
            for (name, value) in nginx.get_envs() {
                if let Some(value) = value {
                    command.env(name, value);
                }
            }
            Running::start(&place.netns, folder, command).map(Kept::of)
        }
    }
}

fn stub(net: &Net, place: &Host, mode: Mode) -> Result<Option<Stub>> {
    match mode {
        Mode::Generic => Ok(None),
        Mode::Native => Stub::attach(&net.bridge, &place.port()).map(Some),
    }
}

fn limit_program(object: &[u8], checksums: Checksums) -> Result<Program> {
    let mut spec = Spec::parse(object)?;
    spec.name = "limit".into();
    let undone = u32::from(checksums == Checksums::Undone);
    spec.set_global("undone", &undone.to_ne_bytes())?;
    let loaded = load(&spec, LoadOptions::default(), &mut ())?;
    let program = loaded.programs.into_iter().next();
    Ok(program.context("limit.o: no program")?.program)
}

/// Full NAT, as ours: the servers by turns, and the place's own address as their client. Entries of closed connections go after a
/// second, not after two minutes: the table has the size that the machine gave it, and is not to be full.
fn nftables(net: &Net, place: &Host, programs: &Programs, folder: &Folder) -> Result<()> {
    let [first, second] = net.servers.each_ref().map(Host::address);
    let rules = format!(
        "table ip bench {{\n\
           chain in {{ type nat hook prerouting priority dstnat;\n\
             ip daddr {} tcp dport {PORT} dnat to numgen inc mod 2 map {{ 0 : {first}, 1 : {second} }}\n\
           }}\n\
           chain out {{ type nat hook postrouting priority srcnat; masquerade; }}\n\
         }}\n",
        place.address()
    );
    let file = folder.file("bench.nft", rules)?;
    let mut command = programs.command("usr/sbin/nft");
    command.args(["-f", &file]);
    place.netns.enter(&mut command)?;
    let output = run::output(command, LIMIT)?;
    ensure!(output.code == Some(0), "nft: {}", output.stderr);
    place.netns.run(|| {
        for (key, value) in [
            ("net/ipv4/ip_forward", "1"),
            // Client and servers are in one net: the kernel would tell them to go without it.
            ("net/ipv4/conf/all/send_redirects", "0"),
            ("net/ipv4/conf/eth0/send_redirects", "0"),
            ("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "1"),
            ("net/netfilter/nf_conntrack_tcp_timeout_close", "1"),
        ] {
            let path = format!("/proc/sys/{key}");
            std::fs::write(&path, value).with_context(|| path.clone())?;
        }
        Ok(())
    })
}

fn haproxy(net: &Net, place: &Host) -> String {
    let [first, second] = net.servers.each_ref().map(Host::socket);
    format!(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend bench\n  bind {}\n  default_backend servers\n\
         backend servers\n  balance roundrobin\n  server h2 {first}\n  server h3 {second}\n",
        place.socket()
    )
}

fn stream(net: &Net, place: &Host, programs: &Programs) -> String {
    let [first, second] = net.servers.each_ref().map(Host::socket);
    format!(
        "load_module {};\nuser root;\nworker_processes auto;\nevents {{ worker_connections 4096; }}\n\
         stream {{\n  upstream servers {{ server {first}; server {second}; }}\n  \
         server {{ listen {}; proxy_pass servers; }}\n}}\n",
        programs
            .path("usr/lib/nginx/modules/ngx_stream_module.so")
            .display(),
        place.socket()
    )
}

/// A server: a hundred bytes for whoever asks, with the address that it was asked from.
pub fn server(host: &Host, programs: &Programs, folder: &Folder) -> Result<Running> {
    let name = host.netns.name();
    let place = folder.path().display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|what| format!("  {what}_temp_path {place}/{name}-{what};\n"))
        .collect();
    let configuration = format!(
        "master_process off;\nevents {{ worker_connections 4096; }}\nhttp {{\n{temporary}  access_log off;\n  \
         keepalive_requests 1000000000;\n  default_type text/plain;\n  server {{\n    listen {} backlog=4096;\n    \
         location / {{ add_header X-Peer $remote_addr; return 200 \"{}\"; }}\n  }}\n}}\n",
        host.socket(),
        "x".repeat(BODY)
    );
    let command = programs.nginx(folder, name, &configuration)?;
    Running::start(&host.netns, folder, command)
}

/// Waits until a request to `to` is answered; the address that the server saw at the other end.
pub fn ask(net: &Net, to: SocketAddrV4) -> Result<String> {
    let end = Instant::now() + LIMIT;
    net.client.netns.run(|| {
        loop {
            match request(to) {
                Ok(peer) => return Ok(peer),
                Err(error) if Instant::now() >= end => {
                    return Err(error).with_context(|| format!("{to} does not answer"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    })
}

fn request(to: SocketAddrV4) -> Result<String> {
    use std::io::{Read, Write};
    let limit = Duration::from_secs(2);
    let mut stream = std::net::TcpStream::connect_timeout(&to.into(), limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let peer = answer
        .lines()
        .find_map(|line| line.strip_prefix("X-Peer: "));
    Ok(peer.context("no X-Peer")?.to_owned())
}
