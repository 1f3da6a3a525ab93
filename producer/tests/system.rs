//! The whole system for real: API, Redis, worker, sandbox and Manim as separate processes.

#[path = "system/examples.rs"]
mod examples;
#[path = "system/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of storage")]
mod harness;
#[path = "scripted/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the API")]
mod scripted;

use std::time::Duration;

use harness::{
    API, REDIS, Setting, System, WORKER, bare_frames, bare_frames_with, probe, timed_frames,
    wait_for,
};
use manimq_shared::job::{AttemptOutcome, FailureClass, Status};
use manimq_shared::queue::Quotas;
use scripted::{Endpoint, Say, code, fenced};
use serde_json::json;

const SHAPES: &str = r#"from manim import *

class Shapes(Scene):
    def construct(self):
        square = Square(color=BLUE, fill_opacity=0.5)
        self.play(Create(square))
        self.play(Transform(square, Circle(color=RED)))
        self.wait(0.4)
"#;

const TEXT_AND_AXES: &str = r#"from manim import *

class Plot(Scene):
    def construct(self):
        title = Text("Sine and cosine", font_size=40).to_edge(UP)
        axes = Axes(x_range=[-4, 4, 1], y_range=[-2, 2, 1], x_length=9, y_length=4)
        sine = axes.plot(lambda x: np.sin(x), color=YELLOW)
        tracker = ValueTracker(-3)
        dot = always_redraw(lambda: Dot(axes.c2p(tracker.get_value(), np.sin(tracker.get_value()))))
        self.play(Write(title), Create(axes))
        self.play(Create(sine))
        self.add(dot)
        self.play(tracker.animate.set_value(3), run_time=1.5)
"#;

const FORMULA: &str = r#"from manim import *

class Formula(Scene):
    def construct(self):
        first = MathTex(r"e^{i\pi} + 1 = 0")
        second = MathTex(r"\int_0^1 x^2 \, dx = \frac{1}{3}")
        self.play(Write(first))
        self.play(ReplacementTransform(first, second))
        self.wait(0.3)
"#;

/// Renders for some seconds, so that something can happen to it meanwhile.
const LONG: &str = r#"from manim import *

class Long(Scene):
    def construct(self):
        dots = VGroup(*[Dot([x / 4, y / 4, 0]) for x in range(-6, 6) for y in range(-5, 5)])
        self.add(dots)
        for i in range(6):
            self.play(Rotate(dots, angle=PI / 3), run_time=2)
"#;

fn exact(source: &str) -> serde_json::Value {
    json!({
        "input": {"kind": "code", "source": source},
        "output": {"quality": "low", "encoder": "manim"}
    })
}

#[tokio::test]
async fn three_scenes_come_out_frame_for_frame_as_the_bare_command_makes_them() {
    let system = System::start().await;
    for (source, scene) in [
        (SHAPES, "Shapes"),
        (TEXT_AND_AXES, "Plot"),
        (FORMULA, "Formula"),
    ] {
        let job = system.submit(exact(source)).await;
        let job = system.ended(job.id).await;
        assert_eq!(job.status, Status::Succeeded, "{:?}", job.error);
        let artifact = job.artifacts.first().expect("a video").clone();
        let ours = system.download(&job).await;
        assert_eq!(timed_frames(&ours), bare_frames(source, scene), "{scene}");
        let seen = probe(&ours);
        assert_eq!(
            (seen.codec.as_str(), seen.width, seen.height),
            ("h264", 854, 480)
        );
        assert_eq!(Some(seen.frames), artifact.frames);
        assert_eq!(artifact.fps, Some(15.0));
        assert_eq!(artifact.bytes, std::fs::metadata(&ours).unwrap().len());
        assert!(job.progress.frames_done > 0 || job.usage.unwrap().frames > 0);
    }
}

#[tokio::test]
async fn an_exact_size_rate_and_seed_give_the_bare_commands_film() {
    let source = "from manim import *\n\nclass Dots(Scene):\n    def construct(self):\n        \
        self.add(*[Dot(np.random.uniform(-3, 3, 3) * [1, 1, 0]) for _ in range(9)])\n        \
        self.play(FadeIn(Square()), run_time=0.5)\n";
    let system = System::start().await;
    let mut body = exact(source);
    body["output"] = json!({
        "width": 640, "height": 480, "fps": 29.97, "seed": 7, "encoder": "manim"
    });
    let job = system.ended(system.submit(body).await.id).await;
    assert_eq!(job.status, Status::Succeeded, "{:?}", job.error);
    let ours = system.download(&job).await;
    let flags = ["-r", "640,480", "--fps", "29.97", "--seed", "7"];
    let bare = bare_frames_with(source, "Dots", &flags, "480p29.97");
    assert_eq!(timed_frames(&ours), bare);
    let seen = probe(&ours);
    assert_eq!((seen.width, seen.height), (640, 480));
    let fps = job.artifacts[0].fps.expect("a film");
    assert!((fps - 30_000.0 / 1001.0).abs() < 1e-6, "{fps}");
}

