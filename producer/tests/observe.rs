//! What an operator sees of the whole system: metrics, traces and the canary, of real programs and real renders.

#[path = "system/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of the system")]
mod harness;

use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use harness::{Setting, System, WORKER, wait_for};
use manimq_shared::ids::TenantId;
use manimq_shared::job::Status;
use manimq_shared::metrics::{self, By};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;

const SOON: Duration = Duration::from_secs(120);
const SQUARE: &str = "from manim import *\n\nclass A(Scene):\n    def construct(self):\n        self.add(Square())\n        self.wait(0.4)\n";
const FORMULA: &str = "from manim import *\n\nclass A(Scene):\n    def construct(self):\n        self.add(MathTex(r'\\int_0^1 x^2 \\, dx = \\frac{1}{3}'))\n        self.wait(0.2)\n";
const WRONG: &str =
    "from manim import *\n\nclass A(Scene):\n    def construct(self):\n        self.add(1 / 0)\n";
const NETWORK: &str = "from manim import *\nimport socket\n\nclass A(Scene):\n    def construct(self):\n        socket.socket()\n";
const LONG: &str = "from manim import *\n\nclass A(Scene):\n    def construct(self):\n        self.play(Rotate(Square(), angle=PI), run_time=60)\n";

fn body(source: &str) -> serde_json::Value {
    json!({"input": {"kind": "code", "source": source}, "output": {"quality": "low"}})
}

/// A sample's value by its name and labels as they are written, summed over the rest of its labels.
fn value(text: &str, name: &str, labels: &[&str]) -> f64 {
    text.lines()
        .filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Names of which there is a sample.
fn names(text: &str) -> HashSet<&str> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .flat_map(|name| [name, name.trim_end_matches("_count")])
        .collect()
}

/// What `promtool check metrics` says; nothing if all is well.
fn promtool(text: &str) -> String {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is in Debian's package prometheus, which deploy/test installs");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success() || !said.is_empty());
    said
}

