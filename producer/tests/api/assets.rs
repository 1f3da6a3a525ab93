//! Files that come with a job: taken in, kept once, handed to the lease holder, swept.

use std::time::Duration;

use futures_util::future::join_all;
use manimq::storage::{Store, StoreConfig, SweepError, Sweeper};
use manimq_shared::api::{AssetGrants, AssetRequest, JobView};
use manimq_shared::ids::TenantId;
use manimq_shared::queue::Claim;
use manimq_shared::storage::AssetKey;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{Api, SCENE, Setup, Worker, problem, scene_body, sha256};

fn part(name: &str, content: &[u8]) -> Part {
    Part::bytes(content.to_vec()).file_name(name.to_owned())
}

pub fn form(body: &Value, files: &[(&str, &[u8])]) -> Form {
    let job = Part::text(body.to_string())
        .mime_str("application/json")
        .unwrap();
    files.iter().fold(
        Form::new().percent_encode_noop().part("job", job),
        |form, (name, content)| form.part("files", part(name, content)),
    )
}

async fn send(api: &Api, form: Form) -> Response {
    let request = api.request(Method::POST, "/v1/jobs").multipart(form);
    request.send().await.unwrap()
}

async fn submit(api: &Api, body: &Value, files: &[(&str, &[u8])]) -> JobView {
    let answer = send(api, form(body, files)).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    answer.json().await.unwrap()
}

/// Keys of all files that are kept, without their folder.
fn kept(api: &Api) -> Vec<String> {
    let mut names = Vec::new();
    let folder = api.data_path("artifacts/manim_assets");
    for tenant in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        for file in std::fs::read_dir(tenant.path()).unwrap() {
            let tenant = tenant.file_name().into_string().unwrap();
            names.push(format!(
                "{tenant}/{}",
                file.unwrap().file_name().into_string().unwrap()
            ));
        }
    }
    names.sort();
    names
}

async fn grants(worker: &Worker, api: &Api, claim: &Claim) -> Response {
    let request = AssetRequest {
        job: claim.job,
        epoch: claim.epoch,
        lease_token: claim.token.clone(),
    };
    let _ = worker;
    api.post(
        "/internal/v1/assets",
        &serde_json::to_value(request).unwrap(),
    )
    .await
}

#[tokio::test]
async fn files_come_in_a_form_and_the_lease_holder_gets_them() {
    let api = Api::start().await;
    let files: &[(&str, &[u8])] = &[
        ("logo.png", b"a picture"),
        ("data/Übung.csv", b"1,2\n"),
        ("copy.png", b"a picture"),
        ("empty.txt", b""),
    ];
    let job = submit(&api, &scene_body(SCENE), files).await;
    let names: Vec<_> = job
        .input
        .files
        .iter()
        .map(|file| file.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["logo.png", "data/Übung.csv", "copy.png", "empty.txt"]
    );
    assert_eq!(job.input.files[0].sha256, sha256(b"a picture"));
    assert_eq!(kept(&api).len(), 3, "the same content lies there once");
    assert_eq!(api.stored_files(), [""; 0], "nothing is left on its way");

    let worker = api.worker();
    let claim = worker.claim().await;
    let answer = grants(&worker, &api, &claim).await;
    let granted: AssetGrants = answer.json().await.unwrap();
    for (grant, (_, content)) in granted.grants.iter().zip(files) {
        let file = api.get(&grant.url).await;
        assert_eq!(file.headers()["content-type"], "application/octet-stream");
        assert_eq!(file.bytes().await.unwrap(), *content);
        assert_eq!(grant.sha256, sha256(content));
        let forged = grant.url.replace("/default/", "/acme/");
        problem(api.get(&forged).await, 403, "signature-invalid").await;
        let later = grant.url.replace("expires=", "expires=9");
        problem(api.get(&later).await, 403, "signature-invalid").await;
    }
    // With another token, nothing.
    let other = AssetRequest {
        job: claim.job,
        epoch: claim.epoch,
        lease_token: manimq_shared::ids::LeaseToken::generate(),
    };
    let refused = api
        .post("/internal/v1/assets", &serde_json::to_value(other).unwrap())
        .await;
    problem(refused, 409, "lease-lost").await;
}

