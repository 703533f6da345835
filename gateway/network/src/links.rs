//! Links, addresses and routes, as requests to the kernel.
//!
//! Each function is one thing that the kernel does. A [`Socket`] decides in which network namespace.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::netlink::{CREATE, Message, Socket, find};
use crate::subnet::Subnet;

/// The link of a namespace that leads back to itself; it always has this number.
const LOOPBACK: i32 = 1;
/// Of [`libc::IFLA_INFO_DATA`] of a veth pair: the other end.
const VETH_INFO_PEER: u16 = 1;
/// Of [`libc::IFLA_PROTINFO`] of a link in a bridge: whether it reaches others that have this, too.
const IFLA_BRPORT_ISOLATED: u16 = 33;
/// The length of the fixed part of a message about a link.
const LINK_BYTES: usize = 16;
/// Who made a route: the system, at its start.
const RTPROT_BOOT: u8 = 3;

/// Makes a bridge that is up. `largest` bytes are in a packet, if that is known.
pub(crate) fn add_bridge(
    socket: &mut Socket,
    name: &str,
    hardware: [u8; 6],
    largest: Option<u32>,
) -> io::Result<()> {
    let mut message = Message::new(libc::RTM_NEWLINK, CREATE).body(&link(0, true));
    message.text(libc::IFLA_IFNAME, name);
    add_largest(&mut message, largest);
    message.attribute(libc::IFLA_ADDRESS, &hardware);
    message.nested(libc::IFLA_LINKINFO, |info| info.text(libc::IFLA_INFO_KIND, "bridge"));
    socket.request(message)
}

