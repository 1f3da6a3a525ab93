//! What must hold when many ask at once, and whatever they send.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use manimq_shared::api::JobView;
use manimq_shared::ids::TenantId;
use manimq_shared::job::{JobResult, Quality};
use manimq_shared::queue::Quotas;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Api, SCENE, problem, scene_body};

/// Requests that never took longer, with ten times the usual to spare.
const ANSWER_MAX: Duration = Duration::from_secs(30);

#[tokio::test]
async fn two_hundred_equal_submits_with_one_key_make_one_job() {
    let api = Api::start().await;
    let calls = (0..200).map(|_| async {
        let call = api
            .request(Method::POST, "/v1/jobs")
            .json(&scene_body(SCENE));
        let response = call
            .header("idempotency-key", "the-same")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let replayed = response.headers().contains_key("idempotency-replayed");
        let job: JobView = response.json().await.unwrap();
        (job.id, replayed)
    });
    let answers = join_all(calls).await;
    let ids: BTreeSet<_> = answers.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids.len(), 1);
    let first = answers.iter().filter(|(_, replayed)| !replayed);
    assert_eq!(first.count(), 1);
    let stats = api.queue.stats().await.unwrap();
    assert_eq!(stats.counters["submitted"], 1);
}

/// Fifty clients submit until they are refused for the first time; gives how many were accepted, and how often
/// one was refused with another error than expected.
async fn race(quotas: Quotas, body: Value, refusal: (u16, &str)) -> usize {
    let api = Arc::new(Api::start().await);
    let tenant = TenantId::default();
    api.queue.set_quotas(&tenant, &quotas).await.unwrap();
    let client = || {
        let (api, body) = (Arc::clone(&api), body.clone());
        async move {
            for accepted in 0.. {
                let response = api.post("/v1/jobs", &body).await;
                if response.status() != StatusCode::ACCEPTED {
                    let status = response.status().as_u16();
                    let problem: Value = response.json().await.unwrap();
                    let kind = problem["type"].as_str().unwrap().to_owned();
                    assert_eq!((status, kind.as_str()), refusal, "{problem}");
                    return accepted;
                }
            }
            unreachable!()
        }
    };
    join_all((0..50).map(|_| client())).await.into_iter().sum()
}

#[tokio::test]
async fn fifty_clients_get_no_more_than_a_quota_of_waiting_jobs_allows() {
    let quotas = Quotas {
        queued_max: Some(37),
        ..Quotas::default()
    };
    let accepted = race(quotas, scene_body(SCENE), (429, "quota-exceeded")).await;
    assert_eq!(accepted, 37);
}

#[tokio::test]
async fn fifty_clients_get_no_more_than_a_quota_of_a_day_allows() {
    let quotas = Quotas {
        submits_per_day: Some(23),
        ..Quotas::default()
    };
    let accepted = race(quotas, scene_body(SCENE), (429, "quota-exceeded")).await;
    assert_eq!(accepted, 23);
}

#[tokio::test]
async fn fifty_clients_get_no_more_than_a_quota_of_a_minute_allows() {
    let start = std::time::Instant::now();
    let quotas = Quotas {
        submits_per_minute: Some(60),
        ..Quotas::default()
    };
    let accepted = race(quotas, scene_body(SCENE), (429, "quota-exceeded")).await;
    // One comes back each second.
    let back = usize::try_from(start.elapsed().as_secs()).unwrap() + 1;
    assert!(
        (60..=60 + back).contains(&accepted),
        "{accepted} in {back} s"
    );
}

#[tokio::test]
async fn fifty_clients_get_nothing_that_a_tenant_may_not_ask_for() {
    let all: [(Quotas, Value); 4] = [
        (
            Quotas {
                quality_max: Some(Quality::Low),
                ..Quotas::default()
            },
            json!({"output": {"quality": "medium"}}),
        ),
        (
            Quotas {
                timeout_s_max: Some(9),
                ..Quotas::default()
            },
            json!({"timeout_s": 10}),
        ),
        (
            Quotas {
                source_bytes_max: Some(10),
                ..Quotas::default()
            },
            json!({}),
        ),
        (
            Quotas {
                code: Some(false),
                ..Quotas::default()
            },
            json!({}),
        ),
    ];
    for (quotas, change) in all {
        let mut body = scene_body(SCENE);
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        assert_eq!(race(quotas, body, (403, "not-allowed")).await, 0);
    }
}

