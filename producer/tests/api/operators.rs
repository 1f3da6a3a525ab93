//! `/v1/admin/…`: the operators' routes.

use manimq_shared::job::{FailureClass, JobError, Status};
use manimq_shared::queue::{Scopes, Settled, failed};
use manimq_shared::testing::is_due;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::keys::{get, key, post, with};
use crate::support::{Api, SCENE, eventually, problem, scene_body};

async fn read(api: &Api, path: &str, key: &str) -> Value {
    let response = get(api, path, key).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    response.json().await.unwrap()
}

async fn done(api: &Api, path: &str, key: &str, body: Value) -> Value {
    let response = post(api, path, key, &body).await;
    assert!(
        response.status().is_success(),
        "{path}: {}",
        response.text().await.unwrap()
    );
    response.json().await.unwrap()
}

#[tokio::test]
async fn an_operator_keeps_tenants_and_their_quotas() {
    let api = Api::start().await;
    let admin = key(&api, "ops", Scopes::ALL).await;
    let body = json!({"tenant": "acme", "name": "Acme Inc."});
    let made = post(&api, "/v1/admin/tenants", &admin, &body).await;
    assert_eq!(made.status(), StatusCode::CREATED);
    assert_eq!(made.headers()["location"], "/v1/admin/tenants/acme");
    let again = post(&api, "/v1/admin/tenants", &admin, &body).await;
    problem(again, 409, "exists").await;
    let tenant = read(&api, "/v1/admin/tenants/acme", &admin).await;
    assert_eq!(
        (
            &tenant["name"],
            &tenant["keys_live"],
            &tenant["disabled_at"]
        ),
        (&json!("Acme Inc."), &json!(0), &Value::Null)
    );
    assert_eq!(tenant["quotas"]["running_max"], Value::Null);

    let change = async |body: Value| {
        let request = with(api.request(Method::PATCH, "/v1/admin/tenants/acme"), &admin);
        request.json(&body).send().await.unwrap()
    };
    let changed = change(json!({"running_max": 2, "weight": 1.5})).await;
    let changed: Value = changed.json().await.unwrap();
    assert_eq!(
        (
            &changed["old"]["running_max"],
            &changed["new"]["running_max"]
        ),
        (&Value::Null, &json!(2))
    );
    let changed: Value = change(json!({"weight": null})).await.json().await.unwrap();
    assert_eq!(
        (&changed["new"]["weight"], &changed["new"]["running_max"]),
        (&Value::Null, &json!(2))
    );
    for wrong in [
        json!({"weight": 0}),
        json!({"submits_per_minute": 0}),
        json!({"running": 1}),
        json!({"running_max": "2"}),
        json!({"running_max": -1}),
    ] {
        let refused = problem(change(wrong).await, 422, "invalid-params").await;
        assert!(
            refused.detail.contains("nothing was changed"),
            "{refused:?}"
        );
    }
    let list = read(&api, "/v1/admin/tenants?limit=1", &admin).await;
    assert_eq!(
        (list["tenants"].as_array().unwrap().len(), &list["more"]),
        (1, &json!(true))
    );
    let list = read(&api, "/v1/admin/tenants", &admin).await;
    let names: Vec<_> = list["tenants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| &t["tenant"])
        .collect();
    assert!(
        names.contains(&&json!("acme")) && names.contains(&&json!("ops")),
        "{names:?}"
    );

    for (path, status, kind) in [
        ("/v1/admin/tenants/nobody", 404, "not-found"),
        ("/v1/admin/tenants/NOT%20ONE", 404, "not-found"),
        ("/v1/admin/tenants?limit=0", 422, "invalid-params"),
        ("/v1/admin/tenants?limit=100000", 422, "invalid-params"),
        ("/v1/admin/tenants?most=1", 400, "malformed"),
    ] {
        problem(get(&api, path, &admin).await, status, kind).await;
    }
    let wrong = json!({"tenant": "A B"});
    problem(
        post(&api, "/v1/admin/tenants", &admin, &wrong).await,
        400,
        "malformed",
    )
    .await;
    let wrong = json!({"tenant": "x", "name": "two\nlines"});
    problem(
        post(&api, "/v1/admin/tenants", &admin, &wrong).await,
        422,
        "invalid-params",
    )
    .await;
    // The label of many tenants is nobody's name.
    let reserved = json!({"tenant": "other"});
    let refused = post(&api, "/v1/admin/tenants", &admin, &reserved).await;
    let refused = problem(refused, 422, "invalid-params").await;
    assert!(refused.detail.contains("\"other\""), "{refused:?}");
    let nobody = "/v1/admin/tenants/nobody/disable";
    problem(
        post(&api, nobody, &admin, &json!({})).await,
        404,
        "not-found",
    )
    .await;
}

#[tokio::test]
async fn an_operator_makes_rotates_and_revokes_keys() {
    let api = Api::start().await;
    let admin = key(&api, "ops", Scopes::ALL).await;
    let missing = post(&api, "/v1/admin/keys", &admin, &json!({"tenant": "acme"})).await;
    problem(missing, 404, "not-found").await;
    done(&api, "/v1/admin/tenants", &admin, json!({"tenant": "acme"})).await;
    let body =
        json!({"tenant": "acme", "name": "backend", "scopes": ["render"], "expires_in_s": 3600});
    let made = done(&api, "/v1/admin/keys", &admin, body).await;
    let old = made["key"].as_str().unwrap();
    let id = made["record"]["id"].as_str().unwrap();
    assert_eq!(made["record"]["scopes"], json!(["render"]));
    assert_eq!(
        get(&api, "/v1/jobs/job_0", old).await.status(),
        StatusCode::NOT_FOUND
    );

    let rotate = format!("/v1/admin/keys/{id}/rotate");
    let new = done(&api, &rotate, &admin, json!({"overlap_s": 60})).await;
    let new_key = new["key"].as_str().unwrap();
    for key in [old, new_key] {
        assert_eq!(
            get(&api, "/v1/jobs/job_0", key).await.status(),
            StatusCode::NOT_FOUND
        );
    }
    let keys = read(&api, "/v1/admin/keys?tenant=acme", &admin).await;
    let keys = keys["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    assert!(
        keys.iter()
            .all(|key| key["name"] == "backend" && key["state"] == "live")
    );
    assert!(keys[0].get("key").is_none() && !json!(keys).to_string().contains(&old[21..]));
    assert!(
        keys.iter().all(|key| key["last_used_at"].is_string()),
        "{keys:?}"
    );

    let revoke = format!("/v1/admin/keys/{id}/revoke");
    assert_eq!(
        done(&api, &revoke, &admin, json!({})).await["changed"],
        true
    );
    assert_eq!(
        done(&api, &revoke, &admin, json!({})).await["changed"],
        false
    );
    problem(
        post(&api, &rotate, &admin, &json!({})).await,
        409,
        "conflict",
    )
    .await;
    eventually(|| async {
        let status = get(&api, "/v1/jobs/job_0", old).await.status();
        (status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    assert_eq!(
        get(&api, "/v1/jobs/job_0", new_key).await.status(),
        StatusCode::NOT_FOUND
    );

    for (body, status, kind) in [
        (
            json!({"tenant": "acme", "scopes": []}),
            422,
            "invalid-params",
        ),
        (
            json!({"tenant": "acme", "scopes": ["root"]}),
            400,
            "malformed",
        ),
        (
            json!({"tenant": "acme", "expires_in_s": 0}),
            422,
            "invalid-params",
        ),
        (
            json!({"tenant": "acme", "expires_in_s": u64::MAX}),
            422,
            "invalid-params",
        ),
        (json!({"tenant": "acme", "key": "mine"}), 400, "malformed"),
    ] {
        problem(
            post(&api, "/v1/admin/keys", &admin, &body).await,
            status,
            kind,
        )
        .await;
    }
    for path in [
        "/v1/admin/keys/0000000000000000/revoke",
        "/v1/admin/keys/x/revoke",
    ] {
        problem(post(&api, path, &admin, &json!({})).await, 404, "not-found").await;
    }
    problem(
        get(&api, "/v1/admin/keys?tenant=nobody", &admin).await,
        404,
        "not-found",
    )
    .await;
}

#[tokio::test]
async fn an_operator_looks_at_the_queue_pauses_and_drains_it() {
    let api = Api::start().await;
    let admin = key(&api, "ops", Scopes::ALL).await;
    let worker = api.worker();
    worker.show_up().await;
    done(&api, "/v1/jobs", &admin, scene_body(SCENE)).await;
    let queue = read(&api, "/v1/admin/queue", &admin).await;
    assert_eq!(
        (
            &queue["prefix"],
            &queue["jobs"]["ready"],
            &queue["slots"]["total"]
        ),
        (&json!("mq"), &json!(1), &json!(1))
    );
    let paused = done(&api, "/v1/admin/pause", &admin, json!({"lane": "batch"})).await;
    assert_eq!(
        paused,
        json!({"scope": "lane", "name": "batch", "paused": true, "changed": true})
    );
    assert_eq!(
        read(&api, "/v1/admin/queue", &admin).await["paused"]["lanes"],
        json!(["batch"])
    );
    let resumed = done(&api, "/v1/admin/resume", &admin, json!({"lane": "batch"})).await;
    assert_eq!(resumed["changed"], true);
    for wrong in [json!({}), json!({"all": true, "tenant": "acme"})] {
        problem(
            post(&api, "/v1/admin/pause", &admin, &wrong).await,
            422,
            "invalid-params",
        )
        .await;
    }

    let id = worker.info.id.to_string();
    let drained = done(
        &api,
        "/v1/admin/workers/drain",
        &admin,
        json!({"workers": [id]}),
    )
    .await;
    assert_eq!(
        (
            &drained["workers"][0]["draining"],
            &drained["workers"][0]["changed"]
        ),
        (&json!(true), &json!(true))
    );
    let workers = read(&api, "/v1/admin/workers", &admin).await;
    assert_eq!(
        (
            &workers["workers"][0]["id"],
            &workers["workers"][0]["state"]
        ),
        (&json!(id), &json!("drained"))
    );
    let undone = done(
        &api,
        "/v1/admin/workers/drain",
        &admin,
        json!({"all": true, "undo": true}),
    )
    .await;
    assert_eq!(undone["workers"][0]["draining"], false);
    for wrong in [
        json!({}),
        json!({"workers": ["wk_none"]}),
        json!({"all": true, "workers": ["wk_"]}),
    ] {
        let refused = post(&api, "/v1/admin/workers/drain", &admin, &wrong).await;
        problem(refused, 422, "invalid-params").await;
    }
}

#[tokio::test]
async fn an_operator_redrives_and_discards_dead_letters() {
    let api = Api::start().await;
    let admin = key(&api, "ops", Scopes::ALL).await;
    let worker = api.worker();
    let mut dead = Vec::new();
    for _ in 0..2 {
        let job = done(&api, "/v1/jobs", &admin, scene_body(SCENE)).await;
        let id: manimq_shared::ids::JobId = job["id"].as_str().unwrap().parse().unwrap();
        eventually(|| async {
            let lease = std::time::Duration::from_secs(600);
            let claimed = api.queue.claim(&worker.info, 1, lease).await.unwrap();
            let claim = claimed.claims.into_iter().next()?;
            let error = failed(JobError::new(FailureClass::Storage, "the disk is full"));
            let settled = worker.fail(&claim, &error).await;
            if settled == Settled::WillRetry {
                is_due(&api.queue, id).await;
            }
            (settled == Settled::Accepted).then_some(())
        })
        .await;
        dead.push(id);
    }
    let list = read(
        &api,
        "/v1/admin/dead?class=storage&since=1h&limit=1",
        &admin,
    )
    .await;
    assert_eq!(
        (&list["dead"][0]["job"], &list["more"]),
        (&json!(dead[0]), &json!(true))
    );
    assert_eq!(list["dead"][0]["message"], "the disk is full");
    assert_eq!(
        read(&api, "/v1/admin/dead?class=internal", &admin).await["dead"],
        json!([])
    );
    let report = done(
        &api,
        "/v1/admin/dead/redrive",
        &admin,
        json!({"tenant": "ops", "dry_run": true}),
    )
    .await;
    assert_eq!(report["redriven"].as_array().unwrap().len(), 2);
    let report = done(
        &api,
        "/v1/admin/dead/redrive",
        &admin,
        json!({"tenant": "ops", "limit": 1}),
    )
    .await;
    assert_eq!(
        (&report["accepted"], &report["redriven"][0]["dead"]),
        (&json!(1), &json!(dead[0]))
    );
    let new = report["redriven"][0]["job"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(
        api.queue.read(new).await.unwrap().unwrap().status,
        Status::Queued
    );
    let body = json!({"tenant": "ops", "jobs": [dead[0], dead[1]]});
    let report = done(&api, "/v1/admin/dead/discard", &admin, body).await;
    assert_eq!(
        (&report["discarded"], &report["missing"]),
        (&json!(1), &json!(1))
    );
    for (path, body) in [
        ("/v1/admin/dead/discard", json!({"tenant": "ops"})),
        ("/v1/admin/dead/redrive", json!({"since": "yesterday"})),
        ("/v1/admin/dead/redrive", json!({"limit": 0})),
    ] {
        problem(post(&api, path, &admin, &body).await, 422, "invalid-params").await;
    }
}

#[tokio::test]
async fn a_tenant_is_deleted_with_jobs_files_webhooks_and_keys_and_others_stay() {
    let api = Api::start().await;
    let admin = key(&api, "ops", Scopes::ALL).await;
    let acme = key(&api, "acme", Scopes::USUAL).await;
    let worker = api.worker();
    let finished = async |key: &str| -> Value {
        let job = done(&api, "/v1/jobs", key, scene_body(SCENE)).await;
        let claim = worker.claim().await;
        worker.succeed(&claim, &[("video.mp4", b"film")]).await;
        job
    };
    let kept = finished(&admin).await;
    let ended = finished(&acme).await;
    done(&api, "/v1/jobs", &acme, scene_body(SCENE)).await;
    let running = worker.claim().await;
    let waiting = done(&api, "/v1/jobs", &acme, scene_body(SCENE)).await;
    let hook = json!({"url": "https://hooks.example/"});
    done(&api, "/v1/webhooks", &acme, hook).await;
    assert_eq!(api.stored_files().len(), 2);

    let path = "/v1/admin/tenants/acme";
    let delete = async |query: &str| -> Value {
        let request = with(
            api.request(Method::DELETE, &format!("{path}{query}")),
            &admin,
        );
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    };
    let would = delete("?dry_run=true").await;
    assert_eq!(
        (
            &would["jobs"],
            &would["not_ended"],
            &would["files"],
            &would["file_bytes"]
        ),
        (&json!(3), &json!(2), &json!(1), &json!(4))
    );
    assert_eq!(
        (&would["webhooks"], &would["keys"], &would["complete"]),
        (&json!(1), &json!(1), &json!(false))
    );
    let id = waiting["id"].as_str().unwrap();
    assert_eq!(
        get(&api, &format!("/v1/jobs/{id}"), &acme).await.status(),
        StatusCode::OK
    );

    // The worker obeys the cancel when it hears of it.
    let stopping = async {
        eventually(|| async {
            let record = api.queue.read(running.job).await.unwrap().unwrap();
            record.cancel_requested_at.map(|_| ())
        })
        .await;
        worker.finish_canceled(&running).await;
    };
    let (went, ()) = tokio::join!(delete(""), stopping);
    assert_eq!(
        (&went["complete"], &went["jobs"]),
        (&json!(true), &json!(3)),
        "{went}"
    );
    assert_eq!(
        (&went["files_removed"], &went["not_ended"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(api.stored_files().len(), 1, "another's file stays");
    for job in [&ended, &waiting] {
        let id = job["id"].as_str().unwrap().parse().unwrap();
        assert!(api.queue.read(id).await.unwrap().is_none());
    }
    problem(get(&api, "/v1/usage", &acme).await, 401, "unauthenticated").await;
    let tenant = "acme".parse().unwrap();
    assert!(api.queue.webhooks(&tenant).await.unwrap().is_empty());
    assert!(api.queue.account(&tenant).await.unwrap().is_none());
    let kept = format!(
        "/v1/jobs/{}/artifacts/video.mp4",
        kept["id"].as_str().unwrap()
    );
    assert_eq!(get(&api, &kept, &admin).await.status(), StatusCode::FOUND);
    // A tenant of the same name begins anew.
    let again = key(&api, "acme", Scopes::USUAL).await;
    let list: Value = get(&api, "/v1/jobs", &again).await.json().await.unwrap();
    assert_eq!(list["jobs"], json!([]));
    done(&api, "/v1/jobs", &again, scene_body(SCENE)).await;
    let _ = worker.claim().await;
    let nobody = with(
        api.request(Method::DELETE, "/v1/admin/tenants/nobody"),
        &admin,
    );
    problem(nobody.send().await.unwrap(), 404, "not-found").await;
}

#[tokio::test]
async fn of_a_deleted_tenant_no_file_that_came_with_a_job_is_left_and_no_note_of_one() {
    let api = Api::start().await;
    let admin = key(&api, "ops", Scopes::ALL).await;
    let acme = key(&api, "acme", Scopes::USUAL).await;
    let form = crate::assets::form(&scene_body(SCENE), &[("a.png", b"one")]);
    let request = api.request(Method::POST, "/v1/jobs").multipart(form);
    let sent = with(request, &acme).send().await.unwrap();
    assert_eq!(sent.status(), StatusCode::ACCEPTED);
    let notes = async || -> (u64, u64) {
        let keys = api.queue.keys();
        let mut command = redis::cmd("HEXISTS");
        command.arg(keys.asset_bytes()).arg("acme");
        let room = api.queue.query(&command).await.unwrap();
        let mut command = redis::cmd("EXISTS");
        command.arg(keys.assets(&"acme".parse().unwrap()));
        (room, api.queue.query(&command).await.unwrap())
    };
    let files = || {
        let folder = api.data_path("artifacts/manim_assets/acme");
        std::fs::read_dir(folder).unwrap().count()
    };
    assert_eq!((notes().await, files()), ((1, 1), 1));
    let request = with(
        api.request(Method::DELETE, "/v1/admin/tenants/acme"),
        &admin,
    );
    let went: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&went["complete"], &went["files_removed"]),
        (&json!(true), &json!(1)),
        "{went}"
    );
    assert_eq!((notes().await, files()), ((0, 0), 0));
}
