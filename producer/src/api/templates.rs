//! `/v1/templates`: the catalogue.

use axum::Json;
use axum::extract::{RawPathParams, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::App;
use super::extract::{Tenant, name_of};
use super::openapi::Problems;
use super::problem::{ApiError, Kind};
use crate::templates::{self, Change, Example, Group, Template};

/// They change with the program only; still, a new version shall be seen within minutes.
const CACHE: &str = "private, max-age=300";

/// A template, in short.
#[derive(Serialize, ToSchema)]
pub(super) struct TemplateSummary {
    /// Its id.
    id: &'static str,
    /// Its version.
    version: &'static str,
    /// What people call it.
    title: &'static str,
    /// What it shows.
    summary: &'static str,
    /// What it is about.
    group: Group,
    /// Whether it sets formulas with LaTeX.
    needs_tex: bool,
    /// A prompt for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    example: Option<&'static str>,
    /// Where its picture is.
    #[serde(skip_serializing_if = "Option::is_none")]
    preview: Option<String>,
}

/// All templates.
#[derive(Serialize, ToSchema)]
pub(super) struct TemplateList {
    /// By id.
    templates: Vec<TemplateSummary>,
}

/// A template with its parameters.
#[derive(Serialize, ToSchema)]
pub(super) struct TemplateView {
    #[serde(flatten)]
    summary: TemplateSummary,
    /// JSON Schema (2020-12) of its parameters.
    #[schema(value_type = Object)]
    parameters: &'static Value,
    /// Prompts for it, and what they become.
    examples: &'static [Example],
    /// What its versions brought, the newest first.
    changelog: &'static [Change],
}

fn summary(app: &App, template: &'static Template) -> TemplateSummary {
    let url = || {
        format!(
            "{}/v1/templates/{}/preview",
            app.parts().public_url,
            template.id
        )
    };
    TemplateSummary {
        id: &template.id,
        version: &template.version,
        title: &template.title,
        summary: &template.summary,
        group: template.group,
        needs_tex: template.needs_tex,
        example: template
            .examples
            .first()
            .map(|example| example.prompt.as_str()),
        preview: template.preview.is_some().then(url),
    }
}

/// List templates.
///
/// Films that need no code: choose one, or let `POST /v1/plan` choose one for a sentence.
#[utoipa::path(
    get, path = "/v1/templates", tag = "templates", operation_id = "listTemplates",
    responses((status = 200, description = "All templates", body = TemplateList), Problems)
)]
pub(super) async fn list(State(app): State<App>, Tenant(_tenant): Tenant) -> Response {
    let templates = templates::all()
        .iter()
        .map(|template| summary(&app, template));
    let body = TemplateList {
        templates: templates.collect(),
    };
    ([(CACHE_CONTROL, CACHE)], Json(body)).into_response()
}

/// Read a template.
///
/// With the JSON Schema of its parameters. Texts of some formats are more than text: `formula`, `equation` and `latex`
/// are mathematics as people write it, `number` takes `2π` or `1/3` too, `logic` takes `NOT (A AND B)`, `color` takes names and `#rrggbb`.
#[utoipa::path(
    get, path = "/v1/templates/{id}", tag = "templates", operation_id = "getTemplate",
    params(("id" = String, Path, description = "The template's id")),
    responses((status = 200, description = "The template", body = TemplateView), Problems)
)]
pub(super) async fn read(
    State(app): State<App>,
    Tenant(_tenant): Tenant,
    params: RawPathParams,
) -> Result<Response, ApiError> {
    let template = find(&name_of(&params))?;
    let body = TemplateView {
        summary: summary(&app, template),
        parameters: &template.schema,
        examples: &template.examples,
        changelog: &template.changelog,
    };
    Ok(([(CACHE_CONTROL, CACHE)], Json(body)).into_response())
}

/// A template's picture.
#[utoipa::path(
    get, path = "/v1/templates/{id}/preview", tag = "templates", operation_id = "getTemplatePreview",
    params(("id" = String, Path, description = "The template's id")),
    responses((status = 200, description = "A frame of its film, 480×270", content_type = "image/jpeg"), Problems)
)]
pub(super) async fn preview(
    State(_app): State<App>,
    Tenant(_tenant): Tenant,
    params: RawPathParams,
) -> Result<Response, ApiError> {
    let template = find(&name_of(&params))?;
    let picture = template
        .preview
        .ok_or_else(|| ApiError::new(Kind::NotFound, format!("{} has no picture", template.id)))?;
    let headers = [(CONTENT_TYPE, "image/jpeg"), (CACHE_CONTROL, CACHE)];
    Ok((headers, picture).into_response())
}

fn find(id: &str) -> Result<&'static Template, ApiError> {
    templates::find(id).map_err(|detail| ApiError::new(Kind::NotFound, detail))
}
