//! `manimq submit|get|list|watch|cancel|rerun|logs|open|usage|validate|delete|completions`, and `.env`.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::Response;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::fake::{Call, Fake, JOB, Then, artifact, events, job, json as answer, problem};
use crate::scripted::{Endpoint, text};
use crate::support::{Said, manimq, run};

const SCENE: &str =
    "from manim import *\nclass MyScene(Scene):\n    def construct(self):\n        self.wait()\n";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("scene.py"), SCENE).unwrap();
    folder
}

fn program(folder: &Path, fake: &Fake, args: &[&str]) -> Command {
    let mut command = manimq(folder);
    command
        .args(args)
        .env("MANIMQ_SERVER", &fake.url)
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .env_remove("BROWSER");
    command
}

async fn ask(folder: &Path, fake: &Fake, args: &[&str]) -> Said {
    run(&mut program(folder, fake, args)).await
}

fn parsed(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"))
}

/// An API whose one job ends as `status`.
async fn ends_as(status: &'static str, more: Value) -> Fake {
    Fake::start(move |call| {
        let ended = || job(JOB, "MyScene", status, more.clone());
        match call.what.as_str() {
            "POST /v1/jobs" => answer(202, &job(JOB, "MyScene", "queued", json!({}))),
            what if what.ends_with("/rerun") => {
                answer(202, &job(JOB, "MyScene", "queued", json!({})))
            }
            what if what.ends_with("/events") => events(&[("1-0", "done", json!({}))], Then::Close),
            what if what.starts_with("GET /v1/jobs/") => answer(200, &ended()),
            _ => problem(404, "not-found", "nothing there", json!({})),
        }
    })
    .await
}

#[tokio::test]
async fn submit_prints_the_id_and_sends_what_was_asked_for() {
    let fake = ends_as("succeeded", json!({})).await;
    let folder = folder();
    let args = [
        "submit",
        "-ql",
        "--format",
        "gif",
        "--lane",
        "batch",
        "--timeout",
        "90s",
        "--deadline",
        "1h",
        "--tag",
        "a",
        "--tag",
        "b c",
        "--meta",
        "lesson=7=x",
        "--key",
        "mine",
        "--disable_caching",
        "scene.py",
        "MyScene",
    ];
    let said = ask(folder.path(), &fake, &args).await;
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(0), format!("{JOB}\n").as_str()),
        "{}",
        said.err
    );
    let calls = fake.calls("POST /v1/jobs");
    assert_eq!(calls[0].header("idempotency-key"), Some("\"mine\""));
    let body = &calls[0].body;
    assert_eq!(body["input"]["scene"], "MyScene");
    assert_eq!(body["output"]["format"], "gif");
    assert_eq!(body["output"]["quality"], "low");
    assert_eq!(
        (&body["lane"], &body["cache"]),
        (&json!("batch"), &json!("refresh"))
    );
    assert_eq!(
        (&body["timeout_s"], &body["deadline_s"]),
        (&json!(90), &json!(3600))
    );
    assert_eq!(
        (&body["tags"], &body["metadata"]),
        (&json!(["a", "b c"]), &json!({"lesson": "7=x"}))
    );
    let said = ask(folder.path(), &fake, &["submit", "--json", "scene.py"]).await;
    assert_eq!(parsed(&said)["id"], JOB);
    assert_eq!(fake.calls("POST /v1/jobs")[1].body["lane"], "normal");
    for (args, words) in [
        (&["submit", "nowhere.py"][..], "nowhere.py"),
        (&["submit", "--meta", "x", "scene.py"], "lesson=7"),
        (&["submit", "--deadline", "8d", "scene.py"], "7d"),
    ] {
        let said = ask(folder.path(), &fake, args).await;
        assert_eq!(said.code, Some(2));
        assert!(said.err.contains(words), "{}", said.err);
    }
}

