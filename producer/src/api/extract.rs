//! What handlers take out of a request, each with its clear refusal.

use std::str::FromStr;
use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use futures_util::StreamExt as _;
use manimq_shared::ids::{JobId, TenantId};
use manimq_shared::job::FieldError;
use manimq_shared::queue::Scope;
use serde::de::DeserializeOwned;
use tokio::time::{Duration, timeout};

use super::App;
use super::auth::{self, Caller};
use super::problem::{ApiError, Kind};
pub use super::query::Query;

/// For whom a request is: the tenant of its key, which may have jobs (scope `render`). A handler that has
/// this asks for nothing else; who does not get in is answered before it begins.
#[derive(Debug, Clone)]
pub struct Tenant(pub TenantId);

impl FromRequestParts<App> for Tenant {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Member(caller) = Member::from_request_parts(parts, app).await?;
        Ok(Self(caller.tenant.clone()))
    }
}

/// The same with what else the key may be used for.
#[derive(Debug, Clone)]
pub struct Member(pub Arc<Caller>);

impl FromRequestParts<App> for Member {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = auth::caller(parts, app).await?;
        caller.require_enabled()?;
        caller.require(Scope::Render)?;
        Ok(Self(caller))
    }
}

/// An operator: somebody with a key of scope `admin`, for what concerns all tenants.
#[derive(Debug, Clone)]
pub struct Operator(pub Arc<Caller>);

impl FromRequestParts<App> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = auth::caller(parts, app).await?;
        caller.require_operator()?;
        Ok(Self(caller))
    }
}

fn path_param(params: &RawPathParams, name: &str) -> Option<String> {
    params
        .iter()
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

/// The `{id}` of the path, whatever it is.
pub fn name_of(params: &RawPathParams) -> String {
    path_param(params, "id").unwrap_or_default()
}

/// The `{id}` of the path. What is no job id names no job: 404, with the form of one.
#[derive(Debug, Clone, Copy)]
pub struct JobPath(pub JobId);

impl FromRequestParts<App> for JobPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        // A path that is not UTF-8 has no parameters.
        let params = RawPathParams::from_request_parts(parts, app).await.ok();
        let text = params
            .and_then(|p| path_param(&p, "id"))
            .unwrap_or_default();
        JobId::from_str(&text)
            .map(Self)
            .map_err(|error| ApiError::new(Kind::NotFound, error.to_string()))
    }
}

/// A JSON body, strictly: UTF-8, the right content type, within the limit, in time, no unknown field.
#[derive(Debug, Clone)]
pub struct StrictJson<T>(pub T);

/// What is read and thrown away of a body that is too long, so that its sender hears why.
const DRAIN_BYTES_MAX: usize = 32 * 1024 * 1024;

impl<T: DeserializeOwned> FromRequest<App> for StrictJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        require_json(request.headers())?;
        let limits = app.limits();
        let body = read_body(request, limits.body_bytes_max, limits.body_timeout)
            .await
            .map_err(|error| match error.kind() {
                Kind::TooLarge => ApiError::new(
                    Kind::TooLarge,
                    format!(
                        "the body is larger than {}, the most that is taken; a source may have {}",
                        size(limits.body_bytes_max),
                        size(limits.source_bytes_max)
                    ),
                ),
                _ => error,
            })?;
        parse(&body).map(Self)
    }
}

/// The same where everything has a default: no body at all, or `null`, is an empty object.
pub(super) struct PerhapsJson<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<App> for PerhapsJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        if request.body().is_end_stream() {
            return Ok(Self(T::default()));
        }
        let StrictJson(value) = StrictJson::<Option<T>>::from_request(request, app).await?;
        Ok(Self(value.unwrap_or_default()))
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let essence = kind.map(|k| k.split(';').next().unwrap_or_default().trim());
    match essence {
        Some(kind) if kind.eq_ignore_ascii_case("application/json") => Ok(()),
        other => Err(ApiError::new(
            Kind::MediaType,
            format!(
                "send `content-type: application/json`, not {}",
                other.map_or_else(
                    || "nothing".to_owned(),
                    |o| format!("{:?}", o.chars().take(80).collect::<String>())
                )
            ),
        )),
    }
}

