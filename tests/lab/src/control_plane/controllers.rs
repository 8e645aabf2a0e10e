//! Defines the running of kube-controller-manager, which belongs to no node here: as though that of a
//! node which never dies had been elected.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{CONTROLLERS, ControlPlaneNode, network::Network, server, static_pod::Place};
use crate::{
    component::Component,
    error::Error,
    process::Launch,
    service::{Readiness, Service},
};

/// What is needed to start it.
pub(super) struct Controllers {
    place: Place,
    arguments: Vec<String>,
}

/// Where its files are, which outlive the nodes.
pub(super) fn root(dir: &Path) -> PathBuf {
    dir.join("controllers")
}

/// Copies a node's files, and lets the kubeconfigs go to the load balancer.
pub(super) fn lay_out(node: &ControlPlaneNode, network: &Network, dir: &Path) -> Result<Controllers, Error> {
    let root = root(dir);
    let (from, to) = (node.root().join("etc"), root.join("etc"));
    copy_directory(&from, &to).map_err(Error::io(format!("copying {}", from.display())))?;
    for kubeconfig in ["controller-manager.conf", "super-admin.conf"] {
        let text = node.read(kubeconfig)?.replace(&node.server(), &server(network));
        let path = to.join("kubernetes").join(kubeconfig);
        fs::write(&path, text).map_err(Error::io(path.display().to_string()))?;
    }
    let address = network.address(CONTROLLERS);
    let place = Place { root, address };
    Ok(Controllers {
        arguments: node.static_pod("kube-controller-manager")?.arguments(&place),
        place,
    })
}

impl Controllers {
    pub(super) fn spawn(self) -> Result<Service, Error> {
        let program = Component::ControlPlane.find("kube-controller-manager")?;
        // It ends when it loses its lease, or etcd its leader while it starts.
        let launch = Launch::new("kube-controller-manager", program, &self.place.root)
            .args(self.arguments)
            .again();
        Service::spawn(launch, Readiness::Accepts((self.place.address, 10257).into()))
    }
}

fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