#[tokio::test]
async fn the_exit_status_tells_how_a_job_that_was_waited_for_ended() {
    let error = json!({"error": {"class": "scene_error", "message": "no such thing", "hint": "look again"}});
    for (status, more, code) in [
        ("succeeded", json!({}), 0),
        ("failed", error, 1),
        ("expired", json!({}), 1),
        ("canceled", json!({}), 5),
    ] {
        let fake = ends_as(status, more).await;
        let folder = folder();
        for args in [
            &["submit", "--wait", "scene.py"][..],
            &["rerun", "--wait", JOB],
            &["watch", JOB],
        ] {
            let said = ask(folder.path(), &fake, args).await;
            assert_eq!(said.code, Some(code), "{args:?}: {}", said.err);
            assert_eq!(said.out, format!("{JOB}\n"));
            assert!(said.err.contains(status), "{}", said.err);
            if status == "failed" {
                assert!(
                    said.err.contains("no such thing") && said.err.contains("look again"),
                    "{}",
                    said.err
                );
            }
            let mut with_json = args.to_vec();
            with_json.push("--json");
            let said = ask(folder.path(), &fake, &with_json).await;
            assert_eq!(
                (said.code, &parsed(&said)["status"]),
                (Some(code), &json!(status))
            );
        }
    }
}

#[tokio::test]
async fn a_wait_that_is_over_leaves_the_job_and_says_so() {
    let fake = Fake::start(|call| match call.what.as_str() {
        "POST /v1/jobs" => answer(202, &job(JOB, "MyScene", "queued", json!({}))),
        what if what.ends_with("/events") => events(&[], Then::Hang),
        _ => answer(200, &job(JOB, "MyScene", "running", json!({}))),
    })
    .await;
    let folder = folder();
    for args in [
        &["submit", "--wait", "--wait-timeout", "1s", "scene.py"][..],
        &["watch", "--wait-timeout", "1s", JOB],
    ] {
        let said = ask(folder.path(), &fake, args).await;
        assert_eq!(said.code, Some(4), "{}", said.err);
        assert!(said.err.contains("it goes on"), "{}", said.err);
    }
    assert_eq!(fake.calls(&format!("POST /v1/jobs/{JOB}/cancel")).len(), 0);
}

#[tokio::test]
async fn a_quota_is_an_exit_status_of_its_own() {
    let fake =
        Fake::start(|_| problem(429, "quota-exceeded", "9 of 9 jobs are waiting", json!({}))).await;
    let folder = folder();
    let said = ask(folder.path(), &fake, &["submit", "scene.py"]).await;
    assert_eq!(said.code, Some(3));
    assert!(
        said.err.contains("9 of 9") && said.err.contains("try again in 7 s"),
        "{}",
        said.err
    );
    let said = ask(folder.path(), &fake, &["usage", "--json"]).await;
    assert_eq!(
        (said.code, &parsed(&said)["error"]["type"]),
        (Some(3), &json!("quota-exceeded"))
    );
}

#[tokio::test]
async fn list_shows_a_table_of_as_many_pages_as_are_wanted() {
    let queries = Arc::new(Mutex::new(0));
    let fake = {
        let queries = Arc::clone(&queries);
        Fake::start(move |_: &Call| {
            let mut n = queries.lock().unwrap();
            *n += 1;
            let hour_ago = (jiff::Timestamp::now() - jiff::SignedDuration::from_secs(3 * 3600)).to_string();
            let more = json!({"created_at": hour_ago, "tags": ["algebra", "a\u{1b}[2J"]});
            let running = json!({"created_at": hour_ago, "progress": {"fraction": 0.42, "eta_s": 12.4, "frames_done": 9}});
            let failed = json!({"created_at": hour_ago, "error": {"class": "scene_error", "message": "first\nsecond"}});
            let page = match *n {
                1 => json!({"jobs": [job(JOB, "First", "queued", more), job(JOB, "Second", "running", running)], "next": "abc"}),
                _ => json!({"jobs": [job(JOB, "Third", "failed", failed)]}),
            };
            answer(200, &page)
        })
        .await
    };
    let folder = folder();
    let said = ask(folder.path(), &fake, &["list"]).await;
    let expected = format!(
        "JOB{pad}  STATUS   SCENE   OUTPUT   SUBMITTED  NOTE\n\
         {JOB}  queued   First   mp4 low  3 h ago    algebra, a\\u{{1b}}[2J\n\
         {JOB}  running  Second  mp4 low  3 h ago    42 %, 12 s left\n\
         {JOB}  failed   Third   mp4 low  3 h ago    first\n",
        pad = " ".repeat(JOB.len() - 3)
    );
    assert_eq!(said.out, expected, "{}", said.err);
    *queries.lock().unwrap() = 0;
    let said = ask(folder.path(), &fake, &["list", "-n", "2", "--json"]).await;
    let document = parsed(&said);
    assert_eq!(
        (
            document["jobs"].as_array().unwrap().len(),
            &document["more"]
        ),
        (2, &json!(true))
    );
}

