//! The secret behind signed URLs, and the hash by which its owner is known.

use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use manimq_shared::storage::StorageSecret;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// A secret that is long enough, and the hash by which its owner is known.
pub(super) fn known_secret(text: &str) -> Option<(StorageSecret, String)> {
    let secret = StorageSecret::new(text)?;
    let digest = Sha256::new_with_prefix("manimq store identity\n").chain_update(text);
    Some((secret, hex::encode(digest.finalize())))
}

/// The secret in `path`; made on the first start, readable by its owner alone.
pub(super) fn secret_file(path: &Path) -> anyhow::Result<(StorageSecret, String)> {
    let read = || -> anyhow::Result<Option<(StorageSecret, String)>> {
        match std::fs::read_to_string(path) {
            Ok(text) => known_secret(text.trim())
                .map(Some)
                .with_context(|| {
                    format!(
                        "{} holds no secret; remove it to have a new one made (URLs given out before then stop working)",
                        path.display()
                    )
                }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("cannot read {}", path.display()))
            }
        }
    };
    if let Some(secret) = read()? {
        return Ok(secret);
    }
    // Written beside and linked: two processes that start together agree on the first one's.
    let fresh = path.with_extension(format!("key.{}", Uuid::now_v7().simple()));
    let write = || -> io::Result<()> {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(StorageSecret::generate().as_bytes())?;
        file.sync_all()?;
        match std::fs::hard_link(&fresh, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    };
    let written = write();
    let _ = std::fs::remove_file(&fresh);
    written.with_context(|| format!("cannot write {}", path.display()))?;
    read()?.with_context(|| format!("{} vanished", path.display()))
}
