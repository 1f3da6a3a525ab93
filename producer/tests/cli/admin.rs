//! `manimq admin` against a Redis of its own, with a queue of known content.

use std::time::Duration;

use manimq::storage::{Store, StoreConfig, Sweeper};
use manimq_shared::ids::{JobId, TenantId};
use manimq_shared::job::{FailureClass, JobError, JobRequest, JobResult, Status};
use manimq_shared::queue::{
    Claim, Enqueued, LEASE, NewJob, Queue, RedisConfig, Settled, WorkerInfo, failed,
};
use manimq_shared::testing::{self, RedisServer, is_due};
use serde_json::{Value, json};

use crate::support::{Said, eventually, manimq, run};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

struct Bench {
    redis: RedisServer,
    queue: Queue,
    folder: tempfile::TempDir,
    worker: WorkerInfo,
}

impl Bench {
    async fn new() -> Self {
        Self::with_shards(1).await
    }

    async fn with_shards(shards: u16) -> Self {
        let redis = RedisServer::start();
        let config = RedisConfig {
            shards: Some(shards),
            ..redis.config("mq")
        };
        Self {
            queue: Queue::connect(&config).await.unwrap(),
            redis,
            folder: tempfile::tempdir().unwrap(),
            worker: worker("render-1"),
        }
    }

    /// `manimq admin …`, for people.
    async fn admin(&self, args: &[&str]) -> Said {
        let mut command = manimq(self.folder.path());
        command.arg("admin").args(args);
        run(command.env("REDIS_URL", self.redis.url())).await
    }

    /// `manimq admin … --json`: exit status and document.
    async fn json(&self, args: &[&str]) -> (i32, Value) {
        let said = self.admin(&[args, &["--json"]].concat()).await;
        assert_eq!(said.err, "", "{args:?}");
        let document = serde_json::from_str(&said.out)
            .unwrap_or_else(|error| panic!("{args:?}: {error}: {}", said.out));
        (said.code.unwrap(), document)
    }

    /// `manimq admin …` that must go well, without a word on standard error and without colours.
    async fn good(&self, args: &[&str]) -> String {
        let said = self.admin(args).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{args:?}");
        assert!(!said.out.contains('\x1b'), "{args:?}");
        said.out
    }

    async fn submit(&self, owner: &str) -> JobId {
        let job = job(owner);
        self.submit_job(owner, &job).await;
        job.id
    }

    async fn submit_job(&self, owner: &str, job: &NewJob) {
        let replies = self
            .queue
            .enqueue(&tenant(owner), std::slice::from_ref(job))
            .await;
        assert_eq!(replies.unwrap(), [Enqueued::Accepted]);
    }

    async fn claim(&self) -> Claim {
        let claimed = self.queue.claim(&self.worker, 1, LONG).await.unwrap();
        claimed.claims.into_iter().next().expect("a job is ready")
    }

    /// The worker says that it lives.
    async fn heard(&self) {
        self.queue.renew(&self.worker, LONG, &[]).await.unwrap();
    }

    /// Makes a dead letter.
    async fn dies(&self, owner: &str, class: FailureClass, message: &str) -> JobId {
        let id = self.submit(owner).await;
        let error = failed(JobError::new(class, message));
        eventually("it is given up", async || {
            let claimed = self.queue.claim(&self.worker, 1, LONG).await.unwrap();
            let claim = claimed.claims.into_iter().next()?;
            assert_eq!(claim.job, id);
            let settled = self.queue.fail(id, claim.epoch, &error, 0.0).await.unwrap();
            if settled == Settled::WillRetry {
                is_due(&self.queue, id).await;
            }
            (settled == Settled::Accepted).then_some(())
        })
        .await;
        id
    }

