//! Webhooks: what is called, how it is signed, when it is tried again, and where nothing is called.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode as Status};
use axum::response::IntoResponse as _;
use manimq_shared::job::{FailureClass, JobError};
use manimq_shared::queue::failed;
use manimq_shared::testing::Certificates;
use reqwest::{Method, StatusCode};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use standardwebhooks::Webhook as Verifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use crate::support::{Api, SCENE, Setup, eventually, problem, scene_body};

/// One call, as it came.
#[derive(Clone)]
struct Call {
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn id(&self) -> &str {
        self.headers["webhook-id"].to_str().unwrap()
    }

    /// Whether the library of the scheme accepts it.
    fn is_signed_with(&self, secret: &str) -> bool {
        Verifier::new(secret)
            .unwrap()
            .verify(&self.body, &self.headers)
            .is_ok()
    }
}

/// A tenant's own server.
struct Receiver {
    url: String,
    calls: Arc<Mutex<Vec<Call>>>,
    answers: Arc<Mutex<VecDeque<(Status, HeaderMap)>>>,
}

impl Receiver {
    /// Answers 200, after what is said by `answers`.
    async fn start(answers: &[(u16, &[(&'static str, &str)])]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let calls = Arc::new(Mutex::new(Vec::new()));
        let answers = answers.iter().map(|(status, headers)| {
            let headers = headers.iter().map(|(name, value)| {
                (
                    axum::http::HeaderName::from_static(name),
                    value.parse().unwrap(),
                )
            });
            (Status::from_u16(*status).unwrap(), headers.collect())
        });
        let answers = Arc::new(Mutex::new(answers.collect::<VecDeque<_>>()));
        let (noted, given) = (Arc::clone(&calls), Arc::clone(&answers));
        let note = move |headers: HeaderMap, body: Bytes| async move {
            noted.lock().unwrap().push(Call { headers, body });
            let answer = given.lock().unwrap().pop_front();
            answer.map_or_else(
                || "taken".into_response(),
                |answer| (answer.0, answer.1, "no").into_response(),
            )
        };
        let router = axum::Router::new().route("/hook", axum::routing::post(note));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            url,
            calls,
            answers,
        }
    }

    /// The first `n` calls, once they have come; no more of them.
    async fn calls(&self, n: usize) -> Vec<Call> {
        let calls = eventually(|| async {
            let calls = self.calls.lock().unwrap().clone();
            (calls.len() >= n).then_some(calls)
        })
        .await;
        assert_eq!(calls.len(), n);
        calls
    }
}

async fn api() -> Api {
    Setup::new()
        .flags(&["--webhook-allow=127.0.0.0/8"])
        .start()
        .await
}

async fn made(api: &Api, body: &Value) -> Value {
    let response = api.post("/v1/webhooks", body).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(response.headers()["cache-control"], "no-store");
    let webhook: Value = response.json().await.unwrap();
    assert_eq!(
        location,
        format!("/v1/webhooks/{}", webhook["id"].as_str().unwrap())
    );
    webhook
}

fn path(webhook: &Value) -> String {
    format!("/v1/webhooks/{}", webhook["id"].as_str().unwrap())
}

async fn deliveries(api: &Api, webhook: &Value) -> Vec<Value> {
    let list: Value = api
        .get(&format!("{}/deliveries", path(webhook)))
        .await
        .json()
        .await
        .unwrap();
    list["deliveries"].as_array().unwrap().clone()
}

async fn delivery_in(api: &Api, webhook: &Value, state: &str) -> Value {
    eventually(|| async {
        let list = deliveries(api, webhook).await;
        list.into_iter().find(|delivery| delivery["state"] == state)
    })
    .await
}

#[tokio::test]
async fn the_end_of_a_job_is_told_once_and_signed_as_the_scheme_says() {
    let api = api().await;
    let receiver = Receiver::start(&[]).await;
    let webhook = made(&api, &json!({"url": receiver.url, "description": "mine"})).await;
    let secret = webhook["secret"].as_str().unwrap();
    let mut body = scene_body(SCENE);
    body["metadata"] = json!({"lesson": "7"});
    let job = api.submit_body(&body).await;
    let worker = api.worker();
    let claim = worker.claim().await;
    worker.succeed(&claim, &[("video.mp4", b"film")]).await;
    let call = receiver.calls(1).await.remove(0);
    assert!(call.is_signed_with(secret));
    assert!(!call.is_signed_with("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    assert_eq!(call.headers["content-type"], "application/json");
    assert!(
        call.headers["user-agent"]
            .to_str()
            .unwrap()
            .starts_with("manimq/")
    );
    let told = call.json();
    assert_eq!(told["type"], "job.succeeded");
    assert_eq!(told["data"]["id"], job.id.to_string());
    assert_eq!(told["data"]["status"], "succeeded");
    assert_eq!(told["data"]["metadata"], json!({"lesson": "7"}));
    let link = told["data"]["links"]["self"].as_str().unwrap();
    assert_eq!(api.get(link).await.status(), StatusCode::OK);
    assert!(told["timestamp"].is_string());
    let delivery = delivery_in(&api, &webhook, "delivered").await;
    assert_eq!(delivery["message"], call.id());
    assert_eq!(delivery["job"], job.id.to_string());
    assert_eq!(delivery["log"][0]["status"], 200);
    assert_eq!(delivery["log"][0]["answer"], "taken");
    // The secret is in no other answer.
    for path in [path(&webhook), "/v1/webhooks".to_owned()] {
        let text = api.get(&path).await.text().await.unwrap();
        assert!(!text.contains(secret) && text.contains("mine"), "{text}");
    }
}

#[tokio::test]
async fn a_failed_job_is_told_with_its_class_and_message() {
    let api = api().await;
    let receiver = Receiver::start(&[]).await;
    made(
        &api,
        &json!({"url": receiver.url, "events": ["job.started", "job.failed"]}),
    )
    .await;
    api.submit().await;
    let worker = api.worker();
    let claim = worker.claim().await;
    let error = JobError::new(
        FailureClass::SceneError,
        "NameError: name 'Sqare' is not defined",
    );
    worker.fail(&claim, &failed(error)).await;
    let mut calls: Vec<_> = receiver.calls(2).await.iter().map(Call::json).collect();
    calls.sort_by_key(|call| call["type"] != "job.started");
    assert_eq!(
        (&calls[0]["type"], &calls[0]["data"]["status"]),
        (&json!("job.started"), &json!("running"))
    );
    assert_eq!(calls[1]["data"]["error"]["class"], "scene_error");
    assert!(
        calls[1]["data"]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("Sqare")
    );
}

#[tokio::test]
async fn a_call_that_fails_is_tried_again_with_the_same_id_and_both_tries_are_listed() {
    let api = api().await;
    let receiver = Receiver::start(&[(503, &[("retry-after", "600")])]).await;
    let webhook = made(&api, &json!({"url": receiver.url})).await;
    api.finished_job(b"film").await;
    let waiting = eventually(|| async {
        let list = deliveries(&api, &webhook).await;
        list.into_iter().find(|delivery| delivery["attempts"] == 1)
    })
    .await;
    assert_eq!(waiting["state"], "pending");
    assert_eq!(waiting["log"][0]["error"], "HTTP 503");
    let now: Value = api.get(&path(&webhook)).await.json().await.unwrap();
    assert!(
        now["failing_since"].is_string() && now["enabled"] == true,
        "{now}"
    );
    // The pause is ten minutes; asking for it again does not wait.
    let again = format!(
        "{}/deliveries/{}/redeliver",
        path(&webhook),
        waiting["id"].as_str().unwrap()
    );
    assert_eq!(
        api.post(&again, &json!({})).await.status(),
        StatusCode::ACCEPTED
    );
    let calls = receiver.calls(2).await;
    assert_eq!(calls[0].id(), calls[1].id());
    assert_eq!(calls[0].body, calls[1].body);
    let delivered = delivery_in(&api, &webhook, "delivered").await;
    assert_eq!(delivered["attempts"], 2);
    let now: Value = api.get(&path(&webhook)).await.json().await.unwrap();
    assert!(now["failing_since"].is_null(), "{now}");
}

#[tokio::test]
async fn redirections_are_not_followed_and_gone_switches_off() {
    let api = api().await;
    let elsewhere = Receiver::start(&[]).await;
    let location: &[(&'static str, &str)] = &[("location", &elsewhere.url), ("retry-after", "600")];
    let receiver = Receiver::start(&[(307, location), (410, &[])]).await;
    let webhook = made(&api, &json!({"url": receiver.url})).await;
    api.finished_job(b"film").await;
    let waiting = eventually(|| async {
        deliveries(&api, &webhook)
            .await
            .into_iter()
            .find(|delivery| delivery["attempts"] == 1)
    })
    .await;
    assert!(
        waiting["log"][0]["error"]
            .as_str()
            .unwrap()
            .contains("not followed"),
        "{waiting}"
    );
    assert!(elsewhere.calls.lock().unwrap().is_empty());
    let redeliver = format!(
        "{}/deliveries/{}/redeliver",
        path(&webhook),
        waiting["id"].as_str().unwrap()
    );
    api.post(&redeliver, &json!({})).await;
    delivery_in(&api, &webhook, "failed").await;
    let now: Value = api.get(&path(&webhook)).await.json().await.unwrap();
    assert_eq!(now["enabled"], false);
    assert!(
        now["disabled_reason"].as_str().unwrap().contains("410"),
        "{now}"
    );
    problem(
        api.post(&redeliver, &json!({})).await,
        409,
        "webhook-disabled",
    )
    .await;
    problem(
        api.post(&format!("{}/test", path(&webhook)), &json!({}))
            .await,
        409,
        "webhook-disabled",
    )
    .await;
    // Its owner can switch it on.
    let on = api
        .request(Method::PATCH, &path(&webhook))
        .json(&json!({"enabled": true}))
        .send()
        .await
        .unwrap();
    assert_eq!(on.json::<Value>().await.unwrap()["enabled"], true);
    assert_eq!(
        api.post(&redeliver, &json!({})).await.status(),
        StatusCode::ACCEPTED
    );
    delivery_in(&api, &webhook, "delivered").await;
}

#[tokio::test]
async fn of_changes_at_one_time_none_is_lost() {
    let api = api().await;
    let receiver = Receiver::start(&[]).await;
    let webhook = made(&api, &json!({"url": receiver.url})).await;
    let rotate = format!("{}/rotate-secret", path(&webhook));
    for round in 0..10 {
        let words = format!("round {round}");
        // A rotation needs no body.
        let rotation = api.request(Method::POST, &rotate).send();
        let change = api
            .request(Method::PATCH, &path(&webhook))
            .json(&json!({"description": words}))
            .send();
        let (rotated, changed) = tokio::join!(rotation, change);
        let (rotated, changed) = (rotated.unwrap(), changed.unwrap());
        assert_eq!(
            (rotated.status(), changed.status()),
            (StatusCode::OK, StatusCode::OK)
        );
        let secret = rotated.json::<Value>().await.unwrap()["secret"].clone();
        let test = format!("{}/test", path(&webhook));
        api.post(&test, &json!({})).await;
        let call = receiver.calls(round + 1).await.remove(round);
        assert!(call.is_signed_with(secret.as_str().unwrap()), "{words}");
        let now: Value = api.get(&path(&webhook)).await.json().await.unwrap();
        assert_eq!(now["description"], words);
    }
}

#[tokio::test]
async fn after_a_rotation_both_secrets_verify_for_as_long_as_was_asked() {
    let api = api().await;
    let receiver = Receiver::start(&[]).await;
    let webhook = made(&api, &json!({"url": receiver.url})).await;
    let old = webhook["secret"].as_str().unwrap();
    let rotate = format!("{}/rotate-secret", path(&webhook));
    let rotated: Value = api
        .post(&rotate, &json!({"overlap_s": 600}))
        .await
        .json()
        .await
        .unwrap();
    let new = rotated["secret"].as_str().unwrap();
    assert!(new != old && rotated["previous_secret_until"].is_string());
    let test = format!("{}/test", path(&webhook));
    assert_eq!(
        api.post(&test, &json!({})).await.status(),
        StatusCode::ACCEPTED
    );
    let call = receiver.calls(1).await.remove(0);
    assert!(call.is_signed_with(old) && call.is_signed_with(new));
    assert_eq!(call.json()["type"], "webhook.test");
    let rotated: Value = api
        .post(&rotate, &json!({"overlap_s": 0}))
        .await
        .json()
        .await
        .unwrap();
    api.post(&test, &json!({})).await;
    let call = receiver.calls(2).await.remove(1);
    assert!(!call.is_signed_with(new) && call.is_signed_with(rotated["secret"].as_str().unwrap()));
    problem(
        api.post(&rotate, &json!({"overlap_s": 10_000_000})).await,
        422,
        "invalid-params",
    )
    .await;
}

#[tokio::test]
async fn what_is_not_public_is_never_called_neither_by_url_nor_by_a_name_that_leads_there() {
    let api = Api::start().await;
    let receiver = Receiver::start(&[]).await;
    for url in [
        receiver.url.as_str(),
        "http://example.com/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:127.0.0.1]/",
        "https://me:secret@example.com/",
        "nonsense",
    ] {
        let refused = api.post("/v1/webhooks", &json!({"url": url})).await;
        let refused = problem(refused, 422, "invalid-params").await;
        assert_eq!(refused.errors[0].pointer, "/url", "{url}");
        assert!(!refused.detail.contains("secret"), "{}", refused.detail);
    }
    // A name can lead anywhere, and elsewhere tomorrow: it is judged at each call.
    let port = receiver.url.rsplit_once(':').unwrap().1;
    let url = format!("https://localhost:{port}");
    let webhook = made(&api, &json!({"url": url})).await;
    api.post(&format!("{}/test", path(&webhook)), &json!({}))
        .await;
    let refused = eventually(|| async {
        deliveries(&api, &webhook)
            .await
            .into_iter()
            .find(|delivery| delivery["attempts"] == 1)
    })
    .await;
    assert!(
        refused["log"][0]["error"]
            .as_str()
            .unwrap()
            .contains("not a public address"),
        "{refused}"
    );
    assert!(receiver.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn bad_requests_are_refused_by_field_and_strangers_ids_name_nothing() {
    let api = api().await;
    for (body, pointer) in [
        (
            json!({"url": "https://example.com", "events": []}),
            "/events",
        ),
        (
            json!({"url": "https://example.com", "events": ["webhook.test"]}),
            "/events/0",
        ),
        (
            json!({"url": "https://example.com", "events": ["job.failed", "job.failed"]}),
            "/events/1",
        ),
        (
            json!({"url": "https://example.com", "description": "x".repeat(300)}),
            "/description",
        ),
    ] {
        let refused = problem(api.post("/v1/webhooks", &body).await, 422, "invalid-params").await;
        assert_eq!(refused.errors[0].pointer, pointer);
    }
    problem(
        api.post(
            "/v1/webhooks",
            &json!({"url": "https://example.com", "events": ["job.eaten"]}),
        )
        .await,
        400,
        "malformed",
    )
    .await;
    problem(
        api.post("/v1/webhooks", &json!({"uri": "x"})).await,
        400,
        "malformed",
    )
    .await;
    let webhook = made(&api, &json!({"url": "https://example.com"})).await;
    for strange in [
        "x",
        "wh_00000000000070008000000000000000",
        "..%2F..",
        "wh_%00",
    ] {
        problem(
            api.get(&format!("/v1/webhooks/{strange}")).await,
            404,
            "not-found",
        )
        .await;
    }
    for strange in ["x", "1_0_wh", "%00", "..%2F"] {
        let again = format!("{}/deliveries/{strange}/redeliver", path(&webhook));
        problem(api.post(&again, &json!({})).await, 404, "not-found").await;
    }
    problem(
        api.get(&format!("{}/deliveries?limit=0", path(&webhook)))
            .await,
        422,
        "invalid-params",
    )
    .await;
    for _ in 0..9 {
        made(&api, &json!({"url": "https://example.com"})).await;
    }
    let many = api
        .post("/v1/webhooks", &json!({"url": "https://example.com"}))
        .await;
    problem(many, 409, "too-many").await;
    let gone = api
        .request(Method::DELETE, &path(&webhook))
        .send()
        .await
        .unwrap();
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    problem(api.get(&path(&webhook)).await, 404, "not-found").await;
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_no_other_and_what_waits_survives_the_api() {
    let mut api = api().await;
    // Takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    made(&api, &json!({"url": url})).await;
    let receiver = Receiver::start(&[]).await;
    let webhook = made(&api, &json!({"url": receiver.url})).await;
    for _ in 0..8 {
        api.finished_job(b"film").await;
    }
    receiver.calls(8).await;
    // Of eight calls to the silent one, four are under way.
    let held = tokio::time::timeout(Duration::from_secs(10), async {
        let mut held = Vec::new();
        while held.len() < 4 {
            held.push(silent.accept().await.unwrap());
        }
        held
    });
    let held = held.await.unwrap();
    drop(held);
    api.stop().await;
    // What was not told waits in Redis for the next process.
    receiver.answers.lock().unwrap().clear();
    api.queue
        .send_webhook(
            &"default".parse().unwrap(),
            webhook["id"].as_str().unwrap().parse().unwrap(),
            None,
        )
        .await
        .unwrap();
    let data = api.data.path().to_owned();
    let mut setup = Setup::new().flags(&["--webhook-allow=127.0.0.0/8"]);
    setup.redis_url = Some(api.redis.url());
    setup.data_dir = Some(data);
    let next = setup.start().await;
    let call = receiver.calls(9).await.remove(8);
    assert_eq!(call.json()["type"], "webhook.test");
    drop(next);
}

/// Takes one call by TLS, as `localhost`; its port and, later, whether a request came through.
async fn tls_receiver(certificates: &Certificates) -> (u16, JoinHandle<bool>) {
    let file = |name: &str| std::fs::read(certificates.file(name)).unwrap();
    let chain = CertificateDer::pem_slice_iter(&file("server.pem"))
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_slice(&file("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let take = async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let Ok(mut stream) = acceptor.accept(tcp).await else {
            return false;
        };
        let mut request = vec![0; 4096];
        let n = stream.read(&mut request).await.unwrap_or(0);
        let answer = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        request[..n].starts_with(b"POST /hook HTTP/1.1\r\n")
    };
    (port, tokio::spawn(take))
}

#[tokio::test]
async fn https_is_spoken_to_servers_whose_authority_is_trusted_and_to_no_others() {
    let certificates = Certificates::new();
    for (authority, state) in [("ca.pem", "delivered"), ("other-ca.pem", "pending")] {
        let ca = format!("--ca-file={}", certificates.file(authority).display());
        let api = Setup::new()
            .flags(&["--webhook-allow=127.0.0.0/8,::1/128", &ca])
            .start()
            .await;
        let (port, came) = tls_receiver(&certificates).await;
        let webhook = made(
            &api,
            &json!({"url": format!("https://localhost:{port}/hook")}),
        )
        .await;
        api.post(&format!("{}/test", path(&webhook)), &json!({}))
            .await;
        let tried = eventually(|| async {
            deliveries(&api, &webhook)
                .await
                .into_iter()
                .find(|delivery| delivery["attempts"] == 1)
        })
        .await;
        assert_eq!(tried["state"], state, "{tried}");
        assert_eq!(came.await.unwrap(), state == "delivered");
        if state == "pending" {
            let error = tried["log"][0]["error"].as_str().unwrap();
            assert!(error.contains("certificate"), "{error}");
        }
    }
}
