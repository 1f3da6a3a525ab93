//! What the tests share: a place in the counterpart, requests, waiting for a state.

use std::num::NonZeroU32;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use manimq_shared::testing::python_env;
use manimq_worker::sandbox::blaxel::BlaxelSandbox;
use manimq_worker::sandbox::blaxel::data::Data;
use manimq_worker::sandbox::blaxel::http::{Account, ApiKey};
use manimq_worker::sandbox::blaxel::output::SendFrom;
use manimq_worker::sandbox::blaxel::place::{Place, PlaceConfig};
use manimq_worker::sandbox::formulas::FormulaStore;
use manimq_worker::sandbox::local::LocalConfig;
use manimq_worker::sandbox::{
    EventSender, Limits, OutputSpec, RenderError, RenderEvent, RenderRequest, Rendered, Sandbox,
};
use reqwest::Url;
use tokio_util::sync::CancellationToken;

use crate::cloud::{Cloud, KEY, Machine, Nature, WORKSPACE};

pub const NAME: &str = "manim-sb";
/// A film of a moment.
pub const SHORT: &str = "self.play(Create(Square()), run_time=0.2)";

pub fn account() -> Account {
    let key = ApiKey::new(KEY).expect("a key");
    let pace = NonZeroU32::new(1000).expect("a number");
    Account::new(&key, Some(WORKSPACE), pace, None).expect("an account")
}

pub fn config(cloud: &Cloud, machine: &Machine) -> PlaceConfig {
    // Users of several test programs at once are kept apart.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let own = 100_000_000 + 5_000 * (std::process::id() % 10_000);
    PlaceConfig {
        name: machine.name.clone(),
        image: None,
        account: account(),
        control_url: Url::parse(&cloud.control_url()).expect("a URL"),
        sandbox_url: None,
        folder: Cloud::inside(machine).to_string_lossy().into_owned(),
        python: Some(
            python_env()
                .join("bin/python3")
                .to_string_lossy()
                .into_owned(),
        ),
        renderer_dir: Path::new(env!("CARGO_MANIFEST_DIR")).join("renderer"),
        uid_base: LocalConfig::UID_BASE + own + 100 * (NEXT.fetch_add(1, Ordering::Relaxed) % 50),
        recycle_after: 500,
        send_from: SendFrom::Auto,
        ca_file: None,
        tenant_affinity: false,
    }
}

/// A counterpart with one sandbox, and what a worker needs to use it.
pub struct Site {
    pub cloud: Cloud,
    pub machine: Arc<Machine>,
    pub place: Arc<Place>,
    pub config: PlaceConfig,
}

impl Site {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut PlaceConfig)) -> Self {
        Self::of(Nature::default(), change).await
    }

    pub async fn of(nature: Nature, change: impl FnOnce(&mut PlaceConfig)) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .try_init();
        let cloud = Cloud::start().await;
        let machine = cloud.deploy_with(NAME, nature);
        let mut config = config(&cloud, &machine);
        change(&mut config);
        Self {
            cloud,
            machine,
            place: Arc::new(Place::new(config.clone())),
            config,
        }
    }

    /// The same sandbox as another worker sees it.
    pub fn of_another_worker(&self, change: impl FnOnce(&mut PlaceConfig)) -> Arc<Place> {
        let mut config = config(&self.cloud, &self.machine);
        change(&mut config);
        Arc::new(Place::new(config))
    }

    /// How many entries a folder of ours has there.
    pub fn count(&self, folder: &str) -> usize {
        let folder = Cloud::inside(&self.machine).join(folder);
        std::fs::read_dir(&folder).map_or(0, Iterator::count)
    }

    pub async fn connect(&self) -> BlaxelSandbox {
        BlaxelSandbox::connect(self.place.clone())
            .await
            .expect("a sandbox")
    }

    /// Where its own API answers.
    pub fn address(&self) -> String {
        let base = self.cloud.control_url().replace("/v0", "");
        format!(
            "{base}/sbx/{}-{}",
            self.machine.name, self.machine.generation
        )
    }

    /// The client of its data plane alone.
    pub fn data(&self) -> Data {
        Data::new(&account(), Url::parse(&self.address()).expect("a URL"))
    }
}

pub fn constructing(lines: &str) -> RenderRequest {
    let lines: Vec<String> = lines
        .lines()
        .map(|line| format!("        {line}"))
        .collect();
    request(&format!(
        "from manim import *\n\nclass A(Scene):\n    def construct(self):\n{}\n",
        lines.join("\n")
    ))
}

pub fn request(source: &str) -> RenderRequest {
    RenderRequest {
        job_id: "job_test".into(),
        attempt: 1,
        file_name: "scene.py".into(),
        source: source.into(),
        template: false,
        scene: None,
        output: OutputSpec::default(),
        limits: Limits {
            wall: Duration::from_secs(60),
            ..Limits::default()
        },
        files: None,
        formulas: None,
        cores: 1,
        stop: CancellationToken::new(),
    }
}

pub fn of_tenant(mut request: RenderRequest, tenant: &str) -> RenderRequest {
    request.formulas = Some(FormulaStore::default().shelf(tenant));
    request
}

/// Renders, and collects what happened meanwhile.
pub async fn render(
    sandbox: &mut BlaxelSandbox,
    request: RenderRequest,
) -> (Result<Rendered, RenderError>, Vec<RenderEvent>) {
    let (sender, mut receiver) = EventSender::channel(256);
    let collecting = async {
        let mut all = Vec::new();
        while let Some(event) = receiver.recv().await {
            all.push(event);
        }
        all
    };
    tokio::join!(sandbox.render(request, sender), collecting)
}

/// The text of a render's log.
pub fn log_of(events: &[RenderEvent]) -> String {
    events.iter().filter_map(RenderEvent::text).collect()
}

/// The worker's program with settings for the counterpart.
pub fn worker_program(site: &Site) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_manimq-worker"));
    let uid_base = config(&site.cloud, &site.machine).uid_base;
    command
        .current_dir(&site.machine.folder)
        .env("MANIMQ_SANDBOX", "blaxel")
        .env("MANIM_SANDBOX_NAME", NAME)
        .env_remove("BL_API_KEY")
        .env("BLAXEL_API_KEY", KEY)
        .env("BL_WORKSPACE", WORKSPACE)
        .env("BL_API_URL", site.cloud.control_url())
        .env("MANIMQ_SANDBOX_DIR", Cloud::inside(&site.machine))
        .env("MANIM_SANDBOX_PYTHON", python_env().join("bin/python3"))
        .env("MANIMQ_SANDBOX_UID_BASE", uid_base.to_string())
        .env(
            "MANIMQ_RENDERER_DIR",
            concat!(env!("CARGO_MANIFEST_DIR"), "/renderer"),
        )
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// A copy of the renderer in which this stands at the end of one of its files.
pub fn renderer_with(file: &str, more: &str) -> tempfile::TempDir {
    use std::io::Write as _;
    let folder = tempfile::tempdir().expect("a folder");
    let copied = std::process::Command::new("cp")
        .args(["-r", concat!(env!("CARGO_MANIFEST_DIR"), "/renderer/.")])
        .arg(folder.path())
        .status();
    assert!(copied.expect("cp").success());
    let file = std::fs::File::options()
        .append(true)
        .open(folder.path().join(file));
    writeln!(file.expect("a file of it"), "{more}").expect("written");
    folder
}

pub async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(120);
    while !is() {
        assert!(Instant::now() < until, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
