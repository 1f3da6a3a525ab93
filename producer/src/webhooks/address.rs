//! Where a webhook may point to.
//!
//! A tenant gives a URL and our server calls it: without limits it could call what only this
//! server reaches (its own Redis, a cloud's metadata service, the neighbours). So a call goes to
//! public addresses only, or to networks that the operator allows; the name is looked up once, each
//! of its addresses is judged, and the connection is made to exactly these.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use manimq_shared::webhook::URL_BYTES_MAX;
use url::{Host, Url};

/// Longest look-up of a name.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Where webhooks may point to, and how TLS is spoken to them.
#[derive(Clone)]
pub struct Targets {
    /// Networks that are allowed though they are not public; HTTP without TLS is, too, there.
    pub allowed: Vec<IpNet>,
    /// Whose certificates are trusted.
    pub tls: rustls::ClientConfig,
}

/// Why a URL is not called. `Display` is shown to its owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a URL that could be called.
    #[error("{0}")]
    Form(&'static str),
    /// An address that is not public.
    #[error(
        "{0} is not a public address; an operator can allow its network with MANIMQ_WEBHOOK_ALLOW"
    )]
    Address(IpAddr),
    /// HTTP to somewhere that is not allowed by name.
    #[error("use https: what is sent would be readable on its way")]
    Plain,
    /// The name is not known.
    #[error("the name {0} cannot be looked up")]
    Lookup(String),
}

/// What may be called: a URL and the addresses that its host has.
#[derive(Debug)]
pub(super) struct Target {
    pub url: Url,
    /// The host as a name, if it is one.
    pub name: Option<String>,
    pub addresses: Vec<SocketAddr>,
}

impl Targets {
    /// What can be said of a URL without looking up its host.
    ///
    /// # Errors
    /// Why it will never be called.
    pub fn check(&self, text: &str) -> Result<(), Refusal> {
        self.parse(text).map(drop)
    }

    fn parse(&self, text: &str) -> Result<(Url, Host), Refusal> {
        if text.len() > URL_BYTES_MAX {
            return Err(Refusal::Form("longer than 2,048 bytes"));
        }
        let url = Url::parse(text)
            .map_err(|_| Refusal::Form("not a URL such as https://example.com/hooks/manimq"))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(Refusal::Form("use https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Form(
                "no user name or password: calls are signed instead, see webhook-signature",
            ));
        }
        let host = url.host().map(|host| host.to_owned());
        let host = host.ok_or(Refusal::Form("without a host"))?;
        let literal = match &host {
            Host::Ipv4(ip) => Some(IpAddr::V4(*ip)),
            Host::Ipv6(ip) => Some(IpAddr::V6(*ip)),
            Host::Domain(_) => None,
        };
        if let Some(ip) = literal {
            self.judge(ip, url.scheme())?;
        } else if url.scheme() == "http" && self.allowed.is_empty() {
            return Err(Refusal::Plain);
        }
        Ok((url, host))
    }

    fn judge(&self, ip: IpAddr, scheme: &str) -> Result<(), Refusal> {
        let ip = ip.to_canonical();
        if self.allowed.iter().any(|net| net.contains(&ip)) {
            return Ok(());
        }
        if !is_public(ip) {
            return Err(Refusal::Address(ip));
        }
        if scheme == "http" {
            return Err(Refusal::Plain);
        }
        Ok(())
    }

    /// Looks up where a URL leads. One address that is not allowed refuses all: a name that mixes
    /// them is made to be called at the wrong one.
    pub(super) async fn find(&self, text: &str) -> Result<Target, Refusal> {
        let (url, host) = self.parse(text)?;
        let port = url.port_or_known_default().unwrap_or(443);
        let (name, addresses) = match host {
            Host::Ipv4(ip) => (None, vec![SocketAddr::from((ip, port))]),
            Host::Ipv6(ip) => (None, vec![SocketAddr::from((ip, port))]),
            Host::Domain(name) => {
                let unknown = || Refusal::Lookup(name.clone());
                let found = tokio::net::lookup_host((name.as_str(), port));
                let found = tokio::time::timeout(LOOKUP_TIMEOUT, found).await;
                let found = found.map_err(|_| unknown())?.map_err(|_| unknown())?;
                (Some(name.clone()), found.collect::<Vec<_>>())
            }
        };
        for address in &addresses {
            self.judge(address.ip(), url.scheme())?;
        }
        if addresses.is_empty() {
            return Err(Refusal::Lookup(name.unwrap_or_default()));
        }
        Ok(Target {
            url,
            name,
            addresses,
        })
    }
}

