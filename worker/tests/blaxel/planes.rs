//! The two planes: what their answers mean, how fast they are asked, and where the key goes.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use manimq_shared::testing::Certificates;
use manimq_worker::sandbox::ConnectError;
use manimq_worker::sandbox::blaxel::BlaxelSandbox;
use manimq_worker::sandbox::blaxel::control::Control;
use manimq_worker::sandbox::blaxel::data::Data;
use manimq_worker::sandbox::blaxel::error::Kind;
use manimq_worker::sandbox::blaxel::http::{Account, ApiKey};
use reqwest::Url;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};

use crate::cloud::{Cloud, KEY, WORKSPACE, lock};
use crate::faults::{Fault, What};
use crate::support::*;

fn account_with(workspace: Option<&str>, calls_per_second: u32, ca: Option<&Path>) -> Account {
    let key = ApiKey::new(KEY).expect("a key");
    let pace = NonZeroU32::new(calls_per_second).expect("a number");
    Account::new(&key, workspace, pace, ca).expect("an account")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_workspace_or_address_of_the_control_plane_is_told_as_such() {
    let site = Site::new().await;
    let unset = site.of_another_worker(|config| config.account = account_with(None, 1000, None));
    let elsewhere = site.of_another_worker(|config| {
        let address = site.cloud.control_url().replace("/v0", "/v7");
        config.control_url = Url::parse(&address).expect("a URL");
    });
    for place in [unset, elsewhere] {
        let said = place.wake().await.expect_err("refused").to_string();
        assert!(
            said.contains("BL_WORKSPACE") && said.contains("BL_API_URL"),
            "{said}"
        );
        assert!(!said.contains("image"), "{said}");
    }
    assert_eq!(site.cloud.count("health"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_broke_for_a_moment_is_asked_again_when_it_says() {
    let site = Site::new().await;
    for what in [What::Broke, What::TooMany(1)] {
        let begun = Instant::now();
        site.cloud.take_calls();
        site.cloud.fail(Fault::once("control GET", what.clone()));
        site.place.wake().await.expect("it answers");
        assert_eq!(site.cloud.count("control GET"), 2, "{what:?}");
        let asked_for = Duration::from_secs(u64::from(what == What::TooMany(1)));
        assert!(begun.elapsed() >= asked_for, "{what:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_anew_while_it_is_set_up_is_no_missing_sandbox() {
    let site = Site::new().await;
    site.cloud.fail(Fault::once("stream", What::NoProcesses));
    match BlaxelSandbox::connect(site.place.clone()).await {
        Err(ConnectError::Unavailable { reason, .. }) => {
            assert!(reason.contains("started anew"), "{reason}");
        }
        other => panic!("it may work later: {:?}", other.map(|_| ())),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_goes_to_no_address_that_a_record_or_an_answer_names() {
    let site = Site::new().await;
    for address in ["https://sandbox.example/", "http://192.0.2.1/", "ftp:x"] {
        *lock(&site.machine.told) = Some(address.into());
        let said = site.place.wake().await.expect_err("refused").to_string();
        assert!(
            said.contains("no address that the key may be sent to")
                && said.contains("BLAXEL_SANDBOX_URL"),
            "{said}"
        );
    }
    let other = Cloud::start().await;
    let there = format!("{}/health", other.0.address);
    site.cloud
        .fail(Fault::once("health", What::Redirect(there)));
    let error = site.data().health().await.expect_err("it does not follow");
    assert!(error.what.contains("307"), "{error}");
    assert!(other.take_calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_calls_are_sent_than_an_account_may_send() {
    let site = Site::new().await;
    let url = Url::parse(&site.address()).expect("a URL");
    let data = Data::new(&account_with(Some(WORKSPACE), 5, None), url);
    let begun = Instant::now();
    let calls = (0..15).map(|_| data.health());
    for answer in futures_util::future::join_all(calls).await {
        answer.expect("its health");
    }
    // Five at once, and then five a second.
    assert!(begun.elapsed() >= Duration::from_millis(1900));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_is_being_made_is_waited_for_and_an_unknown_status_is_no_obstacle() {
    let site = Site::new().await;
    *lock(&site.machine.status) = "DEPLOYING".into();
    let ready = async {
        eventually("it is asked for", || site.cloud.count("control GET") > 0).await;
        assert_eq!(site.cloud.count("health"), 0, "not yet");
        *lock(&site.machine.status) = "DEPLOYED".into();
    };
    let (woken, ()) = tokio::join!(site.place.wake(), ready);
    woken.expect("awake");
    *lock(&site.machine.status) = "HIBERNATING".into();
    let told = site.place.look_up().await.expect("it may be used");
    assert!(
        told.starts_with("HIBERNATING, image sandbox/manim"),
        "{told}"
    );
    site.place.wake().await.expect("awake");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_read_page_by_page() {
    let site = Site::new().await;
    for number in 1..5 {
        site.cloud.deploy(&format!("sb-{number}"));
    }
    site.cloud.0.page.store(2, Ordering::Relaxed);
    let base = Url::parse(&site.cloud.control_url()).expect("a URL");
    let all = Control::new(&account(), base).list().await.expect("a list");
    let names: Vec<&str> = all
        .iter()
        .map(|record| record.metadata.name.as_str())
        .collect();
    assert_eq!(names, [NAME, "sb-1", "sb-2", "sb-3", "sb-4"]);
    assert_eq!(site.cloud.count("control GET"), 3);
}

/// Speaks TLS in front of the counterpart. Returns its address.
async fn over_tls(cloud: &Cloud, certificates: &Certificates) -> String {
    let file = |name: &str| std::fs::read(certificates.file(name)).expect("a file");
    let chain = file("server.pem");
    let chain = CertificateDer::pem_slice_iter(&chain)
        .map(|one| one.expect("a certificate"))
        .collect();
    let key = PrivateKeyDer::from_pem_slice(&file("server.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("https://{}", listener.local_addr().expect("an address"));
    let behind = cloud.0.address.replace("http://", "");
    tokio::spawn(async move {
        while let Ok((outer, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                if let Ok(mut outer) = acceptor.accept(outer).await
                    && let Ok(mut inner) = TcpStream::connect(behind).await
                {
                    let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn both_planes_are_reached_over_https_whose_authority_is_trusted() {
    let site = Site::new().await;
    let certificates = Certificates::new();
    let address = over_tls(&site.cloud, &certificates).await;
    let inside = format!("{address}/sbx/{NAME}-{}", site.machine.generation);
    *lock(&site.machine.told) = Some(inside.clone());
    let ca = certificates.file("ca.pem");
    let place = site.of_another_worker(|config| {
        config.account = account_with(Some(WORKSPACE), 1000, Some(&ca));
        config.control_url = Url::parse(&format!("{address}/v0")).expect("a URL");
    });
    place.wake().await.expect("awake");
    let seen = (site.cloud.count("control GET"), site.cloud.count("health"));
    assert_eq!(seen, (1, 1));
    let other = certificates.file("other-ca.pem");
    let account = account_with(Some(WORKSPACE), 1000, Some(&other));
    let data = Data::new(&account, Url::parse(&inside).expect("a URL"));
    let error = data.health().await.expect_err("nobody vouches for it");
    assert_eq!(error.kind, Kind::NoAnswer);
    assert!(error.what.contains("certificate"), "{error}");
    assert_eq!(site.cloud.count("health"), 1, "nothing was sent");
}
