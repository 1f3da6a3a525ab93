//! `/storage/{key}`: the files themselves, through signed URLs and nothing else.
//!
//! What is stored was made by strangers' code, so it is served such that a browser runs none of
//! it: a type from a closed list, `nosniff`, and a policy that allows a film or a picture to be
//! shown and nothing more.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{RawPathParams, Request, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, LOCATION,
    RANGE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use manimq_shared::storage::{
    ArtifactKey, GetTerms, PutTerms, SignatureError, is_sha256, percent_encode,
};
use serde::Deserialize;

use super::App;
use super::extract::Query;
use super::jobs::matches_etag;
use super::problem::{ApiError, Kind};
use crate::storage::{Location, Range, StoreError, Stored, now_s};

/// What a browser may do with a file that it shows: nothing but show it.
const SHOW_ONLY: &str =
    "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox";

/// The query of a URL to read.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GetQuery {
    expires: u64,
    name: String,
    #[serde(default)]
    download: bool,
    signature: String,
}

/// The query of a URL to write.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PutQuery {
    expires: u64,
    bytes: u64,
    sha256: String,
    signature: String,
}

fn key(params: &RawPathParams) -> Result<ArtifactKey, ApiError> {
    params
        .iter()
        .find(|(key, _)| *key == "key")
        .and_then(|(_, text)| text.parse().ok())
        .ok_or_else(|| ApiError::new(Kind::NotFound, "there is no file of that name"))
}

pub(super) fn refused(error: SignatureError) -> ApiError {
    let kind = match error {
        SignatureError::Mismatch => Kind::SignatureInvalid,
        SignatureError::Expired => Kind::UrlExpired,
    };
    ApiError::new(kind, error.to_string())
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::NotFound => Self::new(Kind::NotFound, "the file is not there (any more)"),
            StoreError::Exists => Self::new(
                Kind::ArtifactExists,
                "another file lies under this key, and a stored file never changes",
            ),
            StoreError::Length { .. } | StoreError::Digest(_) => {
                Self::new(Kind::ContentMismatch, format!("{text}; nothing was stored"))
            }
            StoreError::Stalled => {
                Self::new(Kind::RequestTimeout, format!("{text}; nothing was stored"))
            }
            StoreError::Sender(_) => Self::new(
                Kind::Malformed,
                "the upload ended too early; nothing was stored",
            ),
            StoreError::Range(bytes) => Self::new(
                Kind::RangeNotSatisfiable,
                format!("the file has {bytes} bytes"),
            )
            .with_header(CONTENT_RANGE, &format!("bytes */{bytes}")),
            StoreError::Elsewhere => Self::new(Kind::NotFound, text),
            StoreError::Backend(cause) => Self::new(
                Kind::StorageUnavailable,
                "the file could not be written or read; try again",
            )
            .retry_after(5)
            .because(cause),
        }
    }
}

/// Counts and times one operation.
pub(super) fn measure<T>(app: &App, op: &str, start: Instant, result: &Result<T, ApiError>) {
    let outcome = match result {
        Ok(_) => "ok",
        Err(error) if error.kind().status().is_server_error() => "error",
        Err(_) => "refused",
    };
    let metrics = app.metrics();
    metrics
        .storage_operations
        .with_label_values(&[op, outcome])
        .inc();
    metrics
        .storage_operation_duration
        .with_label_values(&[op])
        .observe(start.elapsed().as_secs_f64());
}

/// `PUT`: takes in one file on exactly the terms that were signed.
pub(super) async fn put(
    State(app): State<App>,
    params: RawPathParams,
    Query(query): Query<PutQuery>,
    request: Request,
) -> Result<Response, ApiError> {
    let start = Instant::now();
    let result = take_in(&app, &params, query, request).await;
    measure(&app, "put", start, &result);
    result
}

