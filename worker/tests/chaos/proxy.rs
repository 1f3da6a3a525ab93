//! A proxy between one process and Redis, which can cut and stall its connections.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::library::{Withheld, find};

/// How the proxy behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Calls reach Redis and take effect; their answers wait.
    HoldReplies,
    /// Nothing moves: what was sent arrives late, perhaps after its sender gave up.
    HoldAll,
    /// Connections are closed as soon as they are made.
    Refuse,
}

#[derive(Debug, Clone, Copy)]
struct State {
    mode: Mode,
    /// Grows with each cut.
    cuts: u64,
    /// The next call with this word in it takes effect, and its connection is cut in place of the
    /// answer.
    lose: Option<&'static str>,
}

/// One listening address in front of one Unix socket.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    /// With `withholds`, programs cannot load a function library through it, and are not told.
    pub async fn start(upstream: &Path, withholds: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("a port");
        let state = Arc::new(watch::Sender::new(State {
            mode: Mode::Pass,
            cuts: 0,
            lose: None,
        }));
        let way = Way {
            upstream: upstream.to_owned(),
            withholds,
            state: Arc::clone(&state),
        };
        let task = tokio::spawn(accept(listener, way));
        Self {
            address,
            state,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
    }

    /// The next call of this function takes effect, and its answer is lost with its connection.
    pub fn lose_answer(&self, function: &'static str) {
        self.state.send_modify(|state| state.lose = Some(function));
    }

    /// Closes every connection; what was held is lost.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }
}

/// Where connections go, and how.
#[derive(Clone)]
struct Way {
    upstream: PathBuf,
    withholds: bool,
    state: Arc<watch::Sender<State>>,
}

async fn accept(listener: TcpListener, way: Way) {
    // Dropping the set closes what is open.
    let mut open = tokio::task::JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        if way.state.borrow().mode == Mode::Refuse {
            continue;
        }
        open.spawn(serve(client, way.clone()));
    }
}

async fn serve(client: TcpStream, way: Way) {
    let Way {
        upstream,
        withholds,
        state,
    } = way;
    let Ok(server) = UnixStream::connect(upstream).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut cut = state.subscribe();
    let cuts = cut.borrow().cuts;
    // Set when an answer of this connection is to be lost.
    let doomed = AtomicBool::new(false);
    let mut withheld = withholds.then(Withheld::default);
    let calls = pump(from_client, to_server, &state, &[Mode::HoldAll], |sent| {
        if lost_now(&state, sent) {
            doomed.store(true, Ordering::Relaxed);
        }
        Ok(match &mut withheld {
            Some(withheld) => withheld.pass(sent),
            None => Cow::Borrowed(sent),
        })
    });
    let held = [Mode::HoldReplies, Mode::HoldAll];
    let replies = pump(from_server, to_client, &state, &held, |sent| {
        if doomed.load(Ordering::Relaxed) {
            return Err(Lost);
        }
        Ok(Cow::Borrowed(sent))
    });
    tokio::select! {
        // First: what was held must not slip through on the way to the cut.
        biased;
        _ = cut.wait_for(|state| state.cuts > cuts) => {}
        _ = async { tokio::try_join!(calls, replies) } => {}
    }
}

/// Whether the call is the one whose answer is to be lost; there is only one such.
fn lost_now(state: &watch::Sender<State>, sent: &[u8]) -> bool {
    let Some(word) = state.borrow().lose.map(str::as_bytes) else {
        return false;
    };
    find(sent, word).is_some() && state.send_if_modified(|state| state.lose.take().is_some())
}

/// An answer is lost: the connection ends.
struct Lost;

/// Copies until the end, except while a mode of `held` holds. `look` says what is written.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: &watch::Sender<State>,
    held: &[Mode],
    mut look: impl FnMut(&[u8]) -> Result<Cow<'_, [u8]>, Lost>,
) -> Result<(), Lost> {
    let mut state = state.subscribe();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n) = from.read(&mut buffer).await {
        let passes = state.wait_for(|state| !held.contains(&state.mode));
        let gone = passes.await.is_err();
        let written = look(&buffer[..n])?;
        if n == 0 || gone || to.write_all(&written).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
    Ok(())
}
