//! A stand-in for the API's upload routes: grants places against leases and takes the files.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{post, put};
use manimq_shared::api::{UploadGrant, UploadGrants, UploadRequest};
use manimq_shared::ids::{Epoch, JobId};
use manimq_shared::queue::Queue;
use sha2::Digest as _;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

/// Longest time that a trap holds an answer back.
const HELD_MAX: Duration = Duration::from_secs(20);
/// Of so many uploads, one is refused for the moment.
const REFUSES_ONE_IN: u64 = 50;

/// Where an attempt's file lies.
pub fn key(job: JobId, epoch: Epoch, name: &str) -> String {
    format!("{job}.{epoch}.{name}")
}

/// Waits for a job's upload, to hold its answer back.
pub struct Trap {
    /// Tells which worker process the upload came from, once it is there.
    pub caught: oneshot::Receiver<String>,
    /// Dropping it lets the answer go.
    pub release: oneshot::Sender<()>,
}

struct Armed {
    caught: oneshot::Sender<String>,
    release: oneshot::Receiver<()>,
}

#[derive(Default)]
struct Inner {
    /// SHA-256 of what was stored, by key.
    stored: BTreeMap<String, String>,
    /// Jobs and keys for which other contents came than were stored.
    refused: Vec<(JobId, String)>,
    traps: HashMap<JobId, Armed>,
    uploads: u64,
}

#[derive(Clone)]
struct Shared {
    queue: Queue,
    address: String,
    inner: Arc<Mutex<Inner>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while locked")
    }
}

/// The store of a run.
pub struct Store {
    shared: Shared,
    _task: AbortOnDropHandle<()>,
}

impl Store {
    /// A store that asks `queue` who holds which lease.
    pub async fn start(queue: Queue) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("a port"));
        let shared = Shared {
            queue,
            address,
            inner: Arc::default(),
        };
        let routes = Router::new()
            .route("/{worker}/internal/v1/uploads", post(grant))
            .route("/{worker}/put/{job}/{key}", put(take))
            .with_state(shared.clone());
        let serving = async move {
            axum::serve(listener, routes).await.expect("it serves");
        };
        Self {
            shared,
            _task: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }

    /// The API's address for one worker process.
    pub fn url(&self, who: &str) -> String {
        format!("{}/{who}", self.shared.address)
    }

    /// Holds back the answer to the next upload of `job`.
    pub fn trap(&self, job: JobId) -> Trap {
        let (caught, caught_in) = oneshot::channel();
        let (release, release_in) = oneshot::channel();
        let armed = Armed {
            caught,
            release: release_in,
        };
        self.shared.lock().traps.insert(job, armed);
        Trap {
            caught: caught_in,
            release,
        }
    }

    /// SHA-256 of what was stored, by key.
    pub fn stored(&self) -> BTreeMap<String, String> {
        self.shared.lock().stored.clone()
    }

    /// Jobs and keys for which other contents came than were stored.
    pub fn refused(&self) -> Vec<(JobId, String)> {
        self.shared.lock().refused.clone()
    }
}

async fn grant(
    State(shared): State<Shared>,
    Path(worker): Path<String>,
    axum::Json(request): axum::Json<UploadRequest>,
) -> Result<axum::Json<UploadGrants>, StatusCode> {
    let (job, epoch) = (request.job, request.epoch);
    let held = shared.queue.lease_is(job, epoch, &request.lease_token);
    if !held.await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)? {
        return Err(StatusCode::CONFLICT);
    }
    let place = |name: String| {
        let key = key(job, epoch, &name);
        UploadGrant {
            md5: false,
            check: None,
            url: format!("{}/{worker}/put/{job}/{key}", shared.address),
            name,
            key,
            headers: [].into(),
        }
    };
    let grants = request.files.into_iter().map(|file| place(file.name));
    Ok(axum::Json(UploadGrants {
        grants: grants.collect(),
    }))
}

async fn take(
    State(shared): State<Shared>,
    Path((worker, job, key)): Path<(String, JobId, String)>,
    body: Bytes,
) -> StatusCode {
    let armed = {
        let mut inner = shared.lock();
        inner.uploads += 1;
        if inner.uploads % REFUSES_ONE_IN == 0 {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let hash = sha2::Sha256::digest(&body);
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        // As the real one: what is stored never changes, and the same again is accepted.
        let stored = inner.stored.entry(key.clone()).or_insert(hash.clone());
        if *stored != hash {
            inner.refused.push((job, key));
            return StatusCode::CONFLICT;
        }
        inner.traps.remove(&job)
    };
    if let Some(armed) = armed {
        let _ = armed.caught.send(worker);
        let _ = tokio::time::timeout(HELD_MAX, armed.release).await;
    }
    StatusCode::OK
}
