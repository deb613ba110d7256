//! Networks, and the address that a request really came from.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use thiserror::Error;

/// A list of networks in CIDR notation (RFC 4632).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<(u128, u128)>);

/// A text is no network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not an address or a network such as 10.0.0.0/8")]
pub struct InvalidNetwork(pub String);

impl Networks {
    /// Reads networks (`10.0.0.0/8`, `fd00::/8`) and single addresses.
    ///
    /// # Errors
    /// The first entry that is neither.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, InvalidNetwork> {
        entries.iter().map(|entry| parse(entry.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether `address` is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = bits(address);
        self.0.iter().any(|(network, mask)| bits & mask == *network)
    }

    /// The address of the client: the peer's own, or, when that is a trusted proxy, the last one in `X-Forwarded-For`
    /// that is not.
    pub fn client(&self, peer: IpAddr, forwarded_for: Option<&str>) -> IpAddr {
        let mut client = peer;
        let hops = forwarded_for.into_iter().flat_map(|list| list.rsplit(','));
        for hop in hops {
            if !self.contains(client) {
                break;
            }
            let Some(address) = parse_hop(hop.trim()) else { break };
            client = address;
        }
        client
    }
}

/// An address, which some proxies give with the port.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']')).unwrap_or(hop);
    bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

fn parse(entry: &str) -> Result<(u128, u128), InvalidNetwork> {
    let invalid = || InvalidNetwork(entry.to_owned());
    let (address, length) = entry.split_once('/').map_or((entry, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.trim().parse().map_err(|_| invalid())?;
    let (offset, longest) = if address.is_ipv4() { (96, 32) } else { (0, 128) };
    let length: u32 = length.map_or(Ok(longest), str::parse).map_err(|_| invalid())?;
    if length > longest {
        return Err(invalid());
    }
    let mask = u128::MAX.checked_shl(128 - (offset + length)).unwrap_or(0);
    Ok((bits(address) & mask, mask))
}

/// IPv4 addresses are compared as IPv4-mapped IPv6 ones (RFC 4291 section 2.5.5.2), which is how a dual-stack
/// listener reports them.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => Ipv6Addr::to_bits(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_addresses() {
        let networks = Networks::parse(&["10.0.0.0/8", "192.0.2.1", "fd00::/8"]).unwrap();
        for (address, expected) in [
            ("10.1.2.3", true),
            ("11.0.0.1", false),
            ("::ffff:10.0.0.1", true),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("fd12::1", true),
            ("fe80::1", false),
        ] {
            assert_eq!(networks.contains(address.parse().unwrap()), expected, "{address}");
        }
        for bad in ["10.0.0.0/33", "x", "10.0.0.0/", "1.2.3"] {
            assert!(Networks::parse(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted = Networks::parse(&["10.0.0.0/8"]).unwrap();
        let client = |peer: &str, header: Option<&str>| trusted.client(peer.parse().unwrap(), header).to_string();
        assert_eq!(client("198.51.100.1", Some("203.0.113.9")), "198.51.100.1");
        assert_eq!(client("10.0.0.1", Some("203.0.113.9, 10.0.0.2")), "203.0.113.9");
        assert_eq!(client("10.0.0.1", Some("1.1.1.1, 203.0.113.9")), "203.0.113.9");
        for (hop, address) in [
            ("203.0.113.9:1234", "203.0.113.9"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
        ] {
            let header = format!("1.1.1.1, {hop}, 10.0.0.2:80");
            assert_eq!(client("10.0.0.1", Some(header.as_str())), address, "{hop}");
        }
        assert_eq!(client("10.0.0.1", Some("garbage")), "10.0.0.1");
        assert_eq!(client("10.0.0.1", None), "10.0.0.1");
    }
}
