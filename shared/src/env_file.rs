//! `.env` in the working directory: settings for whoever runs manimq from a project's folder.
//!
//! Only the names that manimq reads are taken from it, so that a file made for something else changes nothing, and
//! a variable of the environment goes before it. Values may be quoted, lines may be comments. `MANIMQ_ENV_FILE=none`
//! leaves it unread: for a program whose environment was made for it.

use std::io::{Cursor, ErrorKind};

use dotenvy::Error;

/// The file.
const NAME: &str = ".env";
/// Largest file that is read.
const BYTES_MAX: u64 = 256 * 1024;
/// What manimq reads: beginnings of names.
const NAMES: [&str; 13] = [
    "MANIMQ_",
    "REDIS_URL",
    "MANIM_SANDBOX_",
    "BLAXEL_",
    "BL_API_KEY",
    "BL_WORKSPACE",
    "AWS_",
    "GOOGLE_",
    "AZURE_",
    "OTEL_",
    "RUST_LOG",
    "NO_COLOR",
    "SSL_CERT_",
];

/// The variable that says to leave the file unread, and how it does.
pub const FILE_VARIABLE: &str = "MANIMQ_ENV_FILE";
/// See [`FILE_VARIABLE`].
pub const NO_FILE: &str = "none";

/// Why the file cannot be used. Never with what is in it: that may be secret.
#[derive(Debug, thiserror::Error)]
pub enum EnvFileError {
    /// It cannot be read.
    #[error("cannot read {NAME}: {0}; make it readable, or run manimq in another folder")]
    Read(std::io::Error),
    /// It is too large to be one.
    #[error(
        "{NAME} is larger than 256 KiB, which no file of settings is; run manimq in another folder"
    )]
    TooLarge,
    /// It is not UTF-8.
    #[error("{NAME} is not UTF-8 text; save it as that")]
    NotText,
    /// A line is no setting.
    #[error(
        "{NAME}, line {0}: not of the form NAME=value; quote values with spaces, begin comments with #"
    )]
    Line(usize),
    /// [`FILE_VARIABLE`] says something else than [`NO_FILE`].
    #[error(
        "{FILE_VARIABLE} can only be {NO_FILE} (no {NAME} is read); unset it to read {NAME} in this folder"
    )]
    Which,
}

/// Whether a variable has or finds a key of the object store, or would: whatever the clouds' names begin with, in any
/// case, as the store's clients take them.
#[must_use]
pub fn is_store_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["aws_", "google_", "azure_"]
        .iter()
        .any(|start| name.starts_with(start))
        || name == "service_account"
}

/// Whether a variable is for clients and the API alone, and nothing that a worker shall ever have.
#[must_use]
pub fn is_kept_from_workers(name: &str) -> bool {
    let ours = [
        "MANIMQ_API_KEY",
        "MANIMQ_STORAGE_SECRET",
        "MANIMQ_LLM_KEY",
        "MANIMQ_LLM_KEY_FILE",
    ];
    ours.contains(&name) || is_store_credential(name)
}

/// Takes over what the file says, if there is one, of the names that `wanted` wants. To be called before there are
/// other threads.
///
/// # Errors
/// The file is there and cannot be used.
pub fn load(wanted: impl Fn(&str) -> bool) -> Result<(), EnvFileError> {
    match std::env::var_os(FILE_VARIABLE) {
        Some(value) if value == NO_FILE => return Ok(()),
        Some(value) if !value.is_empty() => return Err(EnvFileError::Which),
        _ => {}
    }
    let text = match std::fs::metadata(NAME) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(EnvFileError::Read(error)),
        Ok(meta) if !meta.is_file() => return Ok(()),
        Ok(meta) if meta.len() > BYTES_MAX => return Err(EnvFileError::TooLarge),
        Ok(_) => std::fs::read(NAME).map_err(EnvFileError::Read)?,
    };
    let text = String::from_utf8(text).map_err(|_| EnvFileError::NotText)?;
    let mut ours = String::new();
    for (name, value) in settings(&text, wanted)? {
        // Single quotes take everything but themselves as it is.
        let value = value.replace('\'', "'\"'\"'");
        ours.push_str(&format!("{name}='{value}'\n"));
    }
    // Does not touch what is set already.
    let _ = dotenvy::from_read(Cursor::new(ours));
    Ok(())
}

/// The settings that are for manimq, and wanted.
fn settings(
    text: &str,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<(String, String)>, EnvFileError> {
    let mut found = Vec::new();
    for item in dotenvy::from_read_iter(Cursor::new(text)) {
        let (name, value) = item.map_err(|error| match error {
            Error::LineParse(line, _) => EnvFileError::Line(line_of(text, &line)),
            Error::Io(error) => EnvFileError::Read(error),
            _ => EnvFileError::Line(0),
        })?;
        if NAMES.iter().any(|ours| name.starts_with(ours)) && wanted(&name) {
            found.push((name, value));
        }
    }
    Ok(found)
}

/// The number of a line, from 1.
fn line_of(text: &str, line: &str) -> usize {
    let wanted = line.lines().next().unwrap_or_default().trim();
    // Of a wrong value only that is told.
    let place = text.lines().position(|other| other.contains(wanted));
    place.map_or(1, |place| place + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_comments_and_exports_are_understood_and_others_names_left_alone() {
        let text = "# a comment\nMANIMQ_SERVER=http://a:1 # the server\nexport REDIS_URL=\"redis://h/0\"\n\
                    MANIMQ_API_KEY='a b#c$d\"e'\nPATH=/nowhere\nLD_PRELOAD=x\n\nMANIMQ_EMPTY=\n";
        let found = settings(text, |_| true).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("MANIMQ_SERVER", "http://a:1"),
                ("REDIS_URL", "redis://h/0"),
                ("MANIMQ_API_KEY", "a b#c$d\"e"),
                ("MANIMQ_EMPTY", ""),
            ]
        );
    }

    #[test]
    fn a_worker_takes_its_own_settings_and_no_key_of_the_store_the_api_or_the_model() {
        let text = "REDIS_URL=unix:///r\nMANIMQ_SLOTS=2\nBL_API_KEY=b\nAWS_SECRET_ACCESS_KEY=x\nAWS_S3_BUCKET=x\n\
                    GOOGLE_SERVICE_ACCOUNT_KEY=x\nAZURE_STORAGE_ACCOUNT_KEY=x\nMANIMQ_STORAGE_SECRET=x\n\
                    MANIMQ_API_KEY=x\nMANIMQ_LLM_KEY=x\nMANIMQ_LLM_KEY_FILE=x\nMANIMQ_LLM_URL=http://m\n";
        let found = settings(text, |name| !is_kept_from_workers(name)).unwrap();
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["REDIS_URL", "MANIMQ_SLOTS", "BL_API_KEY", "MANIMQ_LLM_URL"]
        );
        for other in ["aws_secret_access_key", "Service_Account", "Azure_x"] {
            assert!(is_kept_from_workers(other), "{other}");
        }
    }

    #[test]
    fn a_broken_line_is_told_by_its_number_and_never_shown() {
        for (text, line) in [
            ("MANIMQ_API_KEY=\"s3cret\n", "line 1"),
            ("A=1\nMANIMQ_API_KEY s3cret\n", "line 2"),
            ("A=1\n\nMANIMQ_API_KEY=s3 cret x\n", "line 3"),
        ] {
            let error = settings(text, |_| true).unwrap_err().to_string();
            assert!(
                error.contains(line) && !error.contains("s3"),
                "{text:?}: {error}"
            );
        }
    }
}
