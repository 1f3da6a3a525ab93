//! Two workers that use the same sandbox at once.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use manimq_worker::sandbox::blaxel::BlaxelSandbox;
use manimq_worker::sandbox::blaxel::place::Place;
use manimq_worker::sandbox::{ConnectError, Sandbox};

use crate::bench;
use crate::support::*;

async fn connect(place: &Arc<Place>) -> BlaxelSandbox {
    BlaxelSandbox::connect(place.clone())
        .await
        .expect("a sandbox")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_in_one_sandbox_do_not_get_in_each_others_way() {
    let site = Site::new().await;
    // The same first user, as two workers with the same settings have it.
    let base = site.config.uid_base;
    let other = site.of_another_worker(|config| config.uid_base = base);
    let places = [&site.place, &other];
    // All at once, so that all of them look for a renderer that is not yet there.
    let slots = [0, 1, 0, 1].map(|worker: usize| connect(places[worker]));
    let slots = futures_util::future::join_all(slots).await;
    let uploads = site.cloud.count("write tree") - 4;
    assert!(
        (1..=2).contains(&uploads),
        "the renderer was sent {uploads} times"
    );
    assert_eq!((site.place.openings(), other.openings()), (1, 1));
    let keepers: BTreeSet<_> = slots.iter().map(BlaxelSandbox::keeper).collect();
    assert_eq!(keepers.len(), 4);
    assert_eq!(site.count("areas"), 4, "each has a user of its own");
    assert_eq!(site.count("workers"), 2);
    let home = &site.place;
    let work = slots
        .into_iter()
        .enumerate()
        .map(|(index, mut slot)| async move {
            for n in 0..3 {
                slot.reset().await.expect("ready");
                let tenant = format!("tenant-{}", (index + n) % 2);
                let request = of_tenant(
                    constructing(&format!(
                        "print('{index} {n}')\nself.add(MathTex('x^{n}'))\n{SHORT}"
                    )),
                    &tenant,
                );
                let (rendered, events) = render(&mut slot, request).await;
                rendered.expect("a film");
                assert_eq!(log_of(&events), format!("{index} {n}\n"));
                // One leaves while the others are at work, and comes back.
                if (index, n) == (0, 1) {
                    slot.close().await;
                    slot = connect(home).await;
                }
            }
            slot.reset().await.expect("tidied");
            slot
        });
    let slots = futures_util::future::join_all(work).await;
    assert_eq!(site.count("jobs"), 0);
    assert_eq!(
        site.machine.processes.started("manimq-keep"),
        5,
        "none was lost"
    );
    for slot in slots {
        slot.close().await;
    }
    eventually("nothing runs", || {
        site.machine.processes.running().is_empty()
    })
    .await;
    assert_eq!((site.count("slots"), site.count("areas")), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_keeps_tenants_apart_shares_a_sandbox_with_nobody() {
    let site = Site::with(|config| config.tenant_affinity = true).await;
    let refused = |result: Result<BlaxelSandbox, ConnectError>| match result {
        Ok(_) => panic!("it must not share"),
        Err(error) => error.to_string(),
    };
    let first = site.connect().await;
    let second = site.connect().await;
    for alone in [false, true] {
        let other = site.of_another_worker(|config| config.tenant_affinity = alone);
        let said = refused(BlaxelSandbox::connect(other).await);
        assert!(
            said.starts_with("Custom sandbox verification failed")
                && said.contains("another worker")
                && said.contains("--tenant-affinity"),
            "{said}"
        );
    }
    first.close().await;
    second.close().await;
    let open = site.of_another_worker(|_| {});
    let slot = connect(&open).await;
    let said = refused(BlaxelSandbox::connect(site.place.clone()).await);
    assert!(said.contains("another worker"), "{said}");
    // Two that keep nobody apart may share.
    let more = connect(&site.of_another_worker(|_| {})).await;
    slot.close().await;
    more.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_are_spread_over_several_sandboxes() {
    let site = Site::new().await;
    let other = site.cloud.deploy("other-sb");
    let prefix = bench::prefix();
    let (_, _, api) = bench::service(&prefix).await;
    let mut worker = worker_program(&site)
        .args(["run", "--slots", "4", "--slots-per-sandbox", "2"])
        .args(["--api-url", &api, "--metrics-listen", "127.0.0.1:0"])
        .env("MANIM_SANDBOX_NAME", format!("{NAME},other-sb"))
        .env("REDIS_URL", bench::redis_url())
        .env("MANIMQ_REDIS_PREFIX", &prefix)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let keepers = || [&site.machine, &other].map(|m| m.processes.started("manimq-keep"));
    eventually("each has its renderers", || keepers() == [2, 2]).await;
    let pid = i32::try_from(worker.id().expect("a number")).expect("a number");
    // SAFETY: a system call on a number; the process is ours and not yet waited for.
    unsafe { libc::kill(pid, libc::SIGTERM) };
    let ended = tokio::time::timeout(Duration::from_secs(60), worker.wait()).await;
    assert!(ended.expect("in time").expect("a status").success());
    assert_eq!(keepers(), [2, 2]);
}
