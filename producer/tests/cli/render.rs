//! `manimq render` against a scripted API.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Response;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::fake::{
    Call, Fake, JOB, Then, artifact, cut, events, job, json as answer, problem, works,
    works_for_many, wrong_scene,
};
use crate::support::{Live, eventually, files, manimq, run};

const FILM: &[u8] = b"a film of some bytes, long enough to be cut in two";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("scene.py"),
        "from manim import *\n\nclass MyScene(Scene):\n    def construct(self):\n        self.play(1 / 0)\n",
    )
    .unwrap();
    folder
}

fn render(folder: &Path, fake: &Fake, args: &[&str]) -> Command {
    let mut command = manimq(folder);
    command
        .arg("render")
        .args(args)
        .env("MANIMQ_SERVER", &fake.url);
    command
}

#[tokio::test]
async fn a_film_lies_where_manim_puts_it_and_its_path_is_all_of_standard_output() {
    let fake = Fake::start(|call| works(call, FILM)).await;
    let folder = folder();
    let said = run(
        render(folder.path(), &fake, &["-ql", "scene.py", "MyScene"])
            .env("MANIMQ_API_KEY", "key-that-nobody-sees"),
    )
    .await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(said.out, "./media/videos/scene/480p15/MyScene.mp4\n");
    assert_eq!(
        std::fs::read(folder.path().join(said.out.trim())).unwrap(),
        FILM
    );
    assert_eq!(files(folder.path()).len(), 2, "no temporary file stays");

    let submit = &fake.calls("POST /v1/jobs")[0];
    assert_eq!(
        submit.header("authorization"),
        Some("Bearer key-that-nobody-sees")
    );
    assert!(!said.err.contains("nobody"), "{}", said.err);
    assert_eq!(submit.body["input"]["file_name"], "scene.py");
    assert_eq!(submit.body["output"]["quality"], "low");
}

#[tokio::test]
async fn a_prompts_film_is_named_by_it_and_never_takes_the_place_of_another() {
    let folder = folder();
    let film = async |content: &'static [u8], args: &[&str]| {
        let fake = Fake::start(move |call| works(call, content)).await;
        let mut command = manimq(folder.path());
        command.args(["prompt", "-ql"]).args(args);
        let said = run(command.env("MANIMQ_SERVER", &fake.url)).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        let path = folder.path().join(said.out.trim());
        assert_eq!(std::fs::read(path).unwrap(), content);
        said.out.trim().to_owned()
    };
    let prompt = &["Derivative of x^2 at 1"];
    let named = |name: &str| format!("media/videos/prompt/480p15/{name}.mp4");
    let first = named("derivative-of-x-2-at-1");
    assert_eq!(film(b"one", prompt).await, first);
    assert_eq!(film(b"one", prompt).await, first, "the same film");
    assert_eq!(
        film(b"two", prompt).await,
        named("derivative-of-x-2-at-1-2")
    );
    let first = std::fs::read(folder.path().join(first)).unwrap();
    assert_eq!(first, b"one");
    let template = &["--template", "sorting"];
    assert_eq!(film(b"three", template).await, named("sorting"));
    let own = &["-o", "mine", "--template", "sorting"];
    assert_eq!(film(b"four", own).await, named("mine"));
    // A name that was given is taken at its word, as in `manimq render`.
    assert_eq!(film(b"five", own).await, named("mine"));
}

#[tokio::test]
async fn a_refused_source_names_its_file_once_in_json_too() {
    let detail = "scene.py, line 4, column 5: the syntax is wrong";
    let fake = Fake::start(move |call| match call.what.as_str() {
        "POST /v1/jobs" => problem(
            422,
            "source-rejected",
            detail,
            json!({"errors": [{"pointer": "/input/source", "detail": detail}]}),
        ),
        _ => works(call, FILM),
    })
    .await;
    let folder = folder();
    let args = ["--json", "./scene.py", "MyScene"];
    let said = run(&mut render(folder.path(), &fake, &args)).await;
    let document: Value = serde_json::from_str(&said.out).unwrap();
    let message = document["error"]["message"].as_str().unwrap();
    assert_eq!(message.matches("scene.py").count(), 1, "{message}");
}

#[tokio::test]
async fn a_film_of_an_earlier_render_is_said_to_be_one() {
    let fake = Fake::start(|call| match call.what.as_str() {
        "POST /v1/jobs" => {
            let more =
                json!({"output": call.body["output"], "cached": true, "artifacts": artifact(FILM)});
            answer(202, &job(JOB, "MyScene", "succeeded", more))
        }
        _ => works(call, FILM),
    })
    .await;
    let folder = folder();
    let said = run(&mut render(folder.path(), &fake, &["scene.py", "MyScene"])).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(
        said.err.contains("film of an earlier render") && said.err.contains("--disable_caching"),
        "{}",
        said.err
    );
    let said = run(&mut render(
        folder.path(),
        &fake,
        &["--json", "scene.py", "MyScene"],
    ))
    .await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(!said.err.contains("earlier"), "{}", said.err);
}

