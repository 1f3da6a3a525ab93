//! Renders that are cancelled at the wrong moment.

use std::io::Write as _;
use std::sync::Arc;

use manimq_worker::sandbox::{FileEntry, Files, RenderError, Sandbox};

use crate::cloud::lock;
use crate::faults::{Fault, What};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_render_that_is_cancelled_while_its_files_are_sent_leaves_nothing_and_keeps_its_renderer()
{
    const BYTES: u64 = 6_000_000;
    let site = Site::new().await;
    let mut sandbox = site.connect().await;
    let keeper = sandbox.keeper().expect("one").to_owned();
    let mut request = constructing(SHORT);
    let mut content = tempfile::tempfile().expect("a file");
    content.write_all(&[7; BYTES as usize]).expect("written");
    let entry = FileEntry {
        name: "data.bin".into(),
        bytes: BYTES,
    };
    request.files = Some(Files {
        entries: vec![entry],
        content: Arc::new(content),
    });
    let stop = request.stop.clone();
    site.cloud.fail(Fault::once("part", What::Slow));
    let cancelling = async {
        eventually("a part is sent", || site.cloud.count("part") > 0).await;
        stop.cancel();
    };
    let ((result, _), ()) = tokio::join!(render(&mut sandbox, request), cancelling);
    assert!(
        matches!(result, Err(RenderError::Interrupted)),
        "{result:?}"
    );
    eventually("no part of it is left", || {
        lock(&site.machine.uploads).is_empty()
    })
    .await;
    sandbox.reset().await.expect("ready");
    assert_eq!(sandbox.keeper(), Some(keeper.as_str()));
    assert_eq!((site.place.openings(), site.count("jobs")), (1, 0));
    sandbox.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_the_sandbox_does_not_take_is_given_up_long_before_the_bound_of_a_call() {
    let site = Site::new().await;
    let mut sandbox = site.connect().await;
    let request = constructing("while True: self.play(Create(Square()))");
    let stop = request.stop.clone();
    site.cloud.fail(Fault::always("stop", What::Html(502)));
    let cancelling = async {
        eventually("it runs", || {
            let running = site.machine.processes.running();
            running.iter().any(|name| name.contains("render"))
        })
        .await;
        stop.cancel();
    };
    let ((result, _), ()) = tokio::join!(render(&mut sandbox, request), cancelling);
    assert!(
        matches!(result, Err(RenderError::Interrupted)),
        "{result:?}"
    );
    // A call is repeated for 45 s, which is ten times; this one for ten seconds.
    let asked = site.cloud.count("stop");
    assert!(asked <= 8, "{asked} times");
    eventually("it was killed", || {
        let running = site.machine.processes.running();
        running.iter().all(|name| !name.contains("render"))
    })
    .await;
    site.cloud.forget_faults();
    sandbox.reset().await.expect("ready");
    sandbox.close().await;
}
