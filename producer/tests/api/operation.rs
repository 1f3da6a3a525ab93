//! Probes, metrics, request ids, errors without a handler, keys, limits, start and stop.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use manimq_shared::api::{Health, Ready};
use manimq_shared::queue::LEASE;
use manimq_shared::testing::RedisServer;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Api, SCENE, SOON, Setup, eventually, problem, raw, scene_body};

#[tokio::test]
async fn ready_means_that_a_job_would_run() {
    let mut api = Api::start().await;
    let health: Health = api.get("/healthz").await.json().await.unwrap();
    assert_eq!(health.status, "ok");
    let why = |words: &'static str| {
        let api = &api;
        async move {
            eventually(|| async {
                let response = api.get("/readyz").await;
                if response.status() == StatusCode::OK {
                    return None;
                }
                let detail = problem(response, 503, "not-ready").await.detail;
                detail.contains(words).then_some(())
            })
            .await;
        }
    };
    why("there is no worker").await;
    let mut worker = api.worker();
    worker.info.slots_ready = 0;
    worker.show_up().await;
    why("their sandboxes are starting").await;
    worker.info.trouble = Some("bwrap is missing".into());
    worker.show_up().await;
    why("bwrap is missing").await;
    worker.info.slots_ready = 1;
    worker.info.draining = true;
    worker.show_up().await;
    why("draining").await;
    worker.info.draining = false;
    worker.show_up().await;
    let ready: Ready = eventually(|| async {
        let response = api.get("/readyz").await;
        if response.status() != StatusCode::OK {
            return None;
        }
        response.json().await.ok()
    })
    .await;
    assert_eq!(
        (ready.workers, ready.slots_ready, ready.slots_busy),
        (1, 1, 0)
    );

    std::fs::remove_dir_all(api.data_path("artifacts/incoming")).unwrap();
    why("no file can be stored").await;
    std::fs::create_dir(api.data_path("artifacts/incoming")).unwrap();
    api.redis.kill();
    eventually(|| async {
        let response = api.get("/readyz").await;
        let refused = problem(response, 503, "not-ready").await;
        refused
            .detail
            .contains("Redis does not answer")
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_redis_the_answer_is_503_and_it_recovers_by_itself() {
    let mut setup = Setup::new();
    setup.durable = true;
    let mut api = setup.start().await;
    let job = api.submit().await;
    api.redis.kill();
    for (method, path) in [
        (Method::GET, format!("/v1/jobs/{}", job.id)),
        (Method::GET, format!("/v1/jobs/{}/events", job.id)),
        (Method::POST, format!("/v1/jobs/{}/cancel", job.id)),
    ] {
        let response = api.request(method, &path).send().await.unwrap();
        problem(response, 503, "queue-unavailable").await;
    }
    let start = Instant::now();
    let refused = problem(
        api.post("/v1/jobs", &scene_body(SCENE)).await,
        503,
        "queue-unavailable",
    )
    .await;
    assert!(refused.detail.contains("Idempotency-Key"), "{refused:?}");
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert_eq!(api.get("/healthz").await.status(), StatusCode::OK);
    api.redis.restart();
    eventually(|| async {
        (api.get(&format!("/v1/jobs/{}", job.id)).await.status() == StatusCode::OK).then_some(())
    })
    .await;
    api.submit().await;
}

#[tokio::test]
async fn a_redis_that_is_full_takes_no_jobs_and_ends_those_it_has() {
    let api = Api::start().await;
    let job = api.submit().await;
    let worker = api.worker();
    let claim = worker.claim().await;
    let () = api
        .queue
        .query(redis::cmd("CONFIG").arg(&["SET", "maxmemory", "1"]))
        .await
        .unwrap();
    let refused = api.post("/v1/jobs", &scene_body(SCENE)).await;
    let refused = problem(refused, 503, "temporary-reduced-capacity").await;
    assert!(refused.detail.contains("no memory left"), "{refused:?}");
    worker.succeed(&claim, &[("video.mp4", b"film")]).await;
    assert!(api.job(job.id).await.result_url.is_some());
}

#[tokio::test]
async fn a_redis_that_hangs_is_given_up_in_bounded_time() {
    let api = Api::start().await;
    let job = api.submit().await;
    let info: String = api
        .queue
        .query(redis::cmd("INFO").arg("server"))
        .await
        .unwrap();
    let pid = info
        .lines()
        .find_map(|line| line.strip_prefix("process_id:"))
        .unwrap();
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, pid]).status().unwrap();
        assert!(sent.success());
    };
    signal("-STOP");
    let start = Instant::now();
    let refused = api.get(&format!("/v1/jobs/{}", job.id)).await;
    signal("-CONT");
    problem(refused, 503, "queue-unavailable").await;
    assert!(
        start.elapsed() < Duration::from_secs(14),
        "{:?}",
        start.elapsed()
    );
    eventually(|| async {
        (api.get(&format!("/v1/jobs/{}", job.id)).await.status() == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_refusal_is_a_problem_with_its_request_id() {
    let api = Api::start().await;
    problem(api.get("/v1/nothing").await, 404, "not-found").await;
    problem(api.get("/v1/jobs/").await, 404, "not-found").await;
    for (method, path, allowed) in [
        (Method::DELETE, "/v1/jobs", "POST,GET,HEAD"),
        (Method::PUT, "/healthz", "GET,HEAD"),
        (Method::GET, "/internal/v1/uploads", "POST"),
    ] {
        let response = api.request(method, path).send().await.unwrap();
        assert_eq!(response.headers()["allow"], allowed);
        problem(response, 405, "method-not-allowed").await;
    }
    let strange = api
        .request(Method::from_bytes(b"BREW").unwrap(), "/v1/jobs")
        .send()
        .await
        .unwrap();
    problem(strange, 405, "method-not-allowed").await;
}

#[tokio::test]
async fn a_safe_request_id_is_kept_and_another_is_replaced() {
    let api = Api::start().await;
    let sent = |id: &str| {
        let request = api
            .request(Method::GET, "/healthz")
            .header("x-request-id", id);
        async {
            request.send().await.unwrap().headers()["x-request-id"]
                .to_str()
                .unwrap()
                .to_owned()
        }
    };
    assert_eq!(sent("trace-1/2:3_4.5").await, "trace-1/2:3_4.5");
    for unsafe_id in ["", "a b", "a\tb", "<script>", &"x".repeat(200)] {
        assert!(sent(unsafe_id).await.starts_with("req_"), "{unsafe_id:?}");
    }
}

#[tokio::test]
async fn the_first_page_tells_where_to_go_and_runs_no_script() {
    let api = Api::start().await;
    let page = api.get("/").await;
    assert_eq!(page.status(), StatusCode::OK);
    assert!(
        page.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .starts_with("default-src 'none'")
    );
    let text = page.text().await.unwrap();
    for command in ["render", "prompt"] {
        // To be copied and run as it stands.
        let command = format!("manimq {command} --server {} -ql", api.base);
        assert!(text.contains(&command), "{command}: {text}");
    }
    assert!(
        text.contains("/openapi.json") && text.contains(&api.base) && !text.contains("<script")
    );
}

#[tokio::test]
async fn another_host_name_is_not_served_without_a_key() {
    let api = Setup::new()
        .flags(&["--public-url=https://render.example.com/"])
        .start()
        .await;
    let status = |host: &'static str| {
        let request = api.request(Method::GET, "/healthz").header("host", host);
        async { request.send().await.unwrap() }
    };
    for host in [
        "localhost:8080",
        "127.0.0.1",
        "[::1]:80",
        "LOCALHOST",
        "render.example.com",
        "192.168.1.7:8080",
    ] {
        assert_eq!(status(host).await.status(), StatusCode::OK, "{host}");
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "render.example.com.evil.example:80",
    ] {
        problem(status(host).await, 403, "host-not-allowed").await;
    }
    assert!(
        api.submit()
            .await
            .links
            .this
            .starts_with("https://render.example.com/v1/jobs/job_")
    );
}

#[tokio::test]
async fn with_a_key_only_its_holder_may_use_jobs() {
    let key = "k3y-0123456789abcdef";
    let api = Setup::new()
        .flags(&[&format!("--api-key={key}")])
        .start()
        .await;
    for header in [
        None,
        Some("Bearer wrong-0123456789"),
        Some("Basic abc"),
        Some("Bearer"),
        Some("k3y-0123456789abcdef"),
    ] {
        let mut request = api
            .request(Method::POST, "/v1/jobs")
            .json(&scene_body(SCENE));
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let response = request.send().await.unwrap();
        assert!(
            response.headers()["www-authenticate"]
                .to_str()
                .unwrap()
                .starts_with("Bearer")
        );
        let refused = problem(response, 401, "unauthenticated").await;
        assert!(!refused.detail.contains(key));
    }
    for scheme in ["Bearer", "bearer"] {
        let response = api
            .request(Method::POST, "/v1/jobs")
            .header("authorization", format!("{scheme} {key}"))
            .json(&scene_body(SCENE))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::ACCEPTED);
    }
    assert_eq!(api.get("/healthz").await.status(), StatusCode::OK);
    // A worker and a reader of a signed URL bring their own leave.
    let worker = api.worker();
    let claim = worker.claim().await;
    worker.succeed(&claim, &[("video.mp4", b"film")]).await;
}

#[tokio::test]
async fn one_address_that_asks_too_much_is_told_when_to_come_back() {
    let api = Setup::new().flags(&["--rate-per-address=1"]).start().await;
    let mut refused = None;
    for _ in 0..20 {
        let response = api.get("/openapi.json").await;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(problem(response, 429, "rate-limited").await);
            break;
        }
    }
    assert!(refused.is_some());
    assert_eq!(
        api.get("/healthz").await.status(),
        StatusCode::OK,
        "a probe is never refused"
    );
}

