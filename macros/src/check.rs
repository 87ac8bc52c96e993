//! What is wrong with a trait: every error at once, each on its own token.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{
    Attribute, FnArg, GenericParam, Generics, Ident, LitInt, Meta, Pat, ReceiverKind, ReturnType, Safety,
    TraitItemFn, Type, TypeParamBound,
};

use crate::ast::Versions;
use crate::shape::type_args;

/// Errors, gathered.
#[derive(Default)]
pub(crate) struct Errors {
    all: Vec<syn::Error>,
}

impl Errors {
    pub(crate) fn at(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.all.push(syn::Error::new_spanned(tokens, message));
    }

    pub(crate) fn push(&mut self, error: syn::Error) {
        self.all.push(error);
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn into_tokens(self) -> TokenStream {
        self.all.iter().map(syn::Error::to_compile_error).collect()
    }
}

/// The most arguments that a method can have.
const MOST_ARGS: usize = 16;

/// Names that the generated trait and client need for themselves.
const RESERVED: [(&str, &str); 13] = [
    ("serve", "turns an implementation into a service"),
    ("connect", "makes a client"),
    ("connect_blocking", "makes a client"),
    ("blocking", "makes a client that is not async"),
    ("over", "makes a client"),
    ("local", "makes a client"),
    ("local_encoded", "makes a client"),
    ("offer", "makes a client"),
    ("with_layer", "makes a client with a layer"),
    ("with_inherited_metadata", "makes a client whose calls carry metadata"),
    ("with_metadata", "makes a client whose calls carry metadata"),
    ("with_timeout", "makes a client with a deadline"),
    ("clone", "makes another handle of a client"),
];

/// The trait's name, unless another name is given to its client.
pub(crate) fn name(ident: &Ident, errors: &mut Errors) {
    let name = ident.unraw().to_string();
    if let Some(other) = name.strip_suffix("Blocking").filter(|other| !other.is_empty()) {
        errors.at(
            ident,
            format_args!(
                "the client of `{name}` would have the name of the blocking client of a trait `{other}`; rename the trait, or name the client by `client = …`"
            ),
        );
    }
}

/// Finds an attribute of the macro's that stands in a `cfg_attr`.
pub(crate) fn conditional(attr: &Attribute, own: &[&str], errors: &mut Errors) -> bool {
    let before = errors.count();
    let Meta::List(list) = &attr.meta else { return false };
    if !attr.path().is_ident("cfg_attr") {
        return false;
    }
    for token in list.tokens.clone() {
        if let TokenTree::Ident(ident) = token {
            if own.iter().any(|own| ident == own) {
                let why = match ident == "ordered" {
                    true => "which is evaluated after the macro",
                    false => "since both processes must agree on it",
                };
                errors.at(
                    &ident,
                    format_args!(
                        "`{ident}` cannot stand in a `cfg_attr`, {why}; write two methods, each with its `#[cfg(…)]`"
                    ),
                );
            }
        }
    }
    errors.count() > before
}

/// The trait's own generics.
pub(crate) fn generics(generics: &Generics, errors: &mut Errors) {
    for param in &generics.params {
        match param {
            GenericParam::Type(_) => {}
            GenericParam::Lifetime(lifetime) => {
                errors.at(
                    lifetime,
                    "a service cannot borrow: what it says crosses to another process; own the data instead",
                );
            }
            GenericParam::Const(constant) => errors.at(constant, "a service cannot have const parameters"),
        }
    }
}

/// A method's signature, its attributes aside.
pub(crate) fn method(method: &TraitItemFn, errors: &mut Errors) {
    let sig = &method.sig;
    if sig.asyncness.is_none() {
        errors.at(sig.fn_token, "a method of a service must be async: write `async fn`");
    }
    if let Some(constness) = &sig.constness {
        errors.at(constness, "a method of a service cannot be const");
    }
    if !matches!(sig.safety, Safety::Default) {
        errors.at(&sig.safety, "a method of a service is plain `async fn`, neither `safe` nor `unsafe`");
    }
    if let Some(abi) = &sig.abi {
        errors.at(abi, "a method of a service cannot be extern");
    }
    if let Some(variadic) = &sig.variadic {
        errors.at(variadic, "a method of a service has a fixed number of arguments");
    }
    if !sig.generics.params.is_empty() {
        errors.at(
            &sig.generics.params,
            "a method of a service cannot be generic; put the parameter on the trait",
        );
    }
    if let Some(clause) = &sig.generics.where_clause {
        errors.at(clause, "a method of a service cannot have a where clause; put it on the trait");
    }
    let name = sig.ident.unraw().to_string();
    if let Some((_, use_)) = RESERVED.iter().find(|(reserved, _)| *reserved == name) {
        errors.at(&sig.ident, format_args!("`{name}` {use_}; give the method another name"));
    }
    arguments(method, errors);
    if let ReturnType::Type(_, ty) = &sig.output {
        owned(ty, "a result", errors);
    }
}

/// A method of a trait that the client implements: it can return the failure of a call.
pub(crate) fn fallible(method: &TraitItemFn, errors: &mut Errors) {
    let is_result = match &method.sig.output {
        ReturnType::Type(_, ty) => is_result(ty),
        ReturnType::Default => false,
    };
    if !is_result {
        errors.at(
            &method.sig.ident,
            "a client can implement this method only if the method returns a `Result` whose error is made of a `CallError`; leave out `client_implements` or change the method",
        );
    }
}

fn is_result(ty: &Type) -> bool {
    match ty {
        Type::Group(group) => is_result(&group.elem),
        Type::Paren(paren) => is_result(&paren.elem),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| last.ident == "Result"),
        _ => false,
    }
}