/// A size for people: `256 KiB`.
pub(super) fn size(bytes: usize) -> String {
    match bytes {
        b if b >= 1 << 20 && b % (1 << 20) == 0 => format!("{} MiB", b >> 20),
        b if b >= 1 << 10 && b % (1 << 10) == 0 => format!("{} KiB", b >> 10),
        b => format!("{b} bytes"),
    }
}

async fn read_body(request: Request, bytes_max: usize, time: Duration) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::new(Kind::TooLarge, "the body is too large");
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let mut body = Body::into_data_stream(request.into_body());
    let read = async {
        let mut bytes = Vec::with_capacity(announced.unwrap_or(0).min(bytes_max));
        let mut total = 0usize;
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| {
                ApiError::new(Kind::Malformed, "the body ended too early").because(error)
            })?;
            total += chunk.len();
            if total <= bytes_max {
                bytes.extend_from_slice(&chunk);
            } else if total > DRAIN_BYTES_MAX {
                break;
            }
        }
        if total > bytes_max {
            Err(too_large())
        } else {
            Ok(Bytes::from(bytes))
        }
    };
    if announced.is_some_and(|length| length > DRAIN_BYTES_MAX) {
        return Err(too_large());
    }
    timeout(time, read).await.unwrap_or_else(|_| {
        Err(ApiError::new(
            Kind::RequestTimeout,
            format!("the body did not arrive within {} s", time.as_secs()),
        ))
    })
}

/// Line and column, from 1, of a byte.
fn place(text: &[u8], offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
    (line, column)
}

/// Parses JSON; errors say where.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let malformed = |detail: String| ApiError::new(Kind::Malformed, detail);
    if body.is_empty() {
        return Err(malformed("the body is empty; send a JSON object".into()));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        let (line, column) = place(body, error.valid_up_to());
        malformed(format!(
            "the body is not UTF-8: byte 0x{:02x} at line {line}, column {column}; save the source as UTF-8",
            body[error.valid_up_to()]
        ))
    })?;
    // Serde would take it for the values of an object in their order.
    if text.trim_start().starts_with('[') {
        return Err(malformed("the body is a list; send a JSON object".into()));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer(error.path());
        let error = error.into_inner();
        if error.is_data() {
            let (pointer, detail) = data_error(pointer, &error);
            ApiError::new(Kind::Malformed, format!("{pointer}: {detail}"))
                .with_errors(vec![FieldError { pointer, detail }])
        } else {
            malformed(not_json(&error))
        }
    })?;
    deserializer
        .end()
        .map_err(|error| malformed(not_json(&error)))?;
    Ok(value)
}

fn not_json(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    if let Some(at) = text.rfind(" at line ") {
        text.truncate(at);
    }
    if error.is_eof() {
        text = "it ends in the middle".into();
    } else if text.starts_with("control character") {
        text = "a control character (such as a NUL byte or a bare line break) inside a string; escape it".into();
    }
    if text.contains("surrogate") || text.contains("hex escape") {
        text = "a \\u escape that is no character (half of a surrogate pair); save the source as UTF-8".into();
    }
    format!(
        "the body is not JSON: line {}, column {}: {text}",
        error.line(),
        error.column()
    )
}

/// A JSON pointer (RFC 6901) to where deserialisation stopped.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => push(&mut pointer, key),
            // The variant of a tagged enum is no step in the JSON.
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

fn push(pointer: &mut String, key: &str) {
    pointer.push('/');
    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
}

/// Pointer and words for JSON that is not what was asked for.
fn data_error(mut pointer: String, error: &serde_json::Error) -> (String, String) {
    let mut text = error.to_string();
    if let Some(at) = text.rfind(" at line ") {
        text.truncate(at);
    }
    // Where a field is unknown or missing, serde points at its parent and names it in the text.
    for start in ["unknown field `", "missing field `", "duplicate field `"] {
        if let Some(rest) = text.strip_prefix(start)
            && let Some((field, _)) = rest.split_once('`')
            && pointer.rsplit('/').next() != Some(field)
        {
            push(&mut pointer, field);
        }
    }
    (pointer, plain(&text).chars().take(600).collect())
}

