//! The bridge: a link of the machine that the daemon makes, behind which processes have addresses of
//! their own.
//!
//! It is made and removed over netlink. Daemons that name the same bridge share it, by a lock that
//! each holds: the first makes the bridge, the last removes it, and one that finds itself alone
//! removes what a killed one left. A bridge that others made is used and left as it is.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::addresses::{Address, Addresses};
use crate::locks::lock;
use crate::namespace::Namespace;
use crate::netlink::{Socket, Topic};
use crate::networks::{NetworkError, Step};
use crate::pool::{Filler, Pool};
use crate::subnet::Subnet;
use crate::{filter, links};

/// What processes call their link.
const INSIDE: &str = "eth0";
/// How many subnets are tried, if any will do.
const SUBNETS: usize = 64;
/// How often, and with which pause, a daemon is waited for that makes or removes the bridge just now.
const TRIES: (usize, Duration) = (500, Duration::from_millis(10));

/// Which bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BridgeOptions {
    pub(crate) name: String,
    pub(crate) subnet: Subnet,
    /// Whether another subnet will do, if this one is elsewhere.
    pub(crate) may_move: bool,
    /// How many namespaces are made ahead.
    pub(crate) pool_size: usize,
    /// Where daemons that share a bridge find one another.
    pub(crate) run: PathBuf,
}

/// A namespace behind the bridge.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) namespace: Namespace,
    _address: Address,
}

/// A bridge that is there.
#[derive(Debug)]
pub(crate) struct Bridge {
    pool: Pool<Connection, NetworkError>,
    maker: Mutex<Option<JoinHandle<()>>>,
    shared: Mutex<Option<Shared>>,
    /// The addresses behind it.
    pub(crate) subnet: Subnet,
}

impl Bridge {
    /// Makes the bridge, or shares it with the daemons that have made it.
    pub(crate) fn open(options: BridgeOptions) -> Result<Self, NetworkError> {
        let name = &options.name;
        check_name(name)?;
        let mut host = Socket::open(Topic::Links).step(|| "talk to the kernel".into())?;
        let (shared, subnet) = Shared::join(&mut host, &options)?;
        let number = links::index(&mut host, name).step(|| format!("find the bridge {name}"))?;
        let addresses = Addresses::new(subnet, shared.directory.join("addresses"))
            .step(|| "make a directory for addresses".into())?;
        let (pool, filler) = Pool::new(options.pool_size);
        let largest = links::largest_packet(&mut host).ok().flatten();
        let maker = Maker { host, number, addresses, subnet, largest };
        let thread = thread::Builder::new()
            .name("kiln-bridge".to_owned())
            .spawn(move || maker.fill(&filler))
            .step(|| "start a thread".into())?;
        Ok(Self { pool, maker: Some(thread).into(), shared: Some(shared).into(), subnet })
    }

    /// A namespace that no one has used.
    pub(crate) async fn connect(&self) -> Result<Connection, NetworkError> {
        self.pool.take().await.unwrap_or(Err(NetworkError::Closed))
    }

    /// Makes no more namespaces; removes the bridge if no other daemon uses it.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
        let maker = self.maker.lock().unwrap_or_else(PoisonError::into_inner).take();
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner).take();
        let work = move || {
            if let Some(maker) = maker {
                maker.join().ok();
            }
            drop(shared);
        };
        tokio::task::spawn_blocking(work).await.ok();
    }
}

/// The thread that makes namespaces. It is in the one that it made last.
struct Maker {
    host: Socket,
    number: i32,
    addresses: Addresses,
    subnet: Subnet,
    /// How many bytes are at most in a packet.
    largest: Option<u32>,
}

impl Maker {
    fn fill(mut self, filler: &Filler<Connection, NetworkError>) {
        while filler.blocking_send(self.make()).is_ok() {}
    }

