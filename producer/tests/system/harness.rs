//! Starts the programs on free ports, and takes them down again.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use manimq_shared::api::JobView;
use manimq_shared::ids::JobId;
use manimq_shared::queue::Queue;
use manimq_shared::testing::RedisServer;
pub use manimq_shared::testing::film::timed_frames;
pub use manimq_shared::testing::python_env;

/// Longest wait for anything that renders.
const LIMIT: Duration = Duration::from_secs(180);

/// Which part of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Api,
    Worker,
    Redis,
}
pub const API: Part = Part::Api;
pub const WORKER: Part = Part::Worker;
pub const REDIS: Part = Part::Redis;

/// A running system of its own; gone when dropped.
pub struct System {
    redis: RedisServer,
    api: Option<Child>,
    worker: Option<Child>,
    folder: tempfile::TempDir,
    listen: String,
    url: String,
    http: reqwest::Client,
    setting: Setting,
    metrics: [String; 2],
}

/// What is different from the plain system.
#[derive(Default)]
pub struct Setting {
    /// More in the environment of the API, and of it alone.
    pub api: Vec<(String, String)>,
    /// More in the environment of the worker.
    pub worker: Vec<(String, String)>,
    /// The API's files lie on a disk of this size, its own.
    pub disk_kib: Option<u32>,
}

pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// A program of this workspace, built with the tests.
fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_manimq")).with_file_name(name);
    assert!(
        path.exists(),
        "{} is not built: run `cargo build --workspace`",
        path.display()
    );
    path
}

/// A command in a mount namespace where a small disk of its own is mounted on `folder`.
fn on_a_disk_of(kib: u32, folder: &Path, program: &Path) -> Command {
    std::fs::create_dir_all(folder).unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        .arg("mount -t tmpfs -o size=\"$1\" none \"$2\" && shift 2 && exec \"$@\"")
        .args(["sh", &format!("{kib}k")])
        .args([folder, program]);
    command
}

