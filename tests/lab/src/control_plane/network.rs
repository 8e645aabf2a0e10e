//! Defines the network of a control plane: a block of addresses on loopback, one for each node.
//!
//! kubeadm takes no loopback address for a node's, and knows etcd by its usual ports only. So every
//! node gets an address of its own from 198.18.0.0/15, which RFC 2544 keeps for tests of networks.

use std::{fs::File, net::Ipv4Addr, path::PathBuf, process::Command};

use crate::{component::Component, error::Error};

/// Blocks of 256 addresses in 198.18.0.0/15.
const BLOCKS: u16 = 512;

/// A block of addresses, kept from other control planes on this machine until it is dropped.
#[derive(Debug)]
pub(super) struct Network {
    block: u16,
    ip: PathBuf,
    /// The system releases it however this process ends. The addresses then stay until the next
    /// control plane that takes the block.
    _reservation: File,
}

impl Network {
    /// Reserves a block and gives it to loopback.
    pub(super) fn free() -> Result<Self, Error> {
        let ip = Component::ControlPlane.find_packaged("ip")?;
        let reservations = std::env::temp_dir().join("witgate-lab-networks");
        std::fs::create_dir_all(&reservations).map_err(Error::io(reservations.display().to_string()))?;
        let start = rand::random_range(0..BLOCKS);
        for offset in 0..BLOCKS {
            let block = (start + offset) % BLOCKS;
            let path = reservations.join(block.to_string());
            let reservation = File::create(&path).map_err(Error::io(path.display().to_string()))?;
            if reservation.try_lock().is_ok() {
                let network = Self {
                    block,
                    ip,
                    _reservation: reservation,
                };
                network.assign("replace")?;
                return Ok(network);
            }
        }
        Err(Error::NoNetwork)
    }

    /// The block's address with this last number.
    pub(super) fn address(&self, host: u8) -> Ipv4Addr {
        let [high, low] = self.block.to_be_bytes();
        Ipv4Addr::new(198, 18 + high, low, host)
    }

    /// `ip address replace|del`: on loopback, one address with its prefix makes all of the block local.
    fn assign(&self, verb: &str) -> Result<(), Error> {
        let block = format!("{}/24", self.address(1));
        let args = ["address", verb, &block, "dev", "lo"];
        let command = format!("ip {}", args.join(" "));
        let output = Command::new(&self.ip).args(args).output();
        let output = output.map_err(Error::io(&*command))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Command {
            command,
            status: output.status,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What is left behind is only found by the next control plane that takes the block.
        let _ = self.assign("del");
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, net::TcpListener};

    use super::*;
    use crate::component::require;

    #[test]
    fn control_planes_at_the_same_time_have_addresses_of_their_own_that_can_be_bound() {
        let Ok(()) = require(Component::ControlPlane) else {
            return;
        };
        let networks: Vec<_> = (0..3).map(|_| Network::free().unwrap()).collect();
        let addresses: HashSet<_> = networks.iter().map(|network| network.address(11)).collect();
        assert_eq!(addresses.len(), networks.len());
        let listeners = addresses.iter().map(|address| TcpListener::bind((*address, 0)));
        assert!(listeners.into_iter().all(|listener| listener.is_ok()));
    }

    #[test]
    fn the_addresses_end_with_the_network() {
        let Ok(()) = require(Component::ControlPlane) else {
            return;
        };
        let network = Network::free().unwrap();
        let address = network.address(11);
        drop(network);
        assert!(TcpListener::bind((address, 0)).is_err());
    }
}
