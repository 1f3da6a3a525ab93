//! Logs: one line per fact, on standard error, as text for people or JSON for machines.
//!
//! Field names are the same everywhere: `job.id`, `attempt.n`, `tenant.id`, `slot.index`,
//! `request.id`. Never logged: scene source, tokens, signed URLs (log a path without its query).

use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;

use jiff::Timestamp;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

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

/// A line for people: when, how bad, what happened; behind that the fields, those of the spans around it, and for what
/// is amiss where in the program it was said.
struct ForPeople;

impl<S, N> FormatEvent<S, N> for ForPeople
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let (dim, colour, plain) = if line.has_ansi_escapes() {
            ("\u{1b}[2m", colour(level), "\u{1b}[0m")
        } else {
            ("", "", "")
        };
        let now = Timestamp::now();
        write!(line, "{dim}{now:.3}{plain} {colour}{level:>5}{plain} ")?;
        context.format_fields(line.by_ref(), event)?;
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            if let Some(fields) = extensions.get::<FormattedFields<N>>()
                && !fields.is_empty()
            {
                write!(line, " {fields}")?;
            }
        }
        if level != Level::INFO {
            write!(line, " {dim}({target}){plain}")?;
        }
        writeln!(line)
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        _ => "\u{1b}[34m",
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
        LogFormat::Text => builder.event_format(ForPeople).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_for_people_says_what_happened_first_and_the_rest_behind_it() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .event_format(ForPeople)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("run", job.id = "job_1", attempt.n = 2);
            let _inside = span.enter();
            tracing::info!(duration_ms = 7, "rendered");
            tracing::warn!("slow");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let said: Vec<_> = text.lines().map(|line| &line[25..]).collect();
        assert_eq!(
            said,
            [
                " INFO rendered duration_ms=7 job.id=\"job_1\" attempt.n=2",
                " WARN slow job.id=\"job_1\" attempt.n=2 (manimq_shared::logging::tests)",
            ],
            "{text}"
        );
    }
}