#[tokio::test]
async fn strict_is_asked_for_where_the_flag_is_and_nowhere_else() {
    let fake = Fake::start(|call| works(call, FILM)).await;
    let folder = folder();
    let mut wanted = Vec::new();
    for command in [
        &["render", "scene.py", "MyScene"][..],
        &["prompt", "plot x^2"],
    ] {
        for flag in [None, Some("--strict")] {
            let mut asked = manimq(folder.path());
            asked
                .args(command)
                .args(flag)
                .env("MANIMQ_SERVER", &fake.url);
            let said = run(&mut asked).await;
            assert_eq!(said.code, Some(0), "{command:?} {flag:?}: {}", said.err);
            wanted.push(flag.is_some());
        }
    }
    let calls = fake.calls("POST /v1/jobs");
    let strict = calls
        .iter()
        .map(|call| call.body["strict"].as_bool().unwrap_or(false));
    assert_eq!(strict.collect::<Vec<_>>(), wanted);
    assert_eq!(calls[3].body["input"]["prompt"], "plot x^2");
}

#[tokio::test]
async fn what_was_assumed_of_a_prompt_is_said_with_its_film() {
    let note = "the prompt does not say `f`: taken from the template's example";
    let fake = Fake::start(move |call| match call.what.as_str() {
        what if what == format!("GET /v1/jobs/{JOB}") => {
            let resolved = json!({"id": "plot", "version": "1.0.0", "notes": [note]});
            let more = json!({"artifacts": artifact(FILM), "resolved": resolved});
            answer(200, &job(JOB, "MyScene", "succeeded", more))
        }
        _ => works(call, FILM),
    })
    .await;
    let folder = folder();
    let mut asked = manimq(folder.path());
    asked
        .args(["prompt", "what is a derivative?"])
        .env("MANIMQ_SERVER", &fake.url);
    let said = run(&mut asked).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains(&format!("note: {note}")), "{}", said.err);
    // A program reads it in the document.
    let said = run(asked.arg("--json")).await;
    assert!(!said.err.contains("note:"), "{}", said.err);
    let document: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(document["resolved"]["notes"][0], note, "{document}");
}

#[tokio::test]
async fn a_film_of_a_prompt_replaces_no_other_one_even_where_all_numbers_are_taken() {
    let fake = Fake::start(|call| works(call, FILM)).await;
    let folder = folder();
    let place = folder.path().join("media/videos/prompt/480p15");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("plot-x-2.mp4"), "another").unwrap();
    for n in 2..=999 {
        std::fs::write(place.join(format!("plot-x-2-{n}.mp4")), "another").unwrap();
    }
    let mut asked = manimq(folder.path());
    asked
        .args(["prompt", "plot x^2"])
        .env("MANIMQ_SERVER", &fake.url);
    let said = run(&mut asked).await;
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(
        said.err.contains("plot-x-2.mp4") && said.err.contains("-o NAME"),
        "{}",
        said.err
    );
    let first = std::fs::read(place.join("plot-x-2.mp4")).unwrap();
    assert_eq!(first, b"another");
}

#[tokio::test]
async fn the_flags_of_manim_mean_what_they_mean_there() {
    let fake = Fake::start(|call| works(call, FILM)).await;
    let folder = folder();
    for (args, output) in [
        (
            &["scene.py"][..],
            json!({"format": "mp4", "quality": "high"}),
        ),
        (
            &["-qm", "--frame_rate", "24", "scene.py"],
            json!({"quality": "medium", "fps": 24}),
        ),
        (
            &["-pqk", "--format", "gif", "scene.py"],
            json!({"quality": "4k", "format": "gif"}),
        ),
        (
            &["-t", "scene.py"],
            json!({"format": "mov", "transparent": true}),
        ),
        (
            &["-s", "--quality", "l", "scene.py"],
            json!({"format": "png", "quality": "low"}),
        ),
        (
            &["--format=webm", "-qp", "scene.py", "MyScene"],
            json!({"format": "webm", "quality": "production"}),
        ),
        (
            &["--encoder", "manim", "--fps", "30.0", "scene.py"],
            json!({"encoder": "manim", "fps": 30}),
        ),
        (&["--save_sections", "scene.py"], json!({"sections": true})),
        (
            &["-r", "640,480", "--fps", "29.97", "--seed", "7", "scene.py"],
            json!({"width": 640, "height": 480, "fps": 29.97, "seed": 7}),
        ),
        (
            &["--resolution", "1080x1350", "scene.py"],
            json!({"width": 1080, "height": 1350}),
        ),
    ] {
        let before = fake.calls("POST /v1/jobs").len();
        let said = run(&mut render(folder.path(), &fake, args)).await;
        assert_eq!(said.code, Some(0), "{args:?}: {}", said.err);
        let sent = &fake.calls("POST /v1/jobs")[before].body["output"];
        for (key, value) in output.as_object().unwrap() {
            assert_eq!(&sent[key], value, "{args:?}");
        }
    }
}

