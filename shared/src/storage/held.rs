//! What a bucket tells of an object in its answer to `HEAD`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A hash of an object's content; without a byte if what was told is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldHash {
    /// SHA-256.
    Sha256(Vec<u8>),
    /// MD5, where no stronger one is told.
    Md5(Vec<u8>),
}

/// An object as its bucket describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its length.
    pub bytes: Option<u64>,
    /// The strongest hash of it.
    pub hash: Option<HeldHash>,
}

impl Held {
    /// Reads the headers of the answer; several of one name are joined by commas.
    pub fn read(header: impl Fn(&str) -> Option<String>) -> Self {
        let decoded = |text: &str| STANDARD.decode(text).unwrap_or_default();
        let sha256 = || Some(HeldHash::Sha256(decoded(&header("x-amz-checksum-sha256")?)));
        let goog = || {
            let all = header("x-goog-hash")?;
            let md5 = all
                .split(',')
                .find_map(|part| part.trim().strip_prefix("md5="))?;
            Some(HeldHash::Md5(decoded(md5)))
        };
        let md5 = || Some(HeldHash::Md5(decoded(&header("content-md5")?)));
        // S3's tag of an object that was sent in one piece, unless it is encrypted with a key of
        // its owner's: then it has as many digits and is none, and cannot be told from a wrong one.
        let tag = || {
            let kind = header("x-amz-server-side-encryption");
            let encrypted = kind.is_some_and(|kind| kind != "AES256");
            let tag = header("etag")?;
            let digits = Some(tag.trim_matches('"')).filter(|tag| tag.len() == 32 && !encrypted)?;
            Some(HeldHash::Md5(hex::decode(digits).ok()?))
        };
        Self {
            bytes: header("content-length").and_then(|text| text.parse().ok()),
            hash: sha256().or_else(goog).or_else(md5).or_else(tag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&str, &str)]) -> Held {
        Held::read(|asked| {
            let of_name = headers.iter().filter(|(name, _)| *name == asked);
            let values: Vec<_> = of_name.map(|(_, value)| *value).collect();
            (!values.is_empty()).then(|| values.join(","))
        })
    }

    #[test]
    fn the_strongest_hash_that_a_bucket_tells_is_read() {
        let zero = [0; 16];
        let (md5, tag) = (
            "AAAAAAAAAAAAAAAAAAAAAA==",
            "\"00000000000000000000000000000000\"",
        );
        let of = |bytes: &[u8]| Some(HeldHash::Md5(bytes.to_vec()));
        let sha = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";
        let told = read(&[
            ("content-length", "5"),
            ("etag", tag),
            ("x-amz-checksum-sha256", sha),
        ]);
        assert_eq!(told.bytes, Some(5));
        assert!(matches!(told.hash, Some(HeldHash::Sha256(bytes)) if bytes.len() == 32));
        for (headers, expected) in [
            (
                &[
                    ("x-goog-hash", "crc32c=AAAA=="),
                    ("x-goog-hash", "md5=AAAAAAAAAAAAAAAAAAAAAA=="),
                ][..],
                of(&zero),
            ),
            (&[("content-md5", md5)], of(&zero)),
            (&[("etag", tag)], of(&zero)),
            (
                &[("etag", tag), ("x-amz-server-side-encryption", "AES256")],
                of(&zero),
            ),
            // No hash, and a nonsense, which is no right one.
            (
                &[("etag", tag), ("x-amz-server-side-encryption", "aws:kms")],
                None,
            ),
            (&[("etag", "\"0-3\"")], None),
            (&[], None),
            (&[("content-md5", "?")], of(&[])),
        ] {
            assert_eq!(read(headers).hash, expected, "{headers:?}");
        }
    }
}
