//! A range of addresses, such as `10.10.0.0/16`: the first is the bridge's, the others are for
//! processes.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// The smallest range with a bridge and a process in it.
const MOST_BITS: u8 = 30;

/// Addresses that share their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    first: u32,
    bits: u8,
}

/// Why a text is no subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a subnet of IPv4; write it as 10.10.0.0/16, with 1 to {MOST_BITS} bits")]
pub struct SubnetError;

impl Subnet {
    /// The subnet of an address; nothing if there are more bits than an address has.
    pub(crate) fn new(address: Ipv4Addr, bits: u8) -> Option<Self> {
        (bits <= 32).then(|| Self { first: u32::from(address) & mask(bits), bits })
    }

    /// How many bits all its addresses share.
    pub(crate) fn bits(self) -> u8 {
        self.bits
    }

    /// The bits that all its addresses share.
    pub(crate) fn mask(self) -> u32 {
        mask(self.bits)
    }

    /// The address before all that are used.
    pub(crate) fn base(self) -> Ipv4Addr {
        self.first.into()
    }

    /// The address of the bridge.
    pub(crate) fn gateway(self) -> Ipv4Addr {
        self.first.saturating_add(1).into()
    }

    /// The address that is everyone's.
    pub(crate) fn last(self) -> Ipv4Addr {
        (self.first | !self.mask()).into()
    }

    /// Whether two have addresses in common.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        let mask = self.mask() & other.mask();
        self.first & mask == other.first & mask
    }

    /// How many addresses there are for processes.
    pub(crate) fn hosts(self) -> u32 {
        (!self.mask()).saturating_sub(2)
    }

    /// The address of a process: from 0 to [`Self::hosts`], and then again.
    pub(crate) fn host(self, number: u32) -> Ipv4Addr {
        (self.first + 2 + number % self.hosts().max(1)).into()
    }

    /// The subnet of the same size that follows.
    pub(crate) fn following(self) -> Self {
        let size = (!self.mask()).wrapping_add(1);
        Self { first: self.first.wrapping_add(size), bits: self.bits }
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let (address, bits) = text.split_once('/').ok_or(SubnetError)?;
        let address: Ipv4Addr = address.parse().map_err(|_| SubnetError)?;
        let bits: u8 = bits.parse().map_err(|_| SubnetError)?;
        let found = (1..=MOST_BITS).contains(&bits).then(|| Self::new(address, bits)).flatten();
        found.ok_or(SubnetError)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base(), self.bits)
    }
}

fn mask(bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_address_is_the_bridges_and_none_is_given_out_twice_in_a_row() {
        let small = subnet("10.10.0.0/29");
        assert_eq!(small.gateway(), Ipv4Addr::new(10, 10, 0, 1));
        assert_eq!(small.hosts(), 5);
        let addresses: Vec<_> = (0..6).map(|number| small.host(number).octets()[3]).collect();
        assert_eq!(addresses, [2, 3, 4, 5, 6, 2]);
        assert_eq!(small.last(), Ipv4Addr::new(10, 10, 0, 7));
        assert_eq!(subnet("10.10.0.0/30").hosts(), 1);
    }

    #[test]
    fn a_subnet_is_written_as_the_field_writes_it() {
        assert_eq!(subnet("10.10.3.4/16").to_string(), "10.10.0.0/16");
        for wrong in
            ["", "10.10.0.0", "10.10.0.0/31", "10.10.0.0/0", "10.10/16", "fd00::/64", "a/b"]
        {
            assert_eq!(wrong.parse::<Subnet>(), Err(SubnetError), "{wrong}");
        }
    }

    #[test]
    fn subnets_overlap_if_one_holds_the_other() {
        let wide = subnet("10.10.0.0/16");
        assert!(wide.overlaps(subnet("10.10.3.0/24")) && subnet("10.10.3.0/24").overlaps(wide));
        assert!(!wide.overlaps(wide.following()));
        assert_eq!(wide.following().to_string(), "10.11.0.0/16");
        assert!(!wide.overlaps(subnet("192.168.0.0/24")));
    }
}
