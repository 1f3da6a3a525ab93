//! What can go wrong between us and a sandbox of Blaxel's, and what may be done about it.
//!
//! A 404 alone has three meanings there, so status numbers decide nothing here: the platform
//! answers with an object below `error` (or a header), the sandbox's server with a string, a
//! server that is older than the call with plain text, the network in front of all with HTML.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

/// Longest piece of an answer that is repeated in an error.
const SHOWN_CHARS_MAX: usize = 300;
/// Longest pause that an answer can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// Why a call did not do what it was to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{call}: {what}")]
pub struct ApiError {
    /// The call, without address and key.
    pub call: &'static str,
    /// What came of it, for the operator.
    pub what: String,
    /// What it means.
    pub kind: Kind,
    /// How long the other side wants us to wait.
    pub retry_after: Option<Duration>,
    /// Nobody has begun to do it: it may be sent again, whatever it is.
    pub not_begun: bool,
}

/// What an error means for who called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No answer, or not all of it: reset, refused, timed out, cut short.
    NoAnswer,
    /// The platform or the network in front of the sandbox cannot now; later it may.
    Later,
    /// The key is missing, wrong, revoked or may not do this.
    Denied,
    /// The account's plan does not allow it.
    OverPlan,
    /// The platform knows no such sandbox, workspace or address.
    Gone,
    /// The sandbox has no such file or process.
    Missing,
    /// The sandbox's server is older than this call.
    NoRoute,
    /// The request was understood and refused; it would be again.
    Refused,
    /// The answer is not what the interface promises.
    Garbled,
}

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The control plane.
    Control,
    /// A sandbox's own server, behind the platform's gateway.
    Sandbox,
}

impl ApiError {
    /// An error of our own finding.
    #[must_use]
    pub fn new(call: &'static str, kind: Kind, what: impl Into<String>) -> Self {
        Self {
            call,
            what: what.into(),
            kind,
            retry_after: None,
            not_begun: false,
        }
    }

    /// The same call may work in a moment.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self.kind, Kind::NoAnswer | Kind::Later)
    }

    /// A request that got no answer, or whose answer broke off.
    pub(super) fn broken(call: &'static str, error: reqwest::Error) -> Self {
        let not_begun = error.is_connect();
        let kind = if error.is_builder() || error.is_redirect() {
            Kind::Refused
        } else {
            Kind::NoAnswer
        };
        // The address may hold a signature; the rest of the chain says what broke.
        let error = error.without_url();
        let mut what = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            what = format!("{what}: {cause}");
            source = cause.source();
        }
        Self {
            not_begun,
            ..Self::new(call, kind, what)
        }
    }

    /// An answer of this side that is no success.
    pub(super) fn answered(
        side: Side,
        call: &'static str,
        status: StatusCode,
        headers: &HeaderMap,
        body: &str,
    ) -> Self {
        let retry_after = retry_after(headers);
        let json = serde_json::from_str::<Value>(body).ok();
        let from_platform = headers
            .get("x-blaxel-source")
            .is_some_and(|source| source == "platform");
        let header_code = headers
            .get("x-blaxel-error-code")
            .and_then(|code| code.to_str().ok())
            .map(str::to_owned);
        let error = json.as_ref().and_then(|json| json.get("error"));
        let text_of = |value: &Value, name: &str| {
            let value = value.get(name)?;
            value.as_str().map(str::to_owned)
        };
        // Four shapes: {"error":{…}}, {"error":"…"}, {"code":"…","message":"…"}, anything.
        let object = error.filter(|error| error.is_object());
        let code = object
            .and_then(|object| text_of(object, "code"))
            .or(header_code)
            .or_else(|| json.as_ref().and_then(|json| text_of(json, "code")));
        let message = object
            .and_then(|object| text_of(object, "message"))
            .or_else(|| json.as_ref().and_then(|json| text_of(json, "message")))
            .or_else(|| error.and_then(Value::as_str).map(str::to_owned));
        let flag = |name: &str| {
            let of = |value: &Value| value.get(name).and_then(Value::as_bool);
            object.and_then(of).or_else(|| json.as_ref().and_then(of))
        };
        let of_platform = from_platform || object.is_some();
        let kind = meaning(
            status,
            code.as_deref(),
            of_platform,
            json.is_some(),
            side,
            flag("retryable"),
        );
        let not_dispatched = object
            .and_then(|object| object.get("dispatch_state"))
            .and_then(Value::as_str)
            == Some("not_dispatched");
        // What the gateway refuses without having anybody to hand it to was not begun.
        let never_sent = status == StatusCode::TOO_MANY_REQUESTS
            || of_platform && code.as_deref() == Some("WORKLOAD_UNAVAILABLE");
        let who = if of_platform {
            "the platform"
        } else if json.is_some() {
            "the server"
        } else {
            "something on the way"
        };
        let said = match (&code, message) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.clone(),
            (None, Some(message)) => message,
            (None, None) if json.is_none() && !body.trim_start().starts_with('<') => {
                body.trim().to_owned()
            }
            (None, None) => "no reason given".to_owned(),
        };
        Self {
            call,
            what: format!("{who} answered {}: {}", status.as_u16(), harmless(&said)),
            kind,
            retry_after,
            not_begun: kind == Kind::Later
                && (never_sent || not_dispatched || flag("safe_to_retry_request") == Some(true)),
        }
    }
}

