//! The WIT packages as Rust, generated. Use the modules named after the plugin's kind instead.
#![expect(missing_docs, reason = "generated; what has docs in WIT has them here")]
#![allow(
    unsafe_code,
    reason = "the canonical ABI passes pointers; nothing in here is written by hand"
)]
#![allow(
    unreachable_pub,
    missing_debug_implementations,
    clippy::all,
    reason = "generated"
)]
#![allow(
    clippy::allow_attributes_without_reason,
    clippy::needless_pass_by_value,
    reason = "generated"
)]
#![allow(clippy::str_to_string, clippy::match_same_arms, reason = "generated")]

/// What the gateway offers to a plugin of any kind.
pub mod host {
    wit_bindgen::generate!({
        path: ["../../wit/host-0.1.0"],
        inline: "
            package witgate:sdk;
            world host {
                import witgate:host/log@0.1.0;
                import witgate:host/key-value@0.1.0;
            }
        ",
        world: "witgate:sdk/host",
        additional_derives: [PartialEq, Eq],
        generate_all,
    });
}

/// The world of claims plugins.
pub mod claims {
    wit_bindgen::generate!({
        path: ["../../wit/host-0.1.0", "../../wit/claims-0.1.0"],
        world: "witgate:claims/claims-plugin",
        additional_derives: [PartialEq, Eq],
        pub_export_macro: true,
        default_bindings_module: "witgate_sdk::bindings::claims",
        with: { "witgate:host/log@0.1.0": super::host::witgate::host::log },
        generate_all,
    });
}

/// The world of storage plugins.
pub mod storage {
    wit_bindgen::generate!({
        path: ["../../wit/host-0.1.0", "../../wit/storage-0.1.0"],
        world: "witgate:storage/storage-plugin",
        additional_derives: [PartialEq, Eq],
        // It holds a handle.
        additional_derives_ignore: ["answer"],
        pub_export_macro: true,
        default_bindings_module: "witgate_sdk::bindings::storage",
        with: { "witgate:host/log@0.1.0": super::host::witgate::host::log },
        generate_all,
    });
}

/// The world of recovery plugins.
pub mod recovery {
    wit_bindgen::generate!({
        path: ["../../wit/host-0.1.0", "../../wit/recovery-0.1.0"],
        world: "witgate:recovery/recovery-plugin",
        additional_derives: [PartialEq, Eq],
        pub_export_macro: true,
        default_bindings_module: "witgate_sdk::bindings::recovery",
        with: { "witgate:host/log@0.1.0": super::host::witgate::host::log },
        generate_all,
    });
}
