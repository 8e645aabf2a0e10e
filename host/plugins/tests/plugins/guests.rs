//! Tiny components, written as core modules in the text format and wrapped by `wit-component`.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A component of the given world, over the contract's packages and `packages`, from a core
/// module in the text format.
pub(crate) fn component(packages: &[&str], world: &str, core: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    for folder in ["host-0.1.0", "claims-0.1.0", "storage-0.1.0", "recovery-0.1.0"] {
        let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");
        resolve.push_dir(format!("{wit}/{folder}")).unwrap();
    }
    for (place, package) in packages.iter().enumerate() {
        resolve.push_str(format!("{place}.wit"), package).unwrap();
    }
    let text = format!("package test:guest; world guest {{ {world} }}");
    let package = resolve.push_str("guest.wit", &text).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    let mut module = wat::parse_str(core).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .unwrap()
        .encode()
        .unwrap()
}

/// Memory, and an allocator that starts over with every call.
const MEMORY: &str = r#"
    (memory (export "memory") 2)
    (global $next (mut i32) (i32.const 65536))
    (func $reset (global.set $next (i32.const 65536)))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (global.set $next (i32.and
            (i32.add (global.get $next) (i32.sub (local.get 2) (i32.const 1)))
            (i32.sub (i32.const 0) (local.get 2))))
        (global.get $next)
        (global.set $next (i32.add (global.get $next) (local.get 3)))
        ;; what is asked for has to be there
        (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
            (then (drop (memory.grow (i32.add (i32.const 1) (i32.div_u (local.get 3) (i32.const 65536))))))))
"#;

/// What guests do that misbehave: the mood is the first letter of the input.
const MOODS: &str = r#"
    (func $overflow (param i32) (result i32)
        (i32.add (i32.const 1) (call $overflow (i32.add (local.get 0) (i32.const 1)))))
    (func $misbehave (param $mood i32)
        (if (i32.eq (local.get $mood) (i32.const 0x74)) ;; t: trap
            (then unreachable))
        (if (i32.eq (local.get $mood) (i32.const 0x73)) ;; s: spin
            (then (loop $on (br $on))))
        (if (i32.eq (local.get $mood) (i32.const 0x6d)) ;; m: eat memory, as an allocator would
            (then (loop $on
                (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
                (br $on))))
        (if (i32.eq (local.get $mood) (i32.const 0x72)) ;; r: recurse
            (then (drop (call $overflow (i32.const 0))))))
"#;

/// A claims plugin. By the first letter of the claims it traps (`t`), spins (`s`), eats memory
/// (`m`), recurses (`r`) or denies (`d`); else it answers with the user `alice` of group `dev`.
/// Its init refuses configurations of more than two bytes, which `{}` has.
pub(crate) fn claims() -> Vec<u8> {
    claims_that("(if (i32.gt_u (local.get 1) (i32.const 2)) (then (return (i32.const 1200))))")
}

/// The same with an init that begins with `init`.
pub(crate) fn claims_that(init: &str) -> Vec<u8> {
    let core = format!(
        r#"(module
            {MEMORY} {MOODS}
            (data (i32.const 1024) "\00\00\00\00" "\00\08\00\00\05\00\00\00" "\00\00\00\00\00\00\00\00\00\00\00\00"
                "\40\08\00\00\01\00\00\00" "\00\00\00\00\00\00\00\00")
            (data (i32.const 2048) "alice")
            (data (i32.const 2112) "\80\08\00\00\03\00\00\00")
            (data (i32.const 2176) "dev")
            (data (i32.const 1100) "\01\00\00\00" "\00\09\00\00\0b\00\00\00")
            (data (i32.const 2304) "not\0atoday\1b!")
            (data (i32.const 1200) "\01\00\00\00" "\00\0a\00\00\10\00\00\00")
            (data (i32.const 2560) "`x` is no field!")
            (func (export "witgate:claims/mapping@0.1.0#init") (param i32 i32) (result i32)
                {init}
                (i32.const 512))
            (func (export "witgate:claims/mapping@0.1.0#resolve")
                (param i32 i32 i32 i32) (param $claims i32) (param i32) (result i32)
                (call $misbehave (i32.load8_u (local.get $claims)))
                (if (i32.eq (i32.load8_u (local.get $claims)) (i32.const 0x64)) (then (return (i32.const 1100))))
                (i32.const 1024))
            (func (export "cabi_post_witgate:claims/mapping@0.1.0#resolve") (param i32) (call $reset)))"#
    );
    component(&[], "export witgate:claims/mapping@0.1.0;", &core)
}

