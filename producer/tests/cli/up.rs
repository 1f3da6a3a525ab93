//! `manimq up`: starts, restarts, stops, and leaves nothing behind.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::Command;

use crate::standin::{self, Manner};
use crate::support::{Live, eventually, manimq, processes, run};

/// What `up` promises for its end, with room for a busy machine.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A place for one `up`.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("mq-up-")
            .tempdir_in("/tmp")
            .unwrap();
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    fn up(&self, manner: Manner, args: &[&str]) -> Command {
        let mut command = manimq(self.path());
        command
            .args([
                "up",
                "--listen",
                "127.0.0.1:0",
                "--metrics-listen",
                "127.0.0.1:0",
            ])
            .args(["--worker-metrics-listen", "127.0.0.1:0", "--slots", "1"])
            .arg("--data-dir")
            .arg(self.data())
            .arg("--announce")
            .arg(self.path().join("up.json"))
            .args(args)
            .env("MANIMQ_WORKER_BIN", standin::write(self.path(), manner))
            .env("UP_TEST_MARK", self.path());
        command
    }

    async fn ready(&self, live: &mut Live) -> Value {
        live.says("manimq is up").await;
        serde_json::from_slice(&std::fs::read(self.path().join("up.json")).unwrap()).unwrap()
    }

    fn processes(&self) -> Vec<(i32, String)> {
        processes(self.path())
    }

    fn pid_of(&self, what: &str) -> Option<i32> {
        self.processes()
            .into_iter()
            .find(|(_, line)| line.contains(what))
            .map(|(pid, _)| pid)
    }

    async fn nothing_is_left(&self) {
        eventually("nothing is left", async || {
            let left = self.processes();
            if !left.is_empty() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            left.is_empty().then_some(())
        })
        .await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A failed test leaves no daemons on the machine.
        for (pid, _) in self.processes() {
            kill(pid);
        }
    }
}

fn zombies_of(parent: i32) -> Vec<String> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok())
        .filter(|stat| stat.contains(&format!(") Z {parent} ")))
        .collect()
}

fn kill(pid: i32) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
}

async fn is_ready(api: &str) -> Option<()> {
    let answer = reqwest::get(format!("{api}/readyz")).await.ok()?;
    answer.status().is_success().then_some(())
}

#[tokio::test]
async fn once_renders_the_sample_checks_it_and_leaves_nothing() {
    let place = Place::new();
    let live = Live::start(&mut place.up(Manner::Good, &["--once"]));
    let said = live.ended().await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let film = place
        .data()
        .canonicalize()
        .unwrap()
        .join("sample/hello.mp4");
    assert_eq!(said.out.trim(), film.to_str().unwrap());
    assert!(film.metadata().unwrap().len() > 1_000);
    for words in [
        "manimq is up",
        "sample:",
        "watch it: http://127.0.0.1:",
        "checked:  h264, 1280x720",
        "everything has stopped",
    ] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    assert_eq!(place.processes(), []);
}

#[tokio::test]
async fn once_that_is_interrupted_is_no_success() {
    for (signal, moment) in [
        (Signal::TERM, "starting Redis"),
        (Signal::INT, "rendering the sample"),
    ] {
        let place = Place::new();
        let mut live = Live::start(&mut place.up(Manner::Stubborn, &["--once"]));
        live.says(moment).await;
        live.signal(signal);
        let said = live.ended().await;
        assert_eq!(said.code, Some(5), "{}", said.err);
        assert_eq!(said.out, "");
        assert_eq!(place.processes(), []);
    }
}

#[tokio::test]
async fn the_sample_is_rendered_on_the_first_start_only() {
    let place = Place::new();
    let mut live = Live::start(&mut place.up(Manner::Good, &[]));
    live.says("sample:").await;
    live.signal(Signal::INT);
    assert_eq!(live.ended().await.code, Some(0));
    let mut live = Live::start(&mut place.up(Manner::Good, &[]));
    place.ready(&mut live).await;
    live.signal(Signal::TERM);
    let said = live.ended().await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(!said.err.contains("sample"), "{}", said.err);
    assert_eq!(place.processes(), []);
}

