//! One zygote, the way to it, and the guard that waits for the next job.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::time::Duration;

use tokio::net::unix::pipe;

use super::filters;
use super::launch::SlotProcess;
use crate::sandbox::wire::Seqpacket;

/// From the end of a job to its folder removed: as many files as its limits allow, on a slow disk.
const CLEANING_TIMEOUT: Duration = Duration::from_secs(30);

/// One zygote and the way to it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) process: SlotProcess,
    pub(super) control: Seqpacket,
    pub(super) jobs: u32,
    /// What waits for the next job.
    spare: Option<Spare>,
    /// The last job's guard, while it may still be ending.
    pub(super) last: Option<Seqpacket>,
    /// Set while a job runs: a render that was dropped half-way leaves it set,
    /// and such a slot is not used again.
    pub(super) busy: bool,
}

/// A guard, its job's process and its probe, forked before there is a job, so that nobody waits for
/// that. Used once; never forked while another job of the slot is there.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) channel: Seqpacket,
    pub(super) log: pipe::Receiver,
    /// The scene's file, empty: who waits can read it only.
    pub(super) source: File,
}

impl Slot {
    pub(super) fn new(process: SlotProcess, control: Seqpacket) -> Self {
        Self {
            process,
            control,
            jobs: 0,
            spare: None,
            last: None,
            busy: false,
        }
    }

    /// Returns when nothing of the last job is left, its guard included.
    async fn settle(&mut self) -> io::Result<()> {
        if let Some(channel) = self.last.take() {
            let gone = async {
                while channel.receive().await?.is_some() {}
                io::Result::Ok(())
            };
            tokio::time::timeout(CLEANING_TIMEOUT, gone)
                .await
                .unwrap_or_else(|late| Err(late.into()))?;
            // Almost always nothing: the guard has taken its folder away.
            self.process.clear()?;
        }
        Ok(())
    }

    /// Returns when the zygote or what waits for the next job ends by itself, killed by the kernel for want of
    /// memory, say. Neither says anything before a job.
    pub(super) async fn gone(&mut self) {
        let spare = async {
            match &self.spare {
                Some(spare) => spare.channel.receive().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.control.receive() => {}
            _ = spare => {}
        }
    }

    /// What the next job starts with.
    pub(super) async fn take_spare(&mut self) -> io::Result<Spare> {
        match self.spare.take() {
            Some(spare) => Ok(spare),
            None => self.fork_spare().await,
        }
    }

    pub(super) async fn fork_spare(&mut self) -> io::Result<Spare> {
        let source = filters::open_file("scene")?;
        let readable = File::open(format!("/proc/self/fd/{}", source.as_raw_fd()))?;
        let (channel, log) = self.fork_guard(readable.as_fd()).await?;
        Ok(Spare {
            channel,
            log,
            source,
        })
    }

    /// A guard for the scene that is, or will be, in `source`: its channel, and the scene's text output.
    pub(super) async fn fork_guard(
        &mut self,
        source: BorrowedFd<'_>,
    ) -> io::Result<(Seqpacket, pipe::Receiver)> {
        self.settle().await?;
        let (log_read, log_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (channel, theirs) = Seqpacket::pair()?;
        self.control
            .send(b"g", &[source, log_write.as_fd(), theirs.as_fd()])
            .await?;
        Ok((channel, pipe::Receiver::from_owned_fd(log_read)?))
    }

    /// Sends the waiting guard away; the next fork waits until it is gone.
    pub(super) async fn dismiss_spare(&mut self) -> io::Result<()> {
        self.settle().await?;
        if let Some(spare) = self.spare.take() {
            spare.channel.hang_up()?;
            self.last = Some(spare.channel);
        }
        Ok(())
    }
}

/// Sees that nothing of the last job is left, and has a guard wait for the next one.
pub(super) async fn ready(slot: &mut Slot) -> io::Result<()> {
    slot.settle().await?;
    if slot.spare.is_none() {
        slot.spare = Some(slot.fork_spare().await?);
    }
    Ok(())
}
