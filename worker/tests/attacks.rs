//! The attack corpus: scenes of a tenant who wants more than a film.
//!
//! Each file in `attacks/<class>/` is one attack. It checks itself: what it gets
//! and must not get, it calls a BREACH. This test runs it in a warm sandbox at
//! each level, with the scene policy out of the way, next to another tenant's
//! job, and afterwards renders a good scene in the same sandbox, which looks for
//! what is left. Its first lines say how it has to end, and what it may use:
//!
//! ```text
//! # ends: output_limit, timeout    one of these; without the line: held, it renders
//! # wall: 2    cpu: 2   memory_mib: 256   disk_mib: 24   output_mib: 8   log_mib: 2   frames: 40
//! # within: 60                     seconds until it is over; 30 without the line
//! # raw: yes                       nothing is put before and after it
//! ```

#[path = "sandbox/support.rs"]
#[allow(dead_code, unused_imports)]
mod support;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use manimq_worker::sandbox::local::{Level, LocalConfig, LocalSandbox};
use manimq_worker::sandbox::{
    EventSender, OutputFormat, RenderError, RenderEvent, RenderRequest, Sandbox,
};
use tokio_util::sync::CancellationToken;

use support::*;

const BEFORE: &str = include_str!("attacks/frame/before.py");
const AFTER: &str = include_str!("attacks/frame/after.py");
const GOOD_SCENE: &str = include_str!("attacks/frame/good.py");
/// Classes of attacks that could gain where forks are allowed.
const GAIN_BY_FORKS: [&str; 7] = [
    "cpu/",
    "jobs/",
    "memory/",
    "output/",
    "processes/",
    "protocol/",
    "renderer/",
];
/// Sandboxes that attack at the same time.
const ATTACKERS: usize = 2;

/// One file of the corpus.
#[derive(Debug, Clone)]
struct Attack {
    /// `class/name`.
    name: String,
    text: String,
    rules: BTreeMap<String, String>,
}

impl Attack {
    fn read(path: &Path, class: &str) -> Self {
        let text = fs::read_to_string(path).expect("an attack");
        let rules = text
            .lines()
            .filter_map(|line| line.strip_prefix("# ")?.split_once(": "))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let name = path.file_stem().expect("a name").to_string_lossy();
        Self {
            name: format!("{class}/{name}"),
            text,
            rules,
        }
    }

    fn number(&self, key: &str) -> Option<u64> {
        let value = self.rules.get(key)?;
        Some(value.parse().unwrap_or_else(|_| {
            panic!("{}: {key} is {value:?}, not a number", self.name);
        }))
    }

    fn request(&self, facts: &str, cores: u32) -> RenderRequest {
        let text = repeat(&self.text);
        let mut request = request_for(&if self.rules.contains_key("raw") {
            text
        } else {
            let after = if text.contains("(Scene):") { "" } else { AFTER };
            format!("{facts}{BEFORE}\n{text}{after}")
        });
        request.output.width = 320;
        request.output.height = 240;
        request.cores = cores;
        let limits = &mut request.limits;
        let mib = |key| self.number(key).map(|mib| mib << 20);
        limits.wall = Duration::from_secs(self.number("wall").unwrap_or(60));
        limits.cpu = self.number("cpu").map_or(limits.cpu, Duration::from_secs);
        limits.memory_bytes = mib("memory_mib").unwrap_or(limits.memory_bytes);
        limits.disk_bytes = mib("disk_mib").unwrap_or(limits.disk_bytes);
        limits.output_bytes = mib("output_mib").unwrap_or(limits.output_bytes);
        limits.log_bytes = mib("log_mib").unwrap_or(limits.log_bytes);
        limits.frames = self.number("frames").unwrap_or(limits.frames);
        request
    }

    /// What is wrong with how it ended.
    fn judge(&self, ended: &Ended) -> Option<String> {
        let within = Duration::from_secs(self.number("within").unwrap_or(30));
        let allowed = self.rules.get("ends").map_or("held", String::as_str);
        let mut wrong = String::new();
        if !allowed.split(", ").any(|each| each == ended.how) || ended.said.contains("BREACH") {
            let _ = write!(
                wrong,
                "ended {} ({}), not {allowed}; ",
                ended.how, ended.said
            );
        }
        if ended.took > within {
            let _ = write!(wrong, "took {:?}; ", ended.took);
        }
        if let Some(left) = &ended.left {
            let _ = write!(wrong, "left something: {left}");
        }
        (!wrong.is_empty()).then(|| format!("{}: {wrong}", self.name))
    }
}

