//! Defines a port on loopback that no other component of any test gets at the same time.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use crate::error::Error;

/// Below the range from which systems take the local ports of outgoing connections, so that none of
/// those sits on a port between its choice here and the component's bind.
const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;

/// A port on 127.0.0.1, kept from other [`Port`]s on this machine until it is dropped.
///
/// Tests of several processes run at once, and a component is bound to its port only some time after
/// the choice (and again after each restart): so the port is reserved by a lock on a file named
/// after it, which the system releases however this process ends.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reservation: File,
}

impl Port {
    /// Reserves a port that nothing listens on.
    ///
    /// # Errors
    /// [`Error::NoPort`] when all are taken, [`Error::Io`] when the reservations cannot be written.
    pub fn free() -> Result<Self, Error> {
        let reservations = std::env::temp_dir().join("witgate-lab-ports");
        fs::create_dir_all(&reservations).map_err(Error::io(reservations.display().to_string()))?;
        let count = LAST - FIRST + 1;
        let start = rand::random_range(0..count);
        for offset in 0..count {
            let number = FIRST + (start + offset) % count;
            let path = reservations.join(number.to_string());
            let reservation = File::create(&path).map_err(Error::io(path.display().to_string()))?;
            if reservation.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self {
                    number,
                    _reservation: reservation,
                });
            }
        }
        Err(Error::NoPort {
            first: FIRST,
            last: LAST,
        })
    }

    /// The port's number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The port on 127.0.0.1, as `ip:port` when printed.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_port_is_handed_out_once_while_it_is_held() {
        let ports: Vec<_> = (0..50).map(|_| Port::free().unwrap()).collect();
        let numbers: HashSet<_> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), ports.len());
    }

    #[test]
    fn a_held_port_can_be_bound_by_the_component_it_is_for() {
        let port = Port::free().unwrap();
        assert!(TcpListener::bind(port.address()).is_ok());
    }
}
