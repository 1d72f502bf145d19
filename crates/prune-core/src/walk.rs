//! Where a traversal of a module stands. The only place that knows how Burn announces names.

/// Path and containers of the value that Burn's visitor or mapper is at.
#[derive(Debug, Default)]
pub(crate) struct Place {
    names: Vec<String>,
    containers: Vec<String>,
}

impl Place {
    pub(crate) fn enter(&mut self, name: &str, container: &str) {
        self.names.push(name.into());
        self.containers.push(container.into());
    }

    pub(crate) fn exit(&mut self) {
        self.names.pop();
        self.containers.pop();
    }

    /// Dotted path, as `kd-graph` spells it.
    pub(crate) fn path(&self) -> String {
        self.names.join(".")
    }

    /// Path of the parameter whose reparameterization the traversal is inside of, and its name.
    pub(crate) fn reparameterization(&self) -> Option<(String, String)> {
        let depth = self.containers.iter().position(|container| container == "Reparameterization")?;
        Some((self.names[..depth].join("."), self.names[depth].clone()))
    }
}
