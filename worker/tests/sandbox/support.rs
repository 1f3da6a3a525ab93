//! What the tests share: warm sandboxes, requests, and a look at what came out.

use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

pub use manimq_shared::testing::film::{find_film, frame_sums, output_of, ssim};
pub use manimq_shared::testing::python_env;
use manimq_worker::sandbox::local::{Level, LocalConfig, LocalSandbox};
use manimq_worker::sandbox::{
    Encoder, EventSender, FailureClass, FileEntry, Files, Limits, OutputSpec, RenderError,
    RenderEvent, RenderFailure, RenderRequest, Rendered, RenderedFile, Sandbox,
};
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

/// Runs a test's future on the runtime that the shared sandboxes belong to.
pub fn block_on<F: Future>(future: F) -> F::Output {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().expect("a runtime"));
    runtime.block_on(future)
}

pub fn renderer_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("renderer")
}

pub fn scene_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/scenes")
        .join(name)
}

/// Configuration with a slot, and so a user id, that no other test has.
pub fn own_config() -> LocalConfig {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test processes of several checkouts run at once: keep their users apart.
    let base = 1_000 * (std::process::id() % 10_000);
    let slot = base + NEXT.fetch_add(1, Ordering::Relaxed);
    LocalConfig::new(python_env(), renderer_dir(), slot)
}

pub async fn own_sandbox() -> LocalSandbox {
    LocalSandbox::connect(own_config())
        .await
        .expect("a sandbox")
}

struct Pool {
    free: Semaphore,
    sandboxes: Mutex<Vec<LocalSandbox>>,
}

/// Two for all tests: one a core, and each sees many different jobs.
async fn pool(level: Level) -> &'static Pool {
    static FULL: tokio::sync::OnceCell<Pool> = tokio::sync::OnceCell::const_new();
    static CONTAINER: tokio::sync::OnceCell<Pool> = tokio::sync::OnceCell::const_new();
    let pool = match level {
        Level::Full => &FULL,
        Level::Container => &CONTAINER,
    };
    pool.get_or_init(|| async {
        let mut sandboxes = Vec::new();
        for _ in 0..2 {
            let config = LocalConfig {
                level: Some(level),
                ..own_config()
            };
            sandboxes.push(LocalSandbox::connect(config).await.expect("a sandbox"));
        }
        Pool {
            free: Semaphore::new(sandboxes.len()),
            sandboxes: Mutex::new(sandboxes),
        }
    })
    .await
}

/// Takes a shared sandbox, renders, and afterwards checks with a good scene
/// that nothing is left for the next job.
pub fn render_then_check(request: RenderRequest) -> Result<Rendered, RenderError> {
    render_then_check_at(Level::Full, request)
}

/// The same at a level.
pub fn render_then_check_at(level: Level, request: RenderRequest) -> Result<Rendered, RenderError> {
    block_on(async {
        let pool = pool(level).await;
        let _permit = pool.free.acquire().await.expect("open");
        let mut sandbox = pool
            .sandboxes
            .lock()
            .await
            .pop()
            .expect("one for each permit");
        let zygote = sandbox.zygote_pid();
        let result = render_in(&mut sandbox, request).await.0;
        sandbox.reset().await.expect("ready for the next job");
        assert_eq!(
            sandbox.zygote_pid(),
            zygote,
            "the sandbox has outlived the job"
        );
        let next = render_in(&mut sandbox, request_for(GOOD)).await.0;
        let next = next.expect("the next job succeeds");
        assert_eq!(next.usage.frames, 2, "the next job is not what it must be");
        pool.sandboxes.lock().await.push(sandbox);
        result
    })
}

/// Renders in a shared sandbox.
pub fn render(request: RenderRequest) -> Result<Rendered, RenderError> {
    render_with_events(request).0
}

/// Renders in a shared sandbox and returns all events.
pub fn render_with_events(
    request: RenderRequest,
) -> (Result<Rendered, RenderError>, Vec<RenderEvent>) {
    block_on(async {
        let pool = pool(Level::Full).await;
        let _permit = pool.free.acquire().await.expect("open");
        let mut sandbox = pool
            .sandboxes
            .lock()
            .await
            .pop()
            .expect("one for each permit");
        let answer = render_in(&mut sandbox, request).await;
        sandbox.reset().await.expect("ready for the next job");
        pool.sandboxes.lock().await.push(sandbox);
        answer
    })
}

pub async fn render_in(
    sandbox: &mut LocalSandbox,
    request: RenderRequest,
) -> (Result<Rendered, RenderError>, Vec<RenderEvent>) {
    let (events, mut incoming) = EventSender::channel(64);
    let collect = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(event) = incoming.recv().await {
            all.push(event);
        }
        all
    });
    let result = sandbox.render(request, events).await;
    (
        result,
        collect.await.expect("the collector ends with the render"),
    )
}

/// Two frames, quickly.
pub const GOOD: &str = "
from manim import *
class Good(Scene):
    def construct(self):
        self.play(FadeIn(Square()), run_time=2 / 15)
";

/// Cores of a job: MANIMQ_TEST_CORES runs every test with the gate for forks in its walls.
fn cores() -> u32 {
    std::env::var("MANIMQ_TEST_CORES").map_or(1, |cores| cores.parse().expect("a number"))
}

pub fn request_for(source: &str) -> RenderRequest {
    RenderRequest {
        job_id: "test".into(),
        attempt: 1,
        file_name: "scene.py".into(),
        source: Arc::from(source),
        template: false,
        scene: None,
        output: OutputSpec {
            encoder: Encoder::Manim,
            ..OutputSpec::default()
        },
        limits: Limits {
            wall: Duration::from_secs(60),
            ..Limits::default()
        },
        files: None,
        formulas: None,
        cores: cores(),
        stop: CancellationToken::new(),
    }
}

