//! `/filesystem-multipart`: uploads in parts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use crate::cloud::{Machine, answer, lock, no_route, place, refused};
use crate::files::{create, form, path_of, value_of};

#[derive(Default)]
pub struct Upload {
    path: String,
    parts: BTreeMap<u32, (String, Vec<u8>)>,
}

pub async fn route(
    machine: &Arc<Machine>,
    method: &Method,
    rest: &str,
    query: &str,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let unknown = |status| refused(status, "upload not found");
    if let Some(path) = rest.strip_prefix("initiate/") {
        let id = format!(
            "00000000-0000-4000-8000-{:012x}",
            lock(&machine.uploads).len()
        );
        let path = path_of(path);
        let upload = Upload {
            path: path.clone(),
            ..Upload::default()
        };
        lock(&machine.uploads).insert(id.clone(), upload);
        return answer(200, &json!({"uploadId": id, "path": path}));
    }
    let Some((id, what)) = rest.split_once('/') else {
        return no_route();
    };
    match (method.as_str(), what) {
        ("PUT", "part") => {
            let Some(number) = value_of(query, "partNumber") else {
                return refused(400, "partNumber is required");
            };
            let Ok((Some(content), _)) = form(headers, body).await else {
                return refused(400, "missing 'file' field in multipart form");
            };
            let Some(number) = number.parse().ok().filter(|n| (1..=10_000).contains(n)) else {
                return refused(500, "bad part number");
            };
            let mut uploads = lock(&machine.uploads);
            let Some(upload) = uploads.get_mut(id) else {
                return unknown(500);
            };
            let etag = Md5::digest(&content)
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect::<String>();
            let size = content.len();
            upload.parts.insert(number, (etag.clone(), content));
            answer(
                200,
                &json!({"partNumber": number, "etag": etag, "size": size}),
            )
        }
        ("POST", "complete") => {
            let body = axum::body::to_bytes(body, 6_000_000).await.expect("a body");
            let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
            let mut uploads = lock(&machine.uploads);
            let Some(upload) = uploads.get(id) else {
                return unknown(404);
            };
            let mut whole = Vec::new();
            for part in asked["parts"].as_array().into_iter().flatten() {
                let number = u32::try_from(part["partNumber"].as_u64().unwrap_or(0)).unwrap_or(0);
                match upload.parts.get(&number) {
                    Some((etag, content)) if part["etag"] == json!(etag) => {
                        whole.extend_from_slice(content);
                    }
                    _ => return refused(500, "etag mismatch"),
                }
            }
            let path: PathBuf = place(machine, &upload.path);
            let shown = upload.path.clone();
            if let Err(why) = create(machine, &path, &whole, Some(0o644)) {
                return refused(422, &why);
            }
            uploads.remove(id);
            answer(
                200,
                &json!({"path": shown, "message": "Multipart upload completed successfully"}),
            )
        }
        ("DELETE", "abort") => match lock(&machine.uploads).remove(id) {
            Some(_) => answer(200, &json!({"message": "aborted"})),
            None => unknown(404),
        },
        _ => no_route(),
    }
}