#[tokio::test]
async fn what_was_sent_before_can_be_named_by_its_hash_but_not_what_another_tenant_sent() {
    let api = Api::start().await;
    let named = |sha256: &str, bytes: u64| {
        let mut body = scene_body(SCENE);
        body["input"]["files"] = json!([{"name": "logo.png", "bytes": bytes, "sha256": sha256}]);
        body
    };
    let hash = sha256(b"a picture");
    let refused = api.post("/v1/jobs", &named(&hash, 9)).await;
    let told = problem(refused, 422, "invalid-params").await;
    assert_eq!(told.errors[0].pointer, "/input/files/0");
    submit(&api, &scene_body(SCENE), &[("x.png", b"a picture")]).await;
    api.submit_body(&named(&hash, 9)).await;
    let refused = api.post("/v1/jobs", &named(&hash, 10)).await;
    let told = problem(refused, 422, "invalid-params").await;
    assert!(told.errors[0].detail.contains("9 bytes"), "{told:?}");
    // The same content, sent by somebody else.
    let other = api.data_path("artifacts/manim_assets/acme");
    std::fs::create_dir_all(&other).unwrap();
    let foreign = sha256(b"theirs");
    std::fs::write(other.join(&foreign), b"theirs").unwrap();
    let refused = api.post("/v1/jobs", &named(&foreign, 6)).await;
    problem(refused, 422, "invalid-params").await;
}

#[tokio::test]
async fn two_jobs_share_a_render_only_if_their_files_have_the_same_content() {
    let api = Api::start().await;
    let mut body = scene_body(SCENE);
    body["cache"] = json!("use");
    let first = submit(&api, &body, &[("a.png", b"one")]).await;
    let same = submit(&api, &body, &[("a.png", b"one")]).await;
    assert_eq!(same.rendered_by, Some(first.id));
    for other in [&[("a.png", &b"two"[..])][..], &[("b.png", b"one")], &[]] {
        assert_eq!(submit(&api, &body, other).await.rendered_by, None);
    }
}

#[tokio::test]
async fn an_idempotency_key_covers_the_files() {
    let api = Api::start().await;
    let submit = async |content: &[u8]| {
        api.request(Method::POST, "/v1/jobs")
            .header("idempotency-key", "one")
            .multipart(form(&scene_body(SCENE), &[("a.png", content)]))
            .send()
            .await
            .unwrap()
    };
    let first: JobView = submit(b"one").await.json().await.unwrap();
    let again: JobView = submit(b"one").await.json().await.unwrap();
    assert_eq!(first.id, again.id);
    problem(submit(b"two").await, 422, "idempotency-key-reused").await;
}

#[tokio::test]
async fn names_that_lead_out_are_refused_and_nothing_is_kept() {
    let api = Api::start().await;
    for name in [
        "../x.png", "/etc/x", "a/../x", ".env", "x.py", "a\\x", "scene.PY",
    ] {
        let answer = send(&api, form(&scene_body(SCENE), &[(name, b"x")])).await;
        let told = problem(answer, 422, "invalid-params").await;
        assert_eq!(told.errors[0].pointer, "/files/0", "{name}");
    }
    for files in [
        &[("a.png", &b"x"[..]), ("A.png", b"y")][..],
        &[("a", b"x"), ("a/b", b"y")],
        &[("a.png", b"x"), ("a.png", b"x")],
    ] {
        let answer = send(&api, form(&scene_body(SCENE), files)).await;
        problem(answer, 422, "invalid-params").await;
    }
    assert_eq!(kept(&api), [""; 0]);
    assert_eq!(api.stored_files(), [""; 0]);
}

#[tokio::test]
async fn a_form_that_is_none_of_ours_is_refused_by_the_part_that_is_wrong() {
    let api = Api::start().await;
    let job = || Part::text(scene_body(SCENE).to_string());
    for (form, word) in [
        (Form::new().part("files", part("a", b"x")), "no part `job`"),
        (Form::new().part("job", job()).part("job", job()), "twice"),
        (
            Form::new().part("job", job()).part("file", part("a", b"x")),
            "\"file\"",
        ),
        (Form::new().part("job", Part::text("{")), "not JSON"),
    ] {
        let told = problem(send(&api, form).await, 400, "malformed").await;
        assert!(told.detail.contains(word), "{told:?}");
    }
    let unnamed = Form::new()
        .part("job", job())
        .part("files", Part::text("x"));
    problem(send(&api, unnamed).await, 422, "invalid-params").await;
    for (kind, body) in [
        ("multipart/form-data", "x"),
        (
            "multipart/form-data; boundary=b",
            "--b\r\ncontent-disposition: form-data; name=\"job\"\r\n\r\n{",
        ),
        ("multipart/form-data; boundary=b", "--c\r\n"),
    ] {
        let request = api
            .request(Method::POST, "/v1/jobs")
            .header("content-type", kind);
        let answer = request.body(body).send().await.unwrap();
        problem(answer, 400, "malformed").await;
    }
    assert_eq!(api.stored_files(), [""; 0]);
}

