//! What is lost in the middle of a job, through the whole pool: each is ours, each is bounded, and
//! the job ends well when it is mended.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use manimq_shared::ids::JobId;
use manimq_shared::job::{FailureClass, JobRecord, Status};
use manimq_worker::sandbox::blaxel::LOOK_AFTER;

use crate::bench::Bench;
use crate::support::*;

/// From a loss until the attempt has ended: no call is waited for longer than 45 s.
const WITHIN: Duration = Duration::from_secs(300);

/// Submits a job and waits until it is drawn.
async fn drawing(site: &Site, bench: &Bench) -> JobId {
    let id = bench
        .submit_lines(
            "import time\nfor n in range(20):\n    self.play(Create(Square()), run_time=0.2)\n    time.sleep(0.3)",
            serde_json::Value::Null,
        )
        .await;
    eventually("it draws", || {
        let running = site.machine.processes.running();
        let name = running.iter().find(|name| name.contains("render"));
        name.is_some_and(|name| site.machine.processes.said(name) > 500)
    })
    .await;
    id
}

/// Waits until its first attempt has ended.
async fn attempt_over(bench: &Bench, id: JobId) -> Duration {
    let begun = Instant::now();
    while begun.elapsed() < WITHIN {
        let record = bench.queue.read(id).await.expect("Redis").expect("the job");
        if record
            .attempts
            .first()
            .is_some_and(|a| a.ended_at.is_some())
        {
            return begun.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("its attempt does not end within {WITHIN:?}");
}

async fn ends_well(bench: &Bench, id: JobId) -> JobRecord {
    let record = bench.ended(id).await;
    assert_eq!(record.status, Status::Succeeded);
    assert_eq!(
        record.attempts[0].class,
        Some(FailureClass::SandboxUnavailable)
    );
    assert!(Bench::lost_attempts(&record) >= 1);
    bench.stored_once(&record, id);
    record
}

/// Nothing of a failed attempt is charged.
async fn nothing_charged(bench: &Bench) {
    assert_eq!(bench.charged().await, Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_made_anew_under_its_name_and_address_in_the_middle_of_a_job_is_set_up_again() {
    for same_address in [true, false] {
        let mut site = Site::new().await;
        if same_address {
            site.cloud.keep_addresses();
        }
        let bench = Bench::start(&site).await;
        let id = drawing(&site, &bench).await;
        site.cloud.delete(NAME);
        site.machine = site.cloud.deploy(NAME);
        let took = attempt_over(&bench, id).await;
        println!("same address {same_address}: lost after {took:?}");
        nothing_charged(&bench).await;
        ends_well(&bench, id).await;
        assert_eq!(site.machine.processes.started("manimq-keep"), 1);
        assert_eq!(site.place.openings(), 2);
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_in_the_middle_of_a_job_costs_the_attempt_and_nothing_else() {
    let site = Site::new().await;
    let bench = Bench::start(&site).await;
    let id = drawing(&site, &bench).await;
    site.cloud.revoke_key();
    // The stream stays open: only what is asked next is refused.
    attempt_over(&bench, id).await;
    let record = bench.queue.read(id).await.expect("Redis").expect("the job");
    assert!(
        !record.status.is_terminal(),
        "it is tried again: {record:?}"
    );
    nothing_charged(&bench).await;
    let asked = site.cloud.count("control GET");
    eventually("the slot tries to connect", || {
        site.cloud.count("control GET") > asked + 1
    })
    .await;
    site.cloud.restore_key();
    ends_well(&bench, id).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_cannot_render_any_more_after_a_loss_is_not_used_until_it_can() {
    let env = tempfile::tempdir().expect("a folder");
    let python = env.path().join("env");
    symlink(python_env(), &python).expect("a link");
    let mut site = Site::with(|config| {
        config.python = Some(python.join("bin/python3").to_string_lossy().into_owned());
    })
    .await;
    let bench = Bench::start(&site).await;
    let id = drawing(&site, &bench).await;
    // Made anew of another image: there is no Manim.
    std::fs::remove_file(&python).expect("removed");
    site.cloud.delete(NAME);
    site.machine = site.cloud.deploy(NAME);
    attempt_over(&bench, id).await;
    nothing_charged(&bench).await;
    eventually("it was looked at twice", || {
        site.machine.processes.started("manimq-look") >= 2
    })
    .await;
    assert_eq!(site.machine.processes.started("manimq-keep"), 0);
    let record = bench.queue.read(id).await.expect("Redis").expect("the job");
    assert!(
        !record.status.is_terminal() && record.attempts.len() == 1,
        "{record:?}"
    );
    symlink(python_env(), &python).expect("a link");
    ends_well(&bench, id).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_started_anew_while_its_slots_were_idle_costs_a_job_no_attempt() {
    let site = Site::new().await;
    let bench = Bench::of_slots(&site, 3).await;
    bench.ready_after(2).await;
    site.machine.processes.forget_all();
    // Whoever has just looked need not look again.
    tokio::time::sleep(LOOK_AFTER + Duration::from_millis(100)).await;
    let id = bench.submit().await;
    let record = bench.ended(id).await;
    assert_eq!(record.status, Status::Succeeded);
    assert_eq!(record.attempts.len(), 1, "{record:?}");
    bench.stored_once(&record, id);
    bench.stop().await;
}