    async fn status(&self, id: JobId) -> Status {
        self.queue.read(id).await.unwrap().unwrap().status
    }
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

fn worker(host: &str) -> WorkerInfo {
    WorkerInfo {
        host: host.to_owned(),
        version: "0.1.0".to_owned(),
        ..testing::worker(2)
    }
}

fn job(owner: &str) -> NewJob {
    let request: JobRequest = serde_json::from_value(json!({
        "input": {"kind": "code", "source": "SECRET = 1", "scene": "Intro"}
    }))
    .unwrap();
    NewJob::new(&tenant(owner), request)
}

/// The line of a table that begins with `start`, its columns one space apart.
fn line(text: &str, start: &str) -> String {
    let found = text.lines().find(|line| line.starts_with(start));
    let found = found.unwrap_or_else(|| panic!("no {start:?} in: {text}"));
    found.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn the_queue_is_told_at_a_glance() {
    let bench = Bench::new().await;
    bench.heard().await;
    bench.submit("acme").await;
    let _ = bench.claim().await;
    bench.submit("acme").await;
    bench.submit("acme").await;
    let mut later = job("acme");
    later.delay = LONG;
    bench.submit_job("acme", &later).await;
    bench.good(&["pause", "--lane", "batch"]).await;
    bench.heard().await;
    let text = bench.good(&["queue"]).await;
    assert_eq!(
        line(&text, "jobs"),
        "jobs 2 ready, 1 delayed, 1 running, 0 following"
    );
    assert_eq!(line(&text, "workers"), "workers 1");
    assert_eq!(line(&text, "slots"), "slots 2: 0 busy, 2 idle, 0 not ready");
    assert_eq!(line(&text, "paused"), "paused the lane batch");
    assert!(line(&text, "so far").starts_with("so far 4 submitted, 0 succeeded, 0 failed"));
    bench.heard().await;
    let (code, document) = bench.json(&["queue"]).await;
    assert_eq!(code, 0);
    assert_eq!(
        document["jobs"],
        json!({"ready": 2, "delayed": 1, "running": 1, "following": 0})
    );
    assert_eq!(document["workers"], json!({"live": 1, "draining": 0}));
    assert_eq!(
        document["slots"],
        json!({"total": 2, "ready": 2, "busy": 0})
    );
    assert_eq!(
        document["paused"],
        json!({"all": false, "lanes": ["batch"]})
    );
    for counter in ["submitted", "succeeded", "failed", "canceled", "expired"]
        .iter()
        .chain(&["cached", "coalesced", "leases_lost", "repairs"])
    {
        let expected = if *counter == "submitted" { 4 } else { 0 };
        assert_eq!(document["counters"][counter], expected, "{counter}");
    }
}

#[tokio::test]
async fn a_watched_queue_is_told_again_until_it_is_interrupted() {
    let bench = Bench::new().await;
    let mut command = manimq(bench.folder.path());
    command
        .args(["admin", "queue", "--watch"])
        .env("REDIS_URL", bench.redis.url());
    let live = crate::support::Live::start(&mut command);
    eventually("it looked twice", async || {
        (live.out().matches("0 ready").count() >= 2).then_some(())
    })
    .await;
    live.signal(rustix::process::Signal::INT);
    assert_eq!(live.ended().await.code, Some(0));
    let (code, document) = bench.json(&["queue", "--watch"]).await;
    assert_eq!((code, &document["error"]["type"]), (2, &json!("usage")));
}

#[tokio::test]
async fn how_long_jobs_are_kept_is_shown_and_set_for_all_shards() {
    let bench = Bench::with_shards(2).await;
    let text = bench.good(&["queue", "retention"]).await;
    assert_eq!(line(&text, "succeeded"), "succeeded 1day");
    assert_eq!(line(&text, "failed"), "failed, cancelled, expired 14days");
    let set = ["queue", "retention", "--succeeded", "90m"];
    let text = bench.good(&set).await;
    assert_eq!(line(&text, "succeeded"), "succeeded 1day → 1h 30m");
    let (code, document) = bench.json(&["queue", "retention", "--failed", "7d"]).await;
    assert_eq!(code, 0);
    assert_eq!(
        document,
        json!({
            "retention": {"succeeded_s": 5_400, "failed_s": 604_800},
            "before": {"succeeded_s": 5_400, "failed_s": 1_209_600},
        })
    );
    for owner in ["acme", "b", "c", "d", "e"] {
        let id = bench.submit(owner).await;
        let claim = bench.claim().await;
        let result = JobResult::default();
        let ended = bench.queue.finish(id, claim.epoch, &result).await;
        assert_eq!(ended.unwrap(), Settled::Accepted);
        let key = bench.queue.keys_of(id).job(id);
        let kept: i64 = bench.queue.query(redis::cmd("TTL").arg(key)).await.unwrap();
        assert!((5_300..=5_400).contains(&kept), "{owner}: {kept}");
    }
    for wrong in ["30s", "31d", "1500ms", "soon"] {
        let said = bench
            .admin(&["queue", "retention", "--failed", wrong])
            .await;
        assert_eq!(said.code, Some(2), "{wrong}");
        assert!(said.err.contains("from 1m to 30d"), "{}", said.err);
    }
}

#[tokio::test]
async fn tenants_of_all_shards_are_listed_up_to_the_limit() {
    let bench = Bench::with_shards(4).await;
    let names = ["ada", "ben", "cleo", "dan", "eve"];
    for name in names {
        bench.submit(name).await;
    }
    bench.submit("eve").await;
    let text = bench.good(&["tenants", "list"]).await;
    assert_eq!(
        line(&text, "TENANT"),
        "TENANT KEYS READY RUNNING OPEN DEAD USUAL JOB TODAY LAST ACTIVE STATE"
    );
    assert!(line(&text, "eve").starts_with("eve 0 2 0 2 0 5 s 0 s "));
    assert!(line(&text, "eve").ends_with("next may start"));
    let (_, document) = bench.json(&["tenants", "list"]).await;
    let listed = document["tenants"].as_array().unwrap();
    let mut found: Vec<_> = listed
        .iter()
        .map(|one| one["tenant"].as_str().unwrap())
        .collect();
    found.sort_unstable();
    assert_eq!(found, names);
    assert_eq!(document["more"], false);
    let (_, document) = bench.json(&["tenants", "list", "--limit", "2"]).await;
    assert_eq!(document["tenants"].as_array().unwrap().len(), 2);
    assert_eq!(document["more"], true);
    let text = bench.good(&["tenants", "list", "--limit", "2"]).await;
    assert!(text.ends_with("and more: --limit 20\n"), "{text}");
}

#[tokio::test]
async fn tenants_and_their_keys_are_made_before_there_is_a_queue_and_shown_once() {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let admin = async |args: &[&str]| {
        let mut command = manimq(folder.path());
        command.arg("admin").args(args);
        run(command.env("REDIS_URL", redis.url())).await
    };
    let early = admin(&["keys", "create", "acme"]).await;
    assert_eq!(early.code, Some(1));
    assert!(
        early.err.contains("manimq admin tenants create acme"),
        "{}",
        early.err
    );
    let made = admin(&["tenants", "create", "acme", "--name", "Acme Inc."]).await;
    assert_eq!((made.code, made.err.as_str()), (Some(0), ""));
    assert!(
        made.out.contains("manimq admin keys create acme"),
        "{}",
        made.out
    );
    assert!(made.out.contains("no queue in Redis at"), "{}", made.out);
    let made = admin(&["keys", "create", "acme", "--name", "ci", "--expires", "90d"]).await;
    assert_eq!((made.code, made.err.as_str()), (Some(0), ""));
    let key = line(&made.out, "key ")
        .split_once(' ')
        .unwrap()
        .1
        .to_owned();
    assert!(key.starts_with("mqk_") && key.len() == 69, "{key}");
    assert!(made.out.contains("not shown again"));
    let list = admin(&["keys", "list", "acme"]).await.out;
    assert!(
        list.contains(&key[4..20]) && !list.contains(&key[21..]),
        "{list}"
    );
    assert!(
        line(&list, &key[4..20]).contains("acme ci render,code live"),
        "{list}"
    );

    // Where there is a queue, nothing is said of that.
    Queue::connect(&redis.config("mq")).await.unwrap();
    let again = admin(&["tenants", "create", "acme"]).await;
    assert_eq!(again.code, Some(1));
    assert!(
        again.err.contains("there is a tenant acme already"),
        "{}",
        again.err
    );
    let list = admin(&["keys", "list"]).await.out;
    assert!(
        list.contains(&key[4..20]) && !list.contains("no queue"),
        "{list}"
    );
}

#[tokio::test]
async fn keys_are_rotated_with_an_overlap_and_revoked() {
    let bench = Bench::new().await;
    bench.good(&["tenants", "create", "acme"]).await;
    let (code, made) = bench
        .json(&["keys", "create", "acme", "--scopes", "render"])
        .await;
    assert_eq!((code, &made["record"]["scopes"]), (0, &json!(["render"])));
    let id = made["record"]["id"].as_str().unwrap();
    assert!(
        made["key"]
            .as_str()
            .unwrap()
            .starts_with(&format!("mqk_{id}_"))
    );
    let (code, new) = bench.json(&["keys", "rotate", id, "--overlap", "7d"]).await;
    assert_eq!((code, &new["record"]["scopes"]), (0, &json!(["render"])));
    let (_, list) = bench.json(&["keys", "list", "acme"]).await;
    let states: Vec<_> = list["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["state"])
        .collect();
    assert_eq!(states, ["live", "live"]);
    let text = bench
        .good(&["keys", "rotate", &format!("mqk_{id}"), "--overlap", "0s"])
        .await;
    assert!(line(&text, "old key").contains("stops in 0 s"), "{text}");
    let new_id = new["record"]["id"].as_str().unwrap();
    let (_, document) = bench.json(&["keys", "revoke", new_id]).await;
    assert_eq!(document, json!({"id": new_id, "changed": true}));
    let text = bench.good(&["keys", "revoke", new_id]).await;
    assert!(text.contains("was revoked already"), "{text}");
    let (_, tenant) = bench.json(&["tenants", "show", "acme"]).await;
    assert_eq!(
        (&tenant["keys_live"], &tenant["quotas"]["running_max"]),
        (&json!(1), &Value::Null)
    );

    for (args, code, words) in [
        (vec!["keys", "rotate", id], 1, "revoked or has expired"),
        (
            vec!["keys", "revoke", "0000000000000000"],
            1,
            "no key 0000000000000000",
        ),
        (vec!["keys", "revoke", "nonsense"], 2, "16 hex digits"),
        (
            vec!["keys", "revoke", made["key"].as_str().unwrap()],
            2,
            "whole key",
        ),
        (vec!["keys", "create", "nobody"], 1, "tenants create nobody"),
        (vec!["keys", "list", "nobody"], 1, "no tenant nobody"),
        (
            vec!["keys", "create", "acme", "--scopes", "root"],
            2,
            "render, code and admin",
        ),
        (
            vec!["keys", "create", "acme", "--expires", "0s"],
            2,
            "ended already",
        ),
        (
            vec!["keys", "create", "acme", "--expires", "9999y"],
            2,
            "100 years",
        ),
        (vec!["tenants", "create", "A B"], 2, "tenant name"),
        (vec!["tenants", "disable", "nobody"], 1, "no tenant nobody"),
    ] {
        let said = bench.admin(&args).await;
        assert_eq!(said.code, Some(code), "{args:?}: {}", said.err);
        assert!(said.err.contains(words), "{args:?}: {}", said.err);
    }
}

#[tokio::test]
async fn a_rotated_key_lives_as_long_as_the_old_one_was_made_for_unless_told_otherwise() {
    let bench = Bench::new().await;
    bench.good(&["tenants", "create", "acme"]).await;
    let days = |made: &Value| {
        let time = |name: &str| {
            made["record"][name]
                .as_str()?
                .parse::<jiff::Timestamp>()
                .ok()
        };
        Some(
            time("expires_at")?
                .duration_since(time("created_at")?)
                .as_hours()
                / 24,
        )
    };
    for (made_for, asked, lives) in [
        (Some("90d"), None, Some(90)),
        (Some("90d"), Some("5d"), Some(5)),
        (None, None, None),
        (None, Some("5d"), Some(5)),
    ] {
        let mut create = vec!["keys", "create", "acme"];
        create.extend(made_for.iter().flat_map(|time| ["--expires", time]));
        let (_, old) = bench.json(&create).await;
        let mut rotate = vec!["keys", "rotate", old["record"]["id"].as_str().unwrap()];
        rotate.extend(asked.iter().flat_map(|time| ["--expires", time]));
        let (code, new) = bench.json(&rotate).await;
        assert_eq!(
            (code, days(&new)),
            (0, lives),
            "{made_for:?} {asked:?}: {new}"
        );
        // Again, as after a lost answer: the old one's end is near by now, and that says nothing of its life.
        let (code, again) = bench.json(&rotate).await;
        assert_eq!((code, days(&again)), (0, lives), "{made_for:?} {asked:?}");
    }
}

#[tokio::test]
async fn settings_of_a_tenant_that_nobody_knows_are_kept_and_that_is_said() {
    let bench = Bench::new().await;
    let set = ["tenants", "set", "acmee", "--weight", "2"];
    let text = bench.good(&set).await;
    assert_eq!(line(&text, "weight"), "weight 1 (default) → 2.0");
    assert!(text.contains("note: acmee was not known"), "{text}");
    let text = bench.good(&set).await;
    assert!(!text.contains("note:"), "now it is: {text}");
    let text = bench
        .good(&["tenants", "limits", "beta", "frames=900"])
        .await;
    assert!(text.contains("note: beta was not known"), "{text}");
    let text = bench.good(&["tenants", "limits", "nobody"]).await;
    assert!(!text.contains("note:"), "nothing was set: {text}");
    bench.good(&["tenants", "create", "made"]).await;
    let (_, document) = bench
        .json(&["tenants", "set", "made", "--weight", "2"])
        .await;
    assert_eq!(document["known"], true);
    // A key for `default` needs a tenant of that name, like any other.
    let said = bench.admin(&["keys", "create", "default"]).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("manimq admin tenants create default"),
        "{}",
        said.err
    );
}

#[tokio::test]
async fn a_disabled_tenant_keeps_its_jobs_and_a_deleted_one_nothing() {
    let bench = Bench::new().await;
    bench.good(&["tenants", "create", "acme"]).await;
    bench.good(&["keys", "create", "acme"]).await;
    let waiting = bench.submit("acme").await;
    let other = bench.submit("beta").await;
    let text = bench.good(&["tenants", "disable", "acme"]).await;
    assert!(text.contains("its jobs stay"), "{text}");
    let text = bench.good(&["tenants", "list"]).await;
    assert!(line(&text, "acme").ends_with("disabled"), "{text}");
    assert_eq!(bench.claim().await.job, other, "acme's job does not start");
    let (_, document) = bench.json(&["tenants", "enable", "acme"]).await;
    assert_eq!(document["changed"], true);
    assert_eq!(bench.status(waiting).await, Status::Queued);

    let said = bench.admin(&["tenants", "delete", "acme"]).await;
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains("--dry-run") && said.err.contains("--yes"),
        "{}",
        said.err
    );
    let (_, would) = bench
        .json(&["tenants", "delete", "acme", "--dry-run"])
        .await;
    assert_eq!(
        (
            &would["jobs"],
            &would["not_ended"],
            &would["keys"],
            &would["complete"]
        ),
        (&json!(1), &json!(1), &json!(1), &json!(false))
    );
    assert_eq!(bench.status(waiting).await, Status::Queued);
    let (code, went) = bench.json(&["tenants", "delete", "acme", "--yes"]).await;
    assert_eq!(
        (code, &went["complete"], &went["jobs"]),
        (0, &json!(true), &json!(1))
    );
    assert!(bench.queue.read(waiting).await.unwrap().is_none());
    assert_eq!(bench.status(other).await, Status::Running);
    let said = bench.admin(&["tenants", "delete", "acme", "--yes"]).await;
    // The queue forgets it some minutes later.
    assert!(
        said.code == Some(0) || said.err.contains("no tenant acme"),
        "{}",
        said.err
    );
    assert_eq!(bench.admin(&["audit"]).await.code, Some(0));
}

#[tokio::test]
async fn a_deleted_tenants_jobs_go_also_if_no_list_has_them_any_more() {
    let bench = Bench::new().await;
    bench.good(&["tenants", "create", "acme"]).await;
    let waiting = bench.submit("acme").await;
    let owner = "acme".parse().unwrap();
    let tenant = format!("{}:t:acme", bench.queue.keys_of_tenant(&owner).base());
    // As after weeks of waiting.
    let script = "for _, k in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', k) end";
    let mut command = redis::cmd("EVAL");
    command.arg(script).arg(0).arg(format!("{tenant}:j*"));
    let () = bench.queue.query(&command).await.unwrap();
    let (code, went) = bench.json(&["tenants", "delete", "acme", "--yes"]).await;
    assert_eq!(
        (code, &went["complete"], &went["jobs"]),
        (0, &json!(true), &json!(1)),
        "{went}"
    );
    assert!(bench.queue.read(waiting).await.unwrap().is_none());
    assert_eq!(bench.admin(&["audit"]).await.code, Some(0));
}

#[tokio::test]
async fn a_deleted_tenants_files_are_told_of_also_if_no_film_was_made() {
    let bench = Bench::new().await;
    bench.good(&["tenants", "create", "acme"]).await;
    let notes = bench.queue.keys().assets(&"acme".parse().unwrap());
    let mut command = redis::cmd("ZADD");
    command.arg(&notes).arg(1).arg("a hash");
    let () = bench.queue.query(&command).await.unwrap();
    let text = bench.good(&["tenants", "delete", "acme", "--yes"]).await;
    for words in ["acme: gone", "--sweep-age", "--asset-age"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let left: u64 = bench
        .queue
        .query(redis::cmd("EXISTS").arg(&notes))
        .await
        .unwrap();
    assert_eq!(left, 0, "which files came with its jobs is forgotten");
}

#[tokio::test]
async fn quotas_change_where_they_are_named_and_old_and_new_are_told() {
    let bench = Bench::new().await;
    let text = bench
        .good(&[
            "tenants",
            "set",
            "acme",
            "--running-max",
            "4",
            "--weight",
            "2.5",
            "--quality-max",
            "4k",
            "--code",
            "false",
        ])
        .await;
    assert_eq!(
        line(&text, "running_max"),
        "running_max no limit (default) → 4"
    );
    assert_eq!(line(&text, "code"), "code true (default) → false");
    let (code, document) = bench
        .json(&[
            "tenants",
            "set",
            "acme",
            "--running-max",
            "6",
            "--code",
            "default",
            "--queued-max",
            "50",
            "--submits-per-minute",
            "7",
            "--submits-per-day",
            "8",
            "--render-s-per-day",
            "9",
            "--timeout-s-max",
            "10",
            "--source-bytes-max",
            "11",
        ])
        .await;
    assert_eq!(code, 0);
    assert_eq!(document["old"]["running_max"], 4);
    assert_eq!(document["old"]["code"], false);
    assert_eq!(
        document["new"],
        json!({
            "queued_max": 50, "running_max": 6, "submits_per_minute": 7, "submits_per_day": 8,
            "render_s_per_day": 9, "weight": 2.5, "quality_max": "4k", "timeout_s_max": 10,
            "source_bytes_max": 11, "code": null,
        })
    );
    assert_eq!(document["changed"].as_array().unwrap().len(), 8);
    let again = bench
        .good(&["tenants", "set", "acme", "--running-max", "6"])
        .await;
    assert_eq!(again, "acme: nothing changed, it was so before\n");

    let shown = bench.good(&["tenants", "show", "acme"]).await;
    assert_eq!(line(&shown, "quality_max"), "quality_max 4k");
    assert_eq!(line(&shown, "code"), "code true (default)");
    let (_, shown) = bench.json(&["tenants", "show", "acme"]).await;
    assert_eq!(shown["quotas"], document["new"]);
    assert_eq!(shown["place"], "idle");
    let (code, unknown) = bench.json(&["tenants", "show", "nobody"]).await;
    assert_eq!(
        (code, &unknown["error"]["type"]),
        (1, &json!("no-such-tenant"))
    );
}

#[tokio::test]
async fn a_wrong_quota_is_refused_by_name_and_changes_nothing() {
    let bench = Bench::new().await;
    for (args, words) in [
        (&["--weight", "0"][..], "weight 0 is not in 0.001 to 1000"),
        (&["--submits-per-minute", "0"], "at least 1"),
        (
            &["--running-max", "many"],
            "not a whole number, 0 or more; or write `default`",
        ),
        (&["--queued-max", "99999999999"], "too large a number"),
        (&["--weight", "heavy"], "not a number; or write `default`"),
        (&["--quality-max", "ultra"], "\"ultra\" is not one of low"),
        (
            &["--code", "perhaps"],
            "neither true nor false; or write `default`",
        ),
        (&[], "--running-max"),
    ] {
        let said = bench
            .admin(&[&["tenants", "set", "acme"], args].concat())
            .await;
        assert_eq!(said.code, Some(2), "{args:?}");
        assert!(said.err.contains(words), "{args:?}: {}", said.err);
    }
    let said = bench
        .admin(&["tenants", "set", "Acme!", "--code", "true"])
        .await;
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("Acme!"), "{}", said.err);
    let quotas = bench.queue.quotas(&tenant("acme")).await.unwrap();
    assert_eq!(quotas, manimq_shared::queue::Quotas::default());
}

#[tokio::test]
async fn jobs_are_listed_by_where_they_are() {
    let bench = Bench::with_shards(2).await;
    let running = bench.submit("acme").await;
    let _ = bench.claim().await;
    let ready = bench.submit("acme").await;
    let other = bench.submit("beta").await;
    let mut later = job("acme");
    later.delay = LONG;
    let output = &mut later.payload.request.output;
    (output.width, output.height) = (Some(640), Some(480));
    bench.submit_job("acme", &later).await;
    let text = bench.good(&["jobs", "list"]).await;
    let note = format!("on {}, lease ends in", bench.worker.id);
    let shown = line(&text, &running.to_string());
    assert!(
        shown.contains("acme running normal medium 1") && shown.contains(&note),
        "{text}"
    );
    assert!(line(&text, &ready.to_string()).ends_with("place 1 in its lane"));
    assert!(line(&text, &later.id.to_string()).contains("delayed"));
    assert!(line(&text, &other.to_string()).contains("beta ready"));

    let ids = async |args: &[&str]| {
        let (code, document) = bench.json(&[&["jobs", "list"], args].concat()).await;
        assert_eq!(code, 0);
        let jobs = document["jobs"].as_array().unwrap().iter();
        jobs.map(|job| job["id"].as_str().unwrap().parse().unwrap())
            .collect::<Vec<JobId>>()
    };
    let acme = ids(&["--tenant", "acme"]).await;
    assert_eq!(acme, [running, ready, later.id]);
    assert_eq!(ids(&["--status", "running"]).await, [running]);
    assert_eq!(ids(&["--status", "delayed"]).await, [later.id]);
    let (_, document) = bench.json(&["jobs", "list", "--status", "delayed"]).await;
    let sized = &document["jobs"][0];
    assert_eq!(
        (&sized["picture"], &sized["quality"]),
        (&json!("640x480"), &json!("low"))
    );
    let beta = ids(&["--tenant", "beta", "--status", "ready"]).await;
    assert_eq!(beta, [other]);
    assert_eq!(ids(&["--tenant", "nobody"]).await, []);
    let (_, document) = bench.json(&["jobs", "list", "--limit", "1"]).await;
    assert_eq!(document["more"], true);
    assert_eq!(document["jobs"][0]["worker"], json!(bench.worker.id));
    assert!(document["jobs"][0]["lease_until"].is_string());
    let text = bench.good(&["jobs", "list", "--tenant", "nobody"]).await;
    assert_eq!(text, "no such jobs\n");
}

#[tokio::test]
async fn a_job_is_shown_without_its_source_unless_that_is_asked_for() {
    let bench = Bench::new().await;
    let id = bench.submit("acme").await;
    let _ = bench.claim().await;
    let name = id.to_string();
    let text = bench.good(&["jobs", "show", &name]).await;
    assert_eq!(line(&text, "status"), "status running");
    assert!(text.contains("Intro, medium mp4, source of 10 bytes"));
    assert!(text.contains(&format!("on {}", bench.worker.id)));
    assert!(!text.contains("SECRET"));
    let (_, document) = bench.json(&["jobs", "show", &name]).await;
    assert_eq!(document["tenant"], "acme");
    assert_eq!(document["request"]["input"]["source_bytes"], 10);
    assert_eq!(document["request"]["input"].get("source"), None);
    assert_eq!(document["attempts"][0]["n"], 1);
    let text = bench.good(&["jobs", "show", &name, "--source"]).await;
    assert!(text.contains("SECRET = 1"));
    let (_, document) = bench.json(&["jobs", "show", &name, "--source"]).await;
    assert_eq!(document["request"]["input"]["source"], "SECRET = 1");

    let unknown = JobId::generate(&tenant("acme")).to_string();
    let said = bench.admin(&["jobs", "show", &unknown]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains(&unknown) && said.err.contains("hint:"));
    let said = bench.admin(&["jobs", "show", "7"]).await;
    assert_eq!(said.code, Some(2));
}

#[tokio::test]
async fn jobs_are_canceled_and_each_is_told_what_became_of_it() {
    let bench = Bench::new().await;
    let running = bench.submit("acme").await;
    let _ = bench.claim().await;
    let ready = bench.submit("acme").await;
    let (one, two) = (running.to_string(), ready.to_string());
    let text = bench.good(&["jobs", "cancel", &one, &two]).await;
    assert_eq!(
        text,
        format!("{one}: it runs; its worker is told to stop\n{two}: canceled\n")
    );
    assert_eq!(bench.status(ready).await, Status::Canceled);
    let unknown = JobId::generate(&tenant("acme")).to_string();
    let (code, document) = bench.json(&["jobs", "cancel", &two, &unknown]).await;
    assert_eq!(code, 1);
    let outcomes = [
        &document["jobs"][0]["outcome"],
        &document["jobs"][1]["outcome"],
    ];
    assert_eq!(outcomes, ["already_ended", "not_found"]);
}

#[tokio::test]
async fn a_job_that_has_ended_runs_again_as_another_and_refusals_say_why() {
    let bench = Bench::new().await;
    let id = bench.submit("acme").await;
    let name = id.to_string();
    let said = bench.admin(&["jobs", "rerun", &name]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("has not ended (queued)"), "{}", said.out);
    let claim = bench.claim().await;
    let result = JobResult::default();
    let settled = bench.queue.finish(id, claim.epoch, &result).await;
    assert_eq!(settled.unwrap(), Settled::Accepted);
    let (code, document) = bench.json(&["jobs", "rerun", &name]).await;
    assert_eq!(
        (code, &document["jobs"][0]["outcome"]),
        (0, &json!("accepted"))
    );
    let again: JobId = serde_json::from_value(document["jobs"][0]["job"].clone()).unwrap();
    let record = bench.queue.read(again).await.unwrap().unwrap();
    assert_eq!(record.payload.parent, Some(id));
    assert_eq!(record.status, Status::Queued);
    let text = bench.good(&["jobs", "rerun", &name]).await;
    assert!(text.starts_with(&format!("{name}: runs again as job_")));
    bench
        .good(&["tenants", "set", "acme", "--queued-max", "2"])
        .await;
    let said = bench.admin(&["jobs", "rerun", &name]).await;
    assert_eq!(said.code, Some(3));
    assert!(
        said.out.contains("refused: ") && said.out.contains("2 of 2"),
        "{}",
        said.out
    );
}

#[tokio::test]
async fn dead_letters_are_listed_run_again_and_discarded() {
    let bench = Bench::new().await;
    let full = bench
        .dies("acme", FailureClass::Storage, "the store is full")
        .await;
    let bug = bench
        .dies("acme", FailureClass::Internal, "a bug\nmore")
        .await;
    let beta = bench.dies("beta", FailureClass::Storage, "no store").await;
    let text = bench.good(&["dead", "list"]).await;
    let shown = line(&text, &full.to_string());
    assert!(
        shown.contains("storage 4") && shown.ends_with("the store is full"),
        "{text}"
    );
    assert!(line(&text, &bug.to_string()).ends_with("a bug"));
    assert!(line(&text, &beta.to_string()).contains("beta"));
    let (_, document) = bench
        .json(&["dead", "list", "--tenant", "acme", "--class", "internal"])
        .await;
    assert_eq!(document["dead"].as_array().unwrap().len(), 1);
    assert_eq!(document["dead"][0]["job"], json!(bug));
    assert_eq!(document["dead"][0]["message"], "a bug\nmore");
    let (_, document) = bench.json(&["dead", "list", "--limit", "2"]).await;
    assert_eq!(document["more"], true);
    let since = ["dead", "list", "--since", "2999-01-01T00:00:00Z"];
    assert_eq!(bench.good(&since).await, "no dead letters\n");
    let since = bench.good(&["dead", "list", "--since", "1h"]).await;
    assert_eq!(since.lines().count(), 4);
    let said = bench.admin(&["dead", "list", "--since", "soon"]).await;
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains("'soon'") && said.err.contains("2h"),
        "{}",
        said.err
    );

