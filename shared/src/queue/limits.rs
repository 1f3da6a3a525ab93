//! What one render may use, where it differs from what workers give by themselves.

use std::fmt;
use std::str::FromStr;

use super::{Queue, QueueError};
use crate::ids::TenantId;

/// Ceilings of one render, beside its time limit. Zero is no value: `None` is the default.
///
/// Text form, for flags, variables and Redis: `memory_mib=512,frames=9000`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RenderLimits {
    values: [Option<u32>; NAMES.len()],
}

/// A ceiling of one render.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenderLimit {
    /// Processor time over all threads, seconds.
    CpuSeconds,
    /// Memory beyond the warm interpreter, MiB.
    MemoryMib,
    /// Largest single file, the result included, MiB.
    OutputMib,
    /// All files together, MiB.
    DiskMib,
    /// Files and folders.
    DiskFiles,
    /// Files open at a time.
    OpenFiles,
    /// Threads at a time.
    Threads,
    /// Frames drawn.
    Frames,
    /// Pixels of a picture.
    Pixels,
    /// Text that the scene writes, KiB.
    LogKib,
}

/// Names in the text form, in the order of [`RenderLimit`], each with the least that renders anything.
const NAMES: [(&str, u32); 10] = [
    ("cpu_s", 1),
    ("memory_mib", 64),
    ("output_mib", 1),
    ("disk_mib", 1),
    ("disk_files", 64),
    ("open_files", 32),
    ("threads", 16),
    ("frames", 1),
    ("pixels", 1),
    ("log_kib", 1),
];

impl RenderLimits {
    /// A ceiling; `None` where the default holds.
    #[must_use]
    pub fn get(&self, limit: RenderLimit) -> Option<u32> {
        self.values[limit as usize]
    }

    /// These, and where they say nothing `other`.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        let mut values = self.values;
        for (value, fallback) in values.iter_mut().zip(other.values) {
            *value = value.or(fallback);
        }
        Self { values }
    }

    /// Whether they say nothing at all.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Names and values of all of them.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, Option<u32>)> {
        NAMES.iter().map(|(name, _)| *name).zip(self.values)
    }

    /// These, changed by `NAME=VALUE,…`, where a value may be `default`.
    ///
    /// # Errors
    /// The part that is wrong, and what would be right.
    pub fn changed(&self, text: &str) -> Result<Self, String> {
        let mut new = *self;
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} is not NAME=VALUE"))?;
            let at = NAMES
                .iter()
                .position(|(known, _)| *known == name)
                .ok_or_else(|| {
                    let known: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
                    format!("there is no limit {name:?}; there are {}", known.join(", "))
                })?;
            let least = NAMES[at].1;
            new.values[at] = match value {
                "default" => None,
                value => match value.parse() {
                    Ok(number) if number >= least => Some(number),
                    _ => {
                        return Err(format!(
                            "{name}={value} is not a whole number from {least} on, nor `default`"
                        ));
                    }
                },
            };
        }
        Ok(new)
    }
}

impl FromStr for RenderLimits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::default().changed(text)
    }
}

impl fmt::Display for RenderLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.each().filter_map(|(name, value)| Some((name, value?)));
        for (n, (name, value)) in set.enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{name}={value}")?;
        }
        Ok(())
    }
}

impl Queue {
    /// Ceilings of a tenant's renders, where they differ from the workers' own.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; or what is stored cannot be read.
    pub async fn render_limits(&self, tenant: &TenantId) -> Result<RenderLimits, QueueError> {
        let mut command = redis::cmd("GET");
        command.arg(self.keys_of_tenant(tenant).limits(tenant));
        let text: Option<String> = self.query(&command).await?;
        text.unwrap_or_default().parse().map_err(|problem: String| {
            QueueError::Corrupt(format!("limits of {tenant}: {problem}"))
        })
    }

    /// Sets them. Renders that have begun keep theirs; workers know of it within seconds.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn set_render_limits(
        &self,
        tenant: &TenantId,
        limits: &RenderLimits,
    ) -> Result<(), QueueError> {
        let key = self.keys_of_tenant(tenant).limits(tenant);
        let command = if limits.is_default() {
            redis::cmd("DEL").arg(key).clone()
        } else {
            redis::cmd("SET").arg(key).arg(limits.to_string()).clone()
        };
        self.query(&command).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_one_text_form_and_say_what_is_wrong() {
        let limits: RenderLimits = "frames=9000, memory_mib=512".parse().expect("limits");
        assert_eq!(limits.to_string(), "memory_mib=512,frames=9000");
        assert_eq!(limits.get(RenderLimit::Frames), Some(9000));
        assert_eq!(limits.get(RenderLimit::LogKib), None);
        let less = limits.changed("frames=default").expect("limits");
        assert_eq!(less.to_string(), "memory_mib=512");
        assert_eq!(less.or(&limits), limits);
        for (wrong, words) in [
            ("memory=1", "there are cpu_s, memory_mib"),
            ("frames", "not NAME=VALUE"),
            ("frames=many", "frames=many is not a whole number"),
            ("memory_mib=1", "from 64 on"),
        ] {
            let error = RenderLimits::from_str(wrong).expect_err("wrong");
            assert!(error.contains(words), "{error}");
        }
    }
}
