//! One request at a time, bounded in size; the only file that knows the HTTP client.

use std::io::Read;
use std::time::Duration;

use ureq::Agent;

/// Downloads `address`, at most `limit` bytes, and tells `progress` how many have come so far.
///
/// # Errors
/// What went wrong, in words.
pub(crate) fn get(address: &str, limit: u64, progress: &mut dyn FnMut(u64)) -> Result<Vec<u8>, String> {
    let mut response = agent(address).get(address).call().map_err(|error| error.to_string())?;
    let mut body = response.body_mut().as_reader();
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        let read = body.read(&mut chunk).map_err(|error| error.to_string())?;
        if read == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&chunk[..read]);
        if bytes.len() as u64 > limit {
            return Err(format!("expected at most {limit} bytes, and more came"));
        }
        progress(bytes.len() as u64);
    }
}

fn agent(address: &str) -> Agent {
    let config = Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(15)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        // A slow line is fine, a dead one is not: no limit on the whole, one on each read.
        .timeout_per_read(Some(Duration::from_secs(30)))
        // The files are packed already, and their checksum is that of the content.
        .accept_encoding("identity")
        .user_agent(concat!("kd-datasets/", env!("CARGO_PKG_VERSION")));
    // A machine's own server is never behind the proxy that the environment names.
    let config = if address.starts_with("http://127.0.0.1") { config.proxy(None) } else { config };
    config.build().into()
}