fn meaning(
    status: StatusCode,
    code: Option<&str>,
    of_platform: bool,
    is_json: bool,
    side: Side,
    retryable: Option<bool>,
) -> Kind {
    match code {
        Some("WORKLOAD_UNAVAILABLE" | "AUTHENTICATION_UNAVAILABLE") => return Kind::Later,
        Some("WORKLOAD_NOT_FOUND" | "ROUTE_NOT_FOUND" | "WORKSPACE_NOT_FOUND") => {
            return Kind::Gone;
        }
        _ => {}
    }
    match status.as_u16() {
        401 | 403 => Kind::Denied,
        402 => Kind::OverPlan,
        404 if of_platform => {
            if retryable == Some(true) {
                Kind::Later
            } else {
                Kind::Gone
            }
        }
        404 if is_json => Kind::Missing,
        404 | 405 => Kind::NoRoute,
        408 | 429 => Kind::Later,
        500 if of_platform && retryable != Some(true) => Kind::Refused,
        // The sandbox's own server says 500 for what will not be otherwise the next time.
        500 if is_json && !of_platform && side == Side::Sandbox => Kind::Refused,
        500..=599 if retryable == Some(false) => Kind::Refused,
        500..=599 => Kind::Later,
        _ => Kind::Refused,
    }
}

/// Seconds or a date, bounded.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => {
            Duration::from_secs_f64(seconds.min(RETRY_AFTER_MAX.as_secs_f64()))
        }
        Ok(_) => return None,
        Err(_) => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(std::time::SystemTime::now())
            .unwrap_or_default(),
    };
    Some(asked.min(RETRY_AFTER_MAX))
}

/// What others wrote, fit for a log line.
pub(super) fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SHOWN_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, headers: &[(&'static str, &str)], body: &str) -> ApiError {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a value"));
        }
        let status = StatusCode::from_u16(status).expect("a status");
        ApiError::answered(Side::Sandbox, "test", status, &map, body)
    }

    #[test]
    fn a_500_is_the_sandbox_server_s_last_word_and_not_the_control_plane_s() {
        let of = |side, body| {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            ApiError::answered(side, "test", status, &HeaderMap::new(), body).kind
        };
        let body = r#"{"error":"it broke","code":500}"#;
        assert_eq!(of(Side::Sandbox, body), Kind::Refused);
        assert_eq!(of(Side::Control, body), Kind::Later);
        let last = r#"{"error":{"code":"GATEWAY_INTERNAL_ERROR","retryable":false}}"#;
        assert_eq!(of(Side::Control, last), Kind::Refused);
    }

    #[test]
    fn a_404_has_four_meanings() {
        let kind = |body: &str| read(404, &[], body).kind;
        assert_eq!(kind(r#"{"error":"process not found"}"#), Kind::Missing);
        assert_eq!(kind("404 page not found"), Kind::NoRoute);
        let gone = r#"{"error":{"code":"WORKLOAD_NOT_FOUND","message":"x","origin":"platform"}}"#;
        assert_eq!(kind(gone), Kind::Gone);
        let asleep = r#"{"error":{"code":"WORKLOAD_UNAVAILABLE","retryable":true}}"#;
        assert_eq!(kind(asleep), Kind::Later);
    }

    #[test]
    fn html_of_the_edge_is_for_later_and_is_not_repeated() {
        for status in [502, 503, 504] {
            let error = read(status, &[], "<html><body>secret page</body></html>");
            assert_eq!(error.kind, Kind::Later);
            assert!(!error.not_begun, "the work may go on");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_was_not_begun_is_told_by_the_platform_only() {
        let body = r#"{"error":{"code":"UPSTREAM_ERROR","retryable":true,"dispatch_state":"not_dispatched"}}"#;
        assert!(read(502, &[], body).not_begun);
        let body = r#"{"error":{"code":"UPSTREAM_ERROR","retryable":true}}"#;
        assert!(!read(502, &[], body).not_begun);
        assert!(read(429, &[("retry-after", "2")], "{}").not_begun);
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_date_and_bounded() {
        let after = |text: &str| read(429, &[("retry-after", text)], "{}").retry_after;
        assert_eq!(after("2"), Some(Duration::from_secs(2)));
        assert_eq!(after("86400"), Some(RETRY_AFTER_MAX));
        assert_eq!(
            after("Fri, 01 Jan 2100 00:00:00 GMT"),
            Some(RETRY_AFTER_MAX)
        );
        assert_eq!(after("Sat, 01 Jan 2000 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn a_refused_key_is_never_tried_again() {
        for (status, body) in [
            (
                401,
                r#"{"error":{"code":"TOKEN_REVOKED","message":"revoked"}}"#,
            ),
            (403, r#"{"error":"forbidden","code":403}"#),
        ] {
            let error = read(status, &[], body);
            assert_eq!(error.kind, Kind::Denied);
            assert!(!error.is_passing());
        }
    }
}
