//! Messages between the worker and a slot: JSON over SEQPACKET, with descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

use crate::layout::LayoutWarning;
use crate::sandbox::{
    Content, OutputSpec, Progress, RenderFailure, RenderedFile, Still, TexUse, Timings, Versions,
};

/// Longest message either side sends. Mirrors `protocol.py`.
pub(super) const MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// Descriptors in one message, at most.
const MESSAGE_FDS_MAX: usize = 4;

/// First and only message of a zygote.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ZygoteMessage {
    /// Warm, single threaded, waiting for jobs.
    Ready {
        versions: Versions,
        landlock_abi: u32,
        rss_bytes: u64,
        warm_up_s: f64,
    },
    /// It will never be ready.
    Unusable { message: String },
}

/// One job, as `JobSpec` in `protocol.py` reads it.
#[derive(Debug, Serialize)]
pub(in crate::sandbox) struct JobMessage<'a> {
    pub job_id: &'a str,
    pub attempt: u32,
    pub file_name: &'a str,
    /// Whether it is a template with its parameters, not code.
    pub template: bool,
    pub scene: Option<&'a str>,
    #[serde(flatten)]
    pub output: &'a OutputSpec,
    /// Whether a [`GuardMessage::FormulaWanted`] is answered.
    pub formulas: bool,
    /// More than one only where the job has a pid namespace of its own.
    pub cores: u32,
    /// Name and size of each file before the source.
    pub files: Vec<(&'a str, u64)>,
    pub limits: LimitsMessage,
}

/// `Limits` in `protocol.py`. Log bytes are the worker's own business.
#[derive(Debug, Serialize)]
pub(in crate::sandbox) struct LimitsMessage {
    pub wall_s: f64,
    pub cpu_s: u64,
    pub memory_bytes: u64,
    pub output_bytes: u64,
    pub disk_bytes: u64,
    pub disk_files: u64,
    pub open_files: u64,
    pub threads: u64,
    pub frames: u64,
    pub pixels: u64,
    pub stall_s: Option<f64>,
}

/// What a guard says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum GuardMessage {
    Started,
    /// The job runs again from its start; the message's descriptor is the pipe of what it writes now.
    Again,
    Progress(Progress),
    Still(StillMessage),
    /// With the open file as the message's one descriptor.
    Artifact(ArtifactMessage),
    Failed(FailedMessage),
    Interrupted,
    /// Has this tenant's formula been set before? Answered by a [`WorkerMessage::Formula`].
    FormulaWanted {
        key: String,
    },
    /// It has now.
    FormulaMade {
        key: String,
        svg: String,
    },
    Done(DoneMessage),
}

/// What a guard is told.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum WorkerMessage<'a> {
    /// End the job.
    Cancel,
    /// The answer to a [`GuardMessage::FormulaWanted`].
    Formula { key: &'a str, svg: Option<&'a str> },
}

/// Largest JPEG of a still. Mirrors `EARLY_BYTES_MAX` in `collect.py`.
const STILL_BYTES_MAX: usize = 48 * 1024;
/// Most pixels of its width and height.
const STILL_SIDE_MAX: u32 = 4096;

/// A still of the film that is being drawn.
#[derive(Debug, Deserialize)]
pub(in crate::sandbox) struct StillMessage {
    /// In base64.
    jpeg: String,
    width: u32,
    height: u32,
}

impl StillMessage {
    /// The picture; `None` if it cannot be one.
    pub(in crate::sandbox) fn picture(&self) -> Option<Still> {
        let jpeg = STANDARD.decode(&self.jpeg).ok()?;
        let sides = 1..=STILL_SIDE_MAX;
        let fits = jpeg.len() <= STILL_BYTES_MAX
            && sides.contains(&self.width)
            && sides.contains(&self.height);
        fits.then_some(Still {
            jpeg,
            width: self.width,
            height: self.height,
        })
    }
}

#[derive(Debug, Deserialize)]
pub(in crate::sandbox) struct ArtifactMessage {
    pub name: String,
    pub role: crate::sandbox::ArtifactRole,
    pub mime: String,
    pub bytes: u64,
    pub frames: u64,
    pub width: u32,
    pub height: u32,
    pub fps: f64,
    pub duration_s: f64,
}

impl ArtifactMessage {
    /// The file that it tells of.
    pub(in crate::sandbox) fn rendered(self, file: Content) -> RenderedFile {
        let Self {
            name,
            role,
            mime,
            bytes,
            frames,
            width,
            height,
            fps,
            duration_s,
        } = self;
        RenderedFile {
            name,
            role,
            mime,
            bytes,
            frames,
            width,
            height,
            fps,
            duration_s,
            file,
        }
    }
}

/// Why there is no result.
#[derive(Debug, Deserialize)]
pub(super) struct FailedMessage {
    #[serde(flatten)]
    pub failure: RenderFailure,
    /// At level `container`: the least room that the disk had while the job ran.
    pub disk_free_bytes: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(in crate::sandbox) struct DoneMessage {
    pub timings: Timings,
    pub frames: u64,
    pub animations: u32,
    pub engine: String,
    /// For the user, from the scene's own process: bounded and harmless.
    pub warnings: Vec<String>,
    /// The same for what the picture shows.
    pub layout: Vec<LayoutWarning>,
    pub formulas_set: u32,
    #[serde(default)]
    pub tex: TexUse,
    pub cpu_s: f64,
    pub peak_memory_bytes: u64,
}

/// One end of a SEQPACKET pair, driven by tokio.
#[derive(Debug)]
pub(super) struct Seqpacket(AsyncFd<OwnedFd>);

impl Seqpacket {
    /// Our end, and the end to give away (blocking, closed on exec).
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        Ok((Self(register(ours)?), theirs))
    }

    /// Sends one message with its descriptors.
    pub(super) async fn send(&self, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        loop {
            let mut guard = self.0.writable().await?;
            if let Ok(result) = guard.try_io(|fd| send_now(fd.as_fd(), message, fds)) {
                return result;
            }
        }
    }

    /// Says that nothing more will be sent: the other end reads its end of file.
    pub(super) fn hang_up(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.0, Shutdown::Write)?)
    }

    /// Receives one message; `None` when the other end is gone. Cancel safe.
    pub(super) async fn receive(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        loop {
            let mut guard = self.0.readable().await?;
            match guard.try_io(|fd| receive_now(fd.as_fd())) {
                // A peer that died with our message unread resets the pair.
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Ok(None);
                }
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }
}

/// Hands a descriptor to tokio.
pub(super) fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names the same open file until it is dropped, and
    // tokio unregisters it before that.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}

fn send_now(fd: BorrowedFd<'_>, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(
            control.push(SendAncillaryMessage::ScmRights(fds)),
            "at most {MESSAGE_FDS_MAX} descriptors fit"
        );
    }
    rustix::net::sendmsg(
        fd,
        &[IoSlice::new(message)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

fn receive_now(fd: BorrowedFd<'_>) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        fd,
        &mut [IoSliceMut::new(&mut buffer)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "message too long",
        ));
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    buffer.truncate(received.bytes);
    Ok(Some((buffer, fds)))
}