async fn take_in(
    app: &App,
    params: &RawPathParams,
    query: PutQuery,
    request: Request,
) -> Result<Response, ApiError> {
    let terms = PutTerms {
        key: key(params)?,
        expires_s: query.expires,
        bytes: query.bytes,
        sha256: query.sha256,
    };
    app.store()
        .signer()
        .check_put(&terms, &query.signature, now_s())
        .map_err(refused)?;
    debug_assert!(is_sha256(&terms.sha256), "only such are signed");
    let headers = request.headers();
    let mime = terms.key.name().mime();
    if headers.get(CONTENT_TYPE).is_none_or(|given| given != mime) {
        return Err(ApiError::new(
            Kind::MediaType,
            format!("send `content-type: {mime}`, as it was signed"),
        ));
    }
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if let Some(received) = announced
        && received != terms.bytes
    {
        return Err(StoreError::Length {
            expected: terms.bytes,
            received,
        }
        .into());
    }
    let stored = app.store().put(&terms, request.into_body()).await?;
    let status = match stored {
        Stored::Created => {
            app.metrics()
                .storage_bytes
                .with_label_values(&["in"])
                .inc_by(terms.bytes);
            tracing::info!(
                job.id = %terms.key.job(), epoch = terms.key.epoch().0, bytes = terms.bytes,
                "stored {}", terms.key
            );
            StatusCode::CREATED
        }
        Stored::Same => StatusCode::OK,
    };
    Ok(status.into_response())
}

/// `GET` and `HEAD`: gives out one file or a part of it.
pub(super) async fn get(
    State(app): State<App>,
    params: RawPathParams,
    Query(query): Query<GetQuery>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let start = Instant::now();
    let op = if method == Method::HEAD {
        "head"
    } else {
        "get"
    };
    let result = give_out(&app, &params, query, &method, &headers).await;
    measure(&app, op, start, &result);
    result
}

async fn give_out(
    app: &App,
    params: &RawPathParams,
    query: GetQuery,
    method: &Method,
    request: &HeaderMap,
) -> Result<Response, ApiError> {
    let terms = GetTerms {
        key: key(params)?,
        expires_s: query.expires,
        file_name: query.name,
        download: query.download,
    };
    app.store()
        .signer()
        .check_get(&terms, &query.signature, now_s())
        .map_err(refused)?;
    let method_there = if method == Method::HEAD {
        Method::HEAD
    } else {
        Method::GET
    };
    let located = app
        .store()
        .locate(&terms.key, &method_there, disposition(&terms))
        .await?;
    if let Location::There { url, age } = located {
        return there(&url, age, terms.expires_s);
    }
    let meta = app.store().head(&terms.key).await?;
    let etag = format!(
        "\"{}\"",
        meta.e_tag.as_deref().unwrap_or_default().trim_matches('"')
    );
    let modified = httpdate(meta.last_modified.timestamp());
    let text = |name: &HeaderName| request.get(name).and_then(|value| value.to_str().ok());

    let mut headers = HeaderMap::new();
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(ETAG, &etag);
    set(LAST_MODIFIED, &modified);
    set(ACCEPT_RANGES, "bytes");
    // A stored file never changes, but the leave to read it ends.
    let age = terms.expires_s.saturating_sub(now_s());
    set(CACHE_CONTROL, &format!("private, max-age={age}, immutable"));
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(CONTENT_SECURITY_POLICY, SHOW_ONLY);
    set(REFERRER_POLICY, "no-referrer");
    if text(&IF_NONE_MATCH).is_some_and(|known| matches_etag(known, &etag)) {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    set(CONTENT_TYPE, &served_as(terms.key.name().mime()));
    set(CONTENT_DISPOSITION, &disposition(&terms));

    // A part of another version than the client has would be nonsense to it: then all of it.
    let unchanged = text(&IF_RANGE).is_none_or(|known| known == etag || known == modified);
    let range = text(&RANGE)
        .filter(|_| unchanged)
        .map(|range| wanted(range, meta.size))
        .transpose()?
        .flatten();
    let status = if let Some(range) = &range {
        set(
            CONTENT_RANGE,
            &format!("bytes {}-{}/{}", range.start, range.end - 1, meta.size),
        );
        StatusCode::PARTIAL_CONTENT
    } else {
        StatusCode::OK
    };
    let range = range.unwrap_or(0..meta.size);
    let bytes = range.end - range.start;
    set(CONTENT_LENGTH, &bytes.to_string());
    if method == Method::HEAD {
        return Ok((status, headers).into_response());
    }
    let out = app.metrics().storage_bytes.with_label_values(&["out"]);
    let content = app.store().get(&terms.key, range).await?;
    let content = content.inspect(move |chunk| {
        if let Ok(chunk) = chunk {
            out.inc_by(chunk.len() as u64);
        }
    });
    Ok((status, headers, Body::from_stream(content)).into_response())
}

/// Sends a reader on to a URL that the bucket has signed. Remembered for no longer than it works.
fn there(url: &str, age: Duration, expires_s: u64) -> Result<Response, ApiError> {
    let location = HeaderValue::from_str(url).map_err(|error| {
        ApiError::new(Kind::Internal, "the URL of the file is not one").because(error)
    })?;
    let age = age.as_secs().min(expires_s.saturating_sub(now_s()));
    let remember = HeaderValue::from_str(&format!("private, max-age={age}"))
        .unwrap_or(HeaderValue::from_static("no-store"));
    let headers = [
        (LOCATION, location),
        (CACHE_CONTROL, remember),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    Ok((StatusCode::FOUND, headers).into_response())
}

/// The part that a `Range` header asks for (RFC 9110 §14). `None`: all of it, since the header is
/// none that we serve (another unit, several parts, not well formed).
fn wanted(header: &str, size: u64) -> Result<Option<Range>, StoreError> {
    let Some((first, last)) = header
        .strip_prefix("bytes=")
        .filter(|spec| !spec.contains(','))
        .and_then(|spec| spec.trim().split_once('-'))
    else {
        return Ok(None);
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    // Positions beyond 64 bits are beyond the end all the same.
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    let range = match (digits(first), digits(last)) {
        (true, true) if number(first) > number(last) => return Ok(None),
        (true, true) => number(first)..number(last).saturating_add(1).min(size),
        (true, false) if last.is_empty() => number(first)..size,
        (false, true) if first.is_empty() => size.saturating_sub(number(last))..size,
        _ => return Ok(None),
    };
    if range.start >= range.end {
        return Err(StoreError::Range(size));
    }
    Ok(Some(range))
}

fn served_as(mime: &str) -> String {
    if mime.starts_with("text/") {
        format!("{mime}; charset=utf-8")
    } else {
        mime.to_owned()
    }
}

/// RFC 6266: a name for every client, and the true one for those that know UTF-8.
fn disposition(terms: &GetTerms) -> String {
    let kind = if terms.download {
        "attachment"
    } else {
        "inline"
    };
    let plain: String = terms
        .file_name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') {
                c
            } else {
                '_'
            }
        })
        .collect();
    format!(
        "{kind}; filename=\"{plain}\"; filename*=UTF-8''{}",
        percent_encode(&terms.file_name)
    )
}

