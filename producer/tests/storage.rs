//! Storage for real: a bucket of an S3 server that checks signatures, faults on the way to it, and
//! files that come with jobs. API, worker, sandbox and Manim are separate processes.

#[path = "storage/bucket.rs"]
mod bucket;
#[path = "system/harness.rs"]
#[allow(dead_code, reason = "shared with the system's tests")]
mod harness;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bucket::{BUCKET, Bucket, Fault, KEY_ID, SECRET};
use harness::{API, Setting, System, python_env, timed_frames, wait_for};
use manimq_shared::api::JobView;
use manimq_shared::job::{AttemptOutcome, FailureClass, Status};
use manimq_shared::testing::Certificates;
use reqwest::multipart::{Form, Part};
use serde_json::json;
use sha2::{Digest as _, Sha256};

const SHAPES: &str = "from manim import *\n\nclass Shapes(Scene):\n    def construct(self):\n        self.play(Create(Square()), run_time=0.4)\n";

const LIMIT: Duration = Duration::from_secs(180);

fn body() -> serde_json::Value {
    json!({
        "input": {"kind": "code", "source": SHAPES},
        "output": {"quality": "low"}, "cache": "refresh"
    })
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

/// Follows the one redirection to the bucket.
async fn there(url: &str) -> String {
    let answer = client().get(url).send().await.unwrap();
    assert_eq!(answer.status(), 302, "{url}");
    answer.headers()["location"].to_str().unwrap().to_owned()
}

/// That every file of a job can be had and is what the job says.
async fn is_whole(job: &JobView) {
    assert_eq!(job.status, Status::Succeeded, "{:?}", job.error);
    for artifact in &job.artifacts {
        let content = reqwest::get(&artifact.url).await.unwrap();
        assert_eq!(content.status(), 200);
        assert_eq!(content.headers()["content-type"], artifact.mime.as_str());
        let content = content.bytes().await.unwrap();
        assert_eq!(content.len() as u64, artifact.bytes);
        assert_eq!(hex::encode(Sha256::digest(&content)), artifact.sha256);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_into_a_bucket_and_out_again_and_the_worker_has_no_key() {
    let bucket = Bucket::start().await;
    let system = System::start_with(bucket.environment()).await;
    let job = system.submit(body()).await;
    let job = system.ended(job.id).await;
    is_whole(&job).await;

    let film = &job.artifacts[0];
    let prefix = "some/prefix/manim_videos";
    let key = format!("{prefix}/{}.mp4", job.id);
    assert_eq!(
        std::fs::metadata(bucket.path(&key)).unwrap().len(),
        film.bytes
    );
    assert!(film.width == Some(854) && film.height == Some(480) && film.fps == Some(15.0));
    assert!(
        film.duration_s.is_some() && film.frames == Some(6),
        "{film:?}"
    );
    let poster = job.artifacts.iter().find(|file| file.name == "poster.jpg");
    assert!(poster.is_some(), "{:?}", job.artifacts);
    let keys = bucket.keys();
    assert!(
        keys.iter().all(|key| key.starts_with(prefix)),
        "nothing else is left there: {keys:?}"
    );

    // The reader's URL is ours, stays the same, and leads to one that the bucket signed.
    assert!(film.url.starts_with(system.url()));
    assert_eq!(system.read(job.id).await.artifacts[0].url, film.url);
    let signed = there(&film.url).await;
    assert!(
        signed.starts_with(&format!("{}/{BUCKET}/{key}?", bucket.url)),
        "{signed}"
    );
    let part = client()
        .get(&signed)
        .header("range", "bytes=2-5")
        .send()
        .await
        .unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(
        part.headers()["content-disposition"],
        "inline; filename=\"Shapes.mp4\"; filename*=UTF-8''Shapes.mp4"
    );
    assert_eq!(part.bytes().await.unwrap().len(), 4);
    let head = client().head(&film.url).send().await.unwrap();
    let head_there = head.headers()["location"].to_str().unwrap();
    let head = client().head(head_there).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], film.bytes.to_string());
    // For this object, this method and this time only.
    let other = signed.replace(&job.id.to_string(), "job_other");
    let longer = signed.replace("X-Amz-Expires=", "X-Amz-Expires=9");
    for wrong in [other, longer] {
        assert_eq!(
            client().get(&wrong).send().await.unwrap().status(),
            403,
            "{wrong}"
        );
    }
    let put = client().put(&signed).body("x").send().await.unwrap();
    assert_eq!(put.status(), 403);
    // Nothing is written by way of the API.
    let past = film.url.replace("name=Shapes.mp4", "bytes=1&sha256=00");
    assert!(
        client()
            .put(&past)
            .body("x")
            .send()
            .await
            .unwrap()
            .status()
            .is_client_error()
    );

    let environment = system.worker_environment();
    assert!(
        !environment.contains("AWS_ACCESS")
            && !environment.contains("AWS_SECRET")
            && !environment.contains(SECRET),
        "{environment}"
    );
    let said = system.said();
    assert!(
        !said.contains(SECRET) && !said.contains("X-Amz-Signature"),
        "{said}"
    );
    let seen = [
        read_with_curl(&bucket, &key),
        read_with_boto3(&bucket, &key),
    ];
    let seen: Vec<_> = seen.into_iter().flatten().collect();
    assert!(
        !seen.is_empty(),
        "nobody else looked: install curl (with --aws-sigv4), or set MANIMQ_TEST_BOTO3"
    );
    for seen in seen {
        assert_eq!(hex::encode(Sha256::digest(seen)), film.sha256);
    }
}

/// The same by Amazon's own library: set `MANIMQ_TEST_BOTO3` to a Python that has it.
fn read_with_boto3(bucket: &Bucket, key: &str) -> Option<Vec<u8>> {
    let code = "import boto3, os, sys\n\
        s3 = boto3.client('s3', endpoint_url=sys.argv[1])\n\
        keys = [o['Key'] for o in s3.list_objects_v2(Bucket=sys.argv[2])['Contents']]\n\
        assert sys.argv[3] in keys, keys\n\
        head = s3.head_object(Bucket=sys.argv[2], Key=sys.argv[3], ChecksumMode='ENABLED')\n\
        assert head['ContentType'] == 'video/mp4' and head['ChecksumSHA256'], head\n\
        sys.stdout.buffer.write(s3.get_object(Bucket=sys.argv[2], Key=sys.argv[3])['Body'].read())";
    let output = Command::new(std::env::var_os("MANIMQ_TEST_BOTO3")?)
        .args(["-c", code, &bucket.url, BUCKET, key])
        .envs(bucket.environment())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    Some(output.stdout)
}

/// What another program makes of the bucket: curl signs by itself. `None` if it is not there.
fn read_with_curl(bucket: &Bucket, key: &str) -> Option<Vec<u8>> {
    let output = Command::new("curl")
        .args(["--silent", "--fail", "--aws-sigv4", "aws:amz:us-east-1:s3"])
        .args(["--user", &format!("{KEY_ID}:{SECRET}")])
        .args(["--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"])
        .arg(format!("{}/{BUCKET}/{key}", bucket.url))
        .output()
        .ok()?;
    assert!(output.status.success(), "{output:?}");
    Some(output.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentence_becomes_a_film_in_the_bucket_that_plays() {
    let bucket = Bucket::start().await;
    let system = System::start_with(bucket.environment()).await;
    let (plays, said) = system.e2e("title card: Welcome to Calculus").await;
    assert!(plays, "{said}\n{}", system.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_on_the_way_to_the_bucket_costs_a_repetition_and_never_a_wrong_file() {
    let bucket = Bucket::start().await;
    let system = System::start_with(bucket.environment()).await;
    for (faults, attempts) in [
        (&[Fault::Reset(1), Fault::Reset(2000)][..], 1),
        (
            &[
                Fault::Answer(503, "SlowDown"),
                Fault::Answer(500, "InternalError"),
            ],
            1,
        ),
        (
            &[
                Fault::Answer(507, "DiskFull"),
                Fault::Answer(400, "RequestTimeout"),
            ],
            1,
        ),
        // A URL that has run out is asked for again.
        (&[Fault::Answer(403, "AccessDenied")], 1),
        // It is there, and the worker finds that out.
        (&[Fault::LoseAnswer, Fault::LoseAnswer], 1),
        (&[Fault::Slow(20_000)], 1),
        // This server keeps what it refuses for its hash: the attempt fails, the next has a key
        // of its own.
        (&[Fault::Corrupt, Fault::Corrupt], 2),
    ] {
        bucket.spoil(faults);
        let job = system.submit(body()).await;
        let job = system.ended(job.id).await;
        assert!(bucket.spoilt(), "{faults:?} did not happen");
        is_whole(&job).await;
        assert_eq!(
            job.attempts.len(),
            attempts,
            "{faults:?}: {:?}",
            job.attempts
        );
        if attempts == 2 {
            assert_eq!(job.attempts[0].outcome, Some(AttemptOutcome::Failed));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_goes_away_in_mid_upload_costs_an_attempt_and_leaves_no_half_file() {
    let bucket = Bucket::start().await;
    let system = System::start_with(bucket.environment()).await;
    // Film and poster go side by side; neither has arrived when the bucket goes.
    bucket.spoil(&[Fault::Slow(400), Fault::Slow(400)]);
    let job = system.submit(body()).await;
    wait_for("it is being stored", LIMIT, async || bucket.spoilt()).await;
    bucket.go_away(true);
    // It is waited for, for a minute; then the job goes back to the queue.
    wait_for("the attempt fails", LIMIT, async || {
        let attempts = system.read(job.id).await.attempts;
        attempts.first().and_then(|attempt| attempt.outcome) == Some(AttemptOutcome::Failed)
    })
    .await;
    let now = system.read(job.id).await;
    assert_eq!(
        now.attempts[0].class,
        Some(FailureClass::Storage),
        "{now:?}"
    );
    assert!(now.artifacts.is_empty() && now.result_url.is_none());
    let film = format!("some/prefix/manim_videos/{}.mp4", job.id);
    assert!(
        !bucket.keys().contains(&film),
        "nothing half written is there"
    );
    bucket.go_away(false);
    is_whole(&system.ended(job.id).await).await;
}

/// A scene that is drawn only from the right table.
const WITH_TABLE: &str = r#"from manim import *

class Table(Scene):
    def construct(self):
        with open("a.csv") as file:
            assert file.read() == "1,2,3\n"
        self.wait(0.2)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_of_a_file_that_comes_with_a_job_never_stay_in_the_bucket() {
    let bucket = Bucket::start().await;
    let system = System::start_with(bucket.environment()).await;
    let content = b"1,2,3\n";
    let sha256 = hex::encode(Sha256::digest(content));
    let key = format!("some/prefix/manim_assets/default/{sha256}");
    let submit = async || {
        let mut body = body();
        body["input"]["source"] = json!(WITH_TABLE);
        let job = Part::text(body.to_string()).mime_str("application/json");
        let file = Part::bytes(content.to_vec()).file_name("a.csv");
        let form = Form::new().part("job", job.unwrap()).part("files", file);
        let url = format!("{}/v1/jobs", system.url());
        client().post(url).multipart(form).send().await.unwrap()
    };
    let queue = system.queue().await;
    let counted = async || {
        let mut command = redis::cmd("HGET");
        command.arg(queue.keys().asset_bytes()).arg("default");
        queue.query::<Option<u64>>(&command).await.unwrap()
    };
    // This server keeps what it refuses for its hash.
    bucket.spoil(&[Fault::Corrupt; 5]);
    let refused = submit().await;
    assert_eq!(refused.status(), 503, "{:?}", refused.text().await);
    assert!(bucket.spoilt());
    assert!(
        !bucket.path(&key).exists(),
        "what it kept is gone: {:?}",
        bucket.keys()
    );
    assert_eq!(counted().await, Some(0));
    // An API that died has left other bytes, as many.
    std::fs::create_dir_all(bucket.path(&key).parent().unwrap()).unwrap();
    std::fs::write(bucket.path(&key), b"1,2,4\n").unwrap();
    let sent = submit().await;
    assert_eq!(sent.status(), 202, "{:?}", sent.text().await);
    let job: JobView = sent.json().await.unwrap();
    is_whole(&system.ended(job.id).await).await;
    assert_eq!(std::fs::read(bucket.path(&key)).unwrap(), content);
    assert_eq!(counted().await, Some(4096));
    // Right ones are not sent again.
    bucket.spoil(&[Fault::Answer(500, "InternalError")]);
    assert_eq!(submit().await.status(), 202);
    assert!(!bucket.spoilt());
}

/// The names of all files in a folder and those in it.
fn files_below(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            names.extend(files_below(&entry.path()));
        } else {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_for_and_nothing_half_written_is_served() {
    let system = System::start_in(Setting {
        disk_kib: Some(2048),
        ..Setting::default()
    })
    .await;
    let job = system.submit(body()).await;
    is_whole(&system.ended(job.id).await).await;
    let filler = system.data().join("filler");
    let _ = std::fs::write(&filler, vec![1; 4 << 20]);
    assert!(std::fs::metadata(&filler).unwrap().len() > 0);
    let job = system.submit(body()).await;
    wait_for("the worker hears of it", LIMIT, async || {
        system.said().contains("No space left")
    })
    .await;
    assert!(system.read(job.id).await.artifacts.is_empty());
    let film = format!("{}.mp4", job.id);
    assert!(
        !files_below(&system.data()).contains(&film),
        "nothing half written is there"
    );
    std::fs::remove_file(&filler).unwrap();
    is_whole(&system.ended(job.id).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_may_speak_https_with_a_certificate_of_its_owners_own_authority() {
    let certificates = Certificates::new();
    let bucket = Bucket::start_secure(&certificates).await;
    let ca = |name: &str| {
        let file = certificates.file(name).display().to_string();
        vec![("MANIMQ_CA_FILE".to_owned(), file)]
    };
    let system = System::start_in(Setting {
        api: [bucket.environment(), ca("ca.pem")].concat(),
        worker: ca("ca.pem"),
        disk_kib: None,
    })
    .await;
    let job = system.submit(body()).await;
    let job = system.ended(job.id).await;
    assert_eq!(job.status, Status::Succeeded, "{:?}", job.error);
    let film = std::fs::read(bucket.path(&format!("some/prefix/manim_videos/{}.mp4", job.id)));
    assert_eq!(
        hex::encode(Sha256::digest(film.unwrap())),
        job.artifacts[0].sha256
    );
    // With another authority's certificate nothing is sent there.
    let refused = tokio::task::block_in_place(|| {
        system.refused_api("MANIMQ_CA_FILE", &ca("other-ca.pem")[0].1)
    });
    assert!(refused.contains("certificate"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_cannot_be_used_is_told_at_the_start_without_the_secret() {
    let bucket = Bucket::start().await;
    let redis = manimq_shared::testing::RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let start = |name: &str, value: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_manimq"));
        command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--metrics-listen",
                "127.0.0.1:0",
            ])
            .args(["--redis-url", &redis.url(), "--data-dir"])
            .arg(folder.path())
            .envs(bucket.environment())
            .env(name, value)
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (name, value, word) in [
        (
            "AWS_SECRET_ACCESS_KEY",
            "another-secret-of-the-right-length",
            "AWS_SECRET_ACCESS_KEY",
        ),
        ("MANIMQ_STORAGE", "s4://films", "s3://BUCKET/PREFIX"),
        ("MANIMQ_CA_FILE", "/nowhere.pem", "MANIMQ_CA_FILE"),
    ] {
        let said = tokio::task::block_in_place(|| start(name, value));
        assert!(said.contains(word), "{name}={value}: {said}");
        assert!(
            !said.contains(SECRET) && !said.contains("another-secret"),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_bucket_has_urls_without_signature_and_end() {
    let bucket = Bucket::start().await;
    let mut environment = bucket.environment();
    environment.push((
        "MANIMQ_PUBLIC_BUCKET".into(),
        "https://films.example.com".into(),
    ));
    let system = System::start_with(environment).await;
    let job = system.submit(body()).await;
    let job = system.ended(job.id).await;
    let expected = format!(
        "https://films.example.com/some/prefix/manim_videos/{}.mp4",
        job.id
    );
    assert_eq!(job.result_url, Some(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_api_finds_its_bucket_and_another_one_is_refused() {
    let bucket = Bucket::start().await;
    let mut system = System::start_with(bucket.environment()).await;
    let job = system.submit(body()).await;
    let job = system.ended(job.id).await;
    system.kill(API);
    system.start_api().await;
    is_whole(&system.read(job.id).await).await;
    system.terminate(API, Duration::from_secs(30));
    let said = tokio::task::block_in_place(|| system.refused_api("MANIMQ_STORAGE", "local"));
    assert!(said.contains("results in another place"), "{said}");
}

/// A picture, a drawing, a sound, and a table whose numbers become a graph.
const WITH_FILES: &str = r#"from manim import *
import csv

class Assets(Scene):
    def construct(self):
        with open("data/points.csv", newline="") as file:
            heights = [float(row["y"]) for row in csv.DictReader(file)]
        bars = VGroup(*[Rectangle(height=y, width=0.4, fill_opacity=1) for y in heights])
        bars.arrange(RIGHT, aligned_edge=DOWN).to_edge(DOWN)
        logo = ImageMobject("logo.png").scale(4).to_edge(LEFT)
        shape = SVGMobject("shape.svg").scale(0.7).to_edge(RIGHT)
        self.add_sound("a.wav")
        self.add(logo, shape)
        self.play(Create(bars), run_time=0.6)
"#;

/// Makes the files of [`WITH_FILES`] with the Python of the sandbox.
const MAKE_FILES: &str = r##"
import math, os, struct, wave
from PIL import Image
image = Image.new("RGB", (32, 32))
for x in range(32):
    for y in range(32):
        image.putpixel((x, y), (8 * x, 8 * y, 128))
image.save("logo.png")
open("shape.svg", "w").write('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10"><path d="M1 1 L9 1 L5 9 Z" fill="#c33"/></svg>')
with wave.open("a.wav", "wb") as file:
    file.setnchannels(1); file.setsampwidth(2); file.setframerate(44100)
    file.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(i / 20))) for i in range(22050)))
os.mkdir("data")
open("data/points.csv", "w").write("x,y\n1,1.0\n2,2.5\n3,0.5\n")
"##;

fn run(command: &mut Command) -> (bool, String, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Codec and length of the sound of a film.
fn sound(film: &std::path::Path) -> String {
    let (ok, out, said) = run(Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "a", "-of", "csv=p=0"])
        .args(["-show_entries", "stream=codec_name,sample_rate"])
        .arg(film));
    assert!(ok, "{said}");
    out.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scene_with_files_comes_out_of_the_command_line_as_the_bare_command_makes_it() {
    let bucket = Bucket::start().await;
    // Once with files in the folder, once in a bucket.
    for environment in [Vec::new(), bucket.environment()] {
        let system = System::start_with(environment).await;
        let folder = tempfile::tempdir().unwrap();
        let python = python_env().join("bin/python");
        let (ok, _, said) = run(Command::new(&python)
            .args(["-c", MAKE_FILES])
            .current_dir(folder.path()));
        assert!(ok, "{said}");
        std::fs::write(folder.path().join("scene.py"), WITH_FILES).unwrap();
        let render = |with: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_manimq"));
            command
                .args(["render", "-ql", "--encoder", "manim", "--media_dir", "ours"])
                .args(["--server", system.url(), "scene.py", "Assets"])
                .current_dir(folder.path());
            for path in with {
                command.args(["--with", path]);
            }
            tokio::task::block_in_place(|| run(&mut command))
        };
        let (ok, _, said) = render(&["data", "shape.svg", "a.wav"]);
        assert!(!ok, "{said}");
        assert!(
            said.contains("send it with --with logo.png"),
            "what is missing is named, with what to do: {said}"
        );
        let (ok, path, said) = render(&["data", "shape.svg", "a.wav", "logo.png"]);
        assert!(ok, "{said}");
        let ours = folder.path().join(path.trim());
        let (ok, _, said) = run(Command::new(python_env().join("bin/manim"))
            .args([
                "render",
                "-ql",
                "--progress_bar",
                "none",
                "--media_dir",
                "bare",
            ])
            .args(["scene.py", "Assets"])
            .current_dir(folder.path()));
        assert!(ok, "{said}");
        let bare = folder.path().join("bare/videos/scene/480p15/Assets.mp4");
        assert_eq!(timed_frames(&ours), timed_frames(&bare));
        assert_eq!(sound(&ours), sound(&bare));
        assert!(!sound(&ours).is_empty());
    }
    let assets = bucket.keys();
    let assets: Vec<_> = assets
        .iter()
        .filter(|key| key.starts_with("some/prefix/manim_assets/default/"))
        .collect();
    assert_eq!(assets.len(), 4, "{assets:?}");
}
