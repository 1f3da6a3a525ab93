//! What stands between a browser or a proxy and the routes: CORS, compression, addresses.

use manimq_shared::queue::Scopes;
use reqwest::{Method, Response, StatusCode};
use serde_json::json;

use crate::keys::{get, key, post, with};
use crate::support::{Api, SCENE, Setup, problem, scene_body};

const APP: &str = "https://app.example.com";

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_read_answers_and_errors() {
    let api = Setup::new()
        .flags(&[
            &format!("--cors-origins={APP},http://localhost:5173"),
            "--rate-per-key=1",
        ])
        .start()
        .await;
    let key = key(&api, "acme", Scopes::USUAL).await;
    // Browsers ask without the key.
    let asked = api
        .request(Method::OPTIONS, "/v1/jobs")
        .header("origin", APP)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type,idempotency-key",
        )
        .send()
        .await
        .unwrap();
    assert_eq!(asked.status(), StatusCode::OK);
    assert_eq!(header(&asked, "access-control-allow-origin"), APP);
    assert!(header(&asked, "access-control-allow-methods").contains("DELETE"));
    for name in [
        "authorization",
        "content-type",
        "idempotency-key",
        "last-event-id",
    ] {
        assert!(
            header(&asked, "access-control-allow-headers").contains(name),
            "{name}"
        );
    }
    assert_eq!(header(&asked, "access-control-allow-credentials"), "");
    assert!(header(&asked, "vary").contains("origin"));

    let allowed = |response: &Response| {
        assert_eq!(header(response, "access-control-allow-origin"), APP);
        assert!(header(response, "vary").contains("origin"));
        let exposed = header(response, "access-control-expose-headers").to_owned();
        for name in [
            "location",
            "etag",
            "retry-after",
            "ratelimit",
            "ratelimit-policy",
            "x-request-id",
            "idempotency-replayed",
        ] {
            assert!(exposed.contains(name), "{name}: {exposed}");
        }
    };
    let send = async |method: Method, path: &str, key: Option<&str>, body: &str| {
        let mut request = api.request(method, path).header("origin", APP);
        if let Some(key) = key {
            request = with(request, key);
        }
        request.body(body.to_owned()).send().await.unwrap()
    };
    let response = send(Method::GET, "/v1/nothing", None, "").await;
    allowed(&response);
    problem(response, 404, "not-found").await;
    let response = send(Method::PUT, "/healthz", None, "").await;
    allowed(&response);
    assert_eq!(header(&response, "allow"), "GET,HEAD");
    problem(response, 405, "method-not-allowed").await;
    let response = send(Method::POST, "/v1/jobs", None, "{}").await;
    allowed(&response);
    problem(response, 401, "unauthenticated").await;
    let response = send(Method::POST, "/v1/jobs", Some(&key), "{}").await;
    allowed(&response);
    problem(response, 415, "media-type").await;
    loop {
        let response = send(Method::POST, "/v1/jobs", Some(&key), "{}").await;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            allowed(&response);
            problem(response, 429, "rate-limited").await;
            break;
        }
    }
}

#[tokio::test]
async fn a_page_of_any_other_origin_is_told_nothing() {
    let allowed = Setup::new()
        .flags(&[&format!("--cors-origins={APP}")])
        .start()
        .await;
    let nobody = Api::start().await;
    for (api, origin) in [
        (&allowed, "https://evil.example"),
        (&allowed, "https://app.example.com.evil.example"),
        (&allowed, "http://app.example.com"),
        (&allowed, "https://app.example.com:8443"),
        (&allowed, "https://APP.example.com"),
        (&allowed, "null"),
        (&nobody, APP),
    ] {
        for method in [Method::GET, Method::OPTIONS] {
            let response = api
                .request(method.clone(), "/openapi.json")
                .header("origin", origin)
                .header("access-control-request-method", "GET")
                .send()
                .await
                .unwrap();
            assert_eq!(
                header(&response, "access-control-allow-origin"),
                "",
                "{origin}"
            );
            if std::ptr::eq(api, &raw const nobody) {
                assert!(!header(&response, "vary").contains("origin"));
            }
        }
    }
    // Without CORS an OPTIONS is what it always was.
    let response = nobody
        .request(Method::OPTIONS, "/v1/jobs")
        .send()
        .await
        .unwrap();
    problem(response, 405, "method-not-allowed").await;
}

#[tokio::test]
async fn origins_and_proxies_that_are_none_stop_the_start() {
    use clap::Parser as _;
    #[derive(clap::Parser, Debug)]
    struct Wrap {
        #[command(flatten)]
        _args: manimq::serve::ServeArgs,
    }
    for (flag, words) in [
        ("--cors-origins=*", "is no origin"),
        (
            "--cors-origins=https://a.example,https://b.example/",
            "is no origin",
        ),
        ("--trusted-proxies=0.0.0.0/0", "everybody"),
        (
            "--trusted-proxies=10.0.0.0/8,proxy",
            "\"proxy\" is no network",
        ),
    ] {
        let error = Wrap::try_parse_from(["serve", flag])
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{flag}: {error}");
    }
    assert!(Wrap::try_parse_from(["serve", "--cors-origins=", "--trusted-proxies="]).is_ok());
}

