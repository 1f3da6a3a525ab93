//! Other function libraries under the name of ours, so that unchanged programs call them: loaded
//! before anyone connects, they are what "is there already".

use manimq_shared::queue::{LIBRARY, QueueError};

/// Where the functions read the clock.
const CLOCK_MARK: &str = "--@CLOCK@";
/// The server's clock and what [`skew_key`] adds to it, in milliseconds.
const SKEWED: &str = "local skew = redis.call('GET', base .. ':skew') if skew then local t = redis.call('TIME') return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000) + tonumber(skew) end";

/// The key that holds the skew of the shard with this base.
pub fn skew_key(base: &str) -> String {
    format!("{base}:skew")
}

/// Our library with a clock that can be set off.
pub fn with_skew() -> String {
    edited(CLOCK_MARK, SKEWED)
}

/// Our library with holders of a lease that are not asked which.
pub fn without_fencing() -> String {
    edited("job.ep == epoch end", "true end")
}

/// Our library with the fault of `MANIMQ_CHAOS_EDIT=<text>=><text in its place>`, to see it caught.
pub fn by_hand() -> Option<String> {
    let edit = std::env::var("MANIMQ_CHAOS_EDIT").ok()?;
    let (old, new) = edit
        .split_once("=>")
        .expect("MANIMQ_CHAOS_EDIT is TEXT=>TEXT IN ITS PLACE");
    Some(edited(old, new))
}

/// Our library with one text in the place of another.
fn edited(old: &str, new: &str) -> String {
    assert!(
        LIBRARY.code.contains(old),
        "the functions in shared/src/queue/lua do not contain {old:?} any more: say in worker/tests/chaos what takes its place"
    );
    LIBRARY.code.replace(old, new)
}

/// Loads the text on a server that has no library yet.
pub async fn load(client: &redis::Client, code: &str) -> Result<(), QueueError> {
    let mut connection = client.get_multiplexed_async_connection().await?;
    redis::cmd("FUNCTION")
        .arg("LOAD")
        .arg(code)
        .query_async::<()>(&mut connection)
        .await?;
    Ok(())
}