    let storage = ["dead", "redrive", "--class", "storage"];
    let (code, document) = bench.json(&[&storage[..], &["--dry-run"]].concat()).await;
    assert_eq!((code, &document["accepted"]), (0, &json!(0)));
    let dry = document["redriven"].as_array().unwrap();
    assert!(dry.len() == 2 && dry.iter().all(|one| one["outcome"] == "dry_run"));
    // One tenant's refusal keeps its letter and no other's.
    bench.submit("beta").await;
    bench
        .good(&["tenants", "set", "beta", "--queued-max", "1"])
        .await;
    let (code, document) = bench.json(&storage).await;
    assert_eq!(code, 3);
    assert_eq!(
        (&document["accepted"], &document["refused"]),
        (&json!(1), &json!(1))
    );
    let redriven = document["redriven"].as_array().unwrap();
    let again = redriven
        .iter()
        .find(|one| one["dead"] == json!(full))
        .unwrap();
    let again: JobId = serde_json::from_value(again["job"].clone()).unwrap();
    let record = bench.queue.read(again).await.unwrap().unwrap();
    assert_eq!(record.payload.parent, Some(full));
    let text = bench
        .good(&["dead", "redrive", "--tenant", "acme", "--class", "storage"])
        .await;
    assert_eq!(text, "no dead letters\n");
    let text = bench.good(&["dead", "redrive", "--tenant", "acme"]).await;
    assert!(
        text.ends_with("1 dead letter run again, 0 refused\n"),
        "{text}"
    );

