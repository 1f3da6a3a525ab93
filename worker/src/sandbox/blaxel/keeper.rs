//! The process in the sandbox that keeps a slot's renderer warm (`inside/keeper.py`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::task::JoinHandle;

use super::data::ProcessSpec;
use super::error::{ApiError, Kind};
use super::follow::Follower;
use super::place::{Opened, Place, quoted, unique};
use crate::sandbox::Versions;

/// From its start to a warm renderer.
const READY_TIMEOUT: Duration = Duration::from_secs(80);
/// The sandbox kills it then, if nobody else has. Longer than the longest job takes.
const LIFE: Duration = Duration::from_secs(4 * 3600);
/// A job is not begun on one that has no more than this left.
const LIFE_LEFT_MIN: Duration = Duration::from_secs(2 * 3600);
/// It ends by itself after five minutes without this.
const SIGN_EVERY: Duration = Duration::from_secs(60);
/// From asking it to end until it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);

/// A warm renderer in a sandbox. Dropped without [`Keeper::end`] it ends by itself some minutes later.
#[derive(Debug)]
pub(super) struct Keeper {
    opened: Arc<Opened>,
    /// Its process.
    pub name: String,
    /// Where jobs knock.
    pub door: String,
    /// What is installed there.
    pub versions: Versions,
    /// Of the tenancy in which it was started.
    pub era: u64,
    started: Instant,
    /// Jobs that it has had.
    pub jobs: u32,
    signs: JoinHandle<()>,
}

/// What it says.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    Ready {
        versions: Versions,
        warm_up_s: f64,
        uid: Option<u32>,
    },
    Unusable {
        message: String,
    },
    Taken {
        message: String,
    },
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum NotKept {
    /// Of the way to it.
    Api(ApiError),
    /// Its own words.
    Unusable(String),
    /// Another worker is there, and one of the two keeps tenants apart.
    Taken(String),
}

impl From<ApiError> for NotKept {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl Keeper {
    /// Starts one and waits until it is warm.
    pub(super) async fn start(opened: &Arc<Opened>, place: &Place) -> Result<Self, NotKept> {
        let (config, era) = (&place.config, place.tenancy.era());
        let name = unique("keep");
        let folder = &config.folder;
        let command = format!(
            "exec {} -I -B {}/inside/keeper.py {} {name} {} {} {}",
            quoted(&opened.python),
            quoted(&opened.renderer),
            quoted(folder),
            config.uid_base,
            place.worker,
            if config.tenant_affinity {
                "alone"
            } else {
                "shared"
            },
        );
        let data = &opened.data;
        let began = Instant::now();
        let spec = ProcessSpec::new(name.clone(), command, LIFE);
        let following = async {
            data.start(&spec).await?;
            let mut said = Follower::new(data.clone(), name.clone()).begin();
            said.next().await
        };
        let first = match tokio::time::timeout(READY_TIMEOUT, following).await {
            Ok(first) => first,
            Err(_) => Err(ApiError::new(
                "starting the renderer",
                Kind::NoAnswer,
                format!("it was not ready after {} s", READY_TIMEOUT.as_secs()),
            )),
        };
        let trouble: NotKept = match first {
            Ok(Some(said)) => match serde_json::from_value(said) {
                Ok(Said::Ready {
                    versions,
                    warm_up_s,
                    uid,
                }) => {
                    tracing::info!(
                        start_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                        warm_up_s,
                        uid,
                        manim = %versions.manim,
                        "the renderer in the sandbox is warm"
                    );
                    let door = format!("{folder}/slots/{name}/door");
                    let alive = format!("{folder}/slots/{name}/alive");
                    return Ok(Self {
                        signs: tokio::spawn(give_signs(opened.clone(), alive)),
                        opened: opened.clone(),
                        name,
                        door,
                        versions,
                        era,
                        started: Instant::now(),
                        jobs: 0,
                    });
                }
                Ok(Said::Unusable { message }) => NotKept::Unusable(message),
                Ok(Said::Taken { message }) => NotKept::Taken(message),
                Err(error) => {
                    NotKept::Unusable(format!("it said something else than ready: {error}"))
                }
            },
            Ok(None) => {
                let said = data.process(&name).await?.stderr.unwrap_or_default();
                let said: Vec<&str> = said.trim().lines().rev().take(3).collect();
                let said = super::error::harmless(&said.join(" / "));
                NotKept::Unusable(format!("it ended before it was ready: {said}"))
            }
            Err(error) => NotKept::Api(error),
        };
        let _ = data.kill(&name).await;
        data.remove_logs(&name).await;
        Err(trouble)
    }

    /// Whether the next job may be given to it.
    pub(super) fn is_fresh(&self, recycle_after: u32) -> bool {
        self.jobs < recycle_after && self.started.elapsed() + LIFE_LEFT_MIN < LIFE
    }

    /// Ends it; what it kept is gone with it.
    pub(super) async fn end(self) {
        self.signs.abort();
        let data = &self.opened.data;
        let ending = async {
            if data.stop(&self.name).await? {
                let ended = data.ended(&self.name, STOP_TIMEOUT).await?;
                if ended.is_none() {
                    data.kill(&self.name).await?;
                }
            }
            data.remove_logs(&self.name).await;
            Ok::<_, ApiError>(())
        };
        let bounded = tokio::time::timeout(STOP_TIMEOUT * 2, ending).await;
        if !matches!(bounded, Ok(Ok(()))) {
            tracing::debug!("the renderer {} ends by itself within minutes", self.name);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.signs.abort();
    }
}

async fn give_signs(opened: Arc<Opened>, path: String) {
    loop {
        tokio::time::sleep(SIGN_EVERY).await;
        if let Err(error) = opened.data.write_text(&path, "").await {
            tracing::debug!(error = %error, "the sandbox did not hear that we live");
        }
    }
}
