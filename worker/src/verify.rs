//! `manimq-worker verify`: is this machine fit to render?

use crate::config::{SandboxArgs, SandboxKind};
use crate::sandbox::Sandbox as _;
use crate::sandbox::local::LocalSandbox;

/// Opens a sandbox, tries its walls and a tiny render, and prints its versions as JSON.
///
/// # Errors
/// What is missing or does not hold, with the remedy.
pub async fn verify(args: &SandboxArgs) -> anyhow::Result<()> {
    let mut sandbox = match args.sandbox {
        SandboxKind::Local => LocalSandbox::connect(args.local(0)).await?,
    };
    let verified = sandbox.verify().await;
    let versions = serde_json::to_string_pretty(sandbox.versions())?;
    sandbox.close().await;
    verified?;
    println!("{versions}");
    Ok(())
}