    fn make(&mut self) -> Result<Connection, NetworkError> {
        let address = self.addresses.take().step(|| "find an address".into())?;
        let (namespace, mut inside) =
            Namespace::enter_new().step(|| "make a network namespace".into())?;
        let name = format!("kiln{:08x}", rand::random::<u32>());
        let inner = (INSIDE, namespace.as_fd());
        links::add_pair(&mut self.host, &name, self.number, inner, self.largest)
            .step(|| format!("make the link {name}"))?;
        let number = links::index(&mut inside, INSIDE).step(|| format!("find {INSIDE}"))?;
        links::up(&mut inside, number).step(|| format!("bring {INSIDE} up"))?;
        links::add_address(&mut inside, number, address.get(), self.subnet)
            .step(|| format!("give {INSIDE} the address {}", address.get()))?;
        links::add_default_route(&mut inside, self.subnet.gateway())
            .step(|| "set the default route".into())?;
        Ok(Connection { namespace, _address: address })
    }
}

/// A share in the bridge. The last removes it.
#[derive(Debug)]
struct Shared {
    name: String,
    directory: PathBuf,
    lock: File,
}

impl Shared {
    fn join(host: &mut Socket, options: &BridgeOptions) -> Result<(Self, Subnet), NetworkError> {
        let directory = directory(options).step(|| "find the network of the daemon".into())?;
        let step = || format!("share the bridge in {}", directory.display());
        for _ in 0..TRIES.0 {
            fs::create_dir_all(&directory).step(step)?;
            let path = directory.join("lock");
            let (alone, together) =
                (FlockOperation::NonBlockingLockExclusive, FlockOperation::NonBlockingLockShared);
            if let Some(lock) = lock(&path, alone).step(step)? {
                let shared = Self { name: options.name.clone(), directory, lock };
                let subnet = shared.make(host, options)?;
                flock(&shared.lock, FlockOperation::LockShared)
                    .step(|| "share the bridge".into())?;
                return Ok((shared, subnet));
            }
            if let Some(lock) = lock(&path, together).step(step)? {
                let marker = fs::read_to_string(marker(&directory)).unwrap_or_default();
                let Ok(subnet) = marker.trim().parse() else { continue };
                if subnet != options.subnet && !options.may_move {
                    let name = &options.name;
                    let message = format!(
                        "the bridge {name} of another daemon has the subnet {subnet}; use it, or another bridge"
                    );
                    return Err(NetworkError::Conflict { message });
                }
                return Ok((Self { name: options.name.clone(), directory, lock }, subnet));
            }
            thread::sleep(TRIES.1);
        }
        let message = format!("another daemon does not finish with the bridge {}", options.name);
        Err(NetworkError::Conflict { message })
    }

    /// Makes everything anew; no one else uses it.
    fn make(&self, host: &mut Socket, options: &BridgeOptions) -> Result<Subnet, NetworkError> {
        let name = &self.name;
        self.remove(host);
        let is_there = match links::kind(host, name) {
            Ok(kind) if kind == "bridge" => true,
            Ok(kind) => {
                let message =
                    format!("there is a link {name} already, which is no bridge ({kind})");
                return Err(NetworkError::Conflict { message });
            }
            Err(_) => false,
        };
        let subnet = match is_there {
            true => options.subnet,
            false => free_subnet(host, options)?,
        };
        if !is_there {
            fs::write(made(&self.directory), "").step(|| "write down the bridge".into())?;
            let largest = links::largest_packet(host).ok().flatten();
            links::add_bridge(host, name, hardware_address(), largest)
                .step(|| format!("make the bridge {name}"))?;
        }
        let made = self.set_up(host, subnet, is_there);
        if made.is_err() {
            self.remove(host);
        }
        made.map(|()| subnet)
    }

