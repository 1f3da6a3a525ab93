//! The queue on every kind of Redis: over TLS, as a user with few rights, behind sentinels, in a
//! Cluster; and what happens when these break.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use manimq_shared::ids::{JobId, TenantId};
use manimq_shared::job::{JobRequest, JobResult, Status};
use manimq_shared::keys::Topic;
use manimq_shared::queue::{
    ACL_RULES, Bell, Enqueued, LEASE, LIBRARY, Lease, NewJob, PARK, Queue, QueueError,
    RESPONSE_TIMEOUT, RedisConfig, Renewal, SOON, Settled, TlsFiles,
};
use manimq_shared::testing::{Certificates, ClusterSet, RedisServer, SentinelSet, worker};

/// A job with a source of so many bytes.
fn job(bytes: usize) -> NewJob {
    let request: JobRequest = serde_json::from_value(serde_json::json!({
        "input": {"kind": "code", "source": "x".repeat(bytes), "scene": "A"}
    }))
    .unwrap();
    NewJob::new(&TenantId::default(), request)
}

async fn submit(queue: &Queue, job: NewJob) -> Result<JobId, QueueError> {
    let id = job.id;
    let answers = queue.enqueue(&TenantId::default(), &[job]).await?;
    assert!(
        matches!(&answers[..], [Enqueued::Accepted]) || answers == [Enqueued::Exists(id)],
        "{answers:?}"
    );
    Ok(id)
}

/// Waits for a state, at most two minutes.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let limit = Duration::from_secs(120);
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(limit, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come true in {limit:?}"));
}

/// Starts to wait on the bell, as an idle worker does.
fn wait_on(mut bell: Bell, limit: Duration) -> tokio::task::JoinHandle<Result<bool, QueueError>> {
    tokio::spawn(async move { bell.wait(limit).await })
}

/// Submits jobs and renders them, in name: every kind of connection and every transition of a job
/// that goes well.
async fn lives(config: &RedisConfig) -> Result<(), QueueError> {
    let queue = Queue::connect(config).await?;
    let (worker, hub) = (worker(4), queue.hub());
    // An empty claim says that this worker waits, so the next job rings for it.
    assert!(queue.claim(&worker, 4, LEASE).await?.claims.is_empty());
    let bell = wait_on(queue.bell().await?, PARK);
    let small = submit(&queue, job(10)).await?;
    // A large payload goes ahead of its job.
    let large = submit(&queue, job(100_000)).await?;
    assert!(bell.await.unwrap()?, "the bell rang");
    let claims = queue.claim(&worker, 4, LEASE).await?.claims;
    assert_eq!(claims.len(), 2);
    let mut subscribed = hub.watch(queue.keys_of(small).job_topic(small));
    // The first hint is that it watches; jobs of one shard share the channel.
    subscribed.hinted().await;
    for claim in claims {
        assert!([small, large].contains(&claim.job));
        assert!(claim.payload.is_ok());
        let mut watch = hub.watch(queue.keys_of(claim.job).job_topic(claim.job));
        let news = Renewal {
            job: claim.job,
            epoch: claim.epoch,
            events: vec![],
        };
        queue.renew(&worker, LEASE, &[news]).await?;
        let ended = queue
            .finish(claim.job, claim.epoch, &JobResult::default())
            .await?;
        assert_eq!(ended, Settled::Accepted);
        tokio::time::timeout(Duration::from_secs(30), watch.hinted())
            .await
            .expect("a hint at the end of the job");
        let record = queue.read(claim.job).await?.unwrap();
        assert_eq!(record.status, Status::Succeeded);
    }
    assert!(queue.audit(false).await?.violations.is_empty());
    Ok(())
}

/// A channel of one's own.
fn test_topic() -> Topic {
    Topic {
        channel: "{mq:0}:test".to_owned(),
        item: String::new(),
    }
}

/// The words of an error that an operator must act upon.
fn remedy<T>(outcome: Result<T, QueueError>) -> String {
    match outcome {
        Ok(_) => panic!("it worked"),
        Err(QueueError::Configuration(text)) => text,
        Err(other) => panic!("not for the operator: {other:?}"),
    }
}