#[tokio::test]
async fn a_tenants_key_in_the_shell_or_in_dot_env_is_the_clients_and_does_not_stop_the_server() {
    manimq_shared::tls::choose_cryptography();
    let key = format!("mqk_0123456789abcdef_{}", "0".repeat(48));
    for in_a_file in [false, true] {
        let place = Place::new();
        let mut command = place.up(Manner::Good, &["--no-sample"]);
        if in_a_file {
            let text = format!("MANIMQ_API_KEY={key}\n");
            std::fs::write(place.path().join(".env"), text).unwrap();
        } else {
            command.env("MANIMQ_API_KEY", &key);
        }
        let mut live = Live::start(command.env("MANIMQ_LLM_KEY", &key));
        let here = place.ready(&mut live).await;
        // It is nobody's key, and the server did not take it for its own.
        let asked = format!("{}/openapi.json", here["api"].as_str().unwrap());
        assert!(reqwest::get(asked).await.unwrap().status().is_success());
        live.signal(Signal::TERM);
        let said = live.ended().await;
        assert!(!said.err.contains(&key[21..]), "{}", said.err);
        place.nothing_is_left().await;
    }
}

#[tokio::test]
async fn the_worker_of_up_gets_no_key_of_the_store_the_api_or_the_model_by_any_way() {
    const SECRET: &str = "s3cret-that-no-worker-may-ever-see-0123456789";
    for in_a_file in [false, true] {
        let place = Place::new();
        let mut command = place.up(Manner::Good, &["--no-sample"]);
        let mut file = "MANIMQ_REDIS_WAIT=61s\n".to_owned();
        for name in standin::NOT_FOR_WORKERS {
            if in_a_file {
                file.push_str(&format!("{name}={SECRET}\n"));
            } else {
                command.env(name, SECRET);
            }
        }
        std::fs::write(place.path().join(".env"), file).unwrap();
        let mut live = Live::start(&mut command);
        // The stand-in looks, too: at its own environment after it has read its folder's `.env`.
        place.ready(&mut live).await;
        let worker = place.pid_of("the_stand_in_runs").unwrap();
        let environment = std::fs::read(format!("/proc/{worker}/environ")).unwrap();
        let environment = String::from_utf8_lossy(&environment);
        assert!(
            environment.contains("MANIMQ_REDIS_WAIT=61s"),
            "what is no secret of another's reaches it"
        );
        for name in standin::NOT_FOR_WORKERS {
            let start = format!("{name}=");
            let has = environment.split('\0').any(|set| set.starts_with(&start));
            assert!(!has, "{name}");
        }
        assert!(!environment.contains(SECRET));
        live.signal(Signal::TERM);
        let said = live.ended().await;
        assert!(!said.err.contains(SECRET), "{}", said.err);
        place.nothing_is_left().await;
    }
}

#[tokio::test]
async fn a_child_that_dies_is_told_and_started_again() {
    let place = Place::new();
    let mut live = Live::start(&mut place.up(Manner::Good, &["--no-sample"]));
    let here = place.ready(&mut live).await;
    let api = here["api"].as_str().unwrap();
    for (name, what) in [
        ("api", " serve "),
        ("worker", "the_stand_in_runs"),
        ("redis", "redis-server"),
    ] {
        let first = place.pid_of(what).unwrap();
        kill(first);
        live.says(&format!(
            "{name} ended by itself (signal: 9 (SIGKILL)); starting it again"
        ))
        .await;
        eventually("a new one", async || {
            place.pid_of(what).filter(|pid| *pid != first)
        })
        .await;
        eventually("ready again, at the same address", async || {
            is_ready(api).await
        })
        .await;
    }
    live.signal(Signal::TERM);
    assert_eq!(live.ended().await.code, Some(0));
    assert_eq!(place.processes(), []);
}

#[tokio::test]
async fn kill_9_of_up_takes_everything_with_it_and_the_next_up_has_the_data() {
    let place = Place::new();
    let mut live = Live::start(&mut place.up(Manner::Good, &["--no-sample"]));
    place.ready(&mut live).await;
    assert!(place.processes().len() >= 4, "{:?}", place.processes());
    live.signal(Signal::KILL);
    let _ = live.ended().await;
    // At once: the next one must wait for what it must wait for.
    let mut live = Live::start(&mut place.up(Manner::Good, &["--no-sample"]));
    place.ready(&mut live).await;
    live.signal(Signal::KILL);
    let _ = live.ended().await;
    place.nothing_is_left().await;
}