#[tokio::test]
async fn of_a_form_no_more_waits_in_memory_than_a_head_can_have() {
    let api = Api::start().await;
    for begin in [
        "",
        "--b\r\ncontent-disposition: form-data; name=\"files\"; filename=\"",
    ] {
        let body = begin.to_owned() + &"a".repeat(4 << 20);
        let request = api
            .request(Method::POST, "/v1/jobs")
            .header("content-type", "multipart/form-data; boundary=b")
            .body(body);
        let told = problem(request.send().await.unwrap(), 400, "malformed").await;
        assert!(told.detail.contains("128 KiB before"), "{told:?}");
    }
    // Content is handed on, however much and in whatever pieces it comes.
    let large: Vec<u8> = (0..8 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
    let files = [("a.bin", &large[..]), ("b.bin", b"\r\n--".as_slice())];
    submit(&api, &scene_body(SCENE), &files).await;
    assert_eq!(kept(&api).len(), 2);
}

#[tokio::test]
async fn too_much_is_refused_with_the_limit_and_leaves_nothing() {
    let flags = [
        "--assets-max=2",
        "--asset-bytes-max=1000",
        "--job-asset-bytes-max=1500",
        "--tenant-asset-bytes-max=12288",
    ];
    let api = Setup::new().flags(&flags).start().await;
    let send = async |files: &[(&str, &[u8])]| send(&api, form(&scene_body(SCENE), files)).await;
    for (files, word) in [
        (&[("a", &[0; 1001][..])][..], "larger than"),
        (&[("a", &[0; 900]), ("b", &[1; 900])], "in all"),
        (
            &[("a", b"1"), ("b", b"2"), ("c", b"3")],
            "more than 2 files",
        ),
        (&[("a", &[0; 5_000_000])], "larger than"),
    ] {
        let told = problem(send(files).await, 413, "too-large").await;
        assert!(told.detail.contains(word), "{told:?}");
    }
    assert_eq!(kept(&api), [""; 0]);
    // A tenant's files in all.
    for byte in 0..3u8 {
        let answer = send(&[("a", &[byte; 1000])]).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "{byte}");
    }
    let told = problem(send(&[("a", &[9; 1000])]).await, 429, "quota-exceeded").await;
    assert_eq!(told.violated_policies, ["file_bytes"]);
    assert_eq!(
        send(&[("b", &[1; 1000])]).await.status(),
        StatusCode::ACCEPTED,
        "known already"
    );
    assert_eq!(kept(&api).len(), 3);
    assert_eq!(api.stored_files(), [""; 0]);
}

#[tokio::test]
async fn a_refused_job_leaves_no_note_of_files_that_nobody_sent() {
    let api = Api::start().await;
    let mut body = scene_body(SCENE);
    let files = (0..50).map(|n| {
        let sha256 = crate::support::sha256(format!("invented {n}").as_bytes());
        json!({"name": format!("f{n}.png"), "bytes": 5, "sha256": sha256})
    });
    body["input"]["files"] = files.collect();
    problem(api.post("/v1/jobs", &body).await, 422, "invalid-params").await;
    let mut count = redis::cmd("ZCARD");
    count.arg(api.queue.keys().assets(&TenantId::default()));
    assert_eq!(api.queue.query::<u64>(&count).await.unwrap(), 0);
}

fn store(api: &Api) -> Store {
    Store::open(&StoreConfig::local(api.data.path())).unwrap()
}

/// A sweep to which everything is old.
fn sweeper(api: &Api) -> Sweeper {
    let none = Duration::ZERO;
    Sweeper::new(store(api), api.queue.clone(), none, none).with_grace(none)
}

async fn swept(api: &Api) -> Vec<String> {
    // Older than nothing at all.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let would = sweeper(api).run(true).await.unwrap();
    let did = sweeper(api).run(false).await.unwrap();
    assert_eq!(would.files, did.files);
    assert_eq!(sweeper(api).run(false).await.unwrap().removed, 0);
    did.files.into_iter().map(|file| file.key).collect()
}