/// A storage plugin. By the first letter of the tenant its `write` misbehaves as a claims plugin
/// does, or sleeps for an hour (`w`), rejects a series that isn't there (`x`), says unavailable
/// (`u`), or else stores everything. Its `read` gives two pieces of one empty series each, with
/// broken columns for the tenant `b`, and broken
/// chunks for `c`.
pub(crate) fn storage() -> Vec<u8> {
    let core = format!(
        r#"(module
            (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $timer (param i64) (result i32)))
            (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
            (import "[export]witgate:storage/store@0.1.0" "[resource-new]cursor" (func $cursor (param i32) (result i32)))
            {MEMORY} {MOODS}
            (global $read (mut i32) (i32.const 0))
            ;; unavailable, "down", retry after 1500 ms
            (data (i32.const 1100) "\01\00\00\00" "\00\00\00\00" "\00\08\00\00\04\00\00\00" "\01\00\00\00\dc\05\00\00")
            (data (i32.const 2048) "down")
            ;; a receipt with a rejection of 7 samples of series 5
            (data (i32.const 1200) "\00\00\00\00" "\40\08\00\00\01\00\00\00")
            (data (i32.const 2112) "\05\00\00\00" "\00\00\00\00" "\07\00\00\00" "\00\08\00\00\04\00\00\00")
            ;; some batch with one symbol, which is "", and one series without labels and samples; all of
            ;; the lists that follow are empty
            (data (i32.const 1300) "\00\00\00\00" "\01\00\00\00" "\00\00\00\00"
                "\00\00\00\00\00\00\00\00" "\80\08\00\00\01\00\00\00" "\00\00\00\00\00\00\00\00"
                "\80\08\00\00\01\00\00\00" "\00\00\00\00\00\00\00\00" "\00\00\00\00\00\00\00\00"
                "\80\08\00\00\01\00\00\00")
            ;; the same with ends that go beyond their columns
            (data (i32.const 1500) "\00\00\00\00" "\01\00\00\00" "\00\00\00\00"
                "\00\00\00\00\00\00\00\00" "\84\08\00\00\01\00\00\00" "\00\00\00\00\00\00\00\00"
                "\80\08\00\00\01\00\00\00" "\00\00\00\00\00\00\00\00" "\00\00\00\00\00\00\00\00"
                "\80\08\00\00\01\00\00\00")
            ;; chunks of one series without labels, and more of them than there are
            (data (i32.const 1700) "\00\00\00\00" "\01\00\00\00" "\01\00\00\00"
                "\00\00\00\00\00\00\00\00" "\80\08\00\00\01\00\00\00" "\00\00\00\00\00\00\00\00"
                "\80\08\00\00\01\00\00\00" "\84\08\00\00\01\00\00\00")
            (data (i32.const 2176) "\00\00\00\00" "\09\00\00\00")
            (func $mood (param $context i32) (result i32) (i32.load8_u (i32.load (local.get $context))))
            (func (export "witgate:storage/store@0.1.0#init") (param i32 i32) (result i32) (i32.const 512))
            (func (export "witgate:storage/store@0.1.0#check") (result i32) (i32.const 512))
            (func (export "witgate:storage/store@0.1.0#write") (param $args i32) (result i32)
                (local $mood i32)
                (local.set $mood (call $mood (local.get $args)))
                (call $misbehave (local.get $mood))
                (if (i32.eq (local.get $mood) (i32.const 0x77))
                    (then (call $block (call $timer (i64.const 3600000000000)))))
                (if (i32.eq (local.get $mood) (i32.const 0x75)) (then (return (i32.const 1100))))
                (if (i32.eq (local.get $mood) (i32.const 0x78)) (then (return (i32.const 1200))))
                (i32.const 512))
            (func (export "cabi_post_witgate:storage/store@0.1.0#write") (param i32) (call $reset))
            (func (export "witgate:storage/store@0.1.0#read")
                (param $tenant i32) (param i32 i32 i32 i32 i32 i64 i64 i32 i32 i32 i32 i32 i32) (result i32)
                (global.set $read (i32.load8_u (local.get $tenant)))
                ;; the cursor is where its count of pieces is
                (i32.store (i32.const 3072) (i32.const 0))
                (i32.store (i32.const 608) (call $cursor (i32.const 3072)))
                (i32.const 600))
            (func (export "witgate:storage/store@0.1.0#[method]cursor.next") (param $count i32) (param i32) (result i32)
                (i32.store (local.get $count) (i32.add (i32.const 1) (i32.load (local.get $count))))
                (if (i32.gt_u (i32.load (local.get $count)) (i32.const 2)) (then (return (i32.const 512))))
                (if (i32.eq (global.get $read) (i32.const 0x62)) (then (return (i32.const 1500))))
                (if (i32.eq (global.get $read) (i32.const 0x63)) (then (return (i32.const 1700))))
                (i32.const 1300))
            (func (export "witgate:storage/store@0.1.0#[dtor]cursor") (param i32)))"#
    );
    let io = "package wasi:io@0.2.0; interface poll { resource pollable { block: func(); } }";
    let clocks = "package wasi:clocks@0.2.0;
        interface monotonic-clock { use wasi:io/poll@0.2.0.{pollable}; subscribe-duration: func(when: u64) -> pollable; }";
    let world = "import wasi:clocks/monotonic-clock@0.2.0; export witgate:storage/store@0.1.0;";
    component(&[io, clocks], world, &core)
}

