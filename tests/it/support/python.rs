//! The official Python client, that knows nothing but a home and a Hub on loopback.
//!
//! Tests with it are ignored on a bare machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use larder::serve::Serving;

/// The interpreter of the environment that has the Python client.
pub(crate) fn python() -> PathBuf {
    PathBuf::from(
        std::env::var_os("LARDER_TEST_PYTHON")
            .expect("LARDER_TEST_PYTHON names the interpreter that has huggingface_hub 2.4.0"),
    )
}

/// A program that keeps a Hub cache, and knows nothing but this home and this Hub.
pub(crate) fn in_home(mut command: Command, home: &Path, hub: &Serving) -> Command {
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("HF_ENDPOINT", hub.endpoint())
        .env("HF_HUB_DISABLE_UPDATE_CHECK", "1")
        .env("HF_HUB_DISABLE_TELEMETRY", "1")
        .stdin(Stdio::null());
    command
}
