//! Signed uploads and downloads: the ways that work, and every way around them that we know.

use std::time::Duration;

use manimq_shared::job::{EARLY_POSTER, JobResult};
use manimq_shared::queue::EventKind;
use manimq_shared::storage::{ArtifactKey, GetTerms, PutTerms, Signer, StorageSecret};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{Api, Setup, Worker, eventually, problem, raw, sha256};

/// A signer with the server's own secret, for what only the server could sign.
fn signer(api: &Api) -> Signer {
    let secret = std::fs::read_to_string(api.data_path("storage.key")).unwrap();
    Signer::new(&StorageSecret::new(secret).unwrap())
}

fn now_s() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap()
}

#[tokio::test]
async fn a_film_is_stored_and_can_be_sought_in() {
    let api = Api::start().await;
    let film: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
    let job = api.finished_job(&film).await;
    let url = &job.artifacts[0].url;
    let whole = api.get(url).await;
    assert_eq!(whole.status(), StatusCode::OK);
    let headers = whole.headers().clone();
    assert_eq!(headers["content-type"], "video/mp4");
    assert_eq!(headers["content-length"], "100000");
    assert_eq!(headers["accept-ranges"], "bytes");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert!(
        headers["content-security-policy"]
            .to_str()
            .unwrap()
            .contains("sandbox")
    );
    assert!(
        headers["content-disposition"]
            .to_str()
            .unwrap()
            .starts_with("inline; filename=\"Hello.mp4\"")
    );
    assert_eq!(whole.bytes().await.unwrap(), film);

    let ranged = |range: &'static str, more: Option<(&'static str, String)>| {
        let mut request = api.request(Method::GET, url).header("range", range);
        if let Some((name, value)) = more {
            request = request.header(name, value);
        }
        async { request.send().await.unwrap() }
    };
    for (range, expected) in [
        ("bytes=0-", 0..100_000),
        ("bytes=0-0", 0..1),
        ("bytes=70000-70999", 70_000..71_000),
        ("bytes=99990-", 99_990..100_000),
        ("bytes=-5", 99_995..100_000),
        ("bytes=5-999999999", 5..100_000),
    ] {
        let part = ranged(range, None).await;
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(
            part.headers()["content-range"],
            format!("bytes {}-{}/100000", expected.start, expected.end - 1)
        );
        assert_eq!(part.headers()["content-length"], expected.len().to_string());
        assert_eq!(part.bytes().await.unwrap(), film[expected], "{range}");
    }
    for range in ["bytes=0-1,5-6", "lines=1-2", "bytes=9-2"] {
        assert_eq!(
            ranged(range, None).await.status(),
            StatusCode::OK,
            "{range}"
        );
    }
    let beyond = ranged("bytes=100000-", None).await;
    assert_eq!(beyond.headers()["content-range"], "bytes */100000");
    problem(beyond, 416, "range-not-satisfiable").await;

    let etag = headers["etag"].to_str().unwrap().to_owned();
    let modified = headers["last-modified"].to_str().unwrap().to_owned();
    for (validator, status) in [
        (etag.clone(), StatusCode::PARTIAL_CONTENT),
        (modified, StatusCode::PARTIAL_CONTENT),
        ("\"other\"".to_owned(), StatusCode::OK),
        (format!("W/{etag}"), StatusCode::OK),
    ] {
        let part = ranged("bytes=1-2", Some(("if-range", validator))).await;
        assert_eq!(part.status(), status);
    }
    let known = api.request(Method::GET, url).header("if-none-match", &etag);
    assert_eq!(
        known.send().await.unwrap().status(),
        StatusCode::NOT_MODIFIED
    );

    let head = api.request(Method::HEAD, url).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(head.headers()["content-length"], "100000");
    assert!(head.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_file_larger_than_one_part_arrives_whole() {
    let api = Api::start().await;
    let film: Vec<u8> = (0..13_000_007u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let job = api.finished_job(&film).await;
    assert_eq!(job.artifacts[0].bytes, film.len() as u64);
    assert_eq!(
        api.get(&job.artifacts[0].url).await.bytes().await.unwrap(),
        film
    );
    assert_eq!(api.stored_files(), [format!("{}.mp4", job.id)]);
}

#[tokio::test]
async fn an_empty_file_can_be_stored() {
    let api = Api::start().await;
    api.submit().await;
    let worker = api.worker();
    let claim = worker.claim().await;
    worker
        .succeed(&claim, &[("video.mp4", b"f"), ("log.txt", b"")])
        .await;
    let job = api.job(claim.job).await;
    let log = api.get(&job.artifacts[1].url).await;
    assert_eq!(log.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(log.bytes().await.unwrap().len(), 0);
}

#[tokio::test]
async fn the_first_attempt_has_the_plain_key_and_a_later_one_its_number() {
    let api = Api::start().await;
    let job = api.submit().await;
    let worker = api.worker();
    let first = worker.claim_for(Duration::from_millis(50)).await;
    let files: &[(&str, &[u8])] = &[("video.mp4", b"one"), ("poster.png", b"still")];
    let grants = worker.grants(&first, files).await.grants;
    assert_eq!(grants[0].key, format!("manim_videos/{}.mp4", job.id));
    assert_eq!(grants[1].key, format!("manim_videos/{}.poster.png", job.id));
    eventually(|| async { (api.queue.reap(10).await.unwrap() == 1).then_some(()) }).await;
    let second = worker.claim().await;
    let grants = worker.grants(&second, files).await.grants;
    assert_eq!(grants[0].key, format!("manim_videos/{}.2.mp4", job.id));
    assert_eq!(
        grants[1].key,
        format!("manim_videos/{}.2.poster.png", job.id)
    );
    // Whoever lost the lease gets no leave any more.
    let late = worker
        .ask_leave(&Worker::upload_request(&first, files))
        .await;
    problem(late, 409, "lease-lost").await;
    worker.succeed(&second, files).await;
    assert_eq!(api.job(job.id).await.artifacts.len(), 2);
    let ended = worker
        .ask_leave(&Worker::upload_request(&second, files))
        .await;
    problem(ended, 409, "lease-lost").await;
}

#[tokio::test]
async fn a_still_is_shown_while_its_job_runs_and_is_gone_when_the_worker_drops_it() {
    let api = Api::start().await;
    let job = api.submit().await;
    let worker = api.worker();
    let claim = worker.claim().await;
    worker.store(&claim, &[(EARLY_POSTER, b"still")]).await;
    // Whatever else a worker says of it, its URL is of the API's making.
    let poster = json!({"width": 427, "height": 240, "epoch": 1, "url": "https://example.com/x"});
    let told = json!({"stage": "rendering", "frames_done": 9, "poster": poster});
    worker.tell(&claim, &[(EventKind::Progress, told)]).await;
    let shown = api.job(job.id).await.progress.poster.expect("a still");
    assert_eq!((shown.width, shown.height), (427, 240));
    let url = shown.url.expect("a URL");
    let still = api.get(&url).await;
    assert_eq!(still.status(), StatusCode::OK);
    assert_eq!(still.headers()["content-type"], "image/jpeg");
    assert_eq!(still.bytes().await.unwrap().as_ref(), b"still");

    // Nobody else drops it, and nothing else is dropped with it.
    let mut request = Worker::upload_request(&claim, &[]);
    let nothing = worker.ask_leave(&request).await;
    problem(nothing, 422, "invalid-params").await;
    request.discard = vec!["../x".into()];
    problem(worker.ask_leave(&request).await, 422, "invalid-params").await;
    request.discard = vec![EARLY_POSTER.into()];
    request.lease_token = manimq_shared::ids::LeaseToken::generate();
    problem(worker.ask_leave(&request).await, 409, "lease-lost").await;
    assert_eq!(api.get(&url).await.status(), StatusCode::OK);
    request.lease_token = claim.token.clone();
    worker.store(&claim, &[("poster.jpg", b"better")]).await;
    assert_eq!(worker.ask_leave(&request).await.status(), StatusCode::OK);
    assert_eq!(api.get(&url).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(api.stored_files(), [format!("{}.poster.jpg", job.id)]);
    // Twice is no error: the answer to the first may have been lost.
    assert_eq!(worker.ask_leave(&request).await.status(), StatusCode::OK);

    worker.succeed(&claim, &[("video.mp4", b"film")]).await;
    let ended = api.job(job.id).await;
    assert_eq!((ended.progress.poster, ended.artifacts.len()), (None, 1));
}

#[tokio::test]
async fn a_still_is_not_shown_of_a_job_that_is_canceled_or_runs_again() {
    let api = Api::start().await;
    let told = json!({"stage": "rendering", "poster": {"width": 4, "height": 2, "epoch": 1}});
    let events = [(EventKind::Progress, told)];
    let job = api.submit().await;
    let worker = api.worker();
    let claim = worker.claim().await;
    worker.tell(&claim, &events).await;
    assert!(api.job(job.id).await.progress.poster.is_some());
    let path = format!("/v1/jobs/{}/cancel", job.id);
    assert_eq!(api.post(&path, &json!({})).await.status(), 202);
    assert_eq!(api.job(job.id).await.progress.poster, None);
    worker.finish_canceled(&claim).await;
    assert_eq!(api.job(job.id).await.progress.poster, None);

    let job = api.submit().await;
    let claim = worker.claim().await;
    worker.tell(&claim, &events).await;
    let released = api.queue.release(claim.job, claim.epoch, "a test").await;
    released.unwrap();
    assert_eq!(api.job(job.id).await.progress.poster, None);
    let second = worker.claim().await;
    assert_eq!((second.job, second.epoch.0), (job.id, 2));
    assert_eq!(
        api.job(job.id).await.progress.poster,
        None,
        "of another attempt"
    );
}

#[tokio::test]
async fn leave_to_upload_needs_the_right_token() {
    let api = Api::start().await;
    api.submit().await;
    let claim = api.worker().claim().await;
    let mut request = Worker::upload_request(&claim, &[("video.mp4", b"film")]);
    request.lease_token = manimq_shared::ids::LeaseToken::generate();
    problem(api.worker().ask_leave(&request).await, 409, "lease-lost").await;
    request.lease_token = claim.token.clone();
    request.epoch.0 += 1;
    problem(api.worker().ask_leave(&request).await, 409, "lease-lost").await;
}

#[tokio::test]
async fn leave_is_a_path_unless_workers_have_an_address_of_their_own() {
    // Where only users get to: uploads do not go there.
    let outside = "--public-url=https://render.example.com";
    let inside = "--internal-url=http://inside:1234/base";
    for (flags, start) in [
        (vec![outside], "/storage/"),
        (vec![outside, inside], "http://inside:1234/base/storage/"),
    ] {
        let api = Setup::new().flags(&flags).start().await;
        api.submit().await;
        let worker = api.worker();
        let claim = worker.claim().await;
        let grant = worker
            .grants(&claim, &[("video.mp4", b"film")])
            .await
            .grants
            .remove(0);
        assert!(grant.url.starts_with(start), "{}", grant.url);
        // No host is under the signature.
        let path = &grant.url[grant.url.find("/storage/").unwrap()..];
        let stored = worker.put(path, "video/mp4", &b"film"[..]).await;
        assert_eq!(stored.status(), StatusCode::CREATED);
    }
}

#[tokio::test]
async fn leave_is_given_only_for_files_that_may_be_stored() {
    let api = Setup::new()
        .flags(&["--file-bytes-max=1000", "--job-bytes-max=1500"])
        .start()
        .await;
    api.submit().await;
    let claim = api.worker().claim().await;
    let sha = sha256(b"");
    let file = |name: &str, mime: &str, bytes: u64, sha: &str| json!({"name": name, "mime": mime, "bytes": bytes, "sha256": sha});
    let ok = file("video.mp4", "video/mp4", 10, &sha);
    for (files, pointer) in [
        (json!([]), "/files"),
        (json!(vec![ok.clone(); 17]), "/files"),
        (
            json!([file("../x.mp4", "video/mp4", 1, &sha)]),
            "/files/0/name",
        ),
        (
            json!([file("x.html", "text/html", 1, &sha)]),
            "/files/0/name",
        ),
        (
            json!([file("video.mp4", "text/html", 1, &sha)]),
            "/files/0/mime",
        ),
        (
            json!([file("video.mp4", "video/mp4", 1001, &sha)]),
            "/files/0/bytes",
        ),
        (
            json!([file("video.mp4", "video/mp4", 1, "ABC")]),
            "/files/0/sha256",
        ),
        (json!([ok, ok]), "/files/1/name"),
        (
            json!([ok, file("image.png", "image/png", 1, &sha)]),
            "/files",
        ),
        (
            json!([
                file("a.png", "image/png", 900, &sha),
                file("b.png", "image/png", 900, &sha)
            ]),
            "/files",
        ),
    ] {
        let body = json!({"job": claim.job, "epoch": claim.epoch, "lease_token": claim.token, "files": files});
        let refused = problem(
            api.post("/internal/v1/uploads", &body).await,
            422,
            "invalid-params",
        )
        .await;
        assert_eq!(refused.errors[0].pointer, pointer, "{refused:?}");
    }
}

#[tokio::test]
async fn an_upload_that_is_not_what_was_announced_leaves_nothing() {
    let api = Api::start().await;
    api.submit().await;
    let worker = api.worker();
    let claim = worker.claim().await;
    let url = worker
        .grants(&claim, &[("video.mp4", b"the film")])
        .await
        .grants
        .remove(0)
        .url;
    for (content, words) in [
        (&b"the fil"[..], "7 bytes arrived, 8 were announced"),
        (b"the film!", "9 bytes arrived, 8 were announced"),
        (b"The film", "SHA-256"),
        (b"", "0 bytes"),
    ] {
        let refused = problem(
            worker.put(&url, "video/mp4", content).await,
            422,
            "content-mismatch",
        )
        .await;
        assert!(refused.detail.contains(words), "{refused:?}");
        // The same without a length in front.
        let stream = futures_util::stream::iter([Ok::<_, std::io::Error>(content)]);
        let refused = worker
            .put(&url, "video/mp4", reqwest::Body::wrap_stream(stream))
            .await;
        problem(refused, 422, "content-mismatch").await;
    }
    problem(
        worker.put(&url, "text/html", &b"the film"[..]).await,
        415,
        "media-type",
    )
    .await;
    assert!(api.stored_files().is_empty(), "{:?}", api.stored_files());
    assert_eq!(
        worker
            .put(&url, "video/mp4", &b"the film"[..])
            .await
            .status(),
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn a_large_upload_that_is_wrong_or_cut_leaves_nothing_visible() {
    let api = Api::start().await;
    api.submit().await;
    let worker = api.worker();
    let claim = worker.claim().await;
    let film = vec![7u8; 9_000_000];
    let url = worker
        .grants(&claim, &[("video.mp4", &film)])
        .await
        .grants
        .remove(0)
        .url;
    let mut wrong = film.clone();
    wrong[8_999_999] = 8;
    problem(
        worker.put(&url, "video/mp4", wrong).await,
        422,
        "content-mismatch",
    )
    .await;
    assert!(api.stored_files().is_empty(), "{:?}", api.stored_files());
    // The sender dies in the middle.
    let head = format!(
        "PUT {url} HTTP/1.1\r\nhost: localhost\r\ncontent-type: video/mp4\r\ncontent-length: {}\r\n\r\n",
        film.len()
    );
    {
        use tokio::io::AsyncWriteExt as _;
        let address = api.base.trim_start_matches("http://");
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&film[..6_000_000]).await.unwrap();
        // A part of it has been written; nothing of that is under the film's name.
        let begun = eventually(|| async {
            let files = api.stored_files();
            (!files.is_empty()).then_some(files)
        })
        .await;
        assert!(begun.iter().all(|name| !name.contains(".mp4")), "{begun:?}");
    }
    eventually(|| async { api.stored_files().is_empty().then_some(()) }).await;
    assert_eq!(
        worker.put(&url, "video/mp4", film).await.status(),
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn a_repeated_upload_is_a_success_and_other_bytes_never_replace_a_file() {
    let api = Api::start().await;
    api.submit().await;
    let worker = api.worker();
    let claim = worker.claim().await;
    let url = worker
        .grants(&claim, &[("video.mp4", b"film 1")])
        .await
        .grants
        .remove(0)
        .url;
    assert_eq!(
        worker.put(&url, "video/mp4", &b"film 1"[..]).await.status(),
        StatusCode::CREATED
    );
    assert_eq!(
        worker.put(&url, "video/mp4", &b"film 1"[..]).await.status(),
        StatusCode::OK
    );
    let other = worker
        .grants(&claim, &[("video.mp4", b"film 2")])
        .await
        .grants
        .remove(0)
        .url;
    problem(
        worker.put(&other, "video/mp4", &b"film 2"[..]).await,
        409,
        "artifact-exists",
    )
    .await;
    let stored =
        std::fs::read(api.data_path(&format!("artifacts/manim_videos/{}.mp4", claim.job))).unwrap();
    assert_eq!(stored, b"film 1");
}

#[tokio::test]
async fn twenty_equal_uploads_at_once_all_succeed() {
    let api = Api::start().await;
    api.submit().await;
    let worker = api.worker();
    let claim = worker.claim().await;
    let film = vec![1u8; 5_000_000];
    let url = worker
        .grants(&claim, &[("video.mp4", &film)])
        .await
        .grants
        .remove(0)
        .url;
    let puts = (0..20).map(|_| worker.put(&url, "video/mp4", film.clone()));
    for response in futures_util::future::join_all(puts).await {
        assert!(response.status().is_success(), "{}", response.status());
    }
    assert_eq!(api.stored_files(), [format!("{}.mp4", claim.job)]);
}

#[tokio::test]
async fn a_changed_url_is_not_obeyed() {
    let api = Api::start().await;
    let done = api.finished_job(b"secret film").await;
    let job = api.submit().await;
    let worker = api.worker();
    let claim = worker.claim().await;
    assert_eq!(claim.job, job.id);
    let get = &done.artifacts[0].url;
    let put = worker
        .grants(&claim, &[("video.mp4", b"film")])
        .await
        .grants
        .remove(0)
        .url;
    let with = |url: &str, from: &str, to: &str| {
        assert!(url.contains(from), "{from}");
        url.replacen(from, to, 1)
    };
    let id = job.id.to_string();
    let other = done.id.to_string();
    let mut gets = vec![
        with(get, "name=Hello.mp4", "name=x.html"),
        with(get, &other, &id),
        with(get, ".mp4?", ".2.mp4?"),
        with(get, "&signature=", "&download=true&signature="),
        with(get, "expires=", "expires=9"),
        format!("{}0", &get[..get.len() - 1]),
        get[..get.len() - 1].to_owned(),
        put.clone(),
    ];
    gets.retain(|url| url != get);
    for url in gets {
        let response = api.get(&url).await;
        assert!(
            matches!(response.status().as_u16(), 400 | 403),
            "{url}: {}",
            response.status()
        );
    }
    for url in [
        with(&put, &id, &other),
        with(&put, ".mp4?", ".2.mp4?"),
        with(&put, ".mp4?", ".poster.png?"),
        with(&put, "bytes=4", "bytes=5"),
        with(&put, &sha256(b"film"), &sha256(b"fil2")),
        with(&put, "expires=", "expires=9"),
        get.clone(),
    ] {
        let mime = if url.contains("png") {
            "image/png"
        } else {
            "video/mp4"
        };
        let response = worker.put(&url, mime, &b"film"[..]).await;
        assert!(
            matches!(response.status().as_u16(), 400 | 403),
            "{url}: {}",
            response.status()
        );
    }
    for url in [get, &put] {
        let bare = url.split('?').next().unwrap();
        problem(api.get(bare).await, 400, "malformed").await;
    }
    assert_eq!(api.stored_files(), [format!("{}.mp4", done.id)]);
}

#[tokio::test]
async fn an_expired_url_is_refused_and_says_so() {
    let api = Api::start().await;
    let job = api.finished_job(b"film").await;
    let key: ArtifactKey = format!("manim_videos/{}.mp4", job.id).parse().unwrap();
    let get = |expires_s| {
        signer(&api).get_path(&GetTerms {
            key: key.clone(),
            expires_s,
            file_name: "a.mp4".into(),
            download: true,
        })
    };
    let good = api.get(&get(now_s() + 60)).await;
    assert!(
        good.headers()["content-disposition"]
            .to_str()
            .unwrap()
            .starts_with("attachment")
    );
    problem(api.get(&get(now_s())).await, 403, "url-expired").await;
    let put = signer(&api).put_path(&PutTerms {
        key,
        expires_s: now_s() - 1,
        bytes: 4,
        sha256: sha256(b"film"),
    });
    let refused = api
        .worker()
        .put(&api.url(&put), "video/mp4", &b"film"[..])
        .await;
    problem(refused, 403, "url-expired").await;
}

#[tokio::test]
async fn no_path_leads_out_of_the_store() {
    let api = Api::start().await;
    let job = api.finished_job(b"film").await;
    let query = "expires=99999999999&name=x&signature=00";
    for path in [
        "/storage/../storage.key",
        "/storage/manim_videos/../../storage.key",
        "/storage/%2e%2e/%2e%2e/storage.key",
        "/storage/manim_videos%2f..%2f..%2fstorage.key",
        "/storage/..%5c..%5cstorage.key",
        "/storage//etc/passwd",
        "/storage/%00",
        "/storage/manim_videos/%ff",
        "/storage/incoming/x",
        "/storage/storage.key",
        "/storage/",
        "/../../etc/passwd",
    ] {
        for method in ["GET", "PUT", "HEAD"] {
            let request = format!(
                "{method} {path}?{query} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            let answer = raw(&api, request.as_bytes()).await;
            let status = answer.split(' ').nth(1).unwrap();
            assert!(
                matches!(status, "400" | "403" | "404" | "405"),
                "{method} {path}: {answer}"
            );
            assert!(!answer.contains("root:"), "{answer}");
        }
    }
    assert_eq!(api.stored_files(), [format!("{}.mp4", job.id)]);
}

#[tokio::test]
async fn a_worker_cannot_publish_another_jobs_file() {
    let api = Api::start().await;
    let victim = api.finished_job(b"private").await;
    let job = api.submit().await;
    let worker = api.worker();
    let claim = worker.claim().await;
    let mut artifacts = worker.store(&claim, &[("video.mp4", b"own")]).await;
    artifacts[0].key = format!("manim_videos/{}.mp4", victim.id);
    let result = JobResult {
        artifacts,
        ..JobResult::default()
    };
    api.queue
        .finish(claim.job, claim.epoch, &result)
        .await
        .unwrap();
    let seen = api.job(job.id).await;
    assert!(
        seen.artifacts.is_empty() && seen.result_url.is_none(),
        "{seen:?}"
    );
    problem(
        api.get(&format!("/v1/jobs/{}/artifacts/video.mp4", job.id))
            .await,
        404,
        "not-found",
    )
    .await;
}

#[tokio::test]
async fn urls_work_after_a_restart_and_the_secret_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut api = Api::start().await;
    let job = api.finished_job(b"film").await;
    let key = api.data_path("storage.key");
    assert_eq!(
        std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let before = std::fs::read(&key).unwrap();
    api.stop().await;
    let mut setup = Setup::new();
    setup.data_dir = Some(api.data.path().to_owned());
    let again = setup.start().await;
    assert_eq!(std::fs::read(&key).unwrap(), before);
    let url = job.artifacts[0].url.replace(&api.base, &again.base);
    assert_eq!(again.get(&url).await.bytes().await.unwrap(), &b"film"[..]);
}