#[tokio::test]
async fn a_manim_cfg_that_nobody_reads_is_told() {
    let fake = Fake::start(|call| works(call, FILM)).await;
    let folder = folder();
    let told = async |args: &[&str]| {
        let said = run(&mut render(folder.path(), &fake, args)).await;
        assert_eq!(said.code, Some(0), "{}", said.err);
        said.err.contains("manim.cfg is not read")
    };
    assert!(!told(&["scene.py"]).await);
    std::fs::write(folder.path().join("manim.cfg"), "[CLI]\nquality = low\n").unwrap();
    assert!(told(&["scene.py"]).await);
    assert!(!told(&["--json", "scene.py"]).await);
}

#[tokio::test]
async fn films_of_sections_are_saved_beside_the_film() {
    let with_sections = |call: &Call| {
        if call.what.starts_with("GET /v1/jobs/")
            && !call.what.contains("/events")
            && !call.what.contains("/artifacts/")
        {
            let mut artifacts = artifact(FILM);
            let film = artifacts[0].clone();
            for n in ["01", "02"] {
                let mut section = film.clone();
                section["name"] = json!(format!("section-{n}.mp4"));
                section["role"] = json!("section");
                artifacts.as_array_mut().unwrap().push(section);
            }
            return answer(
                200,
                &job(JOB, "MyScene", "succeeded", json!({"artifacts": artifacts})),
            );
        }
        works(call, FILM)
    };
    let fake = Fake::start(with_sections).await;
    let folder = folder();
    let args = ["-ql", "--save_sections", "scene.py"];
    let said = run(&mut render(folder.path(), &fake, &args)).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let names = [
        "MyScene.mp4",
        "sections/MyScene_0000.mp4",
        "sections/MyScene_0001.mp4",
    ];
    // Without a quality the fake answers with the usual one.
    let saved = files(&folder.path().join("media/videos/scene"));
    assert_eq!(saved.len(), names.len(), "{saved:?}");
    for (path, name) in saved.iter().zip(names) {
        assert!(path.ends_with(name), "{path:?}");
    }
}

#[tokio::test]
async fn subtitles_are_saved_beside_the_film() {
    let with_subtitles = |call: &Call| {
        let asks_for_it = call.what.starts_with("GET /v1/jobs/")
            && !call.what.contains("/events")
            && !call.what.contains("/artifacts/");
        if !asks_for_it {
            return works(call, FILM);
        }
        let mut artifacts = artifact(FILM);
        let mut subtitles = artifacts[0].clone();
        subtitles["name"] = json!("subtitles.srt");
        subtitles["role"] = json!("subtitles");
        subtitles["mime"] = json!("application/x-subrip");
        let mut poster = artifacts[0].clone();
        poster["name"] = json!("poster.jpg");
        poster["role"] = json!("poster");
        artifacts
            .as_array_mut()
            .unwrap()
            .extend([poster, subtitles]);
        let more = json!({"artifacts": artifacts});
        answer(200, &job(JOB, "MyScene", "succeeded", more))
    };
    let fake = Fake::start(with_subtitles).await;
    let folder = folder();
    let said = run(&mut render(folder.path(), &fake, &["-ql", "scene.py"])).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let saved = files(&folder.path().join("media/videos/scene"));
    assert_eq!(
        saved.len(),
        2,
        "the film and its subtitles, no poster: {saved:?}"
    );
    assert!(saved[0].ends_with("MyScene.mp4") && saved[1].ends_with("MyScene.srt"));
    assert_eq!(said.out.lines().count(), 1, "{}", said.out);
}

