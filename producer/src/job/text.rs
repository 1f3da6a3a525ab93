//! Jobs in words for a person.

use std::time::Duration;

use manimq_shared::api::{Deletion, JobView};
use manimq_shared::job::{ModelPart, Status};

use crate::admin::show::{ago, ahead, paused_words, plural, span, starts_in};
use crate::admin::table::{Tone, facts};
use crate::term::Paint;

/// How a status looks.
pub(super) const fn tone(status: Status) -> Tone {
    match status {
        Status::Failed => Tone::Bad,
        Status::Canceled | Status::Expired => Tone::Warning,
        Status::Queued => Tone::Dim,
        Status::Running | Status::Succeeded => Tone::Plain,
    }
}

/// A status with its colour.
pub(super) fn status(job: &JobView, paint: Paint) -> String {
    let word = job.status.as_str();
    let canceling = !job.status.is_terminal() && job.cancel_requested_at.is_some();
    let word = if canceling { "canceling" } else { word };
    match tone(job.status) {
        Tone::Bad => paint.error(word).to_string(),
        Tone::Warning => paint.warning(word).to_string(),
        Tone::Plain | Tone::Dim if job.status == Status::Succeeded => paint.good(word).to_string(),
        Tone::Plain | Tone::Dim => word.to_owned(),
    }
}

/// How far a running job is: `42 %, 12 s left`.
pub(super) fn progress(job: &JobView) -> String {
    let progress = &job.progress;
    let mut text = match progress.fraction {
        Some(fraction) => format!("{:.0} %", (fraction * 100.0).clamp(0.0, 100.0)),
        None if progress.frames_done > 0 => plural(progress.frames_done, "frame"),
        None => job.stage.to_string(),
    };
    if let Some(left) = progress
        .eta_s
        .filter(|left| left.is_finite() && *left >= 0.0)
    {
        text.push_str(&format!(", {} left", seconds(left)));
    }
    text
}

/// A length of time: `0.8 s`, `12 s`, `3 min`.
pub(super) fn seconds(s: f64) -> String {
    if s < 10.0 {
        format!("{s:.1} s")
    } else {
        span(Duration::from_secs_f64(s.min(1e9)))
    }
}

/// A size: `812 B`, `1.4 MB`.
pub(super) fn size(bytes: u64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    for (unit, name) in units {
        if bytes as f64 >= unit {
            return format!("{:.1} {name}", bytes as f64 / unit);
        }
    }
    format!("{bytes} B")
}

/// All that a person wants to know of a job.
pub(super) fn job(job: &JobView, paint: Paint) -> String {
    let mut lines: Vec<(&str, String)> = Vec::new();
    let mut add = |name, value: String| lines.push((name, value));
    add("id", job.id.to_string());
    let word = job.status.as_str();
    add(
        "status",
        match job.status {
            Status::Running => format!("{word}: {}", progress(job)),
            Status::Queued => match job.queue.as_ref().and_then(|queue| queue.position) {
                Some(place) => format!("{word}, place {place} in its lane"),
                None => word.to_owned(),
            },
            _ => word.to_owned(),
        },
    );
    if let Some(queue) = &job.queue {
        if let Some(paused) = queue.paused {
            add("paused", paused_words(paused, &job.tenant));
        }
        if let Some(wait) = queue.expected_wait_s {
            add("starts", starts_in(Duration::from_secs(wait)));
        }
    }
    if let Some(resolved) = &job.resolved {
        add("template", format!("{} {}", resolved.id, resolved.version));
        for note in &resolved.notes {
            add("note", note.clone());
        }
    }
    if let Some(by) = &job.by_model {
        let made = match by.made {
            ModelPart::Parameters => "chose template and parameters",
            ModelPart::Code => "wrote the scene",
        };
        let repairs = plural(u64::from(by.repairs), "repair");
        add("model", format!("{} {made}, {repairs}", by.model));
    }
    let file = job
        .input
        .file_name
        .as_deref()
        .unwrap_or("a source without a name");
    match &job.input.scene {
        _ if job.resolved.is_some() => {}
        Some(scene) => add("scene", format!("{scene} of {file}")),
        None => add("scene", format!("the one of {file}")),
    }
    let output = &job.output;
    let (width, height, fps) = output.size();
    let transparent = if output.transparent {
        ", transparent"
    } else {
        ""
    };
    add(
        "output",
        format!(
            "{} {width}x{height}, {fps} frames a second{transparent}",
            output.format
        ),
    );
    add("submitted", ago(job.created_at));
    if let Some(at) = job.started_at {
        add("started", ago(at));
    }
    if let Some(at) = job.finished_at {
        add("ended", ago(at));
    }
    if let Some(timings) = &job.timings {
        let render = timings.prepare_s + timings.render_s + timings.encode_s;
        add(
            "took",
            format!(
                "{} to render, {} in the queue",
                seconds(render),
                seconds(timings.queued_s)
            ),
        );
    }
    if job.attempts.len() > 1 {
        add("attempts", job.attempts.len().to_string());
    }
    if job.cached {
        add(
            "cached",
            "answered by an earlier render of the same".to_owned(),
        );
    }
    if let Some(parent) = job.parent {
        add("runs again", parent.to_string());
    }
    if !job.tags.is_empty() {
        add("tags", job.tags.join(", "));
    }
    for (key, value) in &job.metadata {
        add("metadata", format!("{key} = {value}"));
    }
    if let Some(error) = &job.error {
        add("error", format!("{}: {}", error.class, error.message));
        if let Some(at) = &error.location {
            let code = at
                .code
                .as_deref()
                .map_or_else(String::new, |code| format!(": {}", code.trim()));
            add("at", format!("{}, line {}{code}", at.file, at.line));
        }
        if let Some(hint) = &error.hint {
            add("hint", hint.clone());
        }
    }
    for warning in &job.warnings {
        add("warning", warning.clone());
    }
    for file in &job.artifacts {
        add(
            "file",
            format!("{}, {}\n{}", file.name, size(file.bytes), file.url),
        );
    }
    if let Some(at) = job.expires_at {
        add("kept", format!("until {at}, {}", ahead(at)));
    }
    facts(paint, &lines)
}

/// What went with a job, or would go.
pub(super) fn deletion(gone: &Deletion) -> String {
    let word = if gone.dry_run {
        "would be deleted"
    } else {
        "deleted"
    };
    let files: Vec<_> = gone.artifacts.iter().filter(|file| file.deleted).collect();
    let bytes = files.iter().map(|file| file.bytes).sum();
    let mut text = format!(
        "{}  {word}, with {} ({}) and {}\n",
        gone.id,
        plural(files.len() as u64, "file"),
        size(bytes),
        plural(gone.events, "event"),
    );
    let kept = gone.artifacts.len() - files.len();
    if kept > 0 && gone.shown_by_others > 0 {
        text.push_str(&format!(
            "  {} not deleted: shown by {} of the same work, too\n",
            plural(kept as u64, "file"),
            plural(gone.shown_by_others, "other job")
        ));
    } else if kept > 0 {
        text.push_str(&format!(
            "  {} could not be removed now and go later\n",
            plural(kept as u64, "file")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_400_000, "1.4 MB"),
            (2_000_000_000, "2.0 GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (s, text) in [(0.84, "0.8 s"), (12.7, "13 s"), (200.0, "3 min")] {
            assert_eq!(seconds(s), text);
        }
    }
}
