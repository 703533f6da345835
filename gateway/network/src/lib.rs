//! How the processes of a build are connected: to a bridge of the daemon's own, by CNI plugins, by a
//! program of the user's, as the daemon itself, to a proxy and nothing else, or not at all.
//!
//! [`Networks`] is opened once, from [`NetworkOptions`]; it stands in front of an executor and puts a
//! network in the place of [`kiln_executor::Network::Default`]. A bridge is made over
//! netlink and needs no programs; namespaces are made ahead, each is used once. Nothing here decides
//! which process may have which network.

mod addresses;
mod bridge;
mod cni;
mod connected;
mod filter;
mod links;
mod locks;
mod namespace;
mod netlink;
mod networks;
mod pool;
mod proxied;
mod subnet;
mod sys;
mod tap;

pub use kiln_proxy::{Captured, Gap, Judge, Material, Reason};
pub use networks::{Mode, NetworkError, NetworkOptions, Networks};
pub use proxied::ProxiedNetwork;
pub use subnet::{Subnet, SubnetError};
