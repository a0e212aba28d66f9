//! How a device is named: `auto|cpu|vulkan[:i]|metal[:i]|dx12[:i]`; in a browser `auto|cpu|webgpu`.

use std::{fmt, str::FromStr};

/// A graphics API through which wgpu reaches adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Api {
    /// Linux, Windows, Android.
    Vulkan,
    /// macOS, iOS.
    Metal,
    /// Windows.
    Dx12,
    /// The browser's API, the only one there.
    WebGpu,
}

impl Api {
    /// The APIs that this build can use. `auto` prefers earlier ones among adapters of the same
    /// kind.
    #[cfg(not(target_arch = "wasm32"))]
    pub const AVAILABLE: &[Api] = &[Api::Metal, Api::Vulkan, Api::Dx12];
    /// The APIs that this build can use. `auto` prefers earlier ones among adapters of the same
    /// kind.
    #[cfg(target_arch = "wasm32")]
    pub const AVAILABLE: &[Api] = &[Api::WebGpu];

    /// wgpu's name of the API.
    pub fn wgpu(self) -> wgpu::Backend {
        match self {
            Api::Vulkan => wgpu::Backend::Vulkan,
            Api::Metal => wgpu::Backend::Metal,
            Api::Dx12 => wgpu::Backend::Dx12,
            Api::WebGpu => wgpu::Backend::BrowserWebGpu,
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Api::Vulkan => "vulkan",
            Api::Metal => "metal",
            Api::Dx12 => "dx12",
            Api::WebGpu => "webgpu",
        })
    }
}

/// Which device a run asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The best adapter that is not a software one and passes the self-test, or else the CPU.
    #[default]
    Auto,
    /// The CPU backend.
    Cpu,
    /// The adapter of one API with this index, counted from 0 in the order in which wgpu enumerates
    /// them. [`AdapterReport::choice`](super::AdapterReport::choice) has it for each adapter.
    Gpu {
        /// The API.
        api: Api,
        /// The index, from 0.
        index: usize,
    },
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a device; the devices are {KNOWN}")]
pub struct ParseDeviceError(String);

#[cfg(not(target_arch = "wasm32"))]
const KNOWN: &str = "auto, cpu, vulkan, vulkan:1, metal and dx12";
#[cfg(target_arch = "wasm32")]
const KNOWN: &str = "auto, cpu and webgpu";

impl FromStr for DeviceChoice {
    type Err = ParseDeviceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseDeviceError(text.to_owned());
        let lower = text.trim().to_ascii_lowercase();
        let (name, index) = match lower.split_once(':') {
            Some((name, index)) => (name, Some(index.parse::<usize>().map_err(|_| wrong())?)),
            None => (lower.as_str(), None),
        };
        let api = match name {
            "auto" if index.is_none() => return Ok(DeviceChoice::Auto),
            "cpu" if index.is_none() => return Ok(DeviceChoice::Cpu),
            "vulkan" => Api::Vulkan,
            "metal" => Api::Metal,
            "dx12" => Api::Dx12,
            "webgpu" if Api::AVAILABLE.contains(&Api::WebGpu) => Api::WebGpu,
            _ => return Err(wrong()),
        };
        Ok(DeviceChoice::Gpu { api, index: index.unwrap_or(0) })
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Gpu { api, index } => write!(f, "{api}:{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_parses_and_prints_back() {
        for text in ["auto", "cpu", "vulkan:0", "vulkan:3", "metal:0", "dx12:1"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        assert_eq!("Vulkan".parse(), Ok(DeviceChoice::Gpu { api: Api::Vulkan, index: 0 }));
    }

    #[test]
    fn an_unknown_device_is_named() {
        for text in ["", "cuda", "cpu:1", "vulkan:", "vulkan:-1", "vulkan:x", "auto:0"] {
            let error = text.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
