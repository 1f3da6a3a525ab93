//! One persistent sandbox, as all slots of this worker share it: found, woken, looked at and
//! given the renderer once, and again only when it was lost.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::Url;
use tokio::sync::Mutex;

use super::DEPLOY;
use super::control::{Control, Record, Status};
use super::data::{Data, Health};
use super::error::{ApiError, Kind};
use super::http::Account;
use super::output::{Exit, SendFrom};
use super::tenancy::Tenancy;
use crate::sandbox::ConnectError;

/// How long a sandbox that is being made is waited for.
const COMING_TIMEOUT: Duration = Duration::from_secs(60);
const COMING_PAUSE: Duration = Duration::from_secs(3);
/// Where our things lie in a sandbox, if nobody says.
pub const FOLDER: &str = "/manimq";

/// What a sandbox is to be used with.
#[derive(Debug, Clone)]
pub struct PlaceConfig {
    /// Its name.
    pub name: String,
    /// The image that it should run; another is told, not refused.
    pub image: Option<String>,
    /// Key, workspace, pace.
    pub account: Account,
    /// The control plane.
    pub control_url: Url,
    /// Where the sandbox answers; then the control plane is not asked.
    pub sandbox_url: Option<Url>,
    /// Folder in the sandbox for our files.
    pub folder: String,
    /// Python with Manim in the sandbox; `None`: looked for.
    pub python: Option<String>,
    /// The renderer's code on this machine.
    pub renderer_dir: PathBuf,
    /// First user id for slots in the sandbox.
    pub uid_base: u32,
    /// Jobs after which a fresh renderer is started.
    pub recycle_after: u32,
    /// Who sends results to the store.
    pub send_from: SendFrom,
    /// Certificates that the store may need.
    pub ca_file: Option<PathBuf>,
    /// One tenant at a time.
    pub tenant_affinity: bool,
}

/// A sandbox and what this worker knows of it.
#[derive(Debug)]
pub struct Place {
    pub(super) config: PlaceConfig,
    opened: Mutex<Option<Arc<Opened>>>,
    lost: AtomicU64,
    /// Ours among the workers that use it.
    pub(super) worker: String,
    pub(super) tenancy: Arc<Tenancy>,
    /// How often it was opened, for tests and logs.
    pub(super) openings: AtomicU32,
}

/// A sandbox that answers and has the renderer.
#[derive(Debug)]
pub(super) struct Opened {
    pub data: Data,
    pub health: Health,
    /// The folder of this version of the renderer there.
    pub renderer: String,
    /// The interpreter there.
    pub python: String,
    pub exit: Exit,
    generation: u64,
}

