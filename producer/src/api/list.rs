//! `GET /v1/jobs`: the caller's jobs, newest first.

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, LINK};
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::{IntoResponse as _, Response};
use manimq_shared::api::JobList;
use manimq_shared::ids::JobId;
use manimq_shared::job::{FieldError, JobRecord, Lane, Stage, Status};
use manimq_shared::queue::ListQuery;
use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::{Query, Tenant};
use super::openapi::Problems;
use super::problem::ApiError;
use super::{App, view};

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 200;
/// Longest text to search for, and most words of a list.
const Q_BYTES_MAX: usize = 200;

/// Which jobs. All that is given must hold.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// One of these statuses, with commas between them, such as `failed,expired`.
    #[param(
        pattern = "^((queued|running|succeeded|failed|canceled|expired)(,(queued|running|succeeded|failed|canceled|expired))*)?$"
    )]
    status: Option<String>,
    /// One of these stages, likewise.
    #[param(
        pattern = "^((accepted|validating|preparing|rendering|encoding|uploading)(,(accepted|validating|preparing|rendering|encoding|uploading))*)?$"
    )]
    stage: Option<String>,
    /// The kind of input: `code`, `template` or `prompt`.
    kind: Option<String>,
    /// The scene class, exactly.
    scene: Option<String>,
    /// A template's id, for jobs that came of one or of a prompt.
    #[param(max_length = 64)]
    template: Option<String>,
    /// One of these lanes, likewise.
    #[param(pattern = "^((interactive|normal|batch)(,(interactive|normal|batch))*)?$")]
    lane: Option<String>,
    /// A tag, exactly.
    tag: Option<String>,
    /// A part of the id, of scene, file name, a tag or the metadata; upper and lower case are the same.
    #[param(max_length = 200)]
    q: Option<String>,
    /// Accepted at this time or later (RFC 3339, such as `2026-11-22T08:00:00Z`).
    #[param(format = DateTime)]
    created_after: Option<String>,
    /// Accepted at this time or earlier.
    #[param(format = DateTime)]
    created_before: Option<String>,
    /// Runs again this job.
    #[param(pattern = "^(job_[0-9a-f]{32})?$")]
    parent: Option<String>,
    /// Most jobs of the page, 1 to 200 (default 50).
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next` of the page before.
    #[param(pattern = "^(AQ[A-Za-z0-9_-]{10})?$")]
    cursor: Option<String>,
}

/// The same, understood.
struct Filter {
    statuses: Vec<Status>,
    stages: Vec<Stage>,
    lanes: Vec<Lane>,
    kind: Option<String>,
    scene: Option<String>,
    template: Option<String>,
    tag: Option<String>,
    q: Option<String>,
    parent: Option<JobId>,
}

/// Words of a closed set, with commas between them.
fn words<T: std::str::FromStr>(
    name: &str,
    text: Option<&str>,
    errors: &mut Vec<FieldError>,
) -> Vec<T>
where
    T::Err: std::fmt::Display,
{
    let mut found = Vec::new();
    for word in text.into_iter().flat_map(|text| text.split(',')) {
        match word.trim().parse() {
            Ok(value) => found.push(value),
            Err(error) => {
                errors.push(wrong(name, format!("{error}")));
                break;
            }
        }
    }
    found
}

fn wrong(name: &str, detail: String) -> FieldError {
    FieldError {
        pointer: format!("/{name}"),
        detail,
    }
}

/// One value, if it is given and right.
fn one<T: std::str::FromStr>(
    name: &str,
    text: Option<&str>,
    what: &str,
    errors: &mut Vec<FieldError>,
) -> Option<T> {
    let text = text?;
    let value = text.parse().ok();
    if value.is_none() {
        let shown: String = text.chars().take(80).collect();
        errors.push(wrong(name, format!("{shown:?} is not {what}")));
    }
    value
}

impl ListParams {
    fn understand(mut self) -> Result<(ListQuery, Filter), ApiError> {
        // What is empty, as forms send it, is not given.
        let all = [
            &mut self.status,
            &mut self.stage,
            &mut self.kind,
            &mut self.scene,
            &mut self.template,
            &mut self.lane,
            &mut self.tag,
            &mut self.q,
            &mut self.parent,
            &mut self.limit,
            &mut self.cursor,
        ];
        for value in all {
            value.take_if(|text| text.is_empty());
        }
        let mut errors = Vec::new();
        const TIME: &str = "a time such as 2026-11-22T08:00:00Z";
        let limit = one("limit", self.limit.as_deref(), "a number", &mut errors);
        if limit.is_some_and(|limit| !(1..=LIMIT_MAX).contains(&limit)) {
            errors.push(wrong("limit", format!("a page has 1 to {LIMIT_MAX} jobs")));
        }
        if self.template.as_ref().is_some_and(|id| id.len() > 64) {
            errors.push(wrong(
                "template",
                "a template's id has at most 64 bytes".into(),
            ));
        }
        if self.q.as_ref().is_some_and(|q| q.len() > Q_BYTES_MAX) {
            errors.push(wrong("q", format!("at most {Q_BYTES_MAX} bytes")));
        }
        let query = ListQuery {
            from: one(
                "cursor",
                self.cursor.as_deref(),
                "a cursor that this list has given; leave it out to begin with the newest job",
                &mut errors,
            ),
            limit: limit.unwrap_or(LIMIT_DEFAULT),
            not_before: one(
                "created_after",
                self.created_after.as_deref(),
                TIME,
                &mut errors,
            ),
            not_after: one(
                "created_before",
                self.created_before.as_deref(),
                TIME,
                &mut errors,
            ),
        };
        let filter = Filter {
            statuses: words("status", self.status.as_deref(), &mut errors),
            stages: words("stage", self.stage.as_deref(), &mut errors),
            lanes: words("lane", self.lane.as_deref(), &mut errors),
            kind: self.kind,
            scene: self.scene,
            template: self.template,
            tag: self.tag,
            q: self.q.map(|q| q.to_lowercase()),
            parent: one("parent", self.parent.as_deref(), "a job id", &mut errors),
        };
        if errors.is_empty() {
            Ok((query, filter))
        } else {
            Err(ApiError::invalid(errors))
        }
    }
}

impl Filter {
    fn lets_pass(&self, job: &JobRecord) -> bool {
        let request = &job.payload.request;
        let (scene, file_name) = (request.input.scene(), request.input.file_name());
        let template = job.payload.template.as_ref();
        let template = template.map(|template| template.id.as_str());
        let is = |wanted: &Option<String>, has: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| has == Some(wanted))
        };
        (self.statuses.is_empty() || self.statuses.contains(&job.status))
            && (self.stages.is_empty() || self.stages.contains(&view::stage(job)))
            && (self.lanes.is_empty() || self.lanes.contains(&job.lane))
            && is(&self.kind, Some(request.input.kind()))
            && is(&self.scene, scene)
            && is(&self.template, template)
            && self
                .tag
                .as_ref()
                .is_none_or(|tag| request.tags.contains(tag))
            && self.parent.is_none_or(|id| job.payload.parent == Some(id))
            && self.q.as_ref().is_none_or(|q| {
                let has = |text: &str| text.to_lowercase().contains(q.as_str());
                let mut metadata = request.metadata.iter();
                scene.is_some_and(has)
                    || file_name.is_some_and(has)
                    || template.is_some_and(has)
                    || request.tags.iter().any(|tag| has(tag))
                    || metadata.any(|(key, value)| has(key) || has(value))
                    || has(&job.id.to_string())
            })
    }
}

/// List jobs.
///
/// Yours, newest first. Filters and `q` are applied while reading, and one call looks at 512 jobs at most: a page may
/// be shorter than `limit`, even empty, although there are more. Go on with `cursor` as long as the answer has
/// `next` (also in the `Link` header). Jobs that come while you turn pages are not in later ones; no job comes
/// twice. A job is listed until its record is forgotten; one that waited more than three weeks for a worker may leave
/// the list before.
#[utoipa::path(
    get, path = "/v1/jobs", tag = "jobs", operation_id = "listJobs",
    params(ListParams),
    responses(
        (status = 200, description = "A page of jobs", body = JobList,
            headers(("Link" = String, description = "`rel=\"next\"`: the next page, if there is one"))),
        (status = 422, description = "A parameter is wrong", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn list(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    uri: Uri,
    Query(params): Query<ListParams>,
) -> Result<Response, ApiError> {
    let (query, filter) = params.understand()?;
    let call = app
        .queue()
        .list(&tenant, query, |job| filter.lets_pass(job));
    let page = app.redis("list", call).await?;
    let next = page.next.map(|cursor| cursor.to_string());
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    if let Some(next) = &next
        && let Ok(link) =
            HeaderValue::from_str(&format!("<{}>; rel=\"next\"", following(&uri, next)))
    {
        headers.insert(LINK, link);
    }
    let body = JobList {
        jobs: page
            .jobs
            .iter()
            .map(|job| view::listed(&app, job))
            .collect(),
        next,
    };
    Ok((headers, Json(body)).into_response())
}

/// The same request with another cursor.
fn following(uri: &Uri, cursor: &str) -> String {
    let rest = uri.query().into_iter().flat_map(|query| query.split('&'));
    let rest = rest.filter(|part| !part.is_empty() && !part.starts_with("cursor="));
    let cursor = format!("cursor={cursor}");
    let query: Vec<&str> = rest.chain([cursor.as_str()]).collect();
    format!("/v1/jobs?{}", query.join("&"))
}