    let said = bench
        .admin(&["dead", "discard", "--tenant", "acme", &full.to_string()])
        .await;
    assert_eq!(said.code, Some(1), "it is on the list no more");
    let (code, document) = bench
        .json(&["dead", "discard", "--tenant", "beta", "--all"])
        .await;
    assert_eq!((code, &document["discarded"]), (0, &json!(1)));
    assert_eq!(bench.good(&["dead", "list"]).await, "no dead letters\n");
    let text = bench
        .good(&["dead", "discard", "--tenant", "beta", "--all"])
        .await;
    assert_eq!(text, "0 dead letters of beta discarded\n");
}

#[tokio::test]
async fn more_dead_letters_than_one_call_takes_are_all_found_and_run_again() {
    let bench = Bench::new().await;
    let error = failed(JobError::new(FailureClass::Internal, "a bug"));
    let jobs: Vec<_> = (0..130).map(|_| job("acme")).collect();
    for some in jobs.chunks(100) {
        bench.queue.enqueue(&tenant("acme"), some).await.unwrap();
    }
    let mut dead = 0;
    while dead < jobs.len() {
        let claimed = bench.queue.claim(&bench.worker, 100, LEASE).await.unwrap();
        for claim in claimed.claims {
            let settled = bench.queue.fail(claim.job, claim.epoch, &error, 0.0).await;
            dead += usize::from(settled.unwrap() == Settled::Accepted);
        }
    }
    let (_, document) = bench.json(&["dead", "list", "--limit", "1000"]).await;
    assert_eq!(document["dead"].as_array().unwrap().len(), 130);
    let (code, document) = bench.json(&["dead", "redrive", "--limit", "120"]).await;
    assert_eq!((code, &document["accepted"]), (0, &json!(120)));
    let (_, document) = bench.json(&["dead", "list"]).await;
    assert_eq!(document["dead"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn workers_are_listed_drained_and_let_go_on() {
    let mut bench = Bench::with_shards(2).await;
    assert!(bench.good(&["workers"]).await.contains("no worker is live"));
    assert!(
        bench
            .good(&["drain", "--all"])
            .await
            .contains("no worker is live")
    );
    bench.worker.slots_busy = 1;
    let mut sick = worker("render-2");
    sick.slots_ready = 0;
    sick.trouble = Some("bubblewrap is missing\u{1b}[2J".to_owned());
    let heard = async || {
        for worker in [&bench.worker, &sick] {
            bench.queue.renew(worker, LONG, &[]).await.unwrap();
        }
    };
    heard().await;
    let text = bench.good(&["workers"]).await;
    let (one, two) = (bench.worker.id.to_string(), sick.id.to_string());
    assert_eq!(
        line(&text, &one),
        format!("{one} render-1 0.1.0 2 2 1 working")
    );
    let shown = line(&text, &two);
    assert!(
        shown.ends_with("2 0 0 not ready bubblewrap is missing\\u{1b}[2J"),
        "{shown}"
    );

    heard().await;
    let text = bench.good(&["drain", &one]).await;
    assert_eq!(text, format!("{one} claims no more; 1 render goes on\n"));
    bench.submit("acme").await;
    let claimed = bench.queue.claim(&bench.worker, 1, LONG).await.unwrap();
    assert!(claimed.claims.is_empty() && claimed.drained);
    heard().await;
    let (_, document) = bench.json(&["workers"]).await;
    let shown = document["workers"].as_array().unwrap();
    let shown = shown
        .iter()
        .find(|worker| worker["id"] == json!(one))
        .unwrap();
    assert_eq!(
        (&shown["state"], &shown["draining"]),
        (&json!("draining"), &json!(true))
    );
    heard().await;
    let text = bench.good(&["queue"]).await;
    assert_eq!(line(&text, "workers"), "workers 2, of which 1 drain");

    heard().await;
    let (code, document) = bench.json(&["drain", "--all"]).await;
    assert_eq!(code, 0);
    let mut changed: Vec<_> = document["workers"].as_array().unwrap().iter().collect();
    changed.sort_by_key(|worker| worker["host"].to_string());
    assert_eq!(
        (&changed[0]["changed"], &changed[1]["changed"]),
        (&json!(false), &json!(true))
    );
    heard().await;
    let text = bench.good(&["drain", "--undo", &one]).await;
    assert_eq!(text, format!("{one} claims again\n"));
    let claimed = bench.queue.claim(&bench.worker, 1, LONG).await.unwrap();
    assert_eq!(claimed.claims.len(), 1);

    heard().await;
    let said = bench.admin(&["drain", &one, "wk_nobody"]).await;
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains("\"wk_nobody\"") && said.err.contains("hint:"),
        "{}",
        said.err
    );
    let said = bench.admin(&["drain", "wk_"]).await;
    assert!(said.err.contains("2 live workers"), "{}", said.err);
    let claimed = bench.queue.claim(&bench.worker, 1, LONG).await.unwrap();
    assert!(!claimed.drained, "a wrong name changes nothing");
    assert_eq!(bench.admin(&["drain"]).await.code, Some(2));
}

#[tokio::test]
async fn an_audit_tells_what_is_wrong_and_repairs_it_when_asked() {
    let bench = Bench::new().await;
    bench.submit("acme").await;
    let text = bench.good(&["audit"]).await;
    assert!(text.ends_with("checked: nothing is wrong\n"), "{text}");
    let (code, document) = bench.json(&["audit"]).await;
    assert_eq!((code, &document["clean"]), (0, &json!(true)));
    // Somebody takes the tenant out of the index, so that its job would never start.
    let _: i64 = bench
        .redis
        .ask(redis::cmd("DEL").arg(format!("{}:vt", bench.queue.keys().base())));
    let said = bench.admin(&["audit"]).await;
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""));
    assert!(
        said.out.contains("wrong: ") && said.out.contains("acme"),
        "{}",
        said.out
    );
    let (code, document) = bench.json(&["audit"]).await;
    assert_eq!((code, &document["clean"]), (1, &json!(false)));
    assert!(!document["violations"].as_array().unwrap().is_empty());
    let (code, document) = bench.json(&["audit", "--repair"]).await;
    assert_eq!((code, &document["clean"]), (0, &json!(true)));
    assert!(
        document["repaired"][0].as_str().unwrap().contains("acme"),
        "{document}"
    );
    assert!(
        bench
            .good(&["audit", "--repair"])
            .await
            .contains("nothing is wrong")
    );
    let _ = bench.claim().await;
}