impl Place {
    /// A sandbox that is not yet looked for.
    #[must_use]
    pub fn new(config: PlaceConfig) -> Self {
        Self {
            config,
            opened: Mutex::new(None),
            lost: AtomicU64::new(0),
            worker: unique("worker"),
            tenancy: Arc::default(),
            openings: AtomicU32::new(0),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// How often it was found and looked at anew.
    #[must_use]
    pub fn openings(&self) -> u32 {
        self.openings.load(Ordering::Relaxed)
    }

    /// Asks the control plane how the sandbox is, and whether it can be used.
    ///
    /// # Errors
    /// If it cannot, with the remedy.
    pub async fn look_up(&self) -> Result<String, ConnectError> {
        let record = self.record().await?;
        self.address(&record)?;
        let image = record.spec.runtime.image.as_deref().unwrap_or("unknown");
        let memory = record.spec.runtime.memory.unwrap_or_default();
        Ok(format!("{}, image {image}, {memory} MB", record.status))
    }

    /// How long the sandbox takes to answer.
    ///
    /// # Errors
    /// If it does not.
    pub async fn wake(&self) -> Result<Duration, ConnectError> {
        let data = Data::new(&self.config.account, self.find().await?);
        let begun = Instant::now();
        data.wake().await.map_err(|error| self.explain(&error))?;
        Ok(begun.elapsed())
    }

    /// The sandbox, looked for if it is not known or was lost.
    pub(super) async fn open(&self) -> Result<Arc<Opened>, ConnectError> {
        let mut known = self.opened.lock().await;
        let generation = self.lost.load(Ordering::Acquire);
        if let Some(opened) = known.as_ref().filter(|o| o.generation == generation) {
            return Ok(opened.clone());
        }
        *known = None;
        let data = Data::new(&self.config.account, self.find().await?);
        let health = data.wake().await.map_err(|error| self.explain(&error))?;
        let python = self.look(&data, &health).await?;
        let free = self.make_room(&data).await;
        self.has_room(free.map_err(|error| self.explain(&error))?)?;
        let renderer = self.bring(&data).await?;
        self.openings.fetch_add(1, Ordering::Relaxed);
        let opened = Arc::new(Opened {
            data,
            health,
            renderer,
            python,
            exit: Exit {
                who: self.config.send_from,
                ca_file: self.config.ca_file.clone(),
                blocked: AtomicBool::new(false),
            },
            generation,
        });
        *known = Some(opened.clone());
        Ok(opened)
    }

    /// How often it was found lost.
    pub(super) fn losses(&self) -> u64 {
        self.lost.load(Ordering::Acquire)
    }

    /// Says that what was opened does not hold any more: the next one looks anew.
    pub(super) fn lost(&self, opened: &Opened) {
        let of = opened.generation;
        let _ = self
            .lost
            .compare_exchange(of, of + 1, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Its record.
    pub(super) async fn record(&self) -> Result<Record, ConnectError> {
        let control = Control::new(&self.config.account, self.config.control_url.clone());
        control
            .get(&self.config.name)
            .await
            .map_err(|error| self.explain_control(&error))
    }

    /// Where it answers.
    async fn find(&self) -> Result<Url, ConnectError> {
        if let Some(url) = &self.config.sandbox_url {
            return Ok(url.clone());
        }
        let until = Instant::now() + COMING_TIMEOUT;
        loop {
            let record = self.record().await?;
            match &record.status {
                Status::Coming(_) if Instant::now() + COMING_PAUSE < until => {
                    tracing::info!("sandbox {} is {}; waiting", self.name(), record.status);
                    tokio::time::sleep(COMING_PAUSE).await;
                }
                _ => return self.address(&record),
            }
        }
    }

    /// The address in a record, if the sandbox can be used.
    pub(super) fn address(&self, record: &Record) -> Result<Url, ConnectError> {
        let name = self.name();
        match &record.status {
            Status::Deployed | Status::Other(_) | Status::Unknown => {}
            Status::Coming(status) => {
                return Err(ConnectError::Unavailable {
                    reason: format!(
                        "sandbox '{name}' is still {status}; `bl get sandbox {name} --watch` shows when it is ready"
                    ),
                    remedy: "it is asked again by itself; images of this size take some minutes"
                        .into(),
                    retry_after: COMING_PAUSE,
                });
            }
            Status::Deleted(status) => return Err(self.not_found(&format!("it is {status}"))),
            Status::Unusable(status) => {
                return Err(ConnectError::CustomVerification {
                    reason: format!("sandbox '{name}' is {status}"),
                    remedy: format!(
                        "`bl get sandbox {name}` says why; `bl delete sandbox {name}`, then deploy/deploy_sandbox.sh --name {name} --server-image IMAGE makes it anew"
                    ),
                });
            }
        }
        if record.spec.enabled == Some(false) {
            return Err(ConnectError::CustomVerification {
                reason: format!("sandbox '{name}' is disabled"),
                remedy: "set spec.enabled to true (`bl apply`)".into(),
            });
        }
        if let (Some(wanted), Some(image)) = (&self.config.image, &record.spec.runtime.image)
            && !same_image(wanted, image)
        {
            tracing::warn!(
                "sandbox {name} runs the image {image}, MANIM_SANDBOX_IMAGE says {wanted}: deploy it again, or correct the variable"
            );
        }
        let text = record.metadata.url.as_deref().unwrap_or_default();
        let url = Url::parse(text)
            .ok()
            .filter(|url| self.may_have_the_key(url));
        url.ok_or_else(|| ConnectError::CustomVerification {
            reason: format!("the record of sandbox '{name}' has no address that the key may be sent to"),
            remedy: "set BLAXEL_SANDBOX_URL to its address, if that is right (`bl get sandbox NAME -o json`, metadata.url)".into(),
        })
    }

    /// Sandboxes answer below one domain. Elsewhere the key goes only where the operator says.
    fn may_have_the_key(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let control = self.config.control_url.host_str().unwrap_or_default();
        url.scheme() == "https"
            && (host.ends_with(".bl.run") || host.ends_with(".blaxel.ai") || host == control)
            || is_loopback(url) && is_loopback(&self.config.control_url)
    }

    pub(super) fn unfit(&self, reason: String, remedy: &str) -> ConnectError {
        ConnectError::CustomVerification {
            reason: format!("sandbox '{}': {reason}", self.name()),
            remedy: remedy.into(),
        }
    }

    fn not_found(&self, why: &str) -> ConnectError {
        let name = self.name();
        ConnectError::SandboxNotFound {
            name: name.to_owned(),
            remedy: format!(
                "{why}; `bl get sandboxes` lists those there are: correct MANIM_SANDBOX_NAME or BL_WORKSPACE, or make it with deploy/deploy_sandbox.sh --name {name} --server-image IMAGE"
            ),
        }
    }

    /// What an error of the control plane's means: it says nothing of what is in the sandbox.
    fn explain_control(&self, error: &ApiError) -> ConnectError {
        match error.kind {
            Kind::Missing => self.not_found(&error.what),
            // Without a workspace, or with an address that is not the interface's.
            Kind::Refused | Kind::NoRoute | Kind::Garbled => ConnectError::NotFound {
                what: format!("the record of sandbox '{}' ({error})", self.name()),
                remedy: "set BL_WORKSPACE to the key's workspace (`bl workspaces` lists them), and BL_API_URL to the control plane's address with its version, https://…/v0, or not at all".into(),
            },
            Kind::Denied | Kind::OverPlan | Kind::Gone | Kind::NoAnswer | Kind::Later => {
                self.explain(error)
            }
        }
    }

    /// What an error of the sandbox's own API means for who wants to connect.
    pub(super) fn explain(&self, error: &ApiError) -> ConnectError {
        let unavailable = |reason: String, remedy: &str| ConnectError::Unavailable {
            reason,
            remedy: remedy.into(),
            retry_after: error.retry_after.unwrap_or(Duration::from_secs(5)),
        };
        match error.kind {
            Kind::Denied => ConnectError::Unauthorized {
                reason: error.to_string(),
                remedy: "set BLAXEL_API_KEY (or BL_API_KEY) to a key of the workspace in BL_WORKSPACE; `bl workspaces` lists them, keys are made in the console under Profile › Security".into(),
            },
            Kind::Gone => self.not_found(&error.what),
            // Files and processes of ours that are there for as long as the server is.
            Kind::Missing => unavailable(
                format!("its server started anew ({error})"),
                "it is set up again by itself",
            ),
            Kind::OverPlan => self.over_plan(error),
            Kind::Refused if error.what.contains("current plan") => self.over_plan(error),
            Kind::NoAnswer | Kind::Later => unavailable(
                error.to_string(),
                "it is tried again by itself; if it stays so, see that this machine reaches Blaxel over https (BL_API_URL, BLAXEL_SANDBOX_URL) and what `bl get sandboxes` says",
            ),
            Kind::NoRoute | Kind::Refused | Kind::Garbled => self.unfit(error.to_string(), DEPLOY),
        }
    }

    fn over_plan(&self, error: &ApiError) -> ConnectError {
        self.unfit(
            error.to_string(),
            "the account's plan does not allow it: raise the plan or free sandboxes",
        )
    }
}

/// Whether an address is on this machine: only there a key may go over plain http.
pub(crate) fn is_loopback(url: &Url) -> bool {
    matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"))
}

/// `sandbox/manim:latest` and `manim` name the same image.
fn same_image(a: &str, b: &str) -> bool {
    let bare = |text: &str| {
        let text = text.trim_start_matches("sandbox/");
        let name = text.split([':', '@']).next().unwrap_or_default();
        name.to_owned()
    };
    bare(a) == bare(b)
}

/// For the sandbox's shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A name that was never used before. Never digits alone, which would mean a process number.
pub(super) fn unique(what: &str) -> String {
    use std::hash::{BuildHasher as _, Hasher as _};
    let bits = || std::hash::RandomState::new().build_hasher().finish();
    format!("manimq-{what}-{:016x}{:08x}", bits(), bits() >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_to_the_shell_is_one_word() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's $(x)"), "'it'\\''s $(x)'");
    }

    #[test]
    fn an_image_is_the_same_with_and_without_its_prefix_and_tag() {
        assert!(same_image("manim", "sandbox/manim:latest"));
        assert!(same_image("sandbox/manim:abc", "sandbox/manim:latest"));
        assert!(!same_image("manim", "blaxel/base-image:latest"));
    }
}