#[tokio::test]
async fn an_empty_list_says_what_to_do() {
    let fake = Fake::start(|_| answer(200, &json!({"jobs": []}))).await;
    let folder = folder();
    let said = ask(folder.path(), &fake, &["list"]).await;
    assert_eq!(said.code, Some(0));
    assert!(said.out.contains("manimq render"), "{}", said.out);
    let said = ask(
        folder.path(),
        &fake,
        &["list", "--status", "failed,expired", "--since", "2d"],
    )
    .await;
    assert!(said.out.contains("without filters"), "{}", said.out);
    let said = ask(folder.path(), &fake, &["list", "--status", "done"]).await;
    assert_eq!(said.code, Some(2));
    let said = ask(folder.path(), &fake, &["list", "--since", "yesterday"]).await;
    assert!(
        said.code == Some(2) && said.err.contains("30m"),
        "{}",
        said.err
    );
}

#[tokio::test]
async fn get_tells_a_person_all_and_a_program_the_object() {
    let more = json!({
        "artifacts": artifact(b"film"), "resultUrl": "http://x/film", "finished_at": "2026-11-21T20:00:09Z",
        "timings": {"queued_s": 0.5, "render_s": 2.0}, "tags": ["a"], "metadata": {"k": "v"},
    });
    let fake = ends_as("succeeded", more).await;
    let folder = folder();
    let said = ask(folder.path(), &fake, &["get", JOB]).await;
    for words in [
        "succeeded",
        "MyScene of scene.py",
        "854x480",
        "2.0 s to render",
        "video.mp4, 4 B",
        "k = v",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    let said = ask(folder.path(), &fake, &["get", "--json", JOB]).await;
    assert_eq!(parsed(&said)["resultUrl"], "http://x/film");
    let said = ask(folder.path(), &fake, &["open", JOB]).await;
    assert_eq!(said.out, "http://x/film\n");
    let mut with_browser = program(folder.path(), &fake, &["open", JOB]);
    let said = run(with_browser.env("BROWSER", "true")).await;
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""));
    let said = ask(folder.path(), &fake, &["get", "job_1"]).await;
    assert_eq!(said.code, Some(2));
}

#[tokio::test]
async fn open_says_why_there_is_nothing_to_see() {
    let fake = ends_as("running", json!({})).await;
    let folder = folder();
    let said = ask(folder.path(), &fake, &["open", JOB]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("manimq watch"), "{}", said.err);
}

#[tokio::test]
async fn rerun_sends_only_what_is_to_change() {
    let fake = ends_as("succeeded", json!({})).await;
    let folder = folder();
    let said = ask(
        folder.path(),
        &fake,
        &["rerun", "-qh", "--format", "webm", "--timeout", "5m", JOB],
    )
    .await;
    assert_eq!((said.code, said.out), (Some(0), format!("{JOB}\n")));
    let calls = fake.calls("POST");
    assert!(calls[0].header("idempotency-key").is_some());
    assert_eq!(
        calls[0].body,
        json!({"output": {"quality": "high", "format": "webm"}, "timeout_s": 300})
    );
}

#[tokio::test]
async fn delete_tells_what_went_and_what_stays() {
    let fake = Fake::start(|call| {
        assert!(call.what.starts_with("DELETE /v1/jobs/"));
        let files = json!([{"name": "video.mp4", "bytes": 1_500_000, "deleted": false}]);
        answer(200, &json!({"id": JOB, "dry_run": true, "artifacts": files, "shown_by_others": 1, "events": 3}))
    })
    .await;
    let folder = folder();
    let said = ask(folder.path(), &fake, &["delete", "--dry-run", JOB]).await;
    assert_eq!(said.code, Some(0));
    assert!(
        said.out.contains("would be deleted") && said.out.contains("3 events"),
        "{}",
        said.out
    );
    assert!(said.out.contains("1 file not deleted"), "{}", said.out);
    let said = ask(folder.path(), &fake, &["delete", "--json", JOB, JOB]).await;
    assert_eq!(parsed(&said)["jobs"][1]["shown_by_others"], 1);
}

