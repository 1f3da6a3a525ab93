//! Frames per second.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};

/// Frames a second, kept in thousandths: 29.97 is a rate, and two requests for it ask for the same film.
///
/// A whole rate is a whole number in JSON, as it was before there were others. What is out of the range of a job
/// can be held, so that it is told together with whatever else is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrameRate {
    thousandths: u32,
}

impl FrameRate {
    /// Least of a job.
    pub const MIN: Self = Self::whole(1);
    /// Most of a job.
    pub const MAX: Self = Self::whole(120);

    /// A whole number of frames a second.
    #[must_use]
    pub const fn whole(fps: u32) -> Self {
        Self {
            thousandths: fps.saturating_mul(1_000),
        }
    }

    /// The nearest rate that can be held; a number beyond the range of a job stays beyond it. `None` is no rate.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked before, and a cast saturates"
    )]
    pub fn new(fps: f64) -> Option<Self> {
        if !(0.0..=1e6).contains(&fps) {
            return None;
        }
        let nearest = (fps * 1e3).round() as u32;
        let thousandths = if fps < f64::from(Self::MIN) {
            nearest.min(Self::MIN.thousandths - 1)
        } else if fps > f64::from(Self::MAX) {
            nearest.max(Self::MAX.thousandths + 1)
        } else {
            nearest
        };
        Some(Self { thousandths })
    }

    /// Whether a job may ask for it.
    #[must_use]
    pub fn is_allowed(self) -> bool {
        (Self::MIN..=Self::MAX).contains(&self)
    }
}

impl From<FrameRate> for f64 {
    fn from(rate: FrameRate) -> Self {
        Self::from(rate.thousandths) / 1e3
    }
}

/// As Manim writes it in the names of folders: `15`, `29.97`.
impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f64::from(*self).fmt(f)
    }
}

impl FromStr for FrameRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rate = text.parse().ok().and_then(Self::new);
        rate.filter(|rate| rate.is_allowed()).ok_or_else(|| {
            format!(
                "frames a second are a number from {} to {}, such as 24 or 29.97",
                Self::MIN,
                Self::MAX
            )
        })
    }
}

impl Serialize for FrameRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.thousandths.is_multiple_of(1_000) {
            serializer.serialize_u32(self.thousandths / 1_000)
        } else {
            serializer.serialize_f64((*self).into())
        }
    }
}

impl<'de> Deserialize<'de> for FrameRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rate;

        impl Visitor<'_> for Rate {
            type Value = FrameRate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of frames a second")
            }

            fn visit_f64<E: Error>(self, fps: f64) -> Result<FrameRate, E> {
                FrameRate::new(fps)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Float(fps), &self))
            }

            #[allow(clippy::cast_precision_loss, reason = "far beyond any rate")]
            fn visit_u64<E: Error>(self, fps: u64) -> Result<FrameRate, E> {
                self.visit_f64(fps as f64)
            }

            #[allow(clippy::cast_precision_loss, reason = "far beyond any rate")]
            fn visit_i64<E: Error>(self, fps: i64) -> Result<FrameRate, E> {
                self.visit_f64(fps as f64)
            }
        }

        deserializer.deserialize_any(Rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_one_form_however_it_is_written() {
        for (written, json, shown) in [
            ("15", "15", "15"),
            ("15.0", "15", "15"),
            ("29.97", "29.97", "29.97"),
            ("29.970029970029973", "29.97", "29.97"),
            ("12.5", "12.5", "12.5"),
            ("119.88", "119.88", "119.88"),
            ("0", "0", "0"),
        ] {
            let rate: FrameRate = serde_json::from_str(written).unwrap();
            assert_eq!(serde_json::to_string(&rate).unwrap(), json);
            assert_eq!(rate.to_string(), shown);
        }
    }

    #[test]
    fn only_rates_of_the_range_are_allowed_and_only_numbers_are_rates() {
        for (fps, allowed) in [
            (1.0, true),
            (120.0, true),
            (0.999_999, false),
            (120.000_01, false),
            (0.0, false),
        ] {
            assert_eq!(FrameRate::new(fps).unwrap().is_allowed(), allowed, "{fps}");
        }
        for wrong in ["-1", "-0.5", "1e300", "\"15\"", "null", "[15]"] {
            assert!(serde_json::from_str::<FrameRate>(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "0", "121", "NaN", "inf", "24fps"] {
            let problem = wrong.parse::<FrameRate>().unwrap_err();
            assert!(problem.contains("29.97"), "{problem}");
        }
    }
}