/// A time as HTTP writes it (RFC 9110 §5.6.7).
fn httpdate(second: i64) -> String {
    jiff::Timestamp::from_second(second)
        .unwrap_or_default()
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        for (header, expected) in [
            ("bytes=0-", Some(0..10)),
            ("bytes=0-0", Some(0..1)),
            ("bytes=2-4", Some(2..5)),
            ("bytes=2-400", Some(2..10)),
            ("bytes=-3", Some(7..10)),
            ("bytes=-300", Some(0..10)),
            ("bytes=2-99999999999999999999999", Some(2..10)),
            ("bytes=4-2", None),
            ("bytes=0-1,3-4", None),
            ("bytes=a-b", None),
            ("bytes=-", None),
            ("bytes=+1-2", None),
            ("items=0-1", None),
        ] {
            assert_eq!(wanted(header, 10).unwrap(), expected, "{header}");
        }
        for header in ["bytes=10-", "bytes=99999999999999999999999-", "bytes=-0"] {
            assert!(
                matches!(wanted(header, 10), Err(StoreError::Range(10))),
                "{header}"
            );
        }
        assert!(matches!(wanted("bytes=0-", 0), Err(StoreError::Range(0))));
    }

    #[test]
    fn dates_are_written_as_http_does() {
        assert_eq!(httpdate(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn a_file_name_cannot_break_out_of_its_header() {
        let terms = GetTerms {
            key: "manim_videos/job_0198f2b4c5d67e8f9a0b1c2d3e4f5061.mp4"
                .parse()
                .unwrap(),
            expires_s: 0,
            file_name: "Ünï\"\r\nx: y.mp4".into(),
            download: false,
        };
        let text = disposition(&terms);
        assert!(
            text.starts_with("inline; filename=\"_n____x__y.mp4\"; filename*=UTF-8''%C3%9C"),
            "{text}"
        );
        assert!(text.is_ascii() && !text.contains(['\r', '\n']));
    }
}