#[tokio::test]
async fn a_sweep_takes_files_of_lost_attempts_and_of_jobs_that_are_gone_and_nothing_else() {
    let api = Api::start().await;
    let done = api.finished_job(b"kept").await;
    // An attempt that has stored its file and lost its lease.
    let job = api.submit().await;
    let worker = api.worker();
    let first = worker.claim_for(Duration::from_millis(50)).await;
    worker.store(&first, &[("video.mp4", b"lost")]).await;
    crate::support::eventually(|| async { (api.queue.reap(10).await.unwrap() == 1).then_some(()) })
        .await;
    let second = worker.claim().await;
    assert_eq!(swept(&api).await, [""; 0], "the job still runs");
    worker.succeed(&second, &[("video.mp4", b"won")]).await;
    // A job of which Redis knows nothing.
    let gone = "manim_videos/job_0198f2b4c5d67e8f9a0b1c2d3e4f5061.mp4";
    std::fs::write(api.data_path("artifacts").join(gone), b"x").unwrap();
    let mut expected = vec![format!("manim_videos/{}.mp4", job.id), gone.to_owned()];
    expected.sort();
    let mut taken = swept(&api).await;
    taken.sort();
    assert_eq!(taken, expected);
    for id in [done.id, job.id] {
        let url = &api.job(id).await.artifacts[0].url;
        assert_eq!(api.get(url).await.status(), StatusCode::OK);
    }
    // All of a job, at once.
    assert_eq!(store(&api).list_job(job.id).await.unwrap().len(), 1);
    assert_eq!(store(&api).delete_job(job.id).await.unwrap(), 1);
    assert_eq!(api.stored_files(), [format!("{}.mp4", done.id)]);
}

#[tokio::test]
async fn a_sweep_that_stops_is_gone_on_with_by_the_next_one_until_all_was_looked_at() {
    let api = Api::start().await;
    let videos = api.data_path("artifacts").join("manim_videos");
    for n in 0..25 {
        let name = format!("job_0198f2b4c5d67e8f9a0b1c2d3e4f50{n:02}.mp4");
        std::fs::write(videos.join(name), b"x").unwrap();
    }
    let kept = submit(&api, &scene_body(SCENE), &[("a.png", b"one")]).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let day = Duration::from_secs(86_400);
    let bounded = |looked: u64| {
        Sweeper::new(store(&api), api.queue.clone(), Duration::ZERO, day)
            .with_grace(Duration::ZERO)
            .with_bounds(looked, 4)
    };
    // Only to look begins with the first each time, and changes nothing.
    for _ in 0..2 {
        let would = bounded(10).run(true).await.unwrap();
        assert_eq!((would.looked_at, would.removed, would.more), (10, 10, true));
    }
    assert_eq!(api.stored_files().len(), 25);
    let mut taken = Vec::new();
    for (looked, more) in [(10, true), (10, true), (6, false)] {
        let report = bounded(10).run(false).await.unwrap();
        assert_eq!(
            (report.looked_at, report.more),
            (looked, more),
            "{report:?}"
        );
        taken.extend(report.files.into_iter().map(|file| file.key));
    }
    assert_eq!(
        taken.len(),
        25,
        "and not the file that came with {}",
        kept.id
    );
    assert!(taken.is_sorted());
    // At a folder's end as well: what comes to lie behind is met by the next.
    std::fs::write(
        videos.join("job_0198f2b4c5d67e8f9a0b1c2d3e4f5099.mp4"),
        b"x",
    )
    .unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let report = bounded(1).run(false).await.unwrap();
    assert_eq!((report.removed, report.more), (1, true));
    let report = bounded(1).run(false).await.unwrap();
    assert_eq!(
        (report.looked_at, report.removed, report.more),
        (1, 0, false)
    );
    let note: Option<String> = api
        .queue
        .query(redis::cmd("GET").arg(api.queue.keys().sweep_at()))
        .await
        .unwrap();
    assert_eq!(note, None, "the next begins with the first");
}

/// What a tenant's files are counted to take.
async fn counted(api: &Api) -> u64 {
    let mut command = redis::cmd("HGET");
    command.arg(api.queue.keys().asset_bytes()).arg("default");
    let bytes: Option<u64> = api.queue.query(&command).await.unwrap();
    bytes.unwrap_or(0)
}

#[tokio::test]
async fn a_tenants_room_comes_back_also_in_a_store_that_no_sweep_sees_as_a_whole() {
    let api = Api::start().await;
    for content in [&b"one"[..], b"two", b"three"] {
        submit(&api, &scene_body(SCENE), &[("a.png", content)]).await;
    }
    assert_eq!(counted(&api).await, 3 * 4096);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let sweep = async || {
        let sweeper = sweeper(&api).with_bounds(1, 4);
        sweeper.run(false).await.unwrap()
    };
    for left in [2, 1, 0] {
        assert_eq!(sweep().await.removed, 1);
        assert_eq!(counted(&api).await, left * 4096);
        assert_eq!(kept(&api).len() as u64, left);
    }
    assert_eq!(sweep().await.removed, 0);
    assert_eq!(counted(&api).await, 0);
}