/// A recovery plugin. It reads the Secret `kube-system/s` and looks at etcd, and finds as many things
/// as there are members, each with one piece of evidence; the class of the first is what it got for
/// the Secret, or why it got nothing. An instance that is asked twice traps. It has a plan for
/// nothing, but breaks the contract by an empty one for a finding of severity `critical`.
pub(crate) fn recovery() -> Vec<u8> {
    let core = format!(
        r#"(module
            (import "witgate:recovery/kubernetes@0.1.0" "get"
                (func $get (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
            (import "witgate:recovery/etcd@0.1.0" "look" (func $look (param i32)))
            {MEMORY}
            (global $asked (mut i32) (i32.const 0))
            (data (i32.const 2048) "v1secretskube-systems")
            ;; four findings of 36 bytes from 3072; all of them have the evidence at 3328
            (data (i32.const 3100) "\00\0d\00\00\01\00\00\00")
            (data (i32.const 3136) "\00\0d\00\00\01\00\00\00")
            (data (i32.const 3172) "\00\0d\00\00\01\00\00\00")
            (data (i32.const 3208) "\00\0d\00\00\01\00\00\00")
            (func (export "witgate:recovery/repair@0.1.0#init") (param i32 i32) (result i32) (i32.const 512))
            (func (export "witgate:recovery/repair@0.1.0#diagnose") (result i32)
                (if (global.get $asked) (then unreachable))
                (global.set $asked (i32.const 1))
                (call $get (i32.const 0) (i32.const 0) (i32.const 2048) (i32.const 2) (i32.const 2050) (i32.const 7)
                    (i32.const 2057) (i32.const 11) (i32.const 2068) (i32.const 1) (i32.const 4096))
                (i32.store (i32.const 3072) (i32.load (i32.const 4104)))
                (i32.store (i32.const 3076) (i32.load (i32.const 4108)))
                (call $look (i32.const 4200))
                (i32.store (i32.const 604) (i32.const 3072))
                (i32.store (i32.const 608) (i32.load (i32.const 4236)))
                (i32.const 600))
            (func (export "witgate:recovery/repair@0.1.0#plan")
                (param i32 i32) (param $severity i32) (param i32 i32 i32 i32 i32 i32) (result i32)
                (i32.store8 (i32.const 700) (i32.ne (local.get $severity) (i32.const 2)))
                (i32.const 700)))"#
    );
    let world = "import witgate:recovery/kubernetes@0.1.0; import witgate:recovery/etcd@0.1.0;
        export witgate:recovery/repair@0.1.0;";
    component(&[], world, &core)
}