#[tokio::test]
async fn a_module_that_the_operator_admits_is_there_when_the_scene_runs() {
    let imports = ("MANIMQ_SCENE_IMPORTS".to_owned(), "screeninfo".to_owned());
    let system = System::start_in(Setting {
        api: vec![imports.clone()],
        worker: vec![imports],
        ..Setting::default()
    })
    .await;
    let source = "from manim import *\nfrom screeninfo import Monitor\n\nclass A(Scene):\n    def construct(self):\n        \
        print(Monitor(0, 0, 1, 2).height)\n        self.wait(0.2)\n";
    let job = system.ended(system.submit(exact(source)).await.id).await;
    assert_eq!(job.status, Status::Succeeded, "{:?}", job.error);
    let other = source.replace("screeninfo", "moderngl_window");
    assert_eq!(system.try_submit(exact(&other)).await.status(), 422);
}

#[tokio::test]
async fn a_killed_workers_job_runs_again_elsewhere_and_is_published_once() {
    let mut system = System::start().await;
    let job = system
        .submit(json!({"input": {"kind": "code", "source": LONG}, "output": {"quality": "low"}}))
        .await;
    system.until_drawing(job.id).await;
    let killed = jiff::Timestamp::now();
    system.kill(WORKER);
    system.start_worker().await;
    let done = system.ended(job.id).await;
    assert_eq!(done.status, Status::Succeeded, "{:?}", done.error);
    let outcomes: Vec<_> = done.attempts.iter().map(|a| a.outcome.unwrap()).collect();
    assert_eq!(
        outcomes,
        [AttemptOutcome::LostLease, AttemptOutcome::Succeeded]
    );
    assert_ne!(done.attempts[0].worker, done.attempts[1].worker);
    let again = done.attempts[1].started_at;
    // From the kill itself; Redis and the test read the same clock, to the millisecond.
    let away_s = again.duration_since(killed).as_secs_f64();
    assert!((0.0..=15.1).contains(&away_s), "{away_s} s");
    // Both attempts and one end are in the events; the artifact is the second attempt's.
    let events = system.events(job.id).await;
    let claims = events.matches("\"status\":\"running\"").count();
    let ends = events.matches("event: done").count();
    assert_eq!((claims, ends), (2, 1), "{events}");
    assert_eq!(probe(&system.download(&done).await).codec, "h264");
    assert_eq!(
        system.stored_files(),
        done.artifacts.len(),
        "the first attempt published nothing"
    );
}

#[tokio::test]
async fn a_killed_api_costs_no_job_and_serves_the_result_when_it_is_back() {
    let mut system = System::start().await;
    let job = system
        .submit(json!({"input": {"kind": "code", "source": LONG}, "output": {"quality": "low"}}))
        .await;
    system.until_drawing(job.id).await;
    system.kill(API);
    let queue = system.queue().await;
    let drawn = async || {
        queue
            .read(job.id)
            .await
            .unwrap()
            .unwrap()
            .progress
            .frames_done
    };
    let before = drawn().await;
    let goes_on = async || drawn().await > before || queue.stats().await.unwrap().running == 0;
    wait_for(
        "the render goes on without it",
        Duration::from_secs(60),
        goes_on,
    )
    .await;
    system.start_api().await;
    let done = system.ended(job.id).await;
    assert_eq!(done.status, Status::Succeeded, "{:?}", done.error);
    assert_eq!(done.attempts.len(), 1);
    assert_eq!(probe(&system.download(&done).await).codec, "h264");
}

#[tokio::test]
async fn a_restarted_redis_loses_nothing_that_was_accepted() {
    let mut system = System::start().await;
    let running = system
        .submit(json!({"input": {"kind": "code", "source": LONG}, "output": {"quality": "low"}}))
        .await;
    system.until_drawing(running.id).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(system.submit(exact(SHAPES)).await.id);
    }
    system.kill(REDIS);
    let refused = system.try_submit(exact(SHAPES)).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let problem: serde_json::Value = refused.json().await.unwrap();
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .to_lowercase()
            .contains("redis"),
        "{problem}"
    );
    system.restart_redis();
    for id in waiting.into_iter().chain([running.id]) {
        let done = system.ended(id).await;
        assert_eq!(done.status, Status::Succeeded, "{:?}", done.error);
    }
}

