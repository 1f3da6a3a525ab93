//! Results that cannot be sent from inside the sandbox.

use std::process::Stdio;
use std::time::Duration;

use manimq_shared::job::Status;
use manimq_worker::sandbox::blaxel::output::SendFrom;
use serde_json::json;

use crate::bench::{self, Bench};
use crate::cloud::Nature;
use crate::faults::{Fault, What};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_the_sandbox_cannot_send_is_fetched_and_sent_by_the_worker() {
    let nature = Nature {
        cut_off: true,
        ..Nature::default()
    };
    let site = Site::of(nature, |config| config.send_from = SendFrom::Sandbox).await;
    let bench = Bench::start(&site).await;
    bench.ready_after(0).await;
    for pushes in 1..=2 {
        site.cloud.take_calls();
        let id = bench.submit().await;
        let record = bench.ended(id).await;
        assert_eq!(record.status, Status::Succeeded);
        assert_eq!(Bench::lost_attempts(&record), 0);
        bench.stored_once(&record, id);
        let artifacts = record.result.as_ref().expect("a result").artifacts.len();
        assert_eq!(site.cloud.count("read"), artifacts, "each was fetched");
        // Both files of the first job may have been tried at once; no later one is.
        let tried = site.machine.processes.started("manimq-push");
        assert!((1..=artifacts).contains(&tried), "job {pushes}: {tried}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_fetched_when_the_sandbox_does_not_start_what_would_send_it() {
    let site = Site::with(|config| config.send_from = SendFrom::Sandbox).await;
    let bench = Bench::start(&site).await;
    bench.ready_after(0).await;
    // The disk has no room for the request, or the server refuses: as it says so, nothing was sent.
    site.cloud.fail(Fault::once("write", What::Full));
    let id = bench.submit().await;
    let record = bench.ended(id).await;
    assert_eq!(record.status, Status::Succeeded);
    assert_eq!(Bench::lost_attempts(&record), 0);
    bench.stored_once(&record, id);
    assert_eq!(site.cloud.faults_left(), 0);
    bench.stop().await;
}

/// Most memory that a process ever had.
fn peak_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib: u64 = line
        .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .expect("its peak");
    kib * 1024
}

/// Every pixel of every frame is another: some hundred KiB each.
const NOISE: &str = "import numpy as np\n\
     rng = np.random.default_rng(1)\n\
     image = ImageMobject(np.zeros((480, 854, 3), dtype=np.uint8))\n\
     image.height = 8\n\
     def change(image, dt):\n    \
         image.pixel_array[:, :, :3] = rng.integers(0, 255, (480, 854, 3))\n\
     image.add_updater(change)\n\
     self.add(image)\n\
     self.wait(4)";

#[tokio::test(flavor = "multi_thread")]
async fn a_large_result_goes_through_the_worker_without_ever_being_whole_in_its_memory() {
    let site = Site::new().await;
    let prefix = bench::prefix();
    let (queue, stored, api) = bench::service(&prefix).await;
    let mut worker = worker_program(&site)
        .arg("run")
        .env("REDIS_URL", bench::redis_url())
        .env("MANIMQ_REDIS_PREFIX", &prefix)
        .args([
            "--api-url",
            &api,
            "--slots",
            "1",
            "--metrics-listen",
            "127.0.0.1:0",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let pid = worker.id().expect("a number");
    let submit = |lines: &str, output: serde_json::Value| {
        let source = constructing(lines).source.to_string();
        let asked =
            json!({"input": {"kind": "code", "scene": "A", "source": source}, "output": output});
        let queue = queue.clone();
        async move {
            let id = bench::submit(&queue, asked).await;
            let record = bench::ended(&queue, id).await;
            let error = record.result.as_ref().and_then(|r| r.error.as_ref());
            assert_eq!(record.status, Status::Succeeded, "{error:?}");
            record
        }
    };
    submit("self.wait(0.2)", json!({"quality": "low"})).await;
    let before = peak_bytes(pid);
    site.cloud.take_calls();
    let output = json!({"quality": "low", "format": "mov", "transparent": true});
    let record = submit(NOISE, output).await;
    let grown = peak_bytes(pid) - before;
    let film = &record.result.as_ref().expect("a result").artifacts[0];
    println!(
        "a film of {} MiB; the worker grew by {} MiB",
        film.bytes >> 20,
        grown >> 20
    );
    assert!(film.bytes > 60 << 20, "{}", film.bytes);
    assert!(grown < film.bytes / 3, "{grown} of {}", film.bytes);
    assert!(site.cloud.count("read") as u64 >= film.bytes.div_ceil(8 << 20));
    {
        let object = &crate::cloud::lock(&stored)[&film.key];
        assert_eq!((object.bytes, &object.sha256), (film.bytes, &film.sha256));
    }
    // SAFETY: a system call on a number; the process is ours and not yet waited for.
    unsafe { libc::kill(i32::try_from(pid).expect("a number"), libc::SIGTERM) };
    let ended = tokio::time::timeout(Duration::from_secs(60), worker.wait()).await;
    assert!(ended.expect("in time").expect("a status").success());
}
