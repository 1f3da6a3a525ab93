//! How a function is called.

use redis::Value;
use serde::Serialize;

use super::error::is_no_function;
use super::{Kept, Queue, QueueError};

/// Builds the argument list of a function call.
pub(super) struct Args(pub(super) Vec<Vec<u8>>);

impl Args {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }
    pub(super) fn text(mut self, text: &str) -> Self {
        self.0.push(text.as_bytes().to_vec());
        self
    }
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.push(bytes.to_vec());
        self
    }
    pub(super) fn show(self, value: impl std::fmt::Display) -> Self {
        self.text(&value.to_string())
    }
    pub(super) fn json(mut self, value: &impl Serialize) -> Result<Self, QueueError> {
        self.0.push(serde_json::to_vec(value)?);
        Ok(self)
    }
}

impl Queue {
    pub(super) fn command(&self, shard: usize, transition: &str, args: &[Vec<u8>]) -> redis::Cmd {
        self.command_at(self.keys[shard].base(), transition, args)
    }

    fn command_at(&self, base: &str, transition: &str, args: &[Vec<u8>]) -> redis::Cmd {
        let mut command = redis::cmd("FCALL");
        // Functions build their keys themselves, and Redis cannot see which. While the slot is on its
        // way to another server some of them are here and some there, and Redis must refuse the call. It
        // does so for calls of two keys that do not exist, and neither of these ever does.
        command
            .arg(self.library.function(transition))
            .arg(2)
            .arg(base)
            .arg(format!("{base}:"));
        for arg in args {
            command.arg(arg);
        }
        command
    }

    /// Calls a transition; loads the library once more if a restart or failover lost it.
    pub(super) async fn call(
        &self,
        shard: usize,
        transition: &str,
        args: &[Vec<u8>],
    ) -> Result<Value, QueueError> {
        self.call_at(self.keys[shard].base(), transition, args)
            .await
    }

    /// The same for what is not in a shard.
    pub(super) async fn call_at(
        &self,
        base: &str,
        transition: &str,
        args: &[Vec<u8>],
    ) -> Result<Value, QueueError> {
        let command = self.command_at(base, transition, args);
        // A claim whose answer was lost holds jobs until their leases end: it is not sent again
        // behind the caller's back. Nor is a renewal, which would tell its news twice.
        let repeat = transition != "claim" && transition != "renew";
        match self.send_call(&command, repeat, false).await {
            Err(error) if is_no_function(&error) => {
                self.load_library().await?;
                self.send_call(&command, repeat, false).await
            }
            other => other,
        }
    }

    pub(super) async fn send_call(
        &self,
        command: &redis::Cmd,
        repeat: bool,
        durable: bool,
    ) -> Result<Value, QueueError> {
        if !durable {
            return Ok(self.shared.query(command, repeat).await?);
        }
        let (value, kept) = self.shared.query_durable(command, repeat).await?;
        match kept {
            Kept::Confirmed { .. } => Ok(value),
            Kept::Unconfirmed(why) => Err(QueueError::Unavailable(
                format!("Redis took the call but did not confirm that it is kept: {why}").into(),
            )),
        }
    }
}