#[tokio::test]
async fn usage_shows_each_quota_and_what_is_left() {
    let usage = json!({
        "tenant": "acme", "active": 7, "running": 2, "rendered_today_s": 5.5,
        "limits": [
            {"policy": "queued_jobs", "limit": 10, "used": 7, "left": 3},
            {"policy": "submits_per_minute", "limit": 6, "used": 6, "left": 0, "window_s": 60, "more_in_s": 9},
        ],
        "allowed": {"running_max": 4, "quality_max": "high", "code": true},
    });
    let fake = Fake::start(move |_| answer(200, &usage)).await;
    let folder = folder();
    let said = ask(folder.path(), &fake, &["usage"]).await;
    assert_eq!(
        said.out,
        "tenant   acme\n\
         jobs     7 not ended, 2 of them running\n\
         at most  4 running at once, quality high\n\n\
         QUOTA               USED  OF  LEFT  MORE IN\n\
         queued jobs            7  10     3\n\
         submits per minute     6   6     0      9 s\n"
    );
}

#[tokio::test]
async fn validate_shows_findings_at_their_lines() {
    let finding = json!({
        "code": "import-not-allowed", "severity": "deny", "line": 1, "column": 1, "end_line": 1, "end_column": 5,
        "message": "the module os is not allowed", "hint": "leave it out",
    });
    let bad = json!({"ok": false, "scenes": [], "scenes_certain": false, "findings": [finding], "omitted": 0});
    let fake = Fake::start(move |call| match call.body["scene"].as_str() {
        Some(_) => answer(200, &bad),
        None => answer(200, &json!({
            "ok": true, "scenes": [{"name": "MyScene", "line": 2, "has_construct": true}], "scenes_certain": true,
            "scene": "MyScene", "findings": [], "omitted": 0,
        })),
    })
    .await;
    let folder = folder();
    let said = ask(folder.path(), &fake, &["validate", "scene.py"]).await;
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(0), "ok: scene.py: MyScene would be rendered\n")
    );
    let said = ask(folder.path(), &fake, &["validate", "scene.py", "X"]).await;
    assert_eq!(said.code, Some(1));
    for words in [
        "the module os is not allowed",
        "leave it out",
        "from manim import",
        "scene.py would be refused",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    let said = ask(
        folder.path(),
        &fake,
        &["validate", "--json", "scene.py", "X"],
    )
    .await;
    assert_eq!((said.code, &parsed(&said)["ok"]), (Some(1), &json!(false)));
}

#[tokio::test]
async fn logs_follow_through_a_broken_stream_without_a_line_twice() {
    let fake = Fake::start(|call| {
        let log = |text: &str| json!({ "text": text });
        match call.what.as_str() {
            what if what.ends_with("/events") => match call.header("last-event-id") {
                Some("2-0") => events(
                    &[("3-0", "log", log("three")), ("4-0", "done", json!({}))],
                    Then::Close,
                ),
                _ => events(
                    &[
                        ("1-0", "log", log("one\u{1b}[2J")),
                        ("2-0", "log", log("two\n")),
                    ],
                    Then::Cut,
                ),
            },
            _ => answer(200, &job(JOB, "MyScene", "running", json!({}))),
        }
    })
    .await;
    let folder = folder();
    let said = ask(folder.path(), &fake, &["logs", "-f", JOB]).await;
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(0), "one\\u{1b}[2J\ntwo\nthree\n"),
        "{}",
        said.err
    );
    let said = ask(folder.path(), &fake, &["logs", "-f", "--json", JOB]).await;
    assert_eq!(said.out.lines().nth(2), Some("{\"text\":\"three\"}"));
}