#[tokio::test]
async fn fifty_clients_with_fifty_files_get_no_more_room_than_a_tenant_has() {
    let flags = ["--tenant-asset-bytes-max=81920"];
    let api = Setup::new().flags(&flags).start().await;
    let sent = (0..50u8).map(|n| {
        let api = &api;
        async move {
            let answer = send(api, form(&scene_body(SCENE), &[("a", &[n; 1000])])).await;
            if answer.status() == StatusCode::ACCEPTED {
                return 1;
            }
            let told = problem(answer, 429, "quota-exceeded").await;
            assert_eq!(told.violated_policies, ["file_bytes"]);
            0
        }
    });
    let accepted: usize = join_all(sent).await.into_iter().sum();
    assert!((1..=20).contains(&accepted), "{accepted}");
    assert_eq!(kept(&api).len(), accepted);
    assert_eq!(counted(&api).await, accepted as u64 * 4096);
}

#[tokio::test]
async fn fifty_equal_files_that_are_sent_at_once_take_the_room_of_one() {
    let api = Api::start().await;
    let body = scene_body(SCENE);
    join_all((0..50).map(|_| submit(&api, &body, &[("a.png", b"one")]))).await;
    assert_eq!(kept(&api).len(), 1);
    assert_eq!(counted(&api).await, 4096);
}

#[tokio::test]
async fn a_sweep_never_believes_an_empty_or_foreign_redis() {
    let api = Api::start().await;
    let done = api.finished_job(b"kept").await;
    let keys = [api.queue.keys().store(), api.queue.keys().store_since()];
    // Somebody emptied it.
    let () = api.queue.query(redis::cmd("DEL").arg(&keys)).await.unwrap();
    let () = api
        .queue
        .query(redis::cmd("DEL").arg(api.queue.keys_of(done.id).job(done.id)))
        .await
        .unwrap();
    let error = sweeper(&api).run(false).await.unwrap_err();
    assert!(matches!(error, SweepError::OtherStore), "{error}");
    // It names another store.
    let name = |identity: String| {
        let mut command = redis::cmd("SET");
        command.arg(&keys[0]).arg(identity);
        command
    };
    let () = api.queue.query(&name("another".into())).await.unwrap();
    assert!(sweeper(&api).run(false).await.is_err());
    // It names ours, but only since a moment ago: what is older is counted and kept.
    let () = api
        .queue
        .query(&name(store(&api).identity().into()))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    Sweeper::note_store(&api.queue, store(&api).identity())
        .await
        .unwrap();
    let report = sweeper(&api).run(false).await.unwrap();
    assert_eq!((report.removed, report.unknown), (0, 1), "{report:?}");
    assert_eq!(api.stored_files().len(), 1);
}

#[tokio::test]
async fn files_that_came_with_jobs_go_when_none_has_used_them_for_long() {
    let api = Api::start().await;
    submit(&api, &scene_body(SCENE), &[("a.png", b"one")]).await;
    let day = Duration::from_secs(86_400);
    let patient = Sweeper::new(store(&api), api.queue.clone(), Duration::ZERO, day)
        .with_grace(Duration::ZERO);
    assert_eq!(patient.run(false).await.unwrap().removed, 0);
    assert_eq!(swept(&api).await.len(), 1);
    assert_eq!(kept(&api), [""; 0]);
    // Sent again, it is there again.
    submit(&api, &scene_body(SCENE), &[("a.png", b"one")]).await;
    assert_eq!(kept(&api).len(), 1);
    assert_eq!(
        store(&api)
            .delete_assets(&TenantId::default())
            .await
            .unwrap(),
        1
    );
    assert_eq!(kept(&api), [""; 0]);
}

#[tokio::test]
async fn a_submit_waits_for_a_file_that_is_being_removed() {
    let api = Api::start().await;
    let content = b"one";
    let key = AssetKey::new(TenantId::default(), &sha256(content)).unwrap();
    let lock = api.queue.keys().asset_lock(&key);
    let mut command = redis::cmd("SET");
    command.arg(&lock).arg("x").arg("PX").arg(700);
    let () = api.queue.query(&command).await.unwrap();
    submit(&api, &scene_body(SCENE), &[("a.png", content)]).await;
    let left: i64 = api
        .queue
        .query(redis::cmd("EXISTS").arg(&lock))
        .await
        .unwrap();
    assert_eq!(left, 0, "it was waited for");
    // And the sweep leaves alone what was asked for meanwhile.
    assert_eq!(kept(&api).len(), 1);
}