#[tokio::test]
async fn a_stopped_worker_gives_its_job_back_uncounted() {
    let mut system = System::start().await;
    let job = system
        .submit(json!({"input": {"kind": "code", "source": LONG}, "output": {"quality": "high"}}))
        .await;
    system.until_drawing(job.id).await;
    system.terminate(WORKER, Duration::from_secs(30));
    let back = system.read(job.id).await;
    assert_eq!(back.status, Status::Queued);
    assert_eq!(back.attempts[0].outcome, Some(AttemptOutcome::Released));
    let canceled = system.cancel(job.id).await;
    assert_eq!(canceled.status, Status::Canceled);
}

#[tokio::test]
async fn a_cancel_ends_a_running_render_within_moments() {
    let system = System::start().await;
    let job = system
        .submit(json!({"input": {"kind": "code", "source": LONG}, "output": {"quality": "high"}}))
        .await;
    system.until_drawing(job.id).await;
    let asked = std::time::Instant::now();
    let answer = system.cancel(job.id).await;
    assert!(answer.cancel_requested_at.is_some());
    let done = system.ended(job.id).await;
    assert_eq!(done.status, Status::Canceled);
    assert!(
        asked.elapsed() < Duration::from_secs(20),
        "{:?}",
        asked.elapsed()
    );
    assert!(done.artifacts.is_empty());
}

#[tokio::test]
async fn a_film_that_takes_long_shows_a_still_while_it_is_drawn_and_a_better_one_after() {
    let system = System::start().await;
    let job = system
        .submit(json!({"input": {"kind": "code", "source": LONG}, "output": {"quality": "medium"}}))
        .await;
    let mut shown = None;
    wait_for("a still is shown", Duration::from_secs(60), async || {
        let seen = system.read(job.id).await;
        assert!(!seen.status.is_terminal(), "no still before the end");
        shown = seen.progress.poster;
        shown.is_some()
    })
    .await;
    let url = shown.and_then(|poster| poster.url).expect("a URL");
    let still = system.http().get(&url).send().await.unwrap();
    assert_eq!(still.status(), 200);
    let still = still.bytes().await.unwrap();
    assert!(system.read(job.id).await.finished_at.is_none(), "it runs");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("still.jpg");
    std::fs::write(&file, &still).unwrap();
    let seen = probe(&file);
    assert_eq!((seen.width, seen.height), (640, 360));

    let done = system.ended(job.id).await;
    assert_eq!(done.status, Status::Succeeded, "{:?}", done.error);
    assert_eq!(done.progress.poster, None);
    let names: Vec<&str> = done.artifacts.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["video.mp4", "poster.jpg"]);
    assert_eq!(system.stored_files(), 2, "the early one is gone");
    let told = system.events(job.id).await;
    assert!(told.contains("preview.jpg?"), "its URL was an event");
}

#[tokio::test]
async fn a_scene_that_fails_says_where_and_is_not_tried_again() {
    let system = System::start().await;
    let source = "from manim import *\n\nclass Bad(Scene):\n    def construct(self):\n        print('hello from the scene')\n        self.play(Create(Square().shift(1 / 0)))\n";
    let job = system.submit(exact(source)).await;
    let done = system.ended(job.id).await;
    assert_eq!(done.status, Status::Failed);
    assert_eq!(done.attempts.len(), 1);
    let error = done.error.unwrap();
    assert_eq!(error.class, FailureClass::SceneError);
    assert!(
        error.message.contains("division by zero"),
        "{}",
        error.message
    );
    assert_eq!(error.location.unwrap().line, 6);
    let log = system.logs(done.id).await;
    assert!(log.contains("hello from the scene"), "{log}");
}

#[tokio::test]
async fn fifty_jobs_with_the_same_class_name_give_fifty_different_films() {
    let system = System::start().await;
    let mut jobs = Vec::new();
    for i in 1..=50u64 {
        let source = format!(
            "from manim import *\n\nclass Main(Scene):\n    def construct(self):\n        self.add(Text('{i}'))\n        self.wait({})\n",
            i as f64 / 15.0
        );
        jobs.push((i, system.submit(exact(&source)).await.id));
    }
    for (i, id) in jobs {
        let done = system.ended(id).await;
        assert_eq!(done.status, Status::Succeeded, "{i}: {:?}", done.error);
        assert_eq!(done.artifacts[0].frames, Some(i), "{i}");
    }
}

#[tokio::test]
async fn a_sentence_becomes_a_film_that_plays() {
    let system = System::start().await;
    for (prompt, template) in [
        (
            "Explain the Pythagorean theorem with a triangle",
            "pythagoras",
        ),
        ("Show a square and a title about similarity", "similarity"),
        ("something that no template is about", "title-card"),
    ] {
        let (plays, said) = system.e2e(prompt).await;
        assert!(plays, "{said}\n{}", system.said());
        assert!(said.contains(template), "{said}");
        assert!(said.contains("h264,854,480,"), "{said}");
    }
}