/// Serde's words for a person who wrote the JSON and never heard of serde.
fn plain(text: &str) -> String {
    let named = |start: &str| text.strip_prefix(start)?.split_once("`, expected ");
    let list = |text: &str| text.trim_start_matches("one of ").replace('`', "");
    if let Some((given, expected)) = named("unknown variant `") {
        format!("{given:?} is not one of {}", list(expected))
    } else if let Some((given, expected)) = named("unknown field `") {
        format!("there is no field {given:?}; there is {}", list(expected))
    } else if let Some((field, _)) = text
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split_once('`'))
    {
        format!("the field {field:?} is missing")
    } else if let Some((given, expected)) = text
        .strip_prefix("invalid type: ")
        .or_else(|| text.strip_prefix("invalid value: "))
        .and_then(|rest| rest.rsplit_once(", expected "))
    {
        let given = match given {
            "sequence" => "a list",
            "map" => "an object",
            other => other,
        };
        format!("it is {given}; it must be {}", in_json(expected))
    } else {
        text.to_owned()
    }
}

/// What JSON calls a type of ours.
fn in_json(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => {
            "a whole number, 0 or more, and not larger than it may be"
        }
        "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        other
            if [
                "struct ",
                "a map",
                "internally tagged enum ",
                "adjacently tagged enum ",
            ]
            .iter()
            .any(|start| other.starts_with(start)) =>
        {
            "an object"
        }
        other => other,
    }
}

/// A header as text, or a refusal that names it.
pub(super) fn header_text<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, ApiError> {
    headers
        .get(name)
        .map(|value| {
            value.to_str().map_err(|_| {
                ApiError::new(
                    Kind::Malformed,
                    format!("the header {name} is not ASCII text"),
                )
            })
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use manimq_shared::job::JobRequest;

    use super::*;

    fn refusal(body: &[u8]) -> (String, Option<String>) {
        let error = parse::<JobRequest>(body).unwrap_err();
        let text = format!("{error:?}");
        let pointer = text
            .split("pointer: \"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .map(str::to_owned);
        (text, pointer)
    }

    #[test]
    fn wrong_fields_are_pointed_at() {
        for (body, expected) in [
            (
                r#"{"input":{"kind":"code","source":"x"},"colour":1}"#,
                "/colour",
            ),
            (
                r#"{"input":{"kind":"code","source":"x","sauce":1}}"#,
                "/input/sauce",
            ),
            (
                r#"{"input":{"kind":"code","source":"x"},"output":{"quality":"ultra"}}"#,
                "/output/quality",
            ),
            (
                r#"{"input":{"kind":"code","source":"x"},"output":{"fpz":3}}"#,
                "/output/fpz",
            ),
            (
                r#"{"input":{"kind":"code","source":"x"},"timeout_s":"1"}"#,
                "/timeout_s",
            ),
            (r#"{"input":{"kind":"code"}}"#, "/input/source"),
            (r#"{"input":{"kind":"poem","source":"x"}}"#, "/input/kind"),
            (r#"{"output":{}}"#, "/input"),
            (
                r#"{"input":{"kind":"code","source":"x"},"tags":["a",1]}"#,
                "/tags/1",
            ),
        ] {
            let (text, pointer) = refusal(body.as_bytes());
            assert_eq!(pointer.as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_told_with_line_and_column() {
        for (body, expected) in [
            (&b"{\n  \"input\": x}"[..], "line 2, column 12"),
            (b"", "empty"),
            (
                b"{\"input\":\xff}",
                "not UTF-8: byte 0xff at line 1, column 10",
            ),
            (
                b"{\"input\":{\"kind\":\"code\",\"source\":\"\0\"}}",
                "control character",
            ),
            (
                br#"{"input":{"kind":"code","source":"\ud800"}}"#,
                "surrogate",
            ),
            (
                br#"{"input":{"kind":"code","source":"x"}} {}"#,
                "trailing characters",
            ),
        ] {
            let (text, _) = refusal(body);
            assert!(text.contains(expected), "{text}");
        }
    }
}