#[tokio::test]
async fn wrong_use_is_exit_2_and_says_what_would_be_right() {
    let fake = Fake::start(|call| works(call, FILM)).await;
    let folder = folder();
    std::fs::write(folder.path().join("latin.py"), b"# caf\xe9\n").unwrap();
    for (args, words) in [
        (&["-n", "3", "scene.py"][..], "-n/--from_animation_number"),
        (&["-r", "640", "scene.py"], "like 1080,1350"),
        (
            &["-r", "640,480", "--aspect", "1:1", "scene.py"],
            "cannot be used with",
        ),
        (
            &["--renderer=opengl", "scene.py"],
            "--renderer=opengl of `manim render` is not yet supported",
        ),
        (
            &["--save_sections", "--format", "gif", "scene.py"],
            "gif has no films of sections",
        ),
        (
            &["--format", "png-sequence", "scene.py"],
            "not yet supported",
        ),
        (
            &["-t", "--format", "mp4", "scene.py"],
            "mp4 cannot be transparent",
        ),
        (&["--fps", "121", "scene.py"], "from 1 to 120"),
        (&["-o", "x", "scene.py", "A", "B"], "exactly one scene"),
        (&["--timeout", "2h", "scene.py"], "between 1s and 1h"),
        (&["missing.py"], "no such file"),
        (&["latin.py"], "latin.py:1:6: not UTF-8"),
        (
            &["--server", "127.0.0.1:8080", "scene.py"],
            "is not a server address",
        ),
    ] {
        let said = run(&mut render(folder.path(), &fake, args)).await;
        assert_eq!(said.code, Some(2), "{args:?}: {}", said.err);
        assert!(said.err.contains(words), "{args:?}: {}", said.err);
        assert_eq!(said.out, "", "{args:?}");
    }
    assert!(fake.calls("").is_empty(), "nothing was sent");
}

#[tokio::test]
async fn a_submit_is_repeated_with_the_same_key_when_the_server_stumbles() {
    let fake = Fake::start(|call| match (call.what.as_str(), call.n) {
        ("POST /v1/jobs", 0) => {
            problem(503, "queue-unavailable", "Redis does not answer", json!({}))
        }
        ("POST /v1/jobs", 1) => cut(
            202,
            &[("content-type", "application/json".into())],
            b"{\"id\":",
        ),
        ("POST /v1/jobs", 2) => crate::fake::status(axum::http::StatusCode::BAD_GATEWAY),
        _ => works(call, FILM),
    })
    .await;
    let folder = folder();
    let said = run(&mut render(folder.path(), &fake, &["scene.py"])).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let keys: Vec<_> = fake
        .calls("POST /v1/jobs")
        .iter()
        .map(|call| call.header("idempotency-key").unwrap().to_owned())
        .collect();
    assert_eq!(keys.len(), 4);
    assert!(
        keys.iter().all(|key| *key == keys[0] && key.len() >= 32),
        "{keys:?}"
    );
    assert!(said.err.contains("trying again"), "{}", said.err);
}

#[tokio::test]
async fn a_cut_event_stream_is_resumed_after_the_last_event() {
    let fake = Fake::start(|call| match (call.what.as_str(), call.n) {
        (what, 0) if what.ends_with("/events") => {
            let log = json!({"text": "printed by the scene\n"});
            events(
                &[
                    ("7-1", "status", json!({"status": "running", "attempt": 1})),
                    ("8-0", "log", log),
                ],
                Then::Cut,
            )
        }
        (what, 1) if what.ends_with("/events") => problem(503, "reduced", "later", json!({})),
        (what, 0) if what.starts_with("GET /v1/jobs/job_") && !what.contains("art") => {
            answer(200, &job(JOB, "MyScene", "running", json!({})))
        }
        (what, 1) if what.starts_with("GET /v1/jobs/job_") && !what.contains("art") => {
            crate::fake::status(axum::http::StatusCode::INTERNAL_SERVER_ERROR)
        }
        _ => works(call, FILM),
    })
    .await;
    let folder = folder();
    let said = run(&mut render(folder.path(), &fake, &["scene.py"])).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let calls = fake.calls(&format!("GET /v1/jobs/{JOB}/events"));
    let resumed: Vec<_> = calls
        .iter()
        .map(|call| call.header("last-event-id"))
        .collect();
    assert_eq!(resumed, [None, Some("8-0"), Some("8-0")]);
    assert_eq!(
        said.err.matches("printed by the scene").count(),
        1,
        "{}",
        said.err
    );
}

#[tokio::test]
async fn without_event_streams_the_job_is_polled() {
    let fake = Fake::start(|call| match (call.what.as_str(), call.n) {
        (what, _) if what.ends_with("/events") => answer(200, &json!({"no": "stream"})),
        (what, 0..=2) if what == format!("GET /v1/jobs/{JOB}") => {
            let progress = json!({"stage": "rendering", "frames_done": 12, "animation": 2});
            answer(
                200,
                &job(JOB, "MyScene", "running", json!({"progress": progress})),
            )
        }
        _ => works(call, FILM),
    })
    .await;
    let folder = folder();
    let said = run(&mut render(folder.path(), &fake, &["scene.py"])).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("animation 2, frame 12"), "{}", said.err);
    assert!(
        !said.err.contains('%'),
        "no percentage without totals: {}",
        said.err
    );
}