/// Waits for a state.
pub async fn wait_for(what: &str, limit: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl System {
    /// API, Redis and a worker with two slots, ready to render.
    pub async fn start() -> Self {
        Self::start_with(Vec::new()).await
    }

    /// The same, with more in the environment of the API (and of it alone).
    pub async fn start_with(api: Vec<(String, String)>) -> Self {
        let setting = Setting {
            api,
            ..Setting::default()
        };
        Self::start_in(setting).await
    }

    /// The same in another setting.
    pub async fn start_in(setting: Setting) -> Self {
        let mut system = Self {
            redis: RedisServer::start_durable(),
            api: None,
            worker: None,
            folder: tempfile::tempdir().unwrap(),
            listen: "127.0.0.1:0".to_owned(),
            url: String::new(),
            http: reqwest::Client::new(),
            setting,
            metrics: Default::default(),
        };
        system.start_api().await;
        system.start_worker().await;
        system
    }

    fn log(&self, name: &str) -> Stdio {
        let path = self.folder.path().join(format!("{name}.log"));
        std::fs::File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap()
            .into()
    }

    async fn announced(&self, child: &mut Child, file: &Path, name: &str) -> serde_json::Value {
        let start = Instant::now();
        loop {
            if let Ok(text) = std::fs::read_to_string(file) {
                let _ = std::fs::remove_file(file);
                return serde_json::from_str(&text).unwrap();
            }
            let log = || {
                std::fs::read_to_string(self.folder.path().join(format!("{name}.log")))
                    .unwrap_or_default()
            };
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{name} ended: {status}\n{}", log());
            }
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "{name} does not start\n{}",
                log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn start_api(&mut self) {
        let file = self.folder.path().join("api.json");
        let data = self.folder.path().join("data");
        let mut command = match self.setting.disk_kib {
            None => Command::new(program("manimq")),
            Some(kib) => on_a_disk_of(kib, &data, &program("manimq")),
        };
        let mut child = command
            .args([
                "serve",
                "--listen",
                &self.listen,
                "--metrics-listen",
                "127.0.0.1:0",
            ])
            .envs(self.setting.api.iter().cloned())
            .args(["--redis-url", &self.redis.url(), "--data-dir"])
            .arg(&data)
            .arg("--announce")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(self.log("api"))
            .stderr(self.log("api"))
            .spawn()
            .unwrap();
        let told = self.announced(&mut child, &file, "api").await;
        self.url = told["api"]
            .as_str()
            .unwrap()
            .trim_end_matches('/')
            .to_owned();
        self.metrics[0] = told["metrics"].as_str().unwrap().to_owned();
        // A restarted API keeps its address.
        self.listen = self.url.trim_start_matches("http://").to_owned();
        self.api = Some(child);
    }

    /// What an API says that does not start, with one more thing in its environment.
    pub fn refused_api(&self, name: &str, value: &str) -> String {
        let output = Command::new(program("manimq"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--metrics-listen",
                "127.0.0.1:0",
            ])
            .args(["--redis-url", &self.redis.url(), "--data-dir"])
            .arg(self.folder.path().join("data"))
            .envs(self.setting.api.iter().cloned())
            .env(name, value)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub async fn start_worker(&mut self) {
        let file = self.folder.path().join("worker.json");
        let mut child = Command::new(program("manimq-worker"))
            .args(["run", "--slots", "2", "--metrics-listen", "127.0.0.1:0"])
            .args(["--redis-url", &self.redis.url(), "--api-url", &self.url])
            .args(["--drain-timeout", "1s"])
            .envs(self.setting.worker.iter().cloned())
            .arg("--python-env")
            .arg(python_env())
            .arg("--renderer-dir")
            .arg(workspace().join("worker/renderer"))
            .arg("--announce")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(self.log("worker"))
            .stderr(self.log("worker"))
            .spawn()
            .unwrap();
        let told = self.announced(&mut child, &file, "worker").await;
        self.metrics[1] = told["metrics"].as_str().unwrap().to_owned();
        self.worker = Some(child);
    }

    /// The API's files, as it sees them.
    pub fn data(&self) -> PathBuf {
        let pid = self.api.as_ref().expect("it runs").id();
        let data = self.folder.path().join("data");
        PathBuf::from(format!("/proc/{pid}/root{}", data.display()))
    }

    /// The queue itself, past the API.
    pub async fn queue(&self) -> Queue {
        Queue::connect(&self.redis.config("mq")).await.unwrap()
    }

    /// `kill -9`.
    pub fn kill(&mut self, part: Part) {
        let child = match part {
            Part::Api => self.api.take(),
            Part::Worker => self.worker.take(),
            Part::Redis => return self.redis.kill(),
        };
        let mut child = child.expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self, part: Part, limit: Duration) {
        let child = match part {
            Part::Api => self.api.take(),
            Part::Worker => self.worker.take(),
            Part::Redis => panic!("Redis is killed, not asked"),
        };
        let mut child = child.expect("it runs");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if start.elapsed() > limit {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{part:?} did not end within {limit:?} of SIGTERM");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn restart_redis(&mut self) {
        self.redis.restart();
    }

    pub async fn try_submit(&self, body: serde_json::Value) -> reqwest::Response {
        self.http
            .post(format!("{}/v1/jobs", self.url))
            .json(&body)
            .send()
            .await
            .unwrap()
    }

    pub async fn submit(&self, body: serde_json::Value) -> JobView {
        let response = self.try_submit(body).await;
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, 202, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn try_read(&self, id: JobId) -> Option<JobView> {
        let response = self
            .http
            .get(format!("{}/v1/jobs/{id}", self.url))
            .send()
            .await
            .ok()?;
        (response.status() == 200).then_some(())?;
        response.json().await.ok()
    }

    pub async fn read(&self, id: JobId) -> JobView {
        self.try_read(id).await.expect("the job")
    }

    /// Waits until a job is terminal.
    pub async fn ended(&self, id: JobId) -> JobView {
        let mut last = None;
        let start = Instant::now();
        loop {
            last = self.try_read(id).await.or(last);
            if let Some(job) = &last
                && job.status.is_terminal()
            {
                return job.clone();
            }
            if start.elapsed() > LIMIT {
                panic!("{id} did not end: {last:?}\n{}", self.all_logs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a job draws frames.
    pub async fn until_drawing(&self, id: JobId) {
        wait_for("frames are drawn", LIMIT, async || {
            let job = self.read(id).await;
            assert!(!job.status.is_terminal(), "{job:?}");
            job.progress.frames_done > 0
        })
        .await;
    }

    pub async fn cancel(&self, id: JobId) -> JobView {
        let response = self
            .http
            .post(format!("{}/v1/jobs/{id}/cancel", self.url))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 202);
        response.json().await.unwrap()
    }

    /// The whole event stream of a job that has ended.
    pub async fn events(&self, id: JobId) -> String {
        let url = format!("{}/v1/jobs/{id}/events?after=0-0", self.url);
        self.http
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    pub async fn logs(&self, id: JobId) -> String {
        let url = format!("{}/v1/jobs/{id}/logs", self.url);
        self.http
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    pub async fn ready(&self) -> u16 {
        self.http
            .get(format!("{}/readyz", self.url))
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    }

    /// The job's main artifact, as a file that lives as long as the system.
    pub async fn download(&self, job: &JobView) -> PathBuf {
        let url = job.result_url.as_ref().expect("a result");
        let response = self.http.get(url).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let name = &job.artifacts.first().expect("an artifact").name;
        let path = self.folder.path().join(format!("{}-{name}", job.id));
        std::fs::write(&path, response.bytes().await.unwrap()).unwrap();
        path
    }

    /// What Prometheus would read from the API and the worker.
    pub async fn scrape(&self) -> [String; 2] {
        let mut texts = <[String; 2]>::default();
        for (text, url) in texts.iter_mut().zip(&self.metrics) {
            let answer = self
                .http
                .get(format!("{url}/metrics"))
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 200);
            *text = answer.text().await.unwrap();
        }
        texts
    }

    /// A client.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// `manimq` at this server, in an empty folder: its status, and all that it printed.
    pub async fn manimq(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(program("manimq"));
        command.args(arguments).current_dir(folder.path());
        let (status, said) = self.run(command).await;
        (status.code(), said)
    }

    /// What `deploy/e2e` says of a prompt: its status, and all that it printed.
    pub async fn e2e(&self, prompt: &str) -> (bool, String) {
        let mut command = Command::new(workspace().join("deploy/e2e"));
        command.arg(prompt);
        let (status, said) = self.run(command).await;
        (status.success(), said)
    }

    /// A client program at this server, and all that it printed.
    async fn run(&self, mut command: Command) -> (ExitStatus, String) {
        command
            .env("MANIMQ_SERVER", &self.url)
            .env_remove("MANIMQ_API_KEY")
            .stdin(Stdio::null());
        let output = tokio::process::Command::from(command)
            .output()
            .await
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status, String::from_utf8_lossy(&said).into_owned())
    }

    /// The API's address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What the programs have said.
    pub fn said(&self) -> String {
        self.all_logs()
    }

    /// What the worker's environment holds.
    pub fn worker_environment(&self) -> String {
        let pid = self.worker.as_ref().expect("it runs").id();
        let bytes = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        String::from_utf8_lossy(&bytes).replace('\0', "\n")
    }

    /// Number of files in the store.
    pub fn stored_files(&self) -> usize {
        fn count(folder: &Path) -> usize {
            let Ok(entries) = std::fs::read_dir(folder) else {
                return 0;
            };
            entries
                .map(|entry| {
                    let path = entry.unwrap().path();
                    if path.is_dir() { count(&path) } else { 1 }
                })
                .sum()
        }
        count(&self.folder.path().join("data/artifacts"))
    }

    fn all_logs(&self) -> String {
        ["api", "worker"]
            .iter()
            .map(|name| {
                let path = self.folder.path().join(format!("{name}.log"));
                format!(
                    "--- {name}\n{}",
                    std::fs::read_to_string(path).unwrap_or_default()
                )
            })
            .collect()
    }
}

impl Drop for System {
    fn drop(&mut self) {
        for child in [&mut self.worker, &mut self.api].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.all_logs());
        }
    }
}

/// What ffprobe says of a film.
pub struct Seen {
    pub codec: String,
    pub width: u32,
    pub height: u32,
    pub frames: u64,
}

pub fn probe(file: &Path) -> Seen {
    let output = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-count_frames",
            "-select_streams",
            "v:0",
            "-of",
            "json",
        ])
        .args([
            "-show_entries",
            "stream=codec_name,width,height,nb_read_frames",
        ])
        .arg(file)
        .output()
        .expect("ffprobe; deploy/setup installs it");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let stream = &json["streams"][0];
    Seen {
        codec: stream["codec_name"].as_str().unwrap().to_owned(),
        width: stream["width"].as_u64().unwrap().try_into().unwrap(),
        height: stream["height"].as_u64().unwrap().try_into().unwrap(),
        frames: stream["nb_read_frames"].as_str().unwrap().parse().unwrap(),
    }
}

/// The frames of what the bare `manim` command of the same environment renders, low quality.
pub fn bare_frames(source: &str, scene: &str) -> Vec<String> {
    bare_frames_with(source, scene, &["-ql"], "480p15")
}

/// The same with other flags, which make it leave the film in another folder.
pub fn bare_frames_with(source: &str, scene: &str, flags: &[&str], made_in: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("scene.py"), source).unwrap();
    let output = Command::new(python_env().join("bin/manim"))
        .arg("render")
        .args(flags)
        .args([
            "--silent",
            "--progress_bar",
            "none",
            "--media_dir",
            "media",
            "scene.py",
            scene,
        ])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let film = format!("media/videos/scene/{made_in}/{scene}.mp4");
    timed_frames(&folder.path().join(film))
}
