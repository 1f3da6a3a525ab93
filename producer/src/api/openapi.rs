//! `/openapi.json`: the API described, from the code. `producer/openapi.json` is a copy that is
//! kept equal by a test, so that a change of the API shows in review.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::schema::{AdditionalProperties, Schema};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, OpenApi, Ref, RefOr, Response as Answer, ResponseBuilder, SecurityRequirement,
};
use utoipa::{IntoResponses, Modify, OpenApi as _};

use super::problem::{Kind, PROBLEM_JSON};

/// An answer that is a problem.
pub(super) fn problem_answer(text: &str) -> RefOr<Answer> {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    let answer = ResponseBuilder::new()
        .description(text)
        .content(PROBLEM_JSON, content)
        .build();
    RefOr::T(answer)
}

/// The errors that every route with a body may answer with.
const BODY_PROBLEMS: [(&str, &str); 3] = [
    ("408", "`request-timeout`: the body did not arrive in time"),
    ("413", "`too-large`: the body is too large"),
    ("415", "`media-type`: not `application/json`"),
];

/// The errors that every job route may answer with.
pub(super) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Answer>> {
        [
            ("400", "`malformed`: not a request of this API"),
            ("401", "`unauthenticated`: an API key is needed"),
            (
                "403",
                "`capability-missing`: the key lacks a scope; `tenant-disabled`: an operator disabled the tenant",
            ),
            ("404", "`not-found`: no such job, or not yours"),
            (
                "429",
                "`quota-exceeded`, `rate-limited`: see `Retry-After`, `RateLimit` and `RateLimit-Policy`",
            ),
            ("500", "`internal`: a fault of manimq"),
            (
                "503",
                "`queue-unavailable`, `temporary-reduced-capacity`: see `Retry-After`",
            ),
        ]
        .into_iter()
        .map(|(status, text)| (status.to_owned(), problem_answer(text)))
        .collect()
    }
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "manimq",
        description = "Renders Manim animations. Submit a job, follow it, fetch the film. Every error is `application/problem+json` (RFC 9457) with a `type` for programs, a `detail` for people and the `request_id`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(manimq_shared::api::Problem)),
    tags(
        (name = "jobs", description = "Submit, follow, cancel, fetch"),
        (name = "templates", description = "Films that need no code: by parameters, or from a sentence"),
        (name = "admin", description = "For operators: keys with the scope `admin`; others get 403 (`capability-missing`)"),
        (name = "webhooks", description = "Be told when jobs end"),
        (name = "probes", description = "For load balancers and operators; without a key")
    ),
    modifiers(&Rest)
)]
struct Base;

/// What the attributes cannot say: the API key (needed for jobs, if the server has one) and the
/// list of error types.
struct Rest;

impl Modify for Rest {
    fn modify(&self, document: &mut OpenApi) {
        let text = document.info.description.get_or_insert_default();
        text.push_str("\n\n| `type` | status | |\n| --- | --- | --- |\n");
        for kind in Kind::ALL {
            let (slug, status, title) = (kind.slug(), kind.status().as_u16(), kind.title());
            text.push_str(&format!("| `{slug}` | {status} | {title} |\n"));
        }
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(
            "key",
            SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
        );
        document.security = Some(vec![
            SecurityRequirement::default(),
            SecurityRequirement::new("key", Vec::<String>::new()),
        ]);
    }
}

/// The whole document.
#[must_use]
pub fn document() -> OpenApi {
    let (_, routes) = super::documented().split_for_parts();
    let mut document = Base::openapi();
    document.merge(routes);
    for item in document.paths.paths.values_mut() {
        for operation in [
            &mut item.post,
            &mut item.patch,
            &mut item.delete,
            &mut item.put,
        ] {
            if let Some(operation) = operation.as_mut().filter(|op| op.request_body.is_some()) {
                for (status, text) in BODY_PROBLEMS {
                    let answers = &mut operation.responses.responses;
                    answers
                        .entry(status.to_owned())
                        .or_insert_with(|| problem_answer(text));
                }
            }
        }
    }
    // What the attribute on the whole enum means for each of its forms.
    let schemas = document.components.as_mut().map(|all| &mut all.schemas);
    if let Some(RefOr::T(Schema::OneOf(input))) = schemas.and_then(|all| all.get_mut("JobInput")) {
        for form in &mut input.items {
            if let RefOr::T(Schema::Object(form)) = form {
                let nothing_else = AdditionalProperties::FreeForm(false);
                form.additional_properties = Some(Box::new(nothing_else));
            }
        }
    }
    document
}

static TEXT: LazyLock<String> = LazyLock::new(|| document().to_pretty_json().unwrap_or_default());

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "probes", operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")),
    security(())
)]
pub(super) async fn serve() -> Response {
    (
        [
            (CONTENT_TYPE, "application/json"),
            (CACHE_CONTROL, "no-cache"),
        ],
        TEXT.as_str(),
    )
        .into_response()
}
