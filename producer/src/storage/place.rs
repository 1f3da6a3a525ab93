//! Where results lie, as a person writes it: `local`, `s3://bucket/prefix`, `gs://…`, `az://…`.

use std::fmt;
use std::str::FromStr;

/// A kind of object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloudKind {
    /// Amazon S3, or a server that speaks as it does.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

impl CloudKind {
    const fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gs",
            Self::Azure => "az",
        }
    }
}

/// Where results lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the data folder.
    Local,
    /// In a bucket.
    Bucket {
        /// Whose.
        kind: CloudKind,
        /// Its name.
        bucket: String,
        /// Start of all keys: empty, or with a slash at the end.
        prefix: String,
    },
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "local" {
            return Ok(Self::Local);
        }
        let wrong = |reason: &str| {
            format!(
                "{reason}; write local, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
            )
        };
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| wrong("this names no storage"))?;
        let kind = match scheme {
            "s3" => CloudKind::S3,
            "gs" => CloudKind::Gcs,
            "az" => CloudKind::Azure,
            _ => return Err(wrong("this scheme names no storage")),
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let named = (1..=222).contains(&bucket.len())
            && bucket
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !named {
            return Err(wrong(
                "the bucket's name has letters, digits, `-`, `_` and `.` only, and no keys or passwords belong here",
            ));
        }
        let prefix = prefix.trim_matches('/');
        let plain = prefix.len() <= 256
            && prefix.split('/').all(|part| {
                prefix.is_empty()
                    || (!part.is_empty()
                        && part != "."
                        && part != ".."
                        && part
                            .bytes()
                            .all(|b| b.is_ascii_alphanumeric() || b"-_.=".contains(&b)))
            });
        if !plain {
            return Err(wrong(
                "the prefix has letters, digits, `-`, `_`, `.`, `=` and single slashes only",
            ));
        }
        let prefix = if prefix.is_empty() {
            String::new()
        } else {
            format!("{prefix}/")
        };
        Ok(Self::Bucket {
            kind,
            bucket: bucket.to_owned(),
            prefix,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Bucket {
                kind,
                bucket,
                prefix,
            } => write!(f, "{}://{bucket}/{prefix}", kind.scheme()),
        }
    }
}

impl Place {
    /// What is asked for: `given`, or the bucket that `variable` finds under the names that many
    /// already have set, or the local folder.
    ///
    /// # Errors
    /// If a bucket's name in a variable is none.
    pub fn choose(
        given: Option<Self>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        if let Some(given) = given {
            return Ok(given);
        }
        for name in ["AWS_S3_BUCKET", "AWS_BUCKET"] {
            if let Some(bucket) = variable(name).filter(|bucket| !bucket.is_empty()) {
                return format!("s3://{bucket}")
                    .parse()
                    .map_err(|error| format!("{name}: {error}"));
            }
        }
        Ok(Self::Local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_written_in_one_form() {
        for (text, shown) in [
            ("local", "local"),
            ("s3://films", "s3://films/"),
            ("s3://films/", "s3://films/"),
            ("gs://films/a/b", "gs://films/a/b/"),
            ("az://films/a/", "az://films/a/"),
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!(place.to_string(), shown);
            assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
        }
    }

    #[test]
    fn what_names_no_place_is_refused_with_the_forms_that_do() {
        for bad in [
            "",
            "s3",
            "s3://",
            "s3:///x",
            "http://x/y",
            "s3://key:secret@bucket/x",
            "s3://bucket/../x",
            "s3://bucket/a//b",
            "s3://bucket/a b",
            "file:///tmp",
        ] {
            let error = bad.parse::<Place>().unwrap_err();
            assert!(error.contains("s3://BUCKET"), "{bad}: {error}");
            assert!(!error.contains("secret@"), "{error}");
        }
    }

    #[test]
    fn a_bucket_in_the_usual_variables_is_used_unless_something_else_is_asked_for() {
        let set = |name: &'static str| move |asked: &str| (asked == name).then(|| "b".to_owned());
        let s3: Place = "s3://b".parse().unwrap();
        assert_eq!(Place::choose(None, set("AWS_S3_BUCKET")), Ok(s3.clone()));
        assert_eq!(Place::choose(None, set("AWS_BUCKET")), Ok(s3));
        assert_eq!(Place::choose(None, |_| None), Ok(Place::Local));
        assert_eq!(
            Place::choose(Some(Place::Local), set("AWS_BUCKET")),
            Ok(Place::Local)
        );
        let wrong = Place::choose(None, |_| Some("a b".to_owned())).unwrap_err();
        assert!(wrong.starts_with("AWS_S3_BUCKET: "), "{wrong}");
    }
}