/// An error type that no process can send. Otherwise the compiler says of each use of the type
/// that it is not `Send`.
pub(crate) fn boxed_error(ty: &Type, errors: &mut Errors) {
    if is_boxed_error(ty) {
        errors.at(
            ty,
            "the error `Box<dyn Error>` cannot be sent to another process: return an error type of your own with `#[derive(serde::Serialize, serde::Deserialize)]`, or a `String` by `.map_err(|error| error.to_string())`",
        );
    }
}

/// Whether this is a `Box<dyn Error>` that is not even `Send`.
fn is_boxed_error(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    let Some(last) = path.path.segments.last().filter(|last| last.ident == "Box") else { return false };
    let args = type_args(&last.arguments);
    let [Type::TraitObject(object)] = args.as_slice() else { return false };
    let names = object.bounds.iter().filter_map(|bound| match bound {
        TypeParamBound::Trait(bound) => bound.path.segments.last().map(|last| &last.ident),
        _ => None,
    });
    let names: Vec<_> = names.collect();
    names.iter().any(|name| *name == "Error") && !names.iter().any(|name| *name == "Send")
}

/// The version from which on a method is there.
pub(crate) fn since(number: &LitInt, since: u32, Versions { oldest, newest }: Versions, errors: &mut Errors) {
    if since > newest {
        errors.at(
            number,
            format_args!(
                "the trait's newest version is {newest}: raise it by `versions = {oldest}..={since}`"
            ),
        );
    } else if since <= oldest {
        let hint = if oldest == newest {
            "a trait that speaks older ones too says `versions = A..=B`"
        } else {
            "leave the attribute out"
        };
        errors
            .at(number, format_args!("every version has the method, the trait's oldest is {oldest}: {hint}"));
    }
}

fn arguments(method: &TraitItemFn, errors: &mut Errors) {
    let mut args = method.sig.inputs.iter();
    match args.next() {
        Some(FnArg::Receiver(receiver)) if is_shared_ref(receiver) => {}
        Some(FnArg::Receiver(receiver)) => {
            errors.at(receiver, "a method of a service takes `&self`: many calls run at once");
        }
        Some(FnArg::Typed(_)) | None => {
            errors.at(&method.sig.ident, "a method of a service takes `&self` first");
        }
    }
    for (index, arg) in method.sig.inputs.iter().enumerate() {
        let FnArg::Typed(arg) = arg else { continue };
        if index > MOST_ARGS {
            errors.at(
                arg,
                format_args!("a method has at most {MOST_ARGS} arguments; put some of them into a struct"),
            );
        }
        for attr in &arg.attrs {
            errors.at(attr, "an argument of a service's method cannot have attributes");
        }
        match &*arg.pat {
            Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => {}
            other => errors.at(other, "an argument needs a plain name: callers see it"),
        }
        owned(&arg.ty, "an argument", errors);
    }
}

fn is_shared_ref(receiver: &syn::Receiver) -> bool {
    receiver.attrs.is_empty() && matches!(receiver.kind, ReceiverKind::Reference(_, None, None))
}

/// What crosses to another process owns its data and has a type.
fn owned(ty: &Type, what: &str, errors: &mut Errors) {
    struct Finder<'e> {
        what: &'e str,
        errors: &'e mut Errors,
    }
    impl<'ast> syn::visit::Visit<'ast> for Finder<'_> {
        fn visit_type_reference(&mut self, node: &'ast syn::TypeReference) {
            let hint = match node.elem.to_token_stream().to_string().as_str() {
                "str" => "String".to_owned(),
                "[u8]" => "Vec<u8>".to_owned(),
                other => other.to_owned(),
            };
            self.errors.at(
                node,
                format_args!("{} cannot borrow, it crosses to another process; write `{hint}`", self.what),
            );
        }
        fn visit_type_impl_trait(&mut self, node: &'ast syn::TypeImplTrait) {
            self.errors.at(node, format_args!("{} needs a type of its own, not `impl Trait`", self.what));
        }
        fn visit_type_infer(&mut self, node: &'ast syn::TypeInfer) {
            self.errors.at(node, format_args!("{} needs its type written out", self.what));
        }
        fn visit_path(&mut self, node: &'ast syn::Path) {
            if let Some(first) = node.segments.first().filter(|first| first.ident == "Self") {
                self.errors.at(
                    &first.ident,
                    format_args!(
                        "{} cannot be `Self`, which is another type in each process; name the type",
                        self.what
                    ),
                );
            }
            syn::visit::visit_path(self, node);
        }
        fn visit_lifetime(&mut self, node: &'ast syn::Lifetime) {
            if node.ident != "static" {
                self.errors
                    .at(node, format_args!("{} cannot borrow, it crosses to another process", self.what));
            }
        }
    }
    syn::visit::Visit::visit_type(&mut Finder { what, errors }, ty);
}
