//! Sizes and costs of a network, computed from its captured graph and its files.

use std::path::Path;

use crate::error::Error;
use crate::network::Network;

/// What a network costs, apart from time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Trainable elements.
    pub params: u64,
    /// Those that no mask holds at zero.
    pub nonzero: u64,
    /// Multiply-accumulates at batch 1.
    pub macs: u64,
}

/// Measures a network.
///
/// # Errors
///
/// A forward pass that cannot be captured.
pub fn size(network: &dyn Network) -> Result<Size, Error> {
    let graph = network.graph()?;
    let params = kd_graph::params(&graph);
    let masked = network.compression().masked() as u64;
    Ok(Size { params, nonzero: params - masked, macs: kd_graph::macs(&graph) })
}

/// Bytes of a file on disk.
///
/// # Errors
///
/// The file system's.
pub fn bytes(path: &Path) -> Result<u64, Error> {
    let metadata = std::fs::metadata(path).map_err(|source| crate::run_dir::io("read", path, source))?;
    Ok(metadata.len())
}