/// `@REPEAT word@7@` is seven times the word: no file has to be that long.
fn repeat(text: &str) -> String {
    let mut out = text.to_owned();
    while let Some((before, rest)) = out.split_once("@REPEAT ") {
        let mut parts = rest.splitn(3, '@');
        let (word, times) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let times = times.parse().expect("a number of times");
        out = [before, &word.repeat(times), parts.next().unwrap_or("")].concat();
    }
    out
}

fn corpus() -> Vec<Attack> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks");
    let only = std::env::var("MANIMQ_TEST_ATTACKS").unwrap_or_default();
    let mut all = Vec::new();
    for class in fs::read_dir(top).expect("the corpus").flatten() {
        let name = class.file_name().to_string_lossy().into_owned();
        if name == "frame" {
            continue;
        }
        for file in fs::read_dir(class.path()).expect("a class").flatten() {
            let attack = Attack::read(&file.path(), &name);
            if attack.name.contains(&only) {
                all.push(attack);
            }
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// How an attack ended.
#[derive(Debug)]
struct Ended {
    /// A failure class, or `held`: it rendered.
    how: String,
    said: String,
    took: Duration,
    /// What the good scene found, or why there was none.
    left: Option<String>,
}

/// An attacker and what it has in its hands.
struct Attacker {
    sandbox: LocalSandbox,
    /// On how many cores its jobs may draw: with more than one they may fork.
    cores: u32,
    /// What the good scene looked like before the first attack.
    good: Vec<u8>,
}

impl Attacker {
    async fn start(level: Level, areas: &Path, cores: u32) -> Self {
        let mut sandbox = connect(level, areas).await;
        let good = good_picture(&mut sandbox).await.expect("a good scene");
        assert!(good.starts_with(b"\x89PNG"));
        Self {
            sandbox,
            cores,
            good,
        }
    }
}

/// The picture of the good scene, or what it found or why there was none.
async fn good_picture(sandbox: &mut LocalSandbox) -> Result<Vec<u8>, String> {
    let mut good = request_for(GOOD_SCENE);
    good.output.format = OutputFormat::Png;
    good.output.width = 320;
    good.output.height = 240;
    let rendered = render_in(sandbox, good).await.0;
    let rendered = rendered.map_err(|error| error.to_string())?;
    let folder = tempfile::tempdir().expect("a folder");
    Ok(fs::read(save(&rendered, folder.path())).expect("a file"))
}

async fn run(attacker: &mut Attacker, attack: &Attack, facts: &str) -> Ended {
    let sandbox = &mut attacker.sandbox;
    let zygote = sandbox.zygote_pid();
    let began = Instant::now();
    let (result, events) = render_in(sandbox, attack.request(facts, attacker.cores)).await;
    let took = began.elapsed();
    let (how, said) = match result {
        Ok(_) => ("held".to_owned(), String::new()),
        Err(RenderError::Failed(failure)) => {
            let class = serde_json::to_value(failure.class).expect("a word");
            let class = class.as_str().expect("a word").to_owned();
            (class, failure.message.clone())
        }
        Err(error) => ("broke the sandbox".to_owned(), error.to_string()),
    };
    let logged: usize = events
        .iter()
        .map(|event| match event {
            RenderEvent::Log { text, .. } => text.len(),
            _ => 0,
        })
        .sum();
    let mut left = None;
    if logged > 2 << 20 {
        left = Some(format!("{logged} bytes of log"));
    }
    sandbox.reset().await.expect("a sandbox goes on");
    if sandbox.zygote_pid() != zygote {
        left = Some("another zygote".into());
    }
    match good_picture(sandbox).await {
        Ok(picture) if picture == attacker.good => {}
        Ok(_) => left = Some("another picture of the good scene".into()),
        Err(error) => left = Some(error),
    }
    Ended {
        how,
        said,
        took,
        left,
    }
}

/// A job of another tenant that runs all the time, and what an attacker could know of it.
struct Victim {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), String>>,
    pids: Vec<u32>,
    folder: Option<PathBuf>,
}

impl Victim {
    async fn start(level: Level, areas: &Path) -> Self {
        let mut sandbox = connect(level, areas).await;
        let zygote = sandbox.zygote_pid().expect("connected");
        let mut request = constructing(
            "open('secret.txt', 'w').write('of the victim')\n\
             print('running', flush=True)\n\
             import time\n\
             while True:\n\
             \x20   assert open('secret.txt').read() == 'of the victim'\n\
             \x20   time.sleep(0.2)",
        );
        request.limits.wall = Duration::from_secs(1800);
        let stop = request.stop.clone();
        let (events, mut incoming) = EventSender::channel(64);
        let task = tokio::spawn(async move {
            let ended = sandbox.render(request, events).await;
            sandbox.close().await;
            match ended {
                Err(RenderError::Interrupted) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        while !matches!(incoming.recv().await, Some(RenderEvent::Log { .. })) {}
        tokio::spawn(async move { while incoming.recv().await.is_some() {} });
        let mut pids: Vec<u32> = descendants(zygote).into_iter().map(|p| p.0).collect();
        pids.push(zygote);
        let folder = fs::read_dir(areas)
            .expect("the areas")
            .flatten()
            .flat_map(|area| fs::read_dir(area.path()).into_iter().flatten().flatten())
            .map(|entry| entry.path())
            .find(|path| path.join("work/secret.txt").exists());
        Self {
            stop,
            task,
            pids,
            folder,
        }
    }

    async fn ends_unharmed(self) -> Result<(), String> {
        self.stop.cancel();
        self.task.await.expect("no panic")
    }
}

async fn connect(level: Level, areas: &Path) -> LocalSandbox {
    let config = LocalConfig {
        level: Some(level),
        folder: areas.to_owned(),
        ..own_config()
    };
    LocalSandbox::connect(config).await.expect("a sandbox")
}

fn every_attack_is_held(level: Level, cores: u32) {
    // As a cloud key would be in a worker.
    let canary = format!("canary-{:x}", std::process::id() * 7919);
    // SAFETY: before the first thread of this test reads the environment.
    unsafe { std::env::set_var("MANIMQ_TEST_CANARY", &canary) };
    let private = tempfile::tempdir().expect("a folder");
    let secret = private.path().join("key");
    fs::write(&secret, &canary).expect("a file");
    let areas = open_folder();
    let mut attacks = corpus();
    attacks.retain(|attack| {
        cores == 1
            || GAIN_BY_FORKS
                .iter()
                .any(|class| attack.name.starts_with(class))
    });
    let count = attacks.len();
    let began = Instant::now();
    let (wrong, slowest) = block_on(async {
        let victim = Victim::start(level, areas.path()).await;
        let path = |path: Option<&Path>| format!("{:?}", path.unwrap_or(Path::new("")));
        let facts = format!(
            "LEVEL = {:?}\nCORES = {cores}\nCANARY = {canary:?}\nSECRET_FILE = {}\nAREAS = {}\nVICTIM_PIDS = {:?}\nVICTIM_DIR = {}\nWORKER_PIDS = [{}]\n",
            level.as_str(),
            path(Some(&secret)),
            path((level == Level::Container).then_some(areas.path())),
            victim.pids,
            path(victim.folder.as_deref()),
            std::process::id(),
        );
        let waiting = Arc::new(Mutex::new(VecDeque::from(attacks)));
        let attackers: Vec<_> = (0..ATTACKERS)
            .map(|_| {
                let (waiting, facts) = (waiting.clone(), facts.clone());
                let areas = areas.path().to_owned();
                tokio::spawn(async move {
                    let mut attacker = Attacker::start(level, &areas, cores).await;
                    let (mut wrong, mut times) = (Vec::new(), Vec::new());
                    loop {
                        let next = waiting.lock().expect("not poisoned").pop_front();
                        let Some(attack) = next else { break };
                        let ended = run(&mut attacker, &attack, &facts).await;
                        wrong.extend(attack.judge(&ended));
                        times.push((ended.took, attack.name));
                    }
                    attacker.sandbox.close().await;
                    (wrong, times)
                })
            })
            .collect();
        let (mut wrong, mut times) = (Vec::new(), Vec::new());
        for attacker in attackers {
            let (more, took) = attacker.await.expect("no panic");
            wrong.extend(more);
            times.extend(took);
        }
        if let Err(harm) = victim.ends_unharmed().await {
            wrong.push(format!("the other tenant's job did not survive: {harm}"));
        }
        times.sort();
        (wrong, times.split_off(times.len().saturating_sub(5)))
    });
    tell(&format!(
        "{count} attacks at level {}, {cores} cores a job, in {:.0?}; slowest {slowest:.1?}",
        level.as_str(),
        began.elapsed()
    ));
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(
        fs::read_dir(areas.path()).expect("it").count(),
        0,
        "files are left"
    );
}

/// Reachable by the slots' users.
fn open_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("0711");
    folder
}

#[test]
fn every_attack_is_held_at_level_full() {
    every_attack_is_held(Level::Full, 1);
}

#[test]
fn every_attack_is_held_at_level_container() {
    every_attack_is_held(Level::Container, 1);
}

/// As a worker on an idle machine runs them: the gate for forks is open.
#[test]
fn every_attack_is_held_where_a_film_may_be_drawn_on_two_cores() {
    every_attack_is_held(Level::Full, 2);
}
