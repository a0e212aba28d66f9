//! What only Vulkan itself says: whether a driver has what it reports, and how much memory there
//! is.

/// Fails if the device's driver lacks a function of the API version that it reports. wgpu would
/// abort the program at its first call of such a function.
///
/// This happens if the driver's manifest (`api_version`) names an older version than the driver
/// reports: the loader then opens the driver for the older version.
#[cfg(any(windows, target_os = "linux", target_os = "android", target_os = "freebsd"))]
pub(super) fn check(device: &wgpu::Device) -> Result<(), String> {
    use std::ffi::CStr;

    /// For each minor version of the API, one function that it added to the core.
    const CORE: [(u32, &CStr); 3] =
        [(1, c"vkBindBufferMemory2"), (2, c"vkGetSemaphoreCounterValue"), (3, c"vkQueueSubmit2")];

    // SAFETY: the handles belong to a live device, and nothing is destroyed or changed through
    // them.
    unsafe {
        let Some(device) = device.as_hal::<wgpu::hal::api::Vulkan>() else { return Ok(()) };
        let instance = device.shared_instance().raw_instance();
        let version = instance.get_physical_device_properties(device.raw_physical_device()).api_version;
        let (major, minor) = (version >> 22 & 0x7f, version >> 12 & 0x3ff);
        for (since, function) in CORE {
            let reported = (major, minor) >= (1, since);
            let handle = device.raw_device().handle();
            if reported && instance.get_device_proc_addr(handle, function.as_ptr()).is_none() {
                let function = function.to_string_lossy();
                return Err(format!("the driver reports Vulkan {major}.{minor}, but lacks {function}"));
            }
        }
    }
    Ok(())
}

/// The size of the largest heap of the device's own memory, in bytes.
#[cfg(any(windows, target_os = "linux", target_os = "android", target_os = "freebsd"))]
pub(super) fn memory(device: &wgpu::Device) -> Option<u64> {
    /// VK_MEMORY_HEAP_DEVICE_LOCAL_BIT
    const DEVICE_LOCAL: u32 = 1;

    // SAFETY: the handles belong to a live device, and nothing is destroyed or changed through
    // them.
    let properties = unsafe {
        let device = device.as_hal::<wgpu::hal::api::Vulkan>()?;
        let instance = device.shared_instance().raw_instance();
        instance.get_physical_device_memory_properties(device.raw_physical_device())
    };
    let heaps = properties.memory_heaps.iter().take(properties.memory_heap_count as usize);
    heaps.filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0).map(|heap| heap.size).max()
}

/// There is no Vulkan on this platform.
#[cfg(not(any(windows, target_os = "linux", target_os = "android", target_os = "freebsd")))]
pub(super) fn memory(_device: &wgpu::Device) -> Option<u64> {
    None
}

/// There is no Vulkan on this platform.
#[cfg(not(any(windows, target_os = "linux", target_os = "android", target_os = "freebsd")))]
pub(super) fn check(_device: &wgpu::Device) -> Result<(), String> {
    Ok(())
}