#[tokio::test]
async fn probes_and_scrapes_are_answered_soon_while_redis_hangs() {
    let api = Api::start().await;
    api.worker().show_up().await;
    assert_eq!(api.get("/readyz").await.status(), StatusCode::OK);
    let () = api
        .queue
        .query(redis::cmd("CLIENT").arg("PAUSE").arg(120_000).arg("ALL"))
        .await
        .unwrap();
    // What was seen before the pause may still be shown.
    eventually(|| async {
        let status = api.get("/readyz").await.status();
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    let start = Instant::now();
    let metrics = format!("{}/metrics", api.metrics);
    let (probes, scrapes) = tokio::join!(
        futures_util::future::join_all((0..50).map(|_| api.get("/readyz"))),
        futures_util::future::join_all((0..50).map(|_| api.client.get(&metrics).send())),
    );
    // One after the other, each with a time limit of its own, they would take minutes.
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    for probe in probes {
        let refused = problem(probe, 503, "not-ready").await;
        assert!(refused.detail.contains("Redis"), "{refused:?}");
    }
    for scrape in scrapes {
        let text = scrape.unwrap().text().await.unwrap();
        assert!(text.contains("manimq_queue_up 0"), "{text}");
    }
}

#[tokio::test]
async fn a_slow_head_is_cut() {
    let mut setup = Setup::new();
    setup.http.head_timeout = Duration::from_millis(300);
    let api = setup.start().await;
    let start = Instant::now();
    raw(
        &api,
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-slow: ",
    )
    .await;
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[tokio::test]
async fn connections_above_the_limit_wait_until_one_is_free() {
    let api = Setup::new().flags(&["--connections-max=1"]).start().await;
    let address = api.base.trim_start_matches("http://").to_owned();
    let first = tokio::net::TcpStream::connect(&address).await.unwrap();
    let request = api.request(Method::GET, "/healthz");
    api.until_gauge("manimq_http_connections", 1.0).await;
    let waiting = tokio::spawn(async { request.send().await.unwrap().status() });
    // Nothing tells that it waits; a slow machine could only hide that it does not.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    drop(first);
    assert_eq!(waiting.await.unwrap(), StatusCode::OK);
}

#[tokio::test]
async fn the_metrics_tell_what_happened() {
    let api = Api::start().await;
    let done = api.finished_job(b"film").await;
    api.get(&done.artifacts[0].url).await.bytes().await.unwrap();
    api.submit().await;
    api.get("/v1/jobs/nonsense").await;
    api.worker().show_up().await;
    let text = eventually(|| async {
        let text = api
            .client
            .get(format!("{}/metrics", api.metrics))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        text.contains("manimq_fleet_slots{state=\"idle\"} 2")
            .then_some(text)
    })
    .await;
    for line in [
        "manimq_build_info{program=\"manimq\",version=\"0.1.0\"} 1",
        "manimq_http_requests_total{code=\"2xx\",method=\"POST\",route=\"/v1/jobs\"} 2",
        "manimq_http_requests_total{code=\"4xx\",method=\"GET\",route=\"/v1/jobs/{id}\"} 1",
        "manimq_http_request_duration_seconds_count{code=\"2xx\",method=\"POST\",route=\"/v1/jobs\"} 2",
        "manimq_jobs_submitted_total{kind=\"code\",lane=\"normal\"} 2",
        "manimq_queue_jobs{lane=\"normal\",state=\"waiting\"} 1",
        "manimq_queue_jobs{lane=\"normal\",state=\"running\"} 0",
        "manimq_queue_up 1",
        "manimq_storage_operations_total{op=\"put\",result=\"ok\"} 1",
        "manimq_storage_operations_total{op=\"get\",result=\"ok\"} 1",
        "manimq_storage_bytes_total{direction=\"in\"} 4",
        "manimq_storage_bytes_total{direction=\"out\"} 4",
        "manimq_sse_connections 0",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    assert!(!text.contains(&done.id.to_string()), "ids are no labels");
    problem_free(&api).await;
}

/// The API's own port has no metrics.
async fn problem_free(api: &Api) {
    problem(api.get("/metrics").await, 404, "not-found").await;
}

pub fn serve(flags: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_manimq"));
    command
        .arg("serve")
        .args(flags)
        .env("MANIMQ_LISTEN", "127.0.0.1:0")
        .env("MANIMQ_METRICS_LISTEN", "127.0.0.1:0")
        .env_remove("REDIS_URL")
        .env_remove("MANIMQ_API_KEY")
        .env_remove("MANIMQ_LOG")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

#[test]
fn a_start_that_cannot_work_says_what_to_do() {
    let data = tempfile::tempdir().unwrap();
    let data_dir = format!("--data-dir={}", data.path().display());
    let occupied = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let redis = RedisServer::start();
    let redis_url = format!("--redis-url={}", redis.url());
    let file = data.path().join("file");
    std::fs::write(&file, "").unwrap();
    for (flags, words) in [
        (
            vec![
                "--redis-url=redis://:hunter2@127.0.0.1:1/0".into(),
                "--redis-wait=0s".into(),
                data_dir.clone(),
            ],
            "REDIS_URL",
        ),
        (
            vec![
                "--listen=0.0.0.0:0".into(),
                "--public-url=http://render.example".into(),
                redis_url.clone(),
                data_dir.clone(),
            ],
            "MANIMQ_API_KEY",
        ),
        (
            vec![
                "--api-key=short".into(),
                redis_url.clone(),
                data_dir.clone(),
            ],
            "at least 16",
        ),
        (
            vec![
                format!("--listen={}", occupied.local_addr().unwrap()),
                redis_url.clone(),
                data_dir.clone(),
            ],
            "--listen",
        ),
        (
            vec![format!("--data-dir={}", file.display()), redis_url.clone()],
            "--data-dir",
        ),
        (
            vec![
                "--storage-secret=short".into(),
                redis_url.clone(),
                data_dir.clone(),
            ],
            "MANIMQ_STORAGE_SECRET",
        ),
    ] {
        let output = serve(&flags).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{flags:?}");
        assert!(text.contains(words), "{flags:?}: {text}");
        assert!(
            !text.contains("hunter2") && !text.contains("panicked"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_queue_whose_results_lie_elsewhere_is_refused() {
    let api = Api::start().await;
    let other = tempfile::tempdir().unwrap();
    let flags = |more: &[String]| {
        let mut flags = vec![format!("--redis-url={}", api.redis.url())];
        flags.extend_from_slice(more);
        flags
    };
    let here = format!("--data-dir={}", api.data.path().display());
    let there = format!("--data-dir={}", other.path().display());
    let output = serve(&flags(std::slice::from_ref(&there)))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    for words in [
        "results in another place than",
        "MANIMQ_STORAGE_SECRET",
        "--redis-prefix",
        "redis-cli DEL '{mq:0}:store'",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let secret = std::fs::read_to_string(api.data_path("storage.key")).unwrap();
    let noted: String = api
        .queue
        .query(redis::cmd("GET").arg(api.queue.keys().store()))
        .await
        .unwrap();
    assert!(!noted.contains(secret.trim()) && !text.contains(secret.trim()));

    // The same folder, the same secret, or another queue.
    for more in [
        vec![here],
        vec![there.clone(), format!("--storage-secret={}", secret.trim())],
        vec![there, "--redis-prefix=other".to_owned()],
    ] {
        let announce = other.path().join("addresses.json");
        let mut flags = flags(&more);
        flags.push(format!("--announce={}", announce.display()));
        let mut child = serve(&flags).spawn().unwrap();
        eventually(|| async { announce.exists().then_some(()) }).await;
        child.kill().unwrap();
        child.wait().unwrap();
        std::fs::remove_file(&announce).unwrap();
    }
}

#[tokio::test]
async fn the_program_announces_its_addresses_logs_no_secret_and_stops_on_a_signal() {
    let redis = RedisServer::start();
    let data = tempfile::tempdir().unwrap();
    let announce = data.path().join("addresses.json");
    let log = data.path().join("log");
    let mut child = serve(&[
        format!("--redis-url={}", redis.url()),
        format!("--data-dir={}", data.path().display()),
        format!("--announce={}", announce.display()),
        "--log-format=json".into(),
    ])
    .env("MANIMQ_LOG", "debug")
    .stderr(std::fs::File::create(&log).unwrap())
    .spawn()
    .unwrap();
    let addresses: Value =
        eventually(|| async { serde_json::from_slice(&std::fs::read(&announce).ok()?).ok() }).await;
    let api = addresses["api"].as_str().unwrap();
    assert!(
        addresses["metrics"]
            .as_str()
            .unwrap()
            .starts_with("http://127.0.0.1:")
    );
    let client = reqwest::Client::new();
    let accepted = client
        .post(format!("{api}/v1/jobs?token=in-the-query"))
        .json(&json!({"input": {"kind": "code", "source": format!("{SCENE}# very private\n")}}))
        .send()
        .await
        .unwrap();
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    let pid = child.id().to_string();
    let start = Instant::now();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap())
        .await
        .unwrap();
    assert!(status.success());
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(
        text.lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok()),
        "{text}"
    );
    assert!(
        text.contains("POST /v1/jobs") && text.contains("\"job.id\""),
        "{text}"
    );
    assert!(
        !text.contains("very private") && !text.contains("in-the-query"),
        "{text}"
    );
}

#[tokio::test]
async fn a_job_whose_lease_is_gone_is_found_by_the_api_and_that_is_counted() {
    let api = Api::start().await;
    let job = api.submit().await;
    let worker = api.worker();
    assert_eq!(worker.claim().await.job, job.id);
    let mut forget = redis::cmd("ZREM");
    forget.arg(format!("{}:lease", api.queue.keys_of(job.id).base()));
    let gone: i64 = api.queue.query(forget.arg(job.id.short())).await.unwrap();
    assert_eq!(gone, 1);
    let again = eventually(|| async {
        let claimed = api.queue.claim(&worker.info, 1, LEASE).await.unwrap();
        claimed.claims.into_iter().next()
    })
    .await;
    assert_eq!((again.job, again.epoch.0), (job.id, 2));
    api.until_gauge("manimq_queue_repairs_total", 1.0).await;
}
