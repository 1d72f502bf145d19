//! Capture devices, lent and taken back.
//!
//! A process can have 65 536 of them in its life and a device one recording at a time, so they go back to a pool, also
//! after a panic, which ends the recording but not the device.

use std::sync::{Mutex, PoisonError};

use burn::tensor::Device;

/// A capture device that goes back to the pool.
pub(super) struct Borrowed(Option<Device>);

static IDLE: Mutex<Vec<Device>> = Mutex::new(Vec::new());

impl Borrowed {
    pub(super) fn new() -> Self {
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self(Some(idle.unwrap_or_else(Device::capture)))
    }

    pub(super) fn device(&self) -> &Device {
        self.0.as_ref().expect("given back only at the end")
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        IDLE.lock().unwrap_or_else(PoisonError::into_inner).extend(self.0.take());
    }
}
