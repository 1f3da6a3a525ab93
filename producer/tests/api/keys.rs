//! Keys: who comes in, who does not, and how soon a key that has ended is one no more.

use std::time::{Duration, Instant};

use manimq_shared::queue::{KeyMade, NewKey, Quotas, Scope, Scopes};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::operation::serve;
use crate::support::{Api, SCENE, SOON, Setup, eventually, problem, raw, scene_body};

/// Makes a tenant, if it is not there, and a key for it.
pub async fn key(api: &Api, tenant: &str, scopes: Scopes) -> String {
    key_for(api, tenant, scopes, None).await
}

async fn key_for(api: &Api, tenant: &str, scopes: Scopes, life: Option<Duration>) -> String {
    let tenant = tenant.parse().unwrap();
    api.queue.create_account(&tenant, "").await.unwrap();
    let new = NewKey {
        tenant,
        name: "test".into(),
        scopes,
        life,
    };
    match api.queue.create_key(&new).await.unwrap() {
        KeyMade::Made(key) => key.expose(),
        other => panic!("{other:?}"),
    }
}

/// The id in a key.
pub fn id_of(key: &str) -> manimq_shared::queue::KeyId {
    key[4..20].parse().unwrap()
}

pub fn with(request: RequestBuilder, key: &str) -> RequestBuilder {
    request.header("authorization", format!("Bearer {key}"))
}

pub async fn get(api: &Api, path: &str, key: &str) -> Response {
    with(api.request(Method::GET, path), key)
        .send()
        .await
        .unwrap()
}

pub async fn post(api: &Api, path: &str, key: &str, body: &Value) -> Response {
    let request = with(api.request(Method::POST, path), key).json(body);
    request.send().await.unwrap()
}

async fn submit(api: &Api, key: &str) -> Response {
    post(api, "/v1/jobs", key, &scene_body(SCENE)).await
}

const NO_JOB: &str = "/v1/jobs/job_00000000000000000000000000000000";