#[tokio::test]
async fn a_stop_is_bounded_even_if_the_worker_does_not_listen() {
    let place = Place::new();
    let mut live = Live::start(&mut place.up(Manner::Stubborn, &["--no-sample"]));
    place.ready(&mut live).await;
    let start = Instant::now();
    live.signal(Signal::TERM);
    let said = live.ended().await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(start.elapsed() < STOP_LIMIT, "{:?}", start.elapsed());
    assert_eq!(place.processes(), []);
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let place = Place::new();
    let mut live = Live::start(&mut place.up(Manner::Stubborn, &["--no-sample"]));
    place.ready(&mut live).await;
    live.signal(Signal::INT);
    live.says("stopping").await;
    tokio::time::sleep(manimq::cli::SAME_PRESS * 2).await;
    let start = Instant::now();
    live.signal(Signal::INT);
    let said = live.ended().await;
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    assert!(said.err.contains("stopping at once"), "{}", said.err);
    assert_eq!(place.processes(), []);
}

#[tokio::test]
async fn what_a_dead_worker_left_behind_is_ended() {
    let place = Place::new();
    let mut live = Live::start(&mut place.up(Manner::Orphan, &["--no-sample"]));
    place.ready(&mut live).await;
    eventually("the short-lived orphan has died", async || {
        place.pid_of("sleep 0.1").is_none().then_some(())
    })
    .await;
    eventually("no orphan stays as a zombie", async || {
        zombies_of(live.pid()).is_empty().then_some(())
    })
    .await;
    let orphan = place.pid_of("sleep 1000").unwrap();
    kill(place.pid_of("the_stand_in_runs").unwrap());
    eventually("the orphan is gone", async || {
        (!place.processes().iter().any(|(pid, _)| *pid == orphan)).then_some(())
    })
    .await;
    live.signal(Signal::TERM);
    let _ = live.ended().await;
    assert_eq!(place.processes(), []);
}

#[tokio::test]
async fn a_worker_that_cannot_start_ends_everything_with_its_own_words() {
    let place = Place::new();
    let said = run(&mut place.up(Manner::Broken, &[])).await;
    assert_eq!(said.code, Some(1));
    for words in [
        "worker ended by itself (exit status: 3) before it was ready",
        "no Python here: run deploy/setup",
        "logs/worker.log",
    ] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    assert_eq!(
        said.err.matches("error:").count(),
        1,
        "told once: {}",
        said.err
    );
    assert_eq!(place.processes(), []);
}

#[tokio::test]
async fn one_data_folder_has_one_up_and_two_folders_have_two() {
    let (place, other) = (Place::new(), Place::new());
    let mut live = Live::start(&mut place.up(Manner::Good, &["--no-sample"]));
    place.ready(&mut live).await;
    let said = run(&mut place.up(Manner::Good, &[])).await;
    assert_eq!(said.code, Some(1));
    let words = format!(
        "already running in {} (process {})",
        place.data().canonicalize().unwrap().display(),
        live.pid()
    );
    assert!(said.err.contains(&words), "{}", said.err);

    let mut second = Live::start(&mut other.up(Manner::Good, &[]));
    second.says("sample:").await;
    second.signal(Signal::TERM);
    assert_eq!(second.ended().await.code, Some(0));
    assert!(place.processes().len() >= 4, "the first one goes on");
    live.signal(Signal::TERM);
    assert_eq!(live.ended().await.code, Some(0));
}

#[tokio::test]
async fn a_port_in_use_is_told_with_the_flag_before_anything_starts() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--listen", "--metrics-listen", "--worker-metrics-listen"] {
        let place = Place::new();
        let mut command = manimq(place.path());
        command.args(["up", "--data-dir"]).arg(place.data());
        for known in ["--listen", "--metrics-listen", "--worker-metrics-listen"] {
            command.args([
                known,
                if known == flag {
                    &address
                } else {
                    "127.0.0.1:0"
                },
            ]);
        }
        let said = run(&mut command).await;
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(
            said.err.contains(&format!("{address} is in use")),
            "{}",
            said.err
        );
        assert!(
            said.err.contains(&format!("another address with {flag}")),
            "{}",
            said.err
        );
        assert!(!said.err.contains("starting"), "{}", said.err);
    }
}