#[tokio::test]
async fn a_job_without_a_log_says_why() {
    const EARLIER: &str = "job_0199d3c06f2a7c41b8d2a3e64f0b9c77";
    for (status, more, words) in [
        (
            "succeeded",
            json!({"cached": true, "rendered_by": EARLIER}),
            &*format!("the film is that of the earlier job {EARLIER}; `manimq logs {EARLIER}`"),
        ),
        ("queued", json!({}), "no log yet: the job waits"),
        (
            "failed",
            json!({"started_at": "2026-11-21T20:00:00Z"}),
            "the scene printed nothing",
        ),
        ("canceled", json!({}), "ended before it ran"),
    ] {
        let fake = Fake::start(move |call| match call.what.as_str() {
            what if what.ends_with("/events") => events(&[("1-0", "done", json!({}))], Then::Close),
            what if what.contains("/logs") => Response::new(Body::from("")),
            _ => answer(200, &job(JOB, "MyScene", status, more.clone())),
        })
        .await;
        let folder = folder();
        for args in [&["logs", JOB][..], &["logs", "-f", JOB]] {
            let said = ask(folder.path(), &fake, args).await;
            assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{said:?}");
            assert!(
                said.err.starts_with("note: ") && said.err.contains(words),
                "{said:?}"
            );
        }
        // Who asks for no line is told nothing of them.
        let said = ask(folder.path(), &fake, &["logs", "--tail", "0", JOB]).await;
        assert_eq!((said.code, said.out + &said.err), (Some(0), String::new()));
        let said = ask(folder.path(), &fake, &["logs", "--json", JOB]).await;
        let note = parsed(&said)["note"].as_str().unwrap().to_owned();
        assert!(note.contains(words) && said.err.is_empty(), "{said:?}");
    }
}

#[tokio::test]
async fn a_wrong_command_line_is_told_in_json_where_that_is_asked_for() {
    let folder = folder();
    for (args, words, hint) in [
        (&["get", "--json", "x"][..], "'x'", None),
        (
            &["list", "--json", "--statu", "failed"],
            "--statu",
            Some("--status"),
        ),
        (&["cancel", "--json"], "<JOB>", None),
        (&["template", "--json"], "--json", None),
    ] {
        let said = run(manimq(folder.path()).args(args)).await;
        assert_eq!((said.code, said.err.as_str()), (Some(2), ""), "{said:?}");
        let document = parsed(&said);
        assert_eq!(document["exit_code"], 2);
        let error = &document["error"];
        assert_eq!(error["type"], "usage", "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains(words) && !message.contains("Usage"),
            "{message}"
        );
        if let Some(hint) = hint {
            assert!(error["hint"].as_str().unwrap().contains(hint), "{error}");
        }
    }
    // In prose the usage asks for nothing that a variable or a default gives.
    let mut command = manimq(folder.path());
    command.args(["admin", "pause"]);
    let said = run(command.env("REDIS_URL", "redis://127.0.0.1:1")).await;
    let usage = "Usage: manimq admin pause [OPTIONS] <--tenant <TENANT>|--lane <LANE>|--all>";
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains(usage), "{}", said.err);
    let said = run(manimq(folder.path()).args(["get", "x", "--", "--json"])).await;
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
    std::fs::write(folder.path().join(".env"), "REDIS_URL='").unwrap();
    let mut command = manimq(folder.path());
    command
        .args(["list", "--json"])
        .env_remove("MANIMQ_ENV_FILE");
    let said = run(&mut command).await;
    assert_eq!(parsed(&said)["error"]["type"], "usage", "{said:?}");
}

#[tokio::test]
async fn completions_are_scripts_that_the_shell_can_read() {
    let folder = folder();
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef manimq"),
        ("fish", "complete -c manimq"),
    ] {
        let said = run(manimq(folder.path()).args(["completions", shell])).await;
        assert_eq!(said.code, Some(0));
        assert!(
            said.out.contains(word) && said.out.contains("rerun"),
            "{shell}"
        );
        if shell == "bash" {
            let path = folder.path().join("complete.sh");
            std::fs::write(&path, &said.out).unwrap();
            let read = Command::new("bash")
                .arg("-n")
                .arg(path)
                .status()
                .await
                .unwrap();
            assert!(read.success());
        }
    }
}

