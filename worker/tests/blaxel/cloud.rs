//! A counterpart of Blaxel's two planes on this machine, as the reference describes them: real
//! processes, real files, and the quirks that break naive clients.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use axum::serve::ListenerExt as _;
use serde_json::{Value, json};

use crate::faults::{Fault, Faults, What, hang_up, html, spoiled};
use crate::processes::Processes;

pub const KEY: &str = "counterpart-takes-this-word";
pub const WORKSPACE: &str = "acme";
/// What the edge lets pass.
const BODY_BYTES_MAX: usize = 5_300_000;

/// The whole service.
#[derive(Clone)]
pub struct Cloud(pub Arc<Inner>);

pub struct Inner {
    pub address: String,
    key: Mutex<String>,
    pub sandboxes: Mutex<BTreeMap<String, Arc<Machine>>>,
    generations: AtomicU32,
    /// Entries on a page of a list.
    pub page: AtomicU32,
    /// A sandbox made anew under the same name answers where the one before did.
    pub same_address: AtomicBool,
    pub faults: Faults,
    calls: Mutex<Vec<String>>,
    folder: tempfile::TempDir,
}

/// One sandbox: its processes and its files.
pub struct Machine {
    pub name: String,
    pub generation: u32,
    pub status: Mutex<String>,
    /// The address in its record, if that is another than where it answers.
    pub told: Mutex<Option<String>>,
    pub processes: Processes,
    pub folder: PathBuf,
    pub uploads: Mutex<BTreeMap<String, crate::parts::Upload>>,
    pub started: std::time::Instant,
    /// Requests that are answered with `WORKLOAD_UNAVAILABLE` until it wakes up.
    pub asleep: AtomicU32,
    pub nature: Nature,
}

/// What is unusual about a sandbox.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nature {
    /// Its processes and files are this user's.
    pub user: Option<u32>,
    /// It has no way out.
    pub cut_off: bool,
}