fn failed(error: Value) -> impl Fn(&Call) -> Response<Body> + Send + Sync {
    move |call| match call.what.as_str() {
        "POST /v1/jobs" => answer(202, &job(JOB, "MyScene", "queued", json!({}))),
        what if what.ends_with("/events") => {
            let log = json!({"text": "before the end\n"});
            events(
                &[
                    ("1-0", "log", log),
                    ("2-0", "done", json!({"status": "failed"})),
                ],
                Then::Close,
            )
        }
        _ => answer(200, &job(JOB, "MyScene", "failed", json!({"error": error}))),
    }
}

#[tokio::test]
async fn a_scene_error_is_told_like_a_compilers_and_exit_1() {
    let fake = Fake::start(failed(json!({
        "class": "scene_error", "exception": "ZeroDivisionError",
        "message": "division by zero\u{1b}[2J",
        "location": {"file": "scene.py", "line": 5, "column": 19, "end_column": 24, "function": "construct"},
        "hint": "divide by something else"
    })))
    .await;
    let folder = folder();
    let said = run(&mut render(
        folder.path(),
        &fake,
        &["--no-logs", "scene.py"],
    ))
    .await;
    assert_eq!(said.code, Some(1));
    assert_eq!(said.out, "");
    let expected = format!(
        "MyScene | before the end
error[scene_error]: ZeroDivisionError: division by zero\\u{{1b}}[2J
  --> scene.py:5:19, in construct
   |
 5 |         self.play(1 / 0)
   |                   ^^^^^
  hint: divide by something else
  log: manimq logs {JOB}
"
    );
    assert!(said.err.ends_with(&expected), "{}", said.err);
    assert!(
        !said.err.contains('\u{1b}'),
        "no escape reaches the terminal"
    );
}

#[tokio::test]
async fn a_scene_that_the_servers_model_wrote_is_mended_three_times_at_most() {
    let fake = Fake::start(|call| {
        let more = json!({
            // A server that does not count is not asked for ever.
            "by_model": {"model": "scripted", "made": "code", "repairs": 0, "prompt": "leaves"},
            "error": {"class": "scene_error", "message": "name 'Leef' is not defined"},
        });
        match call.what.as_str() {
            "POST /v1/jobs" => answer(202, &job(JOB, "MyScene", "queued", json!({}))),
            what if what.ends_with("/rerun") => {
                answer(202, &job(JOB, "MyScene", "queued", json!({})))
            }
            what if what.ends_with("/events") => {
                events(&[("1-0", "done", json!({"status": "failed"}))], Then::Close)
            }
            _ => answer(200, &job(JOB, "MyScene", "failed", more)),
        }
    })
    .await;
    let folder = folder();
    let ask = async |args: &[&str]| {
        let mut command = manimq(folder.path());
        run(command.args(args).env("MANIMQ_SERVER", &fake.url)).await
    };
    let said = ask(&["prompt", "--code", "leaves"]).await;
    assert_eq!(said.code, Some(1), "{}", said.err);
    let sent = &fake.calls("POST /v1/jobs")[0].body;
    assert_eq!(sent["input"]["code"], "prefer");
    let repairs = fake.calls(&format!("POST /v1/jobs/{JOB}/rerun"));
    assert_eq!(repairs.len(), 3);
    assert!(repairs.iter().all(|call| call.body["repair"] == true));
    assert!(
        said.err.contains("(scripted) mends the scene"),
        "{}",
        said.err
    );
    // By hand it is the same call.
    let said = ask(&["rerun", "--repair", JOB]).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let said = ask(&["get", JOB]).await;
    assert!(
        said.out.contains("scripted wrote the scene, 0 repairs"),
        "{}",
        said.out
    );
    // A person's own scene is never mended behind their back.
}

#[tokio::test]
async fn a_failure_as_json_is_the_job_with_its_error() {
    let fake = Fake::start(failed(
        json!({"class": "timeout", "message": "600 s are over"}),
    ))
    .await;
    let folder = folder();
    let said = run(&mut render(folder.path(), &fake, &["--json", "scene.py"])).await;
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""));
    let job: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(job["error"]["class"], "timeout");
    assert_eq!((&job["path"], &job["exit_code"]), (&Value::Null, &json!(1)));
}