#[tokio::test]
async fn a_dot_env_file_is_read_and_never_goes_before_the_environment() {
    let fake = Fake::start(|call| match call.header("authorization") {
        Some("Bearer a key with 'quotes'") => answer(200, &json!({"jobs": []})),
        other => Response::builder()
            .status(500)
            .body(Body::from(format!("{other:?}")))
            .unwrap(),
    })
    .await;
    let folder = folder();
    let file = folder.path().join(".env");
    let text = format!(
        "# mine\nMANIMQ_SERVER=\"{}\"\nMANIMQ_API_KEY=\"a key with 'quotes'\" # secret\n",
        fake.url
    );
    std::fs::write(&file, text).unwrap();
    let said = run(manimq(folder.path()).arg("list")).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let said = run(manimq(folder.path())
        .arg("list")
        .env("MANIMQ_SERVER", "http://127.0.0.1:1"))
    .await;
    assert_eq!(said.code, Some(6));
    std::fs::write(&file, "MANIMQ_API_KEY=\"s3cret\nX=1\n").unwrap();
    let said = run(manimq(folder.path()).arg("list")).await;
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains(".env, line 1") && !said.err.contains("s3cret"),
        "{}",
        said.err
    );
}

#[tokio::test]
async fn each_command_teaches_with_examples() {
    let folder = folder();
    for command in [
        "submit",
        "get",
        "list",
        "watch",
        "cancel",
        "rerun",
        "logs",
        "open",
        "usage",
        "validate",
        "delete",
        "completions",
        "doctor",
    ] {
        let said = run(manimq(folder.path())
            .args([command, "--help"])
            .env("COLUMNS", "100"))
        .await;
        assert_eq!(said.code, Some(0), "{command}");
        assert!(
            said.out.contains(&format!("manimq {command}")),
            "{command}: {}",
            said.out
        );
        assert!(said.out.contains("Example"), "{command}: {}", said.out);
    }
}

