//! The client alone: each call with its quirks, each fault at each call.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use manimq_worker::sandbox::blaxel::control::{Control, Status};
use manimq_worker::sandbox::blaxel::data::ProcessSpec;
use manimq_worker::sandbox::blaxel::error::Kind;
use reqwest::Url;

use crate::faults::{Fault, What};
use crate::support::*;

fn spec(name: &str, command: &str) -> ProcessSpec {
    ProcessSpec::new(name.into(), command.into(), Duration::from_secs(20))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_is_found_by_name_and_listed_and_an_unknown_one_is_missing() {
    let site = Site::new().await;
    let base = Url::parse(&site.cloud.control_url()).expect("a URL");
    let control = Control::new(&account(), base);
    let record = control.get(NAME).await.expect("its record");
    assert_eq!(record.status, Status::Deployed);
    assert_eq!(record.spec.runtime.memory, Some(4096));
    let all = control.list().await.expect("a list");
    assert_eq!(all.len(), 1);
    let error = control.get("nobody").await.expect_err("there is none");
    assert_eq!(error.kind, Kind::Missing);
    site.cloud.revoke_key();
    let error = control.get(NAME).await.expect_err("refused");
    assert_eq!(error.kind, Kind::Denied);
    assert_eq!(
        site.cloud.count("control GET"),
        4,
        "a refused key is not tried again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_any_name_and_size_come_back_as_they_went() {
    let site = Site::new().await;
    let data = site.data();
    let folder = site.machine.folder.join("files");
    let at = |name: &str| format!("{}/{name}", folder.display());
    let name = at("a b?#%ä'.bin");
    let small: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    data.write_bytes(&name, Bytes::from(small.clone()))
        .await
        .expect("written");
    assert!(data.exists(&name).await.expect("an answer"));
    let mut large = tempfile::tempfile().expect("a file");
    let content: Vec<u8> = (0..10_500_000u32).map(|n| (n % 251) as u8).collect();
    large.write_all(&content).expect("written");
    data.write_file(&at("large"), &large, 0, content.len() as u64)
        .await
        .expect("written in parts");
    assert_eq!(site.cloud.count("part"), 3);
    for (path, content) in [(name.as_str(), &small), (&at("large"), &content)] {
        let to = tempfile::tempfile().expect("a file");
        data.read_file(path, content.len() as u64, &to)
            .await
            .expect("read");
        let mut back = Vec::new();
        std::io::Read::read_to_end(&mut &to, &mut back).expect("bytes");
        assert!(&back == content);
    }
    let texts = BTreeMap::from([("x/one".to_owned(), "1 <&>".to_owned())]);
    data.write_texts(&at("tree"), &texts)
        .await
        .expect("written");
    assert_eq!(
        std::fs::read_to_string(folder.join("tree/x/one")).expect("text"),
        "1 <&>"
    );
    data.remove(&at("tree")).await.expect("removed");
    data.remove(&at("tree"))
        .await
        .expect("what is not there is no error");
    assert!(!data.exists(&at("tree/x/one")).await.expect("an answer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_on_where_it_broke_and_a_wrong_size_is_seen() {
    let site = Site::new().await;
    let data = site.data();
    let path = site.machine.folder.join("film");
    let content: Vec<u8> = (0..9_000_000u32).map(|n| (n % 253) as u8).collect();
    std::fs::write(&path, &content).expect("written");
    let path = path.to_string_lossy().into_owned();
    let size = content.len() as u64;
    for what in [
        What::Truncated,
        What::Slow,
        What::Reset,
        What::Html(502),
        What::TooMany(1),
    ] {
        site.cloud.fail(Fault::once("read", what.clone()));
        let to = tempfile::tempfile().expect("a file");
        data.read_file(&path, size, &to).await.expect("read");
        let mut back = Vec::new();
        std::io::Read::read_to_end(&mut &to, &mut back).expect("bytes");
        assert!(back == content, "{what:?}");
        assert_eq!(site.cloud.faults_left(), 0);
    }
    let to = tempfile::tempfile().expect("a file");
    let error = data
        .read_file(&path, size + 1, &to)
        .await
        .expect_err("it is shorter");
    assert_eq!(error.kind, Kind::Garbled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_started_once_whatever_becomes_of_the_answer() {
    let site = Site::new().await;
    let data = site.data();
    let faults = [
        What::Reset,
        What::DoneThenReset,
        What::DoneThenHtml(504),
        What::Html(502),
        What::TooMany(1),
        What::Truncated,
    ];
    for (index, what) in faults.into_iter().enumerate() {
        let counter = site.machine.folder.join(format!("count-{index}"));
        site.cloud.fail(Fault::once("start", what.clone()));
        let name = format!("count-{index}");
        let command = format!("echo x >> {}; sleep 0.2", counter.display());
        data.start(&spec(&name, &command))
            .await
            .unwrap_or_else(|error| panic!("{what:?}: {error}"));
        let ended = data
            .ended(&name, Duration::from_secs(20))
            .await
            .expect("an answer");
        assert_eq!(ended.expect("ended").exit_code, Some(0));
        assert_eq!(
            std::fs::read_to_string(counter).expect("it ran"),
            "x\n",
            "{what:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passing_faults_are_waited_out_and_lasting_ones_end_within_their_bound() {
    let site = Site::new().await;
    let data = site.data();
    data.start(&spec("still", "sleep 60"))
        .await
        .expect("started");
    for what in [
        What::Reset,
        What::Html(503),
        What::TooMany(1),
        What::Truncated,
    ] {
        for call in ["process", "logs", "health", "kill"] {
            site.cloud.fail(Fault::once(call, what.clone()));
            let done = match call {
                "process" => data.process("still").await.map(|_| ()),
                "logs" => data.logs("still").await.map(|_| ()),
                "health" => data.health().await.map(|_| ()),
                _ => data.kill("nobody").await.map(|_| ()),
            };
            assert!(done.is_ok(), "{call} {what:?}: {done:?}");
            assert_eq!(site.cloud.faults_left(), 0, "{call}");
        }
    }
    site.machine
        .asleep
        .store(3, std::sync::atomic::Ordering::Relaxed);
    data.wake().await.expect("it wakes up");
    site.cloud.fail(Fault::always("health", What::Html(502)));
    let begun = std::time::Instant::now();
    let error = data.health().await.expect_err("it does not come back");
    assert_eq!(error.kind, Kind::Later);
    assert!(begun.elapsed() < Duration::from_secs(30));
    site.cloud.forget_faults();
    site.cloud.delete(NAME);
    let error = data.process("still").await.expect_err("gone");
    assert_eq!(error.kind, Kind::Gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_an_error_nor_a_record_shows_the_key() {
    let site = Site::new().await;
    let data = site.data();
    site.cloud.revoke_key();
    let error = data.process("x").await.expect_err("refused");
    let all = format!("{error} {error:?} {data:?} {:?}", site.place);
    assert!(!all.contains(&crate::cloud::KEY[11..]), "{all}");
}