#[tokio::test]
async fn after_a_mixed_run_every_metric_of_the_list_is_told_and_right() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let off = pair("MANIMQ_SCENE_POLICY", "off");
    let listed = pair("MANIMQ_METRICS_TENANTS", "default");
    let mut system = System::start_in(Setting {
        api: vec![
            pair("MANIMQ_CANARY", "10s"),
            pair("MANIMQ_WEBHOOK_ALLOW", "127.0.0.0/8"),
            off.clone(),
            listed.clone(),
        ],
        worker: vec![off, listed],
        disk_kib: None,
    })
    .await;
    // Nobody listens there: the call is to be repeated.
    let hook = json!({"url": "http://127.0.0.1:9/hook", "events": ["job.succeeded"]});
    let made = system
        .http()
        .post(format!("{}/v1/webhooks", system.url()))
        .json(&hook);
    assert_eq!(made.send().await.unwrap().status(), 201);
    let mut jobs = Vec::new();
    for (source, status) in [
        (SQUARE, Status::Succeeded),
        (FORMULA, Status::Succeeded),
        (WRONG, Status::Failed),
        (NETWORK, Status::Failed),
    ] {
        jobs.push((system.submit(body(source)).await.id, status));
    }
    for (id, status) in jobs {
        let job = system.ended(id).await;
        assert_eq!(job.status, status, "{:?}", job.error);
    }
    let again = system.submit(body(SQUARE)).await;
    assert_eq!(system.ended(again.id).await.status, Status::Succeeded);
    // One that is canceled while it runs; and one that is given back by a worker that stops.
    let long = system.submit(body(LONG)).await;
    system.until_drawing(long.id).await;
    system.cancel(long.id).await;
    assert_eq!(system.ended(long.id).await.status, Status::Canceled);
    let canceled = "manimq_jobs_finished_total";
    wait_for("the worker has counted the cancel", SOON, async || {
        let [_, worker] = system.scrape().await;
        value(&worker, canceled, &["status=\"canceled\""]) > 0.0
    })
    .await;
    let counted = "the worker has counted how long the cancel took";
    wait_for(counted, SOON, async || {
        let [_, worker] = system.scrape().await;
        value(&worker, "manimq_cancel_duration_seconds_count", &[]) > 0.0
    })
    .await;
    let worker = system.scrape().await[1].clone();
    let given = system.submit(body(LONG)).await;
    system.until_drawing(given.id).await;
    system.terminate(WORKER, Duration::from_secs(60));
    assert_eq!(system.read(given.id).await.status, Status::Queued);
    system.cancel(given.id).await;
    system.start_worker().await;
    let canary = "manimq_canary_last_success_timestamp_seconds";
    // What is told of the fleet may be some seconds old.
    wait_for(
        "a canary has succeeded, the fleet is seen",
        SOON,
        async || {
            let [told, fresh] = &system.scrape().await;
            let ended = ["lane=\"canary\"", "status=\"succeeded\""];
            value(told, canary, &[]) > 0.0
                && value(fresh, "manimq_jobs_finished_total", &ended) > 0.0
                && value(told, "manimq_fleet_slots", &[]) >= 2.0
                && value(told, "manimq_jobs_redelivered_total", &["released"]) >= 1.0
        },
    )
    .await;
    // The second worker has no films of users; what the first one told is there still.
    let [api, fresh] = system.scrape().await;
    for (program, text) in [("api", &api), ("worker", &worker), ("new worker", &fresh)] {
        assert_eq!(promtool(text), "", "{program}");
    }
    for defined in metrics::ALL {
        let mut tellers = Vec::new();
        if defined.by != By::Worker {
            tellers.push(("api", names(&api)));
        }
        if defined.by != By::Api {
            tellers.push(("worker", names(&worker)));
        }
        for (program, told) in tellers {
            assert!(
                told.contains(defined.name),
                "{program} does not tell {}",
                defined.name
            );
        }
    }
    let at_least = |text: &str, name: &str, labels: &[&str], least: f64| {
        let is = value(text, name, labels);
        assert!(
            is >= least,
            "{name} {labels:?}: {is}, not {least}, in\n{text}"
        );
    };
    let finished = "manimq_jobs_finished_total";
    at_least(
        &worker,
        finished,
        &["status=\"succeeded\"", "lane=\"normal\""],
        2.0,
    );
    at_least(&worker, finished, &["class=\"scene_error\""], 1.0);
    at_least(&worker, finished, &["status=\"canceled\""], 1.0);
    at_least(&api, finished, &["status=\"canceled\""], 1.0);
    at_least(
        &worker,
        "manimq_sandbox_denials_total",
        &["kind=\"network\""],
        1.0,
    );
    at_least(
        &worker,
        "manimq_sandbox_start_duration_seconds_count",
        &[],
        2.0,
    );
    at_least(
        &worker,
        "manimq_sandbox_peak_memory_bytes_count",
        &["quality=\"low\""],
        4.0,
    );
    at_least(
        &worker,
        "manimq_sandbox_cpu_seconds_total",
        &["quality=\"low\""],
        0.05,
    );
    at_least(
        &worker,
        "manimq_latex_compile_duration_seconds_count",
        &[],
        1.0,
    );
    at_least(
        &worker,
        "manimq_latex_cache_requests_total",
        &["result=\"miss\""],
        1.0,
    );
    at_least(&worker, "manimq_realtime_ratio_count", &[], 2.0);
    at_least(
        &worker,
        "manimq_submit_to_done_duration_seconds_count",
        &["lane=\"normal\"", "quality=\"low\""],
        2.0,
    );
    // Nothing but these jobs is the tenant's, whatever the canary does.
    let own = |name: &str, labels: &[&str]| value(&worker, name, labels);
    let ended = "manimq_tenant_jobs_finished_total";
    let default = "tenant=\"default\"";
    assert_eq!(own(ended, &[default, "\"succeeded\""]), 2.0);
    assert_eq!(own(ended, &[default, "\"scene_error\""]), 1.0);
    assert_eq!(own(ended, &[default, "\"canceled\""]), 1.0);
    assert_eq!(own(ended, &[]), 5.0);
    let slots_s = own("manimq_tenant_slot_seconds_total", &[default]);
    let whole_s = own("manimq_tenant_submit_to_end_seconds_total", &[default]);
    assert!(slots_s > 0.1 && whole_s >= slots_s, "{slots_s}, {whole_s}");
    at_least(
        &worker,
        "manimq_worker_heartbeat_timestamp_seconds",
        &[],
        1.7e9,
    );
    at_least(
        &worker,
        "manimq_redis_command_duration_seconds_count",
        &["command=\"settle\""],
        5.0,
    );
    at_least(
        &api,
        "manimq_jobs_deduplicated_total",
        &["mode=\"cache\""],
        1.0,
    );
    at_least(
        &api,
        "manimq_jobs_redelivered_total",
        &["reason=\"released\""],
        1.0,
    );
    at_least(
        &api,
        "manimq_webhook_deliveries_total",
        &["result=\"retry\""],
        1.0,
    );
    at_least(&api, "manimq_webhook_pending", &[], 1.0);
    at_least(&api, "manimq_canary_runs_total", &["result=\"ok\""], 1.0);
    at_least(&api, "manimq_canary_duration_seconds", &[], 0.01);
    at_least(&api, "manimq_fleet_slots", &[], 2.0);
    // The canary is a template, of which nobody else sent any; it is outside all quotas and usage.
    assert_eq!(
        value(&api, "manimq_jobs_submitted_total", &["template"]),
        0.0
    );
    assert_eq!(value(&api, "manimq_quota_rejections_total", &[]), 0.0);
    // The canary is a tenant of nobody's lists, and leaves nothing.
    let queue = system.queue().await;
    let (tenants, _) = queue.tenants(&Default::default()).await.unwrap();
    let listed: Vec<_> = tenants.iter().map(|of| of.tenant.as_str()).collect();
    assert_eq!(listed, ["default"]);
    assert!(!api.contains("\"_canary\""), "{api}");
    let audit = queue.audit(false).await.unwrap();
    assert!(audit.violations.is_empty(), "{audit:?}");
    assert!("_canary".parse::<TenantId>().is_err());
}