#[tokio::test]
async fn long_answers_without_a_secret_are_compressed_and_no_others() {
    let api = Setup::new().flags(&["--rate-per-key=0"]).start().await;
    let key = key(&api, "acme", Scopes::ALL).await;
    for n in 0..20 {
        api.queue
            .create_account(&format!("tenant-{n}").parse().unwrap(), "A name")
            .await
            .unwrap();
    }
    let film = b"film".repeat(2000);
    let job = {
        let response = post(&api, "/v1/jobs", &key, &scene_body(SCENE)).await;
        let view: manimq_shared::api::JobView = response.json().await.unwrap();
        let worker = api.worker();
        let claim = worker.claim().await;
        worker.succeed(&claim, &[("video.mp4", &film)]).await;
        view.id
    };
    let sent = async |path: &str, encoding: &str| {
        let request = with(api.request(Method::GET, path), &key);
        let request = request.header("accept-encoding", encoding);
        request.send().await.unwrap()
    };
    let gzip = "zstd, br;q=0.9, gzip";
    for path in ["/openapi.json", "/v1/admin/tenants"] {
        let response = sent(path, gzip).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(header(&response, "content-encoding"), "gzip", "{path}");
        assert!(
            header(&response, "vary").contains("accept-encoding"),
            "{path}"
        );
        let plain = sent(path, "identity").await;
        assert_eq!(header(&plain, "content-encoding"), "", "{path}");
        let plain = plain.bytes().await.unwrap();
        let packed = response.bytes().await.unwrap();
        assert!(
            packed.starts_with(&[0x1f, 0x8b]) && packed.len() * 2 < plain.len(),
            "{path}"
        );
    }
    // Short ones, errors, jobs (signed URLs beside chosen text), events, films.
    let url = format!("/v1/jobs/{job}");
    let artifact = sent(&format!("{url}/artifacts/video.mp4"), gzip).await;
    let film_url = header(&artifact, "location").to_owned();
    for path in [
        "/v1/admin/queue",
        "/v1/nothing",
        &url,
        &format!("{url}/events?after=0"),
        &film_url,
    ] {
        let path = path.strip_prefix(&api.base).unwrap_or(path);
        let response = sent(path, gzip).await;
        assert_eq!(header(&response, "content-encoding"), "", "{path}");
    }
    // A new key is in an answer that nobody keeps or packs.
    let made = with(api.request(Method::POST, "/v1/admin/keys"), &key)
        .header("accept-encoding", gzip)
        .json(&json!({"tenant": "acme", "name": "n".repeat(80)}))
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);
    assert_eq!(header(&made, "content-encoding"), "");
    assert_eq!(header(&made, "cache-control"), "no-store");
    let refused = get(&api, "/v1/admin/tenants/nobody", &key).await;
    problem(refused, 404, "not-found").await;
}

#[tokio::test]
async fn only_a_trusted_proxy_says_whose_rate_a_request_counts_against() {
    let rate = "--rate-per-address=1";
    let trusting = Setup::new()
        .flags(&[rate, "--trusted-proxies=127.0.0.0/8,10.0.0.0/8"])
        .start()
        .await;
    let trusting_nobody = Setup::new().flags(&[rate]).start().await;
    let status = async |api: &Api, forwarded: &str| {
        let request = api
            .request(Method::GET, "/openapi.json")
            .header("x-forwarded-for", forwarded)
            .header("forwarded", "for=203.0.113.77");
        request.send().await.unwrap().status()
    };
    let exhaust = async |api: &Api, forwarded: &str| {
        for n in 0..40 {
            let hop = forwarded.replace("{n}", &n.to_string());
            if status(api, &hop).await == StatusCode::TOO_MANY_REQUESTS {
                return true;
            }
        }
        false
    };
    // A client that invents addresses is still one client.
    assert!(exhaust(&trusting_nobody, "198.51.100.{n}").await);
    assert!(exhaust(&trusting, "198.51.100.{n}, 203.0.113.5").await);
    assert!(exhaust(&trusting, "198.51.100.{n}, 203.0.113.6, 10.1.1.1").await);
    // One customer's IPv6 network is one client.
    assert!(exhaust(&trusting, "2001:db8:1:1::{n}").await);
    // Others are not made to pay.
    assert_eq!(status(&trusting, "203.0.113.7").await, StatusCode::OK);
    assert_eq!(
        status(&trusting, "[2001:db8:1:2::1]:4711").await,
        StatusCode::OK
    );
    // What is no address is the proxy's own.
    assert!(exhaust(&trusting, "203.0.113.8, nonsense-{n}").await);
    assert_eq!(status(&trusting, "203.0.113.8").await, StatusCode::OK);
}
