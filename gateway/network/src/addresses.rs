//! Which addresses of a subnet are in use, among all daemons that share a bridge.
//!
//! An address is a locked file, so that one of a daemon that was killed is free.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use rustix::fs::FlockOperation;

use crate::locks::lock;
use crate::subnet::Subnet;

/// The addresses of a subnet.
#[derive(Debug)]
pub(crate) struct Addresses {
    subnet: Subnet,
    directory: PathBuf,
    next: u32,
}

/// An address that is no one else's until this is dropped.
#[derive(Debug)]
pub(crate) struct Address {
    address: Ipv4Addr,
    path: PathBuf,
    _lock: File,
}

impl Addresses {
    /// The addresses of `subnet`, with their files in `directory`, which is made if need be.
    pub(crate) fn new(subnet: Subnet, directory: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        // Daemons that share a bridge would otherwise try the same ones.
        let next = rand::random::<u32>() % subnet.hosts().max(1);
        Ok(Self { subnet, directory, next })
    }

    /// The next address that is free; one that was just given back comes last.
    pub(crate) fn take(&mut self) -> io::Result<Address> {
        for _ in 0..self.subnet.hosts() {
            let address = self.subnet.host(self.next);
            self.next = (self.next + 1) % self.subnet.hosts();
            let path = self.directory.join(address.to_string());
            if let Some(lock) = lock(&path, FlockOperation::NonBlockingLockExclusive)? {
                return Ok(Address { address, path, _lock: lock });
            }
        }
        Err(io::Error::other("all addresses are in use; give the bridge a larger subnet"))
    }
}

impl Address {
    /// The address.
    pub(crate) fn get(&self) -> Ipv4Addr {
        self.address
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        // While it is locked: who opens it now finds that it is gone, and makes another.
        fs::remove_file(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_daemons_never_give_out_the_same_address() {
        let scratch = tempfile::tempdir().unwrap();
        let subnet: Subnet = "10.0.0.0/29".parse().unwrap();
        let mut daemons =
            [(); 2].map(|()| Addresses::new(subnet, scratch.path().to_owned()).unwrap());
        let taken: Vec<Address> =
            (0..5).map(|number| daemons[number % 2].take().unwrap()).collect();
        let mut addresses: Vec<_> = taken.iter().map(Address::get).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 5);
        assert!(daemons[0].take().unwrap_err().to_string().contains("larger subnet"));
        drop(taken);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
        daemons[0].take().unwrap();
    }
}
