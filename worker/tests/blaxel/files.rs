//! `/filesystem` and uploads in parts, on real files.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::FromRequest as _;
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;
use serde_json::{Value, json};

use crate::cloud::{Machine, answer, no_route, place, refused};

/// The path as the server reads it: absolute with a second slash or an encoded one, else below
/// its working directory.
pub fn path_of(rest: &str) -> String {
    let encoded = rest.contains("%2F") || rest.contains("%2f");
    let path = decoded(rest);
    if encoded && !path.starts_with('/') {
        format!("/{path}")
    } else {
        path
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = (byte == b'%')
            .then(|| std::str::from_utf8(after.get(..2)?).ok())
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match hex {
            Some(value) => {
                bytes.push(value);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub fn value_of(query: &str, name: &str) -> Option<String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| decoded(value))
}

pub async fn route(
    machine: &Arc<Machine>,
    method: &Method,
    rest: &str,
    query: &str,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    if let Some(rest) = rest.strip_prefix("filesystem-multipart/") {
        return crate::parts::route(machine, method, rest, query, headers, body).await;
    }
    if let Some(rest) = rest.strip_prefix("filesystem/tree/") {
        let path = format!("/{}", decoded(rest).trim_start_matches('/'));
        return tree(machine, method, &path, body).await;
    }
    let Some(rest) = rest.strip_prefix("filesystem/") else {
        return no_route();
    };
    let shown = path_of(rest);
    let path = place(machine, &shown);
    match *method {
        Method::GET => as_user(machine, || read(&path, &shown, headers)),
        Method::PUT => write(machine, &path, &shown, headers, body).await,
        Method::DELETE => {
            let recursive = value_of(query, "recursive").as_deref() == Some("true");
            as_user(machine, || remove(&path, &shown, recursive))
        }
        _ => no_route(),
    }
}

/// Does something with files as the sandbox's user.
fn as_user<T>(machine: &Machine, what: impl FnOnce() -> T) -> T {
    let Some(user) = machine.nature.user else {
        return what();
    };
    // SAFETY: they change what this thread may do with files, and nothing waits between them.
    unsafe {
        libc::setfsgid(user);
        libc::setfsuid(user);
    }
    let done = what();
    // SAFETY: as above.
    unsafe {
        libc::setfsuid(0);
        libc::setfsgid(0);
    }
    done
}

fn missing(shown: &str) -> Response {
    refused(404, &format!("stat {shown}: no such file or directory"))
}

fn entry(path: &Path) -> Value {
    let mode = std::fs::metadata(path).map_or(0, |m| m.permissions().mode() & 0o777);
    json!({
        "path": path, "name": path.file_name().unwrap_or_default().to_string_lossy(),
        "permissions": format!("{mode:o}"), "size": std::fs::metadata(path).map_or(0, |m| m.len()),
        "lastModified": "2026-11-21T19:36:39.000000000Z", "owner": "root", "group": "root",
    })
}

fn listing(path: &Path, shown: &str) -> Value {
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for found in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let path = found.path();
        if path.is_dir() {
            folders.push(json!({"path": path, "name": found.file_name().to_string_lossy()}));
        } else {
            files.push(entry(&path));
        }
    }
    json!({"path": shown, "name": "", "files": files, "subdirectories": folders})
}

fn read(path: &Path, shown: &str, headers: &HeaderMap) -> Response {
    if path.is_dir() {
        return answer(200, &listing(path, shown));
    }
    let Ok(bytes) = std::fs::read(path) else {
        return missing(shown);
    };
    let accept = headers.get(header::ACCEPT).and_then(|a| a.to_str().ok());
    let raw = accept.is_some_and(|accept| {
        accept.contains("application/octet-stream")
            || !accept.contains("application/json") && !accept.contains("*/*")
    });
    if !raw {
        let mut file = entry(path);
        file["name"] = json!("");
        // Lossy, as the real one.
        file["content"] = json!(String::from_utf8_lossy(&bytes));
        return answer(200, &file);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let modified = std::fs::metadata(path).and_then(|m| m.modified());
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::ACCEPT_RANGES, "bytes")
        .header(
            header::LAST_MODIFIED,
            httpdate::fmt_http_date(modified.expect("a time")),
        )
        .header(
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        );
    let range = headers.get(header::RANGE).and_then(|r| r.to_str().ok());
    let Some((from, to)) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'))
    else {
        return response.body(Body::from(bytes)).expect("an answer");
    };
    let from: usize = from.parse().expect("a number");
    let to = to
        .parse()
        .unwrap_or(usize::MAX)
        .min(bytes.len().saturating_sub(1));
    if from > to {
        return response.status(416).body(Body::empty()).expect("an answer");
    }
    response
        .status(206)
        .header(
            header::CONTENT_RANGE,
            format!("bytes {from}-{to}/{}", bytes.len()),
        )
        .body(Body::from(bytes[from..=to].to_vec()))
        .expect("an answer")
}

pub fn create(
    machine: &Machine,
    path: &Path,
    content: &[u8],
    mode: Option<u32>,
) -> Result<(), String> {
    as_user(machine, || create_here(path, content, mode))
}

fn create_here(path: &Path, content: &[u8], mode: Option<u32>) -> Result<(), String> {
    if path.is_dir() {
        return Err("is a directory".into());
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| error.to_string())?;
    }
    let is_new = !path.exists();
    std::fs::write(path, content).map_err(|error| error.to_string())?;
    if let Some(mode) = mode.filter(|_| is_new) {
        let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    }
    Ok(())
}