#[tokio::test]
async fn the_door_closes_with_the_first_key_and_stays_closed() {
    let api = Api::start().await;
    api.submit().await;
    let key = key(&api, "acme", Scopes::USUAL).await;
    eventually(|| async {
        let status = api.get(NO_JOB).await.status();
        (status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    assert_eq!(submit(&api, &key).await.status(), StatusCode::ACCEPTED);
    api.queue.revoke_key(id_of(&key)).await.unwrap();
    eventually(|| async {
        let status = get(&api, NO_JOB, &key).await.status();
        (status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    problem(api.get(NO_JOB).await, 401, "unauthenticated").await;
}

#[tokio::test]
async fn only_the_whole_key_in_the_one_header_opens_and_all_else_gets_one_answer() {
    let api = Api::start().await;
    let key = key(&api, "acme", Scopes::USUAL).await;
    assert_eq!(
        get(&api, NO_JOB, &key).await.status(),
        StatusCode::NOT_FOUND
    );
    let (id, secret) = (&key[4..20], &key[21..]);
    let other_secret = format!("mqk_{id}_{}", "0".repeat(48));
    let other_id = format!("mqk_{}_{secret}", "0".repeat(16));
    let almost = format!(
        "{}{}",
        &key[..68],
        if key.ends_with('0') { '1' } else { '0' }
    );
    let mut details = Vec::new();
    for wrong in [
        other_secret.as_str(),
        &other_id,
        &almost,
        "mqk_",
        id,
        secret,
        &key.to_uppercase(),
        &format!("{key}0"),
        &format!("{key} {key}"),
        &format!("{key},{key}"),
        &format!("Bearer {key}"),
    ] {
        let refused = problem(get(&api, NO_JOB, wrong).await, 401, "unauthenticated").await;
        assert!(!refused.detail.contains(secret), "{refused:?}");
        details.push(refused.detail);
    }
    assert!(
        details.iter().all(|detail| *detail == details[0]),
        "{details:?}"
    );

    for (name, value) in [
        ("authorization", format!("Basic {key}")),
        ("authorization", format!("Token {key}")),
        ("authorization", key.clone()),
        ("authorization", format!("Bearer{key}")),
        ("authorization", "x".repeat(10_000)),
        ("authorization", format!("Bearer {}", "x".repeat(10_000))),
        ("x-api-key", key.clone()),
        ("cookie", format!("authorization=Bearer {key}")),
        ("proxy-authorization", format!("Bearer {key}")),
    ] {
        let request = api.request(Method::GET, NO_JOB).header(name, value);
        problem(request.send().await.unwrap(), 401, "unauthenticated").await;
    }
    for name in ["key", "api_key", "access_token", "token", "authorization"] {
        let path = format!("{NO_JOB}?{name}={key}");
        problem(api.get(&path).await, 401, "unauthenticated").await;
    }
    // Who stands before us may have looked at the first or at the second.
    for (first, second) in [
        (key.as_str(), &*almost),
        (&*almost, key.as_str()),
        (&*key, &*key),
    ] {
        let request = with(with(api.request(Method::GET, NO_JOB), first), second);
        let refused = problem(request.send().await.unwrap(), 401, "unauthenticated").await;
        assert!(refused.detail.contains("not several"), "{refused:?}");
    }
    let smuggled = format!(
        "GET {NO_JOB} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {almost}\r\n authorization: Bearer {key}\r\nconnection: close\r\n\r\n"
    );
    let answer = raw(&api, smuggled.as_bytes()).await;
    assert!(!answer.contains(" 404 "), "{answer}");
    let huge = format!(
        "GET {NO_JOB} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
        "x".repeat(200_000)
    );
    let answer = raw(&api, huge.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_key_that_has_ended_is_refused_within_seconds_and_its_holder_is_told_why() {
    let api = Api::start().await;
    let brief = key_for(&api, "acme", Scopes::USUAL, Some(Duration::from_secs(2))).await;
    let revoked = key(&api, "acme", Scopes::USUAL).await;
    let kept = key(&api, "acme", Scopes::USUAL).await;
    for key in [&brief, &revoked, &kept] {
        assert_eq!(get(&api, NO_JOB, key).await.status(), StatusCode::NOT_FOUND);
    }
    api.queue.revoke_key(id_of(&revoked)).await.unwrap();
    let start = Instant::now();
    for (key, word) in [(&brief, "expired"), (&revoked, "revoked")] {
        eventually(|| async {
            let response = get(&api, NO_JOB, key).await;
            if response.status() == StatusCode::NOT_FOUND {
                return None;
            }
            let refused = problem(response, 401, "unauthenticated").await;
            assert!(refused.detail.contains(word), "{refused:?}");
            Some(())
        })
        .await;
    }
    // Documented: 3 s.
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert_eq!(
        get(&api, NO_JOB, &kept).await.status(),
        StatusCode::NOT_FOUND
    );
    // Who has not the secret learns nothing of that.
    let guess = format!("{}{}", &revoked[..21], "0".repeat(48));
    let refused = problem(get(&api, NO_JOB, &guess).await, 401, "unauthenticated").await;
    assert!(refused.detail.contains("not known"), "{refused:?}");
}

#[tokio::test]
async fn open_streams_and_waits_end_when_their_key_does() {
    let api = Api::start().await;
    let key = key(&api, "acme", Scopes::USUAL).await;
    let job: Value = submit(&api, &key).await.json().await.unwrap();
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let stream = get(&api, &format!("{path}/events"), &key).await;
    assert_eq!(stream.status(), StatusCode::OK);
    let waiting = {
        let request = with(api.request(Method::GET, &format!("{path}?wait=6")), &key);
        tokio::spawn(async move { request.send().await.unwrap() })
    };
    api.queue.revoke_key(id_of(&key)).await.unwrap();
    let ended = tokio::time::timeout(SOON, stream.text()).await;
    let text = ended.expect("the stream ends").unwrap();
    assert!(
        text.contains("event: status") && !text.contains("event: done"),
        "{text}"
    );
    problem(waiting.await.unwrap(), 401, "unauthenticated").await;
    let cut_off = r#"manimq_sse_cut_off_total{reason="key"}"#;
    assert_eq!(api.gauge(cut_off).await, 1.0);
}

#[tokio::test]
async fn a_disabled_tenant_is_refused_by_name_and_its_jobs_wait_for_it() {
    let api = Api::start().await;
    let (acme, beta) = (
        key(&api, "acme", Scopes::ALL).await,
        key(&api, "beta", Scopes::USUAL).await,
    );
    assert_eq!(submit(&api, &acme).await.status(), StatusCode::ACCEPTED);
    let tenant = "acme".parse().unwrap();
    api.queue.disable_account(&tenant).await.unwrap();
    eventually(|| async {
        let response = get(&api, NO_JOB, &acme).await;
        if response.status() == StatusCode::NOT_FOUND {
            return None;
        }
        problem(response, 403, "tenant-disabled").await;
        Some(())
    })
    .await;
    problem(submit(&api, &acme).await, 403, "tenant-disabled").await;
    problem(
        get(&api, "/v1/admin/queue", &acme).await,
        403,
        "tenant-disabled",
    )
    .await;
    assert_eq!(submit(&api, &beta).await.status(), StatusCode::ACCEPTED);
    let worker = api.worker();
    let claimed = worker.claim().await;
    let record = api.queue.read(claimed.job).await.unwrap().unwrap();
    assert_eq!(record.tenant.as_str(), "beta");
    let none = api
        .queue
        .claim(&worker.info, 1, manimq_shared::queue::LEASE)
        .await;
    assert!(none.unwrap().claims.is_empty(), "its job waits");
    api.queue.enable_account(&tenant).await.unwrap();
    eventually(|| async {
        let status = get(&api, NO_JOB, &acme).await.status();
        (status == StatusCode::NOT_FOUND).then_some(())
    })
    .await;
    let claim = worker.claim().await;
    let record = api.queue.read(claim.job).await.unwrap().unwrap();
    assert_eq!(record.tenant, tenant);
}

#[tokio::test]
async fn a_key_does_only_what_its_scopes_name() {
    let api = Api::start().await;
    let render = key(&api, "acme", Scopes::of(&[Scope::Render])).await;
    let admin = key(&api, "acme", Scopes::of(&[Scope::Admin])).await;
    let both = key(&api, "acme", Scopes::USUAL).await;
    let response = submit(&api, &render).await;
    let challenge = response.headers()["www-authenticate"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(challenge.contains("insufficient_scope") && challenge.contains("scope=\"code\""));
    let refused = problem(response, 403, "capability-missing").await;
    assert!(refused.detail.contains("code"), "{refused:?}");
    let job: Value = submit(&api, &both).await.json().await.unwrap();
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    assert_eq!(get(&api, &path, &render).await.status(), StatusCode::OK);
    problem(get(&api, &path, &admin).await, 403, "capability-missing").await;
    problem(submit(&api, &admin).await, 403, "capability-missing").await;
    for key in [&render, &both] {
        problem(
            get(&api, "/v1/admin/queue", key).await,
            403,
            "capability-missing",
        )
        .await;
    }
    assert_eq!(
        get(&api, "/v1/admin/queue", &admin).await.status(),
        StatusCode::OK
    );

    // What a tenant may not do at all, no scope allows.
    let quotas = Quotas {
        code: Some(false),
        ..Quotas::default()
    };
    api.queue
        .set_quotas(&"acme".parse().unwrap(), &quotas)
        .await
        .unwrap();
    problem(submit(&api, &both).await, 403, "not-allowed").await;
}

/// How often Redis was asked so.
async fn asked(api: &Api, command: &str) -> u64 {
    let line = format!("manimq_redis_command_duration_seconds_count{{command=\"{command}\"}} ");
    let scrape = api.client.get(format!("{}/metrics", api.metrics));
    let text = scrape.send().await.unwrap().text().await.unwrap();
    let count = text
        .lines()
        .find_map(|found| found.strip_prefix(line.as_str()));
    count.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn a_flood_of_keys_does_not_become_a_flood_at_redis() {
    let api = Setup::new().flags(&["--rate-per-key=0"]).start().await;
    let key = key(&api, "acme", Scopes::USUAL).await;
    let start = Instant::now();
    let many = (0..300).map(|_| get(&api, NO_JOB, &key));
    for response in futures_util::future::join_all(many).await {
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }
    let looks = asked(&api, "key_read").await;
    let most = 1 + start.elapsed().as_secs() / 3;
    assert!((1..=most).contains(&looks), "{looks} looks at one key");

    let unknown = |n: usize| format!("mqk_{n:016x}_{}", "0".repeat(48));
    let start = Instant::now();
    let (mut refused, mut limited) = (0, 0);
    let mut last = None;
    for n in 0..500 {
        let response = get(&api, NO_JOB, &unknown(n)).await;
        match response.status() {
            StatusCode::UNAUTHORIZED => refused += 1,
            StatusCode::TOO_MANY_REQUESTS => {
                limited += 1;
                last = Some(response);
            }
            other => panic!("{other}"),
        }
    }
    assert!(
        refused >= 45 && limited > 0,
        "{refused} refused, {limited} limited"
    );
    let asked = asked(&api, "key_read").await - looks;
    // Fifty at once, five a second.
    let most = 55 + 6 * start.elapsed().as_secs();
    assert!(asked <= most, "Redis was asked {asked} times");
    let last = problem(last.expect("some were limited"), 429, "rate-limited").await;
    assert_eq!(last.violated_policies, ["unknown-keys"]);
    // From the same address, and even after what is known of it has grown old.
    tokio::time::sleep(Duration::from_millis(3100)).await;
    assert_eq!(
        get(&api, NO_JOB, &key).await.status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn each_key_has_a_rate_of_its_own_and_is_told_what_is_left() {
    let api = Setup::new().flags(&["--rate-per-key=1"]).start().await;
    let (one, two) = (
        key(&api, "acme", Scopes::USUAL).await,
        key(&api, "acme", Scopes::USUAL).await,
    );
    let first = get(&api, NO_JOB, &one).await;
    assert_eq!(first.headers()["ratelimit-policy"], "\"key\";q=5;w=5");
    assert_eq!(first.headers()["ratelimit"], "\"key\";r=4;t=1");
    let mut refused = None;
    for _ in 0..30 {
        let response = get(&api, NO_JOB, &one).await;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            assert!(
                response.headers()["ratelimit"]
                    .to_str()
                    .unwrap()
                    .contains("r=0")
            );
            refused = Some(problem(response, 429, "rate-limited").await);
            break;
        }
    }
    assert_eq!(refused.expect("a limit").violated_policies, ["key"]);
    assert_eq!(
        get(&api, NO_JOB, &two).await.status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn the_static_key_is_the_default_tenant_and_an_operator() {
    let secret = "k3y-0123456789abcdef";
    let api = Setup::new()
        .flags(&[&format!("--api-key={secret}")])
        .start()
        .await;
    let job: Value = submit(&api, secret).await.json().await.unwrap();
    assert_eq!(job["tenant"], "default");
    assert_eq!(
        get(&api, "/v1/admin/queue", secret).await.status(),
        StatusCode::OK
    );
    let made = post(
        &api,
        "/v1/admin/tenants",
        secret,
        &json!({"tenant": "default"}),
    )
    .await;
    assert_eq!(made.status(), StatusCode::CREATED);
    // It can be disabled like any other, and enabled again by the same key.
    let path = "/v1/admin/tenants/default";
    post(&api, &format!("{path}/disable"), secret, &json!({})).await;
    eventually(|| async {
        let response = get(&api, NO_JOB, secret).await;
        if response.status() == StatusCode::NOT_FOUND {
            return None;
        }
        problem(response, 403, "tenant-disabled").await;
        Some(())
    })
    .await;
    let enabled = post(&api, &format!("{path}/enable"), secret, &json!({})).await;
    assert_eq!(enabled.status(), StatusCode::OK);
    eventually(|| async {
        let status = get(&api, NO_JOB, secret).await.status();
        (status == StatusCode::NOT_FOUND).then_some(())
    })
    .await;
    // Keys of tenants work beside it.
    let key = key(&api, "acme", Scopes::USUAL).await;
    assert_eq!(submit(&api, &key).await.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing_where_no_key_is_needed() {
    let api = Setup::new()
        .flags(&[
            "--public-url=https://render.example.com",
            "--cors-origins=https://app.example.com",
        ])
        .start()
        .await;
    let sent = async |origin: &str| {
        let path = format!("{NO_JOB}/cancel");
        let request = api.request(Method::POST, &path).header("origin", origin);
        request.send().await.unwrap()
    };
    let own = api.base.clone();
    for ours in [
        own.as_str(),
        "https://render.example.com",
        "https://app.example.com",
    ] {
        problem(sent(ours).await, 404, "not-found").await;
    }
    for other in [
        "https://evil.example",
        "null",
        "http://127.0.0.1:1",
        "",
        "file://",
    ] {
        problem(sent(other).await, 403, "host-not-allowed").await;
    }
}

#[tokio::test]
async fn others_reach_the_api_only_if_somebody_has_a_key() {
    let api = Api::start().await;
    let data = format!("--data-dir={}", api.data.path().display());
    let redis = format!("--redis-url={}", api.redis.url());
    let flags = |more: &[&str]| -> Vec<String> {
        let usual = [data.as_str(), &redis, "--public-url=http://render.example"];
        usual
            .iter()
            .chain(more)
            .map(|&flag| flag.to_owned())
            .collect()
    };
    let refused = |more: &[&str]| {
        let output = serve(&flags(more)).output().unwrap();
        assert!(!output.status.success(), "{more:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let text = refused(&["--listen=0.0.0.0:0"]);
    for words in [
        "manimq admin tenants create",
        "manimq admin keys create",
        "MANIMQ_API_KEY",
    ] {
        assert!(text.contains(words), "{text}");
    }
    let key = key(&api, "acme", Scopes::USUAL).await;
    let text = refused(&[&format!("--api-key={key}")]);
    assert!(text.contains("would make its holder an operator"), "{text}");
    assert!(!text.contains(&key[21..]), "{text}");

    let announced = api.data_path("announced");
    let mut server = serve(&flags(&[
        "--listen=0.0.0.0:0",
        "--metrics-listen=127.0.0.1:0",
        &format!("--announce={}", announced.display()),
    ]))
    .spawn()
    .unwrap();
    let text = eventually(|| async { std::fs::read_to_string(&announced).ok() }).await;
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(text.contains("0.0.0.0"), "{text}");
    // A key that has ended opens no door.
    api.queue.revoke_key(id_of(&key)).await.unwrap();
    assert!(refused(&["--listen=0.0.0.0:0"]).contains("nobody has a key"));
}

#[tokio::test]
async fn no_key_is_ever_written_to_the_log() {
    let api = Api::start().await;
    let key = key(&api, "acme", Scopes::ALL).await;
    let announced = api.data_path("announced");
    let log = std::fs::File::create(api.data_path("log")).unwrap();
    let static_key = "k3y-0123456789abcdef";
    let mut server = serve(&[
        format!("--data-dir={}", api.data.path().display()),
        format!("--redis-url={}", api.redis.url()),
        format!("--api-key={static_key}"),
        "--listen=127.0.0.1:0".into(),
        "--metrics-listen=127.0.0.1:0".into(),
        format!("--announce={}", announced.display()),
    ])
    .env("MANIMQ_LOG", "trace")
    .stdout(log.try_clone().unwrap())
    .stderr(log)
    .spawn()
    .unwrap();
    let text = eventually(|| async { std::fs::read_to_string(&announced).ok() }).await;
    let base: Value = serde_json::from_str(&text).unwrap();
    let base = base["api"].as_str().unwrap();
    let send = async |method: Method, path: &str, key: &str| {
        let request = api.client.request(method, format!("{base}{path}"));
        with(request, key).json(&json!({})).send().await.unwrap()
    };
    let wrong = format!("{}{}", &key[..21], "12345678".repeat(6));
    let mut secrets = vec![
        key[21..].to_owned(),
        static_key.to_owned(),
        wrong[21..].to_owned(),
    ];
    for given in [key.as_str(), static_key, &wrong, &format!("{key}x")] {
        send(Method::GET, NO_JOB, given).await;
        send(Method::GET, &format!("{NO_JOB}?key={given}"), given).await;
        send(Method::POST, "/v1/admin/pause", given).await;
    }
    let body = json!({"tenant": "acme"});
    let request = api.client.post(format!("{base}/v1/admin/keys"));
    let made: Value = with(request, &key)
        .json(&body)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let new = made["key"].as_str().unwrap();
    secrets.push(new[21..].to_owned());
    send(Method::GET, NO_JOB, new).await;
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    server.wait().unwrap();
    let log = std::fs::read_to_string(api.data_path("log")).unwrap();
    assert!(
        log.contains("made key") && log.contains("/v1/admin/pause"),
        "{log}"
    );
    for secret in secrets {
        assert!(!log.contains(&secret), "a secret is in the log");
    }
}