#[tokio::test]
async fn a_redis_that_cannot_be_used_is_told_with_what_to_do() {
    for (url, words) in [
        ("redis://user:secret@127.0.0.1:1/0", "cannot be reached"),
        ("http://x", "REDIS_URL"),
    ] {
        let place = Place::new();
        let said = run(place.up(Manner::Good, &[]).env("REDIS_URL", url)).await;
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(
            said.err.contains(words) && said.err.contains("REDIS_URL"),
            "{}",
            said.err
        );
        assert!(!said.err.contains("secret"), "{}", said.err);
        assert_eq!(place.processes(), []);
    }
}

#[tokio::test]
async fn a_redis_of_ones_own_is_used_and_left_alone() {
    let redis = manimq_shared::testing::RedisServer::start();
    let place = Place::new();
    let mut command = place.up(Manner::Good, &["--once"]);
    let said = run(command.env("REDIS_URL", format!("unix://{}", redis.socket().display()))).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(!said.err.contains("starting Redis"), "{}", said.err);
    let client = manimq_shared::queue::Queue::connect(&redis.config("mq")).await;
    assert!(client.is_ok(), "it still runs");
}

#[tokio::test]
async fn the_password_of_redis_is_not_in_the_announcement() {
    let redis = manimq_shared::testing::RedisServer::start();
    let queue = manimq_shared::queue::Queue::new(&redis.config("mq")).unwrap();
    // Any free port: this Redis listens on a socket alone until it is told otherwise.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    for (name, value) in [
        ("port", port.to_string()),
        ("requirepass", "hunter2".to_owned()),
    ] {
        let () = queue
            .query(redis::cmd("CONFIG").arg("SET").arg(name).arg(value))
            .await
            .unwrap();
    }
    let place = Place::new();
    let mut command = place.up(Manner::Good, &["--no-sample"]);
    command.env("REDIS_URL", format!("redis://:hunter2@127.0.0.1:{port}/0"));
    let mut live = Live::start(&mut command);
    let here = place.ready(&mut live).await;
    assert_eq!(here["redis"], format!("redis://…@127.0.0.1:{port}/0"));
    live.signal(Signal::TERM);
    let said = live.ended().await;
    assert!(!said.err.contains("hunter2"), "{}", said.err);
}

#[tokio::test]
async fn a_render_survives_the_restart_of_the_api() {
    let place = Place::new();
    let mut live = Live::start(&mut place.up(Manner::Good, &["--no-sample"]));
    let here = place.ready(&mut live).await;
    let go = place.path().join("go");
    let scene = format!(
        "from manim import *\n# hold {}\nclass Held(Scene):\n    def construct(self):\n        self.wait()\n",
        go.display()
    );
    std::fs::write(place.path().join("held.py"), scene).unwrap();
    let mut command = manimq(place.path());
    command
        .args(["render", "-ql", "held.py"])
        .env("MANIMQ_SERVER", here["api"].as_str().unwrap());
    let mut render = Live::start(&mut command);
    render.says("frame").await;
    kill(place.pid_of(" serve ").unwrap());
    live.says("api ended by itself").await;
    eventually("the API is back", async || {
        is_ready(here["api"].as_str().unwrap()).await
    })
    .await;
    std::fs::write(&go, "").unwrap();
    let said = render.ended().await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(said.out, "./media/videos/held/480p15/Held.mp4\n");

    // And Ctrl-C reaches a real job.
    std::fs::remove_file(&go).unwrap();
    let mut render = Live::start(&mut command);
    render.says("frame").await;
    render.signal(Signal::INT);
    let said = render.ended().await;
    assert_eq!(said.code, Some(5), "{}", said.err);
    live.signal(Signal::TERM);
    assert_eq!(live.ended().await.code, Some(0));
    assert_eq!(place.processes(), []);
}