/// Whether anybody on the internet could call it: not special by the IANA registries, and not a v6
/// form that carries a v4 address which is.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        // "This network"; shared address space; IETF protocol assignments; 6to4 relays;
        // benchmarks; reserved; and what Azure's machines find their host agent at.
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b))
        || a >= 240
        || ip == Ipv4Addr::new(168, 63, 129, 16))
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let s = ip.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match s {
        // Mapped and translated (NAT64) v4.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(v4(high, low))
        }
        // 6to4.
        [0x2002, high, low, ..] => is_public_v4(v4(high, low)),
        // Only global unicast is handed out; of it not Teredo and its neighbours (2001:0::/23),
        // documentation (2001:db8::/32, 3fff::/20).
        [first, second, ..] => {
            (0x2000..0x4000).contains(&first)
                && !(first == 0x2001 && second < 0x200)
                && !(first == 0x2001 && second == 0xdb8)
                && !(first == 0x3fff && second < 0x1000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(allowed: &[&str]) -> Targets {
        Targets {
            allowed: allowed.iter().map(|net| net.parse().unwrap()).collect(),
            tls: manimq_shared::tls::client_config(None).unwrap(),
        }
    }

    #[test]
    fn only_public_addresses_are_called_whatever_form_they_are_written_in() {
        let targets = targets(&[]);
        for url in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://017700000001/",
            "https://0/",
            "https://10.1.2.3/",
            "https://172.16.0.1/",
            "https://192.168.1.1:8443/x",
            "https://169.254.169.254/latest/meta-data/",
            "https://100.100.100.200/",
            "https://192.0.0.192/",
            "https://198.18.0.1/",
            "https://168.63.129.16/",
            "https://224.0.0.1/",
            "https://255.255.255.255/",
            "https://[::1]/",
            "https://[::]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://[::127.0.0.1]/",
            "https://[64:ff9b::7f00:1]/",
            "https://[2002:7f00:1::]/",
            "https://[2001:0:1:2:3:4:5:6]/",
            "https://[fd00:ec2::254]/",
            "https://[fe80::1]/",
            "https://[fec0::1]/",
            "https://[ff02::1]/",
            "https://[2001:db8::1]/",
            "https://[100::1]/",
        ] {
            let refusal = targets.check(url).unwrap_err();
            assert!(matches!(refusal, Refusal::Address(_)), "{url}: {refusal}");
        }
        for url in [
            "https://example.com/hook?x=1",
            "https://93.184.215.14:8443/",
            "https://[2606:4700::1111]/",
            "https://[::ffff:93.184.215.14]/",
        ] {
            assert_eq!(targets.check(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn a_url_is_refused_with_what_is_wrong_with_it() {
        let long = format!("https://example.com/{}", "x".repeat(3000));
        for (url, words) in [
            ("", "not a URL"),
            ("example.com", "not a URL"),
            ("ftp://example.com", "https"),
            ("file:///etc/passwd", "https"),
            ("gopher://127.0.0.1:6379/_x", "https"),
            ("http://example.com/", "use https"),
            ("https://user:secret@example.com", "no user name"),
            (long.as_str(), "2,048"),
        ] {
            let refusal = targets(&[]).check(url).unwrap_err().to_string();
            assert!(refusal.contains(words), "{url}: {refusal}");
            assert!(!refusal.contains("secret"), "{refusal}");
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_the_addresses_that_it_has() {
        let refusal = targets(&[]).find("https://localhost/").await.unwrap_err();
        assert!(matches!(refusal, Refusal::Address(_)), "{refusal}");
        let both = targets(&["127.0.0.0/8", "::1/128"]);
        let found = both.find("http://localhost:81/").await.unwrap();
        assert_eq!(found.name.as_deref(), Some("localhost"));
        assert!(
            found
                .addresses
                .iter()
                .all(|a| a.ip().is_loopback() && a.port() == 81)
        );
        let unknown = both
            .find("https://no-such-name.invalid/")
            .await
            .unwrap_err();
        assert!(matches!(unknown, Refusal::Lookup(_)), "{unknown}");
    }

    #[test]
    fn an_operator_can_allow_a_network_and_nothing_beside_it() {
        let targets = targets(&["10.1.0.0/16"]);
        assert_eq!(targets.check("http://10.1.2.3/"), Ok(()));
        assert_eq!(targets.check("http://[::ffff:10.1.2.3]/"), Ok(()));
        assert!(targets.check("http://10.2.2.3/").is_err());
        assert_eq!(targets.check("http://93.184.215.14/"), Err(Refusal::Plain));
    }
}