#[tokio::test]
async fn a_template_is_rendered_with_data_and_the_same_data_only_once() {
    let system = System::start().await;
    let body = |params: serde_json::Value| {
        json!({
            "input": {"kind": "template", "id": "function-plot", "params": params},
            "output": {"quality": "low", "format": "png"}
        })
    };
    let first = system
        .submit(body(
            json!({"f": ["x^2"], "title": "import os; {x} %s \\input{a}"}),
        ))
        .await;
    let first = system.ended(first.id).await;
    assert_eq!(
        first.status,
        Status::Succeeded,
        "{:?}\n{}",
        first.error,
        system.said()
    );
    let resolved = first.resolved.expect("it is a template");
    assert_eq!(resolved.id, "function-plot");
    // Written otherwise, with a default written out: what the scene gets is the same.
    let again =
        body(json!({"f": ["y = x^2"], "title": "import os; {x} %s \\input{a}", "inverse": false}));
    let again = system.ended(system.submit(again).await.id).await;
    assert!(
        again.cached && again.rendered_by == Some(first.id),
        "{again:?}"
    );
    let refused = system.try_submit(body(json!({"f": ["x^"]}))).await;
    assert_eq!(refused.status(), 422);
    let problem: serde_json::Value = refused.json().await.unwrap();
    assert_eq!(problem["errors"][0]["pointer"], "/input/params/f/0");
}

#[tokio::test]
async fn ready_only_while_a_job_would_run() {
    let mut system = System::start().await;
    assert_eq!(system.ready().await, 200);
    system.kill(WORKER);
    wait_for(
        "not ready without a worker",
        // One that died idle counts as live for a minute.
        Duration::from_secs(150),
        async || system.ready().await == 503,
    )
    .await;
    system.start_worker().await;
    wait_for("ready again", Duration::from_secs(60), async || {
        system.ready().await == 200
    })
    .await;
}

#[tokio::test]
async fn what_no_template_fits_becomes_code_and_a_film_for_those_alone_who_may_send_code() {
    const SECRET: &str = "nobody-may-see-this-word";
    const WRITTEN: &str = "from manim import *\n\nclass Leaf(Scene):\n    def construct(self):\n        self.play(Create(Circel(color=GREEN)))\n";
    let nothing_fits = || fenced(&json!({"templates": []}));
    let hostile = format!("import socket\n{WRITTEN}");
    let mended = WRITTEN.replace("Circel", "Circle");
    let endpoint = Endpoint::start([
        nothing_fits(),
        code(&hostile),
        code(WRITTEN),
        code(&mended),
        nothing_fits(),
        // It repeats the key, as some do.
        Say::Status(
            401,
            "{\"error\": \"no such key: nobody-may-see-this-word\"}",
            None,
        ),
    ])
    .await;
    let settings = [
        ("MANIMQ_LLM_URL", endpoint.url.as_str()),
        ("MANIMQ_LLM_MODEL", "scripted"),
        ("MANIMQ_LLM_KEY", SECRET),
        ("MANIMQ_LOG", "trace"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let system = System::start_with(settings.into()).await;
    // The policy refuses the first try, Manim the second; the command line asks for the repair.
    let (status, said) = system
        .manimq(&["prompt", "-ql", "--json", "photosynthesis"])
        .await;
    assert_eq!(status, Some(0), "{said}");
    let job: serde_json::Value = serde_json::from_str(said.trim()).unwrap();
    assert_eq!(job["by_model"]["repairs"], 2, "{said}");
    let parent = job["parent"].as_str().unwrap().parse().unwrap();
    let failed = system.read(parent).await;
    assert_eq!(failed.error.unwrap().class, FailureClass::SceneError);
    let last = system
        .ended(job["id"].as_str().unwrap().parse().unwrap())
        .await;
    assert_eq!(last.status, Status::Succeeded, "{:?}", last.error);
    assert_eq!(probe(&system.download(&last).await).codec, "h264");
    let asked = endpoint.asked();
    assert!(
        asked[3].said().contains("name 'Circel' is not defined"),
        "{}",
        asked[3].said()
    );
    assert_eq!(asked[0].authorization, Some(format!("Bearer {SECRET}")));

    let quotas = Quotas {
        code: Some(false),
        ..Quotas::default()
    };
    let queue = system.queue().await;
    queue
        .set_quotas(&Default::default(), &quotas)
        .await
        .unwrap();
    for _ in 0..2 {
        let (status, said) = system.manimq(&["prompt", "-ql", "photosynthesis"]).await;
        assert_ne!(status, Some(0), "{said}");
        assert!(!said.contains(SECRET), "{said}");
    }
    assert_eq!(endpoint.asked().len(), 6, "no code was asked for");
    assert!(!system.said().contains(SECRET), "it is in the log");
    assert!(!system.worker_environment().contains(SECRET));
}
