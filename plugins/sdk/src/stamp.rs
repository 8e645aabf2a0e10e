//! Leaves this SDK's name and version in a component, so that whoever can't load it knows what it was
//! built with.

const TEXT: &str = concat!("witgate-sdk ", env!("CARGO_PKG_VERSION"));

/// The content of the custom section `witgate:sdk`.
pub const STAMP: [u8; TEXT.len()] = match TEXT.as_bytes().first_chunk() {
    Some(bytes) => *bytes,
    None => [0; TEXT.len()],
};

#[doc(hidden)]
#[macro_export]
macro_rules! stamp {
    () => {
        #[used]
        #[unsafe(link_section = "witgate:sdk")]
        static WITGATE_SDK: [u8; $crate::stamp::STAMP.len()] = $crate::stamp::STAMP;
    };
}