#[tokio::test]
async fn pauses_hold_until_they_are_resumed_and_repeating_them_changes_nothing() {
    let bench = Bench::with_shards(2).await;
    bench.submit("acme").await;
    for (scope, words) in [
        (&["--tenant", "acme"][..], "tenant acme"),
        (&["--lane", "normal"], "lane normal"),
        (&["--all"], "everything"),
    ] {
        let pause = [&["pause"], scope].concat();
        let resume = [&["resume"], scope].concat();
        assert_eq!(
            bench.good(&pause).await,
            format!("{words}: paused; what runs goes on\n")
        );
        assert_eq!(
            bench.good(&pause).await,
            format!("{words}: was paused already\n")
        );
        let claimed = bench.queue.claim(&bench.worker, 1, LONG).await.unwrap();
        assert!(claimed.claims.is_empty(), "{words}");
        let (code, document) = bench.json(&resume).await;
        assert_eq!(code, 0);
        assert_eq!(
            (&document["paused"], &document["changed"]),
            (&json!(false), &json!(true))
        );
        assert_eq!(
            bench.good(&resume).await,
            format!("{words}: was not paused\n")
        );
    }
    let _ = bench.claim().await;
    for wrong in [
        &["pause"][..],
        &["pause", "--all", "--lane", "batch"],
        &["pause", "--lane", "fast"],
    ] {
        assert_eq!(bench.admin(wrong).await.code, Some(2), "{wrong:?}");
    }
}