impl Cloud {
    pub async fn start() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let folder = tempfile::tempdir().expect("a folder");
        let open = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(folder.path(), open).expect("0711");
        let cloud = Self(Arc::new(Inner {
            address,
            key: Mutex::new(KEY.to_owned()),
            sandboxes: Mutex::default(),
            generations: AtomicU32::new(0),
            page: AtomicU32::new(50),
            same_address: AtomicBool::new(false),
            faults: Faults::default(),
            calls: Mutex::default(),
            folder,
        }));
        let routes = Router::new().fallback(serve).with_state(cloud.clone());
        // As the server there, which is written in Go, has it: small pieces are not held back.
        let listener = listener.tap_io(|connection| {
            let _ = connection.set_nodelay(true);
        });
        tokio::spawn(async move { axum::serve(listener, routes).await });
        cloud
    }

    pub fn control_url(&self) -> String {
        format!("{}/v0", self.0.address)
    }

    pub fn keep_addresses(&self) {
        self.0.same_address.store(true, Ordering::Relaxed);
    }

    /// Makes a sandbox, or makes it anew.
    pub fn deploy(&self, name: &str) -> Arc<Machine> {
        self.deploy_with(name, Nature::default())
    }

    /// The same, of another nature.
    pub fn deploy_with(&self, name: &str, nature: Nature) -> Arc<Machine> {
        use std::os::unix::fs::PermissionsExt as _;
        let generation = self.0.generations.fetch_add(1, Ordering::Relaxed);
        let folder = self.0.folder.path().join(format!("{name}-{generation}"));
        std::fs::create_dir_all(folder.join("log")).expect("a folder");
        std::fs::create_dir_all(folder.join("work")).expect("a folder");
        let open = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(&folder, open).expect("0711");
        if let Some(user) = nature.user {
            for folder in [folder.clone(), folder.join("log"), folder.join("work")] {
                std::os::unix::fs::chown(folder, Some(user), Some(user)).expect("its owner");
            }
        }
        let machine = Arc::new(Machine {
            name: name.to_owned(),
            generation,
            status: Mutex::new("DEPLOYED".to_owned()),
            told: Mutex::default(),
            processes: Processes::new(folder.join("log"), folder.join("work"), nature),
            nature,
            folder,
            uploads: Mutex::default(),
            started: std::time::Instant::now(),
            asleep: AtomicU32::new(0),
        });
        lock(&self.0.sandboxes).insert(name.to_owned(), machine.clone());
        machine
    }

    /// The sandbox is gone, with all that runs in it.
    pub fn delete(&self, name: &str) {
        if let Some(machine) = lock(&self.0.sandboxes).remove(name) {
            machine.processes.kill_all();
        }
    }

    pub fn revoke_key(&self) {
        *lock(&self.0.key) = "another".to_owned();
    }

    pub fn restore_key(&self) {
        *lock(&self.0.key) = KEY.to_owned();
    }

    pub fn fail(&self, fault: Fault) {
        self.0.faults.add(fault);
    }

    pub fn faults_left(&self) -> usize {
        self.0.faults.left()
    }

    pub fn forget_faults(&self) {
        self.0.faults.clear();
    }

    /// All calls since the last time that this was asked.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.0.calls))
    }

    /// How often a call was made.
    pub fn count(&self, name: &str) -> usize {
        lock(&self.0.calls)
            .iter()
            .filter(|call| *call == name)
            .count()
    }

    /// Folder in the sandboxes for the worker's files: `/manimq` of a real one.
    pub fn inside(machine: &Machine) -> PathBuf {
        machine.folder.join("manimq")
    }

    fn machine(&self, id: &str) -> Option<Arc<Machine>> {
        let (name, generation) = id.rsplit_once('-')?;
        let sandboxes = lock(&self.0.sandboxes);
        let machine = sandboxes.get(name)?;
        let is_it = self.0.same_address.load(Ordering::Relaxed)
            || machine.generation.to_string() == generation;
        is_it.then(|| machine.clone())
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn answer(status: u16, value: &Value) -> Response {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
        .header(header::CACHE_CONTROL, "no-cache, no-store, must-revalidate")
        .body(Body::from(value.to_string()))
        .expect("an answer")
}

pub fn refused(status: u16, text: &str) -> Response {
    answer(status, &json!({ "error": text }))
}

pub fn no_route() -> Response {
    Response::builder()
        .status(404)
        .header(header::CONTENT_TYPE, "text/plain")
        .body(Body::from("404 page not found"))
        .expect("an answer")
}

/// As the gateway answers for a sandbox that is not there or not yet awake.
fn platform(status: u16, code: &str, retryable: bool) -> Response {
    let mut response = answer(
        status,
        &json!({"error": {"code": code, "message": "…", "status": status, "origin": "platform",
                          "retryable": retryable}}),
    );
    let headers = response.headers_mut();
    headers.insert("x-blaxel-source", "platform".parse().expect("a value"));
    headers.insert("x-blaxel-error-code", code.parse().expect("a value"));
    response
}

async fn serve(State(cloud): State<Cloud>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let call = name_of(&parts.method, &path);
    lock(&cloud.0.calls).push(call.clone());
    let fault = cloud.0.faults.take(&call);
    if let Some(fault) = &fault {
        match &fault.what {
            What::Reset => hang_up(),
            What::Html(status) => return html(*status),
            What::Broke => return answer(500, &json!({"error": "it broke", "code": 500})),
            What::Redirect(to) => {
                return Response::builder()
                    .status(StatusCode::TEMPORARY_REDIRECT)
                    .header(header::LOCATION, to)
                    .body(Body::empty())
                    .expect("an answer");
            }
            What::Full => return refused(422, "write: no space left on device"),
            What::TooMany(seconds) => {
                let mut response = refused(429, "too many requests");
                let value = seconds.to_string().parse().expect("a value");
                response.headers_mut().insert(header::RETRY_AFTER, value);
                return response;
            }
            What::Gone => {
                let id = path.split('/').nth(2).unwrap_or_default();
                let name = id.rsplit_once('-').map_or(id, |(name, _)| name);
                cloud.delete(name);
            }
            What::Revoked => cloud.revoke_key(),
            What::NoProcesses => {
                if let Some(machine) = cloud.machine(path.split('/').nth(2).unwrap_or_default()) {
                    machine.processes.forget_all();
                }
            }
            What::DoneThenHtml(_) | What::DoneThenReset | What::Truncated | What::Slow => {}
        }
    }
    let response = route(&cloud, &parts.method, &path, &query, &parts.headers, body).await;
    match fault.map(|fault| fault.what) {
        Some(What::DoneThenHtml(status)) => html(status),
        Some(What::DoneThenReset) => hang_up(),
        Some(What::Truncated) => spoiled(response, false),
        Some(What::Slow) => spoiled(response, true),
        _ => response,
    }
}

/// What a request asks for, as faults and counts name it.
fn name_of(method: &Method, path: &str) -> String {
    let rest = path
        .strip_prefix("/sbx/")
        .and_then(|rest| rest.split_once('/'));
    let Some((_, rest)) = rest else {
        return format!("control {method}");
    };
    let parts: Vec<&str> = rest.split('/').collect();
    match (method.as_str(), parts.as_slice()) {
        ("GET", ["health"]) => "health".into(),
        ("POST", ["process"]) => "start".into(),
        ("GET", ["process"]) => "processes".into(),
        ("GET", ["process", _]) => "process".into(),
        ("GET", ["process", _, "logs"]) => "logs".into(),
        ("GET", ["process", _, "logs", "stream"]) => "stream".into(),
        ("DELETE", ["process", _]) => "stop".into(),
        ("DELETE", ["process", _, "kill"]) => "kill".into(),
        ("PUT", ["filesystem", "tree", ..]) => "write tree".into(),
        ("PUT", ["filesystem", ..]) => "write".into(),
        ("GET", ["filesystem", ..]) => "read".into(),
        ("DELETE", ["filesystem", ..]) => "remove".into(),
        ("POST", ["filesystem-multipart", "initiate", ..]) => "begin upload".into(),
        ("PUT", ["filesystem-multipart", _, "part"]) => "part".into(),
        ("POST", ["filesystem-multipart", _, "complete"]) => "complete".into(),
        ("DELETE", ["filesystem-multipart", _, "abort"]) => "abort".into(),
        _ => format!("{method} /{rest}"),
    }
}

async fn route(
    cloud: &Cloud,
    method: &Method,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let key = format!("Bearer {}", lock(&cloud.0.key));
    let shown = headers.get("x-blaxel-authorization");
    let may = shown.is_some_and(|shown| shown == key.as_str());
    let workspace = headers.get("x-blaxel-workspace");
    if let Some(rest) = path.strip_prefix("/v0/sandboxes") {
        if !may {
            return answer(401, &json!({"error": "unauthorized", "code": 401}));
        }
        if workspace.is_none_or(|workspace| workspace != WORKSPACE) {
            return answer(400, &json!({"error": "workspace required", "code": 400}));
        }
        return crate::control::route(cloud, method, rest, query);
    }
    let Some((id, rest)) = path
        .strip_prefix("/sbx/")
        .and_then(|rest| rest.split_once('/'))
    else {
        return no_route();
    };
    if !may {
        return platform(401, "AUTHENTICATION_FAILED", false);
    }
    let Some(machine) = cloud.machine(id) else {
        return platform(404, "WORKLOAD_NOT_FOUND", false);
    };
    if machine
        .asleep
        .try_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
        .is_ok()
    {
        return platform(404, "WORKLOAD_UNAVAILABLE", true);
    }
    machine.processes.wake();
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|text| text.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > BODY_BYTES_MAX) {
        return platform(413, "REQUEST_ENTITY_TOO_LARGE", false);
    }
    // The server itself redirects a final slash; clients of this kind do not follow.
    if rest.ends_with('/') && !rest.starts_with("filesystem") {
        return Response::builder()
            .status(StatusCode::TEMPORARY_REDIRECT)
            .header(header::LOCATION, path.trim_end_matches('/'))
            .body(Body::empty())
            .expect("an answer");
    }
    if rest == "health" && method == Method::GET {
        return answer(200, &crate::control::health(&machine));
    }
    if rest == "process" || rest.starts_with("process/") {
        return crate::processes::route(&machine, method, rest, headers, body).await;
    }
    crate::files::route(&machine, method, rest, query, headers, body).await
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.processes.kill_all();
    }
}

/// Where a path of the sandbox's is on this machine.
pub fn place(machine: &Machine, path: &str) -> PathBuf {
    match path.strip_prefix("/var/log/sandbox-api/") {
        Some(rest) => machine.folder.join("log").join(rest),
        None if path.starts_with('/') => Path::new(path).to_owned(),
        None => machine.folder.join("work").join(path),
    }
}
