//! Lines in the gateway's log. Natively, as in tests, they go to standard error.

use crate::bindings::host::witgate::host::log;

pub use log::Level;

/// Writes a line. The gateway adds the plugin's name and the request's id, cuts a line at 4 KiB
/// and writes at most 100 in one call.
pub fn write(level: Level, message: &str) {
    if cfg!(target_arch = "wasm32") {
        log::write(level, message);
    } else {
        eprintln!("{level:?}: {message}");
    }
}

/// For the plugin's author. Off unless the operator asks for it.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Something that an operator may want to know afterwards.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Something that still works and should be looked at.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Something that does not work.
pub fn error(message: &str) {
    write(Level::Error, message);
}
