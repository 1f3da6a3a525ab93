//! Logs: one line per fact, on standard error, as text for people or JSON for machines.
//!
//! Field names are the same everywhere: `job.id`, `attempt.n`, `tenant.id`, `slot.index`,
//! `request.id`. Never logged: scene source, tokens, signed URLs (log a path without its query).

use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

/// What is logged when neither `MANIMQ_LOG` nor `RUST_LOG` says otherwise.
const FILTER_DEFAULT: &str = "info,hyper=warn,reqwest=warn,h2=warn";

/// Shape of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("{other:?} is not one of text, json")),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Sends this process's logs to standard error. A second call changes nothing, so that a program
/// that runs several parts in one process may call it for each.
///
/// # Errors
/// If `MANIMQ_LOG` or `RUST_LOG` cannot be read; the text names it.
pub fn init(format: LogFormat) -> Result<(), String> {
    let filter = ["MANIMQ_LOG", "RUST_LOG"]
        .into_iter()
        .find_map(|name| Some((name, std::env::var(name).ok().filter(|v| !v.is_empty())?)))
        .map_or_else(
            || Ok(EnvFilter::new(FILTER_DEFAULT)),
            |(name, value)| {
                EnvFilter::try_new(&value).map_err(|error| format!("{name}={value}: {error}"))
            },
        )?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // `Err` means that a subscriber is there already.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}