/// Makes a pair of links: `name`, which is up, in the bridge with the number `bridge`, and `inside` in
/// a network namespace. Packets of the bridge's other links do not reach it.
pub(crate) fn add_pair(
    socket: &mut Socket,
    name: &str,
    bridge: i32,
    (inside, namespace): (&str, BorrowedFd<'_>),
    largest: Option<u32>,
) -> io::Result<()> {
    let mut message = Message::new(libc::RTM_NEWLINK, CREATE).body(&link(0, true));
    message.text(libc::IFLA_IFNAME, name);
    add_largest(&mut message, largest);
    message.attribute(libc::IFLA_MASTER, &bridge.to_ne_bytes());
    message.nested(libc::IFLA_LINKINFO, |info| {
        info.text(libc::IFLA_INFO_KIND, "veth");
        info.nested(libc::IFLA_INFO_DATA, |data| {
            data.nested_after(VETH_INFO_PEER, &link(0, false), |peer| {
                peer.text(libc::IFLA_IFNAME, inside);
                add_largest(peer, largest);
                let namespace = namespace.as_raw_fd().to_ne_bytes();
                peer.attribute(libc::IFLA_NET_NS_FD, &namespace);
            });
        });
    });
    socket.request(message)?;
    let number = index(socket, name)?;
    let family = [libc::AF_BRIDGE as u8];
    let fixed = [&family[..], &link(number, false)[1..]].concat();
    let mut message = Message::new(libc::RTM_SETLINK, 0).body(&fixed);
    message.nested(libc::IFLA_PROTINFO, |port| port.attribute(IFLA_BRPORT_ISOLATED, &[1]));
    socket.request(message)
}

fn add_largest(message: &mut Message, largest: Option<u32>) {
    if let Some(largest) = largest {
        message.attribute(libc::IFLA_MTU, &largest.to_ne_bytes());
    }
}

/// How many bytes are at most in a packet that leaves by the default route. Others cut such packets in
/// two, or lose them.
pub(crate) fn largest_packet(socket: &mut Socket) -> io::Result<Option<u32>> {
    let fixed = [libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let routes = socket.list(Message::new(libc::RTM_GETROUTE, 0).body(&fixed))?;
    let way = routes.iter().find(|route| is_default(route));
    let number = way.and_then(|route| find(route.get(12..)?, libc::RTA_OIF)?.try_into().ok());
    let Some(number) = number.map(i32::from_ne_bytes) else { return Ok(None) };
    let answer = socket.ask(Message::new(libc::RTM_GETLINK, 0).body(&link(number, false)))?;
    let largest = find(answer.get(LINK_BYTES..).unwrap_or_default(), libc::IFLA_MTU);
    Ok(largest.and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes))
}

/// Whether a route is for what no other is for.
fn is_default(route: &[u8]) -> bool {
    route.get(1) == Some(&0) && route.get(4) == Some(&libc::RT_TABLE_MAIN)
}

/// Removes a link; for one of a pair, both.
pub(crate) fn remove(socket: &mut Socket, name: &str) -> io::Result<()> {
    let mut message = Message::new(libc::RTM_DELLINK, 0).body(&link(0, false));
    message.text(libc::IFLA_IFNAME, name);
    socket.request(message)
}

/// Brings the loopback of a namespace up.
pub(crate) fn loopback_up(socket: &mut Socket) -> io::Result<()> {
    up(socket, LOOPBACK)
}

/// Brings a link up. One of a pair that is just being made cannot be up yet.
pub(crate) fn up(socket: &mut Socket, number: i32) -> io::Result<()> {
    socket.request(Message::new(libc::RTM_NEWLINK, 0).body(&link(number, true)))
}

/// The number of a link.
pub(crate) fn index(socket: &mut Socket, name: &str) -> io::Result<i32> {
    let mut message = Message::new(libc::RTM_GETLINK, 0).body(&link(0, false));
    message.text(libc::IFLA_IFNAME, name);
    let answer = socket.ask(message)?;
    let number = answer.get(4..8).and_then(|bytes| bytes.try_into().ok());
    number.map(i32::from_ne_bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The kind of a link, such as `bridge`; empty for hardware.
pub(crate) fn kind(socket: &mut Socket, name: &str) -> io::Result<String> {
    let mut message = Message::new(libc::RTM_GETLINK, 0).body(&link(0, false));
    message.text(libc::IFLA_IFNAME, name);
    let answer = socket.ask(message)?;
    let attributes = answer.get(LINK_BYTES..).unwrap_or_default();
    let info = find(attributes, libc::IFLA_LINKINFO).unwrap_or_default();
    let kind = find(info, libc::IFLA_INFO_KIND).unwrap_or_default();
    Ok(String::from_utf8_lossy(kind.strip_suffix(&[0]).unwrap_or(kind)).into_owned())
}

/// Gives a link an address in a subnet.
pub(crate) fn add_address(
    socket: &mut Socket,
    link: i32,
    address: Ipv4Addr,
    subnet: Subnet,
) -> io::Result<()> {
    let [a, b, c, d] = link.to_ne_bytes();
    let fixed = [libc::AF_INET as u8, subnet.bits(), 0, libc::RT_SCOPE_UNIVERSE, a, b, c, d];
    let mut message = Message::new(libc::RTM_NEWADDR, CREATE).body(&fixed);
    message.attribute(libc::IFA_LOCAL, &address.octets());
    message.attribute(libc::IFA_ADDRESS, &address.octets());
    message.attribute(libc::IFA_BROADCAST, &subnet.last().octets());
    socket.request(message)
}

/// Sends what has no other way through `gateway`.
pub(crate) fn add_default_route(socket: &mut Socket, gateway: Ipv4Addr) -> io::Result<()> {
    let table = libc::RT_TABLE_MAIN;
    let (scope, kind) = (libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST);
    let fixed = [libc::AF_INET as u8, 0, 0, 0, table, RTPROT_BOOT, scope, kind, 0, 0, 0, 0];
    let mut message = Message::new(libc::RTM_NEWROUTE, CREATE).body(&fixed);
    message.attribute(libc::RTA_GATEWAY, &gateway.octets());
    socket.request(message)
}

/// Whether there is a way to addresses that no other route is for.
pub(crate) fn has_default_route(socket: &mut Socket) -> io::Result<bool> {
    let fixed = [libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let routes = socket.list(Message::new(libc::RTM_GETROUTE, 0).body(&fixed))?;
    Ok(routes.iter().any(|route| is_default(route)))
}

/// The subnets that are reached without the default route.
pub(crate) fn routed_subnets(socket: &mut Socket) -> io::Result<Vec<Subnet>> {
    let fixed = [libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let routes = socket.list(Message::new(libc::RTM_GETROUTE, 0).body(&fixed))?;
    Ok(routes.iter().filter_map(|route| subnet_of(route)).collect())
}

/// Where a route leads; nothing for the default route.
fn subnet_of(route: &[u8]) -> Option<Subnet> {
    let bits = *route.get(1)?;
    let to = find(route.get(12..)?, libc::RTA_DST)?;
    let octets: [u8; 4] = to.try_into().ok()?;
    Subnet::new(octets.into(), bits)
}

/// The fixed part of a message about a link. Whether it is up can be said, or left as it is.
fn link(index: i32, up: bool) -> [u8; LINK_BYTES] {
    let flags = if up { libc::IFF_UP } else { 0 };
    let mut bytes = [0; LINK_BYTES];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&flags.to_ne_bytes());
    bytes
}