/// A request with files beside its scene.
pub fn with_files(mut request: RenderRequest, files: &[(&str, Vec<u8>)]) -> RenderRequest {
    let mut content = tempfile::tempfile().unwrap();
    for (_, bytes) in files {
        content.write_all(bytes).unwrap();
    }
    request.files = Some(Files {
        entries: files
            .iter()
            .map(|(name, bytes)| FileEntry {
                name: (*name).to_owned(),
                bytes: bytes.len() as u64,
            })
            .collect(),
        content: Arc::new(content),
    });
    request
}

/// A scene whose `construct` is these lines.
pub fn constructing(lines: &str) -> RenderRequest {
    let body: String = lines
        .trim_matches('\n')
        .lines()
        .map(|l| format!("        {l}\n"))
        .collect();
    request_for(&format!(
        "from manim import *\nclass Tested(Scene):\n    def construct(self):\n{body}"
    ))
}

/// The line of a [`constructing`] scene that holds `text`, from 1.
pub fn line_of(request: &RenderRequest, text: &str) -> Option<u64> {
    let at = request
        .source
        .lines()
        .position(|line| line.contains(text))?;
    Some(at as u64 + 1)
}

pub fn failure(result: Result<Rendered, RenderError>) -> RenderFailure {
    match result {
        Err(RenderError::Failed(failure)) => *failure,
        other => panic!("expected a failed render, got {other:?}"),
    }
}

#[track_caller]
pub fn assert_class(failure: &RenderFailure, class: FailureClass) {
    assert_eq!(failure.class, class, "{failure:#?}");
}

/// Copies a render's file out, to where a program can read it.
pub fn save(rendered: &Rendered, folder: &Path) -> PathBuf {
    save_artifact(&rendered.artifacts[0], folder)
}

/// The same for one file of it.
pub fn save_artifact(artifact: &RenderedFile, folder: &Path) -> PathBuf {
    let path = folder.join(&artifact.name);
    let mut file = artifact
        .file
        .here()
        .expect("here")
        .try_clone()
        .expect("an open file");
    let copied =
        std::io::copy(&mut file, &mut fs::File::create(&path).expect("a file")).expect("a copy");
    assert_eq!(copied, artifact.bytes, "the stated size is the size");
    path
}

/// Each frame is the other's; says which are not.
#[track_caller]
pub fn assert_same_frames(ours: &[String], theirs: &[String]) {
    assert_eq!(ours.len(), theirs.len(), "frames");
    let other: Vec<usize> = (0..ours.len()).filter(|&n| ours[n] != theirs[n]).collect();
    assert!(
        other.is_empty(),
        "{} of {} frames differ: {other:?}",
        other.len(),
        ours.len()
    );
}

pub fn ffprobe(path: &Path, entries: &str) -> String {
    output_of(
        Command::new("ffprobe")
            .args([
                "-v",
                "error",
                "-select_streams",
                "v:0",
                "-count_frames",
                "-show_entries",
            ])
            .arg(entries)
            .args(["-of", "default=noprint_wrappers=1"])
            .arg(path),
    )
}

/// What the bare `manim` command of the same environment makes of a file.
pub fn bare_manim(scene_file: &Path, flags: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let film = bare_manim_in(folder.path(), scene_file, flags);
    (folder, film)
}

/// The same, in a folder that is there.
pub fn bare_manim_in(folder: &Path, scene_file: &Path, flags: &[&str]) -> PathBuf {
    output_of(
        Command::new(python_env().join("bin/python3"))
            .args([
                "-m",
                "manim",
                "render",
                "--silent",
                "--progress_bar",
                "none",
                "--media_dir",
            ])
            .arg(folder)
            .arg(scene_file)
            // Names of scenes, too.
            .args(flags)
            .current_dir(folder),
    );
    find_film(folder).expect("manim made a file")
}

/// Processes that wait for the next job after a reset: guard, job and probe.
pub const WAITING: usize = 3;

/// A process: its id, and when it began, so that a reused id is another one.
pub type Process = (u32, u64);

/// All processes below `root`, at this moment.
pub fn descendants(root: u32) -> BTreeSet<Process> {
    let all: Vec<(u32, u32, u64)> = fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| {
            let (parent, began) = parent_and_start(pid)?;
            Some((pid, parent, began))
        })
        .collect();
    let mut found = BTreeSet::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for &(pid, of, began) in &all {
            if of == parent && found.insert((pid, began)) {
                parents.push(pid);
            }
        }
    }
    found
}

fn parent_and_start(pid: u32) -> Option<(u32, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // A zombie holds nothing but its number.
    if fields[0] == "Z" {
        return None;
    }
    Some((fields[1].parse().ok()?, fields[19].parse().ok()?))
}

pub fn is_alive(process: Process) -> bool {
    parent_and_start(process.0).is_some_and(|(_, began)| began == process.1)
}

/// Waits for a state, at most ten seconds.
#[track_caller]
pub fn eventually(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !reached() {
        assert!(Instant::now() < deadline, "not reached: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A figure for whoever reads the test's output.
pub fn tell(what: &str) {
    let _ = writeln!(std::io::stderr(), "figure: {what}");
}

/// The text of a render's log.
pub fn log_of(events: &[RenderEvent]) -> String {
    events.iter().filter_map(RenderEvent::text).collect()
}
