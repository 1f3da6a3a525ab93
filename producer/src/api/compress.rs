//! Answers that are worth it are sent compressed to who takes that: gzip, which everybody does.
//!
//! A list of routes says which, so that a new one is not by accident. Not in it, for good: answers that hold
//! a signed URL or another secret beside text that somebody else may choose (jobs and their lists, keys,
//! webhooks), because the length of such an answer tells of the secret (BREACH); event streams, which would
//! wait for a full block; and files, which are compressed as they are.

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{Extensions, HeaderMap, StatusCode, Version};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{Predicate as _, SizeAbove};

use super::App;

/// Below this a packet less is not won.
const BYTES_MIN: u16 = 1024;
/// Routes whose answers hold nothing that their length could tell.
const ROUTES: &[&str] = &[
    "/openapi.json",
    "/docs",
    "/v1/admin/dead",
    "/v1/admin/queue",
    "/v1/admin/tenants",
    "/v1/admin/workers",
    "/v1/jobs/{id}/logs",
    "/v1/templates",
    "/v1/usage",
    "/v1/validate",
];

/// Marks an answer of one of [`ROUTES`].
#[derive(Clone, Copy)]
struct Harmless;

async fn mark(request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let harmless = matched.is_some_and(|route| ROUTES.contains(&route.as_str()));
    let mut response = next.run(request).await;
    if harmless {
        response.extensions_mut().insert(Harmless);
    }
    response
}

/// The routes, whose answers are compressed where they may be.
pub(super) fn layered(routes: Router<App>) -> Router<App> {
    let harmless = |_: StatusCode, _: Version, _: &HeaderMap, extensions: &Extensions| {
        extensions.get::<Harmless>().is_some()
    };
    let layer = CompressionLayer::new()
        .gzip(true)
        .compress_when(SizeAbove::new(BYTES_MIN).and(harmless));
    routes.layer(from_fn(mark)).layer(layer)
}