    fn set_up(&self, host: &mut Socket, subnet: Subnet, foreign: bool) -> Result<(), NetworkError> {
        let name = &self.name;
        let number = links::index(host, name).step(|| format!("find the bridge {name}"))?;
        match links::add_address(host, number, subnet.gateway(), subnet) {
            Err(error) if foreign && error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
        .step(|| format!("give the bridge the address {}", subnet.gateway()))?;
        forward().step(|| "forward packets (/proc/sys/net/ipv4/ip_forward)".into())?;
        filter::install(name, subnet).step(|| "filter packets (nftables)".into())?;
        fs::write(marker(&self.directory), subnet.to_string())
            .step(|| "write down the subnet".into())
    }

    /// Removes what this or a killed daemon made. What is not there needs no removing.
    fn remove(&self, host: &mut Socket) {
        if fs::remove_file(marker(&self.directory)).is_ok() {
            filter::remove(&self.name).ok();
        }
        if fs::remove_file(made(&self.directory)).is_ok() {
            links::remove(host, &self.name).ok();
        }
        fs::remove_dir_all(self.directory.join("addresses")).ok();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if flock(&self.lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return;
        }
        match Socket::open(Topic::Links) {
            Ok(mut host) => self.remove(&mut host),
            Err(error) => tracing::warn!(%error, bridge = self.name, "the bridge stays"),
        }
        fs::remove_dir_all(&self.directory).ok();
    }
}

/// Says with which subnet a bridge is used.
fn marker(directory: &Path) -> PathBuf {
    directory.join("subnet")
}

/// Says that a bridge was made by daemons, and is to be removed.
fn made(directory: &Path) -> PathBuf {
    directory.join("made")
}

/// Where daemons with this bridge meet: names of links are those of one network namespace.
fn directory(options: &BridgeOptions) -> io::Result<PathBuf> {
    let namespace = fs::metadata("/proc/thread-self/ns/net")?.ino();
    Ok(options.run.join(format!("{namespace}-{}", options.name)))
}

fn check_name(name: &str) -> Result<(), NetworkError> {
    let fits = (1..libc::IFNAMSIZ).contains(&name.len()) && name != "." && name != "..";
    let plain = |letter: char| letter.is_ascii_graphic() && !"/:%".contains(letter);
    match fits && name.chars().all(plain) {
        true => Ok(()),
        false => Err(NetworkError::Conflict {
            message: format!("`{name}` is no name of a bridge; it has 1 to 15 letters and digits"),
        }),
    }
}

/// The subnet that was asked for, or the next one that is not reached elsewhere.
fn free_subnet(host: &mut Socket, options: &BridgeOptions) -> Result<Subnet, NetworkError> {
    if !options.may_move {
        return Ok(options.subnet);
    }
    let routed = links::routed_subnets(host).step(|| "list the routes".into())?;
    let candidates = std::iter::successors(Some(options.subnet), |subnet| Some(subnet.following()));
    let free = |subnet: &Subnet| !routed.iter().any(|routed| routed.overlaps(*subnet));
    candidates.take(SUBNETS).find(free).ok_or_else(|| NetworkError::Conflict {
        message: format!("{SUBNETS} subnets from {} are in use; name a free one", options.subnet),
    })
}

/// An address that stays, whichever links come and go; one that no maker of hardware gives out.
fn hardware_address() -> [u8; 6] {
    let mut bytes: [u8; 6] = rand::random();
    bytes[0] = bytes[0] & 0xfc | 0x02;
    bytes
}

/// Has the machine pass packets on from one link to another.
fn forward() -> io::Result<()> {
    const SWITCH: &str = "/proc/sys/net/ipv4/ip_forward";
    match fs::read_to_string(SWITCH)?.trim() {
        "0" => fs::write(SWITCH, "1"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_of_a_link() {
        for name in ["kiln0", "br-1.2", "fifteen-letters"] {
            check_name(name).unwrap();
        }
        for name in ["", "sixteen-letters-", "a/b", "..", "a b", "ä", "a:1", "a%d"] {
            check_name(name).unwrap_err();
        }
    }
}
