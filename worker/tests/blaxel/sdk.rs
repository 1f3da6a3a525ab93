//! The vendor's own SDK for Python against the counterpart: an independent look at its shape.

use std::process::Stdio;

use crate::cloud::{KEY, WORKSPACE};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "wants the vendor's SDK (96 MB with what it needs): MANIMQ_BLAXEL_SDK=…/bin/python of an environment with blaxel==0.4.24"]
async fn the_vendors_sdk_gets_what_it_expects_from_the_counterpart() {
    let python = std::env::var("MANIMQ_BLAXEL_SDK").expect("MANIMQ_BLAXEL_SDK names its Python");
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
