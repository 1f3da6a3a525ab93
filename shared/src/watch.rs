//! Settings that both programs have: what of them is told to whoever watches.

use clap::Args;

use crate::metrics::tenants::Shown;

/// What is told, and where.
#[derive(Debug, Clone, Args)]
pub struct WatchArgs {
    /// Tenants with series of their own in the metrics: a number (those with most jobs, at most 50) or
    /// names with commas between; the same for all programs. All others are one series
    #[arg(
        long,
        env = "MANIMQ_METRICS_TENANTS",
        default_value = "10",
        value_name = "TENANTS"
    )]
    pub metrics_tenants: Shown,

    /// Where traces of jobs are sent, by OTLP over HTTP, such as http://127.0.0.1:4318; not at all without it.
    /// Headers for it: OTEL_EXPORTER_OTLP_HEADERS
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "URL",
        hide_env_values = true
    )]
    pub otlp_endpoint: Option<String>,
}