#[tokio::test]
async fn fifty_clients_never_run_more_at_once_than_allowed() {
    let api = Api::start().await;
    let tenant = TenantId::default();
    let quotas = Quotas {
        running_max: Some(4),
        ..Quotas::default()
    };
    api.queue.set_quotas(&tenant, &quotas).await.unwrap();
    join_all((0..50).map(|_| api.submit())).await;
    let workers: Vec<_> = (0..10).map(|_| api.worker()).collect();
    let claims = join_all(workers.iter().map(|worker| async {
        let claimed = api
            .queue
            .claim(&worker.info, 10, manimq_shared::queue::LEASE)
            .await;
        claimed.unwrap().claims.len()
    }))
    .await;
    assert_eq!(claims.iter().sum::<usize>(), 4);
}

#[tokio::test]
async fn fifty_clients_overrun_a_days_render_seconds_by_no_more_than_what_runs_when_they_are_used_up()
 {
    const RUNNING: usize = 4;
    let api = Api::start().await;
    let tenant = TenantId::default();
    let quotas = Quotas {
        running_max: Some(4),
        render_s_per_day: Some(1),
        ..Quotas::default()
    };
    api.queue.set_quotas(&tenant, &quotas).await.unwrap();
    join_all((0..50).map(|_| api.submit())).await;
    let workers: Vec<_> = (0..10).map(|_| api.worker()).collect();
    let claims = async || {
        let each = workers.iter().map(|worker| async {
            let claimed = api
                .queue
                .claim(&worker.info, 10, manimq_shared::queue::LEASE)
                .await;
            claimed.unwrap().claims
        });
        let all = join_all(each).await;
        all.into_iter().flatten().collect::<Vec<_>>()
    };
    let running = claims().await;
    assert_eq!(running.len(), RUNNING);
    // They render for as long as all of a day's seconds.
    tokio::time::sleep(Duration::from_millis(1050)).await;
    for claim in running {
        let result = JobResult::default();
        let settled = api.queue.finish(claim.job, claim.epoch, &result).await;
        settled.unwrap();
    }
    assert_eq!(claims().await.len(), 0, "what waits does not start today");
    let refused = (0..50).map(|_| async {
        let told = problem(
            api.post("/v1/jobs", &scene_body(SCENE)).await,
            429,
            "quota-exceeded",
        );
        told.await.violated_policies
    });
    for policies in join_all(refused).await {
        assert_eq!(policies, ["render_seconds_per_day"]);
    }
}

