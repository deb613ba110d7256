//! How many connections there may be: in all, from one address, and from one address in a second.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use starling_hub::{Bucket, Now};

use crate::options::LiveOptions;

/// Counts open connections. Cheap to clone; all clones count together.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Counts>);

#[derive(Default)]
struct Counts {
    open: AtomicUsize,
    /// Only filled where a limit per address is configured.
    addresses: Mutex<HashMap<IpAddr, Address>>,
}

#[derive(Default)]
struct Address {
    open: usize,
    rate: Bucket,
}

/// Why a connection may not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The node has as many as it may.
    Node,
    /// The address has as many as it may.
    Address,
    /// The address opens them too quickly.
    Rate,
}

/// The right to be open. Dropping it gives the place back.
pub(crate) struct Permit {
    gate: Gate,
    /// The address, where it is counted.
    address: Option<IpAddr>,
}

impl Gate {
    /// Takes a place for a connection from `address`.
    pub fn enter(&self, address: IpAddr, options: &LiveOptions, now: Now) -> Result<Permit, Full> {
        let open = self.0.open.fetch_add(1, Ordering::Relaxed);
        let mut permit = Permit { gate: self.clone(), address: None };
        if open >= options.max_connections {
            return Err(Full::Node);
        }
        let (most, rate) = (options.max_connections_per_ip, options.limits.connections_per_ip_per_second);
        if most == 0 && rate == 0 {
            return Ok(permit);
        }
        let mut addresses = self.0.addresses.lock();
        let entry = addresses.entry(address).or_default();
        if most > 0 && entry.open >= most {
            return Err(Full::Address);
        }
        if !entry.rate.take(now, rate, rate) {
            return Err(Full::Rate);
        }
        entry.open += 1;
        permit.address = Some(address);
        Ok(permit)
    }

    /// Takes a place where there may be none, for a connection that is turned away at once.
    pub fn enter_briefly(&self) -> Permit {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Permit { gate: self.clone(), address: None }
    }

    /// Open connections.
    #[cfg(test)]
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Forgets addresses that have no connection and no debt.
    pub fn sweep(&self, now: Now) {
        let mut addresses = self.0.addresses.lock();
        addresses.retain(|_, entry| entry.open > 0 || !entry.rate.is_full(now));
        addresses.shrink_to_fit();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.0.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.address
            && let Some(entry) = self.gate.0.addresses.lock().get_mut(&address)
        {
            entry.open -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let gate = Gate::default();
        let mut options = LiveOptions { max_connections: 3, max_connections_per_ip: 2, ..LiveOptions::default() };
        options.limits.connections_per_ip_per_second = 0;
        let now = Now { micros: 0, unix_ms: 0 };
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = gate.enter(one, &options, now).unwrap();
        let _second = gate.enter(one, &options, now).unwrap();
        assert_eq!(gate.enter(one, &options, now).err(), Some(Full::Address));
        let _third = gate.enter(other, &options, now).unwrap();
        assert_eq!(gate.enter(other, &options, now).err(), Some(Full::Node));
        drop(first);
        assert_eq!(gate.open(), 2);
        assert!(gate.enter(one, &options, now).is_ok());
    }
}
