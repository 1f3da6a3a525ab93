//! `manimq-worker verify`: is this machine fit to render?

use crate::config::{SandboxArgs, SandboxKind};
use crate::sandbox::Sandbox as _;
use crate::sandbox::local::LocalSandbox;

/// Opens a sandbox, tries its walls and a tiny render, and prints its versions and level as JSON.
///
/// # Errors
/// What is missing or does not hold, with the remedy.
pub async fn verify(args: &SandboxArgs) -> anyhow::Result<()> {
    let mut sandbox = match args.sandbox {
        SandboxKind::Local => LocalSandbox::connect(args.local(0)).await?,
        SandboxKind::Blaxel => anyhow::bail!("see verify"),
    };
    let verified = sandbox.verify().await;
    let mut report = serde_json::to_value(sandbox.versions())?;
    report["level"] = sandbox.level().as_str().into();
    let report = serde_json::to_string_pretty(&report)?;
    sandbox.close().await;
    verified?;
    println!("{report}");
    Ok(())
}
