//! Which web pages may speak to the API from a browser: those of an exact list of origins, nobody by
//! default. A key is what lets somebody in; this only tells browsers what to show to whose scripts.

use std::str::FromStr;
use std::time::Duration;

use axum::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LINK, LOCATION,
    RETRY_AFTER,
};
use axum::http::{HeaderName, HeaderValue, Method, Uri};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::REQUEST_ID;

/// How long a browser may remember what it was allowed.
const MAX_AGE: Duration = Duration::from_secs(600);

/// An origin: scheme, host and perhaps a port, as a browser writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(pub(super) HeaderValue);

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = || {
            format!(
                "{text:?} is no origin: write https://app.example.com, with the port if it is not the usual one, in lower case, without path or `*`; several with commas between"
            )
        };
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let host = uri.host().unwrap_or_default();
        let exact = match (uri.scheme_str(), uri.authority()) {
            (Some(scheme @ ("http" | "https")), Some(authority)) => {
                let usual = if scheme == "https" { 443 } else { 80 };
                format!("{scheme}://{authority}") == text
                    && text.to_ascii_lowercase() == text
                    && authority.port_u16() != Some(usual)
                    && !host.is_empty()
                    && !text.contains(['*', '@'])
            }
            _ => false,
        };
        let value = HeaderValue::from_str(text).map_err(|_| wrong())?;
        exact.then_some(Self(value)).ok_or_else(wrong)
    }
}

/// The layer; `None` if no origin is allowed, so that no answer has a word of it.
pub(super) fn layer(origins: &[Origin]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let name = HeaderName::from_static;
    let origins = origins.iter().map(|Origin(value)| value.clone());
    Some(
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods([
                Method::GET,
                Method::HEAD,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
            ])
            .allow_headers([
                AUTHORIZATION,
                ACCEPT,
                CONTENT_TYPE,
                IF_NONE_MATCH,
                REQUEST_ID,
                name("idempotency-key"),
                name("last-event-id"),
                name("prefer"),
                name("traceparent"),
            ])
            .expose_headers([
                CONTENT_LENGTH,
                ETAG,
                LINK,
                LOCATION,
                RETRY_AFTER,
                REQUEST_ID,
                name("idempotency-replayed"),
                name("ratelimit"),
                name("ratelimit-policy"),
                name("preference-applied"),
                name("www-authenticate"),
            ])
            .max_age(MAX_AGE),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_a_browser_would_send() {
        for good in [
            "https://app.example.com",
            "http://localhost:5173",
            "https://[2001:db8::1]:8443",
        ] {
            assert!(good.parse::<Origin>().is_ok(), "{good}");
        }
        for wrong in [
            "*",
            "null",
            "",
            "app.example.com",
            "https://app.example.com/",
            "https://app.example.com/x",
            "https://*.example.com",
            "https://App.example.com",
            "https://app.example.com:443",
            "http://app.example.com:80",
            "https://user@app.example.com",
            "ftp://app.example.com",
        ] {
            assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
        }
    }
}
