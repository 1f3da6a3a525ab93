//! The worker's program itself: what `verify` says, and what `run` refuses.

use std::process::Stdio;

use crate::cloud::{Cloud, KEY, WORKSPACE};
use crate::support::*;

/// Runs the program with settings for the counterpart, and these in addition.
async fn worker(site: &Site, words: &[&str], more: &[(&str, &str)]) -> (bool, String, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_manimq-worker"))
        .args(words)
        .current_dir(&site.machine.folder)
        .env("MANIMQ_SANDBOX", "blaxel")
        .env("MANIM_SANDBOX_NAME", NAME)
        .env("MANIM_SANDBOX_IMAGE", "sandbox/manim:latest")
        .env_remove("BL_API_KEY")
        .env("BLAXEL_API_KEY", KEY)
        .env("BL_WORKSPACE", WORKSPACE)
        .env("BL_API_URL", site.cloud.control_url())
        .env("MANIMQ_SANDBOX_DIR", Cloud::inside(&site.machine))
        .env("MANIM_SANDBOX_PYTHON", python_env().join("bin/python3"))
        .env(
            "MANIMQ_SANDBOX_UID_BASE",
            config(&site.cloud, &site.machine).uid_base.to_string(),
        )
        .env(
            "MANIMQ_RENDERER_DIR",
            concat!(env!("CARGO_MANIFEST_DIR"), "/renderer"),
        )
        .envs(more.iter().copied())
        .stdin(Stdio::null())
        .output()
        .await
        .expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (said, errors) = (text(output.stdout), text(output.stderr));
    assert!(
        !said.contains(KEY) && !errors.contains(KEY),
        "{said}{errors}"
    );
    (output.status.success(), said, errors)
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_goes_through_everything_and_its_status_tells() {
    let site = Site::new().await;
    let (good, said, log) = worker(&site, &["verify"], &[]).await;
    assert!(good, "{said}{log}");
    for line in [
        "✓ image configured: sandbox/manim:latest\n",
        "✓ sandbox name: manim-sb\n",
        "✓ key: counterp… (BLAXEL_API_KEY)\n",
        "✓ control plane reachable: ",
        "✓ sandbox 'manim-sb': DEPLOYED",
        "✓ wake-up: ",
        "✓ Manim 0.",
        "✓ FFmpeg libraries ",
        "✓ LaTeX: ",
        "✓ Custom sandbox verified: Manim and FFmpeg are available\n",
        "✓ round trip of a file\n",
        "✓ one-frame render: ",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    for line in [
        "Connecting to persistent sandbox: manim-sb",
        "✓ Custom sandbox verified: Manim and FFmpeg are available",
        "Successfully connected to sandbox: manim-sb",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    eventually("nothing runs there", || {
        site.machine.processes.running().is_empty()
    })
    .await;
    let (good, said, log) = worker(&site, &["verify", "--json"], &[]).await;
    let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert!(good && report["manim"].is_string(), "{said}{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_whose_address_is_given_is_used_without_the_control_plane() {
    let site = Site::new().await;
    let address = site.address();
    let more = [
        ("BLAXEL_SANDBOX_URL", address.as_str()),
        ("BL_API_URL", "http://127.0.0.1:1/v0"),
    ];
    let (good, said, log) = worker(&site, &["verify"], &more).await;
    assert!(
        good && said.contains("control plane: not asked"),
        "{said}{log}"
    );
    assert_eq!(site.cloud.count("control GET"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_says_what_is_wrong_and_what_to_do() {
    let site = Site::new().await;
    for (more, line, error, fix) in [
        (
            ("BLAXEL_API_KEY", ""),
            "✗ key: none\n",
            "Authentication required",
            "BL_API_KEY",
        ),
        (
            ("BLAXEL_API_KEY", "a-word-that-is-not-taken"),
            "✗ control plane: ",
            "Authentication required",
            "BLAXEL_API_KEY",
        ),
        (
            ("MANIM_SANDBOX_NAME", "nobody"),
            "✗ control plane: ",
            "Sandbox 'nobody' not found",
            "bl get sandboxes",
        ),
        (
            ("MANIM_SANDBOX_PYTHON", "/bin/false"),
            "✗ connection: ",
            "Custom sandbox verification failed",
            "MANIM_SANDBOX_PYTHON",
        ),
    ] {
        let (good, said, errors) = worker(&site, &["verify"], &[more]).await;
        assert!(!good && said.contains(line), "{more:?}: {said}");
        assert!(
            errors.contains(error) && errors.contains(fix),
            "{more:?}: {errors}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_more_slots_than_its_sandboxes_take_does_not_start() {
    let site = Site::new().await;
    for (more, words) in [
        (("MANIMQ_SLOTS", "3"), "--slots-per-sandbox"),
        (("MANIM_SANDBOX_NAME", "a,B"), "\"B\" is no sandbox's name"),
        (("MANIM_SANDBOX_NAME", "a,a"), "twice"),
        (
            (
                "BLAXEL_SANDBOX_URL",
                "http://127.0.0.1:1,http://127.0.0.1:2",
            ),
            "2 addresses for 1 names",
        ),
    ] {
        let (good, _, errors) = worker(&site, &["run"], &[more]).await;
        assert!(!good && errors.contains(words), "{more:?}: {errors}");
    }
}
