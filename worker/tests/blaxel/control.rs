//! The control plane, and what the data plane says of itself.

use std::sync::atomic::Ordering;

use axum::http::Method;
use axum::response::Response;
use serde_json::{Value, json};

use crate::cloud::{Cloud, Machine, WORKSPACE, answer, lock};
use crate::files::value_of;

pub fn health(machine: &Machine) -> Value {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "status": "ok", "version": "v0.2.40", "gitCommit": "0", "buildTime": "unknown",
        "goVersion": "go1.25", "os": "linux", "arch": arch,
        "uptime": format!("{}s", machine.started.elapsed().as_secs()),
        "uptimeSeconds": machine.started.elapsed().as_secs_f64(), "upgradeCount": 0,
        "startedAt": format!("generation {}", machine.generation),
        "lastUpgrade": {"status": "idle", "step": "none", "version": ""},
    })
}

pub fn route(cloud: &Cloud, method: &Method, rest: &str, query: &str) -> Response {
    let name = rest.trim_start_matches('/');
    let sandboxes = lock(&cloud.0.sandboxes).clone();
    match (method.as_str(), name) {
        ("GET", "") => {
            let all: Vec<Value> = sandboxes
                .values()
                .map(|machine| record(cloud, machine))
                .collect();
            let page = cloud.0.page.load(Ordering::Relaxed) as usize;
            let at = value_of(query, "cursor").map_or(0, |at| at.parse().expect("our cursor"));
            let next = (at + page).min(all.len());
            let more = next < all.len();
            let cursor = if more {
                next.to_string()
            } else {
                String::new()
            };
            let meta = json!({"hasMore": more, "nextCursor": cursor, "total": all.len()});
            answer(200, &json!({"data": all[at..next], "meta": meta}))
        }
        ("GET", name) => match sandboxes.get(name) {
            Some(machine) => answer(200, &record(cloud, machine)),
            None => answer(404, &json!({"error": "sandbox not found", "code": 404})),
        },
        // Whoever is under test never does this.
        _ => panic!("a worker neither makes nor deletes sandboxes: {method} {rest}"),
    }
}

fn record(cloud: &Cloud, machine: &Machine) -> Value {
    let stays = cloud.0.same_address.load(Ordering::Relaxed);
    let generation = if stays { 0 } else { machine.generation };
    json!({
        "metadata": {
            "name": machine.name,
            "workspace": WORKSPACE,
            "url": lock(&machine.told).clone().unwrap_or_else(|| format!("{}/sbx/{}-{generation}", cloud.0.address, machine.name)),
        },
        "spec": {"enabled": true, "region": "us-pdx-1",
                 "runtime": {"image": "sandbox/manim:latest", "memory": 4096}},
        "status": lock(&machine.status).clone(),
        "state": "RUNNING",
    })
}