/// Each command once, harmless on an empty queue.
const COMMANDS: [&[&str]; 12] = [
    &["queue"],
    &["tenants", "list"],
    &["tenants", "set", "acme", "--code", "true"],
    &["tenants", "limits", "acme", "frames=1"],
    &["jobs", "list"],
    &["dead", "list"],
    &["dead", "redrive"],
    &["workers"],
    &["audit"],
    &["pause", "--all"],
    &["resume", "--all"],
    &["drain", "--all"],
];

#[tokio::test]
async fn without_redis_each_command_says_so_and_what_to_do() {
    let mut bench = Bench::new().await;
    bench.redis.kill();
    for args in COMMANDS {
        let said = bench.admin(args).await;
        assert_eq!((said.code, said.out.as_str()), (Some(6), ""), "{args:?}");
        assert!(said.err.starts_with("error: Redis at "), "{}", said.err);
        assert!(said.err.contains("hint: start Redis") && said.err.contains("REDIS_URL"));
        let (code, document) = bench.json(args).await;
        assert_eq!(code, 6);
        assert_eq!(document["error"]["type"], "redis-unreachable");
        assert_eq!(document["exit_code"], 6);
    }
}

#[tokio::test]
async fn a_redis_without_this_queue_is_named_and_none_begins_there() {
    let bench = Bench::new().await;
    let keys: Vec<String> = bench.redis.ask(redis::cmd("KEYS").arg("*"));
    for args in COMMANDS {
        let said = bench
            .admin(&[args, &["--redis-prefix", "other"]].concat())
            .await;
        assert_eq!(said.code, Some(2), "{args:?}");
        assert!(
            said.err.contains("no queue with the prefix other")
                && said.err.contains("--redis-prefix"),
            "{}",
            said.err
        );
    }
    assert_eq!(
        bench.redis.ask::<Vec<String>>(redis::cmd("KEYS").arg("*")),
        keys
    );
    let said = bench
        .admin(&["queue", "--redis-url", "http://x:secret@y"])
        .await;
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains("redis://") && !said.err.contains("secret"),
        "{}",
        said.err
    );
}