async fn write(
    machine: &Machine,
    path: &Path,
    shown: &str,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("multipart/form-data") {
        return match form(headers, body).await {
            Ok((Some(content), mode)) => match create(machine, path, &content, mode) {
                Ok(()) => answer(
                    200,
                    &json!({"path": shown, "message": "Binary file uploaded successfully"}),
                ),
                Err(why) => refused(422, &why),
            },
            _ => refused(400, "missing 'file' field in multipart form"),
        };
    }
    let body = axum::body::to_bytes(body, 6_000_000).await.expect("a body");
    let Ok(asked) = serde_json::from_slice::<Value>(&body) else {
        return refused(400, "invalid character looking for beginning of value");
    };
    if asked["isDirectory"] == json!(true) {
        let _ = as_user(machine, || std::fs::create_dir_all(path));
    } else {
        let mode = asked["permissions"].as_str();
        let mode = mode.and_then(|mode| u32::from_str_radix(mode, 8).ok());
        let content = asked["content"].as_str().unwrap_or_default();
        if let Err(why) = create(machine, path, content.as_bytes(), mode) {
            return refused(422, &why);
        }
    }
    answer(
        200,
        &json!({"path": shown, "message": "File created/updated successfully"}),
    )
}

/// The file and its mode: as the file is written when it comes, what stands after it is too late.
pub async fn form(headers: &HeaderMap, body: Body) -> Result<(Option<Vec<u8>>, Option<u32>), ()> {
    let mut request = axum::extract::Request::new(body);
    *request.headers_mut() = headers.clone();
    axum::extract::DefaultBodyLimit::max(6_000_000).apply(&mut request);
    let mut form = axum::extract::Multipart::from_request(request, &())
        .await
        .map_err(|_| ())?;
    let mut mode = None;
    let mut content = None;
    while let Some(field) = form.next_field().await.map_err(|_| ())? {
        match field.name() {
            Some("permissions") if content.is_none() => {
                mode = u32::from_str_radix(&field.text().await.map_err(|_| ())?, 8).ok();
            }
            Some("file") if field.file_name().is_some() => {
                content = Some(field.bytes().await.map_err(|_| ())?.to_vec());
            }
            _ => {}
        }
    }
    Ok((content, mode))
}

fn remove(path: &Path, shown: &str, recursive: bool) -> Response {
    let removed = if path.is_dir() {
        if recursive {
            std::fs::remove_dir_all(path)
        } else {
            std::fs::remove_dir(path)
        }
    } else if path.exists() {
        std::fs::remove_file(path)
    } else {
        return missing(shown);
    };
    match removed {
        Ok(()) => answer(200, &json!({"path": shown, "message": "Deleted"})),
        Err(error) => refused(422, &error.to_string()),
    }
}

async fn tree(machine: &Arc<Machine>, method: &Method, shown: &str, body: Body) -> Response {
    let folder = place(machine, shown);
    match *method {
        Method::GET if folder.is_dir() => answer(200, &listing(&folder, shown)),
        Method::GET => refused(400, "no such directory"),
        Method::PUT => {
            let body = axum::body::to_bytes(body, 6_000_000).await.expect("a body");
            let Ok(asked) = serde_json::from_slice::<Value>(&body) else {
                return refused(400, "bad JSON");
            };
            for (path, text) in asked["files"].as_object().into_iter().flatten() {
                let content = text.as_str().unwrap_or_default();
                if let Err(why) = create(machine, &folder.join(path), content.as_bytes(), None) {
                    return refused(422, &why);
                }
            }
            answer(200, &listing(&folder, shown))
        }
        Method::DELETE => as_user(machine, || remove(&folder, shown, true)),
        _ => no_route(),
    }
}