// ---- TLS

fn over_tls(server: &RedisServer, host: &str, files: TlsFiles) -> RedisConfig {
    RedisConfig {
        tls: files,
        ..RedisConfig::new(server.tls_url(host))
    }
}

#[tokio::test]
async fn jobs_live_over_tls_with_a_private_authority() {
    let certificates = Certificates::new();
    let server = RedisServer::start_tls(&certificates, "no");
    let files = TlsFiles {
        ca: Some(certificates.file("ca.pem")),
        ..TlsFiles::default()
    };
    lives(&over_tls(&server, "localhost", files.clone()))
        .await
        .unwrap();
    // Also by address, and with the file in the URL.
    let url = server.tls_url("127.0.0.1");
    let ca = certificates.file("ca.pem");
    lives(&RedisConfig::new(format!("{url}?ca={}", ca.display())))
        .await
        .unwrap();
}

#[tokio::test]
async fn jobs_live_over_tls_with_a_client_certificate_and_not_without() {
    let certificates = Certificates::new();
    let server = RedisServer::start_tls(&certificates, "yes");
    let mut files = TlsFiles {
        ca: Some(certificates.file("ca.pem")),
        cert: Some(certificates.file("client.pem")),
        key: Some(certificates.file("client.key")),
    };
    lives(&over_tls(&server, "localhost", files.clone()))
        .await
        .unwrap();
    (files.cert, files.key) = (None, None);
    let text = remedy(Queue::connect(&over_tls(&server, "localhost", files)).await);
    assert!(text.contains("MANIMQ_REDIS_CERT_FILE"), "{text}");
}