/// Spans that came, with the service that sent them.
type Received = Arc<Mutex<Vec<(String, Span)>>>;

async fn receive(State(received): State<Received>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for of in request.resource_spans {
        let attributes = of.resource.unwrap_or_default().attributes;
        let service = attributes.into_iter().find_map(|attribute| {
            (attribute.key == "service.name").then_some(())?;
            match attribute.value?.value? {
                Value::StringValue(text) => Some(text),
                _ => None,
            }
        });
        let service = service.expect("a service has a name");
        let spans = of.scope_spans.into_iter().flat_map(|of| of.spans);
        let mut received = received.lock().unwrap();
        received.extend(spans.map(|span| (service.clone(), span)));
    }
}

fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    let found = span.attributes.iter().find(|of| of.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[tokio::test]
async fn a_job_is_one_trace_from_the_callers_span_to_the_film_and_the_webhook() {
    let received = Received::default();
    let routes = Router::new()
        .route("/v1/traces", post(receive))
        .route("/hook", post(async || {}))
        .with_state(Arc::clone(&received));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let both = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), here.clone()),
        ("MANIMQ_LOG_FORMAT".to_owned(), "json".to_owned()),
    ];
    let allow = ("MANIMQ_WEBHOOK_ALLOW".to_owned(), "127.0.0.0/8".to_owned());
    let system = System::start_in(Setting {
        api: [both.clone(), vec![allow]].concat(),
        worker: both,
        disk_kib: None,
    })
    .await;
    let hook = json!({"url": format!("{here}/hook"), "events": ["job.succeeded"]});
    let made = system
        .http()
        .post(format!("{}/v1/webhooks", system.url()))
        .json(&hook);
    assert_eq!(made.send().await.unwrap().status(), 201);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let submitted = system
        .http()
        .post(format!("{}/v1/jobs", system.url()))
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .json(&body(SQUARE))
        .send()
        .await
        .unwrap();
    assert_eq!(submitted.status(), 202);
    let job: manimq_shared::api::JobView = submitted.json().await.unwrap();
    assert_eq!(system.ended(job.id).await.status, Status::Succeeded);
    let names = [
        "submit",
        "queued",
        "attempt",
        "claim",
        "sandbox",
        "walls",
        "preparing",
        "rendering",
        "encoding",
        "upload",
        "finish",
        "webhook",
    ];
    let spans = || -> HashMap<String, (String, Span)> {
        let received = received.lock().unwrap();
        let own = received
            .iter()
            .filter(|(_, span)| hex::encode(&span.trace_id) == trace);
        own.map(|(service, span)| (span.name.clone(), (service.clone(), span.clone())))
            .collect()
    };
    wait_for("all spans have come", SOON, async || {
        let spans = spans();
        names.iter().all(|name| spans.contains_key(*name))
    })
    .await;
    let spans = spans();
    assert_eq!(spans.len(), names.len(), "{:?}", spans.keys());
    let id = |name: &str| spans[name].1.span_id.clone();
    for (name, parent) in [
        ("submit", hex::decode("00f067aa0ba902b7").unwrap()),
        ("queued", id("submit")),
        ("attempt", id("submit")),
        ("webhook", id("submit")),
        ("claim", id("attempt")),
        ("sandbox", id("attempt")),
        ("upload", id("attempt")),
        ("finish", id("attempt")),
        ("walls", id("sandbox")),
        ("preparing", id("sandbox")),
        ("rendering", id("sandbox")),
        ("encoding", id("sandbox")),
    ] {
        let (service, span) = &spans[name];
        assert_eq!(span.parent_span_id, parent, "{name}");
        assert!(
            span.end_time_unix_nano >= span.start_time_unix_nano,
            "{name}"
        );
        let by_api = ["submit", "webhook"].contains(&name);
        let expected = if by_api { "manimq" } else { "manimq-worker" };
        assert_eq!(service, expected, "{name}");
    }
    let ids: HashSet<_> = spans.values().map(|(_, span)| &span.span_id).collect();
    assert_eq!(ids.len(), names.len());
    for name in ["submit", "attempt", "webhook"] {
        let told = attribute(&spans[name].1, "job.id").map(str::to_owned);
        assert_eq!(told, Some(job.id.to_string()), "{name}");
    }
    // Both programs' logs name the trace beside the job.
    let said = system.said();
    let lines = said.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        line.to_string().contains(trace).then_some(line)
    });
    let about: Vec<String> = lines
        .map(|line| line["message"].as_str().unwrap_or_default().to_owned())
        .collect();
    for message in ["accepted ", "claimed ", ": succeeded"] {
        let found = about.iter().any(|text| text.contains(message));
        assert!(found, "no line says {message:?}: {about:?}");
    }
    // Without a caller's trace the job's own id is the trace's; one that is not to be recorded is not.
    let unrecorded = "11111111111111111111111111111111";
    let silent = system
        .http()
        .post(format!("{}/v1/jobs", system.url()))
        .header(
            "traceparent",
            format!("00-{unrecorded}-00f067aa0ba902b7-00"),
        )
        .json(&body(WRONG))
        .send()
        .await
        .unwrap();
    let silent: manimq_shared::api::JobView = silent.json().await.unwrap();
    assert_eq!(system.ended(silent.id).await.status, Status::Failed);
    let own = system.submit(body(WRONG)).await;
    assert_eq!(system.ended(own.id).await.status, Status::Failed);
    let own_trace = own.id.to_string().replace("job_", "");
    wait_for("the failed attempt has come", SOON, async || {
        let received = received.lock().unwrap();
        received.iter().any(|(_, span)| {
            hex::encode(&span.trace_id) == own_trace
                && span.name == "attempt"
                && attribute(span, "outcome") == Some("scene_error")
        })
    })
    .await;
    let received = received.lock().unwrap();
    let recorded = received
        .iter()
        .filter(|(_, span)| hex::encode(&span.trace_id) == unrecorded);
    assert_eq!(recorded.count(), 0);
}
