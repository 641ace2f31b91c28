//! The one way in which containers are declared.

/// Declares a container with its SSZ, its root and its JSON, in the order of the specification.
macro_rules! container {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(
            Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, ssz_derive::Encode,
            ssz_derive::Decode, tree_hash_derive::TreeHash,
        )]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$fmeta])* pub $field: $ty,)* }
    };
}
pub(crate) use container;
