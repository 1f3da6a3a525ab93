//! `--tenant-affinity`: nothing of a tenant's is left when another's job begins.

use std::collections::BTreeSet;

use manimq_worker::sandbox::blaxel::BlaxelSandbox;
use manimq_worker::sandbox::{RenderError, Rendered, Sandbox};

use crate::cloud::Cloud;
use crate::faults::{Fault, What};
use crate::support::*;

const FORMULA: &str = "self.add(MathTex('x^2'))\nself.wait(0.2)";

async fn site() -> Site {
    Site::with(|config| config.tenant_affinity = true).await
}

async fn job_of(
    sandbox: &mut BlaxelSandbox,
    tenant: &str,
    lines: &str,
) -> Result<Rendered, RenderError> {
    let request = of_tenant(constructing(lines), tenant);
    render(sandbox, request).await.0
}

/// Folders of tenants' formulas.
fn shelves(site: &Site) -> BTreeSet<std::ffi::OsString> {
    let folder = Cloud::inside(&site.machine).join("tex");
    let entries = std::fs::read_dir(folder).expect("formulas").flatten();
    entries.map(|entry| entry.file_name()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_affinity_a_sandbox_is_cleaned_between_tenants() {
    let site = site().await;
    let mut sandbox = site.connect().await;
    let keeper = sandbox.keeper().expect("one").to_owned();
    for _ in 0..2 {
        let rendered = job_of(&mut sandbox, "acme", FORMULA).await;
        rendered.expect("a film");
        sandbox.reset().await.expect("ready");
        assert_eq!(sandbox.keeper(), Some(keeper.as_str()));
    }
    let rendered = job_of(&mut sandbox, "other", SHORT).await;
    rendered.expect("a film");
    assert_ne!(sandbox.keeper(), Some(keeper.as_str()), "another renderer");
    let rendered = job_of(&mut sandbox, "acme", FORMULA).await.expect("a film");
    assert_eq!(rendered.usage.formulas_set, 1, "what was kept is gone");
    sandbox.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_renders_among_what_another_tenant_left_after_a_failure_or_a_restart() {
    let mut site = site().await;
    let mut sandbox = site.connect().await;
    let rendered = job_of(&mut sandbox, "acme", FORMULA).await;
    rendered.expect("a film");
    sandbox.reset().await.expect("ready");
    let of_acme = shelves(&site);
    assert_eq!(of_acme.len(), 1);
    // What would clean does not start.
    site.cloud.fail(Fault::once("start", What::Full));
    let lost = job_of(&mut sandbox, "other", FORMULA).await;
    assert!(
        matches!(lost, Err(RenderError::SandboxLost { .. })),
        "{lost:?}"
    );
    assert_eq!(site.cloud.faults_left(), 0);
    assert_eq!(shelves(&site), of_acme, "nobody was there meanwhile");
    sandbox.reset().await.expect("ready");
    let rendered = job_of(&mut sandbox, "other", FORMULA).await;
    rendered.expect("a film");
    let of_other = shelves(&site);
    assert_eq!((of_other.len(), of_other.is_disjoint(&of_acme)), (1, true));
    sandbox.close().await;
    // A worker that is started anew knows nothing of who was there before.
    site.place = site.of_another_worker(|config| config.tenant_affinity = true);
    let mut sandbox = site.connect().await;
    let rendered = job_of(&mut sandbox, "third", FORMULA).await;
    rendered.expect("a film");
    let of_third = shelves(&site);
    assert_eq!((of_third.len(), of_third.is_disjoint(&of_other)), (1, true));
    assert_eq!(
        site.machine.processes.started("manimq-bring"),
        1,
        "the renderer was there"
    );
    sandbox.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_job_of_a_tenant_waits_until_the_first_has_cleaned() {
    let site = site().await;
    let (mut one, mut two) = (site.connect().await, site.connect().await);
    let rendered = job_of(&mut one, "acme", SHORT).await;
    rendered.expect("a film");
    one.reset().await.expect("ready");
    // Its answer takes a second.
    site.cloud.fail(Fault::once("start", What::Slow));
    let both = tokio::join!(
        job_of(&mut one, "other", SHORT),
        job_of(&mut two, "other", SHORT)
    );
    assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
    assert_eq!(
        site.machine.processes.started("manimq-clean"),
        2,
        "once for each tenant"
    );
    one.close().await;
    two.close().await;
}
