//! An S3 server in this process (`s3s-fs`, which checks signatures and hashes), behind a proxy
//! that can spoil what passes it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use manimq_shared::testing::Certificates;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// The name of the bucket.
pub const BUCKET: &str = "films";
/// Who may use it.
pub const KEY_ID: &str = "TESTTESTTESTTEST";
/// The secret; it must never be seen anywhere.
pub const SECRET: &str = "wJalrXUtnFEMI0K7MDENG0bPxRfiCYSECRETKEY";

/// What happens to uploads of results, and of files that come with jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is reset when so many bytes of it have passed.
    Reset(usize),
    /// One byte of the body is another one.
    Corrupt,
    /// Refused with this status and code before anything is read.
    Answer(u16, &'static str),
    /// The server has it, and the answer is lost.
    LoseAnswer,
    /// So many bytes a second.
    Slow(usize),
}

/// The server; gone when dropped.
pub struct Bucket {
    /// Where it is reached, through the proxy.
    pub url: String,
    root: tempfile::TempDir,
    faults: Arc<Mutex<Vec<Fault>>>,
    away: Arc<watch::Sender<bool>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Bucket {
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// The same over https, with the server's certificate of these.
    pub async fn start_secure(certificates: &Certificates) -> Self {
        let chain = CertificateDer::pem_file_iter(certificates.file("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(certificates.file("server.key")).unwrap();
        manimq_shared::tls::choose_cryptography();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain.collect::<Result<_, _>>().unwrap(), key)
            .unwrap();
        Self::start_with(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(BUCKET)).unwrap();
        let mut service = S3ServiceBuilder::new(FileSystem::new(root.path()).unwrap());
        service.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let service = service.build();
        let back = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let back_address = back.local_addr().unwrap();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = back.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let http = Builder::new(TokioExecutor::new());
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", front.local_addr().unwrap());
        let away = Arc::new(watch::Sender::new(false));
        let faults = Arc::new(Mutex::new(Vec::new()));
        let proxy = tokio::spawn({
            let (faults, away) = (faults.clone(), away.clone());
            async move {
                while let Ok((stream, _)) = front.accept().await {
                    let (faults, tls, mut away) = (faults.clone(), tls.clone(), away.subscribe());
                    tokio::spawn(async move {
                        let carrying = async {
                            match tls {
                                None => carry(stream, back_address, faults).await,
                                Some(tls) => {
                                    if let Ok(stream) = tls.accept(stream).await {
                                        carry(stream, back_address, faults).await;
                                    }
                                }
                            }
                        };
                        tokio::select! {
                            () = carrying => {}
                            _ = away.wait_for(|away| *away) => {}
                        }
                    });
                }
            }
        });
        Self {
            url,
            root,
            faults,
            away,
            tasks: vec![server, proxy],
        }
    }

    /// The next such uploads meet these, one each.
    pub fn spoil(&self, faults: &[Fault]) {
        let mut faults = faults.to_vec();
        faults.reverse();
        *self.faults.lock().unwrap() = faults;
    }

    /// The server goes away, cutting what is in progress, or comes back.
    pub fn go_away(&self, away: bool) {
        self.away.send_replace(away);
    }

    /// Whether all faults have happened.
    pub fn spoilt(&self) -> bool {
        self.faults.lock().unwrap().is_empty()
    }

    /// A file of the bucket, past the server.
    pub fn path(&self, key: &str) -> PathBuf {
        self.root.path().join(BUCKET).join(key)
    }

    /// Keys of all objects.
    pub fn keys(&self) -> Vec<String> {
        fn walk(folder: PathBuf, start: &str, keys: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = format!("{start}{}", entry.file_name().to_string_lossy());
                if entry.path().is_dir() {
                    walk(entry.path(), &format!("{name}/"), keys);
                } else {
                    keys.push(name);
                }
            }
        }
        let mut keys = Vec::new();
        walk(self.path(""), "", &mut keys);
        keys.sort();
        keys
    }

    /// The environment of an API that uses it.
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("MANIMQ_STORAGE", format!("s3://{BUCKET}/some/prefix")),
            ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT_URL", self.url.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Carries one connection, and spoils uploads of results as it was told.
async fn carry(
    front: impl AsyncRead + AsyncWrite,
    back: SocketAddr,
    faults: Arc<Mutex<Vec<Fault>>>,
) {
    let Ok(back) = TcpStream::connect(back).await else {
        return;
    };
    let (mut from_client, mut to_client) = tokio::io::split(front);
    let (mut from_server, mut to_server) = back.into_split();
    let mut fault = None;
    let mut passed = 0usize;
    let mut asked = vec![0; 64 * 1024];
    let mut answer = vec![0; 64 * 1024];
    loop {
        tokio::select! {
            read = from_client.read(&mut asked) => {
                let Ok(n @ 1..) = read else { return };
                let mut chunk = asked[..n].to_vec();
                let head = String::from_utf8_lossy(&chunk[..n.min(4096)]).into_owned();
                let ours = ["/manim_videos/", "/manim_assets/"];
                if head.starts_with("PUT /") && ours.iter().any(|folder| head.contains(folder)) {
                    fault = faults.lock().unwrap().pop();
                    passed = 0;
                }
                passed += n;
                match fault {
                    Some(Fault::Answer(status, code)) => {
                        let body = format!("<Error><Code>{code}</Code><Message>a test</Message></Error>");
                        let text = format!(
                            "HTTP/1.1 {status} No\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                            body.len()
                        );
                        let _ = to_client.write_all(text.as_bytes()).await;
                        // What was sent is read, or the answer would be lost in a reset.
                        while let Ok(Ok(1..)) =
                            tokio::time::timeout(Duration::from_millis(200), from_client.read(&mut asked)).await
                        {}
                        return;
                    }
                    Some(Fault::Reset(bytes)) if passed >= bytes => return,
                    Some(Fault::Corrupt) => {
                        if let Some(end) = chunk.windows(4).position(|w| w == b"\r\n\r\n") {
                            if chunk.len() > end + 4 {
                                *chunk.last_mut().unwrap() ^= 1;
                                fault = None;
                            }
                        } else {
                            *chunk.last_mut().unwrap() ^= 1;
                            fault = None;
                        }
                    }
                    Some(Fault::Slow(rate)) => {
                        for piece in chunk.chunks(rate / 20) {
                            if to_server.write_all(piece).await.is_err() {
                                return;
                            }
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                        continue;
                    }
                    _ => {}
                }
                if to_server.write_all(&chunk).await.is_err() {
                    return;
                }
            }
            read = from_server.read(&mut answer) => {
                let Ok(n @ 1..) = read else { return };
                if matches!(fault, Some(Fault::LoseAnswer)) {
                    return;
                }
                if to_client.write_all(&answer[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}
