//! The vendor's own SDK for Python against the counterpart: an independent look at its shape.

use std::path::Path;
use std::process::Stdio;

use crate::cloud::{KEY, WORKSPACE};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_sdk_gets_what_it_expects_from_the_counterpart() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.manimq/check/bin/python");
    assert!(
        python.exists(),
        "no {}: run deploy/test, which makes it",
        python.display()
    );
    let site = Site::new().await;
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/blaxel/sdk.py");
    let folder = site.machine.folder.join("sdk");
    let output = tokio::process::Command::new(python)
        .arg(program)
        .arg(site.cloud.control_url())
        .arg(NAME)
        .arg(&folder)
        .env("BL_WORKSPACE", WORKSPACE)
        .env("BL_API_KEY", KEY)
        .env("DO_NOT_TRACK", "1")
        .stdin(Stdio::null())
        .output()
        .await
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.ends_with("all is as expected\n"),
        "{said}\n{errors}"
    );
}
