//! A service trait as the macro understands it.

use std::time::Duration;

use syn::{Attribute, Block, Generics, Ident, Path, Token, TraitItem, Type, TypeParamBound, Visibility};

/// A whole service trait.
pub(crate) struct Service {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) trait_token: Token![trait],
    pub(crate) ident: Ident,
    pub(crate) generics: Generics,
    pub(crate) supertraits: Vec<TypeParamBound>,
    /// The name in the hello.
    pub(crate) name: ServiceName,
    /// The name of the client, if it is not the trait's with `Client` behind.
    pub(crate) client: Option<Ident>,
    /// Whether the client implements the trait.
    pub(crate) client_implements: bool,
    /// The path of the crate `panpipe`, if it is not `::panpipe`.
    pub(crate) krate: Option<Path>,
    pub(crate) versions: Versions,
    pub(crate) items: Vec<Item>,
}

/// The name of a service on the wire.
pub(crate) enum ServiceName {
    Text(String),
    /// A constant of the user's, a `&str`.
    Constant(Box<Path>),
}

/// The versions of a service that a build of its trait speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) oldest: u32,
    pub(crate) newest: u32,
}

/// An item of the trait, in the order of the source.
pub(crate) enum Item {
    Method(Box<Method>),
    /// One that had an error: kept in the trait as it was, so that no second
    /// error follows from its absence.
    Inert(Box<TraitItem>),
}

/// A method that can be called from another process.
pub(crate) struct Method {
    /// All but the macro's own.
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) ident: Ident,
    /// The name on the wire: without `r#`.
    pub(crate) name: String,
    /// The variant of the request and response enums.
    pub(crate) variant: Ident,
    pub(crate) args: Vec<Arg>,
    pub(crate) output: Output,
    pub(crate) oneway: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) idempotent: bool,
    /// Whether its calls wait for each other, and for those of other such methods.
    pub(crate) ordered: bool,
    /// The first version that has the method, if the oldest does not.
    pub(crate) since: Option<u32>,
    pub(crate) default: Option<Block>,
    /// What addresses the method on the wire.
    pub(crate) hash: u64,
}

/// An argument.
pub(crate) struct Arg {
    pub(crate) mutable: bool,
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
}

/// What a method returns.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Output {
    /// No `Result`.
    Plain(Type),
    /// A `Result` with both its parts in sight.
    Result { whole: Type, ok: Type, err: Type },
    /// An alias of `Result`; what it is given first is what it is when all is
    /// well.
    Alias { whole: Type, ok: Option<Type> },
}

impl Output {
    /// The type as it was written.
    pub(crate) fn whole(&self) -> &Type {
        match self {
            Output::Plain(whole) | Output::Result { whole, .. } | Output::Alias { whole, .. } => whole,
        }
    }
}

impl Service {
    pub(crate) fn methods(&self) -> impl Iterator<Item = &Method> {
        self.items.iter().filter_map(|item| match item {
            Item::Method(method) => Some(&**method),
            Item::Inert(_) => None,
        })
    }

    /// Whether it has methods, and nothing comes back of any.
    pub(crate) fn is_oneway(&self) -> bool {
        self.methods().next().is_some() && self.methods().all(|method| method.oneway)
    }

    /// Whether calls of a method are ordered.
    pub(crate) fn is_ordered(&self) -> bool {
        self.methods().any(|method| method.ordered)
    }

    /// The trait's type parameters.
    pub(crate) fn params(&self) -> Vec<&Ident> {
        self.generics.type_params().map(|param| &param.ident).collect()
    }
}

impl Method {
    /// The attributes that say under which configuration the method exists.
    pub(crate) fn cfgs(&self) -> impl Iterator<Item = &Attribute> {
        self.attrs.iter().filter(|attr| attr.path().is_ident("cfg"))
    }

    /// The attributes that a caller should see.
    pub(crate) fn callers_attrs(&self) -> impl Iterator<Item = &Attribute> {
        self.attrs
            .iter()
            .filter(|attr| ["cfg", "doc", "deprecated"].iter().any(|name| attr.path().is_ident(name)))
    }
}
