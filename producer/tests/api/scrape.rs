//! What Prometheus and autoscalers read from the API.

use std::time::Duration;

use manimq_shared::ids::TenantId;
use manimq_shared::job::JobRequest;
use manimq_shared::queue::{NewJob, Quotas};
use serde_json::{Value, json};

use crate::support::{Api, Setup};

async fn scrape(api: &Api) -> String {
    let answer = api.client.get(format!("{}/metrics", api.metrics)).send();
    answer.await.unwrap().text().await.unwrap()
}

fn request(lane: &str) -> JobRequest {
    let body = json!({"input": {"kind": "code", "source": "x", "scene": "A"}, "lane": lane});
    serde_json::from_value(body).unwrap()
}

fn series<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter(move |line| line.starts_with(name))
}

#[tokio::test]
async fn ten_thousand_tenants_make_a_bounded_number_of_series_that_miss_no_job() {
    let api = Api::start().await;
    let submits = (0..10_000).map(|n| {
        let (queue, tenant) = (api.queue.clone(), format!("tenant-{n}"));
        async move {
            let tenant: TenantId = tenant.parse().unwrap();
            let jobs = [NewJob::new(&tenant, request("batch"))];
            queue.enqueue(&tenant, &jobs).await.unwrap();
        }
    });
    let submits: Vec<_> = submits.collect();
    let mut submits = submits.into_iter();
    loop {
        let some: Vec<_> = submits.by_ref().take(500).collect();
        if some.is_empty() {
            break;
        }
        futures_util::future::join_all(some).await;
    }
    // Looking at so many takes its time; what is told is what was seen last.
    let lane = r#"manimq_queue_jobs{lane="batch",state="waiting"}"#;
    api.until_gauge(lane, 10_000.0).await;
    let text = scrape(&api).await;
    for name in ["manimq_tenant_jobs_running", "manimq_tenant_jobs_waiting"] {
        assert_eq!(series(&text, name).count(), 11, "{name}");
    }
    let waiting: f64 = series(&text, "manimq_tenant_jobs_waiting")
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert_eq!(waiting, 10_000.0);
    assert!(text.contains(&format!("{lane} 10000")), "{text}");
    let all = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(all < 1000, "{all} series");
}

#[tokio::test]
async fn what_the_shown_tenants_use_of_their_quotas_is_told_beside_the_limits() {
    let api = Setup::new()
        .flags(&["--metrics-tenants=default,quiet"])
        .start()
        .await;
    let (tenant, unseen): (TenantId, TenantId) = (TenantId::default(), "unseen".parse().unwrap());
    let quotas = Quotas {
        running_max: Some(3),
        submits_per_day: Some(10),
        ..Quotas::default()
    };
    api.queue.set_quotas(&tenant, &quotas).await.unwrap();
    for tenant in [&tenant, &tenant, &unseen] {
        let jobs = [NewJob::new(tenant, request("interactive"))];
        api.queue.enqueue(tenant, &jobs).await.unwrap();
    }
    let worker = api.worker();
    let claim = worker.claim().await;
    let of = |what: &str, tenant: &str, policy: &str| {
        format!(r#"manimq_tenant_quota_{what}{{policy="{policy}",tenant="{tenant}"}}"#)
    };
    // What was seen before the claim may be told for a second.
    let running = of("used", tenant.as_str(), "running_jobs");
    api.until_gauge(&running, 1.0).await;
    for (policy, used, limit) in [
        ("running_jobs", 1.0, 3.0),
        ("queued_jobs", 2.0, 1000.0),
        ("submits_per_day", 2.0, 10.0),
    ] {
        let tenant = tenant.as_str();
        assert_eq!(api.gauge(&of("used", tenant, policy)).await, used);
        assert_eq!(api.gauge(&of("limit", tenant, policy)).await, limit);
    }
    let quiet = of("limit", "quiet", "queued_jobs");
    assert_eq!(api.gauge(&quiet).await, 1000.0);
    assert!(!scrape(&api).await.contains("unseen"));
    drop(claim);
}

#[tokio::test]
async fn an_autoscaler_is_told_of_jobs_and_slots_by_lane_or_not() {
    let mut api = Setup::new()
        .flags(&["--metrics-tenants=default,quiet"])
        .start()
        .await;
    let tenant = TenantId::default();
    for lane in ["interactive", "batch", "batch"] {
        let jobs = [NewJob::new(&tenant, request(lane))];
        api.queue.enqueue(&tenant, &jobs).await.unwrap();
    }
    let worker = api.worker();
    let claim = worker.claim().await;
    let scale = api
        .client
        .get(format!("{}/internal/scale", api.metrics))
        .send();
    let scale: Value = scale.await.unwrap().json().await.unwrap();
    assert_eq!(
        scale,
        json!({"jobs": 3, "waiting": 2, "delayed": 0, "running": 1, "slots": 1, "slots_busy": scale["slots_busy"],
               "workers": 1, "paused": false})
    );
    let text = scrape(&api).await;
    for line in [
        r#"manimq_queue_jobs{lane="batch",state="waiting"} 2"#,
        r#"manimq_queue_jobs{lane="interactive",state="running"} 1"#,
        r#"manimq_tenant_jobs_waiting{tenant="default"} 2"#,
        r#"manimq_tenant_jobs_waiting{tenant="quiet"} 0"#,
        "manimq_queue_up 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let oldest = series(&text, r#"manimq_queue_oldest_age_seconds{lane="batch"}"#);
    let oldest: f64 = oldest
        .last()
        .and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap();
    assert!(oldest > 0.0);
    drop(claim);
    // While Redis is away an autoscaler gets no answer rather than a wrong one.
    api.redis.kill();
    tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let scale = api
                .client
                .get(format!("{}/internal/scale", api.metrics))
                .send();
            if scale.await.unwrap().status() == 503 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the answer is 503 while Redis is away");
    api.until_gauge("manimq_queue_up", 0.0).await;
    // What was told last is not told as if it were so now.
    let text = scrape(&api).await;
    for gauge in [
        "manimq_queue_jobs{",
        "manimq_queue_oldest_age_seconds{",
        "manimq_fleet_slots{",
        "manimq_tenant_jobs_waiting{",
        "manimq_tenant_quota_used{",
    ] {
        assert!(!text.contains(gauge), "{text}");
    }
}

#[tokio::test]
async fn redis_is_up_while_it_answers_although_its_tenants_cannot_be_looked_at() {
    let api = Api::start().await;
    let tenant = TenantId::default();
    let jobs = [NewJob::new(&tenant, request("batch"))];
    api.queue.enqueue(&tenant, &jobs).await.unwrap();
    // A tenant whose name cannot be read ends each survey.
    let state = api.queue.keys().tenant(&tenant);
    let (shard, _) = state.rsplit_once(":t:").unwrap();
    let mut copy = redis::cmd("COPY");
    copy.arg(&state).arg(format!("{shard}:t:No Name"));
    let mut list = redis::cmd("ZADD");
    list.arg(format!("{shard}:tns"))
        .arg(i64::MAX)
        .arg("No Name");
    assert_eq!(api.queue.query::<u32>(&copy).await.unwrap(), 1);
    assert_eq!(api.queue.query::<u32>(&list).await.unwrap(), 1);
    assert!(api.queue.survey(1000).await.is_err());
    let text = scrape(&api).await;
    assert!(text.contains("manimq_queue_up 1"), "{text}");
    assert!(
        text.contains(r#"manimq_fleet_slots{state="idle"} 0"#),
        "{text}"
    );
}
