//! Before any work is done: is this host name ours, and does one address send too much?

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::address::ClientAddress;
use super::problem::{ApiError, Kind};
use super::{App, Parts};
use crate::http::{Peer, network};

/// Requests per second of one address when nothing is set.
const RATE_DEFAULT: u32 = 200;
/// The burst is this many seconds' worth.
const BURST_S: u32 = 5;
/// Addresses are forgotten each time so many requests were seen, if they are at rest.
const SWEEP_EVERY: u32 = 10_000;

/// The state of the guard.
pub(super) struct Guard {
    limiter: Option<DefaultKeyedRateLimiter<IpAddr>>,
    limit_loopback: bool,
    seen: AtomicU32,
    /// Host names that are ours, if only loopback names may be used. An open API on a loopback
    /// address would otherwise be reachable from any web page whose name is made to point there.
    hosts: Option<Vec<String>>,
}

impl Guard {
    pub(super) fn new(parts: &Parts) -> Self {
        let rate = parts.limits.rate_per_address.unwrap_or(RATE_DEFAULT);
        let limiter = NonZeroU32::new(rate).map(|rate| {
            let burst = rate.saturating_mul(NonZeroU32::new(BURST_S).expect("not zero"));
            RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst))
        });
        let hosts = parts.may_be_open.then(|| {
            std::iter::once(&parts.public_url)
                .chain(&parts.internal_url)
                .filter_map(|url| url.parse::<axum::http::Uri>().ok()?.host().map(lower))
                .collect()
        });
        Self {
            limiter,
            limit_loopback: parts.limits.rate_per_address.is_some(),
            seen: AtomicU32::new(0),
            hosts,
        }
    }

    fn host_is_ours(&self, headers: &HeaderMap) -> bool {
        let Some(ours) = &self.hosts else { return true };
        let Some(host) = headers.get(HOST) else {
            // HTTP/1.0; a browser always sends it.
            return true;
        };
        let Some(authority) = host
            .to_str()
            .ok()
            .and_then(|host| host.parse::<axum::http::uri::Authority>().ok())
        else {
            return false;
        };
        let name = lower(authority.host());
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || bare.parse::<IpAddr>().is_ok() || ours.contains(&name)
    }

    /// Whether a request that changes something was not sent by a page of another site. Browsers send some
    /// without asking first, and where no key is needed nothing else would stop them.
    fn origin_is_ours(&self, app: &App, method: &Method, headers: &HeaderMap) -> bool {
        if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return true;
        }
        let Some(origin) = headers.get(ORIGIN) else {
            return true;
        };
        let parts = app.parts();
        let allowed = parts.cors_origins.iter().any(|known| known.0 == *origin);
        let origin = lower(origin.to_str().unwrap_or_default());
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let same = host.is_some_and(|host| authority == Some(lower(host).as_str()));
        let public = parts.public_url.parse::<axum::http::Uri>().ok();
        let public = public.and_then(|uri| Some(lower(uri.authority()?.as_str())));
        allowed || same || (public.is_some() && authority == public.as_deref())
    }

    /// `Err`: seconds until this address may come back.
    fn admit(&self, address: IpAddr) -> Result<(), u64> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        if address.is_loopback() && !self.limit_loopback {
            return Ok(());
        }
        if self.seen.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            limiter.retain_recent();
        }
        limiter.check_key(&network(address)).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            wait.as_secs() + 1
        })
    }
}

fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}

/// Middleware for all routes. Signed URLs and probes pass the rate: they carry their own leave,
/// and a probe that is refused would take a healthy process out of service.
pub(super) async fn check(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let guard = &app.0.guard;
    if app.0.door.may_be_open() {
        if !guard.host_is_ours(request.headers()) {
            return ApiError::new(
                Kind::HostNotAllowed,
                "without an API key only localhost and addresses are served; behind a proxy start `manimq serve` with --public-url https://YOUR-NAME",
            )
            .into_response();
        }
        if !guard.origin_is_ours(&app, request.method(), request.headers()) {
            return ApiError::new(
                Kind::HostNotAllowed,
                "without an API key pages of other sites may change nothing here; let one in with MANIMQ_CORS_ORIGINS, or make a key",
            )
            .into_response();
        }
    }
    let peer = request.extensions().get::<Peer>().copied();
    let client = peer.map(|Peer(peer)| app.parts().proxies.client(peer.ip(), request.headers()));
    if let Some(client) = client {
        request.extensions_mut().insert(client);
    }
    let path = request.uri().path();
    let limited = !path.starts_with("/storage/") && path != "/healthz" && path != "/readyz";
    if limited
        && let Some(ClientAddress(address)) = client
        && let Err(wait_s) = guard.admit(address)
    {
        app.metrics().http_rate_limited.inc();
        return ApiError::new(
            Kind::RateLimited,
            format!("your address sends too many requests; try again in {wait_s} s"),
        )
        .with_policy("address")
        .retry_after(wait_s)
        .into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_ipv6_customer_is_one_key_and_mapped_v4_is_v4() {
        let key = |text: &str| network(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2:3::4"), key("2001:db8:1:2:ffff::"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    }
}
