//! A look at something that may hang (Redis, a disk), shared by all who ask.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// Longest time that somebody waits for a look.
const LOOK_MAX: Duration = Duration::from_secs(2);
/// How long a failure is told again without a new look: who waited in line behind a look that
/// failed gets its answer.
const FAILURE_AGE_MAX: Duration = Duration::from_secs(1);

/// One look at a time; its result, good or bad, serves everybody for a while.
///
/// A look that takes too long goes on and is waited for by those who ask next, so that however
/// often a hanging disk is asked for, one thread hangs on it.
pub(super) struct Look<T>(Mutex<State<T>>);

struct State<T> {
    last: Option<(Instant, Result<T, String>)>,
    under_way: Option<JoinHandle<Result<T, String>>>,
}

impl<T> Default for Look<T> {
    fn default() -> Self {
        Self(Mutex::new(State {
            last: None,
            under_way: None,
        }))
    }
}

impl<T: Clone + Send + 'static> Look<T> {
    /// What was seen at most `age_max` ago, or what `look` sees now. Answers within about twice
    /// [`LOOK_MAX`], whatever `look` does.
    pub(super) async fn at_most<F>(
        &self,
        age_max: Duration,
        look: impl FnOnce() -> F,
    ) -> Result<T, String>
    where
        F: Future<Output = Result<T, String>> + Send + 'static,
    {
        let mut state = self.0.lock().await;
        if let Some((at, result)) = &state.last {
            let age_max = match result {
                Ok(_) => age_max,
                Err(_) => FAILURE_AGE_MAX,
            };
            if at.elapsed() <= age_max {
                return result.clone();
            }
        }
        let under_way = state.under_way.get_or_insert_with(|| tokio::spawn(look()));
        let result = match tokio::time::timeout(LOOK_MAX, &mut *under_way).await {
            Ok(ended) => {
                state.under_way = None;
                ended.unwrap_or_else(|error| Err(error.to_string()))
            }
            Err(_) => Err(format!("no answer within {} s", LOOK_MAX.as_secs())),
        };
        state.last = Some((Instant::now(), result.clone()));
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_look_that_hangs_is_begun_once_and_everybody_is_answered() {
        let look = Arc::new(Look::<u32>::default());
        let begun = Arc::new(AtomicUsize::new(0));
        let ask = |age_max| {
            let (look, begun) = (Arc::clone(&look), Arc::clone(&begun));
            async move {
                look.at_most(age_max, || async move {
                    begun.fetch_add(1, Ordering::Relaxed);
                    std::future::pending().await
                })
                .await
            }
        };
        let start = Instant::now();
        let all = futures_util::future::join_all((0..50).map(|_| ask(Duration::ZERO))).await;
        assert!(all.iter().all(|answer| answer.is_err()));
        assert!(start.elapsed() < LOOK_MAX * 10, "{:?}", start.elapsed());
        tokio::time::sleep(FAILURE_AGE_MAX + Duration::from_millis(100)).await;
        assert!(ask(Duration::ZERO).await.is_err());
        assert_eq!(begun.load(Ordering::Relaxed), 1);
    }
}
