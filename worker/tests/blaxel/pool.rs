//! The whole way: a job in a real queue, rendered in the counterpart, stored, settled.

use std::collections::BTreeSet;
use std::time::Duration;

use manimq_shared::job::{FailureClass, Status};
use manimq_worker::sandbox::blaxel::output::SendFrom;

use crate::bench::Bench;
use crate::cloud::lock;
use crate::faults::{Fault, What};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_sandbox_breaks_runs_again_and_its_result_is_stored_once() {
    let site = Site::new().await;
    let bench = Bench::start(&site).await;
    for (call, what, attempts) in [
        ("stream", What::NoProcesses, 2),
        ("start", What::DoneThenHtml(504), 1),
        ("write tree", What::Gone, 2),
        ("read", What::NoProcesses, 1),
    ] {
        bench.ended(bench.submit().await).await;
        site.cloud.fail(Fault::once(call, what.clone()));
        let id = bench.submit().await;
        if what == What::Gone {
            eventually("it is gone", || site.cloud.faults_left() == 0).await;
            site.cloud.deploy(NAME);
        }
        let record = bench.ended(id).await;
        assert_eq!(record.status, Status::Succeeded, "{call} {what:?}");
        let classes: Vec<_> = record.attempts.iter().map(|a| a.class).collect();
        let mut expected = vec![Some(FailureClass::SandboxUnavailable); attempts - 1];
        expected.push(None);
        assert_eq!(classes, expected, "{call} {what:?}");
        bench.stored_once(&record, id);
        assert_eq!(site.cloud.faults_left(), 0, "{call} {what:?}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn for_a_sandbox_that_breaks_again_and_again_nobody_is_charged_and_nothing_is_stored() {
    let site = Site::new().await;
    let bench = Bench::start(&site).await;
    bench.ended(bench.submit().await).await;
    let before = bench.charged().await;
    assert!(before > Duration::ZERO, "what was rendered counts");
    // All processes are gone as soon as one of its attempts runs; a connection is left alone.
    let id = bench.submit().await;
    let jobs = crate::cloud::Cloud::inside(&site.machine).join("jobs");
    let mut broken = BTreeSet::new();
    let breaking = async {
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let folders = std::fs::read_dir(&jobs).into_iter().flatten().flatten();
            for folder in folders {
                let name = folder.file_name().to_string_lossy().into_owned();
                let runs =
                    name.starts_with(&id.to_string()) && folder.path().join("claim").exists();
                if runs && broken.insert(name) {
                    site.machine.processes.forget_all();
                }
            }
        }
    };
    let record = tokio::select! {
        record = bench.ended(id) => record,
        () = breaking => unreachable!("it never ends"),
    };
    assert_eq!(record.status, Status::Failed);
    let error = record.result.expect("a result").error.expect("an error");
    assert_eq!(error.class, FailureClass::SandboxUnavailable);
    assert_eq!(bench.charged().await, before);
    let stored = lock(&bench.stored)
        .keys()
        .filter(|key| key.starts_with(&id.to_string()))
        .count();
    assert_eq!(stored, 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_goes_from_inside_the_sandbox_to_its_signed_url() {
    let site = Site::with(|config| config.send_from = SendFrom::Sandbox).await;
    let bench = Bench::start(&site).await;
    eventually("the slot is ready", || {
        site.machine.processes.started("manimq-keep") == 1
    })
    .await;
    let id = bench.submit().await;
    let record = bench.ended(id).await;
    assert_eq!(record.status, Status::Succeeded);
    bench.stored_once(&record, id);
    let artifacts = &record.result.as_ref().expect("a result").artifacts;
    for artifact in artifacts {
        assert_eq!(lock(&bench.stored)[&artifact.key].bytes, artifact.bytes);
    }
    assert_eq!(
        site.machine.processes.started("manimq-push"),
        artifacts.len()
    );
    // One look for the renderer's folder, none for a result.
    assert_eq!(site.cloud.count("read"), 1);
    bench.stop().await;
}
