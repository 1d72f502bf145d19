//! From the name of a device in a recipe to Burn's device: the only place that knows which backends are compiled in.

use burn::tensor::Device;

use crate::error::Error;

/// The backends that exist, in the order that `kd list devices` shows them.
pub const BACKENDS: [&str; 4] = ["flex", "ndarray", "wgpu", "cuda"];

/// Whether a backend is compiled into this binary.
pub fn is_compiled(backend: &str) -> bool {
    match backend {
        "flex" => cfg!(feature = "flex"),
        "ndarray" => cfg!(feature = "ndarray"),
        "wgpu" => cfg!(feature = "wgpu"),
        "cuda" => cfg!(feature = "cuda"),
        _ => false,
    }
}

/// Whether equal runs on this device write equal bytes.
pub fn is_exact(name: &str) -> bool {
    matches!(name, "flex" | "ndarray")
}

/// A device that computes in whole f32, whatever the run's is.
pub(crate) fn exact() -> Device {
    Device::flex()
}

/// Opens `flex`, `ndarray`, `wgpu` or `cuda`, the last two with an index behind a colon if there are several:
/// `cuda:1`.
///
/// # Errors
///
/// An unknown name, or a backend that is not compiled in, with the feature that brings it.
pub fn open(name: &str) -> Result<Device, Error> {
    let (backend, index) = match name.split_once(':') {
        Some((backend, index)) => match index.parse::<usize>() {
            Ok(index) => (backend, Some(index)),
            Err(_) => return Err(Error::DeviceUnknown { name: name.into() }),
        },
        None => (name, None),
    };
    if !BACKENDS.contains(&backend) || (index.is_some() && is_exact(backend)) {
        return Err(Error::DeviceUnknown { name: name.into() });
    }
    open_compiled(backend, index)
        .ok_or_else(|| Error::DeviceNotCompiled { name: name.into(), feature: backend.into() })
}

#[cfg_attr(
    not(any(feature = "wgpu", feature = "cuda")),
    expect(unused_variables, reason = "only graphics cards are counted")
)]
fn open_compiled(backend: &str, index: Option<usize>) -> Option<Device> {
    match backend {
        #[cfg(feature = "flex")]
        "flex" => Some(Device::flex()),
        #[cfg(feature = "ndarray")]
        #[expect(deprecated, reason = "Burn deprecates the backend; it stays for comparison while it exists")]
        "ndarray" => Some(Device::ndarray()),
        #[cfg(feature = "wgpu")]
        "wgpu" => Some(match index {
            Some(index) => Device::wgpu(burn::tensor::DeviceKind::DiscreteGpu(index)),
            None => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
        }),
        #[cfg(feature = "cuda")]
        "cuda" => Some(Device::cuda(index.unwrap_or(0))),
        _ => None,
    }
}