#[tokio::test]
async fn a_refused_source_lists_every_finding() {
    let fake = Fake::start(|_| {
        let findings = json!([
            {"code": "forbidden-import", "severity": "deny", "line": 1, "column": 1, "end_line": 1,
             "end_column": 20, "message": "os is not allowed", "hint": "leave it out"},
            {"code": "syntax", "severity": "error", "line": 5, "column": 9, "end_line": 5,
             "end_column": 13, "message": "no such thing"}
        ]);
        problem(
            422,
            "code-rejected",
            "the source was refused",
            json!({"findings": findings}),
        )
    })
    .await;
    let folder = folder();
    let said = run(&mut render(folder.path(), &fake, &["scene.py"])).await;
    assert_eq!(said.code, Some(1));
    for words in [
        "error[forbidden-import]: os is not allowed",
        "--> scene.py:1:1",
        "^^^^^^",
        "hint: leave it out",
        "--> scene.py:5:9",
    ] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    let said = run(&mut render(folder.path(), &fake, &["--json", "scene.py"])).await;
    let error: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        error["error"]["problem"]["findings"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn exit_statuses_tell_what_kind_of_end_it_was() {
    let folder = folder();
    for (status, kind, code) in [
        (429, "quota-exceeded", 3),
        (401, "unauthenticated", 2),
        (413, "too-large", 2),
        (422, "invalid-params", 2),
        (500, "internal", 6),
    ] {
        let fake =
            Fake::start(move |_| problem(status, kind, "the server's own words", json!({}))).await;
        let said = run(&mut render(folder.path(), &fake, &["scene.py"])).await;
        assert_eq!(said.code, Some(code), "{status}: {}", said.err);
        assert!(said.err.contains("the server's own words"), "{}", said.err);
        assert_eq!(fake.calls("POST").len(), 1, "{status} is not repeated");
    }
    for (status, code, words) in [("canceled", 5, "was canceled"), ("expired", 1, "deadline")] {
        let fake = Fake::start(move |call| match call.what.as_str() {
            "POST /v1/jobs" => answer(202, &job(JOB, "MyScene", "queued", json!({}))),
            what if what.ends_with("/events") => events(&[], Then::Close),
            _ => answer(200, &job(JOB, "MyScene", status, json!({}))),
        })
        .await;
        let said = run(&mut render(folder.path(), &fake, &["scene.py"])).await;
        assert_eq!(said.code, Some(code), "{}", said.err);
        assert!(said.err.contains(words), "{}", said.err);
    }
}

#[tokio::test]
async fn a_long_wait_for_a_slot_is_explained_once_if_no_worker_could_take_the_job() {
    let fake = Fake::start(|call| match call.what.as_str() {
        "POST /v1/jobs" => answer(202, &job(JOB, "MyScene", "queued", json!({}))),
        "GET /readyz" => problem(
            503,
            "not-ready",
            "a job would not run now: no worker has a slot that is ready (no memory)",
            json!({}),
        ),
        what if what.ends_with("/events") => events(&[], Then::Hang),
        _ => answer(200, &job(JOB, "MyScene", "queued", json!({}))),
    })
    .await;
    let folder = folder();
    let mut live = Live::start(&mut render(folder.path(), &fake, &["scene.py"]));
    live.says("warning: a job would not run now: no worker has a slot that is ready (no memory)")
        .await;
    let asked = fake.calls("GET /v1/jobs").len();
    eventually("two more looks at the job", async || {
        (fake.calls("GET /v1/jobs").len() >= asked + 2).then_some(())
    })
    .await;
    assert_eq!(fake.calls("GET /readyz").len(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_exit_6_at_once_with_the_way_to_start_one() {
    let folder = folder();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let start = Instant::now();
    let said = run(manimq(folder.path()).args(["render", "scene.py", "--server", &url])).await;
    assert_eq!(said.code, Some(6));
    assert!(start.elapsed() < Duration::from_secs(5));
    for words in ["manimq up", "deploy/up", "MANIMQ_SERVER", "refused"] {
        assert!(said.err.contains(words), "{}", said.err);
    }
    let said =
        run(manimq(folder.path()).args(["render", "--json", "scene.py", "--server", &url])).await;
    let error: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (&error["exit_code"], &error["error"]["type"]),
        (&json!(6), &json!("server-unreachable"))
    );
}

#[tokio::test]
async fn something_else_on_the_port_is_said_to_be_something_else() {
    let fake = Fake::start(|_| Response::new(Body::from("<html>hello</html>"))).await;
    let folder = folder();
    let said = run(&mut render(folder.path(), &fake, &["scene.py"])).await;
    assert_eq!(said.code, Some(6));
    assert!(said.err.contains("not like manimq"), "{}", said.err);
}

/// An API whose job runs until it is cancelled, and then only if `obeys`.
fn endless(obeys: bool) -> impl Fn(&Call) -> Response<Body> + Send + Sync {
    let canceled = AtomicBool::new(false);
    move |call| {
        let status = if canceled.load(Ordering::SeqCst) && obeys {
            "canceled"
        } else {
            "running"
        };
        match call.what.as_str() {
            "POST /v1/jobs" => answer(202, &job(JOB, "MyScene", "running", json!({}))),
            what if what.ends_with("/cancel") => {
                canceled.store(true, Ordering::SeqCst);
                answer(202, &job(JOB, "MyScene", status, json!({})))
            }
            what if what.ends_with("/events") => {
                // A short stream, so that the end is seen by asking.
                let progress = json!({"stage": "rendering", "frames_done": 5});
                events(
                    &[("1-0", "progress", progress)],
                    if obeys { Then::Close } else { Then::Hang },
                )
            }
            _ => answer(200, &job(JOB, "MyScene", status, json!({}))),
        }
    }
}

#[tokio::test]
async fn ctrl_c_cancels_the_job_and_is_exit_5() {
    let fake = Fake::start(endless(true)).await;
    let folder = folder();
    let mut live = Live::start(&mut render(folder.path(), &fake, &["scene.py"]));
    live.says("frame 5").await;
    live.signal(Signal::INT);
    let said = live.ended().await;
    assert_eq!(said.code, Some(5), "{}", said.err);
    assert_eq!(fake.calls(&format!("POST /v1/jobs/{JOB}/cancel")).len(), 1);
    assert!(
        said.err.contains("canceling") && said.err.contains("was canceled"),
        "{}",
        said.err
    );
}

#[tokio::test]
async fn a_second_ctrl_c_leaves_at_once() {
    let fake = Fake::start(endless(false)).await;
    let folder = folder();
    let mut live = Live::start(&mut render(folder.path(), &fake, &["scene.py"]));
    live.says("frame 5").await;
    live.signal(Signal::INT);
    eventually("the cancel arrives", async || {
        (!fake.calls("POST /v1/jobs/job_").is_empty()).then_some(())
    })
    .await;
    // Two signals in one moment count as one, so this one comes a moment later.
    tokio::time::sleep(manimq::cli::SAME_PRESS * 2).await;
    let start = Instant::now();
    live.signal(Signal::INT);
    let said = live.ended().await;
    assert_eq!(said.code, Some(5));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn the_wait_may_be_bounded_and_the_job_goes_on() {
    let fake = Fake::start(endless(false)).await;
    let folder = folder();
    let said = run(&mut render(
        folder.path(),
        &fake,
        &["--wait-timeout", "1", "scene.py"],
    ))
    .await;
    assert_eq!(said.code, Some(4), "{}", said.err);
    assert!(
        said.err.contains(&format!("manimq get {JOB}")),
        "{}",
        said.err
    );
    assert!(
        fake.calls(&format!("POST /v1/jobs/{JOB}/cancel"))
            .is_empty()
    );
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_broke() {
    let fake = Fake::start(|call| match (call.what.contains("/artifacts/"), call.n) {
        (true, 0) => cut(
            200,
            &[("content-length", FILM.len().to_string())],
            &FILM[..20],
        ),
        (true, _) => {
            let from: usize = call
                .header("range")
                .and_then(|range| {
                    range
                        .strip_prefix("bytes=")?
                        .strip_suffix('-')?
                        .parse()
                        .ok()
                })
                .expect("a range is asked for");
            let range = format!("bytes {from}-{}/{}", FILM.len() - 1, FILM.len());
            Response::builder()
                .status(206)
                .header("content-range", range)
                .body(Body::from(&FILM[from..]))
                .unwrap()
        }
        _ => works(call, FILM),
    })
    .await;
    let folder = folder();
    let said = run(&mut render(
        folder.path(),
        &fake,
        &["-ql", "-o", "out", "scene.py"],
    ))
    .await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(
        std::fs::read(folder.path().join(said.out.trim())).unwrap(),
        FILM
    );
    let ranges: Vec<_> = fake
        .calls(&format!("GET /v1/jobs/{JOB}/artifacts"))
        .iter()
        .map(|call| call.header("range").map(str::to_owned))
        .collect();
    assert_eq!(ranges, [None, Some("bytes=20-".to_owned())]);
}

#[tokio::test]
async fn a_file_with_other_content_never_replaces_the_one_that_is_there() {
    const OTHER: &[u8] = b"a film of same bytes, long enough to be cut in two";
    assert_eq!(OTHER.len(), FILM.len());
    for wrong in [
        OTHER,
        &FILM[..9],
        b"much more than was announced, which could go on for ever and fill the disk",
    ] {
        let fake = Fake::start(move |call| {
            if call.what.contains("/artifacts/") {
                Response::new(Body::from(wrong))
            } else {
                works(call, FILM)
            }
        })
        .await;
        let folder = folder();
        let target = folder.path().join("out.mp4");
        std::fs::write(&target, "earlier").unwrap();
        let said = run(&mut render(
            folder.path(),
            &fake,
            &["scene.py", "-o", target.to_str().unwrap()],
        ))
        .await;
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(said.err.contains("video.mp4"), "{}", said.err);
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "earlier");
        assert_eq!(files(folder.path()).len(), 2, "no temporary file stays");
    }
}

#[tokio::test]
async fn a_scene_name_from_the_server_cannot_leave_the_folder() {
    let fake = Fake::start(|call| match call.what.as_str() {
        "POST /v1/jobs" => answer(202, &job(JOB, "../../x", "queued", json!({}))),
        what if what.starts_with("GET /v1/jobs/") && !what.contains("/events") => answer(
            200,
            &job(
                JOB,
                "../../x",
                "succeeded",
                json!({"artifacts": artifact(FILM)}),
            ),
        ),
        _ => works(call, FILM),
    })
    .await;
    let folder = folder();
    let said = run(&mut render(folder.path(), &fake, &["scene.py"])).await;
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert_eq!(files(folder.path()).len(), 1);
}

#[tokio::test]
async fn several_scenes_and_none_named_are_listed() {
    let fake =
        Fake::start(|_| wrong_scene("the file defines several scenes", &["Alpha", "Beta"])).await;
    let folder = folder();
    let said = run(&mut render(folder.path(), &fake, &["scene.py"])).await;
    assert_eq!(said.code, Some(2));
    for words in [
        "scene.py has 2 scenes",
        "  Alpha\n",
        "  Beta\n",
        "manimq render scene.py Alpha",
        "-a",
    ] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
}

#[tokio::test]
async fn an_unknown_scene_is_told_with_the_nearest() {
    let fake =
        Fake::start(|_| wrong_scene("the file defines no such scene", &["SquareToCircle"])).await;
    let folder = folder();
    let said = run(&mut render(
        folder.path(),
        &fake,
        &["scene.py", "SquareToCircel"],
    ))
    .await;
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains("did you mean SquareToCircle?"),
        "{}",
        said.err
    );
}

#[tokio::test]
async fn all_scenes_are_rendered_each_to_its_file() {
    let jobs = Mutex::new(HashMap::new());
    let fake = Fake::start(move |call| {
        if call.what == "POST /v1/jobs" && call.scene().is_none() {
            wrong_scene("several", &["Alpha", "Beta", "Gamma"])
        } else {
            works_for_many(call, FILM, &jobs)
        }
    })
    .await;
    let folder = folder();
    let said = run(&mut render(
        folder.path(),
        &fake,
        &["-ql", "-a", "--json", "scene.py"],
    ))
    .await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let mut paths: Vec<String> = said
        .out
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["path"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    paths.sort();
    assert_eq!(
        paths,
        ["Alpha", "Beta", "Gamma"].map(|scene| format!("./media/videos/scene/480p15/{scene}.mp4"))
    );
    assert_eq!(files(folder.path()).len(), 4);
}

#[tokio::test]
async fn a_job_is_looked_after_by_its_id() {
    let fake = Fake::start(|call| match call.what.as_str() {
        what if what.ends_with("/logs") => Response::new(Body::from("one\x1b[0m\ntwo\n")),
        what if what.ends_with("/cancel") => {
            answer(202, &job(JOB, "MyScene", "canceled", json!({})))
        }
        what if what.ends_with(JOB) => answer(200, &job(JOB, "MyScene", "running", json!({}))),
        _ => problem(404, "not-found", "there is no such job", json!({})),
    })
    .await;
    let folder = folder();
    let ask = |args: &[&str]| {
        let mut command = manimq(folder.path());
        command.args(args).env("MANIMQ_SERVER", &fake.url);
        command
    };
    let said = run(&mut ask(&["get", "--json", JOB])).await;
    assert_eq!(
        serde_json::from_str::<Value>(&said.out).unwrap()["status"],
        "running"
    );
    let said = run(&mut ask(&["cancel", "--json", JOB])).await;
    assert_eq!(
        serde_json::from_str::<Value>(&said.out).unwrap()["jobs"][0]["status"],
        "canceled"
    );
    let said = run(&mut ask(&["logs", JOB])).await;
    assert_eq!(said.out, "one\\u{1b}[0m\ntwo\n");
    let other = JOB.replace("0198", "0199");
    let said = run(&mut ask(&["get", &other])).await;
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("no such job"));
}
