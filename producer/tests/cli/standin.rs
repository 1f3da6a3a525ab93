//! A stand-in for `manimq-worker`: this very test binary, started again by a small script. It
//! claims jobs, tells progress and uploads a ready-made film, so that `up` can be tested without
//! Python.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use manimq_shared::api::{UploadFile, UploadGrants, UploadRequest};
use manimq_shared::job::{ArtifactRole, JobInput, JobResult, Progress, Stage, StoredArtifact};
use manimq_shared::queue::{
    Claim, EventKind, LEASE, Lease, Queue, RedisConfig, Renewal, WorkerInfo,
};
use sha2::{Digest as _, Sha256};

const FILM: &[u8] = include_bytes!("film.mp4");
const ARGS: &str = "STANDIN_ARGS";

/// What only the API and clients may have.
pub const NOT_FOR_WORKERS: [&str; 13] = [
    "MANIMQ_API_KEY",
    "MANIMQ_STORAGE_SECRET",
    "MANIMQ_LLM_KEY",
    "MANIMQ_LLM_KEY_FILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "aws_secret_access_key",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "SERVICE_ACCOUNT",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "azure_storage_sas_key",
];

/// How the stand-in misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Good,
    /// Ignores SIGTERM.
    Stubborn,
    /// Ends at once, with a reason.
    Broken,
    /// Leaves a process of another session behind when it dies, and one that ends before that.
    Orphan,
}

/// Writes the script that starts the stand-in.
pub fn write(folder: &Path, manner: Manner) -> PathBuf {
    let path = folder.join("standin-worker");
    let binary = std::env::current_exe().unwrap();
    let test = "standin::the_stand_in_runs";
    let run = format!(
        "{ARGS}=\"$*\" exec {} {test} --exact --nocapture",
        binary.display()
    );
    let script = match manner {
        Manner::Good => run,
        Manner::Stubborn => format!("trap '' TERM\n{run}"),
        Manner::Broken => "echo 'no Python here: run deploy/setup' >&2\nexit 3".to_owned(),
        Manner::Orphan => format!(
            "setsid sleep 1000 </dev/null >/dev/null 2>&1 &\n(setsid sleep 0.1 </dev/null >/dev/null 2>&1 &)\n{run}"
        ),
    };
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A program for the other tests, which start it with its arguments in `ARGS`; else it does nothing.
#[test]
fn the_stand_in_runs() {
    let Ok(args) = std::env::var(ARGS) else {
        return;
    };
    let args: Vec<&str> = args.split(' ').collect();
    let flag = |name: &str| {
        let at = args
            .iter()
            .position(|arg| *arg == name)
            .unwrap_or_else(|| panic!("no {name} in {args:?}"));
        args[at + 1].to_owned()
    };
    assert_eq!(args[0], "run");
    // As a worker would read the folder's `.env`, were it less choosy.
    manimq_shared::env_file::load(|_| true).unwrap();
    for secret in NOT_FOR_WORKERS {
        assert!(
            std::env::var_os(secret).is_none(),
            "{secret} is not for workers"
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work(
        flag("--api-url"),
        flag("--announce").into(),
        flag("--slots").parse().unwrap(),
    ));
}

async fn work(api: String, announce: PathBuf, slots: u32) {
    let url = std::env::var("REDIS_URL").unwrap();
    let info = manimq_shared::testing::worker(slots);
    let queue = Queue::connect(&RedisConfig::new(url)).await.unwrap();
    queue.renew(&info, LEASE, &[]).await.unwrap();
    let text = serde_json::json!({"metrics": "http://127.0.0.1:1", "worker": info.id}).to_string();
    let half = announce.with_extension("half");
    std::fs::write(&half, text).unwrap();
    std::fs::rename(half, announce).unwrap();
    loop {
        // Redis may come and go.
        let _ = queue.renew(&info, LEASE, &[]).await;
        if let Ok(claimed) = queue.claim(&info, 1, LEASE).await {
            for claim in claimed.claims {
                render(&queue, &info, &api, claim).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn render(queue: &Queue, info: &WorkerInfo, api: &str, claim: Claim) {
    let (job, epoch) = (claim.job, claim.epoch);
    let payload = queue.read(job).await.unwrap().unwrap().payload;
    let JobInput::Code { source, .. } = payload.request.input else {
        unreachable!("a job with code")
    };
    // `# hold PATH`: goes on when the file is there.
    let hold = source
        .lines()
        .find_map(|line| line.strip_prefix("# hold "))
        .map(PathBuf::from);
    let mut frames = 0;
    loop {
        frames += 1;
        let progress = Progress {
            stage: Some(Stage::Rendering),
            frames_done: frames,
            ..Progress::default()
        };
        let events = vec![(
            EventKind::Progress,
            serde_json::to_string(&progress).unwrap(),
        )];
        let renewal = Renewal { job, epoch, events };
        match queue.renew(info, LEASE, &[renewal]).await.as_deref() {
            Ok([Lease::Cancel]) => {
                let _ = queue.finish_canceled(job, epoch).await;
                return;
            }
            Ok([Lease::Lost]) => return,
            _ => {}
        }
        if hold.as_ref().is_none_or(|file| file.exists()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The API may be away for a moment.
    let mut key = None;
    for _ in 0..100 {
        key = upload(api, &claim).await;
        if key.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let artifact = StoredArtifact {
        name: "video.mp4".to_owned(),
        role: ArtifactRole::Video,
        mime: "video/mp4".to_owned(),
        key: key.expect("the film is stored"),
        bytes: FILM.len() as u64,
        sha256: hex::encode(Sha256::digest(FILM)),
        width: None,
        height: None,
        fps: None,
        duration_s: None,
        frames: None,
    };
    let result = JobResult {
        artifacts: vec![artifact],
        ..JobResult::default()
    };
    let _ = queue.finish(job, epoch, &result).await;
}

async fn upload(api: &str, claim: &Claim) -> Option<String> {
    manimq_shared::tls::choose_cryptography();
    let http = reqwest::Client::new();
    let request = UploadRequest {
        job: claim.job,
        epoch: claim.epoch,
        lease_token: claim.token.clone(),
        files: vec![UploadFile {
            name: "video.mp4".to_owned(),
            mime: "video/mp4".to_owned(),
            bytes: FILM.len() as u64,
            sha256: hex::encode(Sha256::digest(FILM)),
        }],
        discard: Vec::new(),
    };
    let answer = http
        .post(format!("{api}/internal/v1/uploads"))
        .json(&request)
        .send()
        .await
        .ok()?;
    let grants: UploadGrants = answer.json().await.ok()?;
    let grant = grants.grants.into_iter().next()?;
    let url = match grant.url.strip_prefix('/') {
        Some(path) => format!("{api}/{path}"),
        None => grant.url,
    };
    let mut put = http.put(url).body(FILM);
    for (name, value) in &grant.headers {
        put = put.header(name, value);
    }
    put.send().await.ok()?.error_for_status().ok()?;
    Some(grant.key)
}