#[tokio::test]
async fn what_a_render_of_a_tenant_may_use_is_shown_and_changed() {
    let bench = Bench::new().await;
    let text = bench.good(&["tenants", "limits", "acme"]).await;
    assert!(
        text.contains("memory_mib") && text.contains("default"),
        "{text}"
    );
    let text = bench
        .good(&["tenants", "limits", "acme", "memory_mib=512,frames=900"])
        .await;
    assert!(text.contains("default → 512"), "{text}");
    let (_, document) = bench
        .json(&["tenants", "limits", "acme", "frames=default"])
        .await;
    assert_eq!(document["old"]["frames"], 900);
    assert_eq!(document["new"]["frames"], serde_json::Value::Null);
    assert_eq!(document["new"]["memory_mib"], 512);
    let (code, error) = bench.json(&["tenants", "limits", "acme", "memory=1"]).await;
    assert_eq!(code, 2, "{error}");
    assert!(error.to_string().contains("there is no limit"), "{error}");
}

#[tokio::test]
async fn a_sweep_of_the_store_says_what_it_would_remove_and_removes_only_in_its_own_store() {
    let bench = Bench::new().await;
    let data = bench.folder.path().join("data");
    let store = Store::open(&StoreConfig::local(&data)).unwrap();
    Sweeper::note_store(&bench.queue, store.identity())
        .await
        .unwrap();
    let key = "manim_videos/job_0198f2b4c5d67e8f9a0b1c2d3e4f5061.mp4";
    let file = data.join("artifacts").join(key);
    std::fs::write(&file, b"film").unwrap();
    let day = Duration::from_secs(86_400);
    let old = std::time::SystemTime::now() - 3 * day;
    std::fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_modified(old)
        .unwrap();
    let folder = data.to_str().unwrap();
    let sweep = ["storage", "sweep", "--data-dir", folder];

    // Older than what Redis knows of the store.
    let said = bench.good(&sweep).await;
    assert!(
        said.contains("removed 0") && said.contains("kept 1 file without"),
        "{said}"
    );
    let mut since = redis::cmd("SET");
    since.arg(bench.queue.keys().store_since()).arg(0);
    let () = bench.queue.query(&since).await.unwrap();
    let (code, would) = bench.json(&[&sweep[..], &["--dry-run"]].concat()).await;
    assert_eq!(
        (code, &would["removed"], &would["removed_bytes"]),
        (0, &json!(1), &json!(4))
    );
    assert_eq!(would["files"][0]["key"], key);
    assert!(file.exists());
    let said = bench.good(&sweep).await;
    assert!(
        said.contains("removed 1 with 4 bytes") && said.contains(key),
        "{said}"
    );
    assert!(!file.exists());

    let other = bench.folder.path().join("other");
    Store::open(&StoreConfig::local(&other)).unwrap();
    for (folder, word) in [
        (&other, "does not name this store"),
        (&bench.folder.path().join("none"), "no results lie in"),
    ] {
        let said = bench
            .admin(&["storage", "sweep", "--data-dir", folder.to_str().unwrap()])
            .await;
        assert_eq!(said.code, Some(2));
        assert!(said.err.contains(word), "{}", said.err);
    }
}
