//! Errors as JavaScript sees them: a message with the whole chain and a remedy, and a stable code.

use std::error::Error as StdError;
use std::io;

use js_sys::Reflect;
use wasm_bindgen::prelude::*;

use crate::audio::error::AudioError;
use crate::cascade::BoxError;
use crate::engines::load::{ContextTooLong, ModelError, SUPPORTED};
use crate::gpu::{GpuError, ParseDeviceError};
use crate::nn::RunError;
use crate::policy::heads::HeadsError;
use crate::weights::{CheckpointError, Remedy};

/// An error that JavaScript threw while the module read from it. Its code is kept.
#[derive(Debug)]
struct Thrown {
    code: Option<String>,
    message: String,
}

impl std::fmt::Display for Thrown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Thrown {}

/// The error for a read that JavaScript refused.
pub(super) fn unreadable(thrown: JsValue) -> io::Error {
    let text = |key: &str| Reflect::get(&thrown, &key.into()).ok().and_then(|value| value.as_string());
    let message = text("message").unwrap_or_else(|| format!("{thrown:?}"));
    io::Error::other(Thrown { code: text("code"), message })
}

/// An `Error` with a code.
pub(super) fn error(code: &str, message: &str) -> JsValue {
    let error = js_sys::Error::new(message);
    // A fresh object takes any property.
    let _ = Reflect::set(&error, &"code".into(), &code.into());
    error.into()
}

/// The error for an invalid option.
pub(super) fn refused(failed: impl StdError) -> JsValue {
    error("bad-option", &failed.to_string())
}

/// The `Error` for a typed error, as [`boxed`] makes it.
pub(super) fn thrown(failed: impl StdError + 'static) -> JsValue {
    boxed(Box::new(failed))
}

/// An `Error` with the whole error chain and a remedy as its message, and the code of the first
/// link that has one.
pub(super) fn boxed(failed: BoxError) -> JsValue {
    let mut message = failed.to_string();
    let mut code = None;
    let mut remedy = None;
    let mut link: Option<&(dyn StdError + 'static)> = Some(&*failed);
    while let Some(current) = link {
        let text = current.to_string();
        if !message.ends_with(&text) {
            message = format!("{message}: {text}");
        }
        code = code.or_else(|| code_of(current));
        remedy = remedy.or_else(|| remedy_of(current));
        link = current.source();
    }
    if let Some(remedy) = remedy {
        message = format!("{message}; {remedy}");
    }
    error(code.as_deref().unwrap_or("internal"), &message)
}

fn code_of(failed: &(dyn StdError + 'static)) -> Option<String> {
    let code = if let Some(failed) = failed.downcast_ref::<GpuError>() {
        gpu_code(failed)
    } else if let Some(failed) = failed.downcast_ref::<RunError>() {
        match failed {
            RunError::Device(_) => "device-lost",
            RunError::Gpu(failed) => gpu_code(failed),
            RunError::Checkpoint(failed) => return Some(checkpoint_code(failed)),
            RunError::TooLong { .. } | RunError::RollBack(_) => "internal",
        }
    } else if let Some(failed) = failed.downcast_ref::<CheckpointError>() {
        return Some(checkpoint_code(failed));
    } else if failed.is::<HeadsError>() {
        "bad-model"
    } else if failed.is::<ModelError>() || failed.is::<ContextTooLong>() {
        "bad-option"
    } else if failed.is::<AudioError>() {
        "bad-sound"
    } else if failed.is::<ParseDeviceError>() {
        "bad-option"
    } else {
        return None;
    };
    Some(code.to_owned())
}

fn gpu_code(failed: &GpuError) -> &'static str {
    match failed {
        GpuError::NoAdapter { .. } | GpuError::Refused { .. } => "no-adapter",
        GpuError::SelfTest { .. } => "adapter-failed-self-test",
        GpuError::OutOfMemory { .. } => "out-of-memory",
        GpuError::Failed { .. } | GpuError::Lost { .. } => "device-lost",
    }
}

/// A read that JavaScript refused keeps its own code. Every other fault is the model's.
fn checkpoint_code(failed: &CheckpointError) -> String {
    let refused = match failed {
        CheckpointError::Io { source, .. } => source.get_ref().and_then(|inner| inner.downcast_ref::<Thrown>()),
        _ => None,
    };
    refused.and_then(|thrown| thrown.code.clone()).unwrap_or_else(|| "bad-model".to_owned())
}

/// The remedy for an error, in words that suit both a program and a page.
fn remedy_of(failed: &(dyn StdError + 'static)) -> Option<&'static str> {
    if let Some(failed) = failed.downcast_ref::<GpuError>() {
        return Some(gpu_remedy(failed));
    }
    if let Some(failed) = failed.downcast_ref::<CheckpointError>() {
        return checkpoint_remedy(failed);
    }
    if let Some(failed) = failed.downcast_ref::<ModelError>() {
        return Some(match failed {
            ModelError::OtherFamily { .. } => "give a model of that family",
            ModelError::NoHeads { .. } => "give `heads` for this direction, or use the policy `local-agreement`",
        });
    }
    if let Some(failed) = failed.downcast_ref::<AudioError>() {
        return match failed {
            AudioError::UnknownFormat { .. } | AudioError::UnknownCodec { .. } => {
                Some("convert it to WAV, FLAC or MP3")
            }
            AudioError::Broken { .. } => Some("get the file again"),
            _ => None,
        };
    }
    match failed.downcast_ref::<RunError>()? {
        RunError::Device(_) => Some("load again; if it happens again, use the CPU"),
        RunError::Gpu(failed) => Some(gpu_remedy(failed)),
        RunError::Checkpoint(failed) => checkpoint_remedy(failed),
        RunError::TooLong { .. } => Some("give less sound or text at a time"),
        RunError::RollBack(_) => None,
    }
}

fn gpu_remedy(failed: &GpuError) -> &'static str {
    match failed {
        GpuError::NoAdapter { .. } => "switch WebGPU on, or use the CPU",
        GpuError::Refused { .. } | GpuError::SelfTest { .. } => "update the graphics driver, or use the CPU",
        GpuError::OutOfMemory { .. } => "use smaller models, or the CPU",
        GpuError::Failed { .. } => "try again; if it happens again, use the CPU",
        GpuError::Lost { .. } => "load again; if memory ran out, use smaller models or the CPU",
    }
}

fn checkpoint_remedy(failed: &CheckpointError) -> Option<&'static str> {
    match failed.remedy() {
        Remedy::FetchAgain => Some("remove the model and fetch it again"),
        Remedy::UseCpu => Some("use the CPU, which computes in f32"),
        Remedy::UseSupportedModel => Some(SUPPORTED),
        // The message contains the remedy already, and a browser has no Hub cache.
        Remedy::Words(_) | Remedy::ListModels => None,
    }
}