#[tokio::test]
async fn a_certificate_of_a_strange_authority_is_refused_with_the_remedy() {
    let certificates = Certificates::new();
    let server = RedisServer::start_tls(&certificates, "no");
    let other = TlsFiles {
        ca: Some(certificates.file("other-ca.pem")),
        ..TlsFiles::default()
    };
    for files in [other, TlsFiles::default()] {
        let text = remedy(Queue::connect(&over_tls(&server, "localhost", files)).await);
        assert!(text.contains("MANIMQ_REDIS_CA_FILE"), "{text}");
    }
    // The right authority, but not the name.
    let files = TlsFiles {
        ca: Some(certificates.file("ca.pem")),
        ..TlsFiles::default()
    };
    let text = remedy(Queue::connect(&over_tls(&server, "127.0.0.2", files)).await);
    assert!(text.contains("another name"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_clusters_speak_tls_throughout() {
    let certificates = Certificates::new();
    let files = TlsFiles {
        ca: Some(certificates.file("ca.pem")),
        ..TlsFiles::default()
    };
    let set = SentinelSet::start_with(false, "watch-word", Some(&certificates));
    assert!(set.url().starts_with("rediss+sentinel://"));
    let config = RedisConfig {
        tls: files.clone(),
        ..set.config("mq")
    };
    lives(&config).await.unwrap();
    drop(set);
    let set = ClusterSet::start_with(false, 0, Some(&certificates));
    assert!(set.url().starts_with("rediss+cluster://"));
    for prefix in ["a", "b", "c", "d"] {
        let config = RedisConfig {
            tls: files.clone(),
            ..set.config(prefix)
        };
        lives(&config).await.unwrap();
    }
}

// ---- users and passwords

const PASSWORD: &str = "open-sesame-42";

fn set_user(rights: &str) -> redis::Cmd {
    let mut command = redis::cmd("ACL");
    command.arg("SETUSER").arg("manimq").arg("reset").arg("on");
    command.arg(format!(">{PASSWORD}"));
    for right in rights.split_whitespace() {
        command.arg(right);
    }
    command
}

/// Makes the user `manimq` with these rights, and gives the URL with its password.
fn user(server: &RedisServer, rights: &str) -> RedisConfig {
    let () = server.ask(&set_user(rights));
    let path = server.socket();
    RedisConfig::new(format!(
        "unix://{}?user=manimq&pass={PASSWORD}",
        path.display()
    ))
}

#[tokio::test]
async fn a_user_with_only_the_documented_rights_suffices() {
    let server = RedisServer::start();
    lives(&user(&server, ACL_RULES)).await.unwrap();
}

#[tokio::test]
async fn the_documented_rights_cover_every_command_that_a_function_calls() {
    let server = RedisServer::start();
    user(&server, ACL_RULES);
    let queue = Queue::connect(&server.config("mq")).await.unwrap();
    let quoted = LIBRARY.code.split("call('").skip(1);
    let names: BTreeSet<_> = quoted.filter_map(|rest| rest.split('\'').next()).collect();
    assert!(names.len() > 30, "{names:?}");
    let may = async |name: &str| {
        let info = redis::cmd("COMMAND").arg("INFO").arg(name).clone();
        let info: Vec<Vec<redis::Value>> = queue.query(&info).await.unwrap();
        let redis::Value::Int(arity) = info[0][1] else {
            panic!("{name}: {info:?}");
        };
        let mut command = redis::cmd("ACL");
        command.arg("DRYRUN").arg("manimq").arg(name);
        for _ in 1..arity.abs() {
            command.arg("{mq:0}:x");
        }
        let said: String = queue.query(&command).await.unwrap();
        !said.contains("no permissions")
    };
    // These have subcommands, and are all in +@stream.
    let plain = |name: &&str| !["XGROUP", "XINFO"].contains(name);
    for name in names.into_iter().filter(plain) {
        assert!(may(name).await, "{name} is not among the rights");
    }
    assert!(!may("KEYS").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_rights_suffice_in_a_cluster_with_durable_calls_too() {
    let set = ClusterSet::start_with(false, 1, None);
    let prefix = prefix_of_the_first(&set);
    let rights = ACL_RULES.replace("{mq:", &format!("{{{prefix}:"));
    for node in 0..4 {
        let () = set.ask_node(node, &set_user(&rights)).unwrap();
    }
    let login = format!("://manimq:{PASSWORD}@");
    let config = RedisConfig {
        durable: true,
        ..set.config(&prefix)
    };
    lives(&RedisConfig {
        url: config.url.replace("://", &login),
        ..config
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_missing_right_is_named_with_the_rules_that_give_it() {
    let server = RedisServer::start();
    for missing in [
        "-fcall",
        "-function",
        "-info",
        "-blpop",
        "-publish",
        "-xadd",
        "-zadd",
        "-setrange",
        "resetkeys",
        "resetchannels",
    ] {
        let config = user(&server, &format!("{ACL_RULES} {missing}"));
        let outcome = lives(&config).await;
        let text = remedy(outcome);
        assert!(
            text.contains(ACL_RULES) && text.contains("REDIS_URL"),
            "{missing}: {text}"
        );
        assert!(!text.contains(PASSWORD), "{text}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_without_showing_it() {
    let server = RedisServer::start();
    let mut config = user(&server, ACL_RULES);
    config.url = config.url.replace(PASSWORD, "wrong-password");
    let text = remedy(Queue::connect(&config).await);
    assert!(
        text.contains("REDIS_URL") && !text.contains("wrong-password"),
        "{text}"
    );
}

// ---- one server that hangs, or that is demoted

#[tokio::test]
async fn a_frozen_redis_fails_every_call_in_time_and_recovers() {
    let server = RedisServer::start();
    let queue = Queue::connect(&server.config("mq")).await.unwrap();
    let bell = wait_on(queue.bell().await.unwrap(), SOON);
    let hub = queue.hub();
    let mut watch = hub.watch(test_topic());
    watch.hinted().await;
    server.freeze();
    let calls = (0..20).map(|n| {
        let queue = queue.clone();
        tokio::spawn(async move {
            match n % 4 {
                0 => queue.stats().await.map(drop),
                1 => submit(&queue, job(10)).await.map(drop),
                2 => submit(&queue, job(100_000)).await.map(drop),
                _ => queue.bell().await.map(drop),
            }
        })
    });
    let all = async {
        for call in calls.collect::<Vec<_>>() {
            let answer = call.await.unwrap();
            assert!(
                matches!(answer, Err(QueueError::Unavailable(_))),
                "{answer:?}"
            );
        }
    };
    tokio::time::timeout(RESPONSE_TIMEOUT * 10, all)
        .await
        .expect("every call ends");
    assert!(bell.await.unwrap().is_err(), "the bell's wait ends too");
    server.thaw();
    eventually("calls work again", async || queue.stats().await.is_ok()).await;
    queue.bell().await.unwrap();
    eventually("hints come again", async || {
        let () = server.ask(redis::cmd("PUBLISH").arg("{mq:0}:test").arg(""));
        tokio::time::timeout(Duration::from_millis(500), watch.hinted())
            .await
            .is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_a_replica_for_a_while_is_taken_up_again_by_the_same_handle() {
    let server = RedisServer::start();
    let queue = Queue::connect(&server.config("mq")).await.unwrap();
    let id = submit(&queue, job(10)).await.unwrap();
    let () = server.ask(redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1));
    let refused = submit(&queue, job(10)).await;
    assert!(
        matches!(refused, Err(QueueError::Unavailable(_))),
        "{refused:?}"
    );
    let () = server.ask(redis::cmd("REPLICAOF").arg("NO").arg("ONE"));
    submit(&queue, job(10)).await.unwrap();
    assert!(queue.read(id).await.unwrap().is_some());
}

// ---- sentinels

#[tokio::test(flavor = "multi_thread")]
async fn jobs_live_behind_sentinels_with_a_password() {
    let set = SentinelSet::start_with(false, "watch-word", None);
    lives(&set.config("mq")).await.unwrap();
    let without = RedisConfig::new(set.url());
    let text = remedy(Queue::connect(&without).await);
    assert!(text.contains("MANIMQ_REDIS_SENTINEL_PASSWORD"), "{text}");
    let wrong = RedisConfig {
        url: set.url().replace("mymaster", "nobody"),
        ..set.config("mq")
    };
    let text = remedy(Queue::connect(&wrong).await);
    assert!(
        text.contains("\"nobody\"") && text.contains("REDIS_URL"),
        "{text}"
    );
}

/// Submits jobs until told to stop; answers with those that were accepted, and how many were not.
async fn flood(queue: Queue, stop: Arc<AtomicBool>) -> (Vec<JobId>, usize) {
    let (mut accepted, mut refused) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        match submit(&queue, job(10)).await {
            Ok(id) => accepted.push(id),
            Err(QueueError::Unavailable(_)) => {
                refused += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(other) => panic!("not to be waited for: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (accepted, refused)
}

/// Floods that run, and what stops them.
type Floods = (
    Vec<tokio::task::JoinHandle<(Vec<JobId>, usize)>>,
    Arc<AtomicBool>,
);

fn floods(queue: &Queue) -> Floods {
    let stop = Arc::new(AtomicBool::new(false));
    let floods = (0..4).map(|_| tokio::spawn(flood(queue.clone(), Arc::clone(&stop))));
    (floods.collect(), stop)
}

/// Many jobs may wait here.
async fn lift_quota(queue: &Queue) {
    let quotas = manimq_shared::queue::Quotas {
        queued_max: Some(1_000_000),
        ..Default::default()
    };
    queue
        .set_quotas(&TenantId::default(), &quotas)
        .await
        .unwrap();
}

async fn submitted(queue: &Queue) -> i64 {
    let stats = queue.stats().await;
    stats.map_or(0, |s| s.counters.get("submitted").copied().unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_durably_accepted_job_is_missing_after_the_master_died() {
    let mut set = SentinelSet::start(false);
    let config = RedisConfig {
        durable: true,
        ..set.config("mq")
    };
    let queue = Queue::connect(&config).await.unwrap();
    lift_quota(&queue).await;
    let (floods, stop) = floods(&queue);
    eventually("jobs come in", async || submitted(&queue).await > 50).await;
    let port = set.master_port();
    set.kill_master();
    set.wait_for_another_master(port);
    // The only copy that is left has no replica, and says so: nothing more is accepted durably.
    let plain = Queue::connect(&set.config("mq")).await.unwrap();
    eventually("the new master takes calls", async || {
        submit(&plain, job(10)).await.is_ok()
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let mut accepted = Vec::new();
    for flood in floods {
        accepted.extend(flood.await.unwrap().0);
    }
    assert!(accepted.len() > 50, "{}", accepted.len());
    for id in accepted {
        assert!(queue.read(id).await.unwrap().is_some(), "{id} is missing");
    }
    assert!(queue.audit(false).await.unwrap().violations.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_handle_survives_a_master_that_hangs_and_its_return_as_a_replica() {
    let set = SentinelSet::start(false);
    let queue = Queue::connect(&set.config("mq")).await.unwrap();
    let hub = queue.hub();
    let id = submit(&queue, job(10)).await.unwrap();
    let mut watch = hub.watch(queue.keys_of(id).job_topic(id));
    watch.hinted().await;
    let bell = wait_on(queue.bell().await.unwrap(), PARK);
    let port = set.master_port();
    set.freeze_master();
    let refused = tokio::time::timeout(RESPONSE_TIMEOUT * 10, queue.stats())
        .await
        .expect("it ends");
    assert!(
        matches!(refused, Err(QueueError::Unavailable(_))),
        "{refused:?}"
    );
    set.wait_for_another_master(port);
    eventually("calls work again", async || {
        submit(&queue, job(10)).await.is_ok()
    })
    .await;
    // At once, and not after the time for which it would have waited there.
    let bell = tokio::time::timeout(SOON, bell).await.expect("it ends");
    assert!(bell.unwrap().is_err(), "the old bell is dead");
    assert!(queue.bell().await.is_ok());
    set.thaw();
    // The old master comes back, is told to be a replica, and nobody takes it for the master.
    let worker = worker(4);
    eventually("the job is claimed", async || {
        let claims = queue.claim(&worker, 1, LEASE).await;
        claims.is_ok_and(|claimed| claimed.claims.iter().any(|claim| claim.job == id))
    })
    .await;
    tokio::time::timeout(Duration::from_secs(30), watch.hinted())
        .await
        .expect("hints come from the new master");
    assert!(queue.audit(false).await.unwrap().violations.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_failover_loses_no_durably_accepted_job_and_calls_go_on() {
    let set = SentinelSet::start(false);
    let config = RedisConfig {
        durable: true,
        ..set.config("mq")
    };
    let queue = Queue::connect(&config).await.unwrap();
    lift_quota(&queue).await;
    let (floods, stop) = floods(&queue);
    for _ in 0..2 {
        let before = submitted(&queue).await;
        eventually("jobs come in", async || {
            submitted(&queue).await > before + 50
        })
        .await;
        let port = set.master_port();
        set.plan_failover();
        set.wait_for_another_master(port);
        set.wait_for_replica();
    }
    let before = submitted(&queue).await;
    eventually("jobs come in after all", async || {
        submitted(&queue).await > before + 50
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    for flood in floods {
        for id in flood.await.unwrap().0 {
            assert!(queue.read(id).await.unwrap().is_some(), "{id} is missing");
        }
    }
    assert!(queue.audit(false).await.unwrap().violations.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_master_that_does_not_know_it_yet_gets_no_more_jobs() {
    let set = SentinelSet::start(false);
    let queue = Queue::connect(&set.config("mq")).await.unwrap();
    let hub = queue.hub();
    let mut watch = hub.watch(test_topic());
    watch.hinted().await;
    let mut bell = queue.bell().await.unwrap();
    submit(&queue, job(10)).await.unwrap();
    let port = set.master_port();
    set.plan_failover();
    set.wait_for_another_master(port);
    let mut landed = (false, false);
    eventually("a job lands on the new master", async || {
        let Ok(id) = submit(&queue, job(10)).await else {
            return false;
        };
        let key = queue.keys().job(id);
        landed = set.has_key(false, &key);
        set.has_key(true, &key).1 && !landed.1
    })
    .await;
    assert!(landed.0, "the old one still takes writes, but not ours");
    assert!(bell.wait(Duration::from_millis(1)).await.is_err());
    assert!(queue.bell().await.is_ok());
    let mut publish = redis::cmd("PUBLISH");
    publish.arg("{mq:0}:test").arg("news");
    eventually("hints come from the new master", async || {
        let heard: i64 = queue.query(&publish).await.unwrap_or_default();
        heard == 1
    })
    .await;
}

// ---- durable calls

fn unconfirmed<T: std::fmt::Debug>(outcome: Result<T, QueueError>) -> String {
    match outcome {
        Err(QueueError::Unavailable(cause)) => cause.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_redis_that_can_confirm_nothing_accepts_nothing_durably() {
    let server = RedisServer::start();
    let config = RedisConfig {
        durable: true,
        ..server.config("mq")
    };
    let queue = Queue::connect(&config).await.unwrap();
    let text = unconfirmed(submit(&queue, job(10)).await);
    assert!(
        text.contains("no replica") && text.contains("appendfsync always"),
        "{text}"
    );
}

#[tokio::test]
async fn what_is_on_disk_before_each_answer_is_confirmed() {
    let server = RedisServer::start_durable();
    let config = RedisConfig {
        durable: true,
        ..server.config("mq")
    };
    lives(&config).await.unwrap();
    let queue = Queue::connect(&config).await.unwrap();
    lift_quota(&queue).await;
    // Many at once share their confirmations, and each gets its own answer.
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move { submit(&queue, job(10)).await })
        })
        .collect();
    for call in calls {
        let id = call.await.unwrap().unwrap();
        assert!(queue.read(id).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_disk_that_is_synced_each_second_is_waited_for_where_redis_can() {
    let server = RedisServer::start_with(true, &["--appendfsync", "everysec"]);
    let info: String = server.ask(redis::cmd("INFO").arg("server"));
    let version = info
        .lines()
        .find_map(|line| line.strip_prefix("redis_version:"))
        .unwrap();
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap());
    let can_wait = (numbers.next(), numbers.next()) >= (Some(7), Some(2));
    let config = RedisConfig {
        durable: true,
        ..server.config("mq")
    };
    if can_wait {
        lives(&config).await.unwrap();
    } else {
        let queue = Queue::connect(&config).await.unwrap();
        let text = unconfirmed(submit(&queue, job(10)).await);
        assert!(text.contains("Redis 7.2"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_does_not_confirm_is_told_and_a_repeat_waits_for_it() {
    let set = SentinelSet::start(false);
    let config = RedisConfig {
        durable: true,
        ..set.config("mq")
    };
    lives(&config).await.unwrap();
    let queue = Queue::connect(&config).await.unwrap();
    set.freeze_replica();
    let mut again = job(10);
    again.idempotency = Some(("key".to_owned(), "print".to_owned()));
    for _ in 0..2 {
        // The second finds the first one's job and writes nothing; it must not be taken for kept.
        let text = unconfirmed(submit(&queue, again.clone()).await);
        assert!(text.contains("replicas"), "{text}");
    }
    set.thaw();
    eventually("the repeat is confirmed", async || {
        submit(&queue, again.clone()).await.is_ok()
    })
    .await;
}

// ---- Cluster

/// A prefix whose keys are on the first primary.
fn prefix_of_the_first(set: &ClusterSet) -> String {
    let mut prefixes = (0..).map(|n| format!("p{n}"));
    prefixes
        .find(|prefix| set.owner(&format!("{{{prefix}:0}}")) == 0)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_live_in_a_cluster_wherever_their_slot_is() {
    let set = ClusterSet::start(false);
    let mut owners = [false; 3];
    for n in 0..100 {
        let prefix = format!("p{n}");
        let owner = set.owner(&format!("{{{prefix}:0}}"));
        if !std::mem::replace(&mut owners[owner], true) {
            lives(&set.config(&prefix)).await.unwrap();
        }
    }
    assert_eq!(owners, [true; 3]);
    // One node that may throw jobs away is one too many.
    let mut policy = redis::cmd("CONFIG");
    policy.arg("SET").arg("maxmemory-policy").arg("allkeys-lru");
    let () = set.ask_node(2, &policy).unwrap();
    let text = remedy(Queue::connect(&set.config("mq")).await);
    assert!(text.contains("noeviction"), "{text}");
}

/// Claims and finishes until told to stop, whatever Redis does, and counts.
async fn work(queue: Queue, stop: Arc<AtomicBool>, ended: Arc<AtomicUsize>) {
    let worker = worker(4);
    let mut bell = None;
    while !stop.load(Ordering::Relaxed) {
        let Ok(claimed) = queue.claim(&worker, 10, LEASE).await else {
            continue;
        };
        if claimed.claims.is_empty() {
            let mut waiter = match bell.take() {
                Some(bell) => bell,
                None => match queue.bell().await {
                    Ok(bell) => bell,
                    Err(_) => continue,
                },
            };
            if waiter.wait(claimed.wait).await.is_ok() {
                bell = Some(waiter);
            }
        }
        for claim in claimed.claims {
            let result = JobResult::default();
            while let Err(error) = queue.finish(claim.job, claim.epoch, &result).await {
                assert!(matches!(error, QueueError::Unavailable(_)), "{error:?}");
            }
            ended.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_moves_under_running_calls_and_nothing_is_torn_or_lost() {
    let set = ClusterSet::start(false);
    let queue = Queue::connect(&set.config("mq")).await.unwrap();
    lift_quota(&queue).await;
    let base = queue.keys().base().to_owned();
    let (floods, stop) = floods(&queue);
    let ended = Arc::new(AtomicUsize::new(0));
    let working = work(queue.clone(), Arc::clone(&stop), Arc::clone(&ended));
    let working = tokio::spawn(working);
    eventually("jobs come in", async || submitted(&queue).await > 100).await;
    for _ in 0..3 {
        let from = set.owner(&base);
        let to = (from + 1) % 3;
        set.begin_move(&base, to);
        // Not all at once: some keys are here and some there while calls arrive.
        let mut batches = 0;
        while set.move_keys(&base, to) {
            batches += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(batches > 1, "calls had a time to go wrong");
        set.end_move(&base, to);
        let before = (submitted(&queue).await, ended.load(Ordering::Relaxed));
        eventually("work goes on at the new place", async || {
            submitted(&queue).await > before.0 + 20 && ended.load(Ordering::Relaxed) > before.1
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    working.await.unwrap();
    for flood in floods {
        for id in flood.await.unwrap().0 {
            assert!(queue.read(id).await.unwrap().is_some(), "{id} is missing");
        }
    }
    assert_eq!(queue.audit(false).await.unwrap().violations, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_that_is_repeated_while_its_slot_moves_makes_no_second_record() {
    let set = ClusterSet::start(false);
    let queue = Queue::connect(&set.config("mq")).await.unwrap();
    let tenant = TenantId::default();
    let again: Vec<NewJob> = (0..3).map(|_| job(100)).collect();
    queue.enqueue(&tenant, &again[..2]).await.unwrap();
    let base = queue.keys_of_tenant(&tenant).base().to_owned();
    let from = set.owner(&base);
    let to = (from + 1) % 3;
    set.begin_move(&base, to);
    // Two of the records are at the old place, the third is nowhere.
    let repeated = tokio::spawn({
        let queue = queue.clone();
        async move { queue.enqueue(&TenantId::default(), &again).await }
    });
    let at = |node: usize| {
        let mut command = redis::cmd("CLUSTER");
        let slot: u16 = set
            .ask_node(node, command.arg("KEYSLOT").arg(&base))
            .unwrap();
        let mut command = redis::cmd("CLUSTER");
        command.arg("GETKEYSINSLOT").arg(slot).arg(1000);
        set.ask_node::<Vec<String>>(node, &command).unwrap()
    };
    let known = at(from);
    eventually("the third record is at the new place", async || {
        !at(to).is_empty()
    })
    .await;
    for key in at(to) {
        assert!(!known.contains(&key), "{key} is in both places");
    }
    // Which is also why this does not stop half way.
    while set.move_keys(&base, to) {}
    set.end_move(&base, to);
    let answers = repeated.await.unwrap().unwrap();
    assert_eq!(answers.len(), 3);
    assert_eq!(queue.audit(false).await.unwrap().violations, [""; 0]);
    assert_eq!(queue.stats().await.unwrap().ready, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_handle_survives_the_death_of_its_primary_in_a_cluster() {
    let mut set = ClusterSet::start_with(false, 1, None);
    // The first primary is the one with a replica.
    let prefix = prefix_of_the_first(&set);
    let config = RedisConfig {
        durable: true,
        ..set.config(&prefix)
    };
    let queue = Queue::connect(&config).await.unwrap();
    let hub = queue.hub();
    lift_quota(&queue).await;
    let (floods, stop) = floods(&queue);
    eventually("jobs come in", async || submitted(&queue).await > 50).await;
    set.kill_node(0);
    eventually("calls work again", async || queue.stats().await.is_ok()).await;
    stop.store(true, Ordering::Relaxed);
    for flood in floods {
        for id in flood.await.unwrap().0 {
            assert!(queue.read(id).await.unwrap().is_some(), "{id} is missing");
        }
    }
    assert!(queue.bell().await.is_ok());
    let id = JobId::generate(&TenantId::default());
    let mut watch = hub.watch(queue.keys_of(id).job_topic(id));
    watch.hinted().await;
    let mut publish = redis::cmd("PUBLISH");
    let topic = queue.keys_of(id).job_topic(id);
    publish.arg(topic.channel).arg(topic.item);
    eventually("hints come", async || {
        let _: i64 = queue.query(&publish).await.unwrap();
        tokio::time::timeout(Duration::from_millis(500), watch.hinted())
            .await
            .is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_of_all_shards_of_a_cluster_are_served_by_one_worker() {
    let set = ClusterSet::start(false);
    let config = RedisConfig {
        shards: None,
        ..set.config("mq")
    };
    assert_eq!(config.shards(), 8);
    let queue = Queue::connect(&config).await.unwrap();
    let worker = worker(40);
    let bell = wait_on(
        {
            assert!(
                queue
                    .claim(&worker, 40, LEASE)
                    .await
                    .unwrap()
                    .claims
                    .is_empty()
            );
            queue.bell().await.unwrap()
        },
        PARK,
    );
    let tenants: Vec<TenantId> = (0..40).map(|n| format!("t{n}").parse().unwrap()).collect();
    let mut jobs = Vec::new();
    for tenant in &tenants {
        let job = NewJob {
            id: JobId::generate(tenant),
            ..job(10)
        };
        jobs.push(job.id);
        let answers = queue.enqueue(tenant, &[job]).await.unwrap();
        assert_eq!(answers, [Enqueued::Accepted]);
    }
    assert!(bell.await.unwrap().unwrap(), "the bell rang");
    let mut bases: Vec<_> = jobs.iter().map(|job| queue.keys_of(*job).base()).collect();
    bases.sort_unstable();
    bases.dedup();
    assert!(bases.len() > 4, "they lie in several shards: {bases:?}");
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.ready, stats.workers.len()), (40, 1));

    let claims = queue.claim(&worker, 40, LEASE).await.unwrap().claims;
    assert_eq!(claims.len(), 40);
    let news: Vec<_> = claims
        .iter()
        .map(|claim| Renewal {
            job: claim.job,
            epoch: claim.epoch,
            events: vec![],
        })
        .collect();
    let leases = queue.renew(&worker, LEASE, &news).await.unwrap();
    assert!(leases.iter().all(|lease| *lease == Lease::Held));
    let ended: Vec<_> = claims
        .iter()
        .map(|claim| (claim.job, claim.epoch, JobResult::default()))
        .collect();
    let settled = queue.finish_many(&ended).await.unwrap();
    assert!(settled.iter().all(|settled| *settled == Settled::Accepted));
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.ready, stats.counters["succeeded"]), (0, 40));
    assert!(queue.audit(false).await.unwrap().violations.is_empty());
    let other = RedisConfig {
        shards: Some(4),
        ..config
    };
    let text = remedy(Queue::connect(&other).await);
    assert!(
        text.contains("8 shards") && text.contains("MANIMQ_REDIS_SHARDS"),
        "{text}"
    );
}