/// A worker whose `verify` says this.
fn worker(folder: &Path, script: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join("fake-worker");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn checks(said: &Said) -> std::collections::BTreeMap<String, Value> {
    let document = parsed(said);
    let checks = document["checks"].as_array().unwrap().clone();
    let named = |check: Value| (check["name"].as_str().unwrap().to_owned(), check);
    checks.into_iter().map(named).collect()
}

#[tokio::test]
async fn doctor_finds_what_is_wrong_and_prints_how_to_mend_it() {
    let redis = manimq_shared::testing::RedisServer::start();
    let set = async |name: &str, value: &str| {
        let mut connection = redis::Client::open(redis.url())
            .unwrap()
            .get_multiplexed_async_connection()
            .await
            .unwrap();
        let mut command = redis::cmd("CONFIG");
        command.arg("SET").arg(name).arg(value);
        let _: String = command.query_async(&mut connection).await.unwrap();
    };
    let ready = Fake::start(|call| match call.what.as_str() {
        "GET /readyz" => answer(200, &json!({"status": "ready", "workers": 1, "slots_ready": 2, "slots_busy": 0, "jobs_waiting": 0})),
        _ => answer(200, &json!({"status": "ok", "version": "1"})),
    })
    .await;
    let folder = folder();
    let good = worker(
        folder.path(),
        r#"echo '{"renderer":"1","python":"3.11.2","manim":"0.22.0","ffmpeg":"7","latex":"pdfTeX 3","dvisvgm":"dvisvgm 3","level":"full"}'"#,
    );
    let ask = async |worker: &str, url: &str, args: &[&str]| {
        let mut all = vec!["doctor"];
        all.extend(args);
        let mut command = program(folder.path(), &ready, &all);
        command
            .env("MANIMQ_WORKER_BIN", worker)
            .env("REDIS_URL", url);
        run(&mut command).await
    };
    set("appendonly", "yes").await;
    set("maxmemory-policy", "noeviction").await;
    let said = ask(&good, &redis.url(), &["--json"]).await;
    let found = checks(&said);
    for name in [
        "server",
        "storage",
        "jobs",
        "redis",
        "redis eviction",
        "redis file",
        "clock",
        "sandbox",
        "manim",
        "latex",
    ] {
        assert_eq!(found[name]["status"], "ok", "{name}: {}", said.out);
    }
    assert_eq!(found["manim"]["found"], "0.22.0");
    set("maxmemory-policy", "allkeys-lru").await;
    set("appendonly", "no").await;
    let bad = worker(
        folder.path(),
        "echo 'error: no bubblewrap; install it with apt-get install bubblewrap' >&2; exit 1",
    );
    let said = ask(&bad, &redis.url(), &[]).await;
    assert_eq!(said.code, Some(1));
    for words in [
        "config set maxmemory-policy noeviction",
        "config set appendonly yes",
        "apt-get install bubblewrap",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    let said = ask(&bad, "redis://:s3cret@127.0.0.1:1/0", &["--json"]).await;
    assert!(!said.out.contains("s3cret"), "{}", said.out);
    let found = checks(&said);
    assert_eq!(found["redis"]["status"], "failed");
    assert!(
        found["redis"]["fix"]
            .as_str()
            .unwrap()
            .contains("REDIS_URL")
    );
    // A language model is asked if there is one.
    let ask = async |url: &str| {
        let mut command = program(folder.path(), &ready, &["doctor", "--json"]);
        command
            .env("MANIMQ_WORKER_BIN", &good)
            .env("REDIS_URL", redis.url())
            .env("MANIMQ_LLM_URL", url)
            .env("MANIMQ_LLM_MODEL", "scripted")
            .env("MANIMQ_LLM_KEY", "very-secret");
        run(&mut command).await
    };
    let endpoint = Endpoint::start([text("yes")]).await;
    let said = ask(&endpoint.url).await;
    let found = checks(&said);
    assert_eq!(found["language model"]["status"], "ok", "{}", said.out);
    let said = ask("http://127.0.0.1:1/v1").await;
    let found = checks(&said);
    assert_eq!(found["language model"]["status"], "warning", "{}", said.out);
    let fix = found["language model"]["fix"].as_str().unwrap();
    assert!(
        fix.contains("MANIMQ_LLM_URL") && !said.out.contains("very-secret"),
        "{fix}"
    );
    // Without a server and without settings there is still an answer for each.
    let mut alone = manimq(folder.path());
    alone
        .args(["doctor", "--server", "http://127.0.0.1:1"])
        .env("MANIMQ_WORKER_BIN", &good);
    let said = run(&mut alone).await;
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("manimq up"), "{}", said.out);
}

#[tokio::test]
async fn doctor_tries_the_key_and_tells_what_is_paused() {
    const USAGE: &str = "GET /v1/usage";
    let folder = folder();
    let ask = async |paused: Value, key: &str| {
        let fake = Fake::start(move |call| match call.what.as_str() {
            "GET /readyz" => {
                let paused = paused["lanes"].clone();
                answer(200, &json!({"status": "ready", "workers": 1, "slots_ready": 2, "slots_busy": 0, "jobs_waiting": 0, "paused": paused}))
            }
            USAGE if call.header("authorization") == Some("Bearer good") => answer(
                200,
                &json!({"tenant": "acme", "active": 0, "running": 0, "rendered_today_s": 0.0,
                    "paused": paused["usage"], "limits": [], "allowed": {}}),
            ),
            USAGE => problem(401, "unauthenticated", "this server wants an API key", json!({})),
            _ => answer(200, &json!({"status": "ok", "version": "1"})),
        })
        .await;
        let mut command = program(folder.path(), &fake, &["doctor", "--json"]);
        command
            .env("MANIMQ_API_KEY", key)
            .env("MANIMQ_WORKER_BIN", worker(folder.path(), "exit 1"));
        checks(&run(&mut command).await)
    };
    let none = json!({"lanes": [], "usage": null});
    let found = ask(none.clone(), "good").await;
    assert_eq!(found["api key"]["status"], "ok");
    assert_eq!(found["api key"]["found"], "taken: tenant acme");
    assert_eq!(found["jobs"]["found"], "would run: 1 worker, 2 slots ready");
    for (key, words) in [("", "set MANIMQ_API_KEY"), ("bad", "is no key of this")] {
        let found = ask(none.clone(), key).await;
        let check = &found["api key"];
        assert_eq!(check["status"], "failed", "{check}");
        assert!(check["fix"].as_str().unwrap().contains(words), "{check}");
    }
    for (paused, words, command) in [
        (
            json!({"lanes": ["all"], "usage": "all"}),
            "everything",
            "resume --all`",
        ),
        (
            json!({"lanes": ["batch"], "usage": null}),
            "the lane batch",
            "resume --lane batch`",
        ),
        (
            json!({"lanes": [], "usage": "tenant"}),
            "the tenant acme",
            "resume --tenant acme`",
        ),
    ] {
        let found = ask(paused, "good").await;
        let check = &found["jobs"];
        assert_eq!(check["status"], "warning", "{check}");
        let found = check["found"].as_str().unwrap();
        assert!(
            found.ends_with(&format!("an operator has paused {words}")),
            "{found}"
        );
        assert!(check["fix"].as_str().unwrap().contains(command), "{check}");
    }
}

#[tokio::test]
async fn a_job_that_waits_for_what_is_paused_says_so_while_it_is_looked_at() {
    // It follows a job of another lane.
    let queue = json!({"lane": "normal", "position": 1, "paused": "batch"});
    let waits = job(JOB, "MyScene", "queued", json!({"queue": queue}));
    let fake = Fake::start(move |call| match call.what.as_str() {
        "POST /v1/jobs" => answer(202, &waits),
        what if what.ends_with("/events") => events(&[], Then::Hang),
        _ => answer(200, &waits),
    })
    .await;
    let folder = folder();
    let why =
        "an operator has paused the lane batch; `manimq admin resume --lane batch` lets it go on";
    let said = ask(folder.path(), &fake, &["get", JOB]).await;
    assert!(
        said.out.contains(&format!("paused     {why}")),
        "{}",
        said.out
    );
    let args = ["render", "--wait-timeout", "3s", "scene.py", "MyScene"];
    let said = ask(folder.path(), &fake, &args).await;
    assert_eq!(said.code, Some(4), "{said:?}");
    let warning = format!("warning: {why}");
    assert_eq!(said.err.matches(&warning).count(), 1, "once: {}", said.err);
    assert!(said.err.contains("waiting, paused"), "{}", said.err);
}

#[tokio::test]
async fn doctor_tells_a_storage_that_takes_no_file_from_a_worker_that_is_missing() {
    let folder = folder();
    for (reason, storage) in [
        ("no file can be stored (No space left on device)", "failed"),
        ("there is no worker; start `manimq-worker`", "ok"),
    ] {
        let fake = Fake::start(move |call| match call.what.as_str() {
            "GET /readyz" => {
                let detail = format!("a job would not run now: {reason}");
                answer(503, &json!({"type": "not-ready", "title": "Not ready", "status": 503, "detail": detail}))
            }
            _ => answer(200, &json!({"status": "ok", "version": "1"})),
        })
        .await;
        let mut command = program(folder.path(), &fake, &["doctor", "--json"]);
        let said = run(command.env("MANIMQ_WORKER_BIN", worker(folder.path(), "exit 1"))).await;
        assert_eq!(said.code, Some(1), "{}", said.err);
        let found = checks(&said);
        assert_eq!(found["jobs"]["status"], "failed", "{}", said.out);
        assert!(found["jobs"]["found"].as_str().unwrap().contains(reason));
        assert_eq!(
            found["storage"]["status"], storage,
            "{reason}: {}",
            said.out
        );
        let fix = found["storage"]["fix"].as_str().unwrap_or_default();
        assert_eq!(fix.contains("MANIMQ_STORAGE"), storage == "failed", "{fix}");
    }
}

#[tokio::test]
async fn doctors_look_at_the_sandbox_gets_no_key_of_the_store_the_api_or_the_model() {
    let ready = Fake::start(|_| answer(200, &json!({"status": "ok", "version": "1"}))).await;
    let folder = folder();
    let seen = folder.path().join("seen");
    let script = format!("env > {}; exit 1", seen.display());
    let mut command = program(folder.path(), &ready, &["doctor", "--json"]);
    command.env("MANIMQ_WORKER_BIN", worker(folder.path(), &script));
    for name in crate::standin::NOT_FOR_WORKERS {
        command.env(name, "/s3cret");
    }
    run(&mut command).await;
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(seen.contains("MANIMQ_ENV_FILE=none"), "{seen}");
    assert!(!seen.contains("s3cret"), "{seen}");
}
