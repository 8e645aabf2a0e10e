//! A claims plugin for `witgate:claims@0.9.0`, which the gateway does not speak.
#![cfg(target_arch = "wasm32")]
#![allow(missing_docs, unsafe_code, reason = "the component's exports, generated")]

use exports::witgate::claims::mapping::Guest;

wit_bindgen::generate!({ path: "wit", world: "claims-plugin" });

struct Plugin;

impl Guest for Plugin {
    fn init(_config: String) -> Result<(), String> {
        Ok(())
    }

    fn resolve(token: String) -> Result<String, String> {
        Ok(token)
    }
}

export!(Plugin);
