//! `/docs`: the API's document as a page on which it can be tried out. Our own, of 15 kB: nothing is fetched from
//! elsewhere, and no script or style may be but the two that are served here.

use axum::http::HeaderName;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse as _, Response};

/// What the page may do.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

fn file(kind: &'static str, content: &'static str) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, kind),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, content).into_response()
}

pub(super) async fn page() -> Response {
    file("text/html; charset=utf-8", include_str!("docs/index.html"))
}

pub(super) async fn script() -> Response {
    file(
        "text/javascript; charset=utf-8",
        include_str!("docs/app.js"),
    )
}

pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("docs/style.css"))
}