/// A small generator of our own, so that a seed repeats a run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn text(&mut self) -> String {
        const PARTS: [&str; 11] = [
            "a",
            "\0",
            "é",
            "\u{202e}",
            "\\",
            "\"",
            "\n",
            " ",
            "🦀",
            "class A(Scene):\n",
            "job_",
        ];
        (0..self.below(12)).map(|_| self.of(&PARTS)).collect()
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth > 4 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2 => json!(self.next().cast_signed()),
            3 => json!(self.of(&[0.5, -1e308, 1e-9, 3.0])),
            4 | 5 => json!(self.text()),
            6 => (0..self.below(5)).map(|_| self.value(depth + 1)).collect(),
            _ => {
                let entries = (0..self.below(5)).map(|_| (self.name(), self.value(depth + 1)));
                Value::Object(entries.collect())
            }
        }
    }

    fn name(&mut self) -> String {
        const NAMES: [&str; 25] = [
            "input",
            "kind",
            "source",
            "scene",
            "file_name",
            "output",
            "quality",
            "format",
            "fps",
            "lane",
            "timeout_s",
            "deadline_s",
            "cache",
            "tags",
            "metadata",
            "jobs",
            "all_or_nothing",
            "transparent",
            "aspect",
            "encoder",
            "prompt",
            "url",
            "events",
            "x",
            "",
        ];
        self.of(&NAMES).to_owned()
    }

    /// A right body with some of it replaced by nonsense, or nonsense alone, or no JSON at all.
    fn body(&mut self) -> Vec<u8> {
        let odd = self.text();
        let source = self.of(&[
            SCENE,
            SCENE,
            SCENE,
            "",
            "import os\n",
            "class A(:",
            odd.as_str(),
        ]);
        let timeout = self.of(&[1, 60, 3600, 0, 3601]);
        let right = json!({
            "input": {"kind": "code", "source": source, "scene": "Hello"},
            "output": {"quality": "low", "format": "mp4", "fps": 15}, "lane": "normal", "timeout_s": timeout,
            "deadline_s": 60, "cache": "refresh", "tags": ["a"], "metadata": {"k": "v"},
        });
        let mut body = match self.below(8) {
            0 => self.value(0),
            6 => {
                let odd = self.text();
                let prompt = self.of(&["bubble sort 5 2 9", "title card: Hello", "", odd.as_str()]);
                json!({"prompt": prompt, "quality": "low"})
            }
            7 => {
                let odd = format!("https://{}", self.text());
                let url = self.of(&["https://hooks.example/", "https://[::1]/", odd.as_str()]);
                json!({"url": url, "events": ["job.succeeded"]})
            }
            2 => json!({"jobs": [right.clone(), right]}),
            3 => json!({"source": SCENE}),
            1 => json!({"jobs": [right, self.value(1)], "all_or_nothing": self.below(2) == 0}),
            _ => right,
        };
        for _ in 0..self.below(3) {
            let (name, value) = (self.name(), self.value(1));
            let place = match body.as_object_mut() {
                Some(object) if self.below(2) == 0 => object.values_mut().find(|v| v.is_object()),
                _ => Some(&mut body),
            };
            if let Some(Value::Object(object)) = place {
                object.insert(name, value);
            }
        }
        let mut bytes = body.to_string().into_bytes();
        if self.below(4) == 0 && !bytes.is_empty() {
            for _ in 0..self.below(4) {
                let at = self.below(bytes.len());
                bytes[at] = self.next().to_le_bytes()[0];
            }
            bytes.truncate(self.below(bytes.len()) + 1);
        }
        bytes
    }
}

/// `MANIMQ_FUZZ_BODIES` says how many (ten thousand take two minutes in a debug build), `MANIMQ_FUZZ_SEED` which.
#[tokio::test]
async fn whatever_body_is_sent_the_answer_comes_and_is_no_fault_of_ours() {
    let number = |name: &str, otherwise: u64| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let bodies = usize::try_from(number("MANIMQ_FUZZ_BODIES", 600)).unwrap();
    let seed = number("MANIMQ_FUZZ_SEED", u64::from(std::process::id())) | 1;
    let mut dice = Dice(seed);
    let api = Api::start().await;
    let job = api.submit().await.id;
    let routes = [
        "/v1/jobs".to_owned(),
        "/v1/jobs".to_owned(),
        "/v1/jobs/batch".to_owned(),
        "/v1/validate".to_owned(),
        format!("/v1/jobs/{job}/rerun"),
        "/v1/plan".to_owned(),
        "/api/manim/generate".to_owned(),
        "/v1/webhooks".to_owned(),
    ];
    let mut statuses = BTreeSet::new();
    let mut sent = 0;
    while sent < bodies {
        let calls: Vec<_> = (0..8)
            .map(|_| (&routes[dice.below(routes.len())], dice.body()))
            .collect();
        sent += calls.len();
        let answers = join_all(calls.into_iter().map(|(route, body)| {
            let api = &api;
            async move {
                let call = api.request(Method::POST, route);
                let call = call
                    .header("content-type", "application/json")
                    .body(body.clone());
                let response = tokio::time::timeout(ANSWER_MAX, call.send()).await;
                let shown = String::from_utf8_lossy(&body).into_owned();
                let response =
                    response.unwrap_or_else(|_| panic!("no answer: seed {seed}, {route}, {shown}"));
                let response = response.unwrap();
                let status = response.status().as_u16();
                assert!(status < 500, "{status}: seed {seed}, {route}, {shown}");
                if status >= 400 {
                    let kind = response.headers()["content-type"].clone();
                    assert_eq!(
                        kind, "application/problem+json",
                        "seed {seed}, {route}, {shown}"
                    );
                }
                status
            }
        }))
        .await;
        statuses.extend(answers);
    }
    // It was no walk past the one refusal that everything meets.
    for expected in [200, 202, 400, 422] {
        assert!(statuses.contains(&expected), "seed {seed}: {statuses:?}");
    }
}
