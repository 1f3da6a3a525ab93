//! Whose address a request comes from, when proxies stand between.
//!
//! Only who is told to be a proxy is believed, and only about the hop before it: the list of a header
//! is walked from its end, and the first address that is not a trusted proxy's is the client's. What
//! stands further left was written by that client and counts for nothing. One header alone is read: a
//! proxy that writes one passes the other on as it came.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::http::header::FORWARDED;
use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Hops that are looked at; beyond them the last one that was counts.
const HOPS_MAX: usize = 32;

/// The address that limits are about: the client's, as far as can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// A network of proxies, such as `10.0.0.0/8`, `fd00::/8` or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let net = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let net = net.map_err(|_| {
            format!("{text:?} is no network: write addresses such as 10.0.0.0/8, fd00::/8 or 192.0.2.7, several with commas between")
        })?;
        if net.prefix_len() == 0 {
            return Err(format!(
                "{text} is everybody, who could then claim any address: name the proxies"
            ));
        }
        Ok(Self(net))
    }
}

/// Which header the proxies write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239)
    Forwarded,
}

/// Who is believed about addresses. The default believes nobody.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// The proxies.
    pub trusted: Vec<Network>,
    /// The header that they write.
    pub header: ProxyHeader,
}

impl Proxies {
    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted
            .iter()
            .any(|Network(net)| net.contains(&address))
    }

    /// The client's address, where `peer` is the other end of the connection.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let mut known = peer.to_canonical();
        if !self.trusts(known) {
            return ClientAddress(known);
        }
        let name = match self.header {
            ProxyHeader::XForwardedFor => &X_FORWARDED_FOR,
            ProxyHeader::Forwarded => &FORWARDED,
        };
        // Several lines of a header are one list (RFC 9110 §5.3).
        let lines: Vec<_> = headers.get_all(name).iter().collect();
        let hops = lines.iter().rev().flat_map(|line| {
            let text = line.to_str().unwrap_or_default();
            text.rsplit(',')
        });
        for hop in hops.take(HOPS_MAX) {
            let address = match self.header {
                ProxyHeader::XForwardedFor => address(hop),
                ProxyHeader::Forwarded => forwarded_for(hop).and_then(address),
            };
            // What a trusted proxy says that is no address hides the client: the proxy answers for it.
            let Some(address) = address else { break };
            known = address;
            if !self.trusts(known) {
                break;
            }
        }
        ClientAddress(known)
    }
}

/// An address as proxies write it: with or without port, IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let parsed = bare.parse::<IpAddr>().ok();
    parsed
        .or_else(|| text.parse::<SocketAddr>().ok().map(|both| both.ip()))
        .map(|address| address.to_canonical())
}

/// The `for` of one element of `Forwarded`, without its quotes. Two of them are none.
fn forwarded_for(element: &str) -> Option<&str> {
    let mut found = element.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("for")
            .then_some(value.trim())
    });
    let value = found.next()?;
    if found.next().is_some() {
        return None;
    }
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn proxies(trusted: &str, header: ProxyHeader) -> Proxies {
        Proxies {
            trusted: trusted.split(',').map(|net| net.parse().unwrap()).collect(),
            header,
        }
    }

    fn client(proxies: &Proxies, peer: &str, lines: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let ClientAddress(address) = proxies.client(peer.parse().unwrap(), &headers);
        address.to_string()
    }

    #[test]
    fn the_rightmost_hop_that_is_no_proxy_is_the_client() {
        let trusted = proxies("10.0.0.0/8,fd00::/8,127.0.0.1", ProxyHeader::XForwardedFor);
        let long = vec!["10.0.0.9"; 1000].join(",");
        for (peer, lines, expected) in [
            // Nobody is trusted: the header is the client's own invention.
            ("203.0.113.9", vec!["198.51.100.1"], "203.0.113.9"),
            ("10.1.1.1", vec![], "10.1.1.1"),
            ("10.1.1.1", vec!["198.51.100.1"], "198.51.100.1"),
            // Spoofed: the client sent the left part itself.
            ("10.1.1.1", vec!["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            ("10.1.1.1", vec!["10.9.9.9, 198.51.100.1"], "198.51.100.1"),
            ("10.1.1.1", vec!["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
            // Several of our hops.
            (
                "127.0.0.1",
                vec!["198.51.100.1, 10.2.2.2,10.3.3.3"],
                "198.51.100.1",
            ),
            ("127.0.0.1", vec!["10.2.2.2"], "10.2.2.2"),
            // Ports, IPv6, mapped addresses.
            ("10.1.1.1", vec!["198.51.100.1:4711"], "198.51.100.1"),
            ("10.1.1.1", vec!["2001:db8::7"], "2001:db8::7"),
            ("10.1.1.1", vec!["[2001:db8::7]:443"], "2001:db8::7"),
            ("fd00::1", vec!["[2001:db8::7]"], "2001:db8::7"),
            (
                "::ffff:10.1.1.1",
                vec!["::ffff:198.51.100.1"],
                "198.51.100.1",
            ),
            // Malformed: the proxy that passed it on answers for it.
            ("10.1.1.1", vec!["1.1.1.1, nonsense"], "10.1.1.1"),
            ("10.1.1.1", vec!["1.1.1.1, unknown, 10.2.2.2"], "10.2.2.2"),
            ("10.1.1.1", vec!["1.1.1.1,"], "10.1.1.1"),
            ("10.1.1.1", vec![""], "10.1.1.1"),
            ("10.1.1.1", vec!["198.51.100.1é"], "10.1.1.1"),
            ("10.1.1.1", vec!["999.1.1.1"], "10.1.1.1"),
            ("10.1.1.1", vec![long.as_str()], "10.0.0.9"),
        ] {
            let lines: Vec<_> = lines
                .into_iter()
                .map(|line| ("x-forwarded-for", line))
                .collect();
            assert_eq!(client(&trusted, peer, &lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn forwarded_is_read_instead_if_the_proxies_write_that() {
        let trusted = proxies("10.0.0.0/8", ProxyHeader::Forwarded);
        for (value, expected) in [
            ("for=198.51.100.1;proto=https;by=10.1.1.1", "198.51.100.1"),
            ("For=\"[2001:db8::7]:4711\"", "2001:db8::7"),
            (
                "for=1.1.1.1, for=198.51.100.1, for=10.2.2.2",
                "198.51.100.1",
            ),
            ("for=1.1.1.1, for=_hidden", "10.1.1.1"),
            ("for=1.1.1.1, proto=https", "10.1.1.1"),
            ("for=1.1.1.1;for=2.2.2.2", "10.1.1.1"),
            ("for=\"1.1.1.1", "10.1.1.1"),
        ] {
            let lines = [("forwarded", value), ("x-forwarded-for", "6.6.6.6")];
            assert_eq!(client(&trusted, "10.1.1.1", &lines), expected, "{value}");
        }
        let other = proxies("10.0.0.0/8", ProxyHeader::XForwardedFor);
        let lines = [
            ("forwarded", "for=6.6.6.6"),
            ("x-forwarded-for", "198.51.100.1"),
        ];
        assert_eq!(client(&other, "10.1.1.1", &lines), "198.51.100.1");
    }

    #[test]
    fn a_network_that_is_everybody_or_none_is_refused() {
        for wrong in ["0.0.0.0/0", "::/0", "proxy.local", "10.0.0.0/33", ""] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        assert!("192.0.2.7".parse::<Network>().is_ok());
    }
}
