//! The control plane: which sandbox there is, in what state, and where it answers.
//!
//! A worker only reads here. It never makes a sandbox and never deletes one.

use reqwest::{Method, Url};
use serde::Deserialize;

use super::error::{ApiError, Side};
use super::http::{Account, Call, Plane};

/// Pages of a list that are read at most.
const PAGES_MAX: usize = 20;

/// The control plane of an account.
#[derive(Debug, Clone)]
pub struct Control(Plane);

/// A sandbox, as far as we care.
#[derive(Debug, Clone, Deserialize)]
pub struct Record {
    /// Name and address.
    pub metadata: Metadata,
    /// What it was made of.
    #[serde(default)]
    pub spec: Spec,
    /// How it is.
    #[serde(default)]
    pub status: Status,
}

/// Name and address of a sandbox.
#[derive(Debug, Clone, Deserialize)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Where its own API answers.
    pub url: Option<String>,
}

/// What a sandbox was made of.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Spec {
    /// False: it takes no connections.
    pub enabled: Option<bool>,
    /// Image and memory.
    #[serde(default)]
    pub runtime: Runtime,
}

/// Image and memory of a sandbox.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Runtime {
    /// The image that it runs.
    pub image: Option<String>,
    /// Memory in MB.
    pub memory: Option<u64>,
}

/// How a sandbox is. The set has grown before: what is unknown is an answer, too.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "String")]
pub enum Status {
    /// Ready, awake or in standby.
    Deployed,
    /// It is being made: UPLOADING, BUILDING, BUILT, DEPLOYING, UNARCHIVING.
    Coming(String),
    /// It will not come back by itself: FAILED, DEACTIVATED, ARCHIVED and so on.
    Unusable(String),
    /// It was deleted, or is being.
    Deleted(String),
    /// Something that this program does not know.
    Other(String),
    /// The record did not say.
    #[default]
    Unknown,
}

impl From<String> for Status {
    fn from(text: String) -> Self {
        match text.as_str() {
            "DEPLOYED" => Self::Deployed,
            "UPLOADING" | "BUILDING" | "BUILT" | "DEPLOYING" | "UNARCHIVING" => Self::Coming(text),
            "FAILED" | "DEACTIVATING" | "DEACTIVATED" | "ARCHIVING" | "ARCHIVED" => {
                Self::Unusable(text)
            }
            "DELETING" | "TERMINATED" => Self::Deleted(text),
            "" => Self::Unknown,
            _ => Self::Other(text),
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Deployed => "DEPLOYED",
            Self::Coming(text) | Self::Unusable(text) | Self::Deleted(text) | Self::Other(text) => {
                text
            }
            Self::Unknown => "unknown",
        })
    }
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Record>,
    #[serde(default)]
    meta: PageMeta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PageMeta {
    has_more: bool,
    next_cursor: Option<String>,
}

/// A page, or all of it as older versions of the interface answer.
#[derive(Deserialize)]
#[serde(untagged)]
enum Listed {
    Page(Page),
    All(Vec<Record>),
}

impl Control {
    /// The control plane at `base` (`…/v0`).
    #[must_use]
    pub fn new(account: &Account, base: Url) -> Self {
        Self(account.plane(Side::Control, base))
    }

    /// The sandbox of this name.
    ///
    /// # Errors
    /// [`Kind::Missing`](super::error::Kind) or `Gone` if there is none, `Denied`, or no answer
    /// after several tries.
    pub async fn get(&self, name: &str) -> Result<Record, ApiError> {
        let url = self.0.url(["sandboxes", name]);
        self.0
            .json(&Call::new("asking for the sandbox", Method::GET, url))
            .await
    }

    /// All sandboxes of the workspace, at most some thousand.
    ///
    /// # Errors
    /// As [`Control::get`].
    pub async fn list(&self) -> Result<Vec<Record>, ApiError> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut url = self.0.url(["sandboxes"]);
            url.query_pairs_mut()
                .append_pair("limit", "200")
                .append_pair("showTerminated", "false");
            if let Some(cursor) = &cursor {
                url.query_pairs_mut().append_pair("cursor", cursor);
            }
            let call = Call::new("listing sandboxes", Method::GET, url);
            match self.0.json(&call).await? {
                Listed::All(records) => return Ok(records),
                Listed::Page(page) => {
                    all.extend(page.data);
                    cursor = page.meta.next_cursor.filter(|_| page.meta.has_more);
                }
            }
            if cursor.is_none() {
                break;
            }
        }
        Ok(all)
    }
}
